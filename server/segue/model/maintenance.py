"""The records of what a person asks for seldom: to prune, and to index."""

from collections.abc import Sequence

import attrs

from segue.model.records import Session


@attrs.frozen
class PrunedSession:
    """A session that `prune` deleted, and the size in bytes of what it alone had."""

    session: Session
    size: int


@attrs.frozen(kw_only=True)
class Pruned:
    """Which sessions `prune` deleted, or would delete, and why it left others."""

    taken: Sequence[PrunedSession]
    held: Sequence[Session]
    """Old enough, but open in a window."""
    live: int
    """How many are old enough, but not archived."""
    used: int
    """How many are not archived and were updated more recently."""
    recent: int
    """How many were archived more recently."""


@attrs.frozen(kw_only=True)
class IndexState:
    """How many events are in the index of a search; `complete` if all are."""

    events: int
    complete: bool
