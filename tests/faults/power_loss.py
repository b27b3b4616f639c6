"""Simulate a power loss after every disk operation of a working store, and open what is left.

A virtual file system records what SQLite does. Then, after each operation, the files are built as
a power loss may leave them: of the writes that were not synced, none has reached the disk, or all,
or the first ones, or any sectors in any order, some of them garbled. The store is opened on them.
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
from tests.faults.fault_vfs import OK, FaultVfs, Operation
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main

STATES: dict[Size, int] = {"short": 1_000, "long": 100_000}
STATES_PER_OPERATION: dict[Size, int] = {"short": 1, "long": 2}
"""How many disk states are tried after each operation."""

APPENDS = 26
DELETE_EVERY = 8
REOPEN_EVERY = 11
TOGETHER_EVERY = 3
LARGE = 12_000
CHECKPOINT_PAGES = 25
"""Pages in the WAL before a checkpoint, instead of 1,000: a short run has many checkpoints."""

SECTOR = 512
CREATE_FLAG = 4
UNDELETED = "a deleted session is back"
UNOPENED = "the store does not open"

Change = Callable[["Acknowledged"], None]
Files = dict[str, bytes]


@dataclasses.dataclass
class Acknowledged:
    """What was sent and acknowledged up to one point of the recording."""

    ledgers: dict[str, Ledger] = dataclasses.field(default_factory=dict)
    deleted: list[str] = dataclasses.field(default_factory=list)


# -- the simulated disk ------------------------------------------------------------------------


@dataclasses.dataclass
class File:
    """The synced content of a file, and the operations since its last sync."""

    synced: bytearray = dataclasses.field(default_factory=bytearray)
    pending: list[Operation] = dataclasses.field(default_factory=list)


class SimulatedDisk:
    """A disk that guarantees only what was synced; changes to its folder keep their order."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._synced: dict[str, File] = {}
        self._changes: list[dict[str, File]] = []

    def apply(self, operation: Operation) -> bool:
        """Apply one operation; return whether it changed anything."""
        match operation.name:
            case "open" if operation.argument & CREATE_FLAG and operation.file not in self._files:
                self._change(self._files | {operation.file: File()})
            case "delete":
                left = {name: f for name, f in self._files.items() if name != operation.file}
                self._change(left)
                if operation.argument:
                    self._sync_folder()
            case "write" | "truncate":
                self._files[operation.file].pending.append(operation)
            case "sync":
                self._sync(self._files[operation.file])
            case _:
                return False
        return True

    def after_power_loss(self, rng: random.Random) -> Files:
        """Return the files as they may be found if the power fails now."""
        survivors = rng.choice((_none, _all, _first_part, _any_sectors))
        files = rng.choice([self._synced, *self._changes])
        return {name: _content(file, survivors(file.pending, rng)) for name, file in files.items()}

    def _change(self, files: dict[str, File]) -> None:
        self._files = files
        self._changes.append(files)

    def _sync(self, file: File) -> None:
        file.synced = bytearray(_content(file, file.pending))
        file.pending = []
        # SQLite syncs the folder of a new journal or log together with it.
        self._sync_folder()

    def _sync_folder(self) -> None:
        self._synced, self._changes = self._files, []


def _none(pending: list[Operation], rng: random.Random) -> list[Operation]:
    return []


def _all(pending: list[Operation], rng: random.Random) -> list[Operation]:
    return pending


def _first_part(pending: list[Operation], rng: random.Random) -> list[Operation]:
    cut = rng.randint(0, len(pending))
    torn = [piece for last in pending[cut : cut + 1] for piece in _sectors(last)]
    return pending[:cut] + torn[: rng.randint(0, len(torn))]


def _any_sectors(pending: list[Operation], rng: random.Random) -> list[Operation]:
    pieces = [piece for operation in pending for piece in _sectors(operation)]
    return [_maybe_garbled(piece, rng) for piece in pieces if rng.random() < 0.6]


def _maybe_garbled(piece: Operation, rng: random.Random) -> Operation:
    if rng.random() < 0.5:
        return piece
    return dataclasses.replace(piece, data=rng.randbytes(len(piece.data)))


def _sectors(operation: Operation) -> Iterator[Operation]:
    """Split a write into the sectors that a disk writes atomically."""
    if operation.name == "truncate":
        yield operation
    offset, data = operation.argument, operation.data
    while data:
        size = SECTOR - offset % SECTOR
        yield dataclasses.replace(operation, argument=offset, data=data[:size])
        offset, data = offset + size, data[size:]


def _content(file: File, operations: list[Operation]) -> bytes:
    content = bytearray(file.synced)
    for operation in operations:
        offset = operation.argument
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        if operation.name == "truncate":
            del content[offset:]
        else:
            content[offset : offset + len(operation.data)] = operation.data
    return bytes(content)


# -- the recorded work -------------------------------------------------------------------------


class Work:
    """Two windows that append, one by one or several at once, and sometimes delete or close."""

    def __init__(self, database: Path, rng: random.Random) -> None:
        self.record: list[Operation | Change] = []
        self._database = database
        self._rng = rng
        self._acknowledged = Acknowledged()
        self._windows: list[LocalSessionService] = []

    async def run(self) -> None:
        """Work, and record each disk operation, each request and each result."""
        self._windows = [await self._opened() for _ in range(2)]
        for number in range(1, APPENDS + 1):
            await self._append(f"session-{number % 3}")
            if number % TOGETHER_EVERY == 0:
                await self._append_together()
            if number % DELETE_EVERY == 0:
                await self._append(f"deleted-{number}")
                await self._delete(f"deleted-{number}")
            if number % REOPEN_EVERY == 0:
                for window in self._windows:
                    await window.close()
                self._windows = [await self._opened() for _ in range(2)]
        for window in self._windows:
            await window.close()

    def on_operation(self, operation: Operation) -> int:
        """Record a disk operation."""
        self.record.append(operation)
        return OK

    async def _opened(self) -> LocalSessionService:
        service = await LocalSessionService.open(self._database)
        sql = f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"
        await service._connection.read(lambda db: db.execute(sql).fetchall())
        return service

    async def _append_together(self) -> None:
        """Append to several sessions at once: those that wait share a commit."""
        window = self._rng.choice(self._windows)
        names = [f"session-{number}" for number in range(3)] + [f"new-{len(self.record)}"]
        await asyncio.gather(*(self._append(name, window) for name in names))

    async def _append(self, session: str, window: LocalSessionService | None = None) -> None:
        window = window or self._rng.choice(self._windows)
        mine = self._acknowledged.ledgers.setdefault(session, Ledger(session))
        head = mine.batches[-1][-1] if mine.batches else None
        batch = mine.send(self._rng.randint(1, 3))
        size = self._rng.choice((0, 0, 0, LARGE))
        events = [ledger.event(name, size) for name in batch]
        self.record.append(lambda state: _send(state, session, batch))
        if head is None:
            new = NewSession(id=session, directory=HERE)
            appended = await window.create_session(new, events, invocation_id=INVOCATION)
        else:
            appended = await window.append_events(
                session, events, parent_id=head, invocation_id=INVOCATION
            )
        positions = [(event.id, event.seq) for event in appended.events]
        self.record.append(lambda state: state.ledgers[session].acknowledge(positions))

    async def _delete(self, session: str) -> None:
        window = self._rng.choice(self._windows)
        # Until the deletion is acknowledged, either outcome is right.
        self.record.append(lambda state: state.ledgers.__delitem__(session))
        await window.delete(session)
        self.record.append(lambda state: state.deleted.append(session))


def _send(state: Acknowledged, session: str, batch: ledger.Batch) -> None:
    state.ledgers.setdefault(session, Ledger(session)).batches.append(batch)


def record_work(folder: Path, rng: random.Random) -> list[Operation | Change]:
    """Let the store work in *folder*; return disk operations, requests and results in order."""
    vfs, work = FaultVfs(), Work(folder / "sessions.db", rng)
    with vfs.installed(), vfs.notifying(work.on_operation):
        asyncio.run(work.run())
    return work.record


# -- power losses ------------------------------------------------------------------------------


async def lose_power_everywhere(
    report: Report, record: list[Operation | Change], folder: Path, rng: random.Random
) -> None:
    """Replay a recording; open what a power loss after each operation may leave."""
    disk, acknowledged = SimulatedDisk(), Acknowledged()
    for number, entry in enumerate(record):
        if report.has_failed:
            return
        if not isinstance(entry, Operation):
            entry(acknowledged)
        elif disk.apply(entry):
            for state in range(STATES_PER_OPERATION[report.size]):
                where = f"after operation {number}, state {state}, seed {report.seed}"
                files = disk.after_power_loss(rng)
                await _check(report, folder, files, acknowledged, where)


async def _check(
    report: Report, folder: Path, files: Files, acknowledged: Acknowledged, where: str
) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    report.count("disk states")
    has_events = any(mine.acknowledged for mine in acknowledged.ledgers.values())
    report.count("disk states with an acknowledged event", int(has_events))
    database = folder / "sessions.db"
    if await _opens(report, database, acknowledged, where):
        sessions = [(name, [mine]) for name, mine in acknowledged.ledgers.items()]
        ledger.check_database(report, database, sessions, where)
    shutil.rmtree(folder)


async def _opens(report: Report, database: Path, acknowledged: Acknowledged, where: str) -> bool:
    try:
        service = await LocalSessionService.open(database)
        try:
            stored = {session.id for session in (await service.list_sessions()).sessions}
        finally:
            await service.close()
    except StorageCorrupt as error:
        report.expect(False, ledger.CORRUPT, f"{error} {where}")
        return False
    except Exception as error:
        report.expect(False, UNOPENED, f"{error!r} {where}")
        return False
    report.expect(stored.isdisjoint(acknowledged.deleted), UNDELETED, where)
    return True


def run(report: Report, rng: random.Random) -> None:
    """Record the store's work and replay it until enough disk states were tried."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        while report.counts.get("disk states", 0) < STATES[report.size] and not report.has_failed:
            record = record_work(folder / f"work-{report.counts.get('recordings', 0)}", rng)
            report.count("recordings")
            report.count("operations", sum(isinstance(entry, Operation) for entry in record))
            asyncio.run(lose_power_everywhere(report, record, folder / "after-loss", rng))


if __name__ == "__main__":
    main(run)
