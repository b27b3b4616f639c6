"""Question 4: how long an editor waits for its first session, from the start of the process."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import stores
from tests.bench.measuring import Row, Side, Sizes, shown, take_turns
from tests.bench.wire import NAIVE, SEGUE, Server

_EVENTS, _TAIL = 1_000, 50


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a bare interpreter and with a server as pygls' documentation has one."""
    path = folder / "starting" / "sessions.db"
    with stores.made(path) as db:
        session_id = stores.add_session(db, 1, _EVENTS)
        memory: dict[str, list[int]] = {"ours": [], "naive": []}
    sides = {
        "bare": _bare,
        "ours": _start(SEGUE, path, session_id, memory["ours"]),
        "naive": _start(NAIVE, path, session_id, memory["naive"]),
    }
    found = take_turns(sides, rounds=sizes.rounds, calls=sizes.starts)
    for name, text, goal in (
        ("naive", "a naive pygls server", "<= 0.5x"),
        ("bare", "`python -c pass`", ""),
    ):
        yield Row(
            question=f"from start to the first `session/open` answered ({_EVENTS:,} events)",
            measured=shown(found["ours"]),
            against=f"{text}, {shown(found[name])}",
            ratio=found["ours"] / found[name],
            goal=goal,
        )
    if memory["ours"]:
        ours, naive = (min(memory[name]) / 1024 for name in ("ours", "naive"))
        yield Row(
            question="resident memory then",
            measured=f"{ours:.1f} MiB",
            against=f"a naive pygls server, {naive:.1f} MiB",
            ratio=ours / naive,
            goal="",
        )


def _bare(calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds.append(time.perf_counter() - begin)
    return seconds


def _start(command: Sequence[str], path: Path, session_id: str, memory: list[int]) -> Side:
    def measure(calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            server = Server(path, command)
            server.initialize()
            opened = server.request("session/open", {"sessionId": session_id, "tail": _TAIL})
            seconds.append(time.perf_counter() - begin)
            assert len(opened["events"]) == _TAIL
            memory.extend(filter(None, [server.memory()]))
            server.end()
        return seconds

    return measure
