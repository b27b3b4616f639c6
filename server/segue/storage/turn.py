"""The turn to write: windows stand in line for it, instead of trying again and again.

SQLite's own waiting sleeps between its tries, up to 100 ms each, and who sleeps is overtaken. Of 16
processes that append at once the slowest waited 1.6 to 2.0 s without the line, 0.2 to 0.3 s with it
(`tests/faults/crowding.py`). What is written is guarded by SQLite's locks all the same: a turn that
is not waited for costs time, nothing else.
"""

import asyncio
import contextlib
import os
import threading

try:
    import fcntl
except ImportError:  # Windows: there SQLite's own waiting is all there is
    fcntl = None  # type: ignore[assignment]


class Turn:
    """One window's place in the line of those who write the database at *where*."""

    def __init__(self, where: str) -> None:
        self._path = f"{where}-turn"
        self._fd: int | None = None

    def take(self) -> bool:
        """Take the turn if nobody has it, and tell whether it was taken."""
        if fcntl is None:
            return True
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give_back(self) -> None:
        """Let the next one write."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    async def wait(self, at_most_s: float) -> bool:
        """Stand in line; tell whether the turn came. It is taken then."""
        loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()

        def arrive() -> None:
            if came.done():
                self.give_back()  # nobody waits for it any more
            else:
                came.set_result(None)

        def stand(fd: int) -> None:
            # A thread of its own, since flock knows no timeout: a window that is stopped while it
            # writes must not stop the others for ever.
            with contextlib.suppress(OSError, RuntimeError):
                fcntl.flock(fd, fcntl.LOCK_EX)
                loop.call_soon_threadsafe(arrive)

        threading.Thread(target=stand, args=(self._fd,), name="turn", daemon=True).start()
        try:
            await asyncio.wait_for(came, at_most_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Leave the line."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
