"""Look-ups of workspaces on threads: their limit, their number, and what a hang costs others.

Folders that hang are played by events here; `tests/faults/stalled_mount.py` has real ones.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from segue.model.workspace import InvalidWorkspaceError, Touch, Workspace
from segue.sessions import locator as locator_module
from segue.sessions.locator import MAX_STUCK, WorkspaceLocator
from tests.factories import workspace_at

LIMIT_S = 0.3


class Disk:
    """Folders that answer when `wake` is called, each a mount of its own."""

    def __init__(self) -> None:
        self._awake = threading.Event()
        self.looked: list[str] = []

    def look(self, path: str, *, hangs: bool = True) -> Callable[[Touch], Workspace]:
        def find(touch: Touch) -> Workspace:
            touch(path)
            self.looked.append(path)
            if hangs:
                self._awake.wait(20)
            return workspace_at(path)

        return find

    def wake(self) -> None:
        self._awake.set()


@pytest.fixture
async def disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    monkeypatch.setattr(locator_module, "_mount_point", lambda path: path)
    disk = Disk()
    yield disk
    disk.wake()


@pytest.fixture
def locator() -> WorkspaceLocator:
    return WorkspaceLocator(LIMIT_S)


async def refused(future: "asyncio.Future[Workspace]") -> float:
    """Wait until a look-up is refused; return how long that took."""
    began = time.monotonic()
    with pytest.raises(InvalidWorkspaceError, match="does not answer"):
        await future
    return time.monotonic() - began


async def settled(locator: WorkspaceLocator) -> None:
    """Wait until no thread of *locator* runs a look-up."""
    while any(worker.job for worker in locator.workers):  # noqa: ASYNC110  there is no event
        await asyncio.sleep(0.005)


async def test_one_thread_does_all_look_ups_that_are_not_slow(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    paths = [f"/{number}" for number in range(50)]
    found = await asyncio.gather(
        *(locator.find(disk.look(path, hangs=False), path) for path in paths)
    )
    assert [each.directory for each in found] == disk.looked == paths
    assert len(locator.workers) == 1


async def test_what_a_look_up_raises_is_raised(locator: WorkspaceLocator) -> None:
    def fail(touch: Touch) -> Workspace:
        raise InvalidWorkspaceError("is a file")

    with pytest.raises(InvalidWorkspaceError, match="is a file"):
        await locator.find(fail, "/file")


async def test_a_folder_that_hangs_delays_only_its_own_look_up(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    hung = locator.find(disk.look("/hung"), "/hung")
    began = time.monotonic()
    assert (await locator.find(disk.look("/fine", hangs=False), "/fine")).directory == "/fine"
    assert time.monotonic() - began < LIMIT_S / 2
    with pytest.raises(InvalidWorkspaceError, match="folder /hung does not answer"):
        await hung
    assert time.monotonic() - began < 2 * LIMIT_S


async def test_a_folder_that_is_known_to_hang_is_refused_immediately(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    await refused(locator.find(disk.look("/hung"), "/hung"))
    assert await refused(locator.find(disk.look("/hung/below"), "/hung/below")) < LIMIT_S / 2
    assert disk.looked == ["/hung"]
    await locator.find(disk.look("/hungry", hangs=False), "/hungry")


async def test_a_folder_that_answers_again_is_looked_at_again(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    await refused(locator.find(disk.look("/hung"), "/hung"))
    disk.wake()
    await settled(locator)
    assert (await locator.find(disk.look("/hung"), "/hung")).directory == "/hung"
    assert len(locator.workers) == 1


async def test_look_ups_on_a_mount_that_is_slow_wait_for_it_on_one_thread(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    first = locator.find(disk.look("/slow"), "/slow")
    others = [locator.find(disk.look(f"/slow/{n}", hangs=False), "/slow") for n in range(20)]
    await asyncio.sleep(LIMIT_S / 3)
    assert disk.looked == ["/slow"]
    assert len(locator.workers) <= 2
    disk.wake()
    found = await asyncio.gather(first, *others)
    assert len(found) == 21


async def test_at_most_five_threads_wait_and_then_all_is_refused_immediately(
    locator: WorkspaceLocator, disk: Disk
) -> None:
    many = [locator.find(disk.look(f"/{number}"), f"/{number}") for number in range(12)]
    for each in many:
        await refused(each)
    assert len(locator.workers) == MAX_STUCK + 1
    assert await refused(locator.find(disk.look("/more"), "/more")) < LIMIT_S / 2
    disk.wake()
    await settled(locator)
    await locator.find(disk.look("/more"), "/more")
    assert len(locator.workers) == 1


async def test_a_look_up_that_nobody_awaits_is_not_logged(
    locator: WorkspaceLocator, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    del disk  # only for its mount points
    locator.find(lambda touch: (_ for _ in ()).throw(InvalidWorkspaceError("x")), "/x")
    await asyncio.sleep(0)
    await settled(locator)
    assert caplog.records == []


def test_the_end_of_the_process_does_not_wait_for_a_folder() -> None:
    program = """
import asyncio, time
from segue.sessions.locator import WorkspaceLocator
async def main():
    future = WorkspaceLocator(0.1).find(lambda touch: time.sleep(60), "/hung")
    await asyncio.wait([future])
asyncio.run(main())
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
    assert time.monotonic() - began < 20
