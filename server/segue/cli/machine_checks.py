"""What `segue doctor` checks around a store: whether it can be written, and who else has one."""

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from segue.cli.application import Store
from segue.model.store_reports import Finding

_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME")


def examine_machine(store: Store, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Return what is worth saying about the environment of *store*; nothing is changed."""
    return [
        *_python_variables(environment),
        *_settings(store),
        *_unwritable_folders(store),
        *_sandboxed_stores(store),
    ]


def _python_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in _PYTHON_VARIABLES:
        if not environment.get(name):
            continue
        if sys.flags.ignore_environment:
            yield Finding(
                f"{name} is set; this command ignores it",
                "Start a server that is not started as `segue` with `python -I -m segue lsp`",
                is_problem=False,
            )
        else:
            yield Finding(
                f"{name} is set and decides which code this command runs",
                "Use the command `segue`, or `python -I -m segue`",
            )


def _settings(store: Store) -> Iterator[Finding]:
    for warning in store.warnings:
        yield Finding(
            warning,
            "Correct it, or leave it, if another version of Segue or another user needs it so",
        )


def _unwritable_folders(store: Store) -> Iterator[Finding]:
    for folder in store.folders:
        if (error := _write_error(folder)) is not None:
            yield Finding(
                f"{folder} cannot be written ({error})",
                "Change its permissions, or name another database in the setting `database`",
            )
            return  # the others are in it


def _write_error(folder: str) -> str | None:
    """Return why nothing can be made in *folder*, or in the folder in which it would be made."""
    existing = Path(folder)
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing, prefix=".segue-doctor-"):
            return None
    except OSError as error:
        where = "" if str(existing) == folder else f"{existing}: "
        return f"{where}{error.strerror}"


def _sandboxed_stores(store: Store) -> Iterator[Finding]:
    for path in store.sandboxed_stores():
        if path != store.admin.location:
            with contextlib.suppress(OSError):  # it has just been removed
                yield Finding(
                    f"{path} ({os.path.getsize(path):,} bytes) is another store, made by an editor "
                    "in a sandbox",
                    f"To list its conversations: segue --database {shlex.quote(path)} list --all",
                    is_problem=False,
                )
