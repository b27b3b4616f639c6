"""The sizes of events: no agent can make one that is too large to store, mask and show.

What is too large is replaced by `{"omitted": BYTES, "sha256": HASH}` of the string that was there.
"""

import hashlib
import json
from typing import Any

from segue.model.json_text import MAX_DEPTH

MAX_EVENT = 1024 * 1024
"""How large an event may be, in bytes of JSON."""

MAX_BLOB = 256 * 1024
"""How large an image or another blob may be, in characters of base64."""

_BLOB_FIELDS = frozenset({"data", "blob"})
_SMALL = 4 * 1024
"""Strings up to this many characters are never omitted one by one."""

_SIZE_INSTEAD = 128
"""At least as many bytes as what stands for something that is omitted, or for a cut, has."""


def omitted(text: str) -> dict[str, Any]:
    """Return what takes the place of *text*."""
    content = text.encode("utf-8", "surrogatepass")
    return {"omitted": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def without_blobs(value: Any, depth: int = 0) -> Any:
    """Return JSON in which every blob larger than MAX_BLOB is omitted."""
    if depth > MAX_DEPTH:  # it is refused as it is
        return value
    if isinstance(value, list):
        return [without_blobs(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: omitted(each)
        if key in _BLOB_FIELDS and isinstance(each, str) and len(each) > MAX_BLOB
        else without_blobs(each, depth + 1)
        for key, each in value.items()
    }


def fitted(data: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the data of an event, of *size* bytes, such that it has MAX_EVENT at most.

    First the largest strings in it are omitted, but `content`; then that is cut, and
    `content_length` has the characters, `sha256` the hash of the whole; then whatever else it has.
    """
    rest = {key: each for key, each in data.items() if key not in ("content", "message")}
    content = data.get("content")
    excess = size - MAX_EVENT + 2 * _SIZE_INSTEAD
    strings = sorted(_strings(rest), key=len, reverse=True)
    large: set[str] = set()
    for string in strings:
        if excess <= 0 or len(string) <= _SMALL:
            break
        large.add(string)
        excess -= len(json.dumps(string)) - _SIZE_INSTEAD
    fit = data | ({key: _replaced(each, large) for key, each in rest.items()} if large else {})
    if excess > 0 and isinstance(content, str):
        size_of_content = len(json.dumps(content))
        kept = max(0, size_of_content - excess) * len(content) // max(1, size_of_content)
        # Characters are of different sizes: such a cut need not fit, half of it mostly does.
        while kept and len(json.dumps(content[:kept])) > size_of_content - excess:
            kept //= 2
        fit |= {
            "content": content[:kept],
            "content_length": len(content),
            "sha256": omitted(content)["sha256"],
        }
        excess -= size_of_content - len(json.dumps(content[:kept]))
    if excess > 0:
        fit |= {key: _emptied(each) for key, each in fit.items() if key not in ("content", "id")}
    return fit


def _strings(value: Any) -> list[str]:
    found, pending = [], [value]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            found.append(node)
        elif isinstance(node, dict | list):
            pending += node.values() if isinstance(node, dict) else node
    return found


def _replaced(value: Any, large: set[str]) -> Any:
    """Return *value*, which nests at most MAX_DEPTH deep, with the strings *large* omitted."""
    if isinstance(value, str):
        return omitted(value) if value in large else value
    if isinstance(value, list):
        return [_replaced(each, large) for each in value]
    if isinstance(value, dict):
        return {key: _replaced(each, large) for key, each in value.items()}
    return value


def _emptied(value: Any) -> Any:
    """Return what a value that is still large has instead: of its own type, for known fields."""
    if not isinstance(value, dict | list):
        return value
    json_text = json.dumps(value)
    if len(json_text) <= _SMALL:
        return value
    return [] if isinstance(value, list) else omitted(json_text)
