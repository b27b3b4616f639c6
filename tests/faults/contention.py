"""Sixteen processes append to four sessions concurrently, and open new databases concurrently.

Then one process holds a read snapshot while others write: the WAL grows as long as the snapshot is
held, and must shrink afterwards.
"""

import asyncio
import contextlib
import functools
import json
import os
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from segue.model.errors import HeadMoved, SegueError
from segue.model.records import NewSession
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, INVOCATION
from tests.faults import ledger
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main

PROCESSES = 16
SESSIONS = ("one", "two", "three", "four")
APPENDS: dict[Size, int] = {"short": 100, "long": 1_000}
NEW_DATABASES: dict[Size, int] = {"short": 5, "long": 100}
READ_S: dict[Size, float] = {"short": 3, "long": 60}
WRITERS_DURING_READ = 2
LARGE = 30_000
MAX_OVERTIME_S = 20.0
LONG_WAL = 24 * 1024 * 1024
MAX_WAL = 17 * 1024 * 1024
"""The WAL's limit of 16 MiB, plus one large append."""

P99_MS = 100

BUSY = "a client gets an error because the store is busy"
UNOPENED = "a new database cannot be opened by all processes at once"
WRONG_SCHEMA = "a database that many processes opened at once has another schema"
NOT_TESTED = "the WAL did not grow during the read, so nothing was tested"
UNBOUNDED = "the WAL stays large after its reader is gone"

Result = dict[str, Any]
Work = Callable[[int], Awaitable[Result]]


# -- concurrent processes ----------------------------------------------------------------------


def run_concurrently(count: int, work: Work) -> list[Result]:
    """Run `work(0)` to `work(count - 1)` in processes that start together; return the results.

    A result must be JSON. It is `{"error": …}` for work that raises a SegueError.
    """
    wait, go = os.pipe()
    children = [_fork(functools.partial(work, number), wait, go) for number in range(count)]
    os.close(wait)
    os.close(go)
    results = []
    for process, result in children:
        with open(result, encoding="utf-8") as pipe:
            results.append(json.load(pipe))
        os.waitpid(process, 0)
    return results


def _fork(work: Callable[[], Awaitable[Result]], wait: int, go: int) -> tuple[int, int]:
    out, into = os.pipe()
    if process := os.fork():
        os.close(into)
        return process, out
    # A child must never return into its parent's code.
    try:
        os.close(go)
        os.read(wait, 1)
        with open(into, "w", encoding="utf-8") as pipe:
            json.dump(asyncio.run(_result(work)), pipe)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


async def _result(work: Callable[[], Awaitable[Result]]) -> Result:
    try:
        return await work()
    except SegueError as error:
        return {"error": f"{error.kind}: {error}"}


@contextlib.asynccontextmanager
async def opened(database: Path) -> Any:
    """Yield a service that is closed at the end of the block."""
    service = await LocalSessionService.open(database)
    try:
        yield service
    finally:
        await service.close()


async def begin(service: LocalSessionService, session: str, size: int = 0) -> Ledger:
    """Store a session with its first event."""
    mine = Ledger(f"first-{session}")
    events = [ledger.event(name, size) for name in mine.send(1)]
    new = NewSession(id=session, directory=HERE)
    appended = await service.create_session(new, events, invocation_id=INVOCATION)
    mine.acknowledge((event.id, event.seq) for event in appended.events)
    return mine


# -- appending ---------------------------------------------------------------------------------


class Appending:
    """Processes that append to few sessions, and retry when another one was faster."""

    def __init__(self, report: Report, database: Path) -> None:
        self._report = report
        self._database = database
        self._appends = APPENDS[report.size]

    def run(self) -> None:
        """Let all processes append, then check what was stored, and measure the latencies."""
        first = asyncio.run(self._begin())
        began = time.monotonic()
        results = run_concurrently(PROCESSES, self._append_all)
        seconds = time.monotonic() - began
        writers = [self._record(number, result) for number, result in enumerate(results)]
        ledger.check_database(
            self._report,
            self._database,
            [
                (session, [first[index], *writers[index :: len(SESSIONS)]])
                for index, session in enumerate(SESSIONS)
            ],
        )
        latencies = [each for result in results for each in result.get("latencies", [])]
        self._measure(latencies, seconds)

    async def _begin(self) -> list[Ledger]:
        async with opened(self._database) as service:
            return [await begin(service, session) for session in SESSIONS]

    async def _append_all(self, number: int) -> Result:
        session = SESSIONS[number % len(SESSIONS)]
        mine, latencies, conflicts = Ledger(f"writer-{number}"), [], 0
        async with opened(self._database) as service:
            head = (await service.get_session(session)).head
            while len(mine.batches) < self._appends:
                events = [ledger.event(name) for name in mine.send(1)]
                while not mine.acknowledged.keys() >= {events[0].id}:
                    began = time.perf_counter()
                    try:
                        appended = await service.append_events(
                            session, events, parent_id=head, invocation_id=INVOCATION
                        )
                        head = appended.head
                        mine.acknowledge((event.id, event.seq) for event in appended.events)
                    except HeadMoved as error:
                        head, conflicts = error.head, conflicts + 1
                    latencies.append(time.perf_counter() - began)
        return {"positions": mine.acknowledged, "latencies": latencies, "conflicts": conflicts}

    def _record(self, number: int, result: Result) -> Ledger:
        self._report.expect("error" not in result, BUSY, result.get("error", ""))
        mine = Ledger(f"writer-{number}")
        for _ in range(self._appends):
            mine.send(1)
        mine.acknowledge(result.get("positions", {}).items())
        self._report.count("acknowledged", len(mine.acknowledged))
        self._report.count("HeadMoved conflicts", result.get("conflicts", 0))
        return mine

    def _measure(self, latencies: list[float], seconds: float) -> None:
        if latencies:
            latencies.sort()
            p50, p99 = (
                round(latencies[len(latencies) * part // 100] * 1_000, 1) for part in (50, 99)
            )
            longest = round(latencies[-1] * 1_000, 1)
            self._report.counts["latency, ms"] = {"p50": p50, "p99": p99, "max": longest}
            self._report.counts["p99 below 100 ms"] = p99 < P99_MS
            self._report.counts["calls per second"] = round(len(latencies) / seconds)


# -- opening -----------------------------------------------------------------------------------


def open_new(report: Report, database: Path) -> None:
    """Let all processes open a database that does not exist yet, and store a session in it."""

    async def open_one(number: int) -> Result:
        async with opened(database) as service:
            return {"positions": (await begin(service, f"session-{number}")).acknowledged}

    for result in run_concurrently(PROCESSES, open_one):
        report.expect("error" not in result, UNOPENED, result.get("error", ""))
        report.count("opens of a new database")
    with contextlib.closing(driver.connect(str(database))) as db:
        (sessions,) = db.execute("SELECT count(*) FROM sessions").fetchone()
        report.expect(sessions == PROCESSES, WRONG_SCHEMA, f"{sessions} sessions")
        report.expect(list(_schema(db)) == list(_expected_schema()), WRONG_SCHEMA)
    ledger.check_database(report, database, [])


def _expected_schema() -> Iterator[tuple[Any, ...]]:
    from segue.store.sqlite import schema

    with contextlib.closing(driver.connect(":memory:")) as db:
        schema.migrate(db)
        yield from list(_schema(db))


def _schema(db: driver.Connection) -> Iterator[tuple[Any, ...]]:
    for row in db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name"):
        yield tuple(row)
    yield tuple(db.execute("PRAGMA user_version").fetchone())


# -- a long read -------------------------------------------------------------------------------


def read_long(report: Report, database: Path) -> None:
    """Hold a snapshot while others write, then check the size of the WAL."""
    wal = Path(f"{database}-wal")
    until = time.monotonic() + READ_S[report.size]

    async def write(number: int) -> Result:
        async with opened(database) as service:
            written = 0
            while not _is_enough(wal, until):
                written += 1
                await begin(service, f"during-read-{number}-{written}", LARGE)
        return {"sessions": written}

    # Not `connect_to_read`: without a WAL that one takes no lock.
    reader = driver.connect(str(database))
    with contextlib.closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        for result in run_concurrently(WRITERS_DURING_READ, write):
            report.expect("error" not in result, BUSY, result.get("error", ""))
            report.count("appends during the read", result.get("sessions", 0))
        report.counts["WAL bytes during the read"] = wal.stat().st_size
        report.expect(wal.stat().st_size >= LONG_WAL, NOT_TESTED)
        asyncio.run(_append_after_read(report, database, reader))


def _is_enough(wal: Path, until: float) -> bool:
    overtime = time.monotonic() - until
    return overtime > MAX_OVERTIME_S or (overtime > 0 and wal.stat().st_size > LONG_WAL)


async def _append_after_read(report: Report, database: Path, reader: driver.Connection) -> None:
    async with opened(database) as service:
        reader.execute("COMMIT")
        for number in range(3):
            await begin(service, f"after-{number}", LARGE)
        size = Path(f"{database}-wal").stat().st_size
        report.counts["WAL bytes after the read"] = size
        report.expect(size <= MAX_WAL, UNBOUNDED, f"{size} bytes")


def run(report: Report, rng: random.Random) -> None:
    """Append, open and read, one after the other."""
    with ledger.folder_on_disk() as folder:
        Appending(report, folder / "sessions.db").run()
        for number in range(NEW_DATABASES[report.size]):
            if not report.broken:
                open_new(report, folder / f"new-{number}.db")
        if not report.broken:
            read_long(report, folder / "sessions.db")


if __name__ == "__main__":
    main(run)
