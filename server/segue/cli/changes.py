"""`segue fork`, `rename`, `archive` and `unarchive`: each prints the session that it changed."""

from segue.cli.application import CommandError
from segue.cli.printing import print_line
from segue.model.records import Session
from segue.sessions.window import Window
from segue.store.service import SessionService


async def fork(
    window: Window, session_id: str, *, at: str | None, title: str | None, archive_original: bool
) -> None:
    """Fork a session at its last event, or at the one with the seq or the id *at*.

    Raises SessionNotFound, EventNotFound, or CommandError if it has no event with that seq.
    """
    if at is not None and at.isascii() and at.isdigit():
        at = await _event_id(window, session_id, int(at))
    result = await window.fork(
        session_id, at=at, title=title, archive_original=archive_original, tail=0
    )
    _print(result.session)


async def rename(window: Window, session_id: str, title: str | None) -> None:
    """Give a session a title, or with None its automatic one again; raise SessionNotFound."""
    _print(await window.set_title(session_id, title))


async def archive(service: SessionService, session_id: str) -> None:
    """Archive a session, or raise SessionNotFound."""
    await service.archive(session_id)
    _print(await service.get_session(session_id))


async def unarchive(service: SessionService, session_id: str) -> None:
    """Make an archived session a normal one again, or raise SessionNotFound."""
    await service.unarchive(session_id)
    _print(await service.get_session(session_id))


async def _event_id(window: Window, session_id: str, seq: int) -> str:
    page = await window.events(session_id, after=seq - 1, before=None, limit=1)
    if not page.events or page.events[0].seq != seq:
        raise CommandError(f"The session has no event with the number {seq}.")
    return page.events[0].id


def _print(session: Session) -> None:
    print_line(session.id, session.title or "(no title)")
