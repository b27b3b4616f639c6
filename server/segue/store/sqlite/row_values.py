"""Converts rows to records' values, and replaces values that corruption made impossible.

Damage that SQLite does not notice puts a value of another type, or out of all bounds, into a row:
it is replaced by one that can be shown, and never fails the reading.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

LAST_SEQ = 0xFFFFFFFF
_LAST_NUMBER = 0x7FFFFFFF
_LAST_TIME = 253_402_300_799_999
"""The end of the year 9999: there is no way to write a later time down."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def pack(id: str) -> str | bytes:
    """Return *id* as it is stored: a UUID, the habit, takes 16 bytes instead of 36."""
    return bytes.fromhex(id.replace("-", "")) if _UUID.fullmatch(id) else id


def unpack(stored: str | bytes) -> str:
    """Return the id that is stored so."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_OPTIONAL = frozenset((
    "archived_at", "forked_from", "git_common_dir", "git_root", "head", "server_session_id",
    "title",
))  # fmt: skip
_IDS = frozenset(("head", "id"))
_NUMBERS = {
    "archived_at": _LAST_TIME, "created_at": _LAST_TIME, "event_count": LAST_SEQ,
    "invocation": (1 << 63) - 1, "key": (1 << 63) - 1, "model_visible": 1,
    "number": _LAST_NUMBER, "seq": LAST_SEQ, "updated_at": _LAST_TIME,
}  # fmt: skip
"""Which columns hold numbers, and up to which one."""


def validated(row: Any) -> Row:
    """Return a row whose values are of the types that its columns can hold."""
    # Nearly every row is: to look at its types is quicker than to mend it.
    return row if _is_valid(tuple(row.keys()), tuple(map(type, row))) else coerced(row)


@functools.lru_cache(256)
def _is_valid(columns: tuple[str, ...], types: tuple[type, ...]) -> bool:
    return all(map(_takes, columns, types))


def _takes(column: str, kind: type) -> bool:
    if kind is type(None):
        return column in _OPTIONAL
    if column in _NUMBERS:
        return kind is int
    return kind is str or (kind is bytes and column in _IDS)


def coerced(row: Any) -> Row:
    """Return a row with what each column can hold, and no number out of its bounds."""
    return {column: _coerced(column, row[column]) for column in row.keys()}  # noqa: SIM118


def _coerced(column: str, value: Any) -> Any:
    if value is None and column in _OPTIONAL:
        return None
    if column in _NUMBERS:
        return min(max(0, value), _NUMBERS[column]) if isinstance(value, int) else 0
    # In brackets: of a number alone it could not be told that it is not what was stored.
    return value if _takes(column, type(value)) else f"<{value!r}>"
