"""Advisory locks in files beside a database: to queue its writers, and to show that it is open.

SQLite's own locks protect the data in any case. If the lock of the writers cannot be used, they are
served unfairly; if the lock of open databases cannot be used, none is repaired. No data is lost.
"""

import contextlib
import os
import threading

try:
    import fcntl
except ImportError:  # Windows: SQLite's own locks are all there is
    fcntl = None  # type: ignore[assignment]  # every use is guarded by `is None`

_MARK = b"segue\n"


class WriteLock:
    """An advisory lock that the writers of one database queue for.

    SQLite itself polls, up to 100 ms apart, and a process that sleeps is overtaken by others. Of
    16 processes that append for 15 s without a pause the slowest waited 4.92 s without this lock,
    0.05 s with it (`tests/bench`, row 10).
    """

    def __init__(self, database_path: str) -> None:
        self._path = f"{database_path}-write.lock"
        self._fd: int | None = None

    def acquire(self, timeout_s: float) -> bool:
        """Queue for the lock; return whether it was acquired within *timeout_s* seconds."""
        if fcntl is None:
            return True
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._wait(self._fd, timeout_s)
        return True

    def _wait(self, fd: int, timeout_s: float) -> bool:
        # Wait on the writing thread itself: time between getting the lock and using it is idle
        # time for every other process.
        acquired, settled = threading.Lock(), threading.Lock()
        acquired.acquire()
        duplicate = os.dup(fd)  # a number that is closed meanwhile may become another file's

        def wait_for_flock() -> None:
            with contextlib.suppress(OSError):
                fcntl.flock(duplicate, fcntl.LOCK_EX)
                if settled.acquire(blocking=False):
                    acquired.release()
                else:
                    fcntl.flock(duplicate, fcntl.LOCK_UN)  # the wait has timed out
            os.close(duplicate)

        # On a thread of its own, since flock has no timeout: a window that is stopped while it
        # writes must not stop the others for ever.
        threading.Thread(target=wait_for_flock, name="write-lock", daemon=True).start()
        return acquired.acquire(timeout=timeout_s) or not settled.acquire(blocking=False)

    def release(self) -> None:
        """Release the lock: the next process in the queue acquires it."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, and release the lock with it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class OpenLock:
    """Shows other processes that this one has the database open, so that none repairs it.

    The content of the file, the mark, records that the database is Segue's. It is asked when the
    database's own header is damaged.
    """

    def __init__(self, database_path: str) -> None:
        self._path = f"{database_path}-lock"
        self._fd: int | None = None

    def share(self) -> None:
        """Wait until no process repairs the database, and hold the lock together with others."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Return whether no other process has the database open; if so, no other can open it."""
        if self._fd is None or fcntl is None:  # Windows renames no file that others have open
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def set_mark(self) -> None:
        """Record that the database is Segue's."""
        with contextlib.suppress(OSError):  # on a full disk the next window does it
            if self._fd is not None and os.fstat(self._fd).st_size == 0:
                os.write(self._fd, _MARK)

    def clear_mark(self) -> None:
        """Record that the present file is not Segue's."""
        with contextlib.suppress(OSError):
            if self.has_mark():
                os.truncate(self._path, 0)

    def has_mark(self) -> bool:
        """Return whether the file was Segue's database when its header was last undamaged."""
        try:
            with open(self._path, "rb") as file:
                return file.read() == _MARK
        except OSError:
            return False

    def close(self) -> None:
        """Close the file, and release the lock with it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
