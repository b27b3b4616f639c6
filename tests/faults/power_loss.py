"""Cut the power at every write of a working store, thousands of times, and open what is left.

The store works on a disk that records what SQLite asks of it. Then the disk is imagined as it may
be after a cut behind each operation: of what no sync had followed, nothing may have arrived, or
all, or the first part, or any sectors in any order, some of them garbled. The store is opened on
it.
"""

import asyncio
import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from segue.model.errors import StorageCorrupt
from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, INVOCATION
from tests.faults import ledger
from tests.faults.fault_vfs import OK, Disk, Operation
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main

STATES: dict[Size, int] = {"short": 2_000, "long": 100_000}
CUTS = 2
"""How many different disks are imagined after each operation."""

APPENDS = 26
DELETED_EVERY = 8
CLOSED_EVERY = 11
LARGEST = 12_000
CHECKPOINTED_PAGES = 25
"""A log is emptied after so many pages instead of 1,000: as on a long day, in a short one."""

SECTOR = 512
CREATES = 4
BACK = "a deleted session is back"
UNOPENED = "the store does not open"

Change = Callable[["Told"], None]
Disks = dict[str, bytes]


@dataclasses.dataclass
class Told:
    """What the writers sent, and what they were told, up to some moment."""

    ledgers: dict[str, Ledger] = dataclasses.field(default_factory=dict)
    deleted: list[str] = dataclasses.field(default_factory=list)


# -- the disk, and what may be left of it ------------------------------------------------------


@dataclasses.dataclass
class File:
    """What is safe of a file, and what was done to it since its last sync."""

    safe: bytearray = dataclasses.field(default_factory=bytearray)
    pending: list[Operation] = dataclasses.field(default_factory=list)


class Platter:
    """A disk that keeps for sure only what was synced; its folder changes in order."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._safe: dict[str, File] = {}
        self._changes: list[dict[str, File]] = []

    def do(self, operation: Operation) -> bool:
        """Do one operation; tell whether it changed anything."""
        match operation.name:
            case "open" if operation.at & CREATES and operation.file not in self._files:
                self._change(self._files | {operation.file: File()})
            case "delete":
                left = {name: f for name, f in self._files.items() if name != operation.file}
                self._change(left)
                if operation.at:
                    self._sync_folder()
            case "write" | "truncate":
                self._files[operation.file].pending.append(operation)
            case "sync":
                self._sync(self._files[operation.file])
            case _:
                return False
        return True

    def after_a_cut(self, rng: random.Random) -> Disks:
        """Return the files as they may be found if the power fails now."""
        arrives = rng.choice((_nothing, _everything, _the_first, _anything))
        files = rng.choice([self._safe, *self._changes])
        return {name: _content(file, arrives(file.pending, rng)) for name, file in files.items()}

    def _change(self, files: dict[str, File]) -> None:
        self._files = files
        self._changes.append(files)

    def _sync(self, file: File) -> None:
        file.safe = bytearray(_content(file, file.pending))
        file.pending = []
        # SQLite syncs the folder of a new journal or log together with it.
        self._sync_folder()

    def _sync_folder(self) -> None:
        self._safe, self._changes = self._files, []


def _nothing(pending: list[Operation], rng: random.Random) -> list[Operation]:
    return []


def _everything(pending: list[Operation], rng: random.Random) -> list[Operation]:
    return pending


def _the_first(pending: list[Operation], rng: random.Random) -> list[Operation]:
    cut = rng.randint(0, len(pending))
    torn = [piece for last in pending[cut : cut + 1] for piece in _sectors(last)]
    return pending[:cut] + torn[: rng.randint(0, len(torn))]


def _anything(pending: list[Operation], rng: random.Random) -> list[Operation]:
    pieces = [piece for operation in pending for piece in _sectors(operation)]
    return [_perhaps_garbled(piece, rng) for piece in pieces if rng.random() < 0.6]


def _perhaps_garbled(piece: Operation, rng: random.Random) -> Operation:
    if rng.random() < 0.5:
        return piece
    return dataclasses.replace(piece, data=rng.randbytes(len(piece.data)))


def _sectors(operation: Operation) -> Iterator[Operation]:
    """Yield an operation in the pieces in which a disk may do it."""
    if operation.name == "truncate":
        yield operation
    at, data = operation.at, operation.data
    while data:
        size = SECTOR - at % SECTOR
        yield dataclasses.replace(operation, at=at, data=data[:size])
        at, data = at + size, data[size:]


def _content(file: File, operations: list[Operation]) -> bytes:
    content = bytearray(file.safe)
    for operation in operations:
        if len(content) < operation.at:
            content.extend(bytes(operation.at - len(content)))
        if operation.name == "truncate":
            del content[operation.at :]
        else:
            content[operation.at : operation.at + len(operation.data)] = operation.data
    return bytes(content)


# -- the work ----------------------------------------------------------------------------------


class Work:
    """Two windows that append, one after the other, and delete and close now and then."""

    def __init__(self, database: Path, rng: random.Random) -> None:
        self.record: list[Operation | Change] = []
        self._database = database
        self._rng = rng
        self._told = Told()
        self._windows: list[LocalSessionService] = []

    async def do(self) -> None:
        """Work, and record each operation, each sending and each answer."""
        self._windows = [await self._opened() for _ in range(2)]
        for number in range(1, APPENDS + 1):
            await self._append(f"session-{number % 3}")
            if number % DELETED_EVERY == 0:
                await self._append(f"deleted-{number}")
                await self._delete(f"deleted-{number}")
            if number % CLOSED_EVERY == 0:
                for window in self._windows:
                    await window.close()
                self._windows = [await self._opened() for _ in range(2)]
        for window in self._windows:
            await window.close()

    def hear(self, operation: Operation) -> int:
        """Record an operation of the disk."""
        self.record.append(operation)
        return OK

    async def _opened(self) -> LocalSessionService:
        service = await LocalSessionService.open(self._database)
        sql = f"PRAGMA wal_autocheckpoint = {CHECKPOINTED_PAGES}"
        await service._database.read(lambda db: db.execute(sql).fetchall())
        return service

    async def _append(self, session: str) -> None:
        window = self._rng.choice(self._windows)
        mine = self._told.ledgers.setdefault(session, Ledger(session))
        head = mine.batches[-1][-1] if mine.batches else None
        batch = mine.send(self._rng.randint(1, 3))
        size = self._rng.choice((0, 0, 0, LARGEST))
        events = [ledger.event(name, size) for name in batch]
        self.record.append(lambda told: _sent(told, session, batch))
        if head is None:
            new = NewSession(id=session, directory=HERE)
            appended = await window.create_session(new, events, invocation_id=INVOCATION)
        else:
            appended = await window.append_events(
                session, events, parent_id=head, invocation_id=INVOCATION
            )
        places = [(event.id, event.seq) for event in appended.events]
        self.record.append(lambda told: told.ledgers[session].acknowledge(places))

    async def _delete(self, session: str) -> None:
        window = self._rng.choice(self._windows)
        # From now on it may be there or not.
        self.record.append(lambda told: told.ledgers.__delitem__(session))
        await window.delete(session)
        self.record.append(lambda told: told.deleted.append(session))


def _sent(told: Told, session: str, batch: ledger.Batch) -> None:
    told.ledgers.setdefault(session, Ledger(session)).batches.append(batch)


def recorded(folder: Path, rng: random.Random) -> list[Operation | Change]:
    """Let the store work in *folder*, and return what was done, sent and answered, in order."""
    disk, work = Disk(), Work(folder / "sessions.db", rng)
    with disk.installed(), disk.heard_by(work.hear):
        asyncio.run(work.do())
    return work.record


# -- the cuts ----------------------------------------------------------------------------------


async def cut_everywhere(
    report: Report, record: list[Operation | Change], folder: Path, rng: random.Random
) -> None:
    """Replay a record, and open what a cut behind each of its operations may leave."""
    platter, told = Platter(), Told()
    for number, entry in enumerate(record):
        if report.hopeless:
            return
        if not isinstance(entry, Operation):
            entry(told)
        elif platter.do(entry):
            for cut in range(CUTS):
                where = f"after operation {number}, cut {cut}, seed {report.seed}"
                await _check(report, folder, platter.after_a_cut(rng), told, where)


async def _check(report: Report, folder: Path, disks: Disks, told: Told, where: str) -> None:
    folder.mkdir()
    for name, content in disks.items():
        (folder / name).write_bytes(content)
    report.count("states")
    any_told = any(mine.places for mine in told.ledgers.values())
    report.count("states that hold an acknowledged event", int(any_told))
    database = folder / "sessions.db"
    if await _opens(report, database, told, where):
        ledger.check_database(
            report, database, [(name, [mine]) for name, mine in told.ledgers.items()], where
        )
    shutil.rmtree(folder)


async def _opens(report: Report, database: Path, told: Told, where: str) -> bool:
    try:
        service = await LocalSessionService.open(database)
        try:
            stored = {session.id for session in (await service.list_sessions()).sessions}
        finally:
            await service.close()
    except StorageCorrupt as error:
        report.expect(False, ledger.DAMAGED, f"{error} {where}")
        return False
    except Exception as error:
        report.expect(False, UNOPENED, f"{error!r} {where}")
        return False
    report.expect(stored.isdisjoint(told.deleted), BACK, where)
    return True


def run(report: Report, rng: random.Random) -> None:
    """Let the store work again and again, until the power was cut often enough."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        while report.counts.get("states", 0) < STATES[report.size] and not report.hopeless:
            record = recorded(folder / f"work-{report.counts.get('recordings', 0)}", rng)
            report.count("recordings")
            report.count("operations", sum(isinstance(entry, Operation) for entry in record))
            asyncio.run(cut_everywhere(report, record, folder / "cut", rng))


if __name__ == "__main__":
    main(run)
