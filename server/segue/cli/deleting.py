"""`segue delete`: deletes conversations for good, after it has shown them and asked."""

import sys
from collections.abc import Sequence

import click

from segue.cli.copies import copies_kept
from segue.cli.printing import Column, age, print_error, print_json, print_line, print_table
from segue.model.records import Session
from segue.protocol import messages
from segue.store.service import SessionService, StoreAdmin


async def delete(
    service: SessionService,
    admin: StoreAdmin,
    session_ids: Sequence[str],
    *,
    is_confirmed: bool,
    as_json: bool,
) -> int:
    """Show the sessions, ask unless *is_confirmed*, and delete them.

    Where nobody can be asked, and for JSON, nothing is deleted that is not confirmed. Returns 1 if
    nothing was deleted, else 0. Raises SessionNotFound.
    """
    sessions = [await service.get_session(each) for each in session_ids]
    asks = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if not as_json:
        await _show(service, sessions)
    if not is_confirmed and not asks:
        print_error("Nothing was deleted: nobody can be asked here; add --yes to delete.")
        return 1
    if not is_confirmed and not click.confirm(f"Delete {_count(sessions)} for good?"):
        print_line("Nothing was deleted.")
        return 1
    for each in sessions:
        await service.delete(each.id)
    if as_json:
        print_json({"deleted": messages.wire.unstructure(sessions)})
        return 0
    print_line(f"Deleted: {_count(sessions)}. What forks have of them stays in the forks.")
    print_line(copies_kept(admin))
    return 0


async def _show(service: SessionService, sessions: Sequence[Session]) -> None:
    held = await service.held([each.id for each in sessions])
    columns = (
        Column("AGE"),
        Column("EVENTS", is_number=True),
        Column("TITLE", is_flexible=True),
        Column("STATE", is_optional=True),
    )
    rows = (
        (
            age(each.updated_at),
            str(each.event_count),
            each.title or each.id,
            "open in a window" if each.id in held else "",
        )
        for each in sessions
    )
    print_table(columns, rows)


def _count(sessions: Sequence[Session]) -> str:
    return f"{len(sessions)} conversation{'' if len(sessions) == 1 else 's'}"
