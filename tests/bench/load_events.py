"""What it costs to read a whole long session over stdio, page by page, in time and in memory."""

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from segue.store.sqlite import driver
from tests.bench import stores
from tests.bench.measure import (
    Figure,
    Row,
    Samples,
    Side,
    Sizes,
    at_most,
    mib,
    one_cpu,
    shown,
    take_turns,
)
from tests.bench.session_length import page_through
from tests.bench.wire import NAIVE, Server

_ROWS = """
SELECT seq, id, invocation, created_at, type, data FROM events WHERE session = ? ORDER BY key
"""
_ROUNDS = 5  # each takes seconds
_STEPS = ("fetchall", "json.dumps", "pipe", "json.loads")


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with the sum of what nobody can do without, and with one answer that holds all."""
    path, ids = stores.with_events(folder, sizes)
    count = sizes.longest
    pages, whole = Server(path), Server(path, NAIVE)
    with one_cpu():
        for server in (pages, whole):
            server.initialize()
        sides = [
            _pages(pages, ids[count], count),
            _floors(path, count, folder / "floors.json"),
            _at_once(whole, ids[count], count),
        ]
        found = take_turns(sides, rounds=min(sizes.rounds, _ROUNDS), calls=1)
        peaks = pages.peak(), whole.peak()
        for server in (pages, whole):
            server.end()
    yield from _rows(found, count, *peaks)


def _rows(found: dict[str, Figure], count: int, ours: int, naive: int) -> Iterator[Row]:
    question = f"a session of {count:,} events over stdio, in pages of 1,000"
    floors = {name: found[name].p50 for name in _STEPS}
    steps = " + ".join(f"{name} {shown(seconds)}" for name, seconds in floors.items())
    yield Row(
        number=13,
        question=question,
        measured=shown(found["pages"].p50),
        against=f"the least, {steps} = {shown(sum(floors.values()))}",
        value=found["pages"].p50 / sum(floors.values()),
        goal=at_most(1.5),
        stretch=at_most(1.1),
    )
    yield Row(
        number=13,
        question=question,
        measured=shown(found["pages"].p50),
        against=f"naive pygls, in one answer, {shown(found['at once'].p50)}",
        value=found["pages"].p50 / found["at once"].p50,
    )
    yield Row(
        number=13,
        question=f"the server's peak memory for a session of {count:,} events",
        measured=mib(ours),
        against=f"naive pygls, in one answer, {mib(naive)}",
        value=ours / naive,
        goal=at_most(0.25),
        stretch=at_most(0.15),
    )


def _pages(server: Server, session_id: str, count: int) -> Side:
    def measure(_: int) -> Samples:
        begin = time.perf_counter()
        assert page_through(server, session_id) == count
        return {"pages": [time.perf_counter() - begin]}

    return measure


def _at_once(server: Server, session_id: str, count: int) -> Side:
    def measure(_: int) -> Samples:
        begin = time.perf_counter()
        opened = server.request("session/open", {"sessionId": session_id, "tail": count})
        seconds = time.perf_counter() - begin
        assert len(opened["events"]) == count
        return {"at once": [seconds]}

    return measure


def _floors(path: Path, session: int, copy: Path) -> Side:
    def measure(_: int) -> Samples:
        with contextlib.closing(driver.connect(str(path))) as db:
            db.row_factory = None
            times = [time.perf_counter()]
            rows = db.execute(_ROWS, (session,)).fetchall()
        times.append(time.perf_counter())
        text = json.dumps([(row[0], row[1].hex(), *row[2:]) for row in rows]).encode()
        times.append(time.perf_counter())
        copy.write_bytes(text)
        times.append(time.perf_counter())
        with subprocess.Popen(["cat", copy], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            piped = cat.stdout.read()
        times.append(time.perf_counter())
        json.loads(piped)
        times.append(time.perf_counter())
        took = [after - before for before, after in itertools.pairwise(times)]
        del took[2]  # to write the file is no part of it
        return {name: [seconds] for name, seconds in zip(_STEPS, took, strict=True)}

    return measure
