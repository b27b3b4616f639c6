"""`segue doctor`: the versions in use, whether they are safe, and the state of the store."""

import json
import platform
from importlib import metadata
from typing import Any

import click

import segue
from segue.cli.application import CommandError, Store
from segue.cli.printing import visible
from segue.model.errors import StorageError
from segue.model.store_reports import CheckReport, StoreEngine
from segue.store.service import StoreAdmin

_PACKAGES = ("pygls", "lsprotocol", "aiosqlite", "cattrs", "uuid6")


def run(store: Store, *, as_json: bool) -> int:
    """Print the report; return 1 if there is a problem, else 0. Nothing is changed."""
    engine, check = store.admin.engine, store.admin.check()
    problems = [*filter(None, [engine.warning]), *check.problems]
    if as_json:
        click.echo(json.dumps(_report(store, engine, check, problems), indent=2))
    else:
        _print(store, engine, check, problems)
    return 1 if problems else 0


def repair(admin: StoreAdmin) -> int:
    """Save what can be read of a damaged store, print what was done, and return 0.

    Raises CommandError if there is no store, or if it cannot be repaired now.
    """
    try:
        click.echo(visible(admin.repair()))
    except StorageError as error:
        raise CommandError(str(error)) from None
    return 0


def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}


def _report(
    store: Store, engine: StoreEngine, check: CheckReport, problems: list[str]
) -> dict[str, Any]:
    return {
        "segue": segue.__version__,
        "python": platform.python_version(),
        "packages": _packages(),
        engine.name.lower(): {
            "library": engine.library,
            "version": engine.version,
            "safe": engine.is_safe,
        },
        "configFile": store.config_file,
        "database": {
            "path": store.admin.location,
            "exists": check.exists,
            "bytes": check.sizes.bytes,
            "modes": check.modes,
            "schemaVersion": check.schema_version,
            "sessions": check.sizes.sessions,
            "archived": check.sizes.archived,
            "events": check.sizes.events,
        },
        "problems": problems,
    }


def _print(store: Store, engine: StoreEngine, check: CheckReport, problems: list[str]) -> None:
    sizes = check.sizes
    _line("segue", f"{segue.__version__} on Python {platform.python_version()}")
    _line("packages", ", ".join(f"{name} {version}" for name, version in _packages().items()))
    safe = "safe" if engine.is_safe else "NOT SAFE"
    _line(engine.name, f"{engine.version} from {engine.library}, {safe}")
    _line("settings", visible(store.config_file))
    _line("database", visible(store.admin.location))
    if not check.exists:
        _line("", "not created yet: the first conversation creates it")
    elif sizes.sessions is not None:
        _line("", f"{sizes.bytes:,} bytes, schema {check.schema_version}")
        _line("", f"{sizes.sessions} sessions ({sizes.archived} archived), {sizes.events} events")
    for path, mode in check.modes.items():
        _line("", f"{mode:>4}  {visible(path)}")
    for problem in problems:
        click.secho(f"problem   {visible(problem)}", fg="red")
    if not problems:
        click.secho("all is well", fg="green")


def _line(name: str, value: str) -> None:
    click.echo(f"{name:<9} {value}")
