"""Fail the first disk operation, then the second, and so on, until a run has no such operation.

Each is tried three times: as a single I/O error, as one that persists, and as a full disk. A run
opens a store whose process was killed, appends, reads, deletes, closes and opens it again. Once the
disk works again, the same process must be able to go on, with no data lost.
"""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from segue.model.errors import HeadMoved, StorageError
from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, INVOCATION, contents
from tests.faults import ledger
from tests.faults.fault_vfs import FULL, IO_ERRORS, OK, FaultVfs, Operation
from tests.faults.ledger import Batch, Ledger
from tests.faults.runner import Report, main
from tests.faults.sandbox import sandbox

T = TypeVar("T")
KEPT, DELETED = "kept", "deleted"
PAIRS = 5_000
"""How many runs of the long size have two errors at random operations."""

WRONG_ERROR = "a disk error is raised as another error than expected"
QUARANTINED = "a disk error quarantines the database"
NOT_RECOVERED = "the store does not work after the disk has recovered"
WRONG_READ = "a read that succeeds lacks acknowledged events"


@attrs.define
class Fault:
    """Which operations of a run fail, by their number, and with which error."""

    kind: str
    """The kind of the error that the service should raise."""

    numbers: frozenset[int] = frozenset()
    since: int | None = None
    seen: int = 0
    injected: int = 0

    def on_operation(self, operation: Operation) -> int:
        """Count the operation, and return its error code if it is one of those that fail."""
        if self.kind == "StorageFull" and operation.name != "write":
            return OK
        number, self.seen = self.seen, self.seen + 1
        if number not in self.numbers and (self.since is None or number < self.since):
            return OK
        self.injected += 1
        return FULL if self.kind == "StorageFull" else IO_ERRORS[operation.name]


class Run:
    """The work of one process on a copy of the killed store, on a disk with a fault."""

    def __init__(self, report: Report, database: Path, stored: Ledger, fault: Fault) -> None:
        self._report = report
        self._database = database
        self._ledger = Ledger(stored.writer, list(stored.batches), dict(stored.acknowledged))
        self._fault = fault
        self._service: LocalSessionService | None = None

    async def run(self, vfs: FaultVfs) -> None:
        """Work while the disk fails, then while it works, and check what is stored."""
        try:
            with vfs.notifying(self._fault.on_operation):
                await self._work()
            await self._work_after_recovery()
        finally:
            await self._close()
        where = f"{self._fault}"
        ledger.check_database(self._report, self._database, [(KEPT, [self._ledger])], where)
        quarantined = [path.name for path in self._database.parent.glob("*.corrupt-*")]
        self._report.expect(not quarantined, QUARANTINED, where)

    async def _work(self) -> None:
        await self._try(self._append_new)
        await self._try(self._append_together)
        await self._try(self._read)
        await self._try(lambda service: service.delete(DELETED))
        await self._try(self._append_new)
        await self._try(self._append_together)
        await self._close()
        await self._try(self._append_new)

    async def _try(self, work: Callable[[LocalSessionService], Awaitable[T]]) -> None:
        try:
            await work(await self._opened())
        except StorageError as error:
            self._report.count("errors raised")
            expected = error.kind == self._fault.kind and self._fault.injected > 0
            self._report.expect(expected, WRONG_ERROR, f"{error.kind} {error} {self._fault}")
        except Exception as error:
            self._report.expect(False, WRONG_ERROR, f"{error!r} {self._fault}")

    async def _opened(self) -> LocalSessionService:
        if self._service is None:
            self._service = await LocalSessionService.open(self._database)
        return self._service

    async def _close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.close()

    async def _append_new(self, service: LocalSessionService) -> None:
        self._ledger.send(2)
        for batch in self._ledger.unacknowledged():
            await append(service, self._ledger, batch)

    async def _append_together(self, service: LocalSessionService) -> None:
        """Append batches that wait for one another's commit, and so share it."""
        for size in (1, 2, 1):
            self._ledger.send(size)
        batches = self._ledger.unacknowledged()
        heads = [_head(self._ledger), *(batch[-1] for batch in batches)]
        appends = (
            append(service, self._ledger, batch, head)
            for batch, head in zip(batches, heads, strict=False)
        )
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        # The batches after one that failed find another head.
        for error in errors:
            if not isinstance(error, HeadMoved):
                raise error

    async def _read(self, service: LocalSessionService) -> None:
        stored = await contents(service, KEPT)
        complete = set(self._ledger.acknowledged) <= set(stored)
        self._report.expect(complete, WRONG_READ, f"{self._fault}")

    async def _work_after_recovery(self) -> None:
        try:
            service = await self._opened()
            await self._append_new(service)
            await service.delete(DELETED)
        except Exception as error:
            self._report.expect(False, NOT_RECOVERED, f"{error!r} {self._fault}")


def _head(mine: Ledger) -> str:
    return max(mine.acknowledged, key=mine.acknowledged.__getitem__)


async def append(
    service: LocalSessionService, mine: Ledger, batch: Batch, head: str | None = None
) -> None:
    """Append a batch behind *head*, or the acknowledged ones, and record its result."""
    head = head or _head(mine)
    appended = await service.append_events(
        KEPT, [ledger.event(name) for name in batch], parent_id=head, invocation_id=INVOCATION
    )
    mine.acknowledge((event.id, event.seq) for event in appended.events)


async def make_killed_store(folder: Path) -> Ledger:
    """Put the files of a killed store into *folder*; return what it acknowledged."""
    kept = Ledger(KEPT)
    service = await LocalSessionService.open(folder.parent / "alive" / "sessions.db")
    for session, mine in ((KEPT, kept), (DELETED, Ledger(DELETED))):
        events = [ledger.event(name) for name in mine.send(2)]
        new = NewSession(id=session, directory=HERE)
        appended = await service.create_session(new, events, invocation_id=INVOCATION)
        mine.acknowledge((event.id, event.seq) for event in appended.events)
    shutil.copytree(folder.parent / "alive", folder)
    await service.close()
    return kept


def faults(report: Report, rng: random.Random) -> Iterator[Fault]:
    """Yield the faults of each sort, for operation 0, 1, 2, …, until a run has no such operation.

    The consumer runs each fault before it asks for the next one.
    """
    sorts: list[Callable[[int], Fault]] = [
        lambda number: Fault("StorageUnavailable", numbers=frozenset((number,))),
        lambda number: Fault("StorageUnavailable", since=number),
        lambda number: Fault("StorageFull", since=number),
    ]
    longest = 0
    for sort in sorts:
        number, fault = 0, sort(0)
        yield fault
        while fault.injected:
            number += 1
            longest = max(longest, number)
            fault = sort(number)
            yield fault
    for _ in range(PAIRS if report.size == "long" else 0):
        pair = frozenset((rng.randrange(longest), rng.randrange(longest)))
        yield Fault("StorageUnavailable", numbers=pair)


def run(report: Report, rng: random.Random) -> None:
    """Fail every disk operation of the work, with every sort of fault."""
    vfs = FaultVfs()
    with sandbox() as folder:
        stored = asyncio.run(make_killed_store(folder / "killed"))
        with vfs.installed():
            for fault in faults(report, rng):
                if report.has_failed:
                    break
                shutil.copytree(folder / "killed", folder / "run")
                database = folder / "run" / "sessions.db"
                asyncio.run(Run(report, database, stored, fault).run(vfs))
                shutil.rmtree(folder / "run")
                report.count("runs")
                report.count("runs with an injected error", int(fault.injected > 0))


if __name__ == "__main__":
    main(run)
