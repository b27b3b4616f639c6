"""How many sessions are pruned at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Mapping[str, Any])

_MAX_PART = 2_000
"""How many events are pruned in one transaction: others wait for it."""


def parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows of sessions in parts of at most `_MAX_PART` events, or of one session."""
    part: list[Row] = []
    events = 0
    for row in rows:
        events += row["event_count"]
        if part and events > _MAX_PART:
            yield part
            part, events = [], row["event_count"]
        part.append(row)
    if part:
        yield part
