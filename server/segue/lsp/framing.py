"""Bytes to frames and back: LSP's base protocol in any legal spelling.

pygls' own loop reads one spelling, loses the frame after a bad one, takes three thread hops for
each, and stops the whole server while a client does not read.
"""

import asyncio
import collections
import contextlib
import os
import re
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

MAX_FRAME = 64 * 1024 * 1024
"""The longest body that is read, in bytes. A longer one is refused and passed over."""

_MAX_HEADER = 16 * 1024
_MAX_BACKLOG = 32 * 1024 * 1024
_MAX_UNREAD = 48 * 1024 * 1024
_LOOK_S = 0.25
_CHUNK = 64 * 1024
"""As much as a pipe holds. The memory for more is fetched from the system anew at each read."""

_LAST_READS = 16
"""With it 1 MiB, which is the most that Linux lets a pipe hold (fs.pipe-max-size)."""

_SMALL = 4 * 1024
_HEADER = re.compile(rb"[!-9;-~]+:[ -~\t]*")
_LENGTH = re.compile(rb"content-length\s*:\s*(\d{1,10})\s*$", re.IGNORECASE)
_USUAL = re.compile(rb"Content-Length: (\d{1,10})\r\n\r\n")
_CHARSET = re.compile(rb"content-type\s*:.*charset\s*=\s*+\"?+(?!utf-?8\b)", re.IGNORECASE)


@attrs.frozen
class BadFrame:
    """Bytes that were no frame, and what was wrong with them."""

    message: str


Frame = bytes | BadFrame


class FrameParser:
    """Finds the frames in a stream of bytes. After a bad one it finds the next good one."""

    def __init__(self, longest: int = MAX_FRAME) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._skip = 0
        self._lost = False
        self._begin()

    def _begin(self) -> None:
        self._length: int | None = None
        self._body = False
        self._problem: str | None = None
        self._headers = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in *data* and yield the frames that it completes, the bad ones too."""
        at = 0
        while self._is_between and (whole := self._usual_frame(data, at)) is not None:
            at = whole[1]
            yield data[slice(*whole)]
            if at == len(data):
                return
        self._buffer += data[at:]
        while True:
            if self._skip:
                passed = min(self._skip, len(self._buffer))
                del self._buffer[:passed]
                self._skip -= passed
                if self._skip:
                    return
            if self._body:
                assert self._length is not None  # noqa: S101  a body follows a known length
                if len(self._buffer) < self._length:
                    return
                body = bytes(self._buffer[: self._length])
                del self._buffer[: self._length]
                self._begin()
                yield body
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEADER:
                    # Keep the end: the next header may have begun in it.
                    del self._buffer[:-64]
                    yield from self._lose("a header line is too long")
                return
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            yield from self._blank() if not line.strip() else self._header(line)

    @property
    def _is_between(self) -> bool:
        """Whether the next byte begins a frame, for all that is known."""
        return not (self._buffer or self._skip or self._body or self._headers or self._lost)

    def _usual_frame(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Return from where to where a body goes that is whole and announced as most are."""
        if (header := _USUAL.match(data, at)) is None:
            return None
        begin, length = header.end(), int(header[1])
        is_whole = length <= self._longest and begin + length <= len(data)
        return (begin, begin + length) if is_whole else None

    def _header(self, line: bytes) -> Iterator[Frame]:
        self._headers += 1
        # A lost reader takes a length at the end of any line: what precedes it is a stray body.
        length = _LENGTH.search(line) if self._lost else _LENGTH.match(line)
        if length is not None:
            if self._length not in (None, int(length[1])):
                yield from self._lose("two different Content-Length headers")
                return
            self._length = int(length[1])
            self._lost = False
        elif _CHARSET.match(line):
            self._problem = "the charset must be utf-8"
        elif line.lower().startswith(b"content-length") or not _HEADER.fullmatch(line):
            yield from self._lose("a malformed header")

    def _blank(self) -> Iterator[Frame]:
        if self._length is None:
            if self._headers:
                yield from self._lose("a frame without Content-Length")
            return
        if self._length > self._longest:
            self._problem = f"a frame of {self._length:,} bytes is over {self._longest:,}"
        if self._problem is None:
            self._body = True
            return
        problem, self._skip = self._problem, self._length
        self._begin()
        yield BadFrame(problem)

    def _lose(self, why: str) -> Iterator[Frame]:
        told, self._lost = self._lost, True
        self._begin()
        if not told:
            yield BadFrame(why)


class FrameReader:
    """Reads a file descriptor and hands its frames to the event loop.

    The loop itself waits for a pipe; for what it cannot wait for (on Windows, or a file) a daemon
    thread does. While it is paused, the loop still looks whether the client has hung up.
    """

    def __init__(
        self, fd: int, on_frames: Callable[[list[Frame]], None], on_end: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._on_frames = on_frames
        self._on_end = on_end
        self._parser = FrameParser()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()
        self._thread: threading.Thread | None = None
        self._look: asyncio.TimerHandle | None = None
        self._hung_up = False

    def start(self) -> None:
        """Begin to read."""
        try:
            self.resume()
        except (NotImplementedError, OSError):
            self._open.set()
            self._thread = threading.Thread(target=self._run, name="segue-reader", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Read no more for now: the client is ahead of us."""
        # Of a client that hung up, no more is left than a pipe holds, and then the end.
        if self._hung_up:
            return
        self._shut()
        if self._thread is None and self._look is None:
            self._look = self._loop.call_later(_LOOK_S, self._look_for_the_end)

    def close(self) -> None:
        """Read no more."""
        self._shut()
        if self._look is not None:
            self._look.cancel()

    def resume(self) -> None:
        """Read on."""
        if self._open.is_set():
            return
        if self._thread is None:
            self._loop.add_reader(self._fd, self._readable)
        self._open.set()

    def read_out(self) -> None:
        """Hand over what has come by now, however far the client is ahead of us.

        Where a thread reads, it has handed that over.
        """
        # A reading that is due already would wait for what is read here.
        self.close()
        if self._thread is not None:
            return
        for _ in range(_LAST_READS):
            if not _has(self._fd, "POLLIN") or (frames := self._read()) is None:
                return
            self._on_frames(frames)

    def _shut(self) -> None:
        if self._thread is None and self._open.is_set():
            self._loop.remove_reader(self._fd)
        self._open.clear()

    def _look_for_the_end(self) -> None:
        # No reader sees the end of a pipe before it has read what lies in front of it.
        self._look = None
        if self._open.is_set():
            return
        if has_hung_up(self._fd):
            self._hung_up = True
            self.resume()
        else:
            self._look = self._loop.call_later(_LOOK_S, self._look_for_the_end)

    def _readable(self) -> None:
        frames = self._read()
        if frames is None:
            self.close()
            self._on_end()
        elif frames:
            self._on_frames(frames)

    def _run(self) -> None:
        while self._open.wait() and (frames := self._read()) is not None:
            if frames:
                _tell(self._loop, self._on_frames, frames)
        _tell(self._loop, self._on_end)

    def _read(self) -> list[Frame] | None:
        """Return the frames that came, or None at the end; a broken descriptor has reached it."""
        try:
            data = os.read(self._fd, _CHUNK)
        except OSError:
            return None
        return list(self._parser.feed(data)) if data else None


def has_hung_up(fd: int) -> bool:
    """Tell whether nobody will write to *fd*, a pipe or a socket, any more. In doubt they will.

    Windows cannot tell: there the watch over the editor's process has to do.
    """
    # The end of both directions is reported unasked; that of ours alone, on Linux, for asking.
    return _has(fd, "POLLRDHUP")


def _has(fd: int, event: str) -> bool:
    """Tell whether *event*, named as in `select`, or the end has come to *fd*. In doubt: no."""
    if not hasattr(select, "poll"):
        return False
    events = select.poll()
    events.register(fd, getattr(select, event, 0))
    return bool(events.poll(0))


class FrameWriter:
    """Writes frames at once where that takes no waiting, and leaves the others to a daemon thread.

    So a client that does not read cannot stop the loop, and one that reads waits for no thread.
    """

    def __init__(
        self, fd: int, on_broken: Callable[[], None], on_caught_up: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._socket, self._pipe = _socket(fd), _pipe(fd)
        self._on_broken = on_broken
        self._on_caught_up = on_caught_up
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._pieces: collections.deque[bytes] = collections.deque()
        self._ready = threading.Condition()
        self._backlog = 0
        self._closing = False
        self._given_up = False
        self._news = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="segue-writer", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether the client has so much left to read that nothing more should be asked of us."""
        return self._backlog > _MAX_BACKLOG

    @property
    def _is_full(self) -> bool:
        return self._backlog > _MAX_UNREAD

    async def room(self) -> None:
        """Wait while the client has so much left to read that no further answer should be made.

        There is a margin above `is_behind`: what was read before is still begun.
        """
        while self._is_full and not self._given_up:
            self._news.clear()
            await self._news.wait()

    @property
    def is_in_vain(self) -> bool:
        """Whether what is written now will hardly be read."""
        return self._given_up and self.is_behind

    def give_up(self) -> None:
        """Wait for the client no longer: what there is no room for is not sent."""
        self._given_up = True
        self._news.set()

    def write(self, body: bytes, *, more: bool = False) -> None:
        """Send *body* in a frame, when the client reads; if there will be *more*, with that."""
        if self._is_full and self._given_up:
            return
        frame = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        if more and len(frame) <= _SMALL:
            if not self._held:
                self._loop.call_soon(self._send_held)
            self._held.append(frame)
            return
        self._send_held()
        self._send(frame)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        if held:
            self._send(b"".join(held))

    def _send(self, data: bytes) -> None:
        if not self._backlog:
            data = data[self._write_at_once(data) :]
        if data:
            with self._ready:
                self._pieces.append(data)
                self._backlog += len(data)
                self._ready.notify()

    def _write_at_once(self, data: bytes) -> int:
        """Write what is taken without waiting, and return how much it was.

        What is broken takes nothing: the thread, which may wait, will meet the error.
        """
        try:
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
            return 0 if self._pipe is None else os.write(self._pipe, data)
        except OSError:
            return 0

    def close(self, timeout: float) -> None:
        """Send what is left, for at most *timeout* seconds."""
        self._send_held()
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._fd, view) :]
                with self._ready:
                    was_behind = self.is_behind
                    self._backlog -= len(piece)
                if was_behind and not self.is_behind:
                    _tell(self._loop, self._news.set)
                    _tell(self._loop, self._on_caught_up)
        except OSError:
            with self._ready:
                self._closing = True
            _tell(self._loop, self.give_up)
            _tell(self._loop, self._on_broken)

    def _next(self) -> bytes | None:
        with self._ready:
            while not self._pieces:
                if self._closing:
                    return None
                self._ready.wait()
            return self._pieces.popleft()


def _socket(fd: int) -> socket.socket | None:
    """Return *fd*, if it is a socket that can be written to without waiting."""
    # Its own way of waiting is left as it is: others may share it.
    if stat.S_ISSOCK(os.fstat(fd).st_mode) and hasattr(socket, "MSG_DONTWAIT"):
        return socket.socket(fileno=fd)
    return None


def _pipe(fd: int) -> int | None:
    """Open the pipe *fd* once more, where that can be, for writing to it without waiting."""
    # What is set on *fd* itself would be so for all who share it. Linux opens a pipe by its name.
    if stat.S_ISFIFO(os.fstat(fd).st_mode) and sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return None


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *values: Any) -> None:
    # A loop that is closed has nobody left to be told.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *values)
