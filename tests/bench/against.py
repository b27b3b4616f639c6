"""What a start and an append of the SQLite server cost, beside those of another checkout."""

from collections.abc import Iterator
from pathlib import Path

from tests.bench import compare
from tests.bench.compare import FIGURES
from tests.bench.measure import FULL, Row, Sizes, at_most, pin_to_one_cpu
from tests.bench.report import describe_commit
from tests.bench.wire import CHECKOUT

_MOST = 1.02
_QUANTITIES = {
    ("start", "cpu"): "CPU of the SQLite server until the response to `initialize`",
    ("start", "memory"): "resident memory of the SQLite server after `session/open`",
    ("append", "cpu"): "CPU of the SQLite server for an append over stdio",
}


def measure(other: Path, sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with the checkout *other*: by CPU, which depends least on what else is running."""
    compare.check_package(other)
    amounts = compare.FULL if sizes is FULL else compare.QUICK
    for row in dict.fromkeys(row for row, _ in _QUANTITIES):
        with pin_to_one_cpu():
            rounds = [
                compare.run_round(
                    row,
                    [other, CHECKOUT],
                    folder / "against" / f"{row}-{number}",
                    amounts,
                    reverse=number % 2 == 1,
                )
                for number in range(sizes.rounds)
            ]
        for (of, key), quantity in _QUANTITIES.items():
            if of == row:
                theirs, ours = (min(sides[side][key] for sides in rounds) for side in (0, 1))
                yield Row(
                    number=40,
                    quantity=quantity,
                    measured=FIGURES[key].show(ours),
                    baseline=f"that of {describe_commit(other)}, {FIGURES[key].show(theirs)}",
                    value=ours / theirs,
                    goal=at_most(_MOST),
                )
