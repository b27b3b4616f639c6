"""The boundary: the event that marks for the model where an earlier invocation ends."""

from datetime import datetime, timedelta

from segue.model.events import Event, SystemContext
from segue.model.records import MAX_SKEW_MS, MAX_TIMESTAMP, now

_EPOCH = datetime(1970, 1, 1)


def make_boundary(last_event_at: int) -> Event:
    """Return the boundary of a session whose last event has the time *last_event_at*."""
    return Event.of(SystemContext(content=boundary_note(last_event_at)))


def boundary_note(last_event_at: int) -> str:
    """Return the content of the boundary: a note for the model."""
    return (
        "[Note: a new invocation of the editor begins here. What came before is from an earlier "
        f"invocation; its last event was {ago(last_event_at)}.]"
    )


def ago(time: int) -> str:
    """Return how long ago *time* (milliseconds since 1970) is, in words: `2 hours ago`.

    A time further in the future than MAX_SKEW_MS is said to be one: `in the future (2106-02-07)`.
    """
    age = now() - time
    if age < -MAX_SKEW_MS:
        return f"in the future ({date(time)})"
    seconds = max(0, age) // 1_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a second ago"


def date(time: int) -> str:
    """Return the date in UTC of *time* (milliseconds since 1970): `2026-08-01`."""
    limited = min(max(time, 0), MAX_TIMESTAMP)
    return (_EPOCH + timedelta(milliseconds=limited)).date().isoformat()
