"""The cost of reading a whole long session over stdio, page by page: time and memory."""

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
    alternate,
    at_most,
    format_mib,
    format_seconds,
    pin_to_one_cpu,
)
from tests.bench.wire import NAIVE, Server

_SELECT = """
SELECT seq, id, invocation, created_at, type, data FROM events WHERE session = ? ORDER BY key
"""
_MAX_ROUNDS = 5  # each takes seconds
_STEPS = ("fetchall", "json.dumps", "pipe", "json.loads")


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with the sum of the unavoidable steps, and with one response that holds all."""
    path, ids = stores.event_database(folder, sizes)
    count = sizes.longest
    segue, naive = Server(path), Server(path, NAIVE)
    with pin_to_one_cpu():
        for server in (segue, naive):
            server.initialize()
        sides = [
            _page_side(segue, ids[count], count),
            _steps_side(path, count, folder / "events.json"),
            _one_response_side(naive, ids[count], count),
        ]
        figures = alternate(sides, rounds=min(sizes.rounds, _MAX_ROUNDS), calls=1)
        peaks = segue.peak_memory(), naive.peak_memory()
        for server in (segue, naive):
            server.shut_down()
    yield from _rows(figures, count, *peaks)


def read_all_pages(server: Server, session_id: str, limit: int = 1_000) -> int:
    """Read a whole session, requesting each page before the previous one is parsed.

    Returns the number of events. Fails if a page but the last has not *limit* events.
    """

    def request_page(after: int) -> None:
        params = {"sessionId": session_id, "after": after, "limit": limit}
        server.send(server.frame("session/events", params))

    count, has_more = 0, True
    request_page(0)
    while has_more:
        request_page(count + limit)
        page = json.loads(server.receive())["result"]
        count, has_more = count + len(page["events"]), page["hasMore"]
        assert not has_more or len(page["events"]) == limit, "a page was cut short"
    server.receive()
    return count


def _rows(
    figures: dict[str, Figure], count: int, segue_peak: int, naive_peak: int
) -> Iterator[Row]:
    quantity = f"a session of {count:,} events over stdio, in pages of 1,000"
    steps = {name: figures[name].p50 for name in _STEPS}
    listed = " + ".join(f"{name} {format_seconds(seconds)}" for name, seconds in steps.items())
    yield Row(
        number=13,
        quantity=quantity,
        measured=format_seconds(figures["pages"].p50),
        baseline=f"the unavoidable steps, {listed} = {format_seconds(sum(steps.values()))}",
        value=figures["pages"].p50 / sum(steps.values()),
        goal=at_most(1.5),
        stretch=at_most(1.1),
    )
    yield Row(
        number=13,
        quantity=quantity,
        measured=format_seconds(figures["pages"].p50),
        baseline=f"naive pygls, in one response, {format_seconds(figures['one response'].p50)}",
        value=figures["pages"].p50 / figures["one response"].p50,
    )
    yield Row(
        number=13,
        quantity=f"the server's peak memory for a session of {count:,} events",
        measured=format_mib(segue_peak),
        baseline=f"naive pygls, in one response, {format_mib(naive_peak)}",
        value=segue_peak / naive_peak,
        goal=at_most(0.25),
        stretch=at_most(0.15),
    )


def _page_side(server: Server, session_id: str, count: int) -> Side:
    def measure(_: int) -> Samples:
        begin = time.perf_counter()
        assert read_all_pages(server, session_id) == count
        return {"pages": [time.perf_counter() - begin]}

    return measure


def _one_response_side(server: Server, session_id: str, count: int) -> Side:
    def measure(_: int) -> Samples:
        begin = time.perf_counter()
        opened = server.request("session/open", {"sessionId": session_id, "tail": count})
        seconds = time.perf_counter() - begin
        assert len(opened["events"]) == count
        return {"one response": [seconds]}

    return measure


def _steps_side(path: Path, session: int, copy: Path) -> Side:
    def measure(_: int) -> Samples:
        with contextlib.closing(driver.connect(str(path))) as db:
            db.row_factory = None
            times = [time.perf_counter()]
            rows = db.execute(_SELECT, (session,)).fetchall()
        times.append(time.perf_counter())
        json_text = json.dumps([(row[0], row[1].hex(), *row[2:]) for row in rows]).encode()
        times.append(time.perf_counter())
        copy.write_bytes(json_text)
        times.append(time.perf_counter())
        with subprocess.Popen(["cat", copy], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            piped = cat.stdout.read()
        times.append(time.perf_counter())
        json.loads(piped)
        times.append(time.perf_counter())
        durations = [after - before for before, after in itertools.pairwise(times)]
        del durations[2]  # writing the file is not one of the steps
        return {name: [seconds] for name, seconds in zip(_STEPS, durations, strict=True)}

    return measure
