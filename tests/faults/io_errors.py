"""Fail the first operation of the disk, then the second, and so on, until a run meets no error.

Once for an error that comes a single time, once for one that stays, once for a disk that is full.
A run opens a store that was killed, appends, reads, deletes, closes and opens it again. When the
disk is well again, the same process goes on, and everything is there.
"""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from segue.model.errors import StorageError
from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, INVOCATION, contents
from tests.faults import ledger
from tests.faults.fault_vfs import FULL, IO_ERRORS, OK, Disk, Operation
from tests.faults.ledger import Batch, Ledger
from tests.faults.runner import Report, main
from tests.faults.sandbox import make_folder

T = TypeVar("T")
KEPT, DOOMED = "kept", "doomed"
PAIRS = 5_000
"""How many runs of the long size have two errors, anywhere."""

UNTYPED = "an error of the disk has another type than it should have"
ASIDE = "an error of the disk sets the database aside"
STUCK = "the store does not go on when the disk is well again"
MISREAD = "a read that succeeds has another result than what was acknowledged"


@attrs.define
class Trouble:
    """Which operations of a run fail, by their number, and how."""

    kind: str
    """What the service shall raise."""

    at: frozenset[int] = frozenset()
    since: int | None = None
    seen: int = 0
    met: int = 0

    def hear(self, operation: Operation) -> int:
        """Count the operation, and return its error if it is one of those that fail."""
        if self.kind == "StorageFull" and operation.name != "write":
            return OK
        number, self.seen = self.seen, self.seen + 1
        if number not in self.at and (self.since is None or number < self.since):
            return OK
        self.met += 1
        return FULL if self.kind == "StorageFull" else IO_ERRORS[operation.name]


class Run:
    """One process's work on a copy of the killed store, while the disk fails it."""

    def __init__(self, report: Report, database: Path, told: Ledger, trouble: Trouble) -> None:
        self._report = report
        self._database = database
        self._told = Ledger(told.writer, list(told.batches), dict(told.places))
        self._trouble = trouble
        self._service: LocalSessionService | None = None

    async def do(self, disk: Disk) -> None:
        """Work while the disk fails, go on when it is well again, and look at what is stored."""
        try:
            with disk.heard_by(self._trouble.hear):
                await self._work()
            await self._go_on()
        finally:
            await self._close()
        where = f"{self._trouble}"
        ledger.check_database(self._report, self._database, [(KEPT, [self._told])], where)
        aside = [path.name for path in self._database.parent.glob("*.corrupt-*")]
        self._report.expect(not aside, ASIDE, where)

    async def _work(self) -> None:
        await self._try(self._append_new)
        await self._try(self._append_new)
        await self._try(self._read)
        await self._try(lambda service: service.delete(DOOMED))
        await self._try(self._append_new)
        await self._close()
        await self._try(self._append_new)

    async def _try(self, work: Callable[[LocalSessionService], Awaitable[T]]) -> None:
        try:
            await work(await self._opened())
        except StorageError as error:
            self._report.count("errors seen")
            right = error.kind == self._trouble.kind and self._trouble.met > 0
            self._report.expect(right, UNTYPED, f"{error.kind} {error} {self._trouble}")
        except Exception as error:
            self._report.expect(False, UNTYPED, f"{error!r} {self._trouble}")

    async def _opened(self) -> LocalSessionService:
        if self._service is None:
            self._service = await LocalSessionService.open(self._database)
        return self._service

    async def _close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.close()

    async def _append_new(self, service: LocalSessionService) -> None:
        self._told.send(2)
        for batch in self._told.unacknowledged():
            await append(service, self._told, batch)

    async def _read(self, service: LocalSessionService) -> None:
        stored = await contents(service, KEPT)
        self._report.expect(set(self._told.places) <= set(stored), MISREAD, f"{self._trouble}")

    async def _go_on(self) -> None:
        try:
            service = await self._opened()
            await self._append_new(service)
            await service.delete(DOOMED)
        except Exception as error:
            self._report.expect(False, STUCK, f"{error!r} {self._trouble}")


async def append(service: LocalSessionService, told: Ledger, batch: Batch) -> None:
    """Append a batch behind those that were acknowledged, and note its answer."""
    head = max(told.places, key=told.places.__getitem__)
    appended = await service.append_events(
        KEPT, [ledger.event(name) for name in batch], parent_id=head, invocation_id=INVOCATION
    )
    told.acknowledge((event.id, event.seq) for event in appended.events)


async def make_killed_store(folder: Path) -> Ledger:
    """Put into *folder* what a store leaves that is killed, and return what it acknowledged."""
    told = Ledger(KEPT)
    service = await LocalSessionService.open(folder.parent / "alive" / "sessions.db")
    for session, mine in ((KEPT, told), (DOOMED, Ledger(DOOMED))):
        events = [ledger.event(name) for name in mine.send(2)]
        new = NewSession(id=session, directory=HERE)
        appended = await service.create_session(new, events, invocation_id=INVOCATION)
        mine.acknowledge((event.id, event.seq) for event in appended.events)
    shutil.copytree(folder.parent / "alive", folder)
    await service.close()
    return told


def troubles(report: Report, rng: random.Random) -> Iterator[Trouble]:
    """Yield every trouble, of each sort until one was met by nothing."""
    sorts: list[Callable[[int], Trouble]] = [
        lambda number: Trouble("StorageUnavailable", at=frozenset((number,))),
        lambda number: Trouble("StorageUnavailable", since=number),
        lambda number: Trouble("StorageFull", since=number),
    ]
    longest = 0
    for sort in sorts:
        number, trouble = 0, sort(0)
        yield trouble
        while trouble.met:
            number += 1
            longest = max(longest, number)
            trouble = sort(number)
            yield trouble
    for _ in range(PAIRS if report.size == "long" else 0):
        pair = frozenset((rng.randrange(longest), rng.randrange(longest)))
        yield Trouble("StorageUnavailable", at=pair)


def run(report: Report, rng: random.Random) -> None:
    """Let every operation of the work fail, in every way."""
    folder, disk = make_folder(), Disk()
    told = asyncio.run(make_killed_store(folder / "killed"))
    with disk.installed():
        for trouble in troubles(report, rng):
            if report.hopeless:
                break
            shutil.copytree(folder / "killed", folder / "run")
            database = folder / "run" / "sessions.db"
            asyncio.run(Run(report, database, told, trouble).do(disk))
            shutil.rmtree(folder / "run")
            report.count("runs")
            report.count("runs that met their trouble", int(trouble.met > 0))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(run)
