"""`segue restore`: replaces the store by a verified backup, and keeps what was there."""

import sys

import click

from segue.cli.application import CommandError
from segue.cli.printing import local_time, visible
from segue.model.errors import StorageError
from segue.model.store_reports import RestorePreview, StoreContents
from segue.store.service import StoreAdmin


def run(admin: StoreAdmin, source: str, *, is_confirmed: bool) -> int:
    """Show what is replaced by what, ask unless *is_confirmed*, and restore; return the exit code.

    Returns 1 if the answer is no. Raises CommandError if the backup cannot be restored, or if it
    has to be confirmed and nobody can be asked.
    """

    def confirm(preview: RestorePreview) -> bool:
        click.echo(f"{visible(source)}: {_described(preview.restored)}")
        click.echo(f"replaces {visible(preview.path)}: {_present(admin, preview.present)}")
        return is_confirmed or _ask()

    try:
        result = admin.restore(source, confirm)
    except StorageError as error:
        raise CommandError(str(error)) from None
    if result is None:
        click.echo("Nothing was changed.")
        return 1
    click.echo("Restored.")
    if result.replaced_as is not None:
        click.echo(f"The former database is kept as {visible(result.replaced_as)}")
    return 0


def _ask() -> bool:
    if not sys.stdin.isatty():
        raise CommandError(
            "Nobody can be asked here, so nothing was changed. Add --yes to restore it anyway."
        )
    return click.confirm("Replace it?")


def _present(admin: StoreAdmin, present: StoreContents | None) -> str:
    if present is not None:
        return _described(present)
    return "it cannot be read" if admin.exists() else "there is none yet"


def _described(contents: StoreContents) -> str:
    newest = "" if contents.newest is None else f", the newest of {local_time(contents.newest)}"
    return f"{contents.sessions} sessions, {contents.events} events{newest}"
