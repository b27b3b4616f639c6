"""How long a search looks, where a page of it ends, and how its cursors are written."""

import base64
import struct
import time
from collections.abc import Callable

import attrs

from segue.model.validation import Fault, InvalidInputError

BUDGET_S = 0.1
"""How long a search looks, in seconds; what is older is left to the next page."""

TITLE = 1 << 32
"""Where the title of a session is, as a seq: it comes before its last event."""

_CURSOR = struct.Struct(">qqq")
MAX = (1 << 63) - 1


@attrs.frozen
class Position:
    """A place in the order of a search: before what has a seq below *seq* in a session."""

    updated_at: int = MAX
    number: int = MAX
    seq: int = MAX

    @classmethod
    def read(cls, cursor: str) -> "Position":
        """Return the position of a cursor, or raise InvalidInputError."""
        try:
            return cls(*_CURSOR.unpack(base64.b64decode(cursor, b"-_", validate=True)))
        except (ValueError, struct.error):
            fault = Fault("$.cursor", "is not one that session/search returned")
            raise InvalidInputError(fault) from None

    def as_cursor(self) -> str:
        """Return it as `read` takes it."""
        return base64.urlsafe_b64encode(
            _CURSOR.pack(self.updated_at, self.number, self.seq)
        ).decode()


class OutOfTimeError(Exception):
    """The time of a search is up."""


class Timer:
    """The time of one search. It is never up before something was looked at."""

    def __init__(self, budget_s: float, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._ends = time.monotonic() + budget_s
        self._is_stopped = is_stopped
        self._has_begun = False

    @property
    def left_s(self) -> float:
        """How many seconds are left; none if the search is stopped."""
        return 0.0 if self._is_stopped() else max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        """Raise OutOfTimeError if the time is up, or the search is stopped."""
        if self._has_begun and (time.monotonic() > self._ends or self._is_stopped()):
            raise OutOfTimeError
        self._has_begun = True
