"""`segue list` and `segue show`: print stored sessions for people or as JSON."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

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
from segue.model.records import MAX_PAGE, EventPage, Invocation, Session, StoredEvent
from segue.model.workspace import InvalidWorkspaceError, locate_workspace
from segue.protocol import messages
from segue.sessions.boundary import ago
from segue.sessions.window import Window
from segue.store.service import SessionService

T = TypeVar("T")


def run_with_service(store: Store, work: Callable[[SessionService], Awaitable[T]]) -> T:
    """Open the store, run *work* with it and close it; raise CommandError for what fails."""

    async def run() -> T:
        service = await store.open_existing()
        try:
            return await work(service)
        finally:
            await service.close()

    return _run(store, run())


def run_with_window(store: Store, work: Callable[[Window], Awaitable[T]]) -> T:
    """Run *work* with a window on the store, as `run_with_service` does."""

    async def run() -> T:
        window = store.make_window()
        try:
            return await work(window)
        finally:
            await window.close()

    return _run(store, run())


def _run(store: Store, work: Coroutine[Any, Any, T]) -> T:
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")
    try:
        return asyncio.run(work)
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
        await _show_json(service, session)
        return
    _print_header(session)
    invocation = None
    async for page in _pages(service, session_id):
        invocations = {each.id: each for each in page.invocations}
        for event in page.events:
            print_line()
            if event.invocation_id != invocation:
                _print_opening(invocations.get(event.invocation_id), is_first=invocation is None)
                invocation = event.invocation_id
            print_line(str(event.seq), event.type, "·", local_time(event.created_at), color="cyan")
            print_text(event_text(event))


async def _show_json(service: SessionService, session: Session) -> None:
    events: list[StoredEvent] = []
    invocations: dict[str, Invocation] = {}
    async for page in _pages(service, session.id):
        events += page.events
        invocations |= {each.id: each for each in page.invocations}
    shown = {"session": session, "events": events, "invocations": [*invocations.values()]}
    print_json(messages.wire.unstructure(shown))


def _print_header(session: Session) -> None:
    print_line(session.title or "(no title)", bold=True)
    print_line(session.id, "·", f"{session.event_count} events", "·", session.directory)
    if session.fork_seq is not None:
        original = session.forked_from or "a conversation that was deleted"
        print_line(f"fork of {original}, the first {session.fork_seq} events are common")
    if session.source is not None:
        print_line("imported from", session.source)
    if speakers := _speakers(session):
        print_line("last with", speakers)


def _speakers(session: Session) -> str:
    """Return who spoke last: the editor, the agent and the model, as far as they are known."""
    return " · ".join(filter(None, (session.client, session.agent, session.model)))


def _print_opening(invocation: Invocation | None, *, is_first: bool) -> None:
    """Print that the session was opened, and where, if that is known or was not the first time."""
    if invocation is not None and invocation.client_name:
        version = invocation.client_version or ""
        print_line(f"opened in {invocation.client_name} {version}".rstrip(), color="magenta")
    elif not is_first:
        print_line("opened again", color="magenta")


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


async def _pages(service: SessionService, session_id: str) -> AsyncIterator[EventPage]:
    after, more = 0, True
    while more:
        page = await service.load_events(session_id, after=after, limit=MAX_PAGE)
        yield page
        after += len(page.events)
        more = page.has_more


def _print_table(sessions: Sequence[Session]) -> None:
    columns = (
        Column("SESSION"),
        Column("UPDATED"),
        Column("EVENTS", is_number=True),
        Column("TITLE", max_width=48, is_flexible=True),
        Column("LAST WITH", max_width=32, is_optional=True),
        Column("DIRECTORY", is_flexible=True),
    )
    rows = (
        (
            session.id,
            ago(session.updated_at) + ("" if session.archived_at is None else " (archived)"),
            str(session.event_count),
            session.title or "",
            _speakers(session),
            session.directory,
        )
        for session in sessions
    )
    print_table(columns, rows)
