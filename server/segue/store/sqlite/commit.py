"""A transaction of several writes, and the guard of its commit.

The guard holds the write lock, and acknowledges a commit only if it is in the files that the
database's path names.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from segue.model.errors import StorageCorrupt, StorageError
from segue.store.sqlite import disk, driver
from segue.store.sqlite.append import SessionAppender
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.high_water import HighWaterMarks, MissingEvents
from segue.store.sqlite.locks import OpenLock, WriteLock
from segue.store.sqlite.open_files import OpenFiles, ReplacedError


class Transaction:
    """The transaction of one group of writes, and the updates that they share."""

    def __init__(self, db: Connection, marks: HighWaterMarks | None = None) -> None:
        self.db = db
        self.pending: dict[str, SessionAppender] = {}
        """Sessions that were appended to, by their ids: each row is updated once, by `flush`."""
        self.counts: dict[int, int] = {}
        """The event counts of the sessions whose rows were updated, by their numbers."""
        self._marks = marks

    def run(self, work: Callable[["Transaction"], Any], *, shares_updates: bool) -> Any:
        """Return the result of *work*, or its exception if it has changed nothing."""
        if not shares_updates:
            self.flush()
        changes = self.db.total_changes
        try:
            return work(self)
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
            self.counts[each.number] = each.count
        self.pending.clear()

    def erase(self, session: int | None = None) -> None:
        """Let the log be emptied after the commit: values, or all of a *session*, are removed."""
        if self._marks is not None:
            self._marks.set_erasure_due(True)
            if session is not None:
                self._marks.forget(session)


class CommitGuard(Protocol):
    """What surrounds the use of a connection. All runs on its thread."""

    def transaction(
        self, db: Connection, deadline: float
    ) -> contextlib.AbstractContextManager[Transaction]:
        """Commit the block's changes, or raise; *deadline*, in monotonic time, ends all waiting."""

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Raise ReplacedError if the files that the block reads are not those of the path."""

    def checkpoint(self, db: Connection) -> None:
        """Move the write-ahead log into the database if it is long."""

    def close(self, db: Connection) -> None:
        """Close the connection. It cannot be used after that."""

    def release(self) -> None:
        """Release what the guard itself has open."""


class MemoryGuard:
    """The guard of a database in memory: no other process can reach it."""

    @contextlib.contextmanager
    def transaction(self, db: Connection, deadline: float) -> Iterator[Transaction]:
        """Commit the block's changes."""
        with driver.transaction(db):
            transaction = Transaction(db)
            yield transaction
            transaction.flush()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing."""
        yield

    def checkpoint(self, db: Connection) -> None:
        """Do nothing."""

    def close(self, db: Connection) -> None:
        """Close the connection."""
        db.close()

    def release(self) -> None:
        """Do nothing."""


_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)

_LONG_LOG = 1_000
"""The log is checkpointed from so many pages on: SQLite's own default."""


class FileGuard:
    """The guard of a database file that other processes write to, remove or replace."""

    def __init__(self, named: str, path: str, open_lock: OpenLock) -> None:
        """*named* is the database as it was given, *path* the same without links."""
        self._named = named
        self._path = path
        self._log = f"{path}-wal"
        self.open_lock = open_lock
        self._write_lock = WriteLock(path)
        self._marks = HighWaterMarks(path, self._write_lock)
        self._is_new = False
        self._notice: str | None = None
        self._files: OpenFiles | None = None

    def prepare(self) -> None:
        """Make the database's file if there is none, before SQLite opens it.

        A log that is another file's is set aside, or raised as SQLite's error for damage.
        """
        self._is_new = not os.path.exists(self._path)
        if not self._is_new and not (os.path.exists(self._log) and self._has_been_overwritten()):
            return
        with self._holding_write_lock(time.monotonic() + driver.BUSY_TIMEOUT_S):
            if not os.path.exists(self._path):
                self._set_log_aside()
                disk.create_private(self._path)
            elif self._has_been_overwritten():
                self._check_log()

    def _check_log(self) -> None:
        """Set the log aside if it is another file's, or raise SQLite's error for damage.

        Others may still use the log of the file that was here before. If it is whole with this
        file, it is its own: the folder was copied, or a process was killed during a checkpoint.
        """
        if _has_content(self._log):
            # Twice: a read that failed once is no reason to part with a log.
            if (damage := self._find_damage()) and self._find_damage():
                if self._find_damage(without_log=True):
                    raise damage
                self._set_log_aside()
        elif self._marks.is_of_other_file():
            self._set_log_aside()

    def _set_log_aside(self) -> None:
        if _has_content(self._log):
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            aside = f"{disk.free_path(f'{self._path}.corrupt-{stamp}')}-wal"
            os.rename(self._log, aside)
            self._notice = (
                f"{self._path} was removed or replaced. The write-ahead log of the file that was "
                f"there before is {aside} now. What is at that path is in use from now on."
            )
        for suffix in disk.LOGS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._path}{suffix}")

    def watch(self, db: Connection) -> None:
        """Record which files *db*, a new connection, has open.

        Raises StorageCorrupt, once, if events are missing that were acknowledged.
        """
        self._files = OpenFiles(self._named, self._path)
        notice, self._notice = self._notice, None
        with contextlib.suppress(OSError):  # a file system that is read-only has no marks
            if (missing := self._update_marks(db)) is not None:
                notice = _loss(self._path, missing)
        if notice is not None:
            raise StorageCorrupt(notice)

    def _update_marks(self, db: Connection) -> MissingEvents | None:
        """Return which acknowledged events are missing; the next call returns None."""
        is_known = not self._is_new and self._marks.is_current()
        if is_known and self._marks.find_missing(db) is None:
            return None
        with self._holding_write_lock(time.monotonic() + driver.BUSY_TIMEOUT_S):
            missing = None if self._is_new else self._marks.find_missing(db)
            if self._is_new or missing is not None:
                self._marks.clear(is_new=self._is_new)
            else:
                self._marks.record_state()
            return missing

    @contextlib.contextmanager
    def transaction(self, db: Connection, deadline: float) -> Iterator[Transaction]:
        """Commit the block's changes to the files that the path names, or raise."""
        if self._files is None:  # opened to read: SQLite refuses the block's changes
            with driver.transaction(db):
                yield Transaction(db)
            return
        with self._watching(), self._holding_write_lock(deadline):
            self.open_lock.renew()
            # Before: in a log or an index that others do not see, a write damages the database.
            # And after: what was committed to a file without a name is not acknowledged.
            self._check_not_overwritten(self._check_names())
            with driver.transaction(db, deadline):
                transaction = Transaction(db, self._marks)
                yield transaction
                transaction.flush()
            stat = self._check_names()
            with contextlib.suppress(OSError):
                self._marks.advance(transaction.counts, stat)
            self._erase_from_log(db)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raise ReplacedError if the files that the block reads are not those of the path."""
        if self._files is not None:
            self._files.check_database()
        with self._watching():
            yield

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Raise ReplacedError instead of the error that it has caused."""
        try:
            yield
        except _ERRORS:
            self._check_names()
            raise

    def checkpoint(self, db: Connection) -> None:
        """Move the write-ahead log into the database if it is long."""
        with self._write_lock.checkpointing() as is_alone:
            if is_alone:
                try:
                    driver.checkpoint_passive(db, _LONG_LOG)
                finally:
                    self._record_state()  # one that failed has written too

    def close(self, db: Connection) -> None:
        """Close *db*, and empty the log if that is due. Files of others are left as they are."""
        open_files, self._files = self._files, None
        if open_files is None:  # a store that cannot be written
            db.close()
        elif open_files.find_replaced() or self._has_been_overwritten():
            with contextlib.suppress(OSError, StorageError, *driver.Error):
                self._save_log(db, open_files)
            open_files.close(db)
        else:
            self._close(db)

    def _close(self, db: Connection) -> None:
        with contextlib.suppress(OSError, StorageError), self._holding_write_lock(time.monotonic()):
            self._marks.load()
            self._erase_from_log(db)
        with self._write_lock.checkpointing():
            db.close()  # the last connection moves the log into the database
            self._record_state()

    def release(self) -> None:
        """Release the write lock's file."""
        self._write_lock.close()

    @contextlib.contextmanager
    def _holding_write_lock(self, deadline: float) -> Iterator[None]:
        if not self._write_lock.acquire(max(0.0, deadline - time.monotonic())):
            raise driver.locked_too_long(self._path)
        try:
            yield
        finally:
            self._write_lock.release()

    def _check_names(self) -> os.stat_result:
        return os.stat(self._named) if self._files is None else self._files.check()

    def _check_not_overwritten(self, stat: os.stat_result) -> None:
        self._marks.load()
        if self._marks.is_overwritten(stat):
            self._check_log()
            self._marks.record_state()
            raise ReplacedError(
                f"Another program has written to {self._path}. Nothing was stored; try again: it "
                "is opened again."
            )

    def _find_damage(self, *, without_log: bool = False) -> Exception | None:
        from segue.store.sqlite.check import find_damage  # only after another program's write

        return find_damage(self._path, without_log=without_log)

    def _save_log(self, db: Connection, open_files: OpenFiles) -> None:
        """Move the log into the database that *db* has open, if no other process can do that."""
        with self._holding_write_lock(time.monotonic() + 1.0):
            self._marks.load()
            if open_files.is_log_needed() and self._marks.is_of_file(open_files.database_id):
                driver.checkpoint_truncate(db)

    def _has_been_overwritten(self) -> bool:
        try:
            self._marks.load()
            return self._marks.is_overwritten(os.stat(self._path))
        except (OSError, StorageError):  # what is in the place of the lock's file is not ours
            return False

    def _erase_from_log(self, db: Connection) -> None:
        """Empty the log if it has deleted rows: also those that another process has deleted.

        That is impossible while a process reads the pages that it replaces.
        """
        if self._marks.is_erasure_due:
            with contextlib.suppress(OSError, *driver.Error):
                try:
                    if driver.checkpoint_truncate(db):
                        self._marks.set_erasure_due(False)
                finally:
                    self._marks.record_state()  # one that failed has written too

    def _record_state(self) -> None:
        # If the lock is not free, the next writer checks the file, and finds that it is whole.
        with contextlib.suppress(OSError, StorageError):
            if not self._marks.is_current() and self._write_lock.acquire(0.1):
                self._marks.load()
                self._marks.record_state()
                self._write_lock.release()


def _loss(path: str, missing: MissingEvents) -> str:
    return (
        f"{missing.events} acknowledged events of {missing.sessions} sessions are missing from "
        f"{path}: its write-ahead log was damaged or removed, or an older copy was put in its "
        "place. What is there is in use from now on."
    )


def _has_content(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False
