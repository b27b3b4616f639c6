"""Stores events that were imported from other programs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segue.model.events import title as title_of
from segue.model.imports import ImportedEvent, ImportResult
from segue.model.records import PROMPT_RECORDS, Invocation, NewFork, Origin, Timestamp
from segue.store.rules.importing import (
    INVOCATION,
    distinct,
    find_change,
    is_continued,
    new_events,
)
from segue.store.rules.importing import STATE as STATE
from segue.store.rules.prompts import TAIL, Prompts
from segue.store.sqlite import queries, spans
from segue.store.sqlite.append import (
    FIND_INVOCATION,
    INSERT_EVENT,
    INSERT_INVOCATION,
    PROMPT_TYPE,
)
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.revisions import revised
from segue.store.sqlite.row_values import Row, pack, unpack

_UPDATE_SESSION = """
UPDATE sessions SET
    event_count = event_count + :added, updated_at = max(updated_at, :updated_at),
    title = coalesce(:title, title), client = coalesce(:client, client),
    agent = coalesce(:agent, agent), model = coalesce(:model, model),
    branch = coalesce(:branch, branch), last_prompt_at = coalesce(:prompted_at, last_prompt_at),
    revisions = :revisions
WHERE number = :number
"""

FORGET_DELETION = """
UPDATE tombstones SET generation = generation + 1 WHERE id = ? AND generation & 1 = 1
"""

STATES = """
SELECT sessions.id, metadata.value FROM metadata
JOIN sessions ON sessions.number = metadata.session
WHERE metadata.key = ?1 AND coalesce(sessions.source, ?2) = ?2 AND is_stub = 0
"""
"""Of one that Segue has recorded itself, too: then the state alone tells the source's file."""

STATE_OF = f"{STATES} AND sessions.id = ?3"

FIND_METADATA = """
SELECT sessions.id, metadata.value FROM metadata
JOIN sessions ON sessions.number = metadata.session
WHERE metadata.key = ? AND is_stub = 0
"""
"""It looks at the metadata of all sessions: an import, a hook or a list asks once, and a watcher
for each file that has changed."""

_LAST_IMPORTED = """
SELECT events.id FROM events JOIN invocations ON invocations.number = events.invocation
WHERE events.key > ? AND events.key <= ? AND invocations.id = ?
ORDER BY events.key DESC LIMIT 1
"""


# In the order of SQLite a text is before every blob, and 0 is the character after the slash.
_PROMPTS = "SELECT id FROM events WHERE session = ? AND id >= 'prompt/' AND id < 'prompt0'"
_PROMPT = "SELECT created_at, data FROM events WHERE session = ? AND id = ?"
_RECORDS = "SELECT value FROM metadata WHERE session = ? AND key = ?"
_SAVE_RECORDS = "INSERT OR REPLACE INTO metadata (session, key, value) VALUES (?, ?, ?)"

_LAST = "SELECT id, type, data FROM events WHERE key > ? AND key <= ? ORDER BY key DESC LIMIT ?"

_OTHERS = """
SELECT EXISTS (
    SELECT 1 FROM events LEFT JOIN invocations ON invocations.number = events.invocation
    WHERE events.key > ? AND events.key <= ? AND (
        invocations.id IS NOT ?
        OR NOT (? OR (typeof(events.id) = 'text' AND substr(events.id, 1, 7) = 'prompt/'))
    )
)
"""


class _Facts:
    """The SessionFacts of a session, each read when it is asked for."""

    def __init__(self, db: Connection, session: Row) -> None:
        self._db = db
        self._session = session
        self._number: int = session["number"]
        self._first = self._number << 32
        self.id: str = session["id"]
        self.fork_seq: int = session["fork_seq"]

    def find_seq(self, event_id: str) -> int | None:
        return spans.find_seq(self._db, self._session, event_id)

    def last_imported(self) -> str | None:
        values = (self._first, self._first + self._session["event_count"], INVOCATION)
        row = self._db.execute(_LAST_IMPORTED, values).fetchone()
        return None if row is None else unpack(row["id"])

    def has_others(self, seq: int, *, any_imported: bool) -> bool:
        last = self._first + self._session["event_count"]
        values = (self._first + seq, last, INVOCATION, any_imported)
        return bool(self._db.execute(_OTHERS, values).fetchone()[0])

    def prompt_ids(self) -> Sequence[str]:
        rows = self._db.execute(_PROMPTS, (self._number,)).fetchall()
        return [unpack(row["id"]) for row in rows]

    def prompt(self, event_id: str) -> tuple[int, str]:
        row = self._db.execute(_PROMPT, (self._number, event_id)).fetchone()
        return row["created_at"], row["data"]

    def prompt_records(self) -> str | None:
        row = self._db.execute(_RECORDS, (self._number, PROMPT_RECORDS)).fetchone()
        return None if row is None else str(row["value"])

    def tail(self) -> Iterator[tuple[str, str, str]]:
        values = (self._first, self._first + self._session["event_count"], TAIL)
        for row in self._db.execute(_LAST, values):
            yield unpack(row["id"]), row["type"], row["data"]


def is_deleted(db: Connection, session_id: str) -> bool:
    """Return whether an imported session with this id was deleted."""
    sql = "SELECT 1 FROM tombstones WHERE id = ? AND generation & 1 = 1 AND is_imported = 1"
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
    facts = _Facts(db, session)
    new = new_events(facts, Prompts(facts).recognize(events))
    return ImportResult(session_id=session_id, added=len(new))


def continue_session(
    db: Connection,
    session: Row,
    events: Sequence[ImportedEvent],
    *,
    after: str | None,
    origin: Origin,
    title: str | None,
    revive: bool,
    now: Timestamp,
) -> ImportResult:
    """Append those of *events* that are not stored to *session*, or to a fork of it.

    A fork that was deleted here stays deleted unless *revive*, as sessions do.
    """
    facts = _Facts(db, session)
    ahead = Prompts(facts)
    events = ahead.recognize(events)
    if (records := ahead.new_records()) is not None:
        db.execute(_SAVE_RECORDS, (session["number"], PROMPT_RECORDS, records))
    new = new_events(facts, events)
    made_fork = False
    while new and (change := find_change(facts, ahead, events, new, after)) is not None:
        # The fork may be one of an earlier import, after which the past has changed again.
        if revive:
            db.execute(FORGET_DELETION, (change.fork_id,))
        elif is_deleted(db, change.fork_id):
            return ImportResult(session_id=change.fork_id, is_deleted=True)
        fork = queries.find_session(db, change.fork_id)
        made_fork = fork is None
        session = fork or _make_fork(db, session, change.at, change.fork_id, now)
        facts = _Facts(db, session)
        new = new_events(facts, events[change.first :])
    new = distinct(new)
    _append(db, session, new, origin=origin, title=title, now=now)
    return ImportResult(session_id=session["id"], added=len(new), made_fork=made_fork)


def _make_fork(db: Connection, session: Row, at: str, id: str, now: Timestamp) -> Row:
    takes_place = not is_continued(_Facts(db, session), at)
    spans.fork(db, session, NewFork(id=id, at=at, archive_original=takes_place), now)
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
    revisions = session["revisions"]
    if title not in (None, session["automatic_title"]) and session["event_count"]:
        revisions = revised(revisions, "automatic", now)
    imported = Invocation(
        id=INVOCATION, client_name=origin.client_name, client_version=origin.client_version
    )
    invocations: dict[str, int] = {}
    first = (number << 32) + session["event_count"] + 1
    for key, each in enumerate(events, first):
        event, time = each.event, min(each.created_at, now)
        invocation = each.invocation or imported
        if invocation.id not in invocations:
            invocations[invocation.id] = number_of(db, number, invocation)
        by = invocations[invocation.id]
        row = (key, pack(event.id), by, time, event.type, event.json_text)
        db.execute(INSERT_EVENT, row)
    prompted = [each.created_at for each in events if each.event.type == PROMPT_TYPE]
    values: Mapping[str, Any] = {
        "added": len(events),
        "updated_at": max((min(each.created_at, now) for each in events), default=0),
        "title": title,
        "revisions": revisions,
        # Who had the last events: not changed by a file that had none that are new.
        "client": origin.client_name if events else None,
        "agent": origin.agent if events else None,
        "model": origin.model if events else None,
        "branch": origin.branch if events else None,
        "prompted_at": min(prompted[-1], now) if prompted else None,
        "number": number,
    }
    db.execute(_UPDATE_SESSION, values)


def number_of(db: Connection, session: int, invocation: Invocation) -> int:
    """Return the number of an invocation of a session, which is inserted if it is new."""
    row = db.execute(FIND_INVOCATION, (session, invocation.id)).fetchone()
    if row is None:
        values = (session, invocation.id, invocation.client_name, invocation.client_version)
        row = db.execute(INSERT_INVOCATION, values).fetchone()
    return int(row["number"])
