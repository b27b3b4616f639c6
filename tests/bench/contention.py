"""Whether sixteen processes that write one database without a pause all get on, and how fast.

Each appends to a session of its own, one event a transaction, every commit on disk.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

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
    at_least,
    at_most,
    shown,
    take_turns,
)
from tests.faults.crowding import crowd

PROCESSES = 16
_PLAIN_TIMEOUT_S = 5  # what sqlite3 waits unless it is told otherwise
_OPENING_S = 2


@attrs.frozen
class _Until:
    """When all begin and when they stop."""

    begin: float
    end: float


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with writers that leave the waiting to SQLite, and with a single one."""
    folder /= "crowding"
    seconds = sizes.saturated_s
    sides = [
        _writing(f"{kind} {count}", work, folder, count, length)
        for kind, work in (("ours", _append), ("plain", _commit))
        for count, length in ((PROCESSES, seconds), (1, seconds / 3))
    ]
    rounds = sizes.saturated_rounds
    found = {name: figure.p50 for name, figure in take_turns(sides, rounds=rounds, calls=1).items()}
    ours, plain = (
        {key: found[f"{kind} {PROCESSES} {key}"] for key in ("rate", "worst", "busy", "fairness")}
        for kind in ("ours", "plain")
    )
    question = f"{PROCESSES} processes append for {seconds:g} s, FULL:"
    yield Row(
        number=10,
        question=f"{question} SQLITE_BUSY",
        measured=f"{ours['busy']:.0f}",
        against=f"plain BEGIN IMMEDIATE, {plain['busy']:.0f}",
        value=ours["busy"],
        unit="",
        goal=at_most(0),
    )
    yield Row(
        number=10,
        question=f"{question} the longest that one waited",
        measured=shown(ours["worst"]),
        against=f"plain BEGIN IMMEDIATE, {shown(plain['worst'])}",
        value=ours["worst"] / plain["worst"],
        goal=at_most(1 / 5),
        stretch=at_most(1 / 15),
    )
    yield Row(
        number=10,
        question=f"{question} events of the slowest, of the fastest's",
        measured=f"{ours['fairness']:.2f}",
        against=f"plain BEGIN IMMEDIATE, {plain['fairness']:.2f}",
        value=ours["fairness"],
        unit="",
        goal=at_least(0.5),
        stretch=at_least(0.8),
    )
    for name, text, judged in (
        ("plain 1", "one plain writer", True),
        ("ours 1", "one process of ours", False),
        (f"plain {PROCESSES}", "as many plain writers", False),
    ):
        yield Row(
            number=10,
            question=f"{question} events a second",
            measured=f"{ours['rate']:,.0f}/s",
            against=f"{text}, {found[f'{name} rate']:,.0f}/s",
            value=ours["rate"] / found[f"{name} rate"],
            goal=at_least(0.5) if judged else None,
            stretch=at_least(0.8) if judged else None,
        )


Work = Callable[[Path, _Until, int], Awaitable[dict[str, Any]]]


def _writing(name: str, work: Work, folder: Path, count: int, seconds: float) -> Side:
    rounds = itertools.count()

    def measure(_: int) -> Samples:
        if not (number := next(rounds)):
            return {}  # nothing to warm up: each round has new processes and a new database
        path = folder / f"{name} {number}" / "sessions.db"
        with stores.made(path) as db:
            for session in range(1, count + 1):
                stores.add_session(db, session, 0)
        begin = time.monotonic() + _OPENING_S
        until = _Until(begin, begin + seconds)
        answers = crowd(count, partial(work, path, until))
        counts = [answer["count"] for answer in answers]
        found = {
            "rate": sum(counts) / seconds,
            "worst": max(answer["worst"] for answer in answers),
            "busy": sum(answer["busy"] for answer in answers),
            "fairness": min(counts) / max(counts),
        }
        return {f"{name} {key}": [value] for key, value in found.items()}

    return measure


async def _append(path: Path, until: _Until, number: int) -> dict[str, Any]:
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

        return await _saturate(append, until, StorageUnavailable)


async def _commit(path: Path, until: _Until, number: int) -> dict[str, Any]:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute(f"PRAGMA busy_timeout = {_PLAIN_TIMEOUT_S * 1_000}")
        key = (number + 1) << 32

        async def commit() -> None:
            nonlocal key
            append.commit(db, [append.stored(key + 1)])
            key += 1

        return await _saturate(commit, until, *driver.Error)


async def _saturate(
    write: Callable[[], Awaitable[None]], until: _Until, *refusals: type[Exception]
) -> dict[str, Any]:
    count, busy, worst = 0, 0, 0.0
    await asyncio.sleep(until.begin - time.monotonic())
    while (begin := time.monotonic()) < until.end:
        try:
            await write()
        except refusals:
            busy += 1
        else:
            count += 1
        worst = max(worst, time.monotonic() - begin)
    return {"count": count, "busy": busy, "worst": worst}
