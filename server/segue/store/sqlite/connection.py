"""One connection to a database, used from a thread of its own, with group commit.

A function that is given to `read` or `write` runs on that thread without interruption: not even a
cancellation comes between a BEGIN and its COMMIT. The thread runs them in the order of the calls.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from segue.model.errors import StorageCorrupt, StorageError, StorageUnavailable
from segue.store.sqlite import driver, files
from segue.store.sqlite.append import SessionAppender
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OpenLock, WriteLock

T = TypeVar("T")
MEMORY = ":memory:"

MAX_GROUP_SIZE = 1_000
"""How many events the writes that share a commit may have: a page, so that no commit takes long."""

_CHECKPOINT_EVERY = 50
"""After so many commits of this window the length of the write-ahead log is checked."""

_LONG_LOG = 1_000
"""The log is checkpointed from so many pages on: SQLite's own default."""

_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError, StorageError)


class Transaction:
    """The transaction of one group of writes, and the updates that they share."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.pending: dict[str, SessionAppender] = {}
        """Sessions that were appended to, by their ids: each row is updated once, by `flush`."""

    def run(self, write: "_Write") -> Any:
        """Return the result of *write*, or its exception if it has changed nothing."""
        if not write.shares_updates:
            self.flush()
        changes = self.db.total_changes
        try:
            return write.work(self)
        except driver.Error:
            raise
        except Exception as refusal:
            if self.db.total_changes != changes:
                raise
            return refusal

    def flush(self) -> None:
        """Update the rows of the sessions that were appended to."""
        for each in self.pending.values():
            each.flush()
        self.pending.clear()


class _Write:
    """A write that waits for its group to be committed."""

    def __init__(self, work: Callable[[Transaction], Any], *, shares_updates: bool) -> None:
        self.work = work
        self.shares_updates = shares_updates
        self.result = asyncio.get_running_loop().create_future()

    def resolve(self, outcome: Any) -> None:
        """Hand *outcome* to the caller, unless it was cancelled."""
        if self.result.done():
            return
        if isinstance(outcome, Exception):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class _WriteGroup:
    """Writes that share a transaction: the event loop adds them until the thread takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writes: list[_Write] = []
        self._size = 0
        self._is_taken = False

    def add(self, write: _Write, size: int) -> bool:
        """Add *write*, unless the group is full or taken; return whether it was added."""
        with self._lock:
            if self._is_taken or (self._writes and self._size + size > MAX_GROUP_SIZE):
                return False
            self._writes.append(write)
            self._size += size
            return True

    def take(self) -> Sequence[_Write]:
        """Return the writes; none is added from now on."""
        with self._lock:
            self._is_taken = True
            return self._writes


class DatabaseConnection:
    """A connection to a database file, and its thread. Made by `open`; `close` it always."""

    def __init__(self, path: str) -> None:
        self._folder = Path(os.path.abspath(path)).parent
        self._path = path = path if path == MEMORY else os.path.realpath(path)
        self._open_lock = None if path == MEMORY else OpenLock(path)
        self._write_lock = None if path == MEMORY else WriteLock(path)
        self._connection: aiosqlite.Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._group: _WriteGroup | None = None
        self._commits = 0
        self._checkpointing: asyncio.Future[None] | None = None
        self._is_truncation_due = False
        self._is_closed = False

    @classmethod
    async def open(cls, path: str) -> "DatabaseConnection":
        """Open, make or migrate the database at *path*, or raise a StorageError."""
        database = cls(path)
        opening = asyncio.ensure_future(database._connected())
        try:
            # Not cancelled with the caller: only what is open can be closed again.
            await asyncio.shield(opening)
        except BaseException:
            await asyncio.wait([opening])
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Finish the calls that were made before, and end the thread. Idempotent."""
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        if self._is_truncation_due and not self._is_closed:
            with contextlib.suppress(StorageError):
                await self.checkpoint_truncate()
        self._is_closed = True
        await self._disconnect()
        if self._write_lock is not None:
            self._write_lock.close()
        if self._open_lock is not None:
            self._open_lock.close()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work*, which changes nothing, after the writes that were requested before."""
        connection = await self._connected()
        self._group = None  # a later write must not be seen by this read
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(connection, lambda: work(connection._conn), result)
        return await self._translated(result, connection)

    async def write(
        self, work: Callable[[Transaction], T], *, size: int = 1, shares_updates: bool = False
    ) -> T:
        """Run *work* in a transaction: it is on disk when this returns, or nothing was done.

        Writes that wait share a transaction. If one raises before it changed anything, the others
        are committed; after any other error all are rolled back, and each is run again in its own
        transaction. *size*, in events, counts towards `MAX_GROUP_SIZE`. With *shares_updates*,
        *work* may leave updates in `Transaction.pending`; without, they are executed before it.
        """
        connection = await self._connected()
        write = _Write(work, shares_updates=shares_updates)
        if self._group is None or not self._group.add(write, size):
            self._group = group = _WriteGroup()
            group.add(write, size)
            self._enqueue(connection, lambda: self._commit(connection, group))
        result: T = await self._translated(write.result, connection)
        if self._is_truncation_due:
            await self.checkpoint_truncate()
        return result

    async def checkpoint_truncate(self) -> None:
        """Move the write-ahead log into the database and empty it.

        That is impossible while another process reads the pages that it replaces: then it is
        retried after each write, and by `close`.
        """
        self._is_truncation_due = not await self.read(driver.checkpoint_truncate)

    async def _checkpoint_passive(self) -> None:
        # Between two writes: SQLite would do it within the commit that makes the log too long.
        with contextlib.suppress(StorageError):
            await self.read(lambda db: driver.checkpoint_passive(db, _LONG_LOG))

    # -- on the connection's thread --------------------------------------------------------------

    def _commit(self, connection: aiosqlite.Connection, group: _WriteGroup) -> None:
        writes = group.take()
        outcomes = self._run(connection._conn, writes)
        self._loop.call_soon_threadsafe(self._resolve, writes, outcomes)

    def _run(self, db: Connection, writes: Sequence[_Write]) -> list[Any]:
        """Return the result of each write, or its exception."""
        has_begun = False
        try:
            with self._holding_write_lock(), driver.transaction(db):
                has_begun = True
                transaction = Transaction(db)
                outcomes = [transaction.run(write) for write in writes]
                transaction.flush()
                return outcomes
        except Exception as error:
            if has_begun and len(writes) > 1:
                # Each alone, so that only the one that failed fails.
                return [outcome for write in writes for outcome in self._run(db, [write])]
            return [error] * len(writes)

    @contextlib.contextmanager
    def _holding_write_lock(self) -> Iterator[None]:
        if self._write_lock is None:
            yield
            return
        if not self._write_lock.acquire(driver.BUSY_TIMEOUT_S):
            raise driver.locked_too_long(self._path)
        try:
            yield
        finally:
            self._write_lock.release()

    def _open(self) -> Connection:
        if self._open_lock is None:
            return files.open_migrated(self._path)
        return files.open_database(self._path, self._folder, self._open_lock)

    # -- on the event loop -----------------------------------------------------------------------

    def _enqueue(
        self,
        connection: aiosqlite.Connection,
        work: Callable[[], T],
        result: "asyncio.Future[T] | None" = None,
    ) -> None:
        # A private queue: aiosqlite's public calls take one thread hop for each statement.
        connection._tx.put_nowait((result, work))

    def _resolve(self, writes: Sequence[_Write], outcomes: Sequence[Any]) -> None:
        for write, outcome in zip(writes, outcomes, strict=True):
            write.resolve(outcome)
        self._commits += 1
        if self._commits % _CHECKPOINT_EVERY == 0 and not self._is_truncation_due:
            self._checkpointing = asyncio.ensure_future(self._checkpoint_passive())

    async def _translated(self, result: "asyncio.Future[T]", connection: aiosqlite.Connection) -> T:
        try:
            return await result
        except driver.Error as error:
            raise await self._recover(error, connection) from error

    async def _connected(self) -> aiosqlite.Connection:
        """Return the connection; open it if it is not, as after damage that could not be repaired.

        Callers continue in the order of their calls.
        """
        if self._is_closed:
            raise StorageUnavailable(f"{self._path} is closed.")
        try:
            async with self._connecting:
                return self._connection or await self._attach()
        except _ERRORS as error:
            raise await self._recover(error, None) from error

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

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _translate(self, error: Exception) -> StorageError:
        return error if isinstance(error, StorageError) else driver.translate(error, self._path)

    async def _recover(
        self, error: Exception, connection: aiosqlite.Connection | None
    ) -> StorageError:
        """Return what to raise for *error*; if it is damage, recover the database first."""
        if isinstance(error, StorageError) or self._open_lock is None:
            return self._translate(error)
        from segue.store.sqlite import recovery  # loaded only after an error

        if not recovery.may_be_damage(self._path, error):
            return self._translate(error)
        async with self._connecting:
            if self._connection is not connection:
                return StorageUnavailable(f"{self._path} was damaged and is repaired. Try again.")
            await self._disconnect()
            try:
                result = await asyncio.to_thread(
                    recovery.recover, self._path, self._open_lock, error
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
