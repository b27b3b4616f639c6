"""A database file: opened for its owner alone, and worked on one whole function at a time.

A function that is given to `read` or `write` runs whole on the connection's thread: nothing of the
event loop, a cancellation least of all, can come between a BEGIN and its COMMIT.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import aiosqlite

from segue.model.errors import StorageCorrupt, StorageError, StorageUnavailable
from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OpenLock, WriteLock

T = TypeVar("T")
MEMORY = ":memory:"
_LOOK_EVERY = 50
"""After so many commits of this window the log's length is looked at."""

_LONG = 1_000
"""How many pages make a log long: SQLite's own measure."""

_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError, StorageError)


class Database:
    """One connection to a database file, and its thread. Made by `open`; `close` it always."""

    def __init__(self, where: str) -> None:
        self._folder = Path(os.path.abspath(where)).parent
        self._where = where = where if where == MEMORY else os.path.realpath(where)
        self._presence = None if where == MEMORY else OpenLock(where)
        self._turn = None if where == MEMORY else WriteLock(where)
        self._connection: aiosqlite.Connection | None = None
        self._commits = 0
        self._shortening: asyncio.Future[None] | None = None
        self._is_log_due = False
        self._repairing = asyncio.Lock()
        self._is_closed = False

    @classmethod
    async def open(cls, where: str) -> "Database":
        """Open, make or migrate the database at *where*, or raise a StorageError."""
        database = cls(where)
        opening = asyncio.ensure_future(database._connected())
        try:
            # The thread opens it to the end whoever waits: only then can it be closed again.
            await asyncio.shield(opening)
        except BaseException:
            await asyncio.wait([opening])
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Finish what was begun, and end the thread. Closing twice is closing once."""
        if self._shortening is not None:
            await asyncio.wait([self._shortening])
        if self._is_log_due and not self._is_closed:
            with contextlib.suppress(StorageError):
                await self.checkpoint_truncate()
        self._is_closed = True
        await self._disconnect()
        if self._turn is not None:
            self._turn.close()
        if self._presence is not None:
            self._presence.leave()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in one transaction: it is on disk when this returns, or nothing was done."""

        def whole(db: Connection) -> T:
            with self._in_turn(), driver.transaction(db):
                return work(db)

        done = await self.read(whole)
        self._commits += 1
        if self._is_log_due:
            await self.checkpoint_truncate()
        elif self._commits % _LOOK_EVERY == 0:
            self._shortening = asyncio.ensure_future(self._shorten_log())
        return done

    async def checkpoint_truncate(self) -> None:
        """Move the log into the database and empty it.

        While another process reads what it replaces, that cannot be: then it is tried again after
        each write, and when this is closed.
        """
        self._is_log_due = not await self.read(driver.checkpoint_truncate)

    async def _shorten_log(self) -> None:
        # IntRange two appends: SQLite would do it in the midst of the commit that makes it too long.
        with contextlib.suppress(StorageError):
            await self.read(lambda db: driver.checkpoint_passive(db, _LONG))

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.take(driver.BUSY_TIMEOUT_S):
            raise driver.locked_too_long(self._where)
        try:
            yield
        finally:
            self._turn.give_back()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work*, which changes nothing, on the connection's thread."""
        connection = self._connection or await self._connected()
        try:
            # A private name: aiosqlite's public calls are a thread hop for each single statement.
            return await connection._execute(lambda: work(connection._conn))  # type: ignore[no-any-return, no-untyped-call]
        except driver.Error as error:
            raise await self._recover(error, connection) from error
        except ValueError as error:
            if type(error) is ValueError and self._connection is not connection:
                raise self._closed() from error
            raise

    def _closed(self) -> StorageError:
        return StorageUnavailable(f"{self._where} is closed.")

    async def _attach(self) -> aiosqlite.Connection:
        connection = aiosqlite.Connection(self._open, 64)
        try:
            await connection
        except _ERRORS:
            # aiosqlite does not wait for the thread of what it could not open.
            await asyncio.to_thread(connection._thread.join)
            raise
        self._connection = connection
        return connection

    def _open(self) -> Connection:
        if self._presence is None:
            return _opened(self._where)
        _own_folder(self._folder)
        self._presence.enter()
        try:
            _refuse_strangers(self._where)
            _make_private(self._where)
            db = _opened(self._where)
        except StorageError:
            self._presence.disown()
            raise
        self._presence.own()
        return db

    async def _connected(self) -> aiosqlite.Connection:
        """Return the connection: the first, or one after damage that could not be repaired then."""
        if self._is_closed:
            raise self._closed()
        try:
            async with self._repairing:
                return self._connection or await self._attach()
        except _ERRORS as error:
            raise await self._recover(error, None) from error

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _translate(self, error: Exception) -> StorageError:
        return error if isinstance(error, StorageError) else driver.translate(error, self._where)

    async def _recover(
        self, error: Exception, connection: aiosqlite.Connection | None
    ) -> StorageError:
        """Return what to raise for *error*; if it is damage, recover the database first."""
        if isinstance(error, StorageError) or self._presence is None:
            return self._translate(error)
        from segue.store.sqlite import recovery  # a start does not need it

        if not recovery.may_be_damage(self._where, error):
            return self._translate(error)
        async with self._repairing:
            if self._connection is not connection:
                return StorageUnavailable(f"{self._where} was damaged and is repaired. Try again.")
            await self._disconnect()
            try:
                result = await asyncio.to_thread(
                    recovery.recover, self._where, self._presence, error
                )
            except StorageError as failure:
                if connection is not None:
                    await self._reattach()
                return failure
            await self._reattach()
            return StorageCorrupt(result.message)

    async def _reattach(self) -> None:
        # Not _connected: that would recover the database again, and wait for this recovery.
        with contextlib.suppress(*_ERRORS):
            await self._attach()


def _opened(where: str) -> Connection:
    db = driver.connect(where)
    try:
        _bring_up_to_date(db, where)
    except BaseException:
        db.close()
        raise
    return db


def _bring_up_to_date(db: Connection, where: str) -> None:
    schema.check_owner(db, where)
    if not schema.may_write(db):
        db.execute("PRAGMA query_only = ON")
        return
    _use_wal(db)
    if schema.needs_migration(db):
        from segue.store.sqlite import backup  # not before a migration

        backup.before_migration(where, schema.version_of(db))
    schema.migrate(db)


def _own_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink():
        raise StorageUnavailable(
            f"{folder} is a link: what it names can be changed under the database. Name the real "
            "folder in the setting `database`."
        )
    # Who owns the folder can put another file in the database's place.
    if os.name == "posix" and (owner := folder.stat().st_uid) not in (os.geteuid(), 0):
        raise StorageUnavailable(
            f"{folder} belongs to another user ({owner}). Conversations are kept only where nobody "
            "else can reach them; choose another folder in the setting `database`."
        )


def _refuse_strangers(where: str) -> None:
    # The last connection to close empties a pending log into the file, which may not be ours.
    if os.path.exists(where) and os.path.exists(f"{where}-wal"):
        with contextlib.closing(driver.connect_to_read(where)) as db:
            schema.check_owner(db, where)


def _make_private(where: str) -> None:
    # SQLite gives -wal and -shm the mode that the database has when it makes them.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(where, flags, 0o600))


def _use_wal(db: Connection) -> None:
    # Windows that make a database at once collide here, and SQLite does not wait for this lock.
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
