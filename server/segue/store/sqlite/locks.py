"""The turn to write: windows stand in line for it, instead of trying again and again.

SQLite's own waiting sleeps between its tries, up to 100 ms each, and who sleeps is overtaken. Of 16
processes that append for 15 s without a pause the slowest waited 4.65 s without the line, 0.29 s
with it (`tests/bench`, row 10). What is written is guarded by SQLite's locks all the same: a turn
that is not waited for costs time, nothing else.
"""

import contextlib
import os
import threading

try:
    import fcntl
except ImportError:  # Windows: there SQLite's own waiting is all there is
    fcntl = None  # type: ignore[assignment]


_MARK = b"segue\n"


class WriteLock:
    """One window's place in the line of those who write the database at *where*."""

    def __init__(self, where: str) -> None:
        self._path = f"{where}-turn"
        self._fd: int | None = None

    def take(self, at_most_s: float) -> bool:
        """Take the turn, in line behind those who wait for it; tell whether it came in time."""
        if fcntl is None:
            return True
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._wait(self._fd, at_most_s)
        return True

    def _wait(self, fd: int, at_most_s: float) -> bool:
        # Here, on the thread that writes: a turn that has come and is not yet taken is lost to all.
        came, decided = threading.Lock(), threading.Lock()
        came.acquire()
        own = os.dup(fd)  # the number of one that is closed meanwhile may be another file's

        def stand() -> None:
            with contextlib.suppress(OSError):
                fcntl.flock(own, fcntl.LOCK_EX)
                if decided.acquire(blocking=False):
                    came.release()
                else:
                    fcntl.flock(own, fcntl.LOCK_UN)  # nobody waits for it any more
            os.close(own)

        # A thread of its own, since flock knows no timeout: a window that is stopped while it
        # writes must not stop the others for ever.
        threading.Thread(target=stand, name="turn", daemon=True).start()
        return came.acquire(timeout=at_most_s) or not decided.acquire(blocking=False)

    def give_back(self) -> None:
        """Let the next one write."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave the line."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class OpenLock:
    """Says to other processes that this one has the database open."""

    def __init__(self, where: str) -> None:
        self._path = f"{where}-lock"
        self._fd: int | None = None

    def enter(self) -> None:
        """Wait until nobody repairs the database, and be counted as one who has it open."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._fd is not None and fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Tell whether nobody else has the database open, and keep the others out if so."""
        if self._fd is None or fcntl is None:
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def own(self) -> None:
        """Remember that this is our database: a header that is damaged no longer says so."""
        with contextlib.suppress(OSError):  # on a full disk the next window does it
            if self._fd is not None and os.fstat(self._fd).st_size == 0:
                os.write(self._fd, _MARK)

    def disown(self) -> None:
        """Forget that a database of ours was here: what is here now is none."""
        with contextlib.suppress(OSError):
            if self.owns():
                os.truncate(self._path, 0)

    def owns(self) -> bool:
        """Tell whether the last file that could be told by its header was our database."""
        try:
            with open(self._path, "rb") as file:
                return file.read() == _MARK
        except OSError:
            return False

    def leave(self) -> None:
        """Be gone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
