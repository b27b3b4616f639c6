"""Question 4: how long an editor waits for its first session, from the start of the process."""

import statistics
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
    ours, naive = _Starts(SEGUE, path, session_id), _Starts(NAIVE, path, session_id)
    sides: dict[str, Side] = {"bare": _bare, "ours": ours, "naive": naive}
    found = take_turns(sides, rounds=sizes.rounds, calls=sizes.starts)
    first = {side: statistics.median(side.initialized) for side in (ours, naive)}
    yield Row(
        question="from start to `initialize` answered",
        measured=shown(first[ours]),
        against=f"a naive pygls server, {shown(first[naive])}",
        ratio=first[ours] / first[naive],
        goal="<= 0.4x",
    )
    for name, text, goal in (
        ("naive", "a naive pygls server", "<= 0.4x (stretch 0.25x)"),
        ("bare", "`python -c pass`", ""),
    ):
        yield Row(
            question=f"from start to the first `session/open` answered ({_EVENTS:,} events)",
            measured=shown(found["ours"]),
            against=f"{text}, {shown(found[name])}",
            ratio=found["ours"] / found[name],
            goal=goal,
        )
    if ours.memory:
        mine, theirs = (min(side.memory) / 1024 for side in (ours, naive))
        yield Row(
            question="resident memory then",
            measured=f"{mine:.1f} MiB",
            against=f"a naive pygls server, {theirs:.1f} MiB",
            ratio=mine / theirs,
            goal="<= 0.6x (stretch 0.5x)",
        )


def _bare(calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds.append(time.perf_counter() - begin)
    return seconds


class _Starts:
    """A side that starts a server, again and again, and opens the session with it."""

    def __init__(self, command: Sequence[str], path: Path, session_id: str) -> None:
        self._command = command
        self._path = path
        self._params = {"sessionId": session_id, "tail": _TAIL}
        self.initialized: list[float] = []
        self.memory: list[int] = []

    def __call__(self, calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            server = Server(self._path, self._command)
            server.initialize()
            self.initialized.append(time.perf_counter() - begin)
            opened = server.request("session/open", self._params)
            seconds.append(time.perf_counter() - begin)
            assert len(opened["events"]) == _TAIL
            self.memory.extend(filter(None, [server.memory()]))
            server.end()
        return seconds
