"""`segue move`: copies the store to another one."""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from segue.cli.application import CommandError, OtherStore, SettingError, Store
from segue.cli.printing import print_error, print_json, print_line
from segue.model.errors import SegueError
from segue.store.transfer import Transfer, TransferReport

_MAX_NAMED = 10


def run(store: Store, target: str, *, as_json: bool) -> int:
    """Copy all conversations, compare them, and print a summary; return 1 if any is not there."""
    other = store.other(target)
    if other.is_same:
        raise SettingError(f"--to: {other.admin.location} is this store. Name another one")
    if other.folder is not None and not os.path.isdir(other.folder):
        raise CommandError(f"the folder {other.folder} does not exist.")
    try:
        if not store.admin.exists():
            raise CommandError(f"there is no store at {store.admin.location}.")
        report = asyncio.run(_transfer(store, other, shows=not as_json))
    except SegueError as error:
        raise CommandError(
            f"{error} What was copied until then is kept: the same command goes on from there."
        ) from None
    if as_json:
        print_json(_as_json(store, other, report))
    else:
        _print(store, other, report)
    return 0 if report.is_complete else 1


async def _transfer(store: Store, other: OtherStore, *, shows: bool) -> TransferReport:
    is_shown = shows and sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if is_shown:
            click.echo(f"\r{done:,} of {total:,} conversations", nl=False, err=True)

    source = await store.open_existing()
    try:
        target = await other.open()
        try:
            return await Transfer(source, target, other.this_machine(), show).run()
        finally:
            if is_shown:
                click.echo("\r\033[K", nl=False, err=True)
            await target.close()
    finally:
        await source.close()


def _print(store: Store, other: OtherStore, report: TransferReport) -> None:
    total = f"{report.sessions:,} conversation{'' if report.sessions == 1 else 's'}"
    if not report.is_complete:
        print_line(f"Of {total}, not all are in {other.admin.location} as they are here:")
    elif report.copied:
        print_line(f"Copied {report.copied:,} of {total} to {other.admin.location}.")
    else:
        print_line(f"{total}: {other.admin.location} had all of it.")
    _print_each(report.different, "{} differs there: {}.")
    _print_each(dict.fromkeys(report.changed, ""), "{} was changed all the time; repeat this.")
    _print_each(report.forked, "{} went on in both stores: what was said here is {} there.")
    _print_each(dict.fromkeys(report.deleted, ""), "{} was deleted there, and stays so.")
    if report.is_complete:
        print_line(f"Compared {report.events:,} events: they are equal in both.")
        print_line(
            f"Nothing was deleted here. To use the other store, name it by `database` in "
            f"{store.config_file or 'config.toml'}, or by SEGUE_DATABASE, and restart your editors."
        )


def _print_each(found: Mapping[str, str], sentence: str) -> None:
    for id, value in list(found.items())[:_MAX_NAMED]:
        print_line(sentence.format(id, value))
    if len(found) > _MAX_NAMED:
        print_error(f"and {len(found) - _MAX_NAMED:,} more; --json names all")


def _as_json(store: Store, other: OtherStore, report: TransferReport) -> dict[str, Any]:
    return {
        "from": store.admin.location,
        "to": other.admin.location,
        "conversations": report.sessions,
        "events": report.events,
        "copied": report.copied,
        "forked": report.forked,
        "deletedThere": report.deleted,
        "different": report.different,
        "changed": report.changed,
        "complete": report.is_complete,
    }
