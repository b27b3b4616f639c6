"""What the rows say, as the contract has it, whatever damage has made of one.

Damage that SQLite does not notice puts a value of another type, or out of all bounds, into a row:
it comes back as something that can be shown, and never fails the reading.
"""

from collections.abc import Sequence
from typing import Any

from segue.model import json_text
from segue.model.errors import SessionNotFound
from segue.model.records import MAX_PAGE_BYTES, EventPage, Session, StoredEvent
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import LAST_SEQ, Row, coerced, unpack, validated

# LIMIT +?: SQLite plans a statement anew whenever the number behind a bare LIMIT is bound.
_EVENTS_UP = """
SELECT key, id, invocation, created_at, type, data FROM events
WHERE key > ? AND key < ? ORDER BY key LIMIT +?
"""
_EVENTS_DOWN = """
SELECT key, id, invocation, created_at, type, data FROM events
WHERE key > ? AND key < ? ORDER BY key DESC LIMIT +?
"""

_EVENT = {(int, id, int, int, str, str) for id in (bytes, str)}
"""The types of what an event's row holds."""

# -- sessions ----------------------------------------------------------------------------------


def find_session(db: Connection, session_id: str) -> Row | None:
    """Return the row of a session, if there is one."""
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
    """Raise if the session is there, and only the index has lost it."""
    # One statement: another window may store it meanwhile.
    sql = (
        "SELECT 1 FROM sessions NOT INDEXED WHERE id = :id "
        "AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = :id)"
    )
    if db.execute(sql, {"id": session_id}).fetchone() is not None:
        raise driver.corruption("the index of the sessions lacks one")


def session(row: Row) -> Session:
    """Return what a row of `session_records` says that is sound."""
    return Session(
        id=row["id"],
        directory=row["directory"],
        git_root=row["git_root"],
        title=row["title"],
        server_session_id=row["server_session_id"],
        head=head(row),
        event_count=row["event_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived_at=row["archived_at"],
        forked_from=row["forked_from"],
    )


def head(row: Row) -> str | None:
    """Return the id of a session's last event."""
    return None if row["head"] is None else unpack(row["head"])


# -- events ------------------------------------------------------------------------------------


def page(
    db: Connection, session: Row, *, after: int | None, before: int | None, limit: int
) -> EventPage:
    """Return a page of a session's events, as `SessionService.load_events` promises."""
    first, count = session["number"] << 32, session["event_count"]
    if after is not None:
        low, high = min(max(after, 0), LAST_SEQ), LAST_SEQ
        sql, step = _EVENTS_UP, 1
    else:
        low, high = 0, LAST_SEQ if before is None else min(before, LAST_SEQ)
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
    _check_chain(
        [row[0] - first for row in rows], has_more, range(low + 1, min(high, count + 1))[::step]
    )
    return EventPage(events=_events(db, rows[::step], first), has_more=has_more)


def _check_chain(seqs: list[int], has_more: bool, expected: Sequence[int]) -> None:
    """Raise unless *seqs* are the expected ones, or the first of more.

    A key that damage has put out of its order hides what lies behind it, and SQLite is content.
    """
    if seqs != list(expected[: len(seqs)]) or has_more != (len(seqs) < len(expected)):
        raise driver.corruption("events are missing from the middle or the end of a session")


def _events(db: Connection, rows: Sequence[Any], first: int) -> list[StoredEvent]:
    """Return the events of rows that follow each other: each names the one before it."""
    names: dict[int, str] = {}
    parent = _parent(db, rows[0]["key"]) if rows else None
    events = []
    for row in rows:
        # By their places, which is quicker than to look for a row's columns by name.
        is_whole = tuple(map(type, row)) in _EVENT
        key, stored_id, invocation, at, kind, text = row if is_whole else coerced(row).values()
        if invocation not in names:
            names[invocation] = _invocation(db, invocation)
        id = unpack(stored_id)
        data, corrupt = json_text.decode(text)
        events.append(
            StoredEvent(
                id=id,
                seq=key - first,
                parent_id=parent,
                invocation_id=names[invocation],
                created_at=at,
                type=kind,
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
