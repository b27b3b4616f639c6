"""A wire that fails: between a service and its server, on a socket of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import attrs

from tests.store.postgres_server import DATABASE, PostgresServer

_SOCKET = ".s.PGSQL.5432"


@attrs.define
class Proxy:
    """What the wire does from now on, and what it has seen."""

    folder: Path
    is_silent: bool = False
    """Nothing passes any more, in either direction; connections stay."""
    answers_lost: int = 0
    """How many of the next answers are lost, with their connections."""
    requests: int = 0
    """How many times the client has sent something."""
    connections: int = 0
    is_refusing: bool = False

    def url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={quote(str(self.folder))}"


@contextlib.asynccontextmanager
async def proxy(server: PostgresServer, folder: Path) -> AsyncIterator[Proxy]:
    """Yield a wire to *server* whose socket is in *folder*."""
    wire = Proxy(folder)
    tasks: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        if wire.is_refusing:
            writer.close()
            return
        to_server = await asyncio.open_unix_connection(str(server.folder / _SOCKET))
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(
                _forward(wire, reader, to_server[1]),
                _answer(wire, to_server[0], (writer, to_server[1])),
            )
        for each in (writer, to_server[1]):
            each.close()

    listener = await asyncio.start_unix_server(connect, str(folder / _SOCKET))
    try:
        yield wire
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(wire: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        wire.requests += 1
        if not wire.is_silent:
            writer.write(data)
    writer.close()


async def _answer(
    wire: Proxy, reader: asyncio.StreamReader, writers: tuple[asyncio.StreamWriter, ...]
) -> None:
    while data := await reader.read(1 << 16):
        if wire.answers_lost:
            wire.answers_lost -= 1
            break
        if not wire.is_silent:
            writers[0].write(data)
    for writer in writers:
        writer.close()
