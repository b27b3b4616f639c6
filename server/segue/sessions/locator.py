"""WorkspaceLocator: looks at folders on threads, because a mount can hang for ever.

What hangs in the file system cannot be cancelled. So the request gets its answer without it, and
the thread is left behind: a daemon, for which the end of the process does not wait. Threads of
`asyncio.to_thread` would be waited for.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import attrs

from segue.model.workspace import InvalidWorkspaceError, Touch, shown

TIMEOUT_S = 2.0
"""How long a folder may take to answer."""

MAX_STUCK = 4
"""How many threads may wait for folders that do not answer; one more looks at the others."""

_SLOW_S = 0.02
"""After this long in one system call, a thread is no longer waited for by the other look-ups."""

T = TypeVar("T")

Look = Callable[[Touch], T]
"""Finds something out, such as a workspace; it calls what it is given with each path that it is
about to look at.
"""


@attrs.define(eq=False)
class _Job:
    look: Look[Any]
    folder: str
    future: "asyncio.Future[Any]"
    timer: asyncio.TimerHandle = attrs.field(init=False)
    has_expired: bool = False


class _BehindStuckError(Exception):
    """The look-up needs a mount that another thread waits for."""

    def __init__(self, worker: "_Worker") -> None:
        super().__init__()
        self.worker = worker


class WorkspaceLocator:
    """Runs look-ups, most of them of workspaces, on daemon threads, each for at most `timeout_s`.

    One thread does all of them, as long as none is slow. A mount that hangs takes up one thread;
    while it does, other look-ups on that mount wait for it, and later ones fail immediately.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.workers: list[_Worker] = []
        self._timeout_s = timeout_s
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Worker] = []
        self._retry: asyncio.TimerHandle | None = None

    def find(self, look: Look[T], folder: str) -> "asyncio.Future[T]":
        """Start *look* and return its future result; *folder* is named in messages.

        The future raises what *look* raises, or InvalidWorkspaceError if the file system does not
        answer in time. It need not be awaited.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # asyncio logs an exception that nobody asks for, with its traceback.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        job = _Job(look, folder, future)
        job.timer = loop.call_later(self._timeout_s, self._expire, job)
        if sum(worker.is_stuck for worker in self.workers) > MAX_STUCK:
            self._expire(job)
        else:
            self._waiting.append(job)
            self._dispatch()
        return future

    def _expire(self, job: _Job) -> None:
        job.has_expired = True
        job.timer.cancel()
        if not job.future.done():
            fault = (
                f"the folder {shown(job.folder)} does not answer, so its disk or mount may hang; "
                "try again, or open another folder"
            )
            job.future.set_exception(InvalidWorkspaceError(fault))

    def _dispatch(self) -> None:
        while self._waiting:
            if self._waiting[0].future.done():
                self._waiting.popleft()
            elif self._idle or self._add_worker():
                worker = self._idle.pop()
                worker.job = self._waiting.popleft()
                worker.inbox.put(worker.job)
            else:
                break

    def _dispatch_again(self) -> None:
        self._retry = None
        self._dispatch()

    def _add_worker(self) -> bool:
        """Start another thread if the others are slow; return whether one is idle now."""
        if len(self.workers) > MAX_STUCK:
            return False
        if self.workers and not all(worker.is_slow() for worker in self.workers):
            if self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(_SLOW_S, self._dispatch_again)
            return False
        worker = _Worker(self, asyncio.get_running_loop())
        try:
            threading.Thread(target=worker.run, name="segue-locator", daemon=True).start()
        except RuntimeError:  # the system allows no more threads: the look-up expires
            return False
        self.workers.append(worker)
        self._idle.append(worker)
        return True

    def finish(self, worker: "_Worker", result: Any) -> None:
        """Handle the end of a worker's look-up; called on the loop."""
        job, parked = worker.job, worker.parked
        worker.job, worker.parked = None, []
        if isinstance(result, _BehindStuckError) and job is not None:
            if result.worker.is_stuck:
                self._expire(job)
            elif result.worker.job is not None:
                result.worker.parked.append(job)
            else:
                self._waiting.appendleft(job)
        elif job is not None:
            job.timer.cancel()
            if job.future.done():
                pass
            elif isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        self._waiting.extend(parked)
        if self._idle:
            self.workers.remove(worker)
            worker.inbox.put(None)
        else:
            self._idle.append(worker)
        self._dispatch()


class _Worker:
    """A thread that runs one look-up at a time, and where in the file system it is."""

    def __init__(self, locator: WorkspaceLocator, loop: asyncio.AbstractEventLoop) -> None:
        self.inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self.job: _Job | None = None
        self.parked: list[_Job] = []
        """Look-ups on the mount that this thread waits for."""
        self._locator = locator
        self._loop = loop
        self._path: str | None = None
        self._since: float | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether its look-up has been answered without it."""
        return self.job is not None and self.job.has_expired

    def is_slow(self) -> bool:
        """Return whether it has been in one system call for long."""
        return self._since is not None and time.monotonic() - self._since > _SLOW_S

    def run(self) -> None:
        """Run look-ups until there is None in the inbox, or the loop is closed."""
        while (job := self.inbox.get()) is not None:
            result: Any
            self._since = time.monotonic()
            try:
                result = job.look(self._touch)
            except Exception as error:  # raised again where the result is awaited
                result = error
            self._path = self._since = None
            del job
            try:
                self._loop.call_soon_threadsafe(self._locator.finish, self, result)
            except RuntimeError:  # the server has ended meanwhile
                return

    def _touch(self, path: str) -> None:
        for other in tuple(self._locator.workers):
            if other is not self and other.waits_for_mount_of(path):
                raise _BehindStuckError(other)
        self._path, self._since = path, time.monotonic()

    def waits_for_mount_of(self, path: str) -> bool:
        """Return whether it has been in one system call on the mount of *path* for long."""
        stuck_at = self._path
        if stuck_at is None or not self.is_slow():
            return False
        mount = _mount_point(stuck_at)
        return path == mount or path.startswith(f"{mount}{os.sep}")


def _mount_point(path: str) -> str:
    """Return where the file system of *path* is mounted, without asking that file system.

    Where that is not known, or it is the root, return *path*: other folders may answer.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            mounts = [line.split(b" ")[4] for line in file]
    except (OSError, IndexError):
        return path
    decoded = (os.fsdecode(mount.decode("unicode_escape").encode("latin-1")) for mount in mounts)
    return max(
        (each for each in decoded if f"{path}/".startswith(f"{each}/")), key=len, default=path
    )
