"""Starts and ends a server: it ends with its editor, and stores what it had accepted before.

pygls cancels the requests in flight at the end of stdin, runs nothing on SIGTERM, and never checks
whether its editor still runs.
"""

import asyncio
import logging
import time
from typing import Any

from segue.lsp.framing.reader import FrameReader
from segue.lsp.framing.writer import FrameWriter
from segue.lsp.transport import SessionProtocol
from segue.sessions.window import Window
from segue.stdio.watchdog import Watchdog

logger = logging.getLogger(__name__)

# What is reserved of the time until the watchdog ends the process:
_AFTER_READING_S = 3.0
"""A client that has not read the responses that are due by then never will."""

_AFTER_DRAIN_S = 1.0
_FLUSH_TIMEOUT_S = 0.5


async def serve(
    protocol: SessionProtocol,
    window: Window,
    reader: FrameReader,
    writer: FrameWriter,
    watchdog: Watchdog,
) -> int:
    """Serve the client until the end; return the exit code.

    It ends when stdin or stdout is closed, on `exit`, on SIGTERM, SIGHUP or SIGINT, or when the
    editor's process exits. Everything that the client had written by then is stored.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_exception)
    protocol.start()
    watchdog.notify(loop, protocol.shut_down)
    await protocol.stopped.wait()
    deadline = watchdog.begin_end()
    reader.close()
    drained = await protocol.drain(_until(deadline - _AFTER_READING_S))
    # A client that has not read by now never will, but the appends that it sent were accepted.
    protocol.start_discarding()
    drained = drained or await protocol.drain(_until(deadline - _AFTER_DRAIN_S))
    await window.close()
    writer.close(_FLUSH_TIMEOUT_S)
    return protocol.exit_code if drained else 1


def _until(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.0)


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # asyncio's own handler logs a traceback, which may hold conversation text.
    error = context.get("exception")
    logger.error("The event loop: %s: %s", context.get("message"), type(error).__name__)
