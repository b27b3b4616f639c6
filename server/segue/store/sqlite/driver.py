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
from segue.store.sqlite import disk, file_access


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
    return _connect(path, *_WRITER)


def connect_attached(path: str, store: str) -> Connection:
    """Open *path* as `connect` does, and attach the database *store*, to be read, as `store`."""
    with contextlib.suppress(FileExistsError):
        disk.create_private(path)
    db = _connect(Path(path).absolute().as_uri(), *_WRITER, uri=True)
    try:
        db.execute("ATTACH DATABASE ? AS store", (f"{Path(store).absolute().as_uri()}?mode=ro",))
    except BaseException:
        db.close()
        raise
    return db


_WRITER = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",  # acknowledged means on disk, also when the power fails
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA wal_autocheckpoint = 4000",  # if checkpoint_passive never ran
)


def connect_to_read(path: str, *, without_log: bool = False) -> Connection:
    """Open *path* read-only, with the log that it has or *without_log*.

    No file is made where that is possible, and no log is deleted: raises SQLite's error for damage
    if the database is empty and its log is not.
    """
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    if without_log or not os.path.exists(f"{path}-wal"):
        # No process writes, and a connection that is not immutable would make a log.
        return _connect(f"{uri}&immutable=1", uri=True)
    if is_emptied(path):
        raise corruption(f"it is empty, but {path}-wal is not: without that, a new one is made")
    if os.path.exists(f"{path}-shm") or file_access.is_writable(path):
        return _connect(uri, uri=True)
    # A log whose index is lost and cannot be made: SQLite keeps one in memory if it need not lock.
    exclusive = "PRAGMA locking_mode = EXCLUSIVE"
    return _connect(f"{uri}&vfs={'win32' if os.name == 'nt' else 'unix'}-none", exclusive, uri=True)


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


def _connect(path: str, *pragmas: str, uri: bool = False) -> Connection:
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
    try:
        for pragma in (*pragmas, "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON"):
            db.execute(pragma)
    except BaseException:
        db.close()
        raise
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


def translate(error: Exception, path: str, *, needed_bytes: int = _NO_SPACE_BYTES) -> StorageError:
    """Return *error* as a StorageError whose message names the file, the problem and the remedy.

    *needed_bytes* is how much was to be written.
    """
    match _meaning(error, path, needed_bytes):
        case _library.SQLITE_FULL:
            return StorageFull(
                f"No space is left for {path}: its disk is full, or a quota or a limit on the size "
                "of files is reached. Nothing was written; make room and try again."
            )
        case _library.SQLITE_READONLY:
            return StorageReadOnly(_read_only_message(error, path))
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


def _read_only_message(error: Exception, path: str) -> str:
    if isinstance(error, OSError) or not file_access.is_writable(path):
        reason = f" ({error.strerror}: {error.filename})" if isinstance(error, OSError) else ""
        return (
            f"{path} cannot be written: it, or its folder, is read-only{reason}. Make both "
            "writable, or name another file with --database or the setting `database`."
        )
    return f"{path} cannot be written: it was moved, or a later Segue lets this one only read it."


def _meaning(error: Exception, path: str, needed_bytes: int) -> int:
    """Return the code of *error*, or what it means if SQLite says only that a file failed."""
    code = _code(error)
    is_read = getattr(error, "sqlite_errorcode", 0) in _READ_ERRORS
    if is_read or code not in (_library.SQLITE_IOERR, _library.SQLITE_CANTOPEN):
        return code
    if not file_access.is_writable(path) and os.path.exists(path):
        return int(_library.SQLITE_READONLY)
    return int(_library.SQLITE_FULL) if _is_full(path, needed_bytes) else code


def _is_full(path: str, needed_bytes: int) -> bool:
    """Return whether the disk, a quota or the limit on the size of files leaves no such room."""
    # SQLite says "full" for ENOSPC of a write only: not for EDQUOT, EFBIG or the log's index.
    return _is_at_size_limit(path) or not _has_room(os.path.dirname(path) or ".", needed_bytes)


def _is_at_size_limit(path: str) -> bool:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    (limit, _) = resource.getrlimit(resource.RLIMIT_FSIZE)
    files = [each for suffix in ("", "-wal", "-shm") if os.path.exists(each := f"{path}{suffix}")]
    largest = max(map(os.path.getsize, files), default=0)
    return limit != resource.RLIM_INFINITY and largest + _NO_SPACE_BYTES > limit


def _has_room(folder: str, needed_bytes: int) -> bool:
    """Return whether a new file in *folder* can have so many bytes."""
    import shutil  # loads three compressors: only after an error
    import tempfile

    try:
        if shutil.disk_usage(folder).free < needed_bytes:
            return False
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, needed_bytes)
            file.write(bytes(_NO_SPACE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return bool(_CODE_BY_ERRNO.get(error.errno or 0) != _library.SQLITE_FULL)
    return True


_READ_ERRORS = (266, 522)  # SQLITE_IOERR_READ and _SHORT_READ, which pysqlite3 does not name
_CODE_BY_ERRNO = {
    errno.ENOSPC: _library.SQLITE_FULL,
    getattr(errno, "EDQUOT", errno.ENOSPC): _library.SQLITE_FULL,  # Windows has none
    errno.EFBIG: _library.SQLITE_FULL,
    errno.EROFS: _library.SQLITE_READONLY,
    errno.EACCES: _library.SQLITE_READONLY,
}


def _code(error: Exception) -> int:
    if isinstance(error, OSError):
        return int(_CODE_BY_ERRNO.get(error.errno or 0, 0))
    if isinstance(error, UnicodeDecodeError):
        return int(_library.SQLITE_CORRUPT)
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
