"""`segue backup`: a verified copy of every session."""

import time
from pathlib import Path

import click

from segue.cli.printing import visible
from segue.model.errors import StorageError
from segue.startup.settings import MEMORY, Settings
from segue.store.sqlite.backup import back_up


def run(settings: Settings, path: str | None) -> int:
    """Make the copy and print where it is and what it holds; return 0."""
    source = settings.database
    if source == MEMORY or not Path(source).exists():
        raise click.ClickException(f"there is no database at {visible(source)} yet")
    try:
        backup = back_up(source, path or _beside(source))
    except StorageError as error:
        raise click.ClickException(visible(str(error))) from None
    click.echo(visible(backup.path))
    click.echo(
        f"{backup.sessions} sessions, {backup.events} events, {backup.size:,} bytes; verified"
    )
    return 0


def _beside(source: str) -> str:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return str(Path(source).parent / "backups" / f"sessions-{moment}.db")
