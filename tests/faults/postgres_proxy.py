"""A proxy on a socket in front of a PostgreSQL server, which loses answers or falls silent."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

SOCKET = ".s.PGSQL.5432"

Cut = Literal["at once", "before the answer", "within the answer"]
CUTS: tuple[Cut, ...] = ("at once", "before the answer", "within the answer")

_PART_BYTES = 5
"""Of an answer that is lost in part: its first message is longer."""


class Proxy:
    """Copies what clients and the server say, until it is told to do otherwise.

    A call is all that a client says between two answers. `calls` counts them.
    """

    def __init__(self, server: Path, *, lost: float = 0.0, seed: int = 0) -> None:
        self.calls = 0
        self.lost: dict[Cut, int] = dict.fromkeys(CUTS, 0)
        self.speaks = asyncio.Event()
        """Nothing is forwarded while this is clear."""
        self.speaks.set()
        self._server = server / SOCKET
        self._lost = lost
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listen(self, folder: Path) -> AsyncIterator["Proxy"]:
        """Accept clients in *folder*, which a URL names as its host."""
        server = await asyncio.start_unix_server(self._accept, folder / SOCKET)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, calls = await asyncio.open_unix_connection(self._server)
        try:
            # What is said first, until the server is ready, is no call.
            await self._copy(reader, calls)
            while not (said := await self._copy(answers, writer)).endswith(b"Z\0\0\0\5I"):
                if not said:
                    return
            while await self._call(reader, calls, answers, writer):
                pass
        finally:
            for each in (writer, calls):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _call(
        self,
        reader: asyncio.StreamReader,
        calls: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Copy one call and its answer; return whether the connection goes on."""
        cut = self._rng.choice(CUTS) if self._rng.random() < self._lost else None
        # A call ends with the message Sync, a connection with Terminate.
        while not (said := await self._copy(reader, calls)).endswith(b"S\0\0\0\4"):
            if not said or said.endswith(b"X\0\0\0\4"):
                return False
        self.calls += 1
        if cut is not None:
            self.lost[cut] += 1
            if cut != "at once":
                answer = await answers.read(1 << 16)
                writer.write(answer[:_PART_BYTES] if cut == "within the answer" else b"")
                with contextlib.suppress(OSError):
                    await writer.drain()
            return False
        while not (said := await self._copy(answers, writer)).endswith(b"Z\0\0\0\5I"):
            if not said:
                return False
        return True

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> bytes:
        """Copy what is said next, and return it; nothing at the end."""
        try:
            said = await source.read(1 << 20)
            await self.speaks.wait()
            target.write(said)
            await target.drain()
        except OSError:
            return b""
        return said
