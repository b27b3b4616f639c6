"""Takes apart JSON of other programs, which may be of any shape."""

import json
from collections.abc import Mapping
from typing import Any


def string(value: object) -> str | None:
    """Return *value* if it is a text that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return *value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def decoded(value: Any) -> Any:
    """Return the value of a text that is JSON; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
