"""Finds the pages of a SQLite file that hold a row, with a reader of table b-trees.

The virtual table `dbstat` has the same information, but few builds of SQLite include it.
File format: https://sqlite.org/fileformat2.html
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs

from segue.store.sqlite import driver

_INTERIOR, _LEAF = 0x05, 0x0D
_FILE_HEADER = 100


@attrs.frozen
class Layout:
    """The pages of a table: by key, those that hold the row, and the interior pages above it."""

    own: dict[int, set[int]]
    above: dict[int, set[int]]

    @property
    def pages(self) -> set[int]:
        """All pages of the table."""
        return set().union(*self.own.values(), *self.above.values())


def layout(database: Path, table: str) -> Layout:
    """Return the layout of *table*; pages are counted from 1."""
    with closing(driver.connect_to_read(str(database))) as db:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (root,) = db.execute(sql, (table,)).fetchone()
    found = Layout({}, {})
    _Reader(database.read_bytes()).walk(root, (), found)
    return found


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = int.from_bytes(content[16:18], "big")
        if self.size == 1:
            self.size = 65_536

    def walk(self, number: int, above: tuple[int, ...], found: Layout) -> None:
        page = self._page(number)
        at = _FILE_HEADER if number == 1 else 0
        kind, cells = page[at], int.from_bytes(page[at + 3 : at + 5], "big")
        first = at + (12 if kind == _INTERIOR else 8)
        pointers = [_number(page, first + 2 * n, 2) for n in range(cells)]
        if kind == _INTERIOR:
            children = [_number(page, pointer, 4) for pointer in pointers]
            for child in [*children, _number(page, at + 8, 4)]:
                self.walk(child, (*above, number), found)
            return
        assert kind == _LEAF, f"page {number} is none of a table"
        for pointer in pointers:
            size, key_at = _varint(page, pointer)
            key, begins = _varint(page, key_at)
            found.own[key] = {number, *self._overflow(page, begins, size)}
            found.above[key] = set(above)

    def _page(self, number: int) -> bytes:
        return self._content[(number - 1) * self.size : number * self.size]

    def _overflow(self, page: bytes, begins: int, size: int) -> Iterator[int]:
        local = self._local(size)
        if local == size:
            return
        following = _number(page, begins + local, 4)
        while following:
            yield following
            following = _number(self._page(following), 0, 4)

    def _local(self, size: int) -> int:
        """Return how many bytes of a row of *size* bytes are on its leaf page."""
        most = self.size - 35
        if size <= most:
            return size
        least = (self.size - 12) * 32 // 255 - 23
        local = least + (size - least) % (self.size - 4)
        return local if local <= most else least


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the offset of its end."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if not data[place] & 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9
