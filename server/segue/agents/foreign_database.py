"""Reads SQLite files of other programs, which may be writing them."""

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BUSY_TIMEOUT_S = 2.0
"""How long is waited for a program that has the file locked, in seconds."""

MAX_VALUE = 64 * 1024 * 1024
"""How long a text can be, in characters, that is read."""


class ForeignDatabase:
    """A database that is only read. Use it once: `with ForeignDatabase(path, ...) as database`.

    It is opened as SQLite opens a file in use: what its program has not yet moved out of the
    write-ahead log is seen. Every method raises OSError with a reason for a person, BlockingIOError
    if the file is locked.
    """

    def __init__(self, path: Path, tables: Sequence[str]) -> None:
        """Raise OSError if the file is none that has the *tables*."""
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("not a file")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._db: sqlite3.Connection | None = None
        try:
            self._db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._db.text_factory = _decode
            missing = [table for table in tables if not self.columns(table)]
            if missing:
                raise OSError(f"a database without the table {missing[0]}")
        except sqlite3.Error as error:
            self.close()
            raise _problem(error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ForeignDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns; none if there is no such table."""
        return {row[1] for row in self.rows(f"PRAGMA table_info({table})")}

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, which has to limit them: all are held in memory.

        Between two calls the database is not read, so that its program can tidy up.
        """
        if self._db is None:
            raise OSError("closed")
        try:
            return self._db.execute(sql, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _problem(error) from None

    def pages(self, sql: str, first: Sequence[object], keys: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement that returns those after a key, a page at a time.

        *first* are the values before the first row; the last *keys* of them are replaced by the
        first columns of the last row.
        """
        values = list(first)
        while page := self.rows(sql, *values):
            yield from page
            last = list(page[-1][:keys])
            if last == values[len(values) - keys :]:
                raise OSError("ids that cannot be read")  # of no encoding: they stay the same
            values[len(values) - keys :] = last


def text_column(name: str) -> str:
    """Return the SQL of a text that is NULL if it is too long to be read."""
    return f"CASE WHEN length({name}) <= {MAX_VALUE} THEN {name} END"


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _problem(error: Exception) -> OSError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BlockingIOError(errno.EAGAIN, "locked by another program; import it again later")
    if code == sqlite3.SQLITE_NOTADB:
        return OSError("not a SQLite database")
    return OSError(f"SQLite cannot read it: {error}")
