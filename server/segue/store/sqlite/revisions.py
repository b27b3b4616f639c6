"""When the fields of a session that no event changes were given their values."""

import json
import os
from collections.abc import Mapping

from segue.model import json_text
from segue.model.records import Timestamp

_TIME_DIGITS = 15


def revised(stored: str | None, field: str, now: Timestamp) -> str:
    """Return the *stored* revisions with a later one of *field*, as they are stored."""
    found = revisions(stored)
    before = found.get(field, "")[:_TIME_DIGITS]
    time = max(now, int(before) + 1 if before.isdecimal() else 0)
    # Random digits: two machines may change a field in the same millisecond.
    found[field] = f"{time:0{_TIME_DIGITS}d}{os.urandom(4).hex()}"
    return _encoded(found)


def revisions(stored: str | None) -> dict[str, str]:
    """Return the stored revisions by their fields; those that damage has changed are lost."""
    found, _ = json_text.decode(stored or "{}")
    if not isinstance(found, dict):
        return {}
    return {field: value for field, value in found.items() if isinstance(value, str)}


def encoded(found: Mapping[str, str]) -> str | None:
    """Return revisions as they are stored: JSON with sorted keys, None if there are none."""
    return _encoded(found) if found else None


def _encoded(found: Mapping[str, str]) -> str:
    return json.dumps(found, sort_keys=True, separators=(",", ":"))
