"""Bytes to frames: LSP's base protocol in any legal spelling.

pygls' own loop reads one spelling of the header, loses the frame after a malformed one, and takes
three thread hops for each message.
"""

import enum
import re
from collections.abc import Callable, Iterator

import attrs

from segue.stdio.reader import ByteReader

MAX_FRAME = 64 * 1024 * 1024
"""The longest body that is read, in bytes. A longer one is refused and skipped."""

_MAX_HEADER = 16 * 1024
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
    """Reads a file descriptor and hands its frames to the event loop, as `ByteReader` its bytes."""

    def __init__(self, fd: int) -> None:
        self._bytes = ByteReader(fd)
        self._parser = FrameParser()
        self.pause = self._bytes.pause
        self.resume = self._bytes.resume
        self.close = self._bytes.close
        self.drain = self._bytes.drain

    def start(self, on_frames: Callable[[list[Frame]], None], on_end: Callable[[], None]) -> None:
        """Begin to read: *on_frames* is called with the frames, *on_end* at the end of input."""

        def on_data(data: bytes) -> None:
            if frames := list(self._parser.feed(data)):
                on_frames(frames)

        self._bytes.start(on_data, on_end)
