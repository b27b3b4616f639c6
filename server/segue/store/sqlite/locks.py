"""Advisory locks in files beside a database: to queue its writers, and to show that it is open.

SQLite's own locks protect the data in any case. If the lock of the writers cannot be used, they are
served unfairly; if the lock of open databases cannot be used, none is repaired. No data is lost.
"""

import contextlib
import errno
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver, file_access
from segue.store.sqlite.disk import FileId, file_id, id_of

try:
    import fcntl
except ImportError:  # Windows: SQLite's own locks are all there is
    fcntl = None  # type: ignore[assignment]  # every use is guarded by `is None`

_MARK = b"segue\n"

OPEN_FILE_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
"""Locks for the open file and not, like POSIX locks, for the process: Linux only."""

_LOCK = "hhqqi"
"""The `struct flock` of fcntl."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""The errors of file systems that have no locks."""

_POLL_INTERVAL_S = 0.05
_WINDOWS_POLL_INTERVAL_S = 5.0


class LockFile:
    """A file that exists to be locked. It is opened again if the path names another one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd: int | None = None
        self.id: FileId = (0, 0)

    def open(self) -> int:
        """Return the descriptor; open, or make, the file that the path names if none is open."""
        if self.fd is None:
            self.fd = file_access.open_lock_file(self.path)
            self.id = id_of(os.fstat(self.fd))
        return self.fd

    def is_current(self) -> bool:
        """Return whether the path names the open file: another one is locked by others."""
        return self.fd is not None and self.id == file_id(self.path)

    def try_lock(self, operation: int) -> bool:
        """Return whether the file that the path names could be locked without waiting."""
        while True:
            try:
                fcntl.flock(self.open(), operation | fcntl.LOCK_NB)
                is_free = True
            except BlockingIOError:
                is_free = False
            if self.is_current():
                return is_free
            self.close()

    def close(self) -> None:
        """Close the file, and release the lock with it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@contextlib.contextmanager
def bytes_locked(fd: int, start: int, length: int, *, shared: bool) -> Iterator[None]:
    """Hold a lock of bytes of an open file during the block; raise OSError if others hold it.

    Only where there is an OPEN_FILE_LOCK.
    """
    lock_bytes(fd, start, length, shared=shared)
    try:
        yield
    finally:
        unlock_bytes(fd, start, length)


def lock_bytes(fd: int, start: int, length: int, *, shared: bool) -> None:
    """Lock bytes of an open file until `unlock_bytes`; raise OSError if others hold them.

    Only where there is an OPEN_FILE_LOCK.
    """
    _change_lock(fd, fcntl.F_RDLCK if shared else fcntl.F_WRLCK, start, length)


def is_locked(fd: int, start: int, length: int) -> bool:
    """Return whether another open file than *fd* has a lock of these bytes.

    Only where there is an OPEN_FILE_LOCK.
    """
    asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, *_ = struct.unpack(_LOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def unlock_bytes(fd: int, start: int, length: int) -> None:
    """Release the lock of these bytes, if there is one."""
    _change_lock(fd, fcntl.F_UNLCK, start, length)


def _change_lock(fd: int, kind: int, start: int, length: int) -> None:
    change = struct.pack(_LOCK, kind, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(fd, OPEN_FILE_LOCK or 0, change)


class WriteLock:
    """An advisory lock that the writers of one database queue for.

    SQLite itself polls, up to 100 ms apart, and a process that sleeps is overtaken by others. Of
    16 processes that append for 15 s without a pause the slowest waited 4.92 s without this lock,
    0.05 s with it (`tests/bench`, row 10).
    """

    def __init__(self, database_path: str) -> None:
        self._file = LockFile(f"{database_path}-write.lock")
        self._waiter: _Waiter | None = None

    @property
    def fd(self) -> int:
        """The descriptor of the file, whose content the holder of the lock may change."""
        return self._file.open()

    @property
    def file_id(self) -> FileId:
        """The identity of the file."""
        self._file.open()
        return self._file.id

    def acquire(self, timeout_s: float) -> bool:
        """Queue for the lock; return whether it was acquired within *timeout_s* seconds."""
        if fcntl is None:
            return True
        deadline = time.monotonic() + timeout_s
        while not self._file.try_lock(fcntl.LOCK_EX):
            if (left := deadline - time.monotonic()) <= 0:
                return False
            # A thread that waits in vain still waits: it serves the next call, so there is one.
            if self._waiter is None or self._waiter.has_ended:
                self._waiter = _Waiter(self._file.open())
            if self._waiter.wait(left):
                return True
        return True

    @contextlib.contextmanager
    def checkpointing(self) -> Iterator[bool]:
        """Show during the block that a checkpoint runs; yield whether no other does.

        By a lock of a byte, another one than that of `acquire`: during a checkpoint others can
        write. Where there are no such locks they cannot.
        """
        if OPEN_FILE_LOCK is None:
            has_lock = self.acquire(_POLL_INTERVAL_S)
            try:
                yield has_lock
            finally:
                if has_lock:
                    self.release()
            return
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(bytes_locked(self._file.open(), 0, 1, shared=False))
                is_alone = True
            except (OSError, StorageUnavailable):
                is_alone = False
            yield is_alone

    def release(self) -> None:
        """Release the lock: the next process in the queue acquires it."""
        if self._file.fd is not None and fcntl is not None:
            fcntl.flock(self._file.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, and release the lock with it."""
        self._file.close()


class _Waiter:
    """Waits for the flock of a descriptor on a thread of its own, since flock has no timeout.

    So a window that is stopped while it writes does not stop the others for ever.
    """

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)  # a number that is closed meanwhile may become another file's
        self._changed = threading.Condition()
        self._is_wanted = True
        self._is_acquired = False
        self.has_ended = False
        try:
            threading.Thread(target=self._run, name="write-lock", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            os.close(self._fd)
            self.has_ended = True

    def wait(self, timeout_s: float) -> bool:
        """Return whether the lock was acquired within *timeout_s* seconds."""
        with self._changed:
            self._is_wanted = True
            # On the writing thread itself: time between getting the lock and using it is idle time
            # for every other process.
            self._changed.wait_for(lambda: self.has_ended, timeout_s)
            self._is_wanted = False
            acquired, self._is_acquired = self._is_acquired, False
        if self.has_ended and not acquired:
            time.sleep(_POLL_INTERVAL_S)
        return acquired

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            with self._changed:
                self._is_acquired = self._is_wanted
                if not self._is_wanted:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)  # every wait has timed out
        os.close(self._fd)
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()


class OpenLock:
    """Shows other processes that this one has the database open, so that none repairs it.

    The content of the file, the mark, records that the database is Segue's. It is asked when the
    database's own header is damaged.
    """

    def __init__(self, database_path: str) -> None:
        self._database_path = database_path
        self._file = LockFile(f"{database_path}-lock")

    def share(self) -> None:
        """Hold the lock together with others; raise StorageUnavailable if a process repairs.

        It is waited for as long as for a write.
        """
        if fcntl is None:
            self._file.open()
            return
        deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
        while not self._file.try_lock(fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise driver.locked_too_long(self._database_path)
            time.sleep(_POLL_INTERVAL_S)

    def renew(self) -> None:
        """Lock the file that the path names now, if it is another one than the locked one.

        Raises StorageUnavailable if a process that has that lock repairs the database.
        """
        if self._file.is_current() or fcntl is None:
            return
        if not self._file.try_lock(fcntl.LOCK_SH):
            raise StorageUnavailable(f"{self._database_path} is being repaired. Try again.")

    def try_exclusive(self) -> bool:
        """Return whether no other process has the database open; if so, no other can open it."""
        if self._file.fd is None or fcntl is None:  # Windows renames no file that others have open
            return True
        return self._file.try_lock(fcntl.LOCK_EX)

    def set_mark(self) -> None:
        """Record that the database is Segue's."""
        with contextlib.suppress(OSError):  # on a full disk the next window does it
            if self._file.fd is not None and os.fstat(self._file.fd).st_size == 0:
                os.write(self._file.fd, _MARK)

    def clear_mark(self) -> None:
        """Record that the present file is not Segue's."""
        with contextlib.suppress(OSError):
            if self.has_mark():
                os.truncate(self._file.path, 0)

    def has_mark(self) -> bool:
        """Return whether the file was Segue's database when its header was last undamaged."""
        try:
            if not os.path.isfile(self._file.path):
                return False  # to read a pipe would take for ever
            with open(self._file.path, "rb") as file:
                return file.read() == _MARK
        except OSError:
            return False

    def close(self) -> None:
        """Close the file, and release the lock with it."""
        self._file.close()


class ProcessLock:
    """The lock of the one process that does something for a database, such as to watch."""

    def __init__(self, database_path: str | None, name: str) -> None:
        """*name* is what is done. None: a database that no other process can reach."""
        self._path = database_path
        self._file = None if database_path is None else LockFile(f"{database_path}-{name}.lock")

    def acquire(self, *, waits: bool) -> bool:
        """Return whether the lock was acquired. With *waits* it is waited for without polling."""
        if self._file is None or self._path is None:
            return True
        try:
            return _lock_whole(self._file, waits=waits)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return True
            raise driver.translate(error, self._path) from error

    def release(self) -> None:
        """Close the file, and release the lock with it."""
        if self._file is not None:
            self._file.close()


def _lock_whole(file: LockFile, *, waits: bool) -> bool:
    file.open()
    if sys.platform == "win32":
        return _lock_first_byte(file.open(), waits=waits)
    while waits and not file.try_lock(fcntl.LOCK_EX):
        fcntl.flock(file.open(), fcntl.LOCK_EX)
    return waits or file.try_lock(fcntl.LOCK_EX)


if sys.platform == "win32":
    import msvcrt

    def _lock_first_byte(fd: int, *, waits: bool) -> bool:
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except OSError:  # another process has it
                if not waits:
                    return False
                time.sleep(_WINDOWS_POLL_INTERVAL_S)
            else:
                return True
