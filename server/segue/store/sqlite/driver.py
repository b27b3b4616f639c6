"""Which SQLite is linked, whether it is safe, how to open it, and what its errors mean."""

import contextlib
import errno
import functools
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
    Connection = _library.Connection  # either library's: their interfaces are one

Error: tuple[type[Exception], ...] = (_library.Error, UnicodeDecodeError)
"""What the library raises: pysqlite3's errors are not sqlite3's.

UnicodeDecodeError comes in the place of an error whose words quote damaged bytes of the schema, and
from nowhere else: rows are read by a `text_factory` that decodes everything.
"""

NAME: str = _library.__name__.partition(".")[0]
VERSION: str = _library.sqlite_version
BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another window's; each takes well under a millisecond."""

_LITTLE_ROOM = 64 * 1024
_SAFE_SINCE = (3, 51, 3)
_BACKPORTS = ((3, 50, 7), (3, 44, 6))


def is_safe(version: str = VERSION) -> bool:
    """Tell whether this SQLite has the fix of the WAL-reset race (3.7.0 to 3.51.2, sqlite.org).

    The race needs several processes that commit and checkpoint one database: editor windows do.
    """
    number = tuple(int(part) for part in version.split("."))
    return number >= _SAFE_SINCE or any(
        number[:2] == fixed[:2] and number >= fixed for fixed in _BACKPORTS
    )


def warning() -> str | None:
    """Return what is wrong with the linked SQLite, in words that a person can act on, or None."""
    if is_safe():
        return None
    return (
        f"SQLite {VERSION} can corrupt a database that several windows share; "
        "3.51.3 is the first safe one (install the package pysqlite3)"
    )


def connect(where: str) -> Connection:
    """Open *where* with the promises of the store: durable commits, nothing implicit."""
    db = _connect(where)
    try:
        for pragma in (
            "PRAGMA foreign_keys = ON",
            "PRAGMA synchronous = FULL",  # answered means on disk, also when the power fails
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


def connect_to_read(where: str) -> Connection:
    """Open *where* so that nothing in it can be changed."""
    # Where there is no log nobody writes, and to share one would leave an empty one behind.
    alone = "" if Path(f"{where}-wal").exists() else "&immutable=1"
    return _connect(f"{Path(where).absolute().as_uri()}?mode=ro{alone}", uri=True)


def _connect(where: str, *, uri: bool = False) -> Connection:
    db: Connection = _library.connect(where, uri=uri, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    db.row_factory = _library.Row
    # One row of invalid UTF-8 must not fail the SELECT that it is in.
    db.text_factory = functools.partial(str, encoding="utf-8", errors="surrogateescape")
    return db


@contextlib.contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Commit what the block did; leaving it by an exception rolls everything back."""
    # IMMEDIATE: one that reads first and then writes is refused at once, whatever the timeout.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def read_snapshot(db: Connection) -> Iterator[None]:
    """Let the block read one snapshot, whatever other windows write meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def checkpoint_truncate(db: Connection) -> bool:
    """Move the log into the database and empty it; tell whether nobody's reading prevented it."""
    # Who reads may read for long, and nobody should wait for that.
    db.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1_000:.0f}")
    return not busy


def checkpoint_passive(db: Connection, longest: int) -> None:
    """Move the log into the database, as far as nobody else needs it, if it has *longest* pages."""
    # A look costs nothing; before 3.51 there is no mere look, and each is a checkpoint.
    (_, pages, moved) = db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    if pages - moved >= longest:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def is_busy(error: Exception) -> bool:
    """Tell whether another program held the lock for too long."""
    return _code(error) in (_library.SQLITE_BUSY, _library.SQLITE_LOCKED)


def is_corruption(error: Exception) -> bool:
    """Tell whether SQLite itself says that the file is damaged. Full, busy or I/O never are."""
    return _code(error) in (_library.SQLITE_CORRUPT, _library.SQLITE_NOTADB)


def corruption(words: str) -> Exception:
    """Return what SQLite would raise for damage that it does not notice itself."""
    error: Exception = _library.DatabaseError(words)
    error.sqlite_errorcode = _library.SQLITE_CORRUPT  # type: ignore[attr-defined]  # typed as read-only
    return error


def is_io_error(error: Exception) -> bool:
    """Tell whether SQLite could not read or write as much as it wanted to."""
    return _code(error) == int(_library.SQLITE_IOERR)


def is_read_only(error: Exception) -> bool:
    """Tell whether SQLite may not write."""
    return _code(error) == int(_library.SQLITE_READONLY)


def is_schema_mismatch(error: Exception) -> bool:
    """Tell whether a statement did not fit the tables that SQLite found."""
    return _code(error) in (_library.SQLITE_ERROR, _library.SQLITE_CONSTRAINT)


def is_constraint_violation(error: Exception) -> bool:
    """Tell whether a row was refused by the schema."""
    return _code(error) in (_library.SQLITE_CONSTRAINT, _library.SQLITE_MISMATCH)


def translate(error: Exception, where: str) -> StorageError:
    """Return what *error* means for the store at *where*, in words that a person can act on."""
    code = _code(error)
    if code == _library.SQLITE_IOERR and _is_full(where):
        code = _library.SQLITE_FULL  # the log's index is mapped memory, and says it in its own way
    match code:
        case _library.SQLITE_FULL:
            return StorageFull(f"There is no room left for {where}. Nothing was written.")
        case _library.SQLITE_READONLY:
            return StorageReadOnly(
                f"{where} cannot be written: it, or its folder, is read-only, or a later Segue "
                "that made it lets this one only read."
            )
        case _library.SQLITE_CORRUPT:
            return StorageCorrupt(f"{where} is damaged ({error}).")
        case _library.SQLITE_NOTADB:
            return StorageCorrupt(f"{where} is not a SQLite database. It was left as it is.")
        case _library.SQLITE_BUSY | _library.SQLITE_LOCKED:
            return locked_too_long(where)
        case _:
            return StorageUnavailable(f"{where} cannot be used: {error}.")


def locked_too_long(where: str) -> StorageUnavailable:
    """Return what to say when another window or program kept the store to itself."""
    return StorageUnavailable(
        f"{where} was locked by another program for {BUSY_TIMEOUT_S:.0f} seconds. "
        "Nothing was written; try again."
    )


def _is_full(where: str) -> bool:
    import shutil  # loads three compressors, for trouble only

    try:
        return shutil.disk_usage(Path(where).parent).free < _LITTLE_ROOM
    except OSError:
        return False


_OF_THE_SYSTEM = {
    errno.ENOSPC: _library.SQLITE_FULL,
    errno.EDQUOT: _library.SQLITE_FULL,
    errno.EROFS: _library.SQLITE_READONLY,
    errno.EACCES: _library.SQLITE_READONLY,
}


def _code(error: Exception) -> int:
    if isinstance(error, OSError):
        return int(_OF_THE_SYSTEM.get(error.errno or 0, 0))
    if isinstance(error, UnicodeDecodeError):
        return int(_library.SQLITE_CORRUPT)
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
