"""The latency of a request that does nothing: transport, JSON and the structuring of params."""

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
    alternate,
    at_least,
    at_most,
    cap_calls,
    format_seconds,
    pin_to_one_cpu,
)
from tests.bench.wire import BARE, NAIVE, SEGUE_ECHO, Server

_SMALL = "x" * 120
_NESTED = [
    {"name": f"item {n}", "tags": ["one", "two"], "line": n, "text": "y" * 130} for n in range(100)
]
_VALUES = {"200 B": _SMALL, "20 KB of nested objects": _NESTED}
_NAIVE_NESTED_PER_ROUND = 30


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with a bare loop, with pygls' defaults, and with `cat` for the pipes alone."""
    folder /= "round_trip"
    folder.mkdir()
    with pin_to_one_cpu():
        servers = {
            "segue": Server(folder / "sessions.db", SEGUE_ECHO),
            "naive": Server(folder / "naive.db", NAIVE),
            "bare": Server(folder / "bare.db", BARE),
            "cat": Server(folder / "cat.db", ["cat"]),
        }
        for name in ("segue", "naive"):
            servers[name].initialize()
        sides = [
            cap_calls(side, _NAIVE_NESTED_PER_ROUND)
            if name == "naive" and value is _NESTED
            else side
            for size, value in _VALUES.items()
            for name, server in servers.items()
            for side in [_echo_side(f"{name} {size}", server, value)]
        ]
        figures = alternate(sides, rounds=sizes.rounds, calls=sizes.calls)
        for name, server in servers.items():
            server.shut_down() if name in ("segue", "naive") else server.close()
    goals = (
        (4, "200 B", at_most(1.2), at_most(0.8), at_least(8), at_least(15)),
        (5, "20 KB of nested objects", at_most(1.2), at_most(0.9), at_least(20), at_least(30)),
    )
    for number, size, bare_goal, bare_stretch, naive_goal, naive_stretch in goals:
        segue, naive = figures[f"segue {size}"], figures[f"naive {size}"]
        bare, cat = figures[f"bare {size}"], figures[f"cat {size}"]
        quantity = f"JSON-RPC round trip, {size}, p50"
        yield Row(
            number=number,
            quantity=quantity,
            measured=format_seconds(segue.p50),
            baseline=(
                f"a bare Python loop, {format_seconds(bare.p50)}; `cat`, {format_seconds(cat.p50)}"
            ),
            value=segue.p50 / bare.p50,
            goal=bare_goal,
            stretch=bare_stretch,
        )
        yield Row(
            number=number,
            quantity=quantity,
            measured=format_seconds(segue.p50),
            baseline=f"pygls' defaults, {format_seconds(naive.p50)}",
            value=naive.p50 / segue.p50,
            unit="x faster",
            goal=naive_goal,
            stretch=naive_stretch,
        )
        yield Row(
            number=number,
            quantity=f"JSON-RPC round trip, {size}, p99",
            measured=format_seconds(segue.p99),
            baseline=f"pygls' defaults, {format_seconds(naive.p99)}",
            value=naive.p99 / segue.p99,
            unit="x faster",
            stretch=at_least(100) if _VALUES[size] is _NESTED else None,
        )


def _echo_side(name: str, server: Server, value: object) -> Side:
    frame = server.frame("bench/echo", {"value": value})
    json_text = json.dumps(value, separators=(",", ":")).encode()

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in itertools.repeat(None, calls):
            begin = time.perf_counter()
            response = server.exchange(frame)
            seconds.append(time.perf_counter() - begin)
        assert "naive" in name or json_text in response, response[:200]
        return {name: seconds}

    return measure
