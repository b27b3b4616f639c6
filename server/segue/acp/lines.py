"""Bytes to lines and back: each direction of ACP is one JSON-RPC message a line."""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterator

import attrs

MAX_LINE = 32 * 1024 * 1024
"""The longest line that is looked at, in bytes. Of a longer one all bytes go on, unseen."""


@attrs.frozen
class Line:
    """A line with its line break, or, if it is too long or the last one, a piece of one."""

    data: bytes
    is_whole: bool = True


class LineSplitter:
    """Cuts a stream of bytes into lines; the lines joined are the stream."""

    def __init__(self, longest: int = MAX_LINE) -> None:
        self._longest = longest
        self._pending: list[bytes] = []
        self._is_overlong = False
        self.pending_bytes = 0
        """How many bytes of a line without its end there are."""

    def feed(self, data: bytes) -> Iterator[Line]:
        """Take in *data* and yield the lines that it completes."""
        begin = 0
        while (end := data.find(b"\n", begin) + 1) > 0:
            self._add(data[begin:end])
            is_whole = not self._is_overlong and self.pending_bytes <= self._longest
            yield Line(self.take_rest(), is_whole)
            self._is_overlong = False
            begin = end
        if begin < len(data):
            self._add(data[begin:])
        if self.pending_bytes > self._longest:
            self._is_overlong = True
            yield Line(self.take_rest(), is_whole=False)

    def take_rest(self) -> bytes:
        """Return what was fed of a line without its end, and forget it."""
        rest = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending, self.pending_bytes = [], 0
        return rest

    @property
    def rest(self) -> bytes:
        """What was fed of a line without its end."""
        return b"".join(self._pending)

    def _add(self, data: bytes) -> None:
        self._pending.append(data)
        self.pending_bytes += len(data)


class Lane:
    """Handles the lines of one direction strictly in order.

    One that takes time holds back those behind it.
    """

    def __init__(
        self, handle: Callable[[Line], Awaitable[None] | None], on_drained: Callable[[], None]
    ) -> None:
        """*handle* does what a line needs at once, or returns what is to be awaited.

        *on_drained* is called when no line waits any more.
        """
        self._handle = handle
        self._on_drained = on_drained
        self._lines: collections.deque[Line] = collections.deque()
        self._task: asyncio.Task[None] | None = None
        self.waiting_bytes = 0

    @property
    def is_busy(self) -> bool:
        """Whether lines wait here."""
        return self._task is not None

    def add(self, line: Line) -> None:
        """Handle *line*, behind those that wait."""
        if self._task is None:
            if (rest := self._handle(line)) is not None:
                self._task = asyncio.ensure_future(self._drain(rest))
        else:
            self._lines.append(line)
            self.waiting_bytes += len(line.data)

    async def drained(self) -> None:
        """Wait until no line waits."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self, rest: Awaitable[None] | None) -> None:
        while True:
            if rest is not None:
                await rest
            if not self._lines:
                break
            line = self._lines.popleft()
            self.waiting_bytes -= len(line.data)
            rest = self._handle(line)
        self._task = None
        self._on_drained()


class LineWriter:
    """Writes the lines that go on, and between two of them, lines of our own."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._is_within = False
        self._inserted: list[bytes] = []

    def forward(self, data: bytes) -> None:
        """Write bytes as they came."""
        if not data:
            return
        if self._inserted and (end := data.rfind(b"\n") + 1):
            self._write(data[:end])
            self._is_within = False
            self.insert(*self._inserted)
            self._inserted = []
            data = data[end:]
        if data:
            self._write(data)
            self._is_within = not data.endswith(b"\n")

    def insert(self, *lines: bytes) -> None:
        """Write lines: now, or behind the line whose beginning was written."""
        if self._is_within:
            self._inserted += lines
        else:
            for line in lines:
                self._write(line)
