"""The throughput of durable appends through one server with 64 requests in flight."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from segue.store.sqlite import driver
from tests.bench import append, stores
from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_least,
    pin_to_one_cpu,
)
from tests.bench.wire import NAIVE, Server

IN_FLIGHT = 64


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with raw transactions of 64 events, with a naive server, with a synced file."""
    events = sizes.events // 10
    folder /= "pipelined_append"
    with pin_to_one_cpu(), contextlib.ExitStack() as stack:
        segue = append.start_server(stack, folder / "segue" / "sessions.db")
        naive = append.start_server(stack, folder / "naive" / "sessions.db", NAIVE)
        sides = [
            _pipeline_side("segue", *segue, events),
            _batch_side(stack, folder / "bare", events),
            _pipeline_side("naive", *naive, events // 5),
            _file_side(folder / "synced.jsonl", events // 5),
        ]
        figures = alternate(sides, rounds=sizes.rounds, calls=1)
    for name, count in (("segue", events), ("naive", events // 5)):
        _check_count(folder / name / "sessions.db", count * (sizes.rounds + 1))
    rates = {name: figure.p50 for name, figure in figures.items()}

    def row(name: str, label: str, goal: float | None, stretch: float | None = None) -> Row:
        return Row(
            number=8,
            quantity=f"durable appends a second over stdio, {IN_FLIGHT} in flight",
            measured=f"{rates['segue']:,.0f}/s",
            baseline=f"{label}, {rates[name]:,.0f}/s",
            value=rates["segue"] / rates[name],
            goal=None if goal is None else at_least(goal),
            stretch=None if stretch is None else at_least(stretch),
        )

    yield row("bare", f"raw sqlite3, transactions of {IN_FLIGHT}", 0.35, 0.5)
    yield row("naive", "naive pygls and aiosqlite", 10)
    yield row("jsonl", "JSONL with fsync", None)


def _rate_side(name: str, events: int, prepare: Callable[[], Callable[[], object]]) -> Side:
    def measure(_: int) -> Samples:
        work = prepare()
        begin = time.perf_counter()
        work()
        return {name: [events / (time.perf_counter() - begin)]}

    return measure


def _pipeline_side(name: str, server: Server, session_id: str, events: int) -> Side:
    def prepare() -> Callable[[], object]:
        frames = [append.append_frame(server, session_id) for _ in range(events)]

        def work() -> None:
            assert server.pipeline(frames, IN_FLIGHT) == events

        return work

    return _rate_side(name, events, prepare)


def _batch_side(stack: contextlib.ExitStack, folder: Path, events: int) -> Side:
    db = append.connect_raw(stack, folder)
    key = 1 << 32

    def prepare() -> Callable[[], object]:
        nonlocal key
        rows = [append.event_row(key + n) for n in range(1, events + 1)]
        key += events

        def work() -> None:
            for start in range(0, events, IN_FLIGHT):
                append.commit(db, rows[start : start + IN_FLIGHT])

        return work

    return _rate_side("bare", events, prepare)


def _file_side(path: Path, events: int) -> Side:
    def work() -> None:
        with open(path, "a", encoding="utf-8") as file:
            for number in range(events):
                event = {"id": number, "type": "text", "data": stores.DATA}
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())

    return _rate_side("jsonl", events, lambda: work)


def _check_count(path: Path, expected: int) -> None:
    with contextlib.closing(driver.connect(str(path))) as db:
        # The first append to a resumed session also stores its boundary.
        (stored,) = db.execute(
            "SELECT count(*) FROM events WHERE type <> 'system_context'"
        ).fetchone()
    assert stored == expected, f"{stored:,} of {expected:,} events are stored"
