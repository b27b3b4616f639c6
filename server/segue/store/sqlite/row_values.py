"""Converts the values of rows, and replaces those that corruption made impossible.

Damage that SQLite does not notice can put a value of another type, or out of range, into a row. It
is replaced by one that can be shown, so that one bad row never fails a request.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from segue.store.sqlite import schema

Row = Mapping[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def pack(id: str) -> str | bytes:
    """Return *id* as it is stored: a UUID takes 16 bytes instead of 36, anything else is text."""
    return bytes.fromhex(id.replace("-", "")) if _UUID.fullmatch(id) else id


def unpack(stored: str | bytes) -> str:
    """Return the id of its stored form."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# Rows come without the name of their table. Where two tables have a column of one name, the later
# one is meant: a session's number, an event's id and key. The key of metadata is in no result.
_TABLES = ("tombstones", "metadata", "invocations", "sessions", "spans", "events")
_COLUMNS = {column.name: column for table in _TABLES for column in schema.COLUMNS[table]} | {
    column.name: column for column in schema.COMPUTED
}


def validated(row: Any) -> Row:
    """Return the row, or a coerced one if it has a value of a type that its column cannot hold."""
    # Checks the types only: nearly every row is valid, and this is quicker than to coerce it.
    return row if _is_valid(tuple(row.keys()), tuple(map(type, row))) else coerced(row)


@functools.lru_cache(256)
def _is_valid(names: tuple[str, ...], types: tuple[type, ...]) -> bool:
    return all(type in _COLUMNS[name].types for name, type in zip(names, types, strict=True))


def coerced(row: Any) -> Row:
    """Return the row with values that its columns can hold, and every number in its range."""
    return {name: _coerced(_COLUMNS[name], row[name]) for name in row.keys()}  # noqa: SIM118  a Row is no dict


def _coerced(column: schema.Column, value: Any) -> Any:
    if value is None and column.optional:
        return None
    if column.kind == "integer":
        return min(max(0, value), column.maximum) if isinstance(value, int) else 0
    # In brackets, to show that it is not what was stored.
    return value if type(value) in column.types else f"<{value!r}>"
