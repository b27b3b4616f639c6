"""When the fields of a session that no event changes were given their values."""

import os

from segue.model import json_text
from segue.model.records import Timestamp
from segue.model.replicas import encoded_revisions

_TIME_DIGITS = 15


def revised(stored: str | None, field: str, now: Timestamp) -> str:
    """Return the *stored* revisions with a later one of *field*, as they are stored."""
    found = revisions(stored)
    before = found.get(field, "")[:_TIME_DIGITS]
    time = max(now, int(before) + 1 if before.isdecimal() else 0)
    # Random digits: two machines may change a field in the same millisecond.
    found[field] = f"{time:0{_TIME_DIGITS}d}{os.urandom(4).hex()}"
    return str(encoded_revisions(found))


def revisions(stored: str | None) -> dict[str, str]:
    """Return the stored revisions by their fields; those that damage has changed are lost."""
    found, _ = json_text.decode(stored or "{}")
    if not isinstance(found, dict):
        return {}
    return {field: value for field, value in found.items() if isinstance(value, str)}
