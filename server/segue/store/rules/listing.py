"""Where a session stands in a list, and the cursors of the pages."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

from segue.model.records import Order
from segue.model.validation import Fault, InvalidInputError

_MAX = (1 << 63) - 1

_CURSORS: dict[Order, struct.Struct] = {
    "updated": struct.Struct(">qq"),
    "lastPrompt": struct.Struct(">qqx"),
}
"""The cursors of different orders differ in their lengths."""

Place = tuple[int, int]
"""A time in milliseconds, and the number of a session: the list is sorted by both."""

NEWEST: Place = (_MAX, _MAX)
"""Where the list begins: no row is newer, even if another program wrote it."""


def place_of(order: Order, row: Mapping[str, Any]) -> Place:
    """Return where the session of a row stands."""
    time = row["updated_at"]
    if order == "lastPrompt":
        prompted_at = row["last_prompt_at"]
        time = row["created_at"] if prompted_at is None else prompted_at
    return int(time), row["number"]


def write_cursor(order: Order, row: Mapping[str, Any]) -> str:
    """Return the cursor of the page behind the session of a row."""
    return base64.urlsafe_b64encode(_CURSORS[order].pack(*place_of(order, row))).decode()


def read_cursor(order: Order, cursor: str | None) -> Place:
    """Return behind which place a page begins. Raises InvalidInputError if it is no such cursor."""
    if cursor is None:
        return NEWEST
    try:
        time, number = _CURSORS[order].unpack(base64.urlsafe_b64decode(cursor))
    except (ValueError, struct.error):
        fault = Fault("$.cursor", "is not one that session/list returned in this order")
        raise InvalidInputError(fault) from None
    return time, number
