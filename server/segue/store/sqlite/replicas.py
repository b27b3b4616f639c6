"""Copies of sessions that are exchanged with another store: reads them, and writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from segue.model import json_text
from segue.model.errors import EventNotFound, HeadMoved, SessionNotFound
from segue.model.imports import ImportedEvent
from segue.model.records import Machine, NewFork, Timestamp
from segue.model.replicas import (
    LOCAL_METADATA,
    Replica,
    Tombstone,
    Version,
    VersionPage,
    encoded_revisions,
    joined,
    split,
)
from segue.store.rules.importing import IMPORTED
from segue.store.sqlite import queries, schema, spans
from segue.store.sqlite.append import INSERT_EVENT
from segue.store.sqlite.commit import Transaction
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.importing import number_of
from segue.store.sqlite.revisions import revised, revisions
from segue.store.sqlite.row_values import Row, coerced, pack, unpack, validated

# -- reading -------------------------------------------------------------------------------------

# A session that lives although it has a tombstone, with an odd generation, was created again.
_GENERATION = """coalesce(
    (SELECT generation + (generation & 1) FROM tombstones WHERE tombstones.id = {id}), 0
)"""

_LIVE_VERSIONS = f"""
SELECT id, event_count, head, revisions, {_GENERATION.format(id="session_records.id")} AS generation
FROM session_records WHERE id > ? ORDER BY id LIMIT +?
"""  # noqa: S608  the name of a column

_DELETED_VERSIONS = """
SELECT id, generation FROM tombstones
WHERE id > ? AND generation & 1 = 1
AND NOT EXISTS (SELECT 1 FROM session_records WHERE session_records.id = tombstones.id)
ORDER BY id LIMIT +?
"""

_TOMBSTONE = "SELECT id, generation, events, is_imported FROM tombstones WHERE id = ?"

_COPIED = (
    "directory", "git_root", "git_common_dir", "repository", "source", "created_at",
    "event_count", "head", "automatic_title", "model_visible", "client", "agent", "model", "branch",
    "updated_at", "last_prompt_at", "forked_from", "given_title", "archived_at",
    "server_session_id",
)  # fmt: skip
"""The columns of `session_records` whose values a replica has under the same names."""

_SESSION = f"""
SELECT number, {", ".join(_COPIED)}, forked_at, revisions, {_GENERATION.format(id=":id")}
    AS generation, machine,
    (SELECT machine_id FROM sessions WHERE sessions.id = :id) AS machine_id,
    (SELECT worktree FROM sessions WHERE sessions.id = :id) AS worktree
FROM session_records WHERE id = :id
"""  # noqa: S608  names of columns


def versions(db: Connection, after: str, limit: int) -> VersionPage:
    """Return the versions of *limit* sessions and tombstones behind the id *after*."""
    live = map(validated, db.execute(_LIVE_VERSIONS, (after, limit + 1)))
    found = [
        Version(
            id=row["id"],
            generation=row["generation"],
            event_count=row["event_count"],
            head=None if row["head"] is None else unpack(row["head"]),
            revisions=row["revisions"],
        )
        for row in live
    ]
    for row in map(validated, db.execute(_DELETED_VERSIONS, (after, limit + 1))):
        generation = row["generation"]
        found.append(
            Version(id=row["id"], generation=generation, event_count=0, head=None, revisions=None)
        )
    found.sort(key=lambda version: version.id.encode("utf-8", "surrogatepass"))
    return VersionPage(versions=found[:limit], has_more=len(found) > limit)


def read(db: Connection, session_id: str) -> Replica | Tombstone | None:
    """Return the replica of a session, or its tombstone, or None."""
    row = db.execute(_SESSION, {"id": session_id}).fetchone()
    if row is None:
        queries.raise_if_index_lost(db, session_id)
        return _tombstone(db, session_id)
    values = coerced(row)
    copied = {name: values[name] for name in _COPIED}
    copied["head"] = unpack(values["head"])
    copied["model_visible"] = bool(values["model_visible"])
    machine_id, name = values["machine_id"], values["machine"]
    return Replica(
        **copied,
        id=session_id,
        generation=values["generation"],
        machine=None if machine_id is None else Machine(id=machine_id, name=name or ""),
        worktree=values["worktree"],
        fork_seq=values["forked_at"] or None,
        metadata=_metadata(db, values["number"]),
        revisions=revisions(values["revisions"]),
    )


def _tombstone(db: Connection, session_id: str) -> Tombstone | None:
    row = db.execute(_TOMBSTONE, (session_id,)).fetchone()
    if row is None or row["generation"] % 2 == 0:
        return None
    return Tombstone(
        id=session_id,
        generation=row["generation"],
        events=split(row["events"] or ""),
        is_imported=bool(row["is_imported"]),
    )


def _metadata(db: Connection, number: int) -> dict[str, Any]:
    sql = "SELECT key, value FROM metadata WHERE session = ? ORDER BY key"
    rows = db.execute(sql, (number,)).fetchall()
    return {
        row["key"]: json_text.decode(row["value"])[0]
        for row in rows
        if row["key"] not in LOCAL_METADATA
    }


# -- writing -------------------------------------------------------------------------------------

_FOLLOWS_EVENTS = {
    "title": "automatic_title",
    "model_visible": "model_visible",
    "client": "client",
    "agent": "agent",
    "model": "model",
    "branch": "branch",
    "updated_at": "updated_at",
    "last_prompt_at": "last_prompt_at",
}
"""The columns whose values events change, and the fields of a replica that have them."""

_REVISED = {
    "title": {"given_title": "given_title"},
    "automatic": {"title": "automatic_title"},
    "archive": {"archived_at": "archived_at"},
    "server": {"server_session_id": "server_session_id"},
    "origin": {"forked_from": "forked_from", "forked_at": "fork_seq"},
}
"""The columns of what is revised, and the fields of a replica that have them."""

_INSERT_SESSION = """
INSERT INTO sessions (id, directory, created_at, updated_at) VALUES (?, ?, ?, ?)
"""

_KEEP_GENERATION = """
INSERT INTO tombstones (id, generation) VALUES (?, ?)
ON CONFLICT (id) DO UPDATE SET generation = max(generation, excluded.generation)
"""

_IS_DELETED = "SELECT 1 FROM tombstones WHERE id = ? AND generation & 1 = 1"


def write(
    transaction: Transaction,
    replica: Replica,
    events: Sequence[ImportedEvent],
    parent_id: str | None,
) -> None:
    """Do as `SessionService.write_replica` promises."""
    db = transaction.db
    here = read(db, replica.id)
    if isinstance(here, Tombstone) and here.generation >= replica.generation:
        raise SessionNotFound(replica.id)
    if not isinstance(here, Replica):
        _create(db, replica, parent_id)
    if replica.generation:
        db.execute(_KEEP_GENERATION, (replica.id, replica.generation))
    session = queries.get_session(db, replica.id)
    added = _append(db, session, events, parent_id)
    values: dict[str, Any] = {"event_count": session["event_count"] + added}
    if added or not isinstance(here, Replica):
        values |= {column: getattr(replica, name) for column, name in _FOLLOWS_EVENTS.items()}
    if isinstance(here, Replica):
        values |= _merge(transaction, session["number"], here, replica)
    _update(db, session["number"], values)
    transaction.counts[session["number"]] = values["event_count"]


def _create(db: Connection, replica: Replica, parent_id: str | None) -> None:
    """Insert the session, without events or with those of its original up to *parent_id*."""
    if parent_id is None:
        times = replica.created_at, replica.updated_at
        db.execute(_INSERT_SESSION, (replica.id, replica.directory, *times))
    else:
        original = queries.find_session(db, replica.forked_from or "")
        seq = None if original is None else spans.find_seq(db, original, parent_id)
        if original is None or seq is None or seq != replica.fork_seq:
            raise EventNotFound(parent_id)
        spans.fork(db, original, NewFork(id=replica.id, at=parent_id), replica.updated_at)
    session = queries.get_session(db, replica.id)
    values = _places(replica) | {"source": replica.source, "created_at": replica.created_at}
    for columns in _REVISED.values():
        values |= {column: getattr(replica, name) for column, name in columns.items()}
    values["revisions"] = encoded_revisions(replica.revisions)
    _update(db, session["number"], _without_deleted_origin(db, values))
    for key, value in replica.metadata.items():
        _set_metadata(db, session["number"], key, value)


def _places(replica: Replica) -> dict[str, Any]:
    """Return the columns of where it happened: no path of another machine is in those of this."""
    machine, directory, git_root = replica.machine, replica.directory, replica.git_root
    is_here = machine is None
    return {
        "directory": directory if is_here else "",
        "git_root": git_root if is_here else None,
        "git_common_dir": replica.git_common_dir if is_here else None,
        "repository": replica.repository,
        "worktree": replica.worktree,
        "machine_id": None if machine is None else machine.id,
        "machine": None if machine is None else machine.name,
        "remote_directory": None if is_here else directory,
        "remote_git_root": None if is_here else git_root,
    }


def _append(
    db: Connection, session: Row, events: Sequence[ImportedEvent], parent_id: str | None
) -> int:
    """Append those of *events* that are not stored, and return how many; raise HeadMoved."""
    new = [each for each in events if spans.find_seq(db, session, each.event.id) is None]
    if not new:
        return 0
    first, number = events.index(new[0]), session["number"]
    head = None if session["head"] is None else unpack(session["head"])
    if head != (events[first - 1].event.id if first else parent_id):
        raise HeadMoved(head, session["event_count"])
    invocations: dict[str, int] = {}
    for key, each in enumerate(new, (number << 32) + session["event_count"] + 1):
        invocation, event = each.invocation or IMPORTED, each.event
        if invocation.id not in invocations:
            invocations[invocation.id] = number_of(db, number, invocation)
        by = invocations[invocation.id]
        values = (key, pack(event.id), by, each.created_at, event.type, event.json_text)
        db.execute(INSERT_EVENT, values)
    return len(new)


def _merge(
    transaction: Transaction, number: int, here: Replica, replica: Replica
) -> dict[str, Any]:
    """Return the columns that *replica* has later revisions of; write its later metadata."""
    db = transaction.db
    later = {
        field: revision
        for field, revision in replica.revisions.items()
        if revision > here.revisions.get(field, "")
    }
    if not later:
        return {}
    values: dict[str, Any] = {}
    for field in later:
        if field in _REVISED:
            columns = _REVISED[field]
            values |= {column: getattr(replica, name) for column, name in columns.items()}
        elif field.startswith("metadata/"):
            key = field.removeprefix("metadata/")
            _set_metadata(db, number, key, replica.metadata.get(key))
    transaction.erase()
    values["revisions"] = encoded_revisions({**here.revisions, **later})
    return _without_deleted_origin(db, values)


def _without_deleted_origin(db: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Return *values* as they are after the session that it is a fork of was deleted, if it was."""
    origin = values.get("forked_from")
    if origin is None or db.execute(_IS_DELETED, (origin,)).fetchone() is None:
        return values
    return values | {"forked_from": None}


def _set_metadata(db: Connection, number: int, key: str, value: Any) -> None:
    db.execute("DELETE FROM metadata WHERE session = ? AND key = ?", (number, key))
    if value is not None:
        sql = "INSERT INTO metadata (session, key, value) VALUES (?, ?, ?)"
        db.execute(sql, (number, key, json_text.encode("$.value", value)))


def _update(db: Connection, number: int, values: Mapping[str, Any]) -> None:
    columns = ", ".join(f"{name} = :{name}" for name in values)
    sql = f"UPDATE sessions SET {columns} WHERE number = :number"  # noqa: S608  names of columns
    db.execute(sql, {**values, "number": number})


# -- deleting ------------------------------------------------------------------------------------

_REPLACE_TOMBSTONE = """
INSERT INTO tombstones (id, generation, events, is_imported)
VALUES (:id, :generation, :events, :is_imported)
ON CONFLICT (id) DO UPDATE SET
    generation = max(generation, :generation), events = :events, is_imported = :is_imported
"""


def check_head(db: Connection, session_id: str, head: str | None) -> None:
    """Raise HeadMoved unless the session's head is *head*: None if it does not exist."""
    session = queries.find_session(db, session_id)
    found = None if session is None else unpack(session["head"])
    if found != head:
        raise HeadMoved(found, 0 if session is None else session["event_count"])


def replace_tombstone(db: Connection, tombstone: Tombstone) -> None:
    """Store the tombstone of a session that does not exist, unless a later one is stored."""
    here = _tombstone(db, tombstone.id)
    if here is None or here.generation <= tombstone.generation:
        values = {
            "id": tombstone.id,
            "generation": tombstone.generation,
            "events": joined(tombstone.events),
            "is_imported": tombstone.is_imported,
        }
        db.execute(_REPLACE_TOMBSTONE, values)
        sql = "UPDATE sessions SET forked_from = NULL WHERE forked_from = ?"
        db.execute(sql, (tombstone.id,))


# -- setting aside -------------------------------------------------------------------------------

_ALL = tuple(column.name for column in schema.COLUMNS["sessions"] if not column.is_rowid)

_RENAME = "UPDATE sessions SET id = :id, forked_from = :origin, forked_at = :seq WHERE number = :of"

_INSERT_REST = f"""
INSERT INTO sessions ({", ".join(_ALL)}) SELECT {", ".join(f":{name}" for name in _ALL)}
RETURNING number
"""

_COPY_METADATA = """
INSERT INTO metadata (session, key, value)
SELECT ?, key, value FROM metadata WHERE session = ? AND NOT key IN (SELECT value FROM json_each(?))
"""

_FORKS_BEHIND = """
SELECT number, revisions FROM sessions
WHERE forked_from = ? AND coalesce(forked_at, fork_seq) > ? AND is_stub = 0
"""

_SET_ORIGIN = "UPDATE sessions SET forked_from = ?, revisions = ? WHERE number = ?"


def set_aside(
    transaction: Transaction,
    session_id: str,
    *,
    id: str,
    at: str | None,
    head: str,
    now: Timestamp,
) -> None:
    """Do as `SessionService.set_aside` promises, for a session that nobody holds.

    The fork keeps the row, so that no event moves, and the forks of both find theirs.
    """
    db = transaction.db
    check_head(db, session_id, head)
    if queries.find_session(db, id) is not None:
        raise HeadMoved(head, 0)
    session = queries.get_session(db, session_id)
    number = session["number"]
    seq = 0 if at is None else spans.find_seq(db, session, at)
    if seq is None:
        raise EventNotFound(at or "")
    sql = "SELECT * FROM sessions WHERE number = ?"
    row = coerced(db.execute(sql, (number,)).fetchone())
    shared = [span for span in spans.spans_of(db, session) if span.after < seq]
    db.execute(_RENAME, {"id": id, "origin": session_id if seq else None, "seq": seq, "of": number})
    for fork in db.execute(_FORKS_BEHIND, (session_id, seq)).fetchall():
        later = revised(fork["revisions"], "origin", now)
        db.execute(_SET_ORIGIN, (id, later, fork["number"]))
    if seq == 0:
        return
    rest = {name: row[name] for name in _ALL} | {
        "event_count": seq,
        "fork_seq": seq,
        "forked_at": session["forked_at"],
    }
    (left,) = db.execute(_INSERT_REST, rest).fetchone()
    keys = [((left << 32) + min(span.last, seq), span.strand) for span in shared]
    db.executemany("INSERT INTO spans (key, strand) VALUES (?, ?)", keys)
    local = json_text.encode("$", sorted(LOCAL_METADATA))
    db.execute(_COPY_METADATA, (left, number, local))
    transaction.counts[left] = seq
