"""Measurement: sides are run in alternating rounds, and medians are compared with goals."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

Samples = Mapping[str, Sequence[float]]
"""The samples of each figure, by its name; mostly seconds."""

_TURN = 10
"""The calls that a side makes in its turn."""

Side = Callable[[int], Samples]
"""Measures one figure, or a few that belong together: called with the number of samples to take."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is measured in a run."""

    rounds: int
    calls: int
    starts: int
    sessions: tuple[int, ...]
    lengths: tuple[int, ...]
    events: int
    """Events appended where throughput or the size on disk is measured."""
    contention_s: float
    contention_rounds: int
    idle_s: float
    import_mb: int
    """The size of the transcripts that are imported, in megabytes."""
    searched: int
    """The events of a store that is searched."""

    @property
    def longest(self) -> int:
        """The number of events in the longest session."""
        return self.lengths[-1]


FULL = Sizes(
    rounds=7,
    calls=200,
    starts=3,
    sessions=(1_000, 100_000, 1_000_000),
    lengths=(10, 100, 1_000, 10_000, 100_000),
    events=20_000,
    contention_s=15,
    contention_rounds=2,
    idle_s=10,
    import_mb=100,
    searched=1_000_000,
)
QUICK = Sizes(
    rounds=3,
    calls=20,
    starts=1,
    sessions=(1_000, 10_000),
    lengths=(10, 100, 1_000, 5_000),
    events=2_000,
    contention_s=2,
    contention_rounds=1,
    idle_s=2,
    import_mb=2,
    searched=2_000,
)


@attrs.frozen
class Limit:
    """The bound that a goal sets for a figure."""

    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Return whether *value* is within the limit."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        bound = format_number(self.bound)
        shortest = bound.rstrip("0").rstrip(".") if "." in bound else bound
        return f"{'≥' if self.at_least else '≤'} {shortest}"


def at_most(bound: float) -> Limit:
    """Return a limit that is met by *bound* and by smaller figures."""
    return Limit(bound)


def at_least(bound: float) -> Limit:
    """Return a limit that is met by *bound* and by larger figures."""
    return Limit(bound, at_least=True)


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table: a figure beside its baseline, and the goals for it."""

    number: int | None = None
    """The number of the goal that it belongs to."""

    quantity: str
    measured: str
    baseline: str
    value: float | None = None
    """What the goals are compared with: mostly the ratio to the baseline."""
    unit: str = "x"
    goal: Limit | None = None
    stretch: Limit | None = None


@attrs.frozen(kw_only=True)
class Curve:
    """The median seconds of one operation by size, for the chart of growth."""

    name: str
    axis: str
    """What the size counts."""

    points: Mapping[int, float]
    is_segue: bool = True
    """Whether it is a cost of Segue, not of a baseline."""


Result = Row | Curve


@attrs.frozen(kw_only=True)
class Figure:
    """The median over all rounds of each round's median, and of its 99th percentile."""

    p50: float
    p99: float


def alternate(sides: Iterable[Side], *, rounds: int, calls: int) -> dict[str, Figure]:
    """Run all sides in each of *rounds* rounds, after one round of warm-up; return the figures."""
    sides = list(sides)
    p50s: dict[str, list[float]] = {}
    p99s: dict[str, list[float]] = {}
    for round_number in range(rounds + 1):
        for side in sides:
            for name, samples in side(calls).items():
                if round_number:
                    ordered = sorted(samples)
                    p50s.setdefault(name, []).append(statistics.median(ordered))
                    p99s.setdefault(name, []).append(ordered[len(ordered) * 99 // 100])
    return {
        name: Figure(p50=statistics.median(p50s[name]), p99=statistics.median(p99s[name]))
        for name in p50s
    }


def interleave(sides: Iterable[Side], *, calls: int) -> dict[str, float]:
    """Let all sides take turns, ten calls each, after one turn of warm-up; return the figures.

    Each is the 10th percentile of its seconds: the slower calls also show what else the machine
    does, of which no ratio of two figures should depend.
    """
    sides = list(sides)
    seconds: dict[str, list[float]] = {}
    for number in range(-_TURN, calls, _TURN):
        for side in sides:
            for name, samples in side(min(_TURN, calls)).items():
                if number >= 0:
                    seconds.setdefault(name, []).extend(samples)
    return {name: sorted(values)[len(values) // 10] for name, values in seconds.items()}


def time_calls(name: str, prepare: Callable[[], Callable[[], object]]) -> Side:
    """Return a side that times calls of what *prepare* returns; *prepare* itself is not timed."""

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            work = prepare()
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def cap_calls(side: Side, limit: int) -> Side:
    """Return *side* with at most *limit* samples a round, for what is slow."""
    return lambda calls: side(min(calls, limit))


@contextlib.contextmanager
def pin_to_one_cpu() -> Iterator[None]:
    """Pin this process, and the processes that it starts, to one CPU while the block runs.

    Waking a second CPU costs more than an append and says nothing about the software. Does nothing
    where the system has no CPU affinity.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def format_seconds(seconds: float) -> str:
    """Return a duration with its unit: `310 µs`, `4.2 ms`, `1.25 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def format_mib(size: float) -> str:
    """Return a number of bytes as `36.7 MiB`."""
    return f"{size / 1024**2:.1f} MiB"


def format_number(value: float) -> str:
    """Return a figure with three significant digits, or all of its integer part."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"
