"""Reads sessions and events: rows become the records of `segue.model`.

Values that corruption made impossible are replaced: see `row_values`. Damage that would hide
records, and that SQLite does not detect, is raised as SQLite's own error.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import SessionNotFound
from segue.model.records import (
    MAX_PAGE_BYTES,
    MIN_SHORT_ID,
    EventPage,
    Invocation,
    Session,
    StoredEvent,
)
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, coerced, unpack, validated
from segue.store.sqlite.schema import MAX_SEQ
from segue.store.sqlite.spans import Span, event_key, spans_of

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

_COLUMN_OF = {"fork_seq": "forked_at"}
"""Of `session_records`, where a field of a Session has another name there."""

_RECORD = (
    "number",
    *(
        _COLUMN_OF.get(field.name, field.name)
        for field in attrs.fields(Session)
        if field.name != "shared_by"  # a file has one user
    ),
)

SESSION_COLUMNS = ", ".join(_RECORD)
"""Of `session_records`: what `session` takes, in this order."""

_FIND_SESSION = f"""
SELECT {SESSION_COLUMNS}, fork_seq, automatic_title, given_title, model_visible, revisions
FROM session_records WHERE id = ?
"""  # noqa: S608  names of columns

# No index has the git root of every session. Of a main worktree it is the folder that holds the
# common directory, and resuming has an index of those that can be resumed.
IS_HERE = """number IN (
    SELECT number FROM sessions INDEXED BY sessions_by_directory
    WHERE directory = :place
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir = :git_common_dir
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir = :own_common_dir
    UNION SELECT number FROM sessions INDEXED BY resumable_by_git_root
    WHERE git_root = :place AND archived_at IS NULL AND model_visible = 1
    UNION SELECT number FROM sessions INDEXED BY sessions_by_repository
    WHERE repository = :repository AND machine_id IS NOT NULL
)"""
"""Whether a session is found at a place; `place_values` has its parameters."""


def place_values(
    place: str, git_common_dir: str | None, repository: str | None
) -> dict[str, str | None]:
    """Return the parameters of `IS_HERE`."""
    own = os.path.join(place, ".git")
    return {
        "place": place,
        "git_common_dir": git_common_dir,
        "own_common_dir": own,
        "repository": repository,
    }


_FIND_BY_PREFIX = f"""
SELECT {SESSION_COLUMNS} FROM session_records
WHERE id >= ? AND id < ? ORDER BY id LIMIT +?
"""  # noqa: S608  names of columns

_NEIGHBOURS = """
SELECT
    (SELECT id FROM session_records WHERE id < :id ORDER BY id DESC LIMIT 1) AS before,
    (SELECT id FROM session_records WHERE id > :id ORDER BY id LIMIT 1) AS after
"""

_LAST_CHARACTER = "\U0010ffff"

# -- sessions ----------------------------------------------------------------------------------


def find_session(db: Connection, session_id: str) -> Row | None:
    """Return the row of a session, or None."""
    row = db.execute(_FIND_SESSION, (session_id,)).fetchone()
    return None if row is None else coerced(row)


def get_session(db: Connection, session_id: str) -> Row:
    """Return the row of a session, or raise SessionNotFound."""
    row = find_session(db, session_id)
    if row is None:
        raise_if_index_lost(db, session_id)
        raise SessionNotFound(session_id)
    return row


def find_by_prefix(db: Connection, prefix: str, limit: int) -> list[Row]:
    """Return the rows of the sessions whose ids begin with *prefix*, by their ids."""
    values = (prefix, prefix + _LAST_CHARACTER, limit)
    rows = [validated(row) for row in db.execute(_FIND_BY_PREFIX, values)]
    if not rows:
        raise_if_index_lost(db, prefix)
    return rows


def short_id(db: Connection, session_id: str) -> str:
    """Return the shortest prefix of an id with which no other one begins."""
    # Of all other ids, one of its neighbours in their order has the longest beginning in common.
    neighbours = db.execute(_NEIGHBOURS, {"id": session_id}).fetchone()
    common = max(_common_length(session_id, str(each or "")) for each in neighbours)
    return session_id[: max(MIN_SHORT_ID, common + 1)]


def _common_length(one: str, other: str) -> int:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


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
    """Return the record of a valid row that has SESSION_COLUMNS, and maybe others behind them."""
    # By position, which is quicker than by name.
    columns = row.values() if isinstance(row, dict) else row
    values = dict(zip(_RECORD, columns, strict=False))
    del values["number"]
    values["head"] = None if values["head"] is None else unpack(values["head"])
    values["fork_seq"] = values.pop("forked_at") or None
    return Session(**values)


# -- events ------------------------------------------------------------------------------------


def page(
    db: Connection, session: Row, *, after: int | None, before: int | None, limit: int
) -> EventPage:
    """Return a page of a session's events; see `SessionService.load_events`."""
    count = session["event_count"]
    if after is not None:
        low, high, step = min(max(after, 0), MAX_SEQ), MAX_SEQ, 1
    else:
        low, high, step = 0, MAX_SEQ if before is None else min(before, MAX_SEQ), -1
    rows: list[Any] = []
    size = 0
    has_more = False
    for row in _rows(db, spans_of(db, session)[::step], low, high, step, limit + 1):
        data = row[-1]
        size += len(data) if type(data) is str else 0
        if len(rows) == limit or (rows and size > MAX_PAGE_BYTES):
            has_more = True
            break
        rows.append(row)
    _check_gapless(
        [row[0] & MAX_SEQ for row in rows], has_more, range(low + 1, min(high, count + 1))[::step]
    )
    return _page(db, session, rows[::step], has_more)


def _rows(
    db: Connection, spans: Sequence[Span], low: int, high: int, step: int, limit: int
) -> Iterator[Any]:
    """Yield the events with a seq between *low* and *high*, both excluded, at least *limit*."""
    sql = _EVENTS_UP if step == 1 else _EVENTS_DOWN
    for span in spans:
        first = span.strand << 32
        above, below = max(low, span.after), min(high, span.last + 1)
        if above + 1 < below:
            yield from db.execute(sql, (first + above, first + below, limit))


def _check_gapless(seqs: list[int], has_more: bool, expected: Sequence[int]) -> None:
    """Raise damage unless *seqs* are the expected ones, or the first of them and more follow.

    A damaged key that is out of order hides the rows behind it, and SQLite does not notice.
    """
    if seqs != list(expected[: len(seqs)]) or has_more != (len(seqs) < len(expected)):
        raise driver.corruption("events are missing from the middle or the end of a session")


def _page(db: Connection, session: Row, rows: Sequence[Any], has_more: bool) -> EventPage:
    """Return the events of consecutive rows: each has the one before it as its parent."""
    invocations: dict[int, Invocation] = {}
    parent = _parent(db, session, rows[0]["key"] & MAX_SEQ) if rows else None
    events = []
    for row in rows:
        # By position, which is quicker than by name.
        is_valid = tuple(map(type, row)) in _EVENT
        values = row if is_valid else coerced(row).values()
        key, stored_id, invocation, created_at, type_name, encoded = values
        if invocation not in invocations:
            invocations[invocation] = _invocation(db, invocation)
        id = unpack(stored_id)
        data, corrupt = json_text.decode(encoded)
        events.append(
            StoredEvent(
                id=id,
                seq=key & MAX_SEQ,
                parent_id=parent,
                invocation_id=invocations[invocation].id,
                created_at=created_at,
                type=type_name,
                data=data,
                corrupt=corrupt,
            )
        )
        parent = id
    return EventPage(events=events, has_more=has_more, invocations=[*invocations.values()])


def _parent(db: Connection, session: Row, seq: int) -> str | None:
    if seq == 1:
        return None
    sql = "SELECT id FROM events WHERE key = ?"
    row = db.execute(sql, (event_key(db, session, seq - 1),)).fetchone()
    return None if row is None else unpack(validated(row)["id"])


def _invocation(db: Connection, number: Any) -> Invocation:
    sql = "SELECT id, client_name, client_version FROM invocations WHERE number = ?"
    row = db.execute(sql, (number,)).fetchone()
    if row is None:
        return Invocation(id="", client_name=None, client_version=None)
    values = validated(row)
    return Invocation(
        id=unpack(values["id"]),
        client_name=values["client_name"],
        client_version=values["client_version"],
    )
