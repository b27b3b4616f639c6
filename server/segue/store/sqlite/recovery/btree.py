"""Finds the rows of a SQLite file without the interior pages, and builds new interior pages.

A table is a b-tree: its rows are on the leaf pages, and the interior pages only point to the leaf
pages. File format: https://sqlite.org/fileformat2.html
"""

import collections
import contextlib
import itertools
import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from segue.store.sqlite.header import PAGE

_LEAF, _INTERIOR = 0x0D, 0x05
_EMPTY_LEAF = bytes([_LEAF, 0, 0, 0, 0, *PAGE.to_bytes(2, "big"), 0]).ljust(PAGE, b"\0")
_MAX_CHILDREN = 256
"""Of an interior page: each takes 15 bytes at most."""

_LOCK_PAGE = (1 << 30) // PAGE + 1
"""Never holds rows: processes lock its bytes."""

_MAX_ROWS = (PAGE - 8) // 6
"""Of a leaf page: each takes four bytes at least, and two for its offset."""

_MAX_RECORD_HEADER = 128
_NULL, _BLOB = 0, 12
"""Types of values: an empty blob is the first of the even ones, the odd ones above are text."""
_KEYS = 1 << 63

Content = bytes | mmap.mmap


@attrs.frozen
class RowShape:
    """What distinguishes a row of one table from those of others."""

    columns: int
    begins_with_key: bool
    """Whether the first column is the INTEGER PRIMARY KEY: then a null is stored in its place."""
    begins_with_text: bool = False


@attrs.frozen
class LeafPage:
    """A page that holds rows: its number, counted from 1, and the rows' keys."""

    number: int
    keys: list[int]

    @property
    def median_key(self) -> int:
        """An undamaged key, unless half of the keys are damaged."""
        return sorted(self.keys)[len(self.keys) // 2]


def find_leaf_pages(
    content: Content, shapes: Mapping[str, Collection[RowShape]]
) -> dict[str, list[LeafPage]]:
    """Return the leaf pages of each table, in a file of this *content*: those that are in use.

    *shapes* are those that a table's rows can have: rows that were stored before a column was added
    have fewer columns. Deleted rows are on none of the pages, as the store has SQLite overwrite
    them.
    """
    tables = {shape: table for table, each in shapes.items() for shape in each}
    found: dict[str, list[LeafPage]] = {table: [] for table in shapes}
    free = _free_pages(content)
    for number in range(2, len(content) // PAGE + 1):
        if content[(number - 1) * PAGE] != _LEAF or number in free:
            continue
        rows = [(key, tables.get(shape)) for key, shape in _rows(_page(content, number))]
        for table, count in collections.Counter(table for _, table in rows).items():
            keys = [key for key, its_table in rows if its_table == table and key < _KEYS]
            # More than half, because a damaged row can have any shape.
            if table is not None and keys and count > len(rows) // 2:
                found[table].append(LeafPage(number, keys))
    return found


def build_btree(leaves: Iterable[LeafPage], numbers: Iterator[int]) -> tuple[int, dict[int, bytes]]:
    """Return the root of a new b-tree over *leaves*, and its new pages by their number.

    The new pages are numbered with *numbers*.
    """
    ordered = sorted(leaves, key=lambda leaf: leaf.median_key)
    if not ordered:
        root = next(numbers)
        return root, {root: _EMPTY_LEAF}
    bounds = [_bound(leaf, following) for leaf, following in itertools.pairwise(ordered)]
    level = [(leaf.number, bound) for leaf, bound in zip(ordered, [*bounds, 0], strict=True)]
    pages: dict[int, bytes] = {}
    while len(level) > 1:
        parents = []
        for children in _groups(level):
            number = next(numbers)
            pages[number] = _interior_page(children)
            parents.append((number, children[-1][1]))
        level = parents
    return level[0][0], pages


def numbers_from(first: int) -> Iterator[int]:
    """Yield the numbers of pages that can hold rows, from *first* on."""
    while True:
        if first != _LOCK_PAGE:
            yield first
        first += 1


def _bound(leaf: LeafPage, following: LeafPage) -> int:
    """Return a key that separates the undamaged keys of *leaf* from those of *following*."""
    above = (key for key in following.keys if key > leaf.median_key)
    return min(above, default=leaf.median_key + 1) - 1


def _groups(level: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    # Of similar size: to SQLite an interior page with a single child is damaged.
    count = -(-len(level) // _MAX_CHILDREN)
    for index in range(count):
        yield level[index * len(level) // count : (index + 1) * len(level) // count]


def _interior_page(children: list[tuple[int, int]]) -> bytes:
    """Return the parent page of *children*, given as their numbers and highest possible keys."""
    page = bytearray(PAGE)
    pointers, offset = b"", PAGE
    for number, bound in children[:-1]:
        cell = number.to_bytes(4, "big") + _varint(bound)
        offset -= len(cell)
        page[offset : offset + len(cell)] = cell
        pointers += offset.to_bytes(2, "big")
    counts = (len(children) - 1).to_bytes(2, "big") + offset.to_bytes(2, "big")
    head = bytes([_INTERIOR, 0, 0, *counts, 0]) + children[-1][0].to_bytes(4, "big") + pointers
    page[: len(head)] = head
    return bytes(page)


def _page(content: Content, number: int) -> bytes:
    return content[(number - 1) * PAGE : number * PAGE]


def _rows(page: bytes) -> Iterator[tuple[int, RowShape]]:
    """Yield the key and the shape of each row on a leaf page; those of a damaged row are random."""
    count = _number(page, 3, 2)
    if count > _MAX_ROWS:
        return
    for pointer in range(8, 8 + 2 * count, 2):
        with contextlib.suppress(IndexError):
            _, offset = _read_varint(page, _number(page, pointer, 2))
            key, offset = _read_varint(page, offset)
            yield key, _shape(page, offset)


def _shape(page: bytes, record: int) -> RowShape:
    """Return the shape of the row whose record, which begins with its columns' types, is there."""
    size, offset = _read_varint(page, record)
    end = record + min(size, _MAX_RECORD_HEADER)  # garbage would have thousands of columns
    types = []
    while offset < end:
        type, offset = _read_varint(page, offset)
        types.append(type)
    return RowShape(len(types), types[0] == _NULL, types[0] > _BLOB and types[0] % 2 == 1)


def _free_pages(content: Content) -> set[int]:
    """Return the pages on the free list, or no page at all if that list is damaged."""
    following, count = _number(content, 32, 4), _number(content, 36, 4)
    last = len(content) // PAGE
    found: list[int] = []
    while following and len(found) < count:
        if following > last:
            return set()
        trunk = _page(content, following)
        length = min(_number(trunk, 4, 4), PAGE // 4 - 2)
        found += [following, *(_number(trunk, 8 + 4 * index, 4) for index in range(length))]
        following = _number(trunk, 0, 4)
    free = set(found)
    is_valid = not following and len(free) == len(found) == count
    return free if is_valid and max(free, default=0) <= last else set()


def _number(content: Content, offset: int, size: int) -> int:
    return int.from_bytes(content[offset : offset + size], "big")


def _read_varint(page: bytes, offset: int) -> tuple[int, int]:
    """Return a number and the offset of its end."""
    value = 0
    for place in range(offset, offset + 8):
        value = value << 7 | page[place] & 0x7F
        if page[place] < 0x80:
            return value, place + 1
    return value << 8 | page[offset + 8], offset + 9


def _varint(value: int) -> bytes:
    if value >> 56:
        return _varint_of(value >> 8, 8, last=0x80) + bytes([value & 0xFF])
    return _varint_of(value, max(1, -(-value.bit_length() // 7)), last=0)


def _varint_of(value: int, size: int, *, last: int) -> bytes:
    shifts = range(7 * (size - 1), -1, -7)
    return bytes(value >> shift & 0x7F | (0x80 if shift else last) for shift in shifts)
