"""How many durable appends a second pass through one server when 64 are asked for at once."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segue.store.sqlite import driver
from tests.bench import append, stores
from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    at_least,
    one_cpu,
    take_turns,
)
from tests.bench.wire import NAIVE, Server

IN_FLIGHT = 64


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a raw transaction for each 64, with a naive server, with a synced file."""
    events = sizes.events // 10
    folder /= "pipelining"
    with one_cpu(), contextlib.ExitStack() as stack:
        ours = append.begun(stack, folder / "ours" / "sessions.db")
        naive = append.begun(stack, folder / "naive" / "sessions.db", NAIVE)
        sides = [
            _pipelined("ours", *ours, events),
            _batches(stack, folder / "bare", events),
            _pipelined("naive", *naive, events // 5),
            _lines(folder / "synced.jsonl", events // 5),
        ]
        found = take_turns(sides, rounds=sizes.rounds, calls=1)
    for name, many in (("ours", events), ("naive", events // 5)):
        _check(folder / name / "sessions.db", many * (sizes.rounds + 1))
    rate = {name: figure.p50 for name, figure in found.items()}

    def row(other: str, text: str, goal: float | None, stretch: float | None = None) -> Row:
        return Row(
            number=8,
            question=f"durable appends a second over stdio, {IN_FLIGHT} in flight",
            measured=f"{rate['ours']:,.0f}/s",
            against=f"{text}, {rate[other]:,.0f}/s",
            value=rate["ours"] / rate[other],
            goal=None if goal is None else at_least(goal),
            stretch=None if stretch is None else at_least(stretch),
        )

    yield row("bare", f"raw sqlite3, transactions of {IN_FLIGHT}", 0.35, 0.5)
    yield row("naive", "naive pygls and aiosqlite", 10)
    yield row("jsonl", "JSONL with fsync", None)


def _rate(name: str, events: int, prepare: Callable[[], Callable[[], object]]) -> Side:
    def measure(_: int) -> Samples:
        work = prepare()
        begin = time.perf_counter()
        work()
        return {name: [events / (time.perf_counter() - begin)]}

    return measure


def _pipelined(name: str, server: Server, session_id: str, events: int) -> Side:
    def prepare() -> Callable[[], object]:
        frames = [append.append_frame(server, session_id) for _ in range(events)]

        def work() -> None:
            assert server.pipeline(frames, IN_FLIGHT) == events

        return work

    return _rate(name, events, prepare)


def _batches(stack: contextlib.ExitStack, folder: Path, events: int) -> Side:
    db = append.raw(stack, folder)
    key = 1 << 32

    def prepare() -> Callable[[], object]:
        nonlocal key
        rows: Sequence[append.Stored] = [append.stored(key + n) for n in range(1, events + 1)]
        key += events

        def work() -> None:
            for place in range(0, events, IN_FLIGHT):
                append.commit(db, rows[place : place + IN_FLIGHT])

        return work

    return _rate("bare", events, prepare)


def _lines(path: Path, events: int) -> Side:
    def work() -> None:
        with open(path, "a", encoding="utf-8") as file:
            for number in range(events):
                event = {"id": number, "type": "text", "data": stores.DATA}
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())

    return _rate("jsonl", events, lambda: work)


def _check(path: Path, expected: int) -> None:
    with contextlib.closing(driver.connect(str(path))) as db:
        # The first append to a session that is resumed stores the boundary before it.
        (stored,) = db.execute(
            "SELECT count(*) FROM events WHERE type <> 'system_context'"
        ).fetchone()
    assert stored == expected, f"{stored:,} events of {expected:,} are stored"
