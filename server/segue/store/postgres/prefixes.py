"""Ids that begin alike: which stored ids a prefix has, and how short a prefix names one."""

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segue.model.records import MIN_SHORT_ID
from segue.store.postgres import codec

_DASHES = tuple(itertools.accumulate((8, 5, 5, 5)))
_LENGTH = 36
_DIGITS = frozenset(string.hexdigits.lower())


def ranges(prefix: str) -> list[tuple[bytes, bytes]]:
    """Return the ranges of stored ids that begin with *prefix*, the ends excluded."""
    text = codec.pack(prefix)
    if text[:1] == b"\0":  # a whole UUID
        return [(text, text + b"\0"), _text_range(prefix)]
    found = [_text_range(prefix)]
    if _uuid_beginning(prefix) == prefix:
        low, high = _padded(prefix)
        found.append((low, high + b"\0"))
    return found


def _text_range(prefix: str) -> tuple[bytes, bytes]:
    low = b"\x01" + prefix.encode("utf-8", "surrogatepass")
    return low, low + b"\xff"


def bounds(ids: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
    """Return for each id two pairs of bounds: behind and before them are those that are alike."""
    above, below = [], []
    for each in ids:
        text = b"\x01" + each.encode("utf-8", "surrogatepass")
        above.append(text)
        below.append(text)
        low, high = _padded(_uuid_beginning(each))
        if low == high:
            above.append(low)
            below.append(low)
        else:
            above.append(_before(low))
            below.append(high + b"\0")
    return above, below


def short_ids(ids: Sequence[str], found: Iterable[Sequence[Any]]) -> Mapping[str, str]:
    """Return the shortest prefixes of *ids*.

    *found* are the places of `bounds` of them, from 1 on, each with neighbours that were found.
    """
    neighbours: dict[int, list[str]] = {}
    for place, *pair in found:
        others = neighbours.setdefault((place - 1) // 2, [])
        others += [codec.unpack(other) for other in pair if other]
    shortened = {}
    for index, each in enumerate(ids):
        # Where ids that are no UUIDs begin, the one before may be this one itself.
        others = [other for other in neighbours.get(index, []) if other != each]
        common = max((_common_length(each, other) for other in others), default=0)
        shortened[each] = each[: max(MIN_SHORT_ID, common + 1)]
    return shortened


def _uuid_beginning(text: str) -> str:
    """Return the longest beginning of *text* that a UUID can have."""
    for index, char in enumerate(text[:_LENGTH]):
        if (char != "-") if index in _DASHES else (char not in _DIGITS):
            return text[:index]
    return text[:_LENGTH]


def _padded(beginning: str) -> tuple[bytes, bytes]:
    """Return the first and the last stored UUID that begins so."""
    digits = beginning.replace("-", "")
    return (
        b"\0" + bytes.fromhex(digits.ljust(32, "0")),
        b"\0" + bytes.fromhex(digits.ljust(32, "f")),
    )


def _before(stored: bytes) -> bytes:
    """Return a bound behind which *stored* is the first UUID."""
    number = int.from_bytes(stored[1:], "big")
    return b"\0" + (number - 1).to_bytes(16, "big") if number else b"\0"


def _common_length(one: str, other: str) -> int:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)
