"""Draws a run as one SVG: how the cost grows, and how far each figure is from its goal.

The SVG follows the reader's light or dark colour scheme.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import attrs

from tests.bench.measure import Curve, Limit, Result, Row, format_number, format_seconds

_WIDTH, _MARGIN = 1180, 28
_PLOT_TOP, _PLOT_HEIGHT, _PLOT_WIDTH = 96, 260, 224
_LINE = 19
_GOALS_TOP = 470
_SCALE_LEFT, _SCALE_RIGHT = 640, 980
_DECADE_NAMES = {
    -2: "100x worse",
    -1: "10x worse",
    0: "the goal",
    1: "10x better",
    2: "100x better",
}
_DECADES = max(_DECADE_NAMES)
_COLOURS = ("c0", "c1", "c2", "c3")

_STYLE = """
svg { --ink: #1f2328; --faint: #656d76; --rule: #d8dee4; --paper: #ffffff;
  --c0: #0550ae; --c1: #1a7f5a; --c2: #8250df; --c3: #0a7c91; --miss: #bc4c00; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --faint: #9198a1; --rule: #30363d; --paper: #0d1117;
    --c0: #79b8ff; --c1: #56d3a0; --c2: #c8a6ff; --c3: #59cfe0; --miss: #ff9e64; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink); }
.title { font-size: 17px; font-weight: 600; }
.faint { fill: var(--faint); } .end { text-anchor: end; } .middle { text-anchor: middle; }
.rule { stroke: var(--rule); fill: none; } .goal { stroke: var(--ink); stroke-width: 1.5; }
.point { fill: var(--paper); stroke-dasharray: none !important; stroke-width: 2; }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; }
.peer { stroke: var(--faint); stroke-width: 1.5; stroke-dasharray: 4 3; }
.miss { fill: var(--paper); stroke: var(--miss); stroke-width: 2; } .missed { fill: var(--miss); }
.reach { fill: var(--c1); stroke: var(--c1); stroke-width: 2; }
""" + "".join(f".{c} {{ stroke: var(--{c}); }} .{c}t {{ fill: var(--{c}); }}\n" for c in _COLOURS)


def render(results: Sequence[Result]) -> str:
    """Return the SVG of *results* as a string."""
    curves = [result for result in results if isinstance(result, Curve)]
    judged = [each for each in results if isinstance(each, Row) and _limit(each) is not None]
    height = _GOALS_TOP + 60 + _LINE * len(judged) + _MARGIN
    axes = list(dict.fromkeys(curve.axis for curve in curves))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>What Segue costs: how it grows, and how far it is from its goals</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="var(--paper)"/>',
        _text(_MARGIN, 38, "How the cost grows", "title"),
        _text(_MARGIN, 58, "median of one call; flat is good; dashed: other programs", "faint"),
    ]
    for index, axis in enumerate(axes):
        left = _MARGIN + 48 + index * (_WIDTH - _MARGIN) // 2
        parts += _Plot([curve for curve in curves if curve.axis == axis], left).render()
    parts += _goals(judged)
    return "\n".join([*parts, "</svg>", ""])


@attrs.frozen
class _Plot:
    """Curves that share an axis of sizes; both axes are logarithmic."""

    curves: Sequence[Curve]
    left: int

    def render(self) -> Iterator[str]:
        """Yield the elements of the axes and the curves, each curve labelled at its end."""
        low, high = self._decades()
        for decade in range(low, high + 1):
            y = self._y(10.0**decade)
            yield _rule(self.left, y, self.left + _PLOT_WIDTH, y)
            yield _text(self.left - 8, y + 4, format_seconds(10.0**decade), "faint end")
        for size in sorted({size for curve in self.curves for size in curve.points}):
            label = _format_size(size)
            yield _text(self._x(size), _PLOT_TOP + _PLOT_HEIGHT + 18, label, "faint middle")
        axis = self.curves[0].axis
        middle = self.left + _PLOT_WIDTH / 2
        yield _text(middle, _PLOT_TOP + _PLOT_HEIGHT + 38, axis, "middle")
        colours = iter(_COLOURS * len(self.curves))
        ends = []
        for curve in self.curves:
            colour = next(colours) if curve.is_segue else "peer"
            points = [(self._x(size), self._y(cost)) for size, cost in curve.points.items()]
            yield _path(points, f"line {colour}")
            yield from (_circle(x, y, 3, f"point {colour}") for x, y in points)
            ends.append((points[-1][1], curve, f"{colour}t" if curve.is_segue else "faint"))
        lowest = _PLOT_TOP
        for y, curve, colour in sorted(ends, key=lambda end: end[0]):
            lowest = max(lowest, int(y))
            last = format_seconds(list(curve.points.values())[-1])
            yield _text(self.left + _PLOT_WIDTH + 10, lowest + 4, f"{curve.name}, {last}", colour)
            lowest += 15

    def _decades(self) -> tuple[int, int]:
        costs = [cost for curve in self.curves for cost in curve.points.values()]
        return math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def _x(self, size: int) -> float:
        sizes = [size for curve in self.curves for size in curve.points]
        return self.left + _PLOT_WIDTH * _log_fraction(size, min(sizes), max(sizes))

    def _y(self, cost: float) -> float:
        low, high = self._decades()
        return _PLOT_TOP + _PLOT_HEIGHT * (1 - _log_fraction(cost, 10.0**low, 10.0**high))


def _goals(rows: Sequence[Row]) -> Iterator[str]:
    top = _GOALS_TOP
    middle = (_SCALE_LEFT + _SCALE_RIGHT) / 2
    bottom = top + 54 + _LINE * len(rows)
    yield _text(_MARGIN, top, "How far from the goal", "title")
    yield _text(
        _MARGIN,
        top + 20,
        "right of the line and filled: reached; rows without a goal show the stretch goal",
        "faint",
    )
    for decade, name in _DECADE_NAMES.items():
        x = middle + decade * (_SCALE_RIGHT - _SCALE_LEFT) / 2 / _DECADES
        css_class = "goal" if decade == 0 else "rule"
        yield _rule(x, top + 46, x, bottom, css_class)
        yield _text(x, top + 40, name, "faint middle")
    for index, row in enumerate(rows):
        yield from _goal(row, top + 62 + index * _LINE)


def _goal(row: Row, y: float) -> Iterator[str]:
    limit = _limit(row)
    assert limit is not None
    assert row.value is not None
    half = (_SCALE_RIGHT - _SCALE_LEFT) / 2
    x = (_SCALE_LEFT + _SCALE_RIGHT) / 2 + half * max(
        -1.0, min(1.0, math.log10(_improvement(row.value, limit)) / _DECADES)
    )
    baseline = row.baseline.split(", ")[0].split(" in its process")[0]
    number = f"{row.number}" if row.number else ""
    is_met = limit.is_met(row.value)
    yield _text(_MARGIN + 16, y + 4, number, "faint end")
    yield _text(_MARGIN + 26, y + 4, _truncate(f"{row.quantity} — {baseline}", 96))
    yield _rule((_SCALE_LEFT + _SCALE_RIGHT) / 2, y, x, y, "rule")
    yield _circle(x, y, 5, "reach" if is_met else "miss")
    value = f"{format_number(row.value)}{row.unit.removesuffix(' faster')}"
    bound = f"{'goal' if row.goal else 'stretch'} {limit}"
    yield _text(_SCALE_RIGHT + 76, y + 4, value, "end" if is_met else "end missed")
    yield _text(_SCALE_RIGHT + 86, y + 4, bound, "faint")


def _limit(row: Row) -> Limit | None:
    return None if row.value is None else row.goal or row.stretch


def _improvement(value: float, limit: Limit) -> float:
    """Return how many times better than the limit *value* is; below 1 it misses the limit."""
    if limit.at_least:
        return max(value, 1e-9) / limit.bound
    return max(limit.bound, 1e-9) / value if value else math.inf if limit.bound else 1.0


def _log_fraction(value: float, low: float, high: float) -> float:
    return (math.log(value) - math.log(low)) / ((math.log(high) - math.log(low)) or 1)


def _format_size(size: int) -> str:
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if size >= factor:
            return f"{size // factor}{unit}"
    return str(size)


def _truncate(label: str, length: int) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"


def _text(x: float, y: float, label: str, css_class: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css_class}">{escape(label)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, css_class: str = "rule") -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="{css_class}"/>'


def _circle(x: float, y: float, radius: int, css_class: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{css_class}"/>'


def _path(points: Iterable[tuple[float, float]], css_class: str) -> str:
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="{css_class}"/>'
