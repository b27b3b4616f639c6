"""Sixteen processes append to one database without pause: errors, waiting, fairness, throughput.

Each appends to its own session, one event a transaction, every commit on disk.
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from segue.model.errors import StorageUnavailable
from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.bench import append, stores
from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_least,
    at_most,
    format_seconds,
)

T = TypeVar("T")

PROCESSES = 16
START_S = 2
"""Time for all processes to start and to open the database."""

_PLAIN_TIMEOUT_S = 5  # the default of Python's sqlite3


@attrs.frozen
class Period:
    """When all processes begin and stop, by the monotonic clock, which they share."""

    begin: float
    end: float


@attrs.frozen
class _Tally:
    """What one process counted: commits, refusals as busy, and its longest wait in seconds."""

    commits: int
    busy: int
    longest_wait: float


Work = Callable[[Path, Period, int], Awaitable[_Tally]]
"""Appends to a session of its own for a period, in the process of that number."""


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with writers that leave the waiting to SQLite, and with a single writer."""
    folder /= "contention"
    seconds = sizes.contention_s
    sides = [
        _side(f"{name} {count}", work, folder, count, duration)
        for name, work in (("segue", _append), ("plain", _commit))
        for count, duration in ((PROCESSES, seconds), (1, seconds / 3))
    ]
    figures = alternate(sides, rounds=sizes.contention_rounds, calls=1)
    found = {name: figure.p50 for name, figure in figures.items()}
    segue, plain = (
        {key: found[f"{name} {PROCESSES} {key}"] for key in ("rate", "wait", "busy", "fairness")}
        for name in ("segue", "plain")
    )
    condition = f"{PROCESSES} processes append for {seconds:g} s, FULL:"
    yield Row(
        number=10,
        quantity=f"{condition} SQLITE_BUSY errors",
        measured=f"{segue['busy']:.0f}",
        baseline=f"plain BEGIN IMMEDIATE, {plain['busy']:.0f}",
        value=segue["busy"],
        unit="",
        goal=at_most(0),
    )
    yield Row(
        number=10,
        quantity=f"{condition} longest wait",
        measured=format_seconds(segue["wait"]),
        baseline=f"plain BEGIN IMMEDIATE, {format_seconds(plain['wait'])}",
        value=segue["wait"] / plain["wait"],
        goal=at_most(1 / 5),
        stretch=at_most(1 / 15),
    )
    yield Row(
        number=10,
        quantity=f"{condition} events of the slowest process / of the fastest",
        measured=f"{segue['fairness']:.2f}",
        baseline=f"plain BEGIN IMMEDIATE, {plain['fairness']:.2f}",
        value=segue["fairness"],
        unit="",
        goal=at_least(0.5),
        stretch=at_least(0.8),
    )
    for name, label, judged in (
        ("plain 1", "one plain writer", True),
        ("segue 1", "one Segue process", False),
        (f"plain {PROCESSES}", "as many plain writers", False),
    ):
        yield Row(
            number=10,
            quantity=f"{condition} events a second",
            measured=f"{segue['rate']:,.0f}/s",
            baseline=f"{label}, {found[f'{name} rate']:,.0f}/s",
            value=segue["rate"] / found[f"{name} rate"],
            goal=at_least(0.5) if judged else None,
            stretch=at_least(0.8) if judged else None,
        )


def _side(name: str, work: Work, folder: Path, count: int, seconds: float) -> Side:
    rounds = itertools.count()

    def measure(_: int) -> Samples:
        if not (round_number := next(rounds)):
            return {}  # nothing to warm up: each round has new processes and a new database
        path = folder / f"{name} {round_number}" / "sessions.db"
        with stores.create_database(path) as db:
            for number in range(1, count + 1):
                stores.add_session(db, number, 0)
        begin = time.monotonic() + START_S
        tallies = run_processes(partial(work, path, Period(begin, begin + seconds)), count)
        commits = [tally.commits for tally in tallies]
        values = {
            "rate": sum(commits) / seconds,
            "wait": max(tally.longest_wait for tally in tallies),
            "busy": sum(tally.busy for tally in tallies),
            "fairness": min(commits) / max(commits),
        }
        return {f"{name} {key}": [value] for key, value in values.items()}

    return measure


def run_processes(work: Callable[[int], Awaitable[T]], count: int) -> list[T]:
    """Return what *work* returns in each of *count* processes, called with their numbers."""
    # Forked, so that none of them imports anything: they start within the same second.
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(partial(_run, work), range(count)))


def _run(work: Callable[[int], Awaitable[T]], number: int) -> T:
    async def run() -> T:
        return await work(number)

    return asyncio.run(run())


async def _append(path: Path, period: Period, number: int) -> _Tally:
    async with contextlib.AsyncExitStack() as stack:
        service = await LocalSessionService.open(path)
        stack.push_async_callback(service.close)
        new = NewSession(id=new_id(), directory="/")
        event = Event.new("text", stores.DATA)
        head = (await service.create_session(new, [event], invocation_id="invocation")).head

        async def append() -> None:
            nonlocal head
            event = Event.new("text", stores.DATA)
            appended = await service.append_events(
                new.id, [event], parent_id=head, invocation_id="invocation"
            )
            head = appended.head

        return await _saturate(append, period, StorageUnavailable)


async def _commit(path: Path, period: Period, number: int) -> _Tally:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute(f"PRAGMA busy_timeout = {_PLAIN_TIMEOUT_S * 1_000}")
        key = (number + 1) << 32

        async def commit() -> None:
            nonlocal key
            append.commit(db, [append.event_row(key + 1)])
            key += 1

        return await _saturate(commit, period, *driver.Error)


async def _saturate(
    write: Callable[[], Awaitable[None]], period: Period, *busy_errors: type[Exception]
) -> _Tally:
    commits, busy, longest_wait = 0, 0, 0.0
    await asyncio.sleep(period.begin - time.monotonic())
    while (begin := time.monotonic()) < period.end:
        try:
            await write()
        except busy_errors:
            busy += 1
        else:
            commits += 1
        longest_wait = max(longest_wait, time.monotonic() - begin)
    return _Tally(commits, busy, longest_wait)
