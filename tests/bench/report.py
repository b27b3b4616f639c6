"""What a run found, for a person: the table, and the full run's RESULTS.md with its picture."""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import attrs

from segue.store.sqlite import driver
from tests.bench import chart, peers
from tests.bench.measure import (
    Curve,
    FindResult,
    Limit,
    Row,
    Sizes,
    number,
    shown,
)

HERE = Path(__file__).parent
TABLE = (
    "| # | question | Segue | against | result | goal | stretch |\n|--:|---|--:|---|--:|---|---|"
)
_UNNUMBERED = 1_000
_LIBRARIES = ("aiosqlite", "attrs", "cattrs", "lsprotocol", "pygls", "uuid6")

_METHOD = (
    "Every figure and what it is compared with come from this one run, in alternating rounds after "
    "one that warms up; each is the median of its rounds' medians. Client and server share one "
    "CPU, except where sixteen processes write or it is said: that shows what the software costs, "
    "without the waking of a second CPU. The peers' appends and loads are calls in their own "
    "process, without JSON-RPC. ✓ and ✗ tell whether a goal was reached."
)


def line(row: Row) -> str:
    """Return a row of the table."""
    cells = (
        "" if row.number is None else str(row.number),
        row.question,
        row.measured,
        row.against,
        "" if row.value is None else f"**{number(row.value)}{row.unit}**",
        _reached(row, row.goal),
        _reached(row, row.stretch),
    )
    return f"| {' | '.join(cells)} |"


def _reached(row: Row, limit: Limit | None) -> str:
    if limit is None or row.value is None:
        return ""
    return f"{limit}{row.unit} {'✓' if limit.holds(row.value) else '✗'}"


def summary(found: Sequence[FindResult], seconds: float) -> str:
    """Return how many goals were reached, and how long it took."""
    kinds = []
    for kind in ("goal", "stretch"):
        judged = [
            (limit, row.value)
            for row in _rows(found)
            if row.value is not None and (limit := getattr(row, kind)) is not None
        ]
        kinds.append(f"{sum(limit.holds(value) for limit, value in judged)} of {len(judged)}")
    goals, stretch = kinds
    return f"\nGoals reached: {goals}; stretch: {stretch}. It took {seconds / 60:.1f} minutes."


def write(command: str, facts: str, found: Sequence[FindResult], seconds: float) -> None:
    """Write RESULTS.md and its picture, in the order of the goals."""
    found = sorted(found, key=_number)
    parts = [
        "# What Segue costs",
        f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}; nothing here is typed.",
        _METHOD,
        "![How the cost grows, and what was reached](RESULTS.svg)",
        facts,
        "## Against the limit, the peers and the goals",
        "\n".join([TABLE, *map(line, _rows(found))]),
        summary(found, seconds).strip(),
        "## How the cost grows",
        *_growth(found),
    ]
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (HERE / "RESULTS.svg").write_text(chart.picture(found), encoding="utf-8")


def _growth(found: Sequence[FindResult]) -> Iterator[str]:
    curves = [each for each in found if isinstance(each, Curve)]
    for axis in dict.fromkeys(curve.axis for curve in curves):
        shared = [curve for curve in curves if curve.axis == axis]
        places = sorted({place for curve in shared for place in curve.points})
        head = f"| {axis} | {' | '.join(f'{place:,}' for place in places)} |"
        rule = f"|---|{'--:|' * len(places)}"
        lines = [
            f"| {curve.name} | "
            + " | ".join(
                shown(curve.points[place]) if place in curve.points else "" for place in places
            )
            + " |"
            for curve in shared
        ]
        yield "\n".join([head, rule, *lines])


def facts(sizes: Sizes) -> str:
    """Return on what the run is, and of what."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    measured = "; ".join(
        f"{name.replace('_', ' ')} {_plain(value)}" for name, value in attrs.asdict(sizes).items()
    )
    lines = (
        f"{os.cpu_count()} CPUs{_model()}, {system}, load {os.getloadavg()[0]:.1f} at the start",
        f"{python}, SQLite {driver.VERSION} ({driver.NAME}), commit {_commit()}",
        ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        f"peers: {peers.versions()}",
        f"sizes: {measured}; no seed: nothing is random but the ids",
    )
    return "\n".join(f"* {line}" for line in lines)


def _plain(value: object) -> str:
    return "/".join(f"{each:,}" for each in value) if isinstance(value, tuple) else str(value)


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = [each.partition(":")[2].strip() for each in lines if each.startswith("model name")]
    return f" ({names[0]})" if names else ""


def _commit() -> str:
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    told = subprocess.run(git, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _rows(found: Iterable[FindResult]) -> Iterator[Row]:
    yield from (each for each in found if isinstance(each, Row))


def _number(found: FindResult) -> int:
    return found.number or _UNNUMBERED if isinstance(found, Row) else _UNNUMBERED
