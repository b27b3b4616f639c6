"""Puts a backup in the place of the database, which is kept beside it under another name."""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from segue.model.errors import StorageCorrupt, StorageError, StorageUnavailable
from segue.model.records import Timestamp
from segue.model.store_reports import RestorePreview, RestoreResult, StoreContents
from segue.store.sqlite import disk, driver, files, replacement, schema
from segue.store.sqlite.check import count_rows, find_damage
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.lock_holders import find_lock_holders
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.recovery import policy

_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)


def restore(
    path: str, source: str, confirm: Callable[[RestorePreview], bool]
) -> RestoreResult | None:
    """Replace the database at *path* by a copy of *source*, if *confirm* agrees.

    *source* is a database of this or of an earlier version, which is verified and left as it is;
    *path* need not exist. Returns None if *confirm* returned False; nothing was changed then.
    Raises a StorageError, and changes nothing, if *source* cannot be used, if *path* is another
    program's, or if a process has it open.
    """
    _check_file(path, source)
    open_lock = OpenLock(path)
    try:
        files.prepare_folder(Path(path).parent)
        open_lock.share()
        replacement.finish(path, open_lock)
        _check_target(path, open_lock)
        if not open_lock.try_exclusive():
            raise _open_elsewhere(path)
        with replacement.working_folder(path) as folder:
            new, contents = _prepare(source, folder)
            present = _present(path)
            if not confirm(RestorePreview(path=path, present=present, restored=contents)):
                return None
            replaced_as = replacement.replace(path, new, "replaced")
        open_lock.set_mark()
        return RestoreResult(path=path, replaced_as=replaced_as, restored=contents)
    except _ERRORS as error:
        raise driver.translate(error, path) from error
    finally:
        open_lock.close()


def _check_file(path: str, source: str) -> None:
    try:
        status = os.stat(source)
    except OSError as error:
        raise StorageUnavailable(f"{source} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise StorageUnavailable(f"{source} is not a file.")
    if not os.access(source, os.R_OK):
        raise StorageUnavailable(f"{source} cannot be read: you have no permission.")
    if os.path.exists(path) and os.path.samestat(status, os.stat(path)):
        raise StorageUnavailable(f"{source} is the database itself. Name a copy of it.")
    if not status.st_size:
        raise StorageUnavailable(f"{source} is empty: it is no copy of a database.")


def _open_elsewhere(path: str) -> StorageUnavailable:
    holders = find_lock_holders(f"{path}-lock", shared=True)
    names = ", ".join(map(str, holders)) or "other processes"
    return StorageUnavailable(
        f"{path} is open in editor windows ({names}). Close them, then restore again; nothing was "
        "changed."
    )


def _check_target(path: str, open_lock: OpenLock) -> None:
    """Raise StorageUnavailable if the file at *path* is another program's."""
    if not os.path.lexists(path) or not os.path.getsize(path) or policy.is_ours(path, open_lock):
        return
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            schema.check_owner(db, path)
    except driver.Error:
        raise StorageUnavailable(
            f"{path} is not a database of Segue. It was left as it is: move it away first."
        ) from None


def _prepare(source: str, folder: str) -> tuple[str, StoreContents]:
    """Copy *source* into *folder* as one complete, verified file of this version's schema."""
    new = f"{folder}/restored"
    disk.create_private(new)
    readable = _without_traces(source, folder)
    if damage := _damage(readable, source):
        raise StorageCorrupt(
            f"{source} is damaged, or is no database ({damage}). It was not restored, and nothing "
            "was changed."
        )
    with contextlib.closing(driver.connect_to_read(readable)) as old:
        old.execute("VACUUM INTO ?", (new,))
    if harm := find_damage(new):
        raise harm
    with contextlib.closing(driver.connect(new)) as copy:
        schema.migrate(copy)
        contents = contents_of(copy)
        driver.checkpoint_truncate(copy)
    return new, contents


def _damage(readable: str, source: str) -> Exception | None:
    """Return the damage of *readable*; raise a StorageError if it is not a database of Segue."""
    try:
        with contextlib.closing(driver.connect_to_read(readable)) as db:
            _check_schema(db, source)
        return find_damage(readable)
    except driver.Error as error:
        if driver.is_corruption(error):
            return error
        raise


def _without_traces(source: str, folder: str) -> str:
    """Return a path at which SQLite can read *source* without making a file beside it.

    With a log it would make its index there. If there is an index already, a process may have
    *source* open: then only SQLite reads a snapshot of it.
    """
    log = f"{source}-wal"
    if not os.path.exists(log) or os.path.exists(f"{source}-shm"):
        return source
    for name, suffix in ((source, ""), (log, "-wal")):
        disk.create_private(f"{folder}/source{suffix}")
        shutil.copyfile(name, f"{folder}/source{suffix}")
    return f"{folder}/source"


def _check_schema(db: Connection, source: str) -> None:
    schema.check_owner(db, source)
    version = schema.version_of(db)
    if version == 0:
        raise StorageUnavailable(f"{source} is empty: it is no copy of a database.")
    if not schema.may_write(db):
        raise StorageUnavailable(
            f"{source} was written by a later Segue, and this one may only read it. Update Segue."
        )
    if version <= len(schema.MIGRATIONS) and schema.version_by_tables(db) != version:
        raise StorageUnavailable(
            f"{source} has other tables than Segue makes. It was not restored, and nothing was "
            "changed."
        )


def _present(path: str) -> StoreContents | None:
    """Return what the database at *path* holds; None if it does not exist or cannot be read."""
    if not os.path.lexists(path):
        return None
    with (
        contextlib.suppress(*driver.Error, StorageError),
        contextlib.closing(driver.connect_to_read(path)) as db,
    ):
        schema.check_owner(db, path)
        return contents_of(db) if schema.version_of(db) else None
    return None


def contents_of(db: Connection) -> StoreContents:
    """Count the sessions and events of a database, and find its newest date."""
    sessions, events = count_rows(db)
    (newest,) = db.execute("SELECT max(updated_at) FROM sessions").fetchone()
    return StoreContents(
        sessions=sessions, events=events, newest=None if newest is None else Timestamp(newest)
    )
