"""How long an editor waits for its first session, from the start of the process, and its memory."""

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
    at_most,
    mib,
    one_cpu,
    shown,
    take_turns,
)
from tests.bench.wire import NAIVE, SEGUE, Server

_EVENTS, _TAIL = 1_000, 50
_PASS, _ASYNCIO = "`python -I -c pass`", "`python -I -c 'import asyncio'`"
_NUMBERS = {"initialize": 1, "open": 2}
_QUESTIONS = {
    "initialize": "from start to `initialize` answered",
    "open": f"from start to `session/open` answered ({_EVENTS:,} events)",
}


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a bare interpreter, a naive server, and two well-known ones."""
    path = folder / "starting" / "sessions.db"
    with stores.made(path) as db:
        session_id = stores.add_session(db, 1, _EVENTS)
    sides = [
        _run(_PASS, "pass"),
        _run(_ASYNCIO, "import asyncio"),
        _start("segue", SEGUE, path, session_id),
        _start("naive pygls", NAIVE, path, session_id),
    ]
    others = {
        "jedi-language-server": [str(peers.PROGRAMS / "jedi-language-server")],
        "ruff server": [str(peers.PROGRAMS / "ruff"), "server"],
    }
    if peers.installed():
        sides += [_start(name, command, path) for name, command in others.items()]
    with one_cpu():
        found = take_turns(sides, rounds=sizes.rounds, calls=sizes.starts)
    ours = {key: found[f"segue {key}"].p50 for key in ("initialize", "open", "memory")}

    def row(key: str, other: str, goal: float | None = None, stretch: float | None = None) -> Row:
        theirs = found[other if other in found else f"{other} {key}"].p50
        return Row(
            number=_NUMBERS[key],
            question=_QUESTIONS[key],
            measured=shown(ours[key]),
            against=f"{other}, {shown(theirs)}",
            value=ours[key] / theirs,
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )

    yield row("initialize", "naive pygls", 0.4)
    yield row("initialize", _PASS, stretch=1.5)
    for name in others:
        if peers.installed():
            yield row("initialize", name)
        else:
            yield peers.absent(1, _QUESTIONS["initialize"], shown(ours["initialize"]), name)
    yield row("open", "naive pygls", 0.4, 0.25)
    yield row("open", _ASYNCIO)
    naive = found["naive pygls memory"].p50
    yield Row(
        number=3,
        question="resident memory then",
        measured=mib(ours["memory"]),
        against=f"naive pygls, {mib(naive)}",
        value=ours["memory"] / naive,
        goal=at_most(0.6),
        stretch=at_most(0.5),
    )


def _run(name: str, code: str) -> Side:
    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-c", code], check=True)
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def _start(name: str, command: Sequence[str], path: Path, session_id: str | None = None) -> Side:
    def measure(calls: int) -> Samples:
        found: dict[str, list[float]] = {"initialize": [], "open": [], "memory": []}
        for _ in range(calls):
            begin = time.perf_counter()
            server = Server(path, command, quiet=session_id is None)
            server.initialize()
            found["initialize"].append(time.perf_counter() - begin)
            if session_id is not None:
                opened = server.request("session/open", {"sessionId": session_id, "tail": _TAIL})
                found["open"].append(time.perf_counter() - begin)
                assert len(opened["events"]) == _TAIL
            found["memory"].append(server.resident())
            server.end()
        return {f"{name} {key}": samples for key, samples in found.items() if samples}

    return measure
