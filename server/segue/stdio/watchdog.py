"""Ends the process in time: a thread that watches stdin, the signals and the editor's process.

It runs before anything is read and does not need the event loop. So whatever blocks the loop (a
network drive that does not respond, a locked database), and even if no thread and no memory is
left, the process exits within 5 seconds after its editor.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from segue.stdio.reader import call_in_loop

logger = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 4.2
"""A server exits at most this long after its end began, even if disk or client hang."""

_POLL_INTERVAL_S = 2.0
"""How often the editor's process is looked at where the system cannot report its exit. That may
already be so long ago when it is noticed, which shortens what remains of `EXIT_TIMEOUT_S`."""

_BACKSTOP_S = 0.2
"""How long after the deadline SIGALRM ends the process, if the interpreter cannot."""

_RETRY_S = 0.1
_MAX_STARVED = 40
"""After so many failed attempts to wait, `_RETRY_S` apart, there will be no memory any more."""

SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
]
_MAX_PROCESS_ID = 2**31 - 1


class Watchdog:
    """A daemon thread that exits the process when an end has begun and its time is up.

    An end begins when the client closes stdin, a signal arrives, or the editor's process exits.
    """

    def __init__(self, stdin: int | None, timeout_s: float = EXIT_TIMEOUT_S) -> None:
        """Prepare to watch *stdin*, if it is one, and the signals; `start` begins.

        The process exits at most *timeout_s* after its end began.
        """
        self._timeout_s = timeout_s
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._poll = _make_poll(self._receiver.fileno(), stdin)
        self._stdin = stdin
        self._new_pidfd: int | None = None
        self._polled_process: int | None = None
        self._parent = os.getppid()
        self._deadline: float | None = None
        self._is_end_requested = False
        self._is_loop_notified = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_end: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="segue-watchdog", daemon=True)

    def start(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        """Begin to watch. Called from the main thread."""
        self._thread.start()
        # The interpreter writes to this socket within the signal handler of C: that works while the
        # main thread is in a system call. `loop.add_signal_handler` needs the loop.
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in signals:
            # Run on the main thread, between two instructions or within a regular expression.
            signal.signal(number, lambda *_: self.request_end())
        if hasattr(signal, "SIGALRM"):
            # Signals that the editor ignores or blocks are inherited.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [*signals, signal.SIGALRM])

    def notify(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[], object]) -> None:
        """Make *loop* call *on_end* once, when a signal arrives or the editor's process exits."""
        self._on_end = on_end
        self._loop = loop
        self._wake()

    def watch_process(self, process_id: int) -> None:
        """End when the process has exited, at once or within `_POLL_INTERVAL_S`.

        A process that cannot be seen, such as one outside of this container, has not exited: then
        the server ends with its stdin.
        """
        if not 0 < process_id <= _MAX_PROCESS_ID:
            logger.info("processId is no process: only the end of stdin ends this server")
            return
        try:
            self._new_pidfd = os.pidfd_open(process_id)  # type: ignore[attr-defined, unused-ignore]  # Linux only
        except (AttributeError, OSError):
            if not is_running(process_id):
                logger.info(
                    "The editor, process %d, cannot be seen from here: "
                    "only the end of stdin ends this server",
                    process_id,
                )
                return
            self._polled_process = process_id
        self._wake()

    def begin_end(self, timeout_s: float | None = None) -> float:
        """Make the process exit *timeout_s* from now at the latest; return that monotonic time.

        Where an end has begun already, that one's time holds.
        """
        if self._deadline is None:
            timeout_s = self._timeout_s if timeout_s is None else timeout_s
            self._deadline = time.monotonic() + timeout_s
            if hasattr(signal, "setitimer"):
                # The system's: it needs neither a thread nor the interpreter lock.
                signal.setitimer(signal.ITIMER_REAL, timeout_s + _BACKSTOP_S)
            self._wake()
        return self._deadline

    def request_end(self, timeout_s: float | None = None) -> None:
        """Begin an end: make the loop call what `notify` was given. For any thread."""
        self._is_end_requested = True
        self.begin_end(timeout_s)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the thread is about to wake up
            self._sender.send(b"\0")

    # -- on the watchdog's thread ----------------------------------------------------------------

    def _run(self) -> None:
        starved = 0
        try:
            while starved < _MAX_STARVED:
                try:
                    self._step()
                    starved = 0
                except (MemoryError, OSError):
                    # Waiting allocates only to return what has happened: something has.
                    starved += 1
                    time.sleep(_RETRY_S)
        finally:
            # A server that nothing watches could outlive its editor.
            os._exit(1)

    def _step(self) -> None:
        """Wait until something happens, and react."""
        for fd, event in self._wait():
            if fd == self._receiver.fileno():
                self._read_wakeups()
                continue
            self._forget(fd)
            if fd != self._stdin:
                self.request_end()
            elif event != _UNSUPPORTED:
                # The loop reads what is left, and then sees the end itself.
                self.begin_end()
        if self._polled_process is not None and self._has_exited(self._polled_process):
            self._polled_process = None
            self.request_end(self._timeout_s - _POLL_INTERVAL_S)
        if self._is_end_requested and self._loop is not None and not self._is_loop_notified:
            call_in_loop(self._loop, self._on_end)
            self._is_loop_notified = True
        if self._deadline is not None and time.monotonic() >= self._deadline:
            os._exit(1)

    def _wait(self) -> list[tuple[int, int]]:
        """Return the descriptors on which something has happened, and what."""
        timeout_s = None if self._polled_process is None else _POLL_INTERVAL_S
        if self._deadline is not None:
            timeout_s = max(self._deadline - time.monotonic(), 0)
        if self._poll is None:
            ready, _, _ = select.select([self._receiver], [], [], timeout_s)
            return [(each.fileno(), 0) for each in ready]
        ready = self._poll.poll(None if timeout_s is None else timeout_s * _TICKS_PER_S)
        return list(ready)

    def _read_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            received = self._receiver.recv(4_096)
            # The handlers run on the main thread, which may be blocked: the bytes arrive anyway.
            if any(number in received for number in SIGNALS):
                self.request_end()
        pidfd, self._new_pidfd = self._new_pidfd, None
        if pidfd is not None and self._poll is not None:
            self._poll.register(pidfd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        if self._poll is not None:
            self._poll.unregister(fd)
        if fd != self._stdin:
            os.close(fd)

    def _has_exited(self, process_id: int) -> bool:
        # If the editor started this process itself, a new parent means that it has exited.
        is_orphan = process_id == self._parent and os.getppid() != self._parent
        return is_orphan or not is_running(process_id)


_UNSUPPORTED = getattr(select, "POLLNVAL", None)
"""What poll() returns for a descriptor that it cannot wait for, such as a terminal on macOS."""

# poll() refuses to wait if the limit of descriptors is below their number; epoll does not.
_Poll = getattr(select, "epoll", getattr(select, "poll", None))
_TICKS_PER_S = 1 if hasattr(select, "epoll") else 1_000


def _make_poll(receiver: int, stdin: int | None) -> Any:
    """Return what waits for both; None on Windows, where it cannot wait for a pipe."""
    if _Poll is None:
        return None
    waiting = _Poll()
    waiting.register(receiver, select.POLLIN)
    if stdin is None:
        return waiting
    with contextlib.suppress(OSError):  # epoll refuses a file, which nobody can close
        # A closed other end is always reported; of half of a socket, only on request.
        waiting.register(stdin, getattr(select, "POLLRDHUP", 0))
    return waiting


def is_running(process_id: int) -> bool:
    """Return whether a process exists and has not exited; True if that cannot be determined."""
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
    return not _is_zombie(process_id)


def _is_zombie(process_id: int) -> bool:
    # A process that has exited exists until its parent has waited for it. Only Linux tells.
    try:
        with open(f"/proc/{process_id}/stat", "rb") as status:
            return status.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (OSError, IndexError):
        return False
