"""Standard input and output as the SDK reads and writes them: lines, without a thread.

The SDK's own read on a thread that nothing can interrupt: a signal would wait for the next message.
"""

import asyncio

from segue.stdio.reader import ByteReader
from segue.stdio.writer import ByteWriter

_MAX_WAITING = 100
"""So many lines that were not taken yet make the client wait."""


class LineReader:
    """The lines of the standard input, as an asynchronous iterator; it ends where that ends."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._pieces: list[bytes] = []
        reader.start(self._on_data, lambda: self._lines.put_nowait(None))

    def __aiter__(self) -> "LineReader":
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
            raise StopAsyncIteration
        if self._lines.qsize() <= _MAX_WAITING:
            self._reader.resume()
        return line

    def _on_data(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for each in whole:
            line = b"".join((*self._pieces, each))
            self._pieces.clear()
            self._lines.put_nowait(line.decode(errors="replace"))
        if rest:
            self._pieces.append(rest)
        if self._lines.qsize() > _MAX_WAITING:
            self._reader.pause()


class LineWriter:
    """Writes to the standard output; a client that does not read delays only its own answers."""

    def __init__(self, writer: ByteWriter) -> None:
        self._writer = writer

    async def write(self, text: str) -> None:
        """Write *text*, when there is room for it."""
        await self._writer.wait_for_capacity()
        self._writer.write(text.encode())

    async def flush(self) -> None:
        """Do nothing: what was written is on its way."""
