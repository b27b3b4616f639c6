"""The copies of a database that are kept beside it and in the folder `backups`."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from segue.model.store_reports import StoreCopy

_KINDS: dict[str, Literal["before a migration", "damaged", "replaced"]] = {
    "schema": "before a migration",
    "corrupt": "damaged",
    "replaced": "replaced",
}
_PARTS = ("-wal", "-shm", "-journal", "-lock", "-write.lock")


def backup_folder(path: str) -> Path:
    """Return the folder of the backups for which the user names no path."""
    return Path(path).parent / "backups"


def copies_of(path: str) -> Sequence[StoreCopy]:
    """Return the copies of the database at *path*, the oldest of each kind first."""
    found = [*_beside(path), *_backups(backup_folder(path))]
    return sorted(found, key=lambda copy: (copy.kind, _time(copy.path), copy.path))


def _beside(path: str) -> Iterator[StoreCopy]:
    pattern = re.compile(re.escape(os.path.basename(path)) + r"\.(schema|corrupt|replaced)-\w")
    for each in _files(Path(path).parent):
        if match := pattern.match(each.name):
            kind = "in the making" if ".draft-" in each.name else _KINDS[match[1]]
            yield StoreCopy(kind=kind, path=str(each), bytes=_size(each))


def _backups(folder: Path) -> Iterator[StoreCopy]:
    for each in _files(folder):
        kind: Literal["in the making", "backup"]
        kind = "in the making" if ".draft-" in each.name else "backup"
        yield StoreCopy(kind=kind, path=str(each), bytes=_size(each))


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for each in folder.iterdir():
            if each.is_file() and not each.name.endswith(_PARTS):
                yield each


def _size(path: Path) -> int:
    parts = (f"{path}{suffix}" for suffix in ("", *_PARTS))
    return sum(os.path.getsize(part) for part in parts if os.path.exists(part))


def _time(path: str) -> float:
    with contextlib.suppress(OSError):
        return os.path.getmtime(path)
    return 0.0
