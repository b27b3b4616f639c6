"""The rows of a SQLite file, found without the pages that lead to them.

A table is a tree: its rows lie on the leaves, and the pages above say no more than where the leaves
are. They can be made anew. The file format: https://sqlite.org/fileformat2.html
"""

import collections
import contextlib
import itertools
import mmap
from collections.abc import Iterable, Iterator, Mapping

import attrs

PAGE = 4096
"""The size of every page: SQLite's own choice, which Segue leaves to it."""

_LEAF, _INTERIOR = 0x0D, 0x05
_EMPTY_LEAF = bytes([_LEAF, 0, 0, 0, 0, *PAGE.to_bytes(2, "big"), 0]).ljust(PAGE, b"\0")
_CHILDREN = 256
"""How many pages one above them names: 15 bytes each, at the most."""

_LOCKED_PAGE = (1 << 30) // PAGE + 1
"""Which no row ever lies on: its bytes are what processes lock."""

_MOST_ROWS = (PAGE - 8) // 6
"""Of at least four bytes each, and two that say where it is."""

_LONGEST_HEAD = 128
_NULL = 0
_KEYS = 1 << 63

Content = bytes | mmap.mmap


@attrs.frozen
class Shape:
    """What tells a row of one table from those of the others."""

    columns: int
    begins_with_key: bool
    """Whether the first column is the key, and has nothing stored in its place."""


@attrs.frozen
class Leaf:
    """A page that holds rows: its number, counted from 1, and their keys."""

    number: int
    keys: list[int]

    @property
    def middle(self) -> int:
        """One of its keys that is sound, unless damage took half of them."""
        return sorted(self.keys)[len(self.keys) // 2]


def find(content: Content, shapes: Mapping[str, Shape]) -> dict[str, list[Leaf]]:
    """Return the leaves of each table in a file of this *content*: all that are in use.

    What was deleted is on none of them: the store has SQLite overwrite it.
    """
    names = {shape: name for name, shape in shapes.items()}
    found: dict[str, list[Leaf]] = {name: [] for name in shapes}
    unused = _unused(content)
    for number in range(2, len(content) // PAGE + 1):
        if content[(number - 1) * PAGE] != _LEAF or number in unused:
            continue
        rows = list(_rows(_page(content, number)))
        for shape, times in collections.Counter(shape for _, shape in rows).items():
            keys = [key for key, shaped in rows if shaped == shape and key < _KEYS]
            # More than half: a row that is damaged is of any shape.
            if shape in names and keys and times > len(rows) // 2:
                found[names[shape]].append(Leaf(number, keys))
    return found


def tree(leaves: Iterable[Leaf], numbers: Iterator[int]) -> tuple[int, dict[int, bytes]]:
    """Return the root of a tree over *leaves* and its new pages, which get their number so."""
    ordered = sorted(leaves, key=lambda leaf: leaf.middle)
    if not ordered:
        root = next(numbers)
        return root, {root: _EMPTY_LEAF}
    bounds = [_bound(leaf, following) for leaf, following in itertools.pairwise(ordered)]
    level = [(leaf.number, bound) for leaf, bound in zip(ordered, [*bounds, 0], strict=True)]
    pages: dict[int, bytes] = {}
    while len(level) > 1:
        above = []
        for children in _groups(level):
            number = next(numbers)
            pages[number] = _interior(children)
            above.append((number, children[-1][1]))
        level = above
    return level[0][0], pages


def numbers_from(first: int) -> Iterator[int]:
    """Yield the numbers of pages that rows may lie on, from *first* on."""
    while True:
        if first != _LOCKED_PAGE:
            yield first
        first += 1


def _bound(leaf: Leaf, following: Leaf) -> int:
    """Return a key that no sound one of *leaf* is above, and each of *following* is."""
    return min((key for key in following.keys if key > leaf.middle), default=leaf.middle + 1) - 1


def _groups(level: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    # Of like size: SQLite takes a page with a single one below it for a damaged one.
    count = -(-len(level) // _CHILDREN)
    for place in range(count):
        yield level[place * len(level) // count : (place + 1) * len(level) // count]


def _interior(children: list[tuple[int, int]]) -> bytes:
    """Return a page above *children*: their numbers, and up to which key each one goes."""
    page = bytearray(PAGE)
    pointers, begins = b"", PAGE
    for number, bound in children[:-1]:
        cell = number.to_bytes(4, "big") + _varint(bound)
        begins -= len(cell)
        page[begins : begins + len(cell)] = cell
        pointers += begins.to_bytes(2, "big")
    counts = (len(children) - 1).to_bytes(2, "big") + begins.to_bytes(2, "big")
    head = bytes([_INTERIOR, 0, 0, *counts, 0]) + children[-1][0].to_bytes(4, "big") + pointers
    page[: len(head)] = head
    return bytes(page)


def _page(content: Content, number: int) -> bytes:
    return content[(number - 1) * PAGE : number * PAGE]


def _rows(page: bytes) -> Iterator[tuple[int, Shape]]:
    """Yield the key and the shape of each row on a leaf: those of a damaged row are any."""
    count = _number(page, 3, 2)
    if count > _MOST_ROWS:
        return
    for at in range(8, 8 + 2 * count, 2):
        with contextlib.suppress(IndexError):
            _, at_key = _read_varint(page, _number(page, at, 2))
            key, begins = _read_varint(page, at_key)
            yield key, _shape(page, begins)


def _shape(page: bytes, begins: int) -> Shape:
    """Return the shape of the row that begins there: with the types of its columns."""
    size, at = _read_varint(page, begins)
    end = begins + min(size, _LONGEST_HEAD)  # garbage would name thousands of columns
    types = []
    while at < end:
        type, at = _read_varint(page, at)
        types.append(type)
    return Shape(len(types), types[0] == _NULL)


def _unused(content: Content) -> set[int]:
    """Return the pages on the list of unused ones, or none at all if that list is damaged."""
    following, count = _number(content, 32, 4), _number(content, 36, 4)
    last = len(content) // PAGE
    found: list[int] = []
    while following and len(found) < count:
        if following > last:
            return set()
        trunk = _page(content, following)
        named = min(_number(trunk, 4, 4), PAGE // 4 - 2)
        found += [following, *(_number(trunk, at, 4) for at in range(8, 8 + 4 * named, 4))]
        following = _number(trunk, 0, 4)
    unused = set(found)
    sound = not following and len(unused) == len(found) == count
    return unused if sound and max(unused, default=0) <= last else set()


def _number(content: Content, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "big")


def _read_varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | page[place] & 0x7F
        if page[place] < 0x80:
            return value, place + 1
    return value << 8 | page[at + 8], at + 9


def _varint(value: int) -> bytes:
    if value >> 56:
        return _varint_of(value >> 8, 8, last=0x80) + bytes([value & 0xFF])
    return _varint_of(value, max(1, -(-value.bit_length() // 7)), last=0)


def _varint_of(value: int, size: int, *, last: int) -> bytes:
    places = range(7 * (size - 1), -1, -7)
    return bytes(value >> place & 0x7F | (0x80 if place else last) for place in places)
