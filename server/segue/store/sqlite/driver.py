"""The linked SQLite: its version, opening a connection, transactions, checkpoints and errors."""

import contextlib
import errno
import functools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from segue.model.errors import (
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnavailable,
)
from segue.store.sqlite import disk


def _load() -> ModuleType:
    # The interpreter's own library is often one with the WAL-reset corruption.
    try:
        import pysqlite3.dbapi2 as newer
    except ImportError:
        import sqlite3

        return sqlite3
    return newer  # type: ignore[no-any-return]  # it ships no types


_library = _load()

if TYPE_CHECKING:
    from sqlite3 import Connection as Connection
else:
    Connection = _library.Connection  # of either library: their interfaces are the same

Error: tuple[type[Exception], ...] = (_library.Error, UnicodeDecodeError)
"""What the library raises: pysqlite3's errors are not sqlite3's.

UnicodeDecodeError replaces an error whose message quotes damaged bytes of the schema. It has no
other cause: rows are read by a `text_factory` that decodes everything.
"""

NAME: str = _library.__name__.partition(".")[0]
VERSION: str = _library.sqlite_version
BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another window's, in seconds; each takes well under a millisecond."""

READ_LIMIT_S = 10.0
WRITE_LIMIT_S = 60.0
"""How long a call may compute, in seconds of its thread: a page takes milliseconds."""

MAX_VALUE_BYTES = 256 * 1024 * 1024
"""The longest value that SQLite makes or reads, where the library can set that limit."""

_STEPS = 100_000
"""After so many steps of SQLite's virtual machine, a millisecond's work, the limit is checked."""

_NO_SPACE_BYTES = 64 * 1024
"""With less free than this, the disk counts as full."""

_SAFE_SINCE = (3, 51, 3)
_BACKPORTS = ((3, 50, 7), (3, 44, 6))


class _LimitedConnection(Connection):
    """A connection whose statements can be limited in time."""

    time_limit: "_TimeLimit"


class _TimeLimit:
    """The time of the thread's processor clock at which statements are interrupted."""

    def __init__(self) -> None:
        self.end = math.inf

    def is_exceeded(self) -> bool:
        # Not the time of the wall: a process that was stopped or that waits is not at fault.
        return time.thread_time() > self.end


def limit_time(db: Connection, seconds: float) -> None:
    """Interrupt what this thread executes from now on after so many *seconds* of computing."""
    _time_limit(db).end = time.thread_time() + seconds


def _time_limit(db: Connection) -> _TimeLimit:
    return db.time_limit  # type: ignore[attr-defined, no-any-return]  # `_connect` makes all


def is_safe(version: str = VERSION) -> bool:
    """Return whether this SQLite has the fix of the WAL-reset race (3.7.0 to 3.51.2, sqlite.org).

    The race needs several processes that commit and checkpoint one database: editor windows do.
    """
    number = tuple(int(part) for part in version.split("."))
    return number >= _SAFE_SINCE or any(
        number[:2] == fixed[:2] and number >= fixed for fixed in _BACKPORTS
    )


def warning() -> str | None:
    """Return a warning for the person if the linked SQLite is not safe, else None."""
    if is_safe():
        return None
    return (
        f"SQLite {VERSION} can corrupt a database that several windows share; "
        "3.51.3 is the first safe one (install the package pysqlite3)"
    )


def connect(path: str) -> Connection:
    """Open *path* for durable commits, private deletion, and without implicit transactions."""
    if path and not path.startswith(":"):
        with contextlib.suppress(FileExistsError):
            disk.create_private(path)
    db = _connect(path)
    try:
        for pragma in (
            "PRAGMA foreign_keys = ON",
            "PRAGMA synchronous = FULL",  # acknowledged means on disk, also when the power fails
            "PRAGMA secure_delete = ON",
            "PRAGMA trusted_schema = OFF",
            "PRAGMA cell_size_check = ON",
            "PRAGMA journal_size_limit = 16777216",
            "PRAGMA wal_autocheckpoint = 4000",  # if checkpoint_passive never ran
        ):
            db.execute(pragma)
    except BaseException:
        db.close()
        raise
    return db


def connect_to_read(path: str, *, without_log: bool = False) -> Connection:
    """Open *path* read-only, without creating or deleting a log, or *without_log* at all.

    Raises SQLite's error for damage if the database is empty and its log is not.
    """
    if not without_log and is_emptied(path):
        raise corruption(f"it is empty, but {path}-wal is not: without that, a new one is made")
    # Without a log no process writes, and a connection that is not immutable would create one.
    has_log = Path(f"{path}-wal").exists() and not without_log
    immutable = "" if has_log else "&immutable=1"
    return _connect(f"{Path(path).absolute().as_uri()}?mode=ro{immutable}", uri=True)


def is_emptied(path: str) -> bool:
    """Return whether the database is empty or missing, and its log is not.

    SQLite would delete the log.
    """
    try:
        return os.path.getsize(f"{path}-wal") > 0 and (
            not os.path.lexists(path) or os.path.getsize(path) == 0
        )
    except OSError:
        return False


def _connect(path: str, *, uri: bool = False) -> Connection:
    db: _LimitedConnection = _library.connect(
        path, uri=uri, isolation_level=None, timeout=BUSY_TIMEOUT_S, factory=_LimitedConnection
    )
    db.row_factory = _library.Row
    # A row of invalid UTF-8 must not fail the SELECT that it is in.
    db.text_factory = functools.partial(str, encoding="utf-8", errors="surrogateescape")
    db.time_limit = _TimeLimit()
    db.set_progress_handler(db.time_limit.is_exceeded, _STEPS)
    if hasattr(db, "setlimit"):  # pysqlite3 has not
        db.setlimit(_library.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    return db


@contextlib.contextmanager
def transaction(db: Connection, deadline: float | None = None) -> Iterator[None]:
    """Commit the block's changes; an exception in it rolls them all back.

    Another connection's transaction is waited for until *deadline*, in monotonic time, if one is
    given, and for at most BUSY_TIMEOUT_S.
    """
    with _busy_until(db, deadline):
        # IMMEDIATE: upgrading a read to a write fails at once, whatever the timeout.
        db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            _time_limit(db).end = math.inf  # what was interrupted must still be undone
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _busy_until(db: Connection, deadline: float | None) -> Iterator[None]:
    left = BUSY_TIMEOUT_S if deadline is None else deadline - time.monotonic()
    if left > BUSY_TIMEOUT_S - 0.5:  # without a statement, if nothing was waited for before
        yield
        return
    db.execute(f"PRAGMA busy_timeout = {max(0.0, left) * 1_000:.0f}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1_000:.0f}")


@contextlib.contextmanager
def read_snapshot(db: Connection) -> Iterator[None]:
    """Let the block read from one snapshot: it does not see what other windows write meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def checkpoint_truncate(db: Connection) -> bool:
    """Move the write-ahead log into the database and empty it; return whether that was possible."""
    # Another process may read for long: nothing should wait for it.
    db.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1_000:.0f}")
    return not busy


def checkpoint_passive(db: Connection, longest: int) -> None:
    """Move what no reader needs of the log into the database, if it has *longest* pages or more."""
    # NOOP only counts pages; before SQLite 3.51 it is unknown and checkpoints.
    (_, pages, moved) = db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    if pages - moved >= longest:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def is_busy(error: Exception) -> bool:
    """Return whether another program held the lock for too long."""
    return _code(error) in (_library.SQLITE_BUSY, _library.SQLITE_LOCKED)


def is_corruption(error: Exception) -> bool:
    """Return whether SQLite reports damage. Full, busy and I/O errors never are."""
    return _code(error) in (_library.SQLITE_CORRUPT, _library.SQLITE_NOTADB)


def corruption(message: str) -> Exception:
    """Return the error of SQLite for damage that SQLite itself does not detect."""
    error: Exception = _library.DatabaseError(message)
    error.sqlite_errorcode = _library.SQLITE_CORRUPT  # type: ignore[attr-defined]  # typed as read-only
    return error


def is_io_error(error: Exception) -> bool:
    """Return whether a read or a write of the file failed or was cut short."""
    return _code(error) == int(_library.SQLITE_IOERR)


def is_read_only(error: Exception) -> bool:
    """Return whether the database cannot be written."""
    return _code(error) == int(_library.SQLITE_READONLY)


def is_schema_mismatch(error: Exception) -> bool:
    """Return whether a statement did not fit the tables of the database."""
    return _code(error) in (_library.SQLITE_ERROR, _library.SQLITE_CONSTRAINT)


def is_constraint_violation(error: Exception) -> bool:
    """Return whether the schema refused a row."""
    return _code(error) in (_library.SQLITE_CONSTRAINT, _library.SQLITE_MISMATCH)


def translate(error: Exception, path: str) -> StorageError:
    """Return *error* as a StorageError whose message names the file, the problem and the remedy."""
    code = _code(error)
    if code == _library.SQLITE_IOERR and _is_full(path):
        code = _library.SQLITE_FULL  # how the memory-mapped index of the log reports a full disk
    match code:
        case _library.SQLITE_FULL:
            return StorageFull(f"No space is left for {path}. Nothing was written.")
        case _library.SQLITE_READONLY:
            return StorageReadOnly(
                f"{path} cannot be written: it, or its folder, is read-only, or a later Segue "
                "that made it lets this one only read."
            )
        case _library.SQLITE_CORRUPT:
            return StorageCorrupt(f"{path} is damaged ({error}).")
        case _library.SQLITE_NOTADB:
            return StorageCorrupt(f"{path} is not a SQLite database. It was left as it is.")
        case _library.SQLITE_BUSY | _library.SQLITE_LOCKED:
            return locked_too_long(path)
        case _library.SQLITE_INTERRUPT:
            return StorageUnavailable(
                f"{path} needed too long to compute an answer, and the request was stopped. "
                "Nothing was changed; `segue doctor` checks the database."
            )
        case _:
            return StorageUnavailable(f"{path} cannot be used: {error}.")


def locked_too_long(path: str) -> StorageUnavailable:
    """Return the error for a lock that another process held too long, which it names."""
    from segue.store.sqlite import lock_holders  # only after a lock was waited for in vain

    holders = lock_holders.find_lock_holders(*lock_holders.lock_files(path))
    by = " and ".join(map(str, holders)) or "another program"
    return StorageUnavailable(
        f"{path} has been locked for {BUSY_TIMEOUT_S:.0f} seconds by {by}. "
        "Nothing was written; try again."
    )


def _is_full(path: str) -> bool:
    import shutil  # loads three compressors: only after an error

    try:
        return shutil.disk_usage(Path(path).parent).free < _NO_SPACE_BYTES
    except OSError:
        return False


_CODE_BY_ERRNO = {
    errno.ENOSPC: _library.SQLITE_FULL,
    errno.EDQUOT: _library.SQLITE_FULL,
    errno.EROFS: _library.SQLITE_READONLY,
    errno.EACCES: _library.SQLITE_READONLY,
}


def _code(error: Exception) -> int:
    if isinstance(error, OSError):
        return int(_CODE_BY_ERRNO.get(error.errno or 0, 0))
    if isinstance(error, UnicodeDecodeError):
        return int(_library.SQLITE_CORRUPT)
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
