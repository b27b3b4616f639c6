"""`segue prune`: deletes archived conversations that are old enough, after it has shown them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import attrs
import click

from segue.cli.copies import copies_as_json, copies_kept
from segue.cli.printing import Column, print_json, print_line, print_table
from segue.model.maintenance import Pruned, PrunedSession
from segue.protocol import messages
from segue.sessions.boundary import ago
from segue.store.service import SessionService, StoreAdmin

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MAX_NAMED = 5
"""How many of the sessions that are open in a window are named."""


async def prune(
    service: SessionService,
    admin: StoreAdmin,
    older_than: timedelta,
    *,
    live: bool,
    dry_run: bool,
    is_confirmed: bool,
    as_json: bool,
) -> int:
    """Show what `SessionService.prune` would delete, ask unless *is_confirmed*, and delete that.

    Where nobody can be asked, and for JSON, nothing is deleted that is not confirmed. Returns 1 if
    the answer is no, else 0.
    """
    shown = await service.prune(older_than, live=live, dry_run=True)
    asks = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    deletes = not dry_run and (is_confirmed or asks)
    if not as_json:
        _print_preview(shown, older_than, live=live)
    if shown.taken and deletes and not is_confirmed and not click.confirm("Delete them?"):
        print_line("Nothing was deleted.")
        return 1
    deleted = None
    if shown.taken and deletes:
        ids = {each.session.id for each in shown.taken}
        deleted = await service.prune(older_than, live=live, among=ids)
        deleted = attrs.evolve(deleted, held=[*shown.held, *deleted.held])
    if as_json:
        print_json(_as_json(deleted or shown, admin, is_dry_run=not deletes))
    elif deleted is not None:
        _print_result(shown, deleted, admin)
    elif shown.taken:
        why = "this is a dry run" if dry_run else "nobody can be asked here; add --yes to delete"
        print_line(f"Nothing was deleted: {why}.")
    return 0


def _print_preview(shown: Pruned, older_than: timedelta, *, live: bool) -> None:
    age = _words(older_than)
    if shown.taken:
        columns = (
            Column("SINCE"),
            Column("EVENTS", is_number=True),
            Column("BYTES", is_number=True),
            Column("TITLE", max_width=80, is_flexible=True),
        )
        print_table(columns, map(_row, shown.taken))
        print_line(f"To be deleted: {_sum(shown.taken)}.")
    else:
        archived = "archived, or updated," if live else "archived"
        print_line(f"No conversation was {archived} more than {age} ago that can be deleted.")
    for fields in _left(shown, older_than):
        print_line("Left:", *fields)


def _row(each: PrunedSession) -> tuple[str, str, str, str]:
    session = each.session
    since = "updated" if session.archived_at is None else "archived"
    when = ago(session.updated_at if session.archived_at is None else session.archived_at)
    return f"{since} {when}", str(session.event_count), f"{each.size:,}", session.title or ""


def _left(shown: Pruned, older_than: timedelta) -> Iterator[Sequence[str]]:
    """Yield for each kind of sessions that are left how many there are, and why."""
    age = _words(older_than)
    if shown.held:
        named = [f'"{each.title or each.id}"' for each in shown.held[:_MAX_NAMED]]
        more = ["…"] if len(shown.held) > _MAX_NAMED else []
        yield f"{len(shown.held)} open in a window:", *named, *more
    if shown.live and not older_than:
        yield (f"{shown.live} not archived",)
    elif shown.live:
        yield (f"{shown.live} not archived, but updated more than {age} ago (--live takes them)",)
    if shown.used:
        yield (f"{shown.used} not archived, and updated less than {age} ago",)
    if shown.recent:
        yield (f"{shown.recent} archived less than {age} ago",)


def _print_result(shown: Pruned, deleted: Pruned, admin: StoreAdmin) -> None:
    print_line(f"Deleted: {_sum(deleted.taken)}.")
    if missing := len(shown.taken) - len(deleted.taken):
        print_line(f"Left: {missing} opened, changed or deleted meanwhile")
    print_line(copies_kept(admin))


def _sum(sessions: Iterable[PrunedSession]) -> str:
    each = list(sessions)
    return f"{len(each)} conversations, {sum(one.size for one in each):,} bytes"


def _words(age: timedelta) -> str:
    count, unit = (age // _DAY, "day") if age % _DAY == timedelta() else (age // _HOUR, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _as_json(pruned: Pruned, admin: StoreAdmin, *, is_dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": is_dry_run,
        "taken": [
            {"session": messages.wire.unstructure(each.session), "bytes": each.size}
            for each in pruned.taken
        ],
        "left": {
            "open": messages.wire.unstructure(pruned.held),
            "notArchived": pruned.live,
            "updatedSince": pruned.used,
            "archivedSince": pruned.recent,
        },
        "copies": copies_as_json(admin),
    }
