"""`segue list` and `segue show`: print stored sessions for people or as JSON."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segue.cli.application import CommandError, Store
from segue.cli.printing import local_time, visible
from segue.model.errors import SegueError
from segue.model.records import MAX_PAGE, Session, StoredEvent
from segue.model.workspace import InvalidWorkspaceError, locate_workspace
from segue.protocol import messages
from segue.sessions.boundary import ago
from segue.store.service import SessionService


def run_with_service(store: Store, work: Callable[[SessionService], Awaitable[None]]) -> None:
    """Open the store, run *work* with it and close it; raise CommandError for what fails."""

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
    """Print the newest sessions: all, or those of the workspace of the directory *cwd*."""
    workspace = None if cwd is None else locate_workspace(cwd)
    page = await service.list_sessions(
        directory=None if workspace is None else workspace.directory,
        git_common_dir=None if workspace is None else workspace.git_common_dir,
        archived=archived,
        limit=limit,
    )
    if as_json:
        _print_json(messages.wire.unstructure(page))
    elif not page.sessions:
        click.echo("No sessions.", err=True)
    else:
        _print_table(page.sessions)


async def show_session(service: SessionService, session_id: str, *, as_json: bool) -> None:
    """Print the whole conversation of a session, or raise SessionNotFound."""
    session = await service.get_session(session_id)
    if as_json:
        events = [messages.wire.unstructure(event) async for event in _events(service, session_id)]
        _print_json({"session": messages.wire.unstructure(session), "events": events})
        return
    click.secho(visible(session.title or "(no title)"), bold=True)
    click.echo(f"{session.id} · {session.event_count} events · {visible(session.directory)}")
    async for event in _events(service, session_id):
        click.secho(
            f"\n{event.seq} {visible(event.type)} · {local_time(event.created_at)}", fg="cyan"
        )
        click.echo(visible(event_text(event), keep="\n\t"))


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
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("SESSION", no_wrap=True)
    table.add_column("UPDATED", no_wrap=True)
    table.add_column("EVENTS", justify="right", no_wrap=True)
    table.add_column("TITLE", no_wrap=True, overflow="ellipsis", max_width=48)
    table.add_column("DIRECTORY", no_wrap=True, overflow="ellipsis")
    for session in sessions:
        archived = " (archived)" if session.archived_at is not None else ""
        table.add_row(
            session.id,
            ago(session.updated_at) + archived,
            str(session.event_count),
            Text(visible(session.title or "")),
            Text(visible(session.directory)),
        )
    # Output to a pipe or a file is not truncated to the width of a terminal.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)


def _print_json(value: Any) -> None:
    # ASCII: it has no control characters that a terminal would obey.
    click.echo(json.dumps(value, indent=2))
