"""How a ratio is measured: two or more sides take turns, and medians are compared."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import attrs

Side = Callable[[int], list[float]]
"""Measures one thing so many times; returns the seconds that each took."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    calls: int
    starts: int
    sessions: tuple[int, ...]
    events: tuple[int, int]


FULL = Sizes(
    rounds=7, calls=300, starts=3, sessions=(1_000, 100_000, 1_000_000), events=(1_000, 100_000)
)
QUICK = Sizes(rounds=5, calls=50, starts=1, sessions=(1_000, 10_000), events=(1_000, 10_000))


@attrs.frozen(kw_only=True)
class Row:
    """One question and its answer; printed, a row of the table."""

    question: str
    measured: str
    against: str
    ratio: float
    goal: str

    def __str__(self) -> str:
        cells = (self.question, self.measured, self.against, f"**{self.ratio:.2f}x**", self.goal)
        return f"| {' | '.join(cells)} |"


def take_turns(sides: Mapping[str, Side], *, rounds: int, calls: int) -> dict[str, float]:
    """Return each side's seconds: the median of its rounds' medians."""
    medians: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            median = statistics.median(side(calls))
            if number:  # the round before the first warms up
                medians[name].append(median)
    return {name: statistics.median(found) for name, found in medians.items()}


def timed(prepare: Callable[[], Callable[[], object]]) -> Side:
    """Return a side that times what *prepare* returns, each time anew, without the preparing."""

    def measure(calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            work = prepare()
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        return seconds

    return measure


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this process, and what it starts, on one CPU: waking another one is no cost of ours."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def shown(seconds: float) -> str:
    """Return a time with its unit: `310 µs`, `4.2 ms`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
