"""Copies of a database that is in use. A copy gets its name only after it was verified."""

import contextlib
import os
from pathlib import Path

from segue.model.errors import StorageCorrupt, StorageUnavailable
from segue.model.store_reports import BackupResult
from segue.store.sqlite import driver, schema
from segue.store.sqlite.check import count_rows, find_damage
from segue.store.sqlite.locks import OpenLock

_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)


def back_up(path: str, target: str) -> BackupResult:
    """Copy the database at *path* to *target*, which must not exist yet, or raise a StorageError.

    The copy is one snapshot of the original, verified, readable by its owner alone, and on disk
    when this returns. Other windows can read and write meanwhile. A conversation that is deleted
    later stays in the copy.
    """
    try:
        return _back_up(path, target)
    except _ERRORS as error:
        raise driver.translate(error, path) from error


def back_up_before_migration(path: str, version: int) -> None:
    """Check the database at *path*, of schema *version*, and copy it unless a copy exists.

    Damage is raised as SQLite's own error: only then can the caller recover the database.
    """
    # A copy of a damaged file can be whole, and the migration would write to the file.
    if damage := find_damage(path):
        raise damage
    target = f"{path}.schema-{version}"
    if os.path.lexists(target):
        return
    try:
        _back_up(path, target)
    except StorageUnavailable:
        if not os.path.lexists(target):  # it exists if another window has made the copy
            raise
    with contextlib.closing(driver.connect_to_read(target)) as db:
        if schema.version_of(db) != version:
            os.unlink(target)  # another window has migrated meanwhile, after its own backup


def _back_up(path: str, target: str) -> BackupResult:
    if os.path.lexists(target):
        raise StorageUnavailable(f"{target} exists already. It was left as it is.")
    draft = f"{target}.draft-{os.getpid()}"
    open_lock = OpenLock(path)
    try:
        Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_lock.share()
        _copy(path, draft)
        backup = _verified(draft, target)
        os.rename(draft, target)
        _sync(Path(target).parent)
    finally:
        open_lock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    return backup


def _copy(path: str, draft: str) -> None:
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(driver.connect_to_read(path)) as db:
        schema.check_owner(db, path)
    with contextlib.closing(driver.connect(path)) as db:
        db.execute("VACUUM INTO ?", (draft,))
    # As the original: the mode cannot be set where editors have the file open that it overwrites.
    with contextlib.closing(driver.connect(draft)) as copy:
        copy.execute("PRAGMA journal_mode = WAL").fetchone()


def _verified(draft: str, target: str) -> BackupResult:
    with contextlib.closing(driver.connect_to_read(draft)) as copy:
        (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StorageCorrupt(f"The copy is damaged ({verdict}), and was removed.")
        sessions, events = count_rows(copy)
    _sync(Path(draft))
    return BackupResult(path=target, size=os.path.getsize(draft), sessions=sessions, events=events)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
