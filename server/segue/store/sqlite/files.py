"""Opens or creates a database file: refuses one that is not Segue's, sets WAL mode, migrates.

One that cannot be written is opened to be read.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from segue.model.errors import StorageError, StorageReadOnly, StorageUnavailable
from segue.store.sqlite import disk, driver, file_access, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.high_water import FileState
from segue.store.sqlite.locks import OpenLock


def open_database(
    path: str, folder: Path, open_lock: OpenLock, prepare: Callable[[], None]
) -> Connection:
    """Open, make or migrate the database at *path*, in *folder* before links were resolved.

    *prepare* makes the file if there is none. Raises a StorageError, or the library's own error; a
    file that is not ours is left as it is.
    """
    prepare_folder(folder)
    if (real_folder := os.path.dirname(path)) != str(folder):
        file_access.check_folder(real_folder)
    _warn(file_access.make_private(path))
    if not file_access.is_writable(path):
        return _open_to_read(path, open_lock)
    open_lock.share()
    _finish_replacement(path, open_lock)
    try:
        _refuse_foreign_log(path)
        _forget_removed(path, open_lock)
        _check_not_emptied(path, open_lock)
        prepare()
        db = open_migrated(path)
    except StorageError:
        open_lock.clear_mark()
        raise
    open_lock.set_mark()
    return db


ReadOnlyState = tuple[FileState | None, ...]
"""What the database, its log and its index are like, where they cannot be written."""


def read_only_state(path: str) -> ReadOnlyState | None:
    """Return what the database's files are like if it cannot be written now, else None.

    A connection that only reads may have no locks: it is opened again when this has changed.
    """
    if file_access.is_writable(path):
        return None
    return tuple(_state(f"{path}{suffix}") for suffix in ("", *disk.LOGS))


def _state(path: str) -> FileState | None:
    with contextlib.suppress(OSError):
        return FileState.of(path)
    return None


def _open_to_read(path: str, open_lock: OpenLock) -> Connection:
    if not os.path.exists(path):
        raise StorageReadOnly(
            f"{path} does not exist, and its folder is read-only. Make the folder writable, or "
            "name another file with --database or the setting `database`."
        )
    if os.path.lexists(f"{path}{disk.REPLACEMENT_JOURNAL}"):
        from segue.store.sqlite import replacement  # only where one was interrupted

        raise StorageReadOnly(replacement.pending_message(path))
    with contextlib.suppress(OSError):  # where no lock file can be opened
        open_lock.share()
    db = driver.connect_to_read(path)
    try:
        schema.check_owner(db, path)
        if schema.needs_migration(db):
            db = _migrated_in_memory(db)
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _migrated_in_memory(db: Connection) -> Connection:
    memory = driver.connect(":memory:")
    try:
        db.backup(memory)
        schema.migrate(memory)
    except BaseException:
        memory.close()
        raise
    db.close()
    return memory


def _warn(messages: list[str]) -> None:
    if messages:
        import logging

        for message in messages:
            logging.getLogger("segue").warning("%s", message)


def open_migrated(path: str) -> Connection:
    """Open the database at *path*, which may be `:memory:`, and bring its schema up to date."""
    file = disk.file_id(path)
    db = driver.connect(path)
    try:
        if file not in (None, disk.file_id(path)):
            raise StorageUnavailable(f"{path} was replaced while it was opened. Try again.")
        schema.check_owner(db, path)
        if schema.may_write(db):
            _migrate(db, path)
        else:
            db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: Connection, path: str) -> None:
    _use_wal(db)
    if schema.needs_migration(db):
        from segue.store.sqlite import backup  # loaded before a migration only

        backup.back_up_before_migration(path, schema.version_of(db))
    schema.migrate(db)


def prepare_folder(folder: Path) -> None:
    """Make *folder* if it is missing, or raise StorageUnavailable if it is not this user's own."""
    disk.make_private_folder(folder)
    if folder.is_symlink():
        raise StorageUnavailable(
            f"{folder} is a link: what it names can be changed under the database. Name the real "
            "folder in the setting `database`."
        )
    file_access.check_folder(folder)


def _refuse_foreign_log(path: str) -> None:
    # Closing the last connection checkpoints a pending log into the file, which may not be ours.
    if os.path.exists(path) and os.path.exists(f"{path}-wal"):
        with contextlib.closing(driver.connect_to_read(path)) as db:
            schema.check_owner(db, path)


def _finish_replacement(path: str, open_lock: OpenLock) -> None:
    suffixes = (disk.REPLACEMENT_JOURNAL, disk.REPLACEMENT_FOLDER)
    if any(os.path.lexists(f"{path}{suffix}") for suffix in suffixes):
        from segue.store.sqlite import replacement  # loaded only after a repair that was killed

        replacement.finish(path, open_lock)


def _forget_removed(path: str, open_lock: OpenLock) -> None:
    if not os.path.lexists(path):
        open_lock.clear_mark()  # of a database that was removed: the new one is empty at first


def _check_not_emptied(path: str, open_lock: OpenLock) -> None:
    # SQLite would make a new database of it, without a word.
    if os.path.exists(path) and os.path.getsize(path) == 0 and open_lock.has_mark():
        raise driver.corruption("it is empty, and it was not before")


def _use_wal(db: Connection) -> None:
    # Windows that create a database together collide here, and SQLite does not wait for this lock.
    deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
        except driver.Error as error:
            if not driver.is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
