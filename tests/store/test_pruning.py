"""How pruning is divided into transactions."""

from typing import Any

import pytest

from segue.store.rules import pruning


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ([], []),
        ([5_000], [[5_000]]),
        ([1_000, 1_000], [[1_000, 1_000]]),
        ([1_000, 1_001], [[1_000], [1_001]]),
        ([5_000, 1, 1], [[5_000], [1, 1]]),
        ([1_500, 600, 1_400, 1], [[1_500], [600, 1_400], [1]]),
    ],
)
def test_a_part_has_a_bound_of_events_or_one_session(
    counts: list[int], parts: list[list[int]]
) -> None:
    rows: list[Any] = [{"event_count": count} for count in counts]
    assert [[row["event_count"] for row in part] for part in pruning.parts(rows)] == parts
