"""Copies of a database that is in use. A copy gets its name only after it was verified."""

import contextlib
import os
from pathlib import Path

from segue.model.errors import StorageCorrupt, StorageUnavailable
from segue.model.store_reports import BackupResult
from segue.store.sqlite import disk, drafts, driver, file_access, replacement, schema
from segue.store.sqlite.check import count_rows, find_damage, find_emptied, one_line
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
    drafts.sweep(path)
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
    drafts.sweep(path)
    open_lock = OpenLock(path)
    try:
        disk.make_private_folder(Path(target).parent)
        file_access.check_folder(Path(target).parent, sticky_suffices=True)
        is_writable = file_access.is_writable(path)
        if is_writable:
            open_lock.share()
            replacement.finish(path, open_lock)
        with drafts.new_draft(path, target) as draft:
            _copy(path, draft, is_writable=is_writable)
            backup = _verified(draft, target)
            os.rename(draft, target)
            disk.sync_folder_of(target)
    except _ERRORS as error:
        if driver.is_corruption(error):
            raise
        raise driver.translate(error, target, needed_bytes=_size(path)) from error
    finally:
        open_lock.close()
    return backup


def _copy(path: str, draft: str, *, is_writable: bool) -> None:
    if emptied := find_emptied(path):
        raise emptied
    with contextlib.closing(driver.connect_to_read(path)) as db:
        schema.check_owner(db, path)
    connect = driver.connect if is_writable else driver.connect_to_read
    with contextlib.closing(connect(path)) as db:
        db.execute("VACUUM INTO ?", (draft,))
    # As the original: the mode cannot be set where editors have the file open that it overwrites.
    with contextlib.closing(driver.connect(draft)) as copy:
        copy.execute("PRAGMA journal_mode = WAL").fetchone()


def _verified(draft: str, target: str) -> BackupResult:
    with contextlib.closing(driver.connect_to_read(draft)) as copy:
        (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StorageCorrupt(f"The copy is damaged ({one_line(verdict)}), and was removed.")
        sessions, events = count_rows(copy)
    disk.sync_file(draft)
    return BackupResult(path=target, size=os.path.getsize(draft), sessions=sessions, events=events)


def _size(path: str) -> int:
    """Return the most bytes that a copy of the database at *path* can have."""
    return sum(os.path.getsize(each) for each in (path, f"{path}-wal") if os.path.exists(each))
