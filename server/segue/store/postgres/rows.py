"""The records of `segue.model` from the rows of the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from segue.model import json_text
from segue.model.errors import StorageCorrupt
from segue.model.records import (
    EventPage,
    Invocation,
    Machine,
    Session,
    StoredEvent,
    Timestamp,
)
from segue.store.postgres.codec import decode_composite, pack, unescape, unpack

SESSION_COLUMNS = (
    "owner", "number", "created_at", "updated_at", "archived_at", "last_prompt_at", "recent",
    "prompted", "event_count", "fork_seq", "model_visible", "visible_seq", "title_seq", "is_stub",
    "id", "head", "head_invocation", "forked_from", "machine", "at_directory", "at_git_root",
    "at_git_common_dir", "at_repository", "directory", "git_root", "git_common_dir", "repository",
    "worktree", "machine_name", "title", "given_title", "server_session_id", "source", "client",
    "agent", "model", "branch", "forked_at", "revisions",
)  # fmt: skip
"""Those of the table, in its order; a later version may have others behind them."""

_UNUSED = {
    "recent", "prompted", "visible_seq", "is_stub", "head_invocation",
    "at_directory", "at_git_root", "at_git_common_dir", "at_repository",
}  # fmt: skip
_WANTED = [name not in _UNUSED for name in SESSION_COLUMNS]

SessionRow = Mapping[str, Any]


def session_row(values: Sequence[Any] | bytes) -> SessionRow:
    """Return the columns of a session's row by their names; those that are not used may be None."""
    if isinstance(values, bytes):
        values = decode_composite(values, _WANTED)
    return dict(zip(SESSION_COLUMNS, values, strict=False))


def session(row: SessionRow, here: Machine, shared_by: str | None = None) -> Session:
    """Return the session of a row, as the machine *here* sees it."""
    given = row["given_title"]
    is_here = row["machine"] == pack(here.id)
    return Session(
        id=unpack(row["id"]),
        title=text(row["title"] if given is None else given),
        directory=unescape(row["directory"]),
        git_root=text(row["git_root"]),
        server_session_id=text(row["server_session_id"]),
        head=_id(row["head"]),
        event_count=row["event_count"],
        created_at=Timestamp(row["created_at"]),
        updated_at=Timestamp(row["updated_at"]),
        archived_at=row["archived_at"],
        forked_from=_id(row["forked_from"]),
        fork_seq=forked_at(row),
        source=text(row["source"]),
        client=text(row["client"]),
        agent=text(row["agent"]),
        model=text(row["model"]),
        last_prompt_at=row["last_prompt_at"],
        branch=text(row["branch"]),
        repository=text(row["repository"]),
        machine=None if is_here else text(row["machine_name"]),
        shared_by=shared_by,
    )


def forked_at(row: SessionRow) -> int | None:
    """Return how many events a fork has in common with its original, None if it is none."""
    stored = row["forked_at"]
    return (row["fork_seq"] if stored is None else stored) or None


def session_of(
    values: Sequence[Any] | bytes, here: Machine, shared_by: str | None = None
) -> Session:
    """Return the session whose columns these are, and which another account may share."""
    return session(session_row(values), here, shared_by)


def page(
    lines: Sequence[Sequence[Any]],
    here: Machine,
    *,
    after: int | None = None,
    before: int | None = None,
) -> tuple[Session, EventPage] | None:
    """Return the session and the events of the lines of a page; None if there is no session.

    Raises StorageCorrupt if events are missing.
    """
    if not lines:
        return None
    *_, shared_by, _, values = lines[0]
    found = session_of(values, here, shared_by)
    parent: str | None = None
    events: list[StoredEvent] = []
    clients: dict[bytes, Invocation] = {}
    by: list[bytes] = []
    for seq, id, invocation, created_at, type, data, client_name, client_version, _ in lines[1:]:
        if seq is None:
            clients.setdefault(id, _invocation(id, client_name, client_version))
        elif type is None:
            parent = unpack(id)
        else:
            value, corrupt = json_text.decode(data)
            event = StoredEvent(
                id=unpack(id),
                seq=seq,
                parent_id=parent,
                invocation_id=unpack(invocation),
                created_at=created_at,
                type=unescape(type),
                data=value,
                corrupt=corrupt,
            )
            events.append(event)
            by.append(invocation)
            parent = event.id
    if after is not None:
        low = min(max(after, 0), found.event_count)
        first, last = low + 1, low + len(events)
        has_more = last < found.event_count
    else:
        last = found.event_count if before is None else min(before - 1, found.event_count)
        first = max(last, 0) + 1 - len(events)
        has_more = first > 1
    if [event.seq for event in events] != list(range(first, first + len(events))):
        raise StorageCorrupt(
            f"Events are missing from the session {found.id} in the database. Ask its "
            "administrator to restore a backup."
        )
    invocations = [clients.get(each) or _invocation(each, None, None) for each in dict.fromkeys(by)]
    return found, EventPage(events=events, has_more=has_more, invocations=invocations)


def _invocation(id: bytes, client_name: str | None, client_version: str | None) -> Invocation:
    return Invocation(
        id=unpack(id), client_name=text(client_name), client_version=text(client_version)
    )


def text(stored: str | None) -> str | None:
    """Return stored text as it was given."""
    return None if stored is None else unescape(stored)


def _id(stored: bytes | None) -> str | None:
    return None if stored is None else unpack(stored)
