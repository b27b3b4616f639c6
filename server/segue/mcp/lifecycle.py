"""Serves one client on standard input and output until it goes away, or a signal arrives."""

import asyncio
from typing import Any, cast

from mcp.server.stdio import stdio_server

from segue.mcp.lines import LineReader, LineWriter
from segue.mcp.server import SegueTools, make_server
from segue.stdio.reader import ByteReader
from segue.stdio.watchdog import Watchdog
from segue.stdio.writer import ByteWriter

_FLUSH_S = 0.5


async def serve(tools: SegueTools, stdin: int, stdout: int, watchdog: Watchdog) -> None:
    """Serve the protocol on two descriptors."""
    reader, writer = ByteReader(stdin), ByteWriter(stdout)
    session = asyncio.ensure_future(_session(tools, reader, writer))

    def end() -> None:
        session.cancel()

    writer.start(on_broken=end, on_drained=lambda: None)
    watchdog.notify(asyncio.get_running_loop(), end)
    await asyncio.wait({session})
    watchdog.begin_end()
    reader.close()
    await tools.close()
    await asyncio.to_thread(writer.close, _FLUSH_S)
    if not session.cancelled():
        session.result()


async def _session(tools: SegueTools, reader: ByteReader, writer: ByteWriter) -> None:
    server = make_server(tools)
    # Of a file the SDK only uses what these two have.
    lines_in, lines_out = cast(Any, LineReader(reader)), cast(Any, LineWriter(writer))
    async with stdio_server(lines_in, lines_out) as (received, sent):
        await server.run(received, sent, server.create_initialization_options())
