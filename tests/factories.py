"""Factories of events, sessions and workspaces, and helpers to read and change a store."""

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from segue.model.events import Event, new_id
from segue.model.records import NewSession, StoredEvent
from segue.model.workspace import Workspace
from segue.store.service import SessionService
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService

INVOCATION = "invocation-1"
HERE = "/home/someone/project"


def user_message(content: str = "Hello", id: str | None = None) -> Event:
    """Return a user message."""
    return Event.new("user_message", {"content": content}, id)


def note(content: str = "A note") -> Event:
    """Return an event that is not visible to the model."""
    return Event.new("system_context", {"content": content})


def new_session(directory: str = HERE, **fields: Any) -> NewSession:
    """Return a session that is not stored yet."""
    return NewSession(id=new_id(), directory=directory, **fields)


def workspace_at(directory: str = HERE, git_root: str | None = None) -> Workspace:
    """Return a workspace. With *git_root*, that is the main worktree of its repository."""
    common = None if git_root is None else f"{git_root}/.git"
    return Workspace(directory=directory, git_root=git_root, git_common_dir=common)


async def queued_together(service: LocalSessionService, *calls: Awaitable[Any]) -> list[Any]:
    """Make all *calls* while the store is busy, so that they are queued together.

    Return the results. A call that raises has its exception in its place.
    """
    free = threading.Event()
    busy = asyncio.ensure_future(service._connection.read(lambda db: free.wait(10)))
    await asyncio.sleep(0)
    waiting = asyncio.gather(*calls, return_exceptions=True)
    for _ in range(2 * len(calls) + 10):
        await asyncio.sleep(0)
    free.set()
    await busy
    return await waiting


@asynccontextmanager
async def traced_statements(service: LocalSessionService) -> AsyncIterator[list[str]]:
    """Yield a list of the statements that *service* runs inside the block, shortened."""
    statements: list[str] = []

    def note(sql: str) -> None:
        statements.append(_summary(sql))

    await service._connection.read(lambda db: db.set_trace_callback(note))
    try:
        yield statements
    finally:
        await service._connection.read(lambda db: db.set_trace_callback(None))


def _summary(sql: str) -> str:
    words = re.search(
        r"BEGIN\b.*|COMMIT|ROLLBACK|PRAGMA \w+|SELECT .*? FROM \w+|INSERT INTO \w+|UPDATE \w+|--.*",
        " ".join(sql.split()),
    )
    return words[0] if words else sql


async def store_session(
    service: SessionService, *events: Event, directory: str = HERE, **fields: Any
) -> str:
    """Store a session and return its id; without *events* it holds one user message."""
    new = new_session(directory, **fields)
    await service.create_session(new, events or [user_message()], invocation_id=INVOCATION)
    return new.id


async def append_to_head(
    service: SessionService, session_id: str, *events: Event, invocation_id: str = INVOCATION
) -> None:
    """Append *events* to the current head of a session."""
    head = (await service.get_session(session_id)).head
    await service.append_events(session_id, events, parent_id=head, invocation_id=invocation_id)


async def all_events(service: SessionService, session_id: str) -> Sequence[StoredEvent]:
    """Return all events of a session; assert that seqs, parents and the session's row agree."""
    events: list[StoredEvent] = []
    more = True
    while more:
        page = await service.load_events(session_id, after=len(events), limit=1_000)
        events += page.events
        more = page.has_more
    ids = [event.id for event in events]
    assert [event.seq for event in events] == list(range(1, len(ids) + 1))
    assert [event.parent_id for event in events] == [None, *ids[:-1]][: len(ids)]
    assert len(set(ids)) == len(ids)
    session = await service.get_session(session_id)
    assert (session.head, session.event_count) == (ids[-1] if ids else None, len(ids))
    return events


async def contents(service: SessionService, session_id: str) -> list[str]:
    """Return the content of all events of a session."""
    return [event.data["content"] for event in await all_events(service, session_id)]


def execute(database: Path, sql: str, *values: Any) -> list[sqlite3.Row]:
    """Run one statement on a database file directly, without a service."""
    with closing(driver.connect(str(database))) as db:
        return list(db.execute(sql, values).fetchall())


def make_older(database: Path, session_id: str, minutes: float) -> None:
    """Set the last update of a stored session, and its own events, back by *minutes*."""
    by = int(minutes * 60_000)
    sql = "UPDATE sessions SET updated_at = updated_at - ? WHERE id = ?"
    execute(database, sql, by, session_id)
    numbers = "SELECT number FROM sessions WHERE id = ?"
    sql = f"UPDATE events SET created_at = created_at - ? WHERE session IN ({numbers})"
    execute(database, sql, by, session_id)
