"""Runs the commands of sessions, and `segue show`: prints one for people or as JSON."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from segue.cli.application import CommandError, Store
from segue.cli.ids import find_id
from segue.cli.printing import (
    local_time,
    pager,
    print_error,
    print_json,
    print_line,
    print_markdown,
    print_text,
)
from segue.model.errors import SegueError
from segue.model.event_text import event_text
from segue.model.pieces import continues_message
from segue.model.records import Invocation, Session, StoredEvent
from segue.model.workspace import InvalidWorkspaceError
from segue.protocol import messages
from segue.sessions.pages import event_pages
from segue.sessions.window import Window
from segue.store.service import SessionService

T = TypeVar("T")

_PROSE = ("user_message", "text", "thinking")
"""The types of events whose content is Markdown."""


def run_with_service(store: Store, work: Callable[[SessionService], Awaitable[T]]) -> T:
    """Open the store, run *work* with it and close it; raise CommandError for what fails."""

    async def run() -> T:
        service = await store.open_existing()
        try:
            return await work(service)
        finally:
            await service.close()

    return _run(store, run())


def run_with_session(
    store: Store,
    given: str,
    work: Callable[[SessionService, str], Awaitable[T]],
    find: Callable[[SessionService, str, float], Awaitable[str]] = find_id,
) -> T:
    """Run *work* with the store and the id that *find* finds, as `run_with_service` does."""

    async def run(service: SessionService) -> T:
        return await work(service, await find(service, given, store.continue_minutes))

    return run_with_service(store, run)


def run_with_sessions(
    store: Store, given: Sequence[str], work: Callable[[SessionService, list[str]], Awaitable[T]]
) -> T:
    """Run *work* with the store and the ids of several sessions, all of which there are."""

    async def run(service: SessionService) -> T:
        ids = [await find_id(service, each, store.continue_minutes) for each in given]
        return await work(service, list(dict.fromkeys(ids)))

    return run_with_service(store, run)


def run_with_window(store: Store, given: str, work: Callable[[Window, str], Awaitable[T]]) -> T:
    """Run *work* with a window on the store and an id, as `run_with_session` does."""
    return run_with_session(
        store, given, lambda service, session_id: work(store.make_window(service), session_id)
    )


def _run(store: Store, work: Coroutine[Any, Any, T]) -> T:
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")
    try:
        return asyncio.run(work)
    except (SegueError, InvalidWorkspaceError) as error:
        raise CommandError(str(error)) from None


async def show_session(
    service: SessionService, session_id: str, *, as_json: bool, pages: bool = True
) -> None:
    """Print the whole conversation of a session, or raise SessionNotFound."""
    session = await service.get_session(session_id)
    if as_json:
        await _show_json(service, session)
        return
    with pager(pages):
        await _show(service, session)


async def _show(service: SessionService, session: Session) -> None:
    _print_header(session)
    invocation = None
    pieces: list[StoredEvent] = []
    async for page in event_pages(service.load_events, session.id):
        invocations = {each.id: each for each in page.invocations}
        for event in page.events:
            if pieces and continues_message(pieces[-1], event):
                pieces.append(event)
                continue
            _print_texts(pieces)
            pieces = [event]
            print_line()
            if event.invocation_id != invocation:
                _print_opening(invocations.get(event.invocation_id), is_first=invocation is None)
                invocation = event.invocation_id
            print_line(str(event.seq), event.type, "·", local_time(event.created_at), color="cyan")
    _print_texts(pieces)


def _print_texts(pieces: Sequence[StoredEvent]) -> None:
    """Print an event, or the pieces of a message as one text."""
    if pieces:
        text = "".join(map(event_text, pieces))
        is_prose = pieces[0].type in _PROSE and not pieces[0].corrupt
        (print_markdown if is_prose else print_text)(text)


async def _show_json(service: SessionService, session: Session) -> None:
    events: list[StoredEvent] = []
    invocations: dict[str, Invocation] = {}
    async for page in event_pages(service.load_events, session.id):
        events += page.events
        invocations |= {each.id: each for each in page.invocations}
    shown = {"session": session, "events": events, "invocations": [*invocations.values()]}
    print_json(messages.wire.unstructure(shown))


def _print_header(session: Session) -> None:
    print_line(session.title or "(no title)", bold=True)
    print_line(session.id, "·", f"{session.event_count} events", "·", session.place)
    if session.fork_seq is not None:
        original = session.forked_from or "a conversation that was deleted"
        print_line(f"fork of {original}, the first {session.fork_seq} events are common")
    if session.shared_by is not None:
        print_line("shared by", session.shared_by, "to be read")
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
