"""One connection to a database, used from a thread of its own, with group commit.

A function that is given to `read` or `write` runs on that thread without interruption: not even a
cancellation comes between a BEGIN and its COMMIT. The thread runs them in the order of the calls.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from segue.model.errors import StorageCorrupt, StorageError, StorageUnavailable
from segue.store.sqlite import driver, files
from segue.store.sqlite.commit import CommitGuard, FileGuard, MemoryGuard, Transaction
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.open_files import ReplacedError

T = TypeVar("T")
MEMORY = ":memory:"

MAX_GROUP_SIZE = 1_000
"""How many events the writes that share a commit may have: a page, so that no commit takes long."""

_CHECKPOINT_EVERY = 50
"""After so many commits of this window the length of the write-ahead log is checked."""

_LIBRARY_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)
_ERRORS: tuple[type[Exception], ...] = (*_LIBRARY_ERRORS, StorageError)


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
        self.deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
        """When waiting for a lock ends, in monotonic time.

        All that stand behind a lock wait for it together, not one after the other.
        """

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

    def __init__(self, named: str, path: str) -> None:
        """Prepare to open *path*, which is *named* without its links."""
        self._folder = Path(os.path.abspath(named)).parent
        self._path = path
        self._open_lock = None if path == MEMORY else OpenLock(self._path)
        self._guard: CommitGuard = MemoryGuard()
        if self._open_lock is not None:
            self._guard = FileGuard(named, self._path, self._open_lock)
        self._connection: aiosqlite.Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._group: _WriteGroup | None = None
        self._read_only_state: files.ReadOnlyState | None = None
        self._commits = 0
        self._openings = 0
        self._checkpointing: asyncio.Future[None] | None = None
        self._is_closed = False

    @classmethod
    async def open(cls, path: str) -> "DatabaseConnection":
        """Open, make or migrate the database at *path*, or raise a StorageError."""
        # Not in the loop: the file system may not answer.
        real = path if path == MEMORY else await asyncio.to_thread(os.path.realpath, path)
        database = cls(path, real)
        opening = asyncio.ensure_future(database._connected())
        try:
            # Not cancelled with the caller: only what is open can be closed again.
            await asyncio.shield(opening)
        except BaseException:
            await asyncio.wait([opening])
            await database.close()
            raise
        return database

    @property
    def path(self) -> str | None:
        """The database file, without links; None for one in memory."""
        return None if self._path == MEMORY else self._path

    @property
    def is_read_only(self) -> bool:
        """Whether the database cannot be written."""
        return self._read_only_state is not None

    async def close(self) -> None:
        """Finish the calls that were made before, and end the thread. Idempotent."""
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        self._is_closed = True
        await self._disconnect()
        self._guard.release()
        if self._open_lock is not None:
            self._open_lock.close()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work*, which changes nothing, after the writes that were requested before."""
        try:
            return await self._read(work)
        except ReplacedError:
            with self._as_unavailable():
                return await self._read(work)  # from the files that are there now

    async def _read(self, work: Callable[[Connection], T]) -> T:
        connection = await self._connected()
        self._group = None  # a later write must not be seen by this read
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def read() -> T:
            db: Connection = connection._conn
            driver.limit_time(db, driver.READ_LIMIT_S)
            with self._guard.reading():
                return work(db)

        self._enqueue(connection, read, result)
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
        with self._as_unavailable():
            result: T = await self._translated(write.result, connection)
            return result

    @contextlib.contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except ReplacedError as error:
            raise StorageUnavailable(str(error)) from error

    async def change_mark(self) -> tuple[int, int, int]:
        """Return what differs after any commit to the file, by this connection or another one."""
        (version,) = await self.read(lambda db: db.execute("PRAGMA data_version").fetchone())
        # The version counts no commits of this connection, and begins anew with each connection.
        return self._openings, self._commits, version

    async def _checkpoint(self) -> None:
        # Between two writes: SQLite would do it within the commit that makes the log too long.
        with contextlib.suppress(StorageError):
            await self.read(self._guard.checkpoint)

    # -- on the connection's thread --------------------------------------------------------------

    def _commit(self, connection: aiosqlite.Connection, group: _WriteGroup) -> None:
        writes = group.take()
        outcomes = self._run(connection._conn, writes, group.deadline)
        self._loop.call_soon_threadsafe(self._resolve, writes, outcomes)

    def _run(self, db: Connection, writes: Sequence[_Write], deadline: float) -> list[Any]:
        """Return the result of each write, or its exception."""
        has_begun = False
        try:
            with self._guard.transaction(db, deadline) as transaction:
                has_begun = True
                driver.limit_time(db, driver.WRITE_LIMIT_S)
                return [
                    transaction.run(write.work, shares_updates=write.shares_updates)
                    for write in writes
                ]
        except ReplacedError as error:
            return [error] * len(writes)
        except Exception as error:
            if has_begun and len(writes) > 1:
                # Each alone, so that only the one that failed fails.
                return [outcome for write in writes for outcome in self._run(db, [write], deadline)]
            return [error] * len(writes)

    def _open(self) -> Connection:
        guard = self._guard
        if not isinstance(guard, FileGuard):
            return files.open_migrated(self._path)
        self._read_only_state = files.read_only_state(self._path)
        db = files.open_database(self._path, self._folder, guard.open_lock, guard.prepare)
        try:
            if files.read_only_state(self._path) is None:
                self._read_only_state = None  # before, a new one had no folder to be written
                guard.watch(db)
        except BaseException:
            guard.close(db)
            raise
        return db

    def _close(self, connection: aiosqlite.Connection) -> None:
        self._guard.close(connection._conn)
        connection._connection = None

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
        if self._commits % _CHECKPOINT_EVERY == 0:
            self._checkpointing = asyncio.ensure_future(self._checkpoint())

    async def _translated(self, result: "asyncio.Future[T]", connection: aiosqlite.Connection) -> T:
        try:
            return await result
        except ReplacedError:
            await self._reopen(connection)
            raise
        except _LIBRARY_ERRORS as error:
            raise await self._recover(error, connection) from error

    async def _connected(self) -> aiosqlite.Connection:
        """Return the connection; open it if it is not, as after damage that could not be repaired.

        Callers continue in the order of their calls.
        """
        if self._is_closed:
            raise StorageUnavailable(f"{self._path} is closed.")
        try:
            async with self._connecting:
                if self._read_only_state is not None:
                    await self._disconnect_if_changed()
                return self._connection or await self._attach()
        except _ERRORS as error:
            raise await self._recover(error, None) from error

    async def _disconnect_if_changed(self) -> None:
        """Let a store that could not be written be opened anew when its files have changed."""
        state = await asyncio.to_thread(files.read_only_state, self._path)
        if state != self._read_only_state:
            await self._disconnect()

    async def _attach(self) -> aiosqlite.Connection:
        connection = aiosqlite.Connection(self._open, 64)
        try:
            await connection
        except _ERRORS:
            # aiosqlite does not wait for the thread of what it could not open.
            await asyncio.to_thread(connection._thread.join)
            raise
        self._connection = connection
        self._openings += 1
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._enqueue(connection, lambda: self._close(connection), closed)
            try:
                await closed
            finally:
                if (stopped := connection.stop()) is not None:
                    await stopped

    async def _reopen(self, connection: aiosqlite.Connection) -> None:
        async with self._connecting:
            if self._connection is connection:
                await self._disconnect()

    def _translate(self, error: Exception) -> StorageError:
        return error if isinstance(error, StorageError) else driver.translate(error, self._path)

    async def _recover(
        self, error: Exception, connection: aiosqlite.Connection | None
    ) -> StorageError:
        """Return what to raise for *error*; if it is damage, recover the database first."""
        if isinstance(error, StorageError | OSError) or self._open_lock is None:
            return self._translate(error)
        if self._read_only_state is not None:  # what cannot be written cannot be repaired
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
