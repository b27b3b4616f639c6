"""Starts and ends a server: it ends with its editor, and stores what it had accepted before.

pygls cancels the requests in flight at the end of stdin, runs nothing on SIGTERM, and never checks
whether its editor still runs.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from segue.lsp.framing.reader import FrameReader
from segue.lsp.framing.writer import FrameWriter
from segue.lsp.transport import SessionProtocol
from segue.sessions.window import Window

logger = logging.getLogger(__name__)

_EXIT_TIMEOUT_S = 4.5
"""The process exits at most this long after its shutdown began, even if disk or client hang."""

_READ_TIMEOUT_S = 1.5
"""How long a client may take to read the responses that are due."""

_DRAIN_TIMEOUT_S = 3.5
_FLUSH_TIMEOUT_S = 0.5
_POLL_INTERVAL_S = 3.0
_SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


async def serve(
    protocol: SessionProtocol, window: Window, reader: FrameReader, writer: FrameWriter
) -> int:
    """Serve the client until the end; return the exit code.

    It ends when stdin or stdout is closed, on `exit`, on SIGTERM, SIGHUP or SIGINT, or when the
    editor's process exits. Everything that the client had written by then is stored.
    """
    _on_signals(protocol.shut_down)
    protocol.start()
    await protocol.stopped.wait()
    reader.close()
    _exit_after(_EXIT_TIMEOUT_S)
    drained = await protocol.drain(_READ_TIMEOUT_S)
    # A client that has not read by now never will, but the appends that it sent were accepted.
    protocol.start_discarding()
    drained = drained or await protocol.drain(_DRAIN_TIMEOUT_S - _READ_TIMEOUT_S)
    await window.close()
    writer.close(_FLUSH_TIMEOUT_S)
    return protocol.exit_code if drained else 1


def claim_stdio() -> tuple[int, int]:
    """Return stdin and stdout for the protocol alone: anything that is printed goes to stderr."""
    stdin, stdout = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(stdin, os.O_BINARY)
        msvcrt.setmode(stdout, os.O_BINARY)
    return stdin, stdout


def watch_process(process_id: int, on_exit: Callable[[], None]) -> None:
    """Call *on_exit* once, from the running loop, when the process has exited.

    At once where the system has `pidfd_open` (Linux), elsewhere within `_POLL_INTERVAL_S`.
    """
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(process_id)  # type: ignore[attr-defined, unused-ignore]  # Linux only
    except ProcessLookupError:
        logger.warning("The editor, process %d, has exited", process_id)
        loop.call_soon(on_exit)
    except (AttributeError, OSError, OverflowError):
        _polling_tasks.add(loop.create_task(_poll(process_id, on_exit)))
    else:

        def on_readable() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            on_exit()

        loop.add_reader(pidfd, on_readable)


_polling_tasks: set[asyncio.Task[None]] = set()
"""Keeps a reference to each: the loop has none, and a task without one may be collected."""


async def _poll(process_id: int, on_exit: Callable[[], None]) -> None:
    # A new parent means that the process that started this one has exited.
    parent = os.getppid()
    while is_running(process_id) and os.getppid() == parent:  # noqa: ASYNC110  there is no event
        await asyncio.sleep(_POLL_INTERVAL_S)
    on_exit()


def is_running(process_id: int) -> bool:
    """Return whether a process exists; True if that cannot be determined."""
    if sys.platform == "win32":
        import ctypes

        synchronize, wait_timeout = 0x100000, 0x102
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(synchronize, False, process_id)
        if not handle:
            access_denied = 5  # the process exists and belongs to another user
            return bool(kernel.GetLastError() == access_denied)
        running = kernel.WaitForSingleObject(handle, 0) == wait_timeout
        kernel.CloseHandle(handle)
        return bool(running)
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _on_signals(on_signal: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def handle(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is exiting
            loop.call_soon_threadsafe(on_signal)

    # `loop.add_signal_handler` would be undone when the loop closes: a second signal after that
    # would kill the process, with another exit code.
    for name in _SIGNALS:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, handle)


def _exit_after(seconds: float) -> None:
    # The thread of a database connection is not a daemon: the interpreter would wait for it while
    # it waits for a lock.
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
