"""Reads sessions and events: rows become the records of `segue.model`.

Values that corruption made impossible are replaced: see `row_values`. Damage that would hide
records, and that SQLite does not detect, is raised as SQLite's own error.
"""

from collections.abc import Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import SessionNotFound
from segue.model.records import MAX_PAGE_BYTES, EventPage, Session, StoredEvent
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, coerced, unpack, validated
from segue.store.sqlite.schema import MAX_SEQ

# LIMIT +?: SQLite plans a statement again whenever the number behind a bare LIMIT is bound.
_EVENTS_UP = """
SELECT key, id, invocation, created_at, type, data FROM events
WHERE key > ? AND key < ? ORDER BY key LIMIT +?
"""
_EVENTS_DOWN = """
SELECT key, id, invocation, created_at, type, data FROM events
WHERE key > ? AND key < ? ORDER BY key DESC LIMIT +?
"""

_EVENT = {(int, id, int, int, str, str) for id in (bytes, str)}
"""The types of an undamaged event's values, in the order of the queries above."""

_SESSION_FIELDS = tuple(field.name for field in attrs.fields(Session))

# -- sessions ----------------------------------------------------------------------------------


def find_session(db: Connection, session_id: str) -> Row | None:
    """Return the row of a session, or None."""
    sql = "SELECT * FROM session_records WHERE id = ?"
    row = db.execute(sql, (session_id,)).fetchone()
    return None if row is None else coerced(row)


def get_session(db: Connection, session_id: str) -> Row:
    """Return the row of a session, or raise SessionNotFound."""
    row = find_session(db, session_id)
    if row is None:
        raise_if_index_lost(db, session_id)
        raise SessionNotFound(session_id)
    return row


def raise_if_index_lost(db: Connection, session_id: str) -> None:
    """Raise damage if the table has a session that its index lacks."""
    # In one statement, because another window may store the session meanwhile.
    sql = (
        "SELECT 1 FROM sessions NOT INDEXED WHERE id = :id "
        "AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = :id)"
    )
    if db.execute(sql, {"id": session_id}).fetchone() is not None:
        raise driver.corruption("the index of sessions lacks a session")


def session(row: Row) -> Session:
    """Return the record of a valid row of `session_records`."""
    values = {name: row[name] for name in _SESSION_FIELDS}
    values["head"] = None if row["head"] is None else unpack(row["head"])
    return Session(**values)


# -- events ------------------------------------------------------------------------------------


def page(
    db: Connection, session: Row, *, after: int | None, before: int | None, limit: int
) -> EventPage:
    """Return a page of a session's events; see `SessionService.load_events`."""
    first, count = session["number"] << 32, session["event_count"]
    if after is not None:
        low, high = min(max(after, 0), MAX_SEQ), MAX_SEQ
        sql, step = _EVENTS_UP, 1
    else:
        low, high = 0, MAX_SEQ if before is None else min(before, MAX_SEQ)
        sql, step = _EVENTS_DOWN, -1
    rows: list[Any] = []
    size = 0
    has_more = False
    for row in db.execute(sql, (first + low, first + high, limit + 1)):
        data = row[-1]
        size += len(data) if type(data) is str else 0
        if len(rows) == limit or (rows and size > MAX_PAGE_BYTES):
            has_more = True
            break
        rows.append(row)
    _check_gapless(
        [row[0] - first for row in rows], has_more, range(low + 1, min(high, count + 1))[::step]
    )
    return EventPage(events=_events(db, rows[::step], first), has_more=has_more)


def _check_gapless(seqs: list[int], has_more: bool, expected: Sequence[int]) -> None:
    """Raise damage unless *seqs* are the expected ones, or the first of them and more follow.

    A damaged key that is out of order hides the rows behind it, and SQLite does not notice.
    """
    if seqs != list(expected[: len(seqs)]) or has_more != (len(seqs) < len(expected)):
        raise driver.corruption("events are missing from the middle or the end of a session")


def _events(db: Connection, rows: Sequence[Any], first: int) -> list[StoredEvent]:
    """Return the events of consecutive rows: each has the one before it as its parent."""
    names: dict[int, str] = {}
    parent = _parent(db, rows[0]["key"]) if rows else None
    events = []
    for row in rows:
        # By position, which is quicker than by name.
        is_valid = tuple(map(type, row)) in _EVENT
        values = row if is_valid else coerced(row).values()
        key, stored_id, invocation, created_at, type_name, encoded = values
        if invocation not in names:
            names[invocation] = _invocation(db, invocation)
        id = unpack(stored_id)
        data, corrupt = json_text.decode(encoded)
        events.append(
            StoredEvent(
                id=id,
                seq=key - first,
                parent_id=parent,
                invocation_id=names[invocation],
                created_at=created_at,
                type=type_name,
                data=data,
                corrupt=corrupt,
            )
        )
        parent = id
    return events


def _parent(db: Connection, key: int) -> str | None:
    row = db.execute("SELECT id FROM events WHERE key = ?", (key - 1,)).fetchone()
    return None if row is None else unpack(validated(row)["id"])


def _invocation(db: Connection, number: Any) -> str:
    row = db.execute("SELECT id FROM invocations WHERE number = ?", (number,)).fetchone()
    return "" if row is None else unpack(validated(row)["id"])
