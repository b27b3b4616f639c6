"""Searches of one window, on a connection and a thread of their own, with an index.

Both begin with the first search. After each answer the index is extended, until the next search, or
the end of the service, stops that.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from segue.model.errors import SessionNotFound, StorageError, StorageUnavailable
from segue.model.maintenance import IndexState
from segue.model.records import SearchPage
from segue.model.search_text import SearchQuery
from segue.model.validation import InvalidInputError
from segue.store.rules import searching
from segue.store.rules.searching import Timer
from segue.store.sqlite import disk, driver, search, search_index
from segue.store.sqlite.disk import FileId
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.search import Search

T = TypeVar("T")


_UNUSABLE: tuple[type[Exception], ...] = (
    *driver.Error,
    OSError,
    StorageError,
    search_index.IndexUnavailableError,
)
"""What is raised where there can be no index, or no more of it than there is."""


class _Request:
    """One search, which another thread can stop."""

    def __init__(self) -> None:
        self.is_stopped = False


class SearchThread:
    """Searches one database file. `close` it always."""

    def __init__(self, database: str) -> None:
        """*database* is without links."""
        self._database = database
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="segue-search")
        self._requests: set[_Request] = set()
        self._pending = 0
        """How many calls wait for the thread, or run on it: indexing stops for each."""
        self._is_closing = False
        # Used on the thread only:
        self._db: Connection | None = None
        self._has_index = False
        self._files: tuple[FileId | None, ...] = ()
        self._changes: search_index.Changes | None = None

    async def search(self, what: Search) -> SearchPage | None:
        """Return what is found, or None if this connection cannot read the store.

        Stops the searches that were begun before, which return what they have found.
        """
        for each in self._requests:
            each.is_stopped = True
        request = _Request()
        self._requests.add(request)
        try:
            page = await self._run(lambda: self._search(what, request))
        except asyncio.CancelledError:
            request.is_stopped = True
            raise
        finally:
            self._requests.discard(request)
        if not self._is_closing:
            self._executor.submit(self._extend_after_search)
        return page

    async def update_index(self, at_most_s: float | None, *, anew: bool) -> IndexState | None:
        """Index what is not indexed, or all *anew*; None if there can be no index."""
        ends = None if at_most_s is None else time.monotonic() + at_most_s

        def must_stop() -> bool:
            is_over = ends is not None and time.monotonic() > ends
            return is_over or self._is_closing or self._pending > 1

        return await self._run(lambda: self._update(must_stop, anew=anew))

    async def forget(self, numbers: Collection[int]) -> None:
        """Let no file have anything of these sessions, which are deleted, that an index had.

        Raises StorageUnavailable if the index can be neither changed nor removed.
        """
        if disk.has_index(self._database):
            await self._run(lambda: self._forget(numbers))

    async def close(self) -> None:
        """Stop what runs, and end the thread. Idempotent."""
        self._is_closing = True
        for each in self._requests:
            each.is_stopped = True
        with contextlib.suppress(RuntimeError):  # it is closed
            await self._run(self._disconnect)
        self._executor.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1

    # -- on the thread ---------------------------------------------------------------------------

    def _search(self, what: Search, request: _Request) -> SearchPage | None:
        for _ in range(2):
            try:
                return self._search_once(self._connected(), what, request)
            except (InvalidInputError, SessionNotFound):
                raise
            except Exception as error:  # damage can make anything of what is read
                if not self._has_index:
                    self._disconnect()
                    return None
                self._give_up(error)
        return None

    def _search_once(self, db: Connection, what: Search, request: _Request) -> SearchPage:
        driver.limit_time(db, driver.READ_LIMIT_S)
        with driver.read_snapshot(db):
            index = self._snapshot(db, what.query) if self._has_index else None
            timer = Timer(searching.BUDGET_S, lambda: request.is_stopped)
            return search.search(db, what, timer, index)

    def _snapshot(self, db: Connection, query: SearchQuery) -> search_index.IndexSnapshot:
        self._changes = search_index.find_changes(db, self._changes)
        return search_index.IndexSnapshot(db, query, self._changes)

    def _extend_after_search(self) -> None:
        def must_stop() -> bool:
            return self._is_closing or self._pending > 0

        is_complete = self._changes is not None and self._changes.is_complete
        if not is_complete and not must_stop():
            self._update(must_stop, anew=False)

    def _update(self, must_stop: Callable[[], bool], *, anew: bool) -> IndexState | None:
        try:
            if anew:
                self._disconnect()
                search_index.discard(self._database)
            db = self._connected()
            if not self._has_index:
                return None
            driver.limit_time(db, float("inf"))
            self._changes = None
            is_complete = search_index.extend(db, must_stop)
            return IndexState(events=search_index.count(db), complete=is_complete)
        except Exception as error:  # as above; the index is only help
            self._give_up(error)
            return None

    def _forget(self, numbers: Collection[int]) -> None:
        try:
            db = self._connected(creates=False)
            if self._has_index:
                driver.limit_time(db, float("inf"))
                self._changes = None
                search_index.forget(db, numbers)
                return
        except Exception:  # as above; then the whole index has to go
            self._disconnect()
        path = search_index.index_path(self._database)
        try:
            if search_index.may_be_ours(path):
                search_index.discard(self._database)
        except _UNUSABLE as error:
            raise StorageUnavailable(
                f"{path} still has words of what was deleted, and can be neither changed nor "
                f"removed ({error}). Remove that file."
            ) from error

    def _connected(self, *, creates: bool = True) -> Connection:
        """Return a connection to the files that are there now, with the index if that can be."""
        if self._db is not None and (not self._has_index or self._files != self._found()):
            self._disconnect()
        if self._db is None:
            try:
                self._db = search_index.open_index(self._database, creates=creates)
                self._has_index = True
            except _UNUSABLE:
                self._db = driver.connect_to_read(self._database)
                self._has_index = False
            self._files = self._found()
        return self._db

    def _found(self) -> tuple[FileId | None, ...]:
        index = search_index.index_path(self._database)
        return tuple(disk.file_id(path) for path in (self._database, index, f"{index}-wal"))

    def _give_up(self, error: Exception) -> None:
        """Close the connection, and remove the index if it is damaged."""
        file = self._files[1] if self._files else None
        had_index = self._has_index
        self._disconnect()
        if had_index and _is_damage(error):
            with contextlib.suppress(*_UNUSABLE):
                search_index.discard(self._database, file)

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        self._has_index, self._changes = False, None
        if db is not None:
            with contextlib.suppress(*driver.Error):
                db.close()


def _is_damage(error: Exception) -> bool:
    """Return whether the index itself is to blame, and not the disk, a lock or the time."""
    if isinstance(error, driver.Error):
        return driver.is_corruption(error) or driver.is_schema_mismatch(error)
    return not isinstance(error, OSError | StorageError | search_index.IndexUnavailableError)
