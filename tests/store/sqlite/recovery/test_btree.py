"""Finding leaf pages without interior pages, and rebuilding those."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segue.store.sqlite.header import PAGE
from segue.store.sqlite.recovery import btree
from segue.store.sqlite.recovery.btree import LeafPage, RowShape

SHAPES = {
    "one": {RowShape(3, begins_with_key=True)},
    "other": {RowShape(3, begins_with_key=False)},
}
LARGE = "x" * 2_500
"""So long that a page holds one row."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.db"


def execute(file: Path, *statements: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA secure_delete = OFF")
        for statement in statements:
            rows = db.execute(statement).fetchall()
        return rows


def fill(file: Path, rows: int = 700) -> None:
    """Make two tables whose pages are interleaved and whose keys are far apart."""
    execute(
        file,
        "CREATE TABLE one (key INTEGER PRIMARY KEY, a, b)",
        "CREATE TABLE other (a, b, c)",
        "CREATE INDEX others ON other (a)",
    )
    series = f"WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})"
    execute(
        file,
        f"{series} INSERT INTO one SELECT (n << 32) + n % 7, n, '{LARGE}' || n FROM n",
        f"{series} INSERT INTO other SELECT n, 'short', n % 10 FROM n",
        f"{series} INSERT INTO one SELECT (n << 32) + 100, n, 'short' || n FROM n",
        f"{series} INSERT INTO one SELECT (n << 32) + 101, n, '{LARGE * 7}' || n FROM n LIMIT 20",
    )


def keys(found: list[LeafPage]) -> list[int]:
    return sorted(key for leaf in found for key in leaf.keys)


def all_rows(file: Path, table: str) -> list[tuple[Any, ...]]:
    return execute(file, f"SELECT rowid, * FROM {table} ORDER BY rowid")


def test_every_row_of_a_table_is_found_and_none_of_another(file: Path) -> None:
    fill(file)
    found = btree.find_leaf_pages(file.read_bytes(), SHAPES)
    for table, each in found.items():
        assert keys(each) == [row[0] for row in all_rows(file, table)]
    assert len(found["one"]) >= 700


@pytest.mark.parametrize("rows", [0, 1, 300, 700])
def test_sqlite_reads_all_rows_through_rebuilt_interior_pages(file: Path, rows: int) -> None:
    fill(file, rows)
    before = {table: all_rows(file, table) for table in SHAPES}
    content = bytearray(file.read_bytes())
    roots = {row[1]: row[0] for row in execute(file, "SELECT rootpage, name FROM sqlite_master")}
    for offset in range(PAGE, len(content), PAGE):
        if content[offset] == 0x05:
            content[offset : offset + PAGE] = b"\xff" * PAGE
    numbers = btree.numbers_from(len(content) // PAGE + 1)
    execute(file, "PRAGMA writable_schema = ON")
    for table, found in btree.find_leaf_pages(bytes(content), SHAPES).items():
        root, pages = btree.build_btree(found, numbers)
        for number, page in sorted(pages.items()):
            assert len(content) == (number - 1) * PAGE
            content += page
        roots[table] = root
    content[28:32] = bytes(4)
    file.write_bytes(content)
    for table, root in roots.items():
        sql = f"UPDATE sqlite_master SET rootpage = {root} WHERE name = '{table}'"
        execute(file, "PRAGMA writable_schema = ON", sql)
    assert {table: all_rows(file, table) for table in SHAPES} == before
    for table in SHAPES:
        for key, *_ in before[table][::50]:
            assert len(execute(file, f"SELECT 1 FROM {table} WHERE rowid = {key}")) == 1


def without_freelist(content: bytes) -> bytes:
    """Return the file without its freelist."""
    return content[:32] + bytes(8) + content[40:]


def test_rows_on_free_pages_are_not_found(file: Path) -> None:
    fill(file)
    execute(file, "DELETE FROM one WHERE key >> 32 BETWEEN 100 AND 300")
    content = file.read_bytes()
    assert keys(btree.find_leaf_pages(content, SHAPES)["one"]) == [
        row[0] for row in all_rows(file, "one")
    ]
    # Without the freelist they are found: secure_delete is off.
    assert len(keys(btree.find_leaf_pages(without_freelist(content), SHAPES)["one"])) > 1_300


def damaged_freelists(content: bytes) -> Iterator[bytes]:
    """Yield the file with each kind of damage to its freelist."""
    first = int.from_bytes(content[32:36], "big")
    offset = (first - 1) * PAGE
    for place, value in (
        (32, 1 << 30),
        (36, 1),
        (offset, first),
        (offset + 4, 1 << 31),
        (offset + 8, first),
    ):
        damaged = bytearray(content)
        damaged[place : place + 4] = value.to_bytes(4, "big")
        yield bytes(damaged)


def test_a_damaged_freelist_hides_no_page_in_use(file: Path) -> None:
    fill(file)
    execute(file, "DELETE FROM one WHERE key >> 32 BETWEEN 100 AND 300")
    content = file.read_bytes()
    for damaged in damaged_freelists(content):
        found = btree.find_leaf_pages(damaged, SHAPES)
        assert found == btree.find_leaf_pages(without_freelist(content), SHAPES)


def test_a_damaged_key_does_not_reorder_its_page(file: Path) -> None:
    ordered = [LeafPage(2, [1, 2, 3]), LeafPage(3, [4, 1 << 60, 6]), LeafPage(4, [0, 8, 9])]
    root, pages = btree.build_btree(random.Random(7).sample(ordered, 3), iter((5,)))
    page = pages[root]
    places = [int.from_bytes(page[offset : offset + 2], "big") for offset in (12, 14)]
    assert [page[place + 3] for place in places] + [page[11]] == [2, 3, 4]
    assert [page[place + 4] for place in places] == [3, 7]


def test_the_lock_byte_page_is_not_used(file: Path) -> None:
    numbers = btree.numbers_from(262_144)
    assert [next(numbers), next(numbers)] == [262_144, 262_146]


@pytest.mark.parametrize("value", [0, 127, 128, (1 << 56) - 1, 1 << 56, (1 << 63) - 1, 300 << 32])
def test_varints_round_trip(value: int) -> None:
    written = btree._varint(value)
    assert btree._read_varint(b"?" + written, 1) == (value, 1 + len(written))


def test_arbitrary_pages_raise_no_error(file: Path) -> None:
    rng = random.Random(7)
    fill(file, 20)
    good = file.read_bytes()
    for _ in range(60):
        content = bytearray(good)
        for _ in range(50):
            offset = rng.randrange(1, len(good) // PAGE) * PAGE
            content[offset + rng.choice([rng.randrange(12), rng.randrange(PAGE)])] ^= 0xFF
        content += bytes([0x0D]) + rng.randbytes(PAGE - 1)
        btree.find_leaf_pages(bytes(content), SHAPES)
    for size in (0, 1, 40, 100, PAGE, PAGE + 1):
        btree.find_leaf_pages(good[:size], SHAPES)


@pytest.mark.parametrize("rows", [(PAGE - 8) // 6, 0xFFFF])
def test_a_page_of_garbage_is_read_in_bounded_time(file: Path, rows: int) -> None:
    fill(file, 1)
    garbage = bytes([0x0D, 0, 0, *rows.to_bytes(2, "big"), 0, 9, 0]) + b"\x09\x87" * 2_044
    began = time.process_time()
    btree.find_leaf_pages(file.read_bytes() + garbage * 10, SHAPES)
    assert time.process_time() - began < 2
