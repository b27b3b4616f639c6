"""Forks: sessions whose first events lie in other sessions.

A span is a run of a session's events that another session, the strand, has under the same seqs. So
a fork costs a few rows, whatever its length, and every event is stored once. A session that is
deleted while others have events of it becomes a stub, which has nothing but those.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import EventNotFound
from segue.model.events import model_visible_types, new_id
from segue.model.records import AGENTS, NewFork, Timestamp
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, coerced, pack, unpack, validated
from segue.store.sqlite.schema import MAX_SEQ

_SPANS = "SELECT key, strand FROM spans WHERE key > ? AND key <= ? ORDER BY key"

_STRAND_OF = "SELECT strand FROM spans WHERE key >= ? AND key <= ? ORDER BY key LIMIT 1"

# A strand's own events begin behind the span before it, so a lower bound is not needed.
_SHARED_EVENT = """
SELECT events.key, events.type, events.data FROM spans
JOIN events ON events.session = spans.strand AND events.id = ?
WHERE spans.session = ? AND (events.key & 4294967295) <= (spans.key & 4294967295)
"""


@attrs.frozen
class Span:
    """The events of a session with a seq above *after*, up to *last*: they lie in *strand*."""

    strand: int
    after: int
    last: int


def spans_of(db: Connection, session: Row) -> list[Span]:
    """Return the spans of a session, and its own events as the last one, in their order."""
    number, spans, after = session["number"], [], 0
    if session["fork_seq"]:
        first = number << 32
        for row in map(validated, db.execute(_SPANS, (first, first + session["fork_seq"]))):
            last = row["key"] & MAX_SEQ
            spans.append(Span(row["strand"], after, last))
            after = last
    return [*spans, Span(number, after, MAX_SEQ)]


def event_key(db: Connection, session: Row, seq: int) -> int:
    """Return the key in `events` of a session's event: its own, or a strand's."""
    number: int = session["number"]
    if seq <= session["fork_seq"]:
        first = number << 32
        row = db.execute(_STRAND_OF, (first + seq, first + MAX_SEQ)).fetchone()
        number = number if row is None else validated(row)["strand"]
    return (number << 32) + seq


def shared_event(db: Connection, number: int, event_id: str) -> Row | None:
    """Return key, type and data of an event that a fork has in common with others, or None."""
    row = db.execute(_SHARED_EVENT, (pack(event_id), number)).fetchone()
    return None if row is None else coerced(row)


def find_seq(db: Connection, session: Row, event_id: str) -> int | None:
    """Return the seq of a session's event, its own or a strand's; None if it has none."""
    sql = "SELECT key FROM events WHERE session = ? AND id = ?"
    row = db.execute(sql, (session["number"], pack(event_id))).fetchone()
    if row is None and session["fork_seq"]:
        row = shared_event(db, session["number"], event_id)
    return None if row is None else int(row["key"]) & MAX_SEQ


# -- forking -------------------------------------------------------------------------------------

_FORK = """
INSERT INTO sessions (
    id, directory, git_root, git_common_dir, repository, worktree,
    machine_id, machine, remote_directory, remote_git_root,
    title, given_title, forked_from, fork_seq,
    source, client, agent, model, branch, event_count, model_visible, created_at, updated_at
)
SELECT
    :id, coalesce(:directory, directory),
    CASE WHEN :directory IS NULL THEN git_root ELSE :git_root END,
    CASE WHEN :directory IS NULL THEN git_common_dir ELSE :git_common_dir END,
    CASE WHEN :directory IS NULL THEN repository ELSE :repository END,
    CASE WHEN :directory IS NULL THEN worktree ELSE :worktree END,
    CASE WHEN :directory IS NULL THEN machine_id END, CASE WHEN :directory IS NULL THEN machine END,
    CASE WHEN :directory IS NULL THEN remote_directory END,
    CASE WHEN :directory IS NULL THEN remote_git_root END,
    :title, :given_title, id, :seq, source, client, agent, model,
    CASE WHEN :directory IS NULL THEN branch END, :seq, :model_visible, :now, :now
FROM sessions WHERE number = :original
RETURNING number
"""


_ARCHIVE = """
UPDATE sessions SET archived_at = coalesce(archived_at, ?), revisions = ? WHERE number = ?
"""

# With a bound: a fork must not cost more because there are many.
_COUNT_FORKS = """
SELECT count(*) FROM (SELECT 1 FROM sessions WHERE forked_from = ? LIMIT 99)
"""


def fork(db: Connection, original: Row, new: NewFork, now: Timestamp) -> None:
    """Insert the fork *new* of a session, whose row is *original*; raise EventNotFound."""
    seq = original["event_count"] if new.at is None else _seq_of(db, original, new.at)
    spans = [span for span in spans_of(db, original) if span.after < seq]
    takes_place = new.archive_original
    values = {
        "id": new.id,
        "directory": new.directory,
        "git_root": new.git_root,
        "git_common_dir": new.git_common_dir,
        "repository": new.repository,
        "worktree": new.worktree,
        "title": _title(db, original, spans, seq, takes_place=takes_place),
        "given_title": new.title or (original["given_title"] if takes_place else None),
        "seq": seq,
        "model_visible": _is_model_visible(db, original, spans, seq),
        "now": now,
        "original": original["number"],
    }
    (number,) = db.execute(_FORK, values).fetchone()
    rows = [((number << 32) + min(span.last, seq), span.strand) for span in spans]
    db.executemany("INSERT INTO spans (key, strand) VALUES (?, ?)", rows)
    if takes_place:
        from segue.store.sqlite.revisions import revised

        revisions = revised(original["revisions"], "archive", now)
        db.execute(_ARCHIVE, (now, revisions, original["number"]))


def _seq_of(db: Connection, session: Row, event_id: str) -> int:
    if (seq := find_seq(db, session, event_id)) is None:
        raise EventNotFound(event_id)
    return seq


def _title(
    db: Connection, original: Row, spans: Sequence[Span], seq: int, *, takes_place: bool
) -> str | None:
    """Return the automatic title of a fork; None: its next user message gives it one."""
    if takes_place:
        has_title = seq == original["event_count"] or _has_title(db, spans, seq)
        return original["automatic_title"] if has_title else None
    if original["title"] is None:
        return None
    (forks,) = db.execute(_COUNT_FORKS, (original["id"],)).fetchone()
    from segue.model.titles import copy_title  # only a new conversation needs it

    return copy_title(original["title"], forks)


def _has_title(db: Connection, spans: Sequence[Span], seq: int) -> bool:
    """Return whether an event up to *seq* gives a title: mostly, the first user message does."""
    from segue.model.titles import title_of

    sql = (
        "SELECT data FROM events WHERE key > ? AND key <= ? AND type = 'user_message' ORDER BY key"
    )
    for span in spans:
        first = span.strand << 32
        rows = db.execute(sql, (first + span.after, first + min(span.last, seq)))
        for row in map(validated, rows):
            data, _ = json_text.decode(row["data"])
            content = data.get("content") if isinstance(data, dict) else None
            if isinstance(content, str) and title_of(content):
                return True
    return False


def _is_model_visible(db: Connection, original: Row, spans: Sequence[Span], seq: int) -> bool:
    if seq == original["event_count"] or not original["model_visible"]:
        return bool(original["model_visible"])
    return _has_type(db, spans, seq, model_visible_types())


def _has_type(db: Connection, spans: Sequence[Span], seq: int, types: Sequence[str]) -> bool:
    """Return whether an event up to *seq* has one of *types*: mostly, the first ones do."""
    marks = ", ".join("?" * len(types))
    sql = f"SELECT EXISTS (SELECT 1 FROM events WHERE key > ? AND key <= ? AND type IN ({marks}))"  # noqa: S608  question marks
    for span in spans:
        first = span.strand << 32
        values = (first + span.after, first + min(span.last, seq), *types)
        if db.execute(sql, values).fetchone()[0]:
            return True
    return False


# -- deleting ------------------------------------------------------------------------------------

_STUB: Mapping[str, Any] = {
    "directory": "",
    "git_root": None,
    "git_common_dir": None,
    "repository": None,
    "worktree": None,
    "machine_id": None,
    "machine": None,
    "remote_directory": None,
    "remote_git_root": None,
    "title": None,
    "given_title": None,
    "server_session_id": None,
    "forked_from": None,
    "source": None,
    "client": None,
    "agent": None,
    "model": None,
    "branch": None,
    "last_prompt_at": None,
    "revisions": None,
    "forked_at": None,
    "model_visible": 0,
    "created_at": 0,
    "updated_at": 0,
    "archived_at": None,
    "is_stub": 1,
}
"""What the row of a stub has, besides its number, its spans and an id that nobody knows."""

_VALUES = ", ".join(f"{name} = :{name}" for name in _STUB)
_MAKE_STUB = f"UPDATE sessions SET id = :id, event_count = :last, {_VALUES} WHERE number = :number"  # noqa: S608  names of columns

_STUB_STRANDS = """
SELECT strand FROM spans JOIN sessions ON sessions.number = strand
WHERE session = ? AND is_stub = 1
"""

# A session that lives although it has a tombstone, with an odd generation, was created again.
_BURY = """
INSERT INTO tombstones (id, generation, events, is_imported) VALUES (?, 1, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    generation = generation + 1 + (generation & 1), events = excluded.events,
    is_imported = excluded.is_imported
"""

_MARK_DELETED = """
INSERT INTO tombstones (id)
WITH agents (value) AS (
    SELECT agent.value FROM metadata, json_each(
        iif(json_valid(metadata.value), metadata.value, '{}')
    ) AS agent
    WHERE metadata.session = :number AND metadata.key = :agents AND agent.type = 'object'
), conversations (value) AS (
    SELECT value FROM agents
    UNION ALL SELECT former.value FROM agents, json_each(agents.value, '$.former') AS former
    WHERE former.type = 'object'
)
SELECT DISTINCT json_extract(value, '$.id') FROM conversations
WHERE json_type(value, '$.id') = 'text'
ON CONFLICT (id) DO UPDATE SET generation = generation | 1, is_imported = 1
"""
"""Of what `segue acp` has recorded, its agents have files, under ids of their own."""

_UNUSED_INVOCATIONS = """
DELETE FROM invocations WHERE session = ? AND number NOT IN (
    SELECT invocation FROM events WHERE key > ? AND key <= ?
)
"""


def delete(db: Connection, session_id: str) -> list[int]:
    """Delete a session but for the events that forks have; return the numbers that are concerned.

    The events that only this session had in common with a stub go with it.
    """
    sql = """
    SELECT number, fork_seq, coalesce(forked_at, fork_seq) AS forked_at, source
    FROM sessions WHERE id = ? AND is_stub = 0
    """
    sessions = db.execute(sql, (session_id,)).fetchall()
    due = [session["number"] for session in sessions]
    if due:
        from segue.model.replicas import digests

        session = validated(sessions[0])
        own = digests(_own_ids(db, session))
        db.execute(_BURY, (session_id, own, session["source"] is not None))
        db.execute(_MARK_DELETED, {"number": due[0], "agents": AGENTS})
        sql = "UPDATE sessions SET forked_from = NULL WHERE forked_from = ?"
        db.execute(sql, (session_id,))
    done = []
    for number in due:  # grows meanwhile
        done.append(number)
        sql = "SELECT max(key & 4294967295) FROM spans WHERE strand = ?"
        (last,) = db.execute(sql, (number,)).fetchone()
        if last is not None:
            _reduce_to_stub(db, number, last)
            continue
        due += [strand for (strand,) in db.execute(_STUB_STRANDS, (number,)).fetchall()]
        db.execute("DELETE FROM sessions WHERE number = ?", (number,))
    return done


def _own_ids(db: Connection, session: Row) -> Iterator[str]:
    """Yield the ids of a session's events that its original has not, in any order."""
    # By the index of the ids, which has no data. The plus signs keep the planner from the keys.
    sql = "SELECT id FROM events WHERE session = ? AND +key > ? AND +key <= ?"
    for span in spans_of(db, session):
        first, after = span.strand << 32, max(span.after, session["forked_at"])
        if after >= span.last:
            continue
        for row in db.execute(sql, (span.strand, first + after, first + span.last)):
            yield unpack(validated(row)["id"])


def _reduce_to_stub(db: Connection, number: int, last: int) -> None:
    """Remove everything but the events up to the seq *last*."""
    first = number << 32
    db.execute("DELETE FROM events WHERE key > ? AND key <= ?", (first + last, first + MAX_SEQ))
    db.execute(_UNUSED_INVOCATIONS, (number, first, first + last))
    db.execute("DELETE FROM metadata WHERE session = ?", (number,))
    db.execute(_MAKE_STUB, {**_STUB, "id": new_id(), "last": last, "number": number})
