"""A stderr that never blocks: what is written is buffered, and dropped while nobody reads it.

A client that starts a server with a pipe as its stderr need not read it. Written directly, the log
would stop the server as soon as that pipe is full.
"""

import atexit
import collections
import io
import os
import select
import sys
import threading
import time

CAPACITY = 256 * 1024
"""How many bytes are buffered, beside those that the pipe holds."""

_EXIT_TIMEOUT_S = 0.5
"""How long the process waits, when it ends, for what is buffered to be written."""

_RETRY_S = 0.1
_PIPE_BUF = 4 * 1024


class LogStream(io.RawIOBase):
    """Writes to a descriptor from a daemon thread of its own; `write` only buffers.

    What does not fit is dropped. How many lines that were is written as soon as there is room.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._chunks: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._dropped = 0
        self._is_exiting = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="segue-log", daemon=True).start()

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor; what is written to it directly may block."""
        return self._fd

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed's name for these is private
        """Buffer *data* if there is room; return its length."""
        chunk = bytes(data)
        if self._is_exiting and not self._size:
            if _is_writable(self._fd):
                self._write(chunk[:_PIPE_BUF])
            return len(chunk)
        with self._changed:
            if self._size + len(chunk) > CAPACITY:
                self._dropped += chunk.count(b"\n")
            else:
                self._chunks.append(chunk)
                self._size += len(chunk)
                self._changed.notify_all()
        return len(chunk)

    def drain(self, timeout_s: float = _EXIT_TIMEOUT_S) -> None:
        """Wait until everything is written, at most *timeout_s*."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, timeout_s)

    def begin_exit(self) -> None:
        """Drain; what is written from now on is written at once, if that does not block.

        The interpreter is about to stop all daemon threads.
        """
        self.drain()
        self._is_exiting = True

    def _run(self) -> None:
        while True:
            try:
                self._write_next()
            except MemoryError:
                time.sleep(_RETRY_S)

    def _write_next(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks)
            chunk = self._chunks[0]
        is_written = self._write(chunk)
        with self._changed:
            self._chunks.popleft()
            self._size -= len(chunk)
            if not is_written:
                self._dropped += chunk.count(b"\n")
            elif self._dropped:
                self._report()
            self._changed.notify_all()

    def _report(self) -> None:
        dropped, self._dropped = self._dropped, 0
        self.write(
            b"segue: WARNING: stderr was not read: %d lines of the log are missing here\n" % dropped
        )

    def _write(self, data: bytes) -> bool:
        """Write *data*, which may block; return whether that was possible."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # another process has set O_NONBLOCK on what they share
                time.sleep(_RETRY_S)
            except OSError:
                return False
        return True


def _is_writable(fd: int) -> bool:
    """Return whether `_PIPE_BUF` bytes can be written without blocking."""
    if not hasattr(select, "poll"):
        return True
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(0))


def install() -> None:
    """Replace `sys.stderr` by a stream that never blocks; it is drained when the process exits."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    try:
        stream = LogStream(2)
    except RuntimeError:  # no thread is left: `segue lsp` will say so
        return
    atexit.register(stream.begin_exit)
    sys.stderr = io.TextIOWrapper(
        stream,  # type: ignore[type-var, unused-ignore]  # unbuffered, which write_through allows
        encoding=encoding,
        errors="backslashreplace",
        write_through=True,
    )
