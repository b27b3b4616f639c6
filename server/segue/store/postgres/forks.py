"""Makes forks: by two calls, because what a copy is called is decided between them."""

from collections.abc import Sequence
from typing import Any

from segue.model.errors import EventNotFound, SessionNotFound
from segue.model.records import Machine, NewFork, Timestamp
from segue.model.titles import copy_title
from segue.store.postgres import codec, rows
from segue.store.postgres.machine import places, repository
from segue.store.postgres.rows import SessionRow
from segue.store.postgres.sharing import refusal
from segue.store.postgres.wire import Connection

_FACTS = "SELECT * FROM segue_1.fork_facts($1, $2, $3, $4)"

_FORK = """
SELECT * FROM segue_1.fork($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
    $17, $18, $19)
"""


async def fork(
    connection: Connection,
    account: int,
    session_id: str,
    new: NewFork,
    machine: Machine,
    *,
    updated_at: Timestamp | None = None,
) -> SessionRow:
    """Store the fork *new*, unless it exists, and return its row.

    It is updated at *updated_at*, None: now. Raises SessionNotFound and EventNotFound, and
    SessionReadOnly if another account's session should be archived.
    """
    ids = (codec.int8(account), codec.id(session_id), codec.id(new.id))
    ((original, existing, seq, forks),) = await connection.call(_FACTS, *ids, codec.id(new.at))
    if existing is not None:
        return rows.session_row(existing)
    if original is None:
        raise SessionNotFound(session_id)
    if seq is None:
        raise EventNotFound(new.at or "")
    row = rows.session_row(original)
    if new.archive_original and row["owner"] != account:
        raise await refusal(connection, account, session_id)
    given = new.title
    if given is None and new.archive_original:
        given = rows.text(row["given_title"])
    found = await connection.call(
        _FORK,
        *ids,
        codec.int4(seq),
        codec.text(_title(row, seq, forks, takes_place=new.archive_original)),
        codec.text(given or None),
        codec.boolean(new.archive_original),
        codec.int8(updated_at),
        codec.text(new.directory),
        codec.text(new.git_root),
        codec.text(new.git_common_dir),
        codec.text(new.repository),
        codec.text(new.worktree),
        codec.text(machine.name),
        codec.id(machine.id),
        *places(machine, new.directory, new.git_root, new.git_common_dir),
        repository(new.repository),
    )
    return _only(found, session_id)


def _title(original: SessionRow, seq: int, forks: int, *, takes_place: bool) -> str | None:
    """Return the automatic title of a fork; None: its next user message gives it one."""
    automatic, given = rows.text(original["title"]), rows.text(original["given_title"])
    if takes_place:
        titled = original["title_seq"]
        has_title = seq == original["event_count"] or (titled is not None and titled <= seq)
        return automatic if has_title else None
    shown = automatic if given is None else given
    return None if shown is None else copy_title(shown, forks)


def _only(found: Sequence[Sequence[Any]], session_id: str) -> SessionRow:
    if not found:
        raise SessionNotFound(session_id)
    return rows.session_row(found[0])
