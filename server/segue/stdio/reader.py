"""Reads a descriptor without blocking the event loop."""

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import Any

_HANGUP_CHECK_S = 0.25
_CHUNK = 64 * 1024
"""As much as a pipe holds. Memory for more would be fetched from the system at each read."""

_DRAIN_READS = 16
"""With `_CHUNK` 1 MiB, the most that Linux lets a pipe hold (fs.pipe-max-size)."""


class ByteReader:
    """Reads a file descriptor and hands its bytes to the event loop.

    The loop itself waits for a pipe; for what it cannot wait for (on Windows, or a file) a daemon
    thread does. While it is paused, the loop still checks whether the client has hung up.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._reading = threading.Event()
        self._thread: threading.Thread | None = None
        self._hangup_check: asyncio.TimerHandle | None = None
        self._hung_up = False

    def start(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Begin to read: *on_data* is called with what was read, *on_end* at the end of input."""
        self._on_data, self._on_end = on_data, on_end
        try:
            self.resume()
        except (NotImplementedError, OSError):
            self._reading.set()
            self._thread = threading.Thread(target=self._run, name="segue-reader", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Read nothing until `resume`."""
        # The client closed its end: at most one pipe buffer remains, then EOF.
        if self._hung_up:
            return
        self._stop_reading()
        if self._thread is None and self._hangup_check is None:
            self._hangup_check = self._loop.call_later(_HANGUP_CHECK_S, self._check_hangup)

    def close(self) -> None:
        """Read nothing more."""
        self._stop_reading()
        if self._hangup_check is not None:
            self._hangup_check.cancel()

    def resume(self) -> None:
        """Continue to read."""
        if self._reading.is_set():
            return
        if self._thread is None:
            self._loop.add_reader(self._fd, self._on_readable)
        self._reading.set()

    def drain(self) -> None:
        """Pass on what the client has written by now, without waiting, and close.

        It is read even while paused. A reading thread has passed it on already.
        """
        # Close first: a read that the loop has due would block on what is read here.
        self.close()
        if self._thread is not None:
            return
        for _ in range(_DRAIN_READS):
            if not _poll(self._fd, "POLLIN") or (data := self._read()) is None:
                return
            self._on_data(data)

    def _stop_reading(self) -> None:
        if self._thread is None and self._reading.is_set():
            self._loop.remove_reader(self._fd)
        self._reading.clear()

    def _check_hangup(self) -> None:
        # A paused loop does not see the end of a pipe before it has read what precedes it.
        self._hangup_check = None
        if self._reading.is_set():
            return
        if has_hung_up(self._fd):
            self._hung_up = True
            self.resume()
        else:
            self._hangup_check = self._loop.call_later(_HANGUP_CHECK_S, self._check_hangup)

    def _on_readable(self) -> None:
        data = self._read()
        if data is None:
            self.close()
            self._on_end()
        elif data:
            self._on_data(data)

    def _run(self) -> None:
        while self._reading.wait() and (data := self._read()) is not None:
            if data:
                call_in_loop(self._loop, self._on_data, data)
        call_in_loop(self._loop, self._on_end)

    def _read(self) -> bytes | None:
        """Return what one read gave, or None at the end; a broken descriptor is at its end."""
        try:
            return os.read(self._fd, _CHUNK) or None
        except MemoryError:
            return b""  # nothing was read yet
        except OSError:
            return None


def has_hung_up(fd: int) -> bool:
    """Return whether the other end of *fd*, a pipe or a socket, was closed; False if unknown.

    It is unknown on Windows, where only the watch on the editor's process remains.
    """
    # poll() always reports a hang-up of both directions; of one, only Linux does, on request.
    return _poll(fd, "POLLRDHUP")


def _poll(fd: int, event: str) -> bool:
    """Return whether *event*, a name in `select`, or a hang-up is due on *fd*; False if unknown."""
    if not hasattr(select, "poll"):
        return False
    events = select.poll()
    events.register(fd, getattr(select, event, 0))
    try:
        return bool(events.poll(0))
    except OSError:  # the limit of descriptors was set to less than are open
        return False


def call_in_loop(
    loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any
) -> None:
    """Make *loop* call *callback* soon, from any thread; a closed loop calls nothing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)
