"""`segue doctor`: which versions run, whether they are safe, and how the data is."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import click

import segue
from segue.cli.printing import visible
from segue.model.errors import StorageError
from segue.startup.settings import Settings, config_file
from segue.store.sqlite import driver, recovery
from segue.store.sqlite.check import CheckReport, examine

_PACKAGES = ("pygls", "lsprotocol", "aiosqlite", "cattrs", "uuid6")


def run(settings: Settings, *, as_json: bool) -> int:
    """Print what was found; return 1 if something is wrong, else 0. Nothing is changed."""
    checkup = examine(settings.database)
    problems = [*filter(None, [driver.warning()]), *checkup.problems]
    report = _report(settings, checkup, problems)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    return 1 if problems else 0


def repair(settings: Settings) -> int:
    """Save what can be read of a damaged database, and print both paths and the counts."""
    if not Path(settings.database).exists():
        raise click.ClickException(f"there is no database at {visible(settings.database)} yet")
    try:
        click.echo(visible(recovery.repair(settings.database).message))
    except StorageError as error:
        raise click.ClickException(visible(str(error))) from None
    return 0


def _report(settings: Settings, checkup: CheckReport, problems: list[str]) -> dict[str, Any]:
    return {
        "segue": segue.__version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "sqlite": {
            "library": driver.NAME,
            "version": driver.VERSION,
            "safe": driver.is_safe(),
        },
        "configFile": str(config_file()),
        "database": {
            "path": settings.database,
            "exists": checkup.exists,
            "bytes": checkup.size,
            "modes": checkup.modes,
            "schemaVersion": checkup.schema_version,
            "sessions": checkup.sessions,
            "archived": checkup.archived,
            "events": checkup.events,
        },
        "problems": problems,
    }


def _print(report: dict[str, Any]) -> None:
    sqlite, database = report["sqlite"], report["database"]
    _line("segue", f"{report['segue']} on Python {report['python']}")
    _line("packages", ", ".join(f"{name} {at}" for name, at in report["packages"].items()))
    safe = "safe" if sqlite["safe"] else "NOT SAFE"
    _line("SQLite", f"{sqlite['version']} from {sqlite['library']}, {safe}")
    _line("settings", visible(report["configFile"]))
    _line("database", visible(database["path"]))
    if not database["exists"]:
        _line("", "not made yet: it appears with the first conversation")
    elif database["sessions"] is not None:
        _line("", f"{database['bytes']:,} bytes, schema {database['schemaVersion']}")
        _line(
            "",
            f"{database['sessions']} sessions ({database['archived']} archived), "
            f"{database['events']} events",
        )
    for path, mode in database["modes"].items():
        _line("", f"{mode:>4}  {visible(path)}")
    for problem in report["problems"]:
        click.secho(f"problem   {visible(problem)}", fg="red")
    if not report["problems"]:
        click.secho("all is well", fg="green")


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<9} {text}")
