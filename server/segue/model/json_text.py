"""JSON as it is stored: ASCII text, bounded in depth, without NaN and Infinity."""

import json
import math
from typing import Any

from segue.model.validation import Fault, InvalidInputError

MAX_DEPTH = 256
"""How deep a value may nest: every supported interpreter can read this much back."""


def encode(path: str, value: Any) -> str:
    r"""Return *value* as ASCII JSON, or raise InvalidInputError at *path* where JSON has no words.

    ASCII, because a lone surrogate travels as `\ud83d` but can be bound to no database.
    """
    try:
        text = _encoder.encode(value)
    except RecursionError:
        raise InvalidInputError(_too_deep(path)) from None
    except ValueError:
        message = "must hold no NaN, no Infinity and no integer of more than 4,300 digits"
        raise InvalidInputError(Fault(path, message)) from None
    if _is_too_deep(text, value):
        raise InvalidInputError(_too_deep(path))
    return text


def decode(text: str) -> tuple[Any, bool]:
    """Return what *text* holds and whether it is corrupt: not even JSON, then the text itself."""
    try:
        value, end = _decoder.raw_decode(text)
        if end < len(text):  # or what follows is white space, which we do not store
            value = _decoder.decode(text)
    except (ValueError, RecursionError):
        return text, True
    return (text, True) if _is_too_deep(text, value) else (value, False)


def same_json(one: str, other: str) -> bool:
    """Tell whether two stored texts hold the same JSON value, whatever their key order."""
    return one == other or _canonical(one) == _canonical(other)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(digits)
    return value


def _refuse(constant: str) -> float:
    raise ValueError(constant)


_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
# Python's own reading of JSON takes NaN and Infinity, which no client could read.
_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)


def _canonical(text: str) -> str:
    data, corrupt = decode(text)
    return text if corrupt else json.dumps(data, sort_keys=True)


def _too_deep(path: str) -> Fault:
    return Fault(path, f"must not nest deeper than {MAX_DEPTH} levels")


def _is_too_deep(text: str, value: Any) -> bool:
    # Counting brackets is cheap and bounds the depth from above; only a suspect is walked.
    return text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH


def _depth(value: Any) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        node, level = pending.pop()
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list):
            deepest = max(deepest, level)
            pending.extend((child, level + 1) for child in children)
    return deepest
