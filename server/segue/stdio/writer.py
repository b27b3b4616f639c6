"""Writes to a descriptor without blocking, buffered in memory where the pipe is full."""

import asyncio
import collections
import contextlib
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable

from segue.stdio.reader import call_in_loop

_HIGH_WATER_MARK = 32 * 1024 * 1024
_CAPACITY = 48 * 1024 * 1024
"""Above the high-water mark, so that requests that were read before still get a response."""


class ByteWriter:
    """Writes without blocking; what the pipe does not accept is queued for a writer thread.

    A reader that does not read does not block the event loop, and what is written to one that reads
    does not wait for a thread.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._socket, self._pipe = _nonblocking_socket(fd), _nonblocking_pipe(fd)
        self._loop = asyncio.get_running_loop()
        self._queue: collections.deque[memoryview] = collections.deque()
        self._queue_changed = threading.Condition()
        self._queued_bytes = 0
        self._closing = False
        self._discarding = False
        self._has_capacity = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="segue-writer", daemon=True)

    def start(self, on_broken: Callable[[], None], on_drained: Callable[[], None]) -> None:
        """Begin to write what does not fit the pipe.

        *on_broken* is called when the reader has closed its end, *on_drained* when the buffer falls
        below the high-water mark.
        """
        self._on_broken, self._on_drained = on_broken, on_drained
        self._thread.start()

    @property
    def over_high_water_mark(self) -> bool:
        """Whether so much is unread that nothing should be accepted that leads to more."""
        return self._queued_bytes > _HIGH_WATER_MARK

    @property
    def _is_full(self) -> bool:
        return self._queued_bytes > _CAPACITY

    async def wait_for_capacity(self) -> None:
        """Wait until the buffer can take more, or `start_discarding` was called."""
        while self._is_full and not self._discarding:
            self._has_capacity.clear()
            await self._has_capacity.wait()

    @property
    def is_discarding(self) -> bool:
        """Whether what is written now would probably be discarded or not be read."""
        return self._discarding and self.over_high_water_mark

    def start_discarding(self) -> None:
        """Stop waiting for the reader: what the buffer cannot take is discarded from now on."""
        self._discarding = True
        self._has_capacity.set()

    def write(self, *parts: bytes) -> None:
        """Write *parts*, or as much of them as is accepted now and the rest later.

        All are discarded if the buffer is full after `start_discarding`.
        """
        if self._is_full and self._discarding:
            return
        for part in parts:
            self._write(part)

    def _write(self, data: bytes) -> None:
        unsent = memoryview(data)
        if not self._queued_bytes:
            unsent = unsent[self._write_nonblocking(data) :]
        if unsent:
            with self._queue_changed:
                self._queue.append(unsent)
                self._queued_bytes += len(unsent)
                self._queue_changed.notify()

    def _write_nonblocking(self, data: bytes) -> int:
        """Write what is accepted without blocking; return its length.

        A broken pipe accepts nothing: the thread, which may block, gets the error.
        """
        try:
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
            return 0 if self._pipe is None else os.write(self._pipe, data)
        except OSError:
            return 0

    def close(self, timeout: float) -> bool:
        """Send what is buffered, for at most *timeout* seconds.

        Return whether the descriptor is not used any more.
        """
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        with self._queue_changed:
            self._closing = True
            self._queue_changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (data := self._next()) is not None:
                view = data
                while view:
                    view = view[os.write(self._fd, view) :]
                with self._queue_changed:
                    was_over = self.over_high_water_mark
                    self._queued_bytes -= len(data)
                if was_over and not self.over_high_water_mark:
                    call_in_loop(self._loop, self._has_capacity.set)
                    call_in_loop(self._loop, self._on_drained)
        except OSError:
            with self._queue_changed:
                self._closing = True
            call_in_loop(self._loop, self.start_discarding)
            call_in_loop(self._loop, self._on_broken)

    def _next(self) -> memoryview | None:
        with self._queue_changed:
            while not self._queue:
                if self._closing:
                    return None
                self._queue_changed.wait()
            return self._queue.popleft()


def _nonblocking_socket(fd: int) -> socket.socket | None:
    """Return *fd*, if it is a socket that can be written to without blocking."""
    # A flag of the call, not of the descriptor: other processes may share it.
    if stat.S_ISSOCK(os.fstat(fd).st_mode) and hasattr(socket, "MSG_DONTWAIT"):
        return socket.socket(fileno=fd)
    return None


def _nonblocking_pipe(fd: int) -> int | None:
    """Open the pipe *fd* once more, where that is possible, for writing without blocking."""
    # O_NONBLOCK on *fd* itself would hold for all who share it. Linux opens a pipe by its name.
    if stat.S_ISFIFO(os.fstat(fd).st_mode) and sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return None
