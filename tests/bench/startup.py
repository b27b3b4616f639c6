"""The time from the start of the process to the first responses, and the memory used then."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import peers, stores
from tests.bench.measure import (
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
from tests.bench.wire import NAIVE, SEGUE, Server

_EVENTS, _TAIL = 1_000, 50
_PASS, _ASYNCIO = "`python -I -c pass`", "`python -I -c 'import asyncio'`"
_NUMBERS = {"initialize": 1, "open": 2}
_QUANTITIES = {
    "initialize": "from process start to the response to `initialize`",
    "open": f"from process start to the response to `session/open` ({_EVENTS:,} events)",
}


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a bare interpreter, a naive server, and two well-known servers."""
    path = folder / "startup" / "sessions.db"
    with stores.create_database(path) as db:
        session_id = stores.add_session(db, 1, _EVENTS)
    sides = [
        _interpreter_side(_PASS, "pass"),
        _interpreter_side(_ASYNCIO, "import asyncio"),
        _server_side("segue", SEGUE, path, session_id),
        _server_side("naive pygls", NAIVE, path, session_id),
    ]
    others = {
        "jedi-language-server": [str(peers.PROGRAMS / "jedi-language-server")],
        "ruff server": [str(peers.PROGRAMS / "ruff"), "server"],
    }
    if peers.is_installed():
        sides += [_server_side(name, command, path) for name, command in others.items()]
    with pin_to_one_cpu():
        figures = alternate(sides, rounds=sizes.rounds, calls=sizes.starts)
    segue = {key: figures[f"segue {key}"].p50 for key in ("initialize", "open", "memory")}

    def row(key: str, name: str, goal: float | None = None, stretch: float | None = None) -> Row:
        seconds = figures[name if name in figures else f"{name} {key}"].p50
        return Row(
            number=_NUMBERS[key],
            quantity=_QUANTITIES[key],
            measured=format_seconds(segue[key]),
            baseline=f"{name}, {format_seconds(seconds)}",
            value=segue[key] / seconds,
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )

    yield row("initialize", "naive pygls", 0.4)
    yield row("initialize", _PASS, stretch=1.5)
    for name in others:
        if peers.is_installed():
            yield row("initialize", name)
        else:
            measured = format_seconds(segue["initialize"])
            yield peers.absent_row(1, _QUANTITIES["initialize"], measured, name)
    yield row("open", "naive pygls", 0.4, 0.25)
    yield row("open", _ASYNCIO)
    naive_memory = figures["naive pygls memory"].p50
    yield Row(
        number=3,
        quantity="resident memory after `session/open`",
        measured=format_mib(segue["memory"]),
        baseline=f"naive pygls, {format_mib(naive_memory)}",
        value=segue["memory"] / naive_memory,
        goal=at_most(0.6),
        stretch=at_most(0.5),
    )


def _interpreter_side(name: str, code: str) -> Side:
    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-c", code], check=True)
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def _server_side(
    name: str, command: Sequence[str], path: Path, session_id: str | None = None
) -> Side:
    def measure(calls: int) -> Samples:
        samples: dict[str, list[float]] = {"initialize": [], "open": [], "memory": []}
        for _ in range(calls):
            begin = time.perf_counter()
            server = Server(path, command, quiet=session_id is None)
            server.initialize()
            samples["initialize"].append(time.perf_counter() - begin)
            if session_id is not None:
                opened = server.request("session/open", {"sessionId": session_id, "tail": _TAIL})
                samples["open"].append(time.perf_counter() - begin)
                assert len(opened["events"]) == _TAIL
            samples["memory"].append(server.resident_memory())
            server.shut_down()
        return {f"{name} {key}": values for key, values in samples.items() if values}

    return measure
