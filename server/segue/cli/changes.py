"""`segue fork`, `rename`, `archive` and `unarchive`: each prints the session that it changed.

`segue relocate` prints how many it changed.
"""

import os
from collections.abc import Sequence

from segue.cli.application import CommandError, current_directory
from segue.cli.printing import print_json, print_line
from segue.model.records import Session
from segue.model.validation import InvalidInputError
from segue.model.workspace import locate_workspace, resolve_workspace
from segue.protocol import messages
from segue.sessions.window import Window
from segue.store.service import SessionService


async def fork(
    window: Window,
    session_id: str,
    *,
    at: str | None,
    title: str | None,
    archive_original: bool,
    as_json: bool,
) -> None:
    """Fork a session at its last event, or at the one with the seq or the id *at*.

    Raises SessionNotFound, EventNotFound, or CommandError if it has no event with that seq.
    """
    if at is not None and at.isascii() and at.isdigit():
        at = await _event_id(window, session_id, int(at))
    result = await window.fork(
        session_id,
        at=at,
        title=title,
        archive_original=archive_original,
        tail=0,
        default_workspace=lambda: resolve_workspace(current_directory()),
    )
    _print([result.session], as_json=as_json)


async def rename(window: Window, session_id: str, title: str | None, *, as_json: bool) -> None:
    """Give a session a title, or with None its automatic one again; raise SessionNotFound."""
    _print([await window.set_title(session_id, title)], as_json=as_json)


async def relocate(window: Window, old: str, new: str | None, *, as_json: bool) -> None:
    """Move the sessions of the folder *old* to *new*, or to the repository that is current.

    Raises CommandError if *old* is still there, *new* is not, or no session was had in *old*.
    """
    here = resolve_workspace(new or current_directory())
    if new is None and here.git_root is not None:
        here = locate_workspace(here.git_root)
    old_root = os.path.join(current_directory(), old)
    try:
        moved = await window.relocate(old_root, here)
    except InvalidInputError as error:
        (fault,) = error.faults
        raise CommandError(f"{old} {fault.message}.") from None
    if as_json:
        print_json({"moved": moved})
    elif moved:
        print_line(f"{moved} conversation{'s' if moved > 1 else ''} moved to {here.directory}")
    else:
        raise CommandError(f"No conversation was had in {old}.")


async def archive(service: SessionService, session_ids: Sequence[str], *, as_json: bool) -> None:
    """Archive sessions, or raise SessionNotFound."""
    for each in session_ids:
        await service.archive(each)
    _print([await service.get_session(each) for each in session_ids], as_json=as_json)


async def unarchive(service: SessionService, session_ids: Sequence[str], *, as_json: bool) -> None:
    """Make archived sessions normal ones again, or raise SessionNotFound."""
    for each in session_ids:
        await service.unarchive(each)
    _print([await service.get_session(each) for each in session_ids], as_json=as_json)


async def _event_id(window: Window, session_id: str, seq: int) -> str:
    page = await window.events(session_id, after=seq - 1, before=None, limit=1)
    if not page.events or page.events[0].seq != seq:
        raise CommandError(f"The session has no event with the number {seq}.")
    return page.events[0].id


def _print(sessions: Sequence[Session], *, as_json: bool) -> None:
    if as_json:
        print_json({"sessions": messages.wire.unstructure(sessions)})
        return
    for each in sessions:
        print_line(each.id, each.title or "(no title)")
