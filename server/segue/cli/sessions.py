"""`segue list` and `segue show`: print stored sessions for people or as JSON."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from segue.cli.application import CommandError, Store
from segue.cli.printing import (
    Column,
    local_time,
    print_error,
    print_json,
    print_line,
    print_table,
    print_text,
)
from segue.model.errors import SegueError
from segue.model.records import MAX_PAGE, Session, StoredEvent
from segue.model.workspace import InvalidWorkspaceError, locate_workspace
from segue.protocol import messages
from segue.sessions.boundary import ago
from segue.store.service import SessionService


def run_with_service(store: Store, work: Callable[[SessionService], Awaitable[None]]) -> None:
    """Open the store, run *work* with it and close it; raise CommandError for what fails."""
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")

    async def run() -> None:
        service = await store.open_existing()
        try:
            await work(service)
        finally:
            await service.close()

    try:
        asyncio.run(run())
    except (SegueError, InvalidWorkspaceError) as error:
        raise CommandError(str(error)) from None


async def list_sessions(
    service: SessionService, cwd: str | None, *, archived: bool, limit: int, as_json: bool
) -> None:
    """Print the newest sessions: all, or those of the workspace of the directory *cwd*.

    Raises CommandError if *cwd* does not exist, unless it did when a conversation was stored.
    """
    workspace = None if cwd is None else locate_workspace(cwd)
    page = await service.list_sessions(
        directory=None if workspace is None else workspace.directory,
        git_root=None if workspace is None else workspace.git_root,
        git_common_dir=None if workspace is None else workspace.git_common_dir,
        aliases=() if workspace is None else workspace.aliases,
        archived=archived,
        limit=limit,
    )
    if cwd is not None and not page.sessions:
        _check_folder(cwd)
    if as_json:
        print_json(messages.wire.unstructure(page))
    elif not page.sessions:
        print_error("No sessions.")
    else:
        _print_table(page.sessions)


def _check_folder(path: str) -> None:
    if not os.path.isdir(path):
        fault = "is not a folder" if os.path.exists(path) else "does not exist"
        raise CommandError(f"{path} {fault}, and no conversation was stored there.")


async def show_session(service: SessionService, session_id: str, *, as_json: bool) -> None:
    """Print the whole conversation of a session, or raise SessionNotFound."""
    session = await service.get_session(session_id)
    if as_json:
        events = [messages.wire.unstructure(event) async for event in _events(service, session_id)]
        print_json({"session": messages.wire.unstructure(session), "events": events})
        return
    print_line(session.title or "(no title)", bold=True)
    print_line(session.id, "·", f"{session.event_count} events", "·", session.directory)
    async for event in _events(service, session_id):
        print_line()
        print_line(str(event.seq), event.type, "·", local_time(event.created_at), color="cyan")
        print_text(event_text(event))


def event_text(event: StoredEvent) -> str:
    """Return an event for people: its content if that is a string, else its data as JSON."""
    data: Any = event.data
    if isinstance(data, str):
        return f"(corrupt) {data}"
    match data:
        case {"name": str(name), "input": given}:
            return f"{name} {json.dumps(given, ensure_ascii=False)}"
        case {"content": str(content)}:
            return f"(error) {content}" if data.get("is_error") is True else content
        case _:
            return json.dumps(data, ensure_ascii=False, indent=2)


async def _events(service: SessionService, session_id: str) -> AsyncIterator[StoredEvent]:
    after, more = 0, True
    while more:
        page = await service.load_events(session_id, after=after, limit=MAX_PAGE)
        for event in page.events:
            yield event
            after = event.seq
        more = page.has_more


def _print_table(sessions: Sequence[Session]) -> None:
    columns = (
        Column("SESSION"),
        Column("UPDATED"),
        Column("EVENTS", is_number=True),
        Column("TITLE", max_width=48, is_flexible=True),
        Column("DIRECTORY", is_flexible=True),
    )
    rows = (
        (
            session.id,
            ago(session.updated_at) + ("" if session.archived_at is None else " (archived)"),
            str(session.event_count),
            session.title or "",
            session.directory,
        )
        for session in sessions
    )
    print_table(columns, rows)
