"""How a figure is measured: the sides take turns, and medians are compared with a goal."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

Samples = Mapping[str, Sequence[float]]
"""What was measured, by the name of each figure."""

Side = Callable[[int], Samples]
"""Measures one thing, or a few that belong together, so many times."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    calls: int
    starts: int
    sessions: tuple[int, ...]
    lengths: tuple[int, ...]
    events: int
    """How many are appended where it is a matter of many: pipelined, or for the bytes of each."""
    saturated_s: float
    saturated_rounds: int
    idle_s: float

    @property
    def longest(self) -> int:
        """The events of the longest session."""
        return self.lengths[-1]


FULL = Sizes(
    rounds=7,
    calls=200,
    starts=3,
    sessions=(1_000, 100_000, 1_000_000),
    lengths=(10, 100, 1_000, 10_000, 100_000),
    events=20_000,
    saturated_s=15,
    saturated_rounds=2,
    idle_s=10,
)
QUICK = Sizes(
    rounds=3,
    calls=20,
    starts=1,
    sessions=(1_000, 10_000),
    lengths=(10, 100, 1_000, 5_000),
    events=2_000,
    saturated_s=2,
    saturated_rounds=1,
    idle_s=2,
)


@attrs.frozen
class Limit:
    """What a goal demands of a figure."""

    bound: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether *value* is within the limit."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        bound = number(self.bound)
        shortest = bound.rstrip("0").rstrip(".") if "." in bound else bound
        return f"{'≥' if self.at_least else '≤'} {shortest}"


def at_most(bound: float) -> Limit:
    """Return a limit that smaller figures keep."""
    return Limit(bound)


def at_least(bound: float) -> Limit:
    """Return a limit that larger figures keep."""
    return Limit(bound, at_least=True)


@attrs.frozen(kw_only=True)
class Row:
    """One figure, of one of the numbered goals."""

    number: int | None = None
    question: str
    measured: str
    against: str
    value: float | None = None
    """What the goal speaks of: mostly how many times as much as the other side's."""
    unit: str = "x"
    goal: Limit | None = None
    stretch: Limit | None = None


@attrs.frozen(kw_only=True)
class Curve:
    """How one cost grows."""

    name: str
    axis: str
    points: Mapping[int, float]
    ours: bool = True


FindResult = Row | Curve


@attrs.frozen(kw_only=True)
class Figure:
    """What the rounds found: the medians of their medians, and of their 99th percentiles."""

    p50: float
    p99: float


def take_turns(sides: Iterable[Side], *, rounds: int, calls: int) -> dict[str, Figure]:
    """Let the sides take turns, in so many rounds; return each figure."""
    sides = list(sides)
    p50s: dict[str, list[float]] = {}
    p99s: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for side in sides:
            for name, samples in side(calls).items():
                if number:  # the round before the first warms up
                    ordered = sorted(samples)
                    p50s.setdefault(name, []).append(statistics.median(ordered))
                    p99s.setdefault(name, []).append(ordered[len(ordered) * 99 // 100])
    return {
        name: Figure(p50=statistics.median(p50s[name]), p99=statistics.median(p99s[name]))
        for name in p50s
    }


def timed(name: str, prepare: Callable[[], Callable[[], object]]) -> Side:
    """Return a side that times what *prepare* returns, each time anew, without the preparing."""

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            work = prepare()
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def limited(side: Side, most: int) -> Side:
    """Return *side*, measured at most so many times a round: what is slow needs no more."""
    return lambda calls: side(min(calls, most))


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
    """Return a time with its unit: `310 µs`, `4.2 ms`, `1.25 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def mib(size: float) -> str:
    """Return a number of bytes as `36.7 MiB`."""
    return f"{size / 1024**2:.1f} MiB"


def number(value: float) -> str:
    """Return a figure with as many digits as mean something: `1,200`, `14.3`, `1.63`, `0.610`."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"
