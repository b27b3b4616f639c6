"""Gives the events of a salvaged database seqs without gaps, and its forks their first events.

What a fork has in common with another session are events of that session: if some are lost there,
the fork's own events begin earlier. How many are left is known only when all are copied, because a
damaged key can bring an event of any session at any time. So the own events of forks get seqs from
a distance on at first.
"""

import bisect
import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from segue.store.sqlite.driver import Connection
from segue.store.sqlite.schema import MAX_SEQ

_DISTANCE = 1 << 31

_FORKS = """
SELECT forks.number, forks.fork_seq, originals.number AS original FROM sessions AS forks
JOIN sessions AS originals ON originals.id = forks.forked_from
WHERE forks.fork_seq > 0 ORDER BY forks.number
"""


@attrs.frozen
class ForkPoint:
    """The last event that a fork has in common with others: it lies in *strand*, with this seq."""

    seq: int
    strand: int


def find_fork_points(new: Connection, spans: Iterable[Sequence[Any]]) -> dict[int, ForkPoint]:
    """Return the fork point of each fork, by the rows of *spans* and the sessions in *new*.

    The other spans of a fork are those of the strand.
    """
    points: dict[int, ForkPoint] = {}
    for key, strand in spans:
        session, seq = key >> 32, key & MAX_SEQ
        is_valid = isinstance(strand, int) and 0 < strand < session
        if is_valid and (session not in points or points[session].seq < seq):
            points[session] = ForkPoint(seq, strand)
    for session, seq, original in new.execute(_FORKS).fetchall():
        if original < session and (session not in points or points[session].seq < seq):
            points[session] = ForkPoint(seq, _strand_at(points, original, seq))  # a span is lost
    return points


def _strand_at(points: dict[int, ForkPoint], session: int, seq: int) -> int:
    """Return which session has the event that is *seq* in *session*."""
    while session in points and points[session].seq >= seq:
        session = points[session].strand
    return session


class Renumbering:
    """The new seqs of one salvaged database's events."""

    def __init__(self, points: Mapping[int, ForkPoint]) -> None:
        self._points = points
        self._counts: dict[int, int] = collections.defaultdict(int)
        # Of each strand: the seqs at which forks begin, and how many events are left before each.
        self._bounds: dict[int, list[int]] = collections.defaultdict(list)
        for point in points.values():
            bisect.insort(self._bounds[point.strand], point.seq)
        self._left = {strand: [0] * len(bounds) for strand, bounds in self._bounds.items()}

    def next_key(self, session: int) -> int:
        """Return the key of a session's next event, until `finish`."""
        distance = _DISTANCE if session in self._points else 0
        return (session << 32) + distance + self._counts[session] + 1

    def count(self, session: int, old_seq: int) -> None:
        """Record that the event with the old seq *old_seq* has got the next key."""
        self._counts[session] += 1
        if session in self._bounds:
            index = bisect.bisect_left(self._bounds[session], old_seq)
            if index < len(self._left[session]):
                self._left[session][index] += 1

    def finish(self, new: Connection) -> None:
        """Give the forks their spans, and their own events their seqs."""
        spans: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)
        for session in sorted(self._points):  # a strand is older than its forks
            point = self._points[session]
            own = spans[point.strand]
            start = own[-1][0] if own else 0
            end = start + self._left_until(point)
            spans[session] = [*own, (end, point.strand)] if end > start else own
            first = session << 32
            begin = max(start, end)
            move = "UPDATE events SET key = key - ? WHERE key > ? AND key <= ?"
            new.execute(move, (_DISTANCE - begin, first + _DISTANCE, first + MAX_SEQ))
            rows = [(first + seq, strand) for seq, strand in spans[session]]
            new.executemany("INSERT INTO spans (key, strand) VALUES (?, ?)", rows)

    def _left_until(self, point: ForkPoint) -> int:
        index = bisect.bisect_right(self._bounds[point.strand], point.seq)
        return sum(self._left[point.strand][:index])
