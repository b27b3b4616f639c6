"""`segue list`: prints the sessions of a workspace, or all, for people or as JSON."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from segue.cli.application import CommandError
from segue.cli.printing import (
    Column,
    age,
    from_home,
    is_terminal,
    pager,
    print_error,
    print_json,
    print_table,
)
from segue.model.records import MAX_PAGE, Order, Session, SessionPage
from segue.model.workspace import Touch, locate_workspace, search_places
from segue.protocol import messages
from segue.sessions.moving import find_moved_checkout
from segue.sessions.pages import session_page
from segue.store.service import SessionService


async def list_sessions(
    service: SessionService,
    directory: str | None,
    *,
    is_named: bool,
    archived: bool,
    sources: Sequence[str] | None,
    order: Order,
    cursor: str | None,
    limit: int,
    as_json: bool,
    pages: bool = True,
) -> None:
    """Print a page of the sessions of the workspace of *directory*, None: of all, newest first.

    Raises CommandError if a directory that *is_named* by the user does not exist, unless it did
    when a conversation was stored.
    """
    page = await workspace_page(
        service,
        directory,
        archived=archived,
        sources=sources,
        order=order,
        cursor=cursor,
        limit=limit,
    )
    if directory is not None and is_named and not page.sessions:
        _check_folder(directory)
    if as_json:
        print_json(messages.wire.unstructure(page))
    elif page.sessions:
        short = await service.short_ids([each.id for each in page.sessions])
        with pager(pages):
            print_table(_COLUMNS, _rows(page, short if is_terminal() else {}, directory, order))
    elif sources is not None:
        print_error(f"No conversations of {', '.join(sources)} here.")
    elif cursor is None:
        print_error(await _nothing(service, directory, archived=archived))
    if page.next_cursor is not None and not as_json:
        print_error(f"There are more: --cursor {page.next_cursor}")
    if directory is not None and cursor is None and not as_json:
        await _mention_moved(service, directory)


async def _mention_moved(service: SessionService, directory: str) -> None:
    """Say where the conversations of a checkout are that was moved here, maybe."""

    async def look(find: Callable[[Touch], Sequence[str]]) -> Sequence[str]:
        return find(lambda path: None)

    moved = await find_moved_checkout(service, locate_workspace(directory), look)
    if moved is not None:
        old, new = shlex.quote(moved.old_root), shlex.quote(moved.new_root)
        print_error(
            f"There are conversations of this repository in {moved.old_root}, which is gone. "
            f"If it was moved here: segue relocate {old} {new}"
        )


async def workspace_page(
    service: SessionService,
    directory: str | None,
    *,
    archived: bool,
    sources: Sequence[str] | None = None,
    order: Order = "updated",
    cursor: str | None = None,
    limit: int,
) -> SessionPage:
    """Return a page of the sessions of the workspace of *directory*, None: of all."""
    where = search_places(None if directory is None else locate_workspace(directory))
    return await session_page(
        service,
        where,
        archived=archived,
        sources=sources,
        order=order,
        cursor=cursor,
        limit=limit,
    )


async def _nothing(service: SessionService, directory: str | None, *, archived: bool) -> str:
    """Return a sentence that says that there is nothing, and where there is something."""
    aside = "" if archived else await _count(service, directory, archived=True)
    elsewhere = "" if directory is None else await _count(service, None, archived=archived)
    if not aside and not elsewhere:
        return "No conversations yet."
    where = "" if directory is None else f" of this workspace ({directory})"
    return (
        f"No conversations{where}."
        f"{aside and f' Archived: {aside} (--archived).'}"
        f"{elsewhere and f' Elsewhere: {elsewhere} (segue list --all).'}"
    )


async def _count(service: SessionService, directory: str | None, *, archived: bool) -> str:
    """Return how many there are, in words; an empty string for none."""
    page = await workspace_page(service, directory, archived=archived, limit=MAX_PAGE)
    count = f"{len(page.sessions):,}" if page.sessions else ""
    return f"more than {count}" if page.next_cursor else count


def _check_folder(path: str) -> None:
    if not os.path.isdir(path):
        fault = "is not a folder" if os.path.exists(path) else "does not exist"
        raise CommandError(f"{path} {fault}, and no conversation was stored there.")


# The title is the last one: terminals disagree about the width of some characters.
_COLUMNS = (
    Column("ID"),
    Column("AGE"),
    Column("EVENTS", is_number=True),
    Column("STATE", is_optional=True),
    Column("WITH", max_width=16, is_optional=True),
    Column("DIRECTORY", is_flexible=True, is_optional=True),
    Column("TITLE", is_flexible=True),
)


def _rows(
    page: SessionPage, short: Mapping[str, str], directory: str | None, order: Order
) -> Iterator[Sequence[str]]:
    is_here = directory is not None and is_terminal()
    for each in page.sessions:
        yield (
            short.get(each.id, each.id),
            age(_time_of(each, order)),
            str(each.event_count),
            _state(each, page),
            _partner(each),
            "" if is_here and each.machine is None else from_home(each.place),
            each.title or "(no title)",
        )


def _time_of(session: Session, order: Order) -> int:
    """Return the time by which a session is ordered."""
    if order == "updated":
        return session.updated_at
    return session.created_at if session.last_prompt_at is None else session.last_prompt_at


def _state(session: Session, page: SessionPage) -> str:
    is_open, is_archived = session.id in page.open, session.archived_at is not None
    by = [] if session.shared_by is None else [f"shared by {session.shared_by}"]
    return ", ".join(["archived"] * is_archived + ["open"] * is_open + by)


def _partner(session: Session) -> str:
    """Return with which program it is had: the agent, else what it was imported from."""
    return session.agent or session.source or session.client or ""
