"""The start and the end of a server: it never outlives its editor, and loses nothing when it goes.

pygls cancels what is in flight at the end of stdin, runs nothing on SIGTERM, and never looks
whether its editor is still there.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from segue.lsp.framing import FrameReader, FrameWriter
from segue.lsp.transport import SessionProtocol
from segue.window import Window

logger = logging.getLogger(__name__)

LAST_MOMENT_S = 4.5
"""However stuck the disk or the client is, the process is gone this long after its end began."""

_PATIENCE_S = 1.5
_DRAIN_S = 3.5
_FLUSH_S = 0.5
_POLL_S = 3.0
_SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


async def serve(protocol: SessionProtocol, window: Window, stdin: int, stdout: int) -> int:
    """Serve the client on two file descriptors until the end; return the exit code.

    The end is that of stdin or stdout, `exit`, SIGTERM, SIGHUP or SIGINT, or the editor's process
    gone. All that the client had said by then is stored.
    """

    def leave() -> None:
        # An editor that quits closes all pipes at once: what it said last is still in ours.
        reader.read_out()
        protocol.stop()

    reader = FrameReader(stdin, protocol.receive, protocol.stop)
    writer = FrameWriter(stdout, leave, protocol.pace)
    window.ready = protocol.room
    protocol.on_client = lambda process_id: watch_process(process_id, leave)
    _on_signals(leave)
    protocol.connect(reader, writer)
    await protocol.stopped.wait()
    reader.close()
    _arm(LAST_MOMENT_S)
    drained = await protocol.drain(_PATIENCE_S)
    # Whoever has not caught up by now is gone, but what they asked to be stored was accepted.
    writer.give_up()
    drained = drained or await protocol.drain(_DRAIN_S - _PATIENCE_S)
    await window.close()
    writer.close(_FLUSH_S)
    return protocol.exit_code if drained else 1


def claim_stdio() -> tuple[int, int]:
    """Return stdin and stdout for the protocol alone: a stray print lands on stderr."""
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


def watch_process(process_id: int, on_gone: Callable[[], None]) -> None:
    """Call *on_gone* when the process is no more; soon on Linux, elsewhere within seconds."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process_id)  # type: ignore[attr-defined, unused-ignore]
    except ProcessLookupError:
        logger.warning("The editor, process %d, is gone", process_id)
        loop.call_soon(on_gone)
    except (AttributeError, OSError, OverflowError):
        task = loop.create_task(_poll(process_id, on_gone))
        _watchers.add(task)
    else:

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            on_gone()

        loop.add_reader(descriptor, gone)


_watchers: set[asyncio.Task[None]] = set()


async def _poll(process_id: int, on_gone: Callable[[], None]) -> None:
    parent = os.getppid()
    while is_running(process_id) and os.getppid() == parent:  # noqa: ASYNC110  nobody tells us
        await asyncio.sleep(_POLL_S)
    on_gone()


def is_running(process_id: int) -> bool:
    """Tell whether a process exists. In doubt it does."""
    if sys.platform == "win32":
        import ctypes

        synchronize, wait_timeout = 0x100000, 0x102
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(synchronize, False, process_id)
        if not handle:
            return bool(kernel.GetLastError() == 5)  # access denied: somebody else's, so it is
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
        with contextlib.suppress(RuntimeError):  # the loop is closed: the end is near already
            loop.call_soon_threadsafe(on_signal)

    # Not the loop's own handlers: it takes them away when it closes, and a second signal just then
    # would end us with the code of a killed process.
    for name in _SIGNALS:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, handle)


def _arm(seconds: float) -> None:
    # The thread of a database connection is no daemon: one that waits for a lock keeps us here.
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
