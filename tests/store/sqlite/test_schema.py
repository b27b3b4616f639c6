"""The table of columns agrees with what the migrations make, at every version."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.schema import MIGRATIONS, Column

VERSIONS = range(1, len(MIGRATIONS) + 1)
TYPES = {"TEXT": "text", "INTEGER": "integer", "ANY": "id"}


@contextmanager
def migrated(version: int) -> Iterator[Connection]:
    with closing(driver.connect(":memory:")) as db:
        schema.migrate(db, version)
        assert schema.version_of(db) == version
        yield db


def stored(db: Connection, table: str) -> list[Any]:
    """Return SQLite's description of the columns that rows of *table* store."""
    return [row for row in db.execute(f"PRAGMA table_xinfo({table})") if not row["hidden"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_columns_are_those_that_the_migrations_make(version: int) -> None:
    with migrated(version) as db:
        for table in schema.tables(version):
            columns = schema.columns(table, version)
            made = stored(db, table)
            assert [each.name for each in columns] == [row["name"] for row in made]
            assert [each.kind for each in columns] == [TYPES[row["type"]] for row in made]
            for column, row in zip(columns, made, strict=True):
                assert column.optional == (not row["notnull"] and not column.is_rowid)
                assert column.is_rowid == (row["pk"] == 1 and row["type"] == "INTEGER"
                                           and table != "metadata")  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_every_table_of_users_data_is_listed(version: int) -> None:
    with migrated(version) as db:
        made = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert made - set(schema.tables(version)) <= {"compatibility"}


def defaults(db: Connection, table: str) -> dict[str, Any]:
    sql = f"SELECT name, dflt_value FROM pragma_table_xinfo('{table}')"
    found = {row["name"]: row["dflt_value"] for row in db.execute(sql)}
    return {
        name: None if value is None else db.execute(f"SELECT {value}").fetchone()[0]
        for name, value in found.items()
    }


def test_a_column_that_was_added_later_has_its_default_as_its_stand_in() -> None:
    with migrated(len(MIGRATIONS)) as db:
        for table, columns in schema.COLUMNS.items():
            added = [column for column in columns if column.since > columns[0].since]
            for column in added:
                assert column.stand_in == defaults(db, table)[column.name]


def test_columns_are_in_the_order_in_which_migrations_add_them() -> None:
    for columns in schema.COLUMNS.values():
        assert list(columns) == sorted(columns, key=lambda column: column.since)


def test_rows_of_different_tables_have_different_shapes() -> None:
    """Rows are told apart by their number of columns where nothing else is left to go by."""
    shapes = {
        (table, len(schema.columns(table, version)), schema.COLUMNS[table][0].is_rowid)
        for version in VERSIONS
        for table in schema.tables(version)
    }
    assert len({shape[1:] for shape in shapes}) == len(shapes)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        (Column("n", "integer", maximum=9), [0, 9], [-1, 10, None, "1", 1.0, b""]),
        (Column("t", "text", optional=True), [None, "", "x"], [1, b"x", 1.5]),
        (Column("i", "id"), ["x", b"x"], [None, 1]),
    ],
    ids=["integer", "text", "id"],
)
def test_a_column_accepts_values_of_its_kind_in_its_range(
    column: Column, good: list[Any], bad: list[Any]
) -> None:
    assert [value for value in good + bad if column.accepts(value)] == good
