"""Compares the requests of two checkouts: `python tests/bench/compare.py --against CHECKOUT`.

Each side's server runs the package of its own checkout under this interpreter; this client drives
both over stdio with the same events. Every round has new servers and new databases, and the sides
alternate in blocks: A B B A, in the next round B A A B. The value of a round is the median of its
blocks, but the maximum of the worst waits and the minimum of the CPU times; that of a side is the
median of its rounds. CPU is the time of the server processes alone, and the figure that depends
least on what else the machine does.
"""

import argparse
import contextlib
import itertools
import json
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script has only its own folder
sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

import attrs

from tests.bench import stores
from tests.bench.measure import format_mib, format_seconds, pin_to_one_cpu
from tests.bench.report import describe_commit, print_line
from tests.bench.wire import CHECKOUT, SEGUE, Server, environment

IN_FLIGHT = 64
OPENED = 100
"""Of the row `open`: the events of the session."""

PROCESSES, SESSIONS = 8, 4
"""Of the row `contention`: server processes on one store, and the sessions that they share."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How much a block measures, and how many blocks a round has for each side."""

    appends: int
    pipelined: int
    contention_s: float
    blocks: int
    contention_blocks: int


FULL = Sizes(appends=50, pipelined=512, contention_s=3, blocks=8, contention_blocks=2)
QUICK = Sizes(appends=5, pipelined=128, contention_s=0.3, blocks=2, contention_blocks=2)

Values = Mapping[str, float]
"""The figures of a block or a round, by a key of FIGURES."""

Block = Callable[[], Values]
"""Measures one block on servers that are ready."""

Start = Callable[[contextlib.ExitStack, Path, Path, Sizes], Block]
"""Starts the servers of a checkout on a new database in a folder; the stack shuts them down."""


@attrs.frozen
class Figure:
    """How a figure is shown, and how the values of blocks become that of a round."""

    name: str
    show: Callable[[float], str]
    reduce: Callable[[Sequence[float]], float] = statistics.median


def _show_rate(rate: float) -> str:
    return f"{rate:,.0f}/s"


FIGURES = {
    "latency": Figure("latency p50", format_seconds),
    "rate": Figure("events a second", _show_rate),
    "p99": Figure("wait p99", format_seconds),
    "worst": Figure("worst wait", format_seconds, max),
    "cpu": Figure("server CPU of each", format_seconds, min),
    "memory": Figure("resident memory", format_mib),
}

# -- rows ----------------------------------------------------------------------------------------


def start_start(stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes) -> Block:
    """Start the row `start`: a server until it answers `initialize`; its memory after an open."""
    path = folder / "sessions.db"
    first = Server(path, SEGUE, checkout=checkout)
    first.initialize()
    session_id = _open_new(first, folder)
    for number in range(OPENED):
        first.exchange(_append_frame(first, session_id, number))
    first.shut_down()

    def block() -> Values:
        begin = time.perf_counter()
        server = Server(path, SEGUE, checkout=checkout)
        server.initialize()
        seconds, used = time.perf_counter() - begin, server.cpu_time()
        server.request("session/open", {"sessionId": session_id})
        memory = server.resident_memory()
        server.shut_down()
        return {"latency": seconds, "cpu": used, "memory": memory}

    return block


def start_append(stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes) -> Block:
    """Start the row `append`: one event a request, answered before the next is sent."""
    server = _start_server(stack, checkout, folder)
    session_id = _open_new(server, folder)
    numbers = itertools.count()

    def block() -> Values:
        frames = [_append_frame(server, session_id, n) for n in _take(numbers, sizes.appends)]
        seconds, cpu = [], server.cpu_time()
        for frame in frames:
            begin = time.perf_counter()
            response = server.exchange(frame)
            seconds.append(time.perf_counter() - begin)
            assert b'"error"' not in response, response
        used = server.cpu_time() - cpu
        return {"latency": statistics.median(seconds), "cpu": used / len(frames)}

    return block


def start_open(stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes) -> Block:
    """Start the row `open`: a session of OPENED events is opened, and closed between."""
    server = _start_server(stack, checkout, folder)
    session_id = _open_new(server, folder)
    for number in range(OPENED):
        server.exchange(_append_frame(server, session_id, number))
    close = server.frame("session/close", {"sessionId": session_id})
    frame = server.frame("session/open", {"sessionId": session_id})
    return _reading_block(server, frame, sizes, between=close)


def start_find_resumable(
    stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes
) -> Block:
    """Start the row `find-resumable`, in a folder with a few sessions."""
    server = _start_server(stack, checkout, folder)
    for number in range(5):
        server.exchange(_append_frame(server, _open_new(server, folder), number))
    frame = server.frame("session/findResumable", {"workspace": str(folder)})
    return _reading_block(server, frame, sizes)


def _reading_block(
    server: Server, frame: bytes, sizes: Sizes, between: bytes | None = None
) -> Block:
    def block() -> Values:
        seconds, cpu = [], server.cpu_time()
        for _ in range(sizes.appends):
            if between is not None:
                server.exchange(between)
            begin = time.perf_counter()
            response = server.exchange(frame)
            seconds.append(time.perf_counter() - begin)
            assert b'"error"' not in response, response
        used = server.cpu_time() - cpu
        return {"latency": statistics.median(seconds), "cpu": used / sizes.appends}

    return block


def start_pipelined(
    stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes
) -> Block:
    """Start the row `pipelined`: IN_FLIGHT appends to one session are unanswered at any time."""
    return _start_pipelines(stack, checkout, folder, sizes, sessions=1)


def start_two_sessions(
    stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes
) -> Block:
    """Start the row `two-sessions`: as `pipelined`, alternately to two sessions."""
    return _start_pipelines(stack, checkout, folder, sizes, sessions=2)


def _start_pipelines(
    stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes, *, sessions: int
) -> Block:
    server = _start_server(stack, checkout, folder)
    ids = [_open_new(server, folder) for _ in range(sessions)]
    numbers = itertools.count()

    def block() -> Values:
        queues = [_Queue(server, each, numbers, sizes.pipelined // sessions) for each in ids]
        cpu, begin = server.cpu_time(), time.perf_counter()
        _run_pipelines(server, queues, IN_FLIGHT // sessions)
        seconds, used = time.perf_counter() - begin, server.cpu_time() - cpu
        return {"rate": sizes.pipelined / seconds, "cpu": used / sizes.pipelined}

    return block


class _Queue:
    """Appends to one session, of which a fixed number is in flight."""

    def __init__(self, server: Server, session_id: str, numbers: Iterator[int], count: int) -> None:
        events = _take(numbers, count)
        self.event_ids = {_event_id(number) for number in events}
        self.frames = deque(_append_frame(server, session_id, number) for number in events)

    def take(self, count: int) -> bytes:
        """Remove the next *count* requests and return them joined."""
        return b"".join(self.frames.popleft() for _ in range(min(count, len(self.frames))))


def _run_pipelines(server: Server, queues: Sequence[_Queue], in_flight: int) -> None:
    unanswered = sum(len(queue.frames) for queue in queues)
    server.send(b"".join(queue.take(1) for _ in range(in_flight) for queue in queues))
    while unanswered:
        refill = b""
        for body in server.receive_available():
            assert b'"error"' not in body, body
            event_id = json.loads(body)["result"]["events"][0]["id"]
            refill += next(queue for queue in queues if event_id in queue.event_ids).take(1)
            unanswered -= 1
        server.send(refill)


def start_contention(
    stack: contextlib.ExitStack, checkout: Path, folder: Path, sizes: Sizes
) -> Block:
    """Start the row `contention`: PROCESSES servers append to SESSIONS sessions of one store.

    A writer that gets HeadMoved resends its event behind the new head; the wait counts both.
    """
    servers = [_start_server(stack, checkout, folder) for _ in range(PROCESSES)]
    ids = [_open_new(servers[0], folder) for _ in range(SESSIONS)]
    for number, session_id in enumerate(ids):
        response = servers[0].exchange(_append_frame(servers[0], session_id, number))
        assert b'"error"' not in response, response
    selector = stack.enter_context(selectors.DefaultSelector())
    writers = []
    for number, server in enumerate(servers):
        writers.append(_Writer(server, ids[number % SESSIONS], first=(number + 1) * 1_000_000))
        selector.register(server, selectors.EVENT_READ, writers[-1])

    def block() -> Values:
        cpu, begin = sum(server.cpu_time() for server in servers), time.monotonic()
        waits = _run_writers(selector, writers, begin + sizes.contention_s)
        seconds = time.monotonic() - begin
        used = sum(server.cpu_time() for server in servers) - cpu
        return {
            "rate": len(waits) / seconds,
            "p99": sorted(waits)[len(waits) * 99 // 100],
            "worst": max(waits),
            "cpu": used / len(waits),
        }

    return block


class _Writer:
    """One server process that appends to one session, an event at a time."""

    def __init__(self, server: Server, session_id: str, first: int) -> None:
        opened = server.request("session/open", {"sessionId": session_id, "tail": 1})
        self.server = server
        self._session_id = session_id
        self._head = opened["session"]["head"]
        self._number = first
        self._begin = 0.0

    def begin(self) -> None:
        """Send the next event."""
        self._number += 1
        self._begin = time.monotonic()
        self._send()

    def finish(self, body: bytes) -> float | None:
        """Return the seconds that the event waited, or None if it had to be sent again."""
        response = json.loads(body)
        if error := response.get("error"):
            assert error["data"]["kind"] == "HeadMoved", error
            self._head = error["data"]["head"]
            self._send()
            return None
        self._head = response["result"]["head"]
        return time.monotonic() - self._begin

    def _send(self) -> None:
        frame = _append_frame(self.server, self._session_id, self._number, parentId=self._head)
        self.server.send(frame)


def _run_writers(
    selector: selectors.BaseSelector, writers: Sequence[_Writer], end: float
) -> list[float]:
    waits = []
    for writer in writers:
        writer.begin()
    busy = len(writers)
    while busy:
        for key, _ in selector.select():
            writer = key.data
            for body in writer.server.receive_available():
                if (wait := writer.finish(body)) is None:
                    continue
                waits.append(wait)
                if time.monotonic() < end:
                    writer.begin()
                else:
                    busy -= 1
    return waits


ROWS: dict[str, Start] = {
    "start": start_start,
    "append": start_append,
    "open": start_open,
    "find-resumable": start_find_resumable,
    "pipelined": start_pipelined,
    "two-sessions": start_two_sessions,
    "contention": start_contention,
}

# -- requests ------------------------------------------------------------------------------------


def _start_server(stack: contextlib.ExitStack, checkout: Path, folder: Path) -> Server:
    server = Server(folder / "sessions.db", SEGUE, checkout=checkout)
    stack.callback(server.shut_down)
    server.initialize()
    return server


def _open_new(server: Server, folder: Path) -> str:
    opened = server.request("session/open", {"workspace": str(folder), "mode": "new", "tail": 1})
    session_id: str = opened["session"]["sessionId"]
    return session_id


def _append_frame(server: Server, session_id: str, number: int, **params: Any) -> bytes:
    event = {"id": _event_id(number), "type": "text", "data": stores.DATA}
    return server.frame("session/append", {"sessionId": session_id, "events": [event], **params})


def _event_id(number: int) -> str:
    return f"0190a0e0-0000-7000-8000-{number:012x}"


def _take(numbers: Iterator[int], count: int) -> list[int]:
    return list(itertools.islice(numbers, count))


# -- rounds --------------------------------------------------------------------------------------


def run_round(
    row: str, checkouts: Sequence[Path], folder: Path, sizes: Sizes, *, reverse: bool
) -> list[Values]:
    """Measure *row* once for two checkouts, in alternating blocks; return the values of each.

    *reverse* lets the second one begin.
    """
    blocks = sizes.contention_blocks if row == "contention" else sizes.blocks
    values: list[list[Values]] = [[] for _ in checkouts]
    with contextlib.ExitStack() as stack:
        run_blocks = []
        for index, checkout in enumerate(checkouts):
            home = folder / str(index)
            home.mkdir(parents=True)
            run_blocks.append(ROWS[row](stack, checkout, home, sizes))
            if row != "contention":
                run_blocks[-1]()  # warms up
        for number in range(blocks):
            order = (0, 1) if reverse == number % 2 else (1, 0)
            for index in order:
                values[index].append(run_blocks[index]())
    return [
        {key: FIGURES[key].reduce([each[key] for each in side]) for key in side[0]}
        for side in values
    ]


def format_rows(row: str, rounds: Sequence[Sequence[Values]]) -> Iterator[str]:
    """Yield a line of the table for each figure of *row*: medians, ratio, and their ranges."""
    for key in rounds[0][0]:
        figure = FIGURES[key]
        cells = [row, figure.name]
        sides = [[sides[index][key] for sides in rounds] for index in (0, 1)]
        for values in sides:
            low, high = figure.show(min(values)), figure.show(max(values))
            cells.append(f"{figure.show(statistics.median(values))} ({low}..{high})")
        ratio = statistics.median(sides[1]) / statistics.median(sides[0])
        ratios = [new / old for old, new in zip(*sides, strict=True)]
        cells += [f"**{ratio:.3f}**", f"{min(ratios):.3f}..{max(ratios):.3f}"]
        yield f"| {' | '.join(cells)} |"


def check_package(checkout: Path) -> None:
    """Raise SystemExit unless a server of *checkout* imports the package of *checkout*."""
    code = "import segue; print(segue.__file__)"
    command = [sys.executable, "-P", "-c", code]
    found = subprocess.run(
        command, env=environment(checkout), capture_output=True, text=True, check=False
    ).stdout.strip()
    if not Path(found).is_relative_to(checkout / "server"):
        raise SystemExit(f"{checkout} has no package server/segue: {found or 'none'} is imported")


def main() -> None:
    """Measure the rows named on the command line, and print the table."""
    parser = argparse.ArgumentParser("python tests/bench/compare.py", description=__doc__)
    parser.add_argument("--against", type=Path, required=True, help="the other checkout")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument(
        "--unpinned", action="store_true", help="use all CPUs in every row, not only in contention"
    )
    options = parser.parse_args()
    checkouts = [options.against.resolve(), CHECKOUT]
    for checkout in checkouts:
        check_package(checkout)
    against, this = (describe_commit(checkout) for checkout in checkouts)
    print_line(f"| row | figure | {against} | {this} | ratio of medians | ratio by round |")
    print_line("|---|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="segue-compare-") as folder:
        for row in options.rows:
            is_pinned = not (options.unpinned or row == "contention")
            with pin_to_one_cpu() if is_pinned else contextlib.nullcontext():
                rounds = [
                    run_round(
                        row,
                        checkouts,
                        Path(folder) / f"{row}-{number}",
                        QUICK if options.quick else FULL,
                        reverse=number % 2 == 1,
                    )
                    for number in range(options.rounds)
                ]
            for line in format_rows(row, rounds):
                print_line(line)


if __name__ == "__main__":
    main()
