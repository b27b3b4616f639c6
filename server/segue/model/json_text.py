"""JSON as it is stored: ASCII, of limited depth, without NaN and Infinity."""

import json
import math
from typing import Any

from segue.model.validation import Fault, InvalidInputError

MAX_DEPTH = 256
"""The deepest nesting that is accepted. Every supported interpreter can decode it."""


def encode(path: str, value: Any) -> str:
    r"""Return *value* as ASCII JSON.

    Raises InvalidInputError at *path* for NaN, Infinity, an integer of more than 4,300 digits or a
    value that nests deeper than `MAX_DEPTH`. ASCII, because a lone surrogate has the escape
    `\ud83d` but no UTF-8, so that no database takes it.
    """
    try:
        json_text = _encoder.encode(value)
    except RecursionError:
        raise InvalidInputError(_too_deep(path)) from None
    except ValueError:
        message = "must hold no NaN, no Infinity and no integer of more than 4,300 digits"
        raise InvalidInputError(Fault(path, message)) from None
    if _is_too_deep(json_text, value):
        raise InvalidInputError(_too_deep(path))
    return json_text


def decode(json_text: str) -> tuple[Any, bool]:
    """Return the value of *json_text* and False, or *json_text* itself and True if it is corrupt.

    It is corrupt if `encode` cannot have made it: not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value, end = _decoder.raw_decode(json_text)
        if end < len(json_text):  # trailing white space is legal, anything else raises
            value = _decoder.decode(json_text)
    except (ValueError, RecursionError):
        return json_text, True
    return (json_text, True) if _is_too_deep(json_text, value) else (value, False)


def same_json(one: str, other: str) -> bool:
    """Return whether two stored values are equal, ignoring key order; 1, 1.0 and true differ."""
    return one == other or _canonical(one) == _canonical(other)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(digits)
    return value


def _refuse(constant: str) -> float:
    raise ValueError(constant)


_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
# Python's decoder accepts NaN and Infinity by default, which other parsers of JSON refuse.
_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)


def _canonical(json_text: str) -> str:
    data, corrupt = decode(json_text)
    return json_text if corrupt else json.dumps(data, sort_keys=True)


def _too_deep(path: str) -> Fault:
    return Fault(path, f"must not nest deeper than {MAX_DEPTH} levels")


def _is_too_deep(json_text: str, value: Any) -> bool:
    # The number of brackets is an upper bound of the depth, and cheaper than walking the value.
    brackets = json_text.count("[") + json_text.count("{")
    return brackets > MAX_DEPTH and depth(value) > MAX_DEPTH


def depth(value: Any) -> int:
    """Return how deep a value nests; whatever that is, it does not raise."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        node, level = pending.pop()
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list):
            deepest = max(deepest, level)
            pending.extend((child, level + 1) for child in children)
    return deepest
