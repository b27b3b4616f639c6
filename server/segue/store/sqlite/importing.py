"""Stores events that were imported from other programs."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from segue.model.events import title as title_of
from segue.model.records import (
    ImportedEvent,
    ImportResult,
    Invocation,
    NewFork,
    Origin,
    Timestamp,
)
from segue.store.sqlite import prompts, queries, spans
from segue.store.sqlite.append import FIND_INVOCATION, INSERT_EVENT, INSERT_INVOCATION
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, pack, unpack

INVOCATION = "import"
"""The id of the invocation that wrote what was imported."""

STATE = "import"
"""The key of the metadata that holds the state of an import."""

_FORKS = uuid.UUID("5e90e000-0000-5000-8000-000000000003")

_UPDATE_SESSION = """
UPDATE sessions SET
    event_count = event_count + :added, updated_at = max(updated_at, :updated_at),
    title = coalesce(:title, title), client = coalesce(:client, client),
    agent = coalesce(:agent, agent), model = coalesce(:model, model)
WHERE number = :number
"""

FORGET_DELETION = "DELETE FROM tombstones WHERE id = ?"

STATES = """
SELECT sessions.id, metadata.value FROM metadata
JOIN sessions ON sessions.number = metadata.session
WHERE metadata.key = ? AND sessions.source = ? AND is_stub = 0
"""

STATE_OF = f"{STATES} AND sessions.id = ?"

_LAST_IMPORTED = """
SELECT events.id FROM events JOIN invocations ON invocations.number = events.invocation
WHERE events.key > ? AND events.key <= ? AND invocations.id = ?
ORDER BY events.key DESC LIMIT 1
"""


def is_deleted(db: Connection, session_id: str) -> bool:
    """Return whether an imported session with this id was deleted."""
    sql = "SELECT 1 FROM tombstones WHERE id = ?"
    return db.execute(sql, (session_id,)).fetchone() is not None


def preview(
    db: Connection, session_id: str, events: Sequence[ImportedEvent], *, revive: bool
) -> ImportResult:
    """Return how many of *events* are not stored; nothing else is known of them."""
    if not revive and is_deleted(db, session_id):
        return ImportResult(session_id=session_id, is_deleted=True)
    session = queries.find_session(db, session_id)
    if session is None:
        return ImportResult(session_id=session_id, added=len(events))
    events = prompts.Prompts(db, session).recognize(events)
    stored = sum(_is_stored(db, session, each.event.id) for each in events)
    return ImportResult(session_id=session_id, added=len(events) - stored)


def continue_session(
    db: Connection,
    session: Row,
    events: Sequence[ImportedEvent],
    *,
    after: str | None,
    origin: Origin,
    title: str | None,
    now: Timestamp,
) -> ImportResult:
    """Append those of *events* that are not stored to *session*, or to a fork of it."""
    ahead = prompts.Prompts(db, session)
    events = ahead.recognize(events)
    ahead.save()
    new = [each for each in events if not _is_stored(db, session, each.event.id)]
    is_fork = False
    while new:
        # Prompts that were stored ahead are passed over: others may have been stored behind them.
        first = events.index(new[0])
        while first and prompts.is_prompt(events[first - 1].event.id):
            first -= 1
        previous: str | None
        if first:
            previous = events[first - 1].event.id
        elif after is None and prompts.is_prompt(events[0].event.id):
            previous = _last_imported(db, session)
        else:
            previous = ahead.stored_id(after)
        if previous is None or not _is_past_changed(db, session, previous):
            break
        # The fork may be one of an earlier import, after which the past has changed again.
        is_fork = True
        session = _fork(db, session, previous, new[0].event.id, now)
        new = [each for each in events[first:] if not _is_stored(db, session, each.event.id)]
    new = list({each.event.id: each for each in new}.values())
    _append(db, session, new, origin=origin, title=title, now=now)
    return ImportResult(session_id=session["id"], added=len(new), is_fork=is_fork)


def _last_imported(db: Connection, session: Row) -> str | None:
    number = session["number"] << 32
    values = (number, number + session["event_count"], INVOCATION)
    row = db.execute(_LAST_IMPORTED, values).fetchone()
    return None if row is None else unpack(row["id"])


def _is_past_changed(db: Connection, session: Row, previous: str) -> bool:
    """Return whether something else than prompts follows *previous* here, if it is stored."""
    seq = spans.find_seq(db, session, previous)
    if seq is None:
        return False
    if seq < session["fork_seq"]:
        return True
    keys = _keys_after(session, seq)
    return prompts.has_others(db, keys, INVOCATION, any_imported=prompts.is_prompt(previous))


def _keys_after(session: Row, seq: int) -> range:
    """Return the keys that a session's own events after *seq* have."""
    first = session["number"] << 32
    return range(first + seq + 1, first + session["event_count"] + 1)


def _is_stored(db: Connection, session: Row, event_id: str) -> bool:
    return spans.find_seq(db, session, event_id) is not None


def _fork(db: Connection, session: Row, at: str, first_new: str, now: Timestamp) -> Row:
    """Return the fork that has *first_new* after *at*; make it if there is none."""
    id = str(uuid.uuid5(_FORKS, f"{session['id']}/{at}/{first_new}"))
    if (found := queries.find_session(db, id)) is not None:
        return found
    keys = _keys_after(session, spans.find_seq(db, session, at) or 0)
    is_continued = prompts.has_others(db, keys, INVOCATION, any_imported=True)
    spans.fork(db, session, NewFork(id=id, at=at, archive_original=not is_continued), now)
    sql = "UPDATE sessions SET updated_at = ? WHERE id = ?"
    db.execute(sql, (session["updated_at"], id))
    return queries.get_session(db, id)


def _append(
    db: Connection,
    session: Row,
    events: Sequence[ImportedEvent],
    *,
    origin: Origin,
    title: str | None,
    now: Timestamp,
) -> None:
    if title is None and session["automatic_title"] is None:
        title = next(filter(None, (title_of(each.event) for each in events)), None)
    number: int = session["number"]
    imported = Invocation(
        id=INVOCATION, client_name=origin.client_name, client_version=origin.client_version
    )
    invocations: dict[str, int] = {}
    first = (number << 32) + session["event_count"] + 1
    for key, each in enumerate(events, first):
        event, time = each.event, min(each.created_at, now)
        invocation = each.invocation or imported
        if invocation.id not in invocations:
            invocations[invocation.id] = _number_of(db, number, invocation)
        by = invocations[invocation.id]
        row = (key, pack(event.id), by, time, event.type, event.json_text)
        db.execute(INSERT_EVENT, row)
    values: Mapping[str, Any] = {
        "added": len(events),
        "updated_at": max((min(each.created_at, now) for each in events), default=0),
        "title": title,
        "client": origin.client_name,
        "agent": origin.agent,
        "model": origin.model,
        "number": number,
    }
    db.execute(_UPDATE_SESSION, values)


def _number_of(db: Connection, session: int, invocation: Invocation) -> int:
    """Return the number of an invocation of a session, which is inserted if it is new."""
    row = db.execute(FIND_INVOCATION, (session, invocation.id)).fetchone()
    if row is None:
        values = (session, invocation.id, invocation.client_name, invocation.client_version)
        row = db.execute(INSERT_INVOCATION, values).fetchone()
    return int(row["number"])
