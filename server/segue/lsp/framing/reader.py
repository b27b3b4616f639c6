"""Bytes to frames: LSP's base protocol in any legal spelling.

pygls' own loop reads one spelling of the header, loses the frame after a malformed one, and takes
three thread hops for each message.
"""

import asyncio
import contextlib
import enum
import os
import re
import select
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

MAX_FRAME = 64 * 1024 * 1024
"""The longest body that is read, in bytes. A longer one is refused and skipped."""

_MAX_HEADER = 16 * 1024
_HANGUP_CHECK_S = 0.25
_CHUNK = 64 * 1024
"""As much as a pipe holds. Memory for more would be fetched from the system at each read."""

_DRAIN_READS = 16
"""With `_CHUNK` 1 MiB, the most that Linux lets a pipe hold (fs.pipe-max-size)."""

_HEAD = 4 * 1024
_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which .NET's writers begin with."""

_JSON_LINE = re.compile(rb"[ \t]*[{\[]")
_HEADER = re.compile(rb"[!-9;-~]+:[ -~\t]*")
_LENGTH = re.compile(rb"content-length\s*:\s*(\d{1,10})\s*$", re.IGNORECASE)
_USUAL = re.compile(rb"Content-Length: (\d{1,10})\r\n\r\n")
_CHARSET = re.compile(rb"content-type\s*:.*charset\s*=\s*+\"?+(?!utf-?8\b)", re.IGNORECASE)


@attrs.frozen
class BadFrame:
    """Bytes that were no frame, and what was wrong with them."""

    message: str
    head: bytes = attrs.field(default=b"", eq=False, repr=False)
    """The first bytes of its body, if that was begun to be read."""


Frame = bytes | bytearray | BadFrame


class _State(enum.Enum):
    HEADERS = enum.auto()
    BODY = enum.auto()
    SKIP = enum.auto()
    """The body of a frame that was refused."""


class FrameParser:
    """Finds the frames in a stream of bytes, and after a malformed one the next good one."""

    def __init__(self, longest: int = MAX_FRAME) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._lost = False
        """Whether the next byte need not begin a frame: after a malformed header."""
        self._begin_frame()

    def _begin_frame(self) -> None:
        self._state = _State.HEADERS
        self._length: int | None = None
        self._fault: str | None = None
        self._headers = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in *data* and yield the frames that it completes, malformed ones too."""
        offset = 0
        while self._is_between and (usual := self._usual_frame(data, offset)) is not None:
            offset = usual.stop
            yield data[usual]
            if offset == len(data):
                return
        try:
            self._buffer += data[offset:]
        except MemoryError:
            if self._state is not _State.BODY:
                raise
            yield self._abandon_body(data)
        step = {
            _State.HEADERS: self._feed_header,
            _State.BODY: self._feed_body,
            _State.SKIP: self._skip_body,
        }
        while (frames := step[self._state]()) is not None:
            yield from frames

    @property
    def _is_between(self) -> bool:
        """Whether the next byte should begin a frame."""
        is_new = self._state is _State.HEADERS and not self._headers
        return is_new and not self._buffer and not self._lost

    def _usual_frame(self, data: bytes, offset: int) -> slice | None:
        """Return where the body is, if it is complete and has a header in the usual spelling."""
        if (header := _USUAL.match(data, offset)) is None:
            return None
        begin, length = header.end(), int(header[1])
        is_whole = length <= self._longest and begin + length <= len(data)
        return slice(begin, begin + length) if is_whole else None

    # Each of the three returns the frames that it found, or None if it needs more bytes.

    def _feed_header(self) -> list[Frame] | None:
        if not self._headers and self._buffer.startswith(_MARK):
            del self._buffer[: len(_MARK)]
        if not self._lost and _JSON_LINE.match(self._buffer):
            # Not at the end of the line: the client may wait for a response before it sends that.
            return self._lose(
                "expected Content-Length headers and an empty line before each message, as LSP "
                "has them, and got a line of JSON"
            )
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) <= _MAX_HEADER:
                return None
            # Keep the end: the next header may have begun in it.
            del self._buffer[:-64]
            return self._lose("a header line is too long")
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return self._header(line) if line.strip() else self._end_of_headers()

    def _feed_body(self) -> list[Frame] | None:
        length = self._length or 0
        if len(self._buffer) < length:
            return None
        # Not a copy: a body may be long, and what follows it is not.
        body, self._buffer = self._buffer, self._buffer[length:]
        del body[length:]
        self._begin_frame()
        return [body]

    def _abandon_body(self, data: bytes) -> BadFrame:
        """Skip the frame that there is no memory for; *data* is what follows in the buffer."""
        # If it was dropped with a part missing, all frames after it would be lost.
        length, head = self._length or 0, bytes(self._buffer[:_HEAD])
        self._length = length - len(self._buffer)
        self._buffer = bytearray(data)
        self._state = _State.SKIP
        return BadFrame(f"no memory is left for a frame of {length:,} bytes", head)

    def _skip_body(self) -> list[Frame] | None:
        length = self._length or 0
        skipped = min(length, len(self._buffer))
        del self._buffer[:skipped]
        self._length = length - skipped
        if self._length:
            return None
        self._begin_frame()
        return []

    def _header(self, line: bytes) -> list[Frame]:
        self._headers += 1
        # A lost parser takes a length at the end of any line: what precedes it is a stray body.
        length = _LENGTH.search(line) if self._lost else _LENGTH.match(line)
        if length is not None:
            if self._length not in (None, int(length[1])):
                return self._lose("two different Content-Length headers")
            self._length = int(length[1])
            self._lost = False
        elif _CHARSET.match(line):
            self._fault = "the charset must be utf-8"
        elif line.lower().startswith(b"content-length") or not _HEADER.fullmatch(line):
            return self._lose("a malformed header")
        return []

    def _end_of_headers(self) -> list[Frame]:
        if self._length is None:
            return self._lose("a frame without Content-Length") if self._headers else []
        if self._length > self._longest:
            self._fault = f"a frame of {self._length:,} bytes is over {self._longest:,}"
        self._state = _State.BODY if self._fault is None else _State.SKIP
        return [] if self._fault is None else [BadFrame(self._fault)]

    def _lose(self, fault: str) -> list[Frame]:
        was_lost, self._lost = self._lost, True
        self._begin_frame()
        return [] if was_lost else [BadFrame(fault)]


class FrameReader:
    """Reads a file descriptor and hands its frames to the event loop.

    The loop itself waits for a pipe; for what it cannot wait for (on Windows, or a file) a daemon
    thread does. While it is paused, the loop still checks whether the client has hung up.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parser = FrameParser()
        self._loop = asyncio.get_running_loop()
        self._reading = threading.Event()
        self._thread: threading.Thread | None = None
        self._hangup_check: asyncio.TimerHandle | None = None
        self._hung_up = False

    def start(self, on_frames: Callable[[list[Frame]], None], on_end: Callable[[], None]) -> None:
        """Begin to read: *on_frames* is called with the frames, *on_end* at the end of input."""
        self._on_frames, self._on_end = on_frames, on_end
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
            if not _poll(self._fd, "POLLIN") or (frames := self._read()) is None:
                return
            self._on_frames(frames)

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
        frames = self._read()
        if frames is None:
            self.close()
            self._on_end()
        elif frames:
            self._on_frames(frames)

    def _run(self) -> None:
        while self._reading.wait() and (frames := self._read()) is not None:
            if frames:
                call_in_loop(self._loop, self._on_frames, frames)
        call_in_loop(self._loop, self._on_end)

    def _read(self) -> list[Frame] | None:
        """Return the frames of one read, or None at the end; a broken descriptor is at its end."""
        try:
            data = os.read(self._fd, _CHUNK)
        except MemoryError:
            return []  # nothing was read yet
        except OSError:
            return None
        return list(self._parser.feed(data)) if data else None


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
    loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: Any
) -> None:
    """Make *loop* call *callback* soon, from any thread; a closed loop calls nothing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)
