"""Let sixteen processes append to four sessions at once, and open new databases at once.

And let one of them read for a long time while others write: its snapshot keeps the log from being
emptied, but only as long as it is held.
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
READING_S: dict[Size, float] = {"short": 3, "long": 60}
WRITERS_MEANWHILE = 2
LARGE = 30_000
PATIENCE_S = 20.0
LONG_LOG = 24 * 1024 * 1024
BOUND = 17 * 1024 * 1024
"""The log's limit of 16 MiB, and room for one large append."""

P99_MS = 100

SHOWN = "a client is shown that the store was busy"
UNOPENED = "a new database cannot be opened by all at once"
SCHEMAS = "a database that many opened at once has not the one schema"
SHORT = "the log did not grow while it was read: nothing is shown"
UNBOUNDED = "the log stays large when its reader is gone"

Answer = dict[str, Any]
Work = Callable[[int], Awaitable[Answer]]


# -- many processes at once --------------------------------------------------------------------


def crowd(count: int, work: Work) -> list[Answer]:
    """Let so many processes do *work*, all from one moment on; return what each answers."""
    wait, go = os.pipe()
    children = [_fork(functools.partial(work, number), wait, go) for number in range(count)]
    os.close(wait)
    os.close(go)
    answers = []
    for process, answer in children:
        with open(answer, encoding="utf-8") as pipe:
            answers.append(json.load(pipe))
        os.waitpid(process, 0)
    return answers


def _fork(work: Callable[[], Awaitable[Answer]], wait: int, go: int) -> tuple[int, int]:
    out, into = os.pipe()
    if process := os.fork():
        os.close(into)
        return process, out
    # Whatever happens, a child never goes on with its parent's work.
    try:
        os.close(go)
        os.read(wait, 1)
        with open(into, "w", encoding="utf-8") as pipe:
            json.dump(asyncio.run(_answered(work)), pipe)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


async def _answered(work: Callable[[], Awaitable[Answer]]) -> Answer:
    try:
        return await work()
    except SegueError as error:
        return {"refused": f"{error.kind}: {error}"}


@contextlib.asynccontextmanager
async def opened(database: Path) -> Any:
    """Open a service, and close it on every way out."""
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
    """Processes that append to few sessions, and begin again when another one was faster."""

    def __init__(self, report: Report, database: Path) -> None:
        self._report = report
        self._database = database
        self._appends = APPENDS[report.size]

    def run(self) -> None:
        """Let them all append, then look what was stored, and how long each had to wait."""
        begun = asyncio.run(self._begin())
        began = time.monotonic()
        answers = crowd(PROCESSES, self._append_all)
        seconds = time.monotonic() - began
        writers = [self._note(number, answer) for number, answer in enumerate(answers)]
        ledger.check_database(
            self._report,
            self._database,
            [
                (session, [begun[place], *writers[place :: len(SESSIONS)]])
                for place, session in enumerate(SESSIONS)
            ],
        )
        self._measure([each for answer in answers for each in answer.get("waited", [])], seconds)

    async def _begin(self) -> list[Ledger]:
        async with opened(self._database) as service:
            return [await begin(service, session) for session in SESSIONS]

    async def _append_all(self, number: int) -> Answer:
        session = SESSIONS[number % len(SESSIONS)]
        mine, waited, moved = Ledger(f"writer-{number}"), [], 0
        async with opened(self._database) as service:
            head = (await service.get_session(session)).head
            while len(mine.batches) < self._appends:
                events = [ledger.event(name) for name in mine.send(1)]
                while not mine.places.keys() >= {events[0].id}:
                    began = time.perf_counter()
                    try:
                        appended = await service.append_events(
                            session, events, parent_id=head, invocation_id=INVOCATION
                        )
                        head = appended.head
                        mine.acknowledge((event.id, event.seq) for event in appended.events)
                    except HeadMoved as error:
                        head, moved = error.head, moved + 1
                    waited.append(time.perf_counter() - began)
        return {"places": mine.places, "waited": waited, "moved": moved}

    def _note(self, number: int, answer: Answer) -> Ledger:
        self._report.expect("refused" not in answer, SHOWN, answer.get("refused", ""))
        mine = Ledger(f"writer-{number}")
        for _ in range(self._appends):
            mine.send(1)
        mine.acknowledge(answer.get("places", {}).items())
        self._report.count("acknowledged", len(mine.places))
        self._report.count("heads that had moved", answer.get("moved", 0))
        return mine

    def _measure(self, waited: list[float], seconds: float) -> None:
        if waited:
            waited.sort()
            p50, p99 = (round(waited[len(waited) * part // 100] * 1_000, 1) for part in (50, 99))
            most = round(waited[-1] * 1_000, 1)
            self._report.counts["waited ms"] = {"p50": p50, "p99": p99, "max": most}
            self._report.counts["p99 below 100 ms"] = p99 < P99_MS
            self._report.counts["calls per second"] = round(len(waited) / seconds)


# -- opening -----------------------------------------------------------------------------------


def open_new(report: Report, database: Path) -> None:
    """Let all of them open a database that is not there yet, and store a session in it."""

    async def open_one(number: int) -> Answer:
        async with opened(database) as service:
            return {"places": (await begin(service, f"session-{number}")).places}

    for answer in crowd(PROCESSES, open_one):
        report.expect("refused" not in answer, UNOPENED, answer.get("refused", ""))
        report.count("openings of a new database")
    with contextlib.closing(driver.connect(str(database))) as db:
        (sessions,) = db.execute("SELECT count(*) FROM sessions").fetchone()
        report.expect(sessions == PROCESSES, SCHEMAS, f"{sessions} sessions")
        report.expect(list(_schema(db)) == list(_expected_schema()), SCHEMAS)
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


# -- reading for a long time -------------------------------------------------------------------


def read_long(report: Report, database: Path) -> None:
    """Hold a snapshot while others write, then look what becomes of the log."""
    log = Path(f"{database}-wal")
    until = time.monotonic() + READING_S[report.size]

    async def write(number: int) -> Answer:
        async with opened(database) as service:
            mine = 0
            while not _is_enough(log, until):
                mine += 1
                await begin(service, f"while-read-{number}-{mine}", LARGE)
        return {"sessions": mine}

    # Not `connect_to_read`: where nobody writes yet, that one locks nothing.
    reader = driver.connect(str(database))
    with contextlib.closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        for answer in crowd(WRITERS_MEANWHILE, write):
            report.expect("refused" not in answer, SHOWN, answer.get("refused", ""))
            report.count("appends while it was read", answer.get("sessions", 0))
        report.counts["log while it was read"] = log.stat().st_size
        report.expect(log.stat().st_size >= LONG_LOG, SHORT)
        asyncio.run(_go_on(report, database, reader))


def _is_enough(log: Path, until: float) -> bool:
    late = time.monotonic() - until
    return late > PATIENCE_S or (late > 0 and log.stat().st_size > LONG_LOG)


async def _go_on(report: Report, database: Path, reader: driver.Connection) -> None:
    async with opened(database) as service:
        reader.execute("COMMIT")
        for number in range(3):
            await begin(service, f"after-{number}", LARGE)
        size = Path(f"{database}-wal").stat().st_size
        report.counts["log afterwards"] = size
        report.expect(size <= BOUND, UNBOUNDED, f"{size} bytes")


def run(report: Report, rng: random.Random) -> None:
    """Append, open and read, one after the other."""
    with ledger.on_disk() as folder:
        Appending(report, folder / "sessions.db").run()
        for number in range(NEW_DATABASES[report.size]):
            if not report.broken:
                open_new(report, folder / f"new-{number}.db")
        if not report.broken:
            read_long(report, folder / "sessions.db")


if __name__ == "__main__":
    main(run)
