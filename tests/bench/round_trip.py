"""What a request costs that does nothing: the transport, the JSON and the typed params alone."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    at_least,
    at_most,
    limited,
    one_cpu,
    shown,
    take_turns,
)
from tests.bench.wire import BARE, ECHO, NAIVE, Server

_SMALL = "x" * 120
_NESTED = [
    {"name": f"item {n}", "tags": ["one", "two"], "line": n, "text": "y" * 130} for n in range(100)
]
_VALUES = {"200 B": _SMALL, "20 KB of nested objects": _NESTED}
_SLOW = 30


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a bare loop, with pygls as it comes, and with the pipe alone."""
    folder = folder / "echoing"
    folder.mkdir()
    with one_cpu():
        servers = {
            "segue": Server(folder / "sessions.db", ECHO),
            "naive": Server(folder / "naive.db", NAIVE),
            "bare": Server(folder / "bare.db", BARE),
            "cat": Server(folder / "cat.db", ["cat"]),
        }
        for name in ("segue", "naive"):
            servers[name].initialize()
        sides = [
            limited(side, _SLOW) if name == "naive" and value is _NESTED else side
            for size, value in _VALUES.items()
            for name, server in servers.items()
            for side in [_echo(f"{name} {size}", server, value)]
        ]
        found = take_turns(sides, rounds=sizes.rounds, calls=sizes.calls)
        for name, server in servers.items():
            server.end() if name in ("segue", "naive") else server.close()
    goals = (
        (4, "200 B", at_most(1.2), at_most(0.8), at_least(8), at_least(15)),
        (5, "20 KB of nested objects", at_most(1.2), at_most(0.9), at_least(20), at_least(30)),
    )
    for number, size, bare_goal, bare_stretch, naive_goal, naive_stretch in goals:
        ours, naive = found[f"segue {size}"], found[f"naive {size}"]
        bare, cat = found[f"bare {size}"], found[f"cat {size}"]
        question = f"JSON-RPC round trip, {size}, p50"
        yield Row(
            number=number,
            question=question,
            measured=shown(ours.p50),
            against=f"a bare Python loop, {shown(bare.p50)}; `cat`, {shown(cat.p50)}",
            value=ours.p50 / bare.p50,
            goal=bare_goal,
            stretch=bare_stretch,
        )
        yield Row(
            number=number,
            question=question,
            measured=shown(ours.p50),
            against=f"pygls' default, {shown(naive.p50)}",
            value=naive.p50 / ours.p50,
            unit="x faster",
            goal=naive_goal,
            stretch=naive_stretch,
        )
        yield Row(
            number=number,
            question=f"JSON-RPC round trip, {size}, p99",
            measured=shown(ours.p99),
            against=f"pygls' default, {shown(naive.p99)}",
            value=naive.p99 / ours.p99,
            unit="x faster",
            stretch=at_least(100) if _VALUES[size] is _NESTED else None,
        )


def _echo(name: str, server: Server, value: object) -> Side:
    frame = server.frame("bench/echo", {"value": value})
    text = json.dumps(value, separators=(",", ":")).encode()

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in itertools.repeat(None, calls):
            begin = time.perf_counter()
            answer = server.exchange(frame)
            seconds.append(time.perf_counter() - begin)
        assert "naive" in name or text in answer, answer[:200]
        return {name: seconds}

    return measure
