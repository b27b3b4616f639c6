"""Runs a command that goes on until it is interrupted, or until the editor that started it ends."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from segue.stdio.watchdog import SIGNALS, Watchdog


def run_until_interrupted(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *work*, and cancel it on SIGINT, SIGTERM or SIGHUP, or when stdin is closed.

    Only a pipe or a socket counts as stdin: who starts a process to end with it gives it one.
    """
    watchdog = Watchdog(None)
    # One that is ignored stays so: `nohup` and the shell's `&` ask for that.
    watchdog.start([each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN])

    async def run() -> None:
        task = asyncio.ensure_future(work())
        watchdog.notify(asyncio.get_running_loop(), task.cancel)
        if _is_connected():
            threading.Thread(target=_wait_for_end, args=(watchdog,), daemon=True).start()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def _is_connected() -> bool:
    """Return whether another process has the other end of stdin."""
    if sys.stdin is None:
        return False
    mode = os.fstat(0).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _wait_for_end(watchdog: Watchdog) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 65_536):
            pass
    watchdog.request_end()
