"""The schema: columns at every version, the check of the owner, and migrations."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import StorageCorrupt, StorageError, StorageReadOnly, StorageUnavailable
from segue.model.events import new_id
from segue.model.records import NewFork, Timestamp
from segue.store.sqlite import driver, schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.commit import Transaction
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.schema import MIGRATIONS, Column
from segue.store.sqlite.service import LocalSessionService
from tests import schema_versions
from tests.factories import append_to_head, contents, execute, note, store_session, user_message
from tests.faults import foreign_schema
from tests.store.sqlite.helpers import (
    connection_threads,
    digest,
    make_foreign,
    opened,
    pragma,
    schema_statements,
    write_file,
)

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
def test_every_table_of_user_data_is_listed(version: int) -> None:
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
    """Salvage identifies the table of a row by its columns if all else is lost."""
    shapes = {
        (
            table,
            len(schema.columns(table, version)),
            schema.COLUMNS[table][0].is_rowid,
            schema.COLUMNS[table][0].kind == "text",
        )
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


# The tables


async def test_the_database_has_the_application_id_and_schema_version(
    database: Path, service: LocalSessionService
) -> None:
    assert await pragma(service, "application_id") == schema.APPLICATION_ID
    assert await pragma(service, "user_version") == len(schema.MIGRATIONS)
    await service.close()
    with database.open("rb") as file:
        assert file.read(100)[68:72] == b"SEGU"


async def test_every_table_is_strict(database: Path, service: LocalSessionService) -> None:
    tables = execute(
        database, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND schema = ?",
        "main",
    )  # fmt: skip
    strict = {row["name"]: row["strict"] for row in tables if row["name"] != "sqlite_schema"}
    assert set(strict) == {*schema.COLUMNS, "compatibility"}
    assert set(strict.values()) == {1}


async def test_the_schema_refuses_a_gap_between_events(
    database: Path, service: LocalSessionService
) -> None:
    id = await store_session(service, user_message("one"), user_message("two"))
    sql = (
        "INSERT INTO events (key, id, invocation, created_at, type, data) "
        "SELECT max(key) + ?, 'new', invocation, 0, 'text', '{}' FROM events"
    )
    for step in (2, 1 << 33):
        with pytest.raises(driver.Error, match="must follow the one before it"):
            execute(database, sql, step)
    with pytest.raises(driver.Error, match="UNIQUE"):
        execute(database, sql, 0)
    assert await contents(service, id) == ["one", "two"]


async def test_deleting_a_session_reads_no_event_of_another(database: Path) -> None:
    async with opened(database):
        pass
    [reference] = execute(database, "PRAGMA foreign_key_list(events)")
    assert (reference["table"], reference["from"]) == ("sessions", "session")


# Foreign files


FOREIGN: dict[str, Callable[[Path], object]] = {
    "five bytes": lambda path: path.write_bytes(b"hello"),
    "a text file": lambda path: path.write_bytes(b"Not a database at all.\n" * 1_000),
    "a foreign database": lambda path: make_foreign(path, "CREATE TABLE t (x)"),
    "a foreign database in WAL mode": lambda path: make_foreign(
        path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"
    ),
    "an empty foreign database": lambda path: make_foreign(path, "PRAGMA application_id = 77"),
    "a database of a later version": lambda path: make_foreign(
        path,
        f"PRAGMA application_id = {schema.APPLICATION_ID}",
        "CREATE TABLE sessions (later)",
        "PRAGMA user_version = 99",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_foreign_file_is_refused_and_unchanged(database: Path, kind: str) -> None:
    write_file(database, b"")
    FOREIGN[kind](database)
    before = digest(database)
    for _ in range(2):
        with pytest.raises(StorageError, match="was left as it is") as error:
            await LocalSessionService.open(database)
        assert str(database) in str(error.value)
        assert connection_threads() == []
    assert digest(database) == before
    assert {path.name for path in database.parent.iterdir()} <= {
        "sessions.db",
        "sessions.db-lock",
    }


@pytest.mark.parametrize(("application", "version"), [(0, 0), (schema.APPLICATION_ID, 99)])
async def test_a_foreign_database_with_a_pending_log_is_unchanged(
    database: Path, application: int, version: int
) -> None:
    database.parent.mkdir()
    writer = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        f"db.execute('PRAGMA application_id = {application}')\n"
        f"db.execute('PRAGMA user_version = {version}')\n"
        "db.execute('CREATE TABLE a (b)')\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('INSERT INTO a VALUES (1)')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", writer, database], check=True)
    files = (database, database.with_name("sessions.db-wal"))
    before = [digest(file) for file in files]
    with pytest.raises(StorageError, match="was left as it is"):
        await LocalSessionService.open(database)
    assert [digest(file) for file in files] == before


@attrs.frozen
class FetchedRows:
    rows: list[Any]

    def fetchone(self) -> Any:
        return self.rows[0]

    def fetchall(self) -> list[Any]:
        return self.rows


class RacingConnection:
    """A connection; another one creates the database after its statement number *statement*."""

    def __init__(self, where: str, statement: int) -> None:
        self.db, self.other = driver.connect(where), driver.connect(where)
        self.other.execute("PRAGMA journal_mode = WAL")  # a reader does not block it then
        self.statement = statement
        self.time_limit = self.db.time_limit  # type: ignore[attr-defined]  # as `driver` makes it

    @property
    def in_transaction(self) -> bool:
        return self.db.in_transaction

    def execute(self, sql: str) -> Any:
        rows = self.db.execute(sql).fetchall()
        if self.statement == 0:
            schema.migrate(self.other)
        self.statement -= 1
        return FetchedRows(rows)


@pytest.mark.parametrize("statement", range(6))
def test_a_database_that_is_created_during_the_owner_check_is_accepted(
    tmp_path: Path, statement: int
) -> None:
    racing = RacingConnection(str(tmp_path / "sessions.db"), statement)
    with closing(racing.db), closing(racing.other):
        schema.check_owner(racing, "sessions.db")  # type: ignore[arg-type]  # it has all that is used
        assert racing.statement < 0


# The exact schema


@pytest.mark.parametrize("version", range(1, len(schema_versions.MIGRATIONS) + 1))
def test_the_definitions_are_those_that_sqlite_has(version: int) -> None:
    migrations = schema_versions.MIGRATIONS[:version]
    made = schema.definitions(migrations)
    assert made == schema._definitions_by_sqlite(migrations)
    assert len(made) > 10


def test_the_definitions_after_other_statements_are_asked_of_sqlite() -> None:
    other = ("ALTER TABLE sessions RENAME COLUMN title TO name",)
    made = schema.definitions((*schema.MIGRATIONS, other))
    assert "name TEXT" in made["sessions"]


def change(database: Path, statements: Sequence[str]) -> None:
    with closing(driver.connect(str(database))) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize("kind", foreign_schema.HARMS)
async def test_a_schema_with_what_no_migration_made_is_refused_and_unchanged(
    database: Path, kind: str
) -> None:
    name, statements = foreign_schema.HARMS[kind]
    async with opened(database) as service:
        await store_session(service, user_message("one"))
    change(database, statements)
    before = digest(database)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="was left as it is") as error:
            await LocalSessionService.open(database)
        assert name in str(error.value)
    (problem,) = LocalStoreAdmin(database).check().problems
    assert name in problem
    with pytest.raises(StorageUnavailable, match=name):
        LocalStoreAdmin(database).back_up()
    assert digest(database) == before


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TRIGGER events_are_gapless"],
        ["DROP INDEX sessions_by_update"],
        ["DROP VIEW session_records"],
        [
            "PRAGMA writable_schema = ON",
            (
                "UPDATE sqlite_master SET sql = replace(sql, '(0, 1)', '(0, 3)') "
                "WHERE name = 'sessions'"
            ),
        ],
        [
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET name = 'session_recorda' WHERE name = 'session_records'",
        ],
    ],
)
async def test_a_definition_that_is_lost_or_altered_in_place_is_damage(
    database: Path, statements: Sequence[str]
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    change(database, statements)
    with pytest.raises(StorageCorrupt, match="1 events of 1 sessions"):
        await LocalSessionService.open(database)
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]
        await append_to_head(service, id, user_message("two"))


# Limits

ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"


async def test_a_read_that_never_ends_is_stopped(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "READ_LIMIT_S", 0.1)
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
        read = service._connection.read(lambda db: db.execute(ENDLESS).fetchone())
        with pytest.raises(StorageUnavailable, match="needed too long"):
            await read
        assert await contents(service, id) == ["one"]


async def test_a_write_that_never_ends_is_stopped_and_undone(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "WRITE_LIMIT_S", 0.1)
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))

        def write(transaction: Transaction) -> None:
            transaction.db.execute("UPDATE sessions SET title = 'half'")
            transaction.db.execute(f"UPDATE sessions SET event_count = ({ENDLESS})")

        with pytest.raises(StorageUnavailable, match="Nothing was changed"):
            await service._connection.write(write)
        await append_to_head(service, id, user_message("two"))
        assert (await service.get_session(id)).title == "one"


async def test_a_process_that_only_waits_is_not_stopped(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "READ_LIMIT_S", 0.2)
    counted = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) "

    def read(db: Connection) -> int:
        time.sleep(0.3)
        return int(db.execute(f"{counted} SELECT max(x) FROM c", (100_000,)).fetchone()[0])

    async with opened(database) as service:
        assert await service._connection.read(read) == 100_000


async def test_an_endless_view_of_a_later_version_is_stopped(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "READ_LIMIT_S", 0.1)
    async with opened(database) as service:
        await store_session(service, user_message("one"))
    _, statements = foreign_schema.HARMS["endless view"]
    change(database, [*statements, "PRAGMA user_version = 99"])
    async with opened(database) as service:
        with pytest.raises(StorageUnavailable, match="needed too long"):
            await service.list_sessions()


@pytest.mark.skipif(driver.NAME != "sqlite3", reason="pysqlite3 cannot set SQLite's limits")
async def test_a_huge_value_is_an_error(database: Path) -> None:
    async with opened(database) as service:
        read = service._connection.read(
            lambda db: db.execute("SELECT zeroblob(900000000)").fetchone()
        )
        with pytest.raises(StorageUnavailable, match="too big"):
            await read


# Migrations


async def test_reopening_does_not_change_the_schema(database: Path) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    before = schema_statements(database)
    async with opened(database) as one, opened(database) as other:
        assert await contents(one, id) == await contents(other, id) == ["one"]
    assert schema_statements(database) == before


async def test_a_failed_migration_is_rolled_back(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    before = schema_statements(database)
    with monkeypatch.context() as patch:
        broken = ("CREATE TABLE half (x)", "CREATE TABLE sessions (x)")
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StorageError):
            await LocalSessionService.open(database)
    assert schema_statements(database) == before
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]


async def test_a_migration_keeps_stored_events(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    later = ("ALTER TABLE sessions ADD COLUMN later TEXT",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]
        assert await pragma(service, "user_version") == len(schema.MIGRATIONS)


# Databases of later versions


@pytest.mark.parametrize("assignments", ["reader = 99, writer = 99", None])
async def test_a_database_of_a_later_version_is_refused_unless_it_permits_reading(
    database: Path, assignments: str | None
) -> None:
    async with opened(database) as service:
        await store_session(service, user_message("one"))
    execute(
        database,
        f"UPDATE compatibility SET {assignments}" if assignments else "DROP TABLE compatibility",
    )
    execute(database, "PRAGMA user_version = 99")
    before = digest(database)
    with pytest.raises(StorageUnavailable, match="later Segue"):
        await LocalSessionService.open(database)
    assert digest(database) == before


async def test_a_database_of_a_later_version_is_read_if_it_permits_that(database: Path) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    execute(database, "UPDATE compatibility SET writer = 99")
    execute(database, "PRAGMA user_version = 99")
    before = digest(database)
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]
        with pytest.raises(StorageReadOnly, match="later Segue"):
            await append_to_head(service, id, user_message("two"))
        with pytest.raises(StorageReadOnly):
            await store_session(service, user_message("another"))
    assert digest(database) == before


async def test_a_database_of_a_later_version_is_written_if_it_permits_that(database: Path) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    execute(database, "PRAGMA user_version = 99")
    async with opened(database) as service:
        await append_to_head(service, id, user_message("two"))
        assert await contents(service, id) == ["one", "two"]
        assert await pragma(service, "user_version") == 99


async def test_a_version_that_knows_no_forks_refuses_a_store_that_may_have_them(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a fork, which lacks its first events, for damaged."""
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
        await service.fork_session(id, NewFork(id=new_id()))
    before = digest(database)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
        with pytest.raises(StorageUnavailable, match=r"later Segue \(schema \d+; this one knows"):
            await LocalSessionService.open(database)
    assert digest(database) == before
    async with opened(database) as service:
        assert len((await service.list_sessions()).sessions) == 2


@pytest.mark.parametrize("version", [1, 2])
async def test_what_an_earlier_version_stored_can_be_forked_and_named(
    database: Path, tmp_path: Path, version: int
) -> None:
    current = tmp_path / "current" / "sessions.db"
    first = user_message("one")
    async with opened(current) as service:
        ids = [await store_session(service, first, user_message("two")) for _ in range(2)]
    schema_versions.store_at_version(current, database, version)
    async with opened(database) as service:
        for id in ids:
            session = await service.get_session(id)
            assert (session.title, session.fork_seq, session.client) == ("one", None, None)
            fork = await service.fork_session(id, NewFork(id=new_id(), at=first.id))
            await append_to_head(service, fork.id, user_message("own"))
            await service.set_title(id, "Given")
            await service.delete(id)
            assert await contents(service, fork.id) == ["one", "own"]
            page = await service.load_events(fork.id, limit=1, after=0)
            assert [each.client_name for each in page.invocations] == [None]


async def test_a_migration_finds_the_last_prompts_of_the_sessions(
    database: Path, tmp_path: Path
) -> None:
    time = 1_800_000_000_000
    current = tmp_path / "current" / "sessions.db"
    service = await LocalSessionService.open(current, lambda: Timestamp(time))
    prompted, unprompted = [
        await store_session(service, event) for event in (user_message(), note())
    ]
    fork = (await service.fork_session(prompted, NewFork(id=new_id()))).id
    time += 1_000
    continued = (await service.fork_session(prompted, NewFork(id=new_id()))).id
    await append_to_head(service, continued, user_message("own"))
    await append_to_head(service, prompted, user_message("second"))
    time += 1_000
    await append_to_head(service, prompted, note())
    await service.close()
    expected = {prompted: time - 1_000, unprompted: None, fork: None, continued: time - 1_000}
    schema_versions.store_at_version(current, database, 3)
    async with opened(database) as service:
        sessions = (await service.list_sessions(order="lastPrompt")).sessions
        assert {each.id: each.last_prompt_at for each in sessions} == expected
        assert {each.branch for each in sessions} == {None}
        assert await pragma(service, "user_version") == len(MIGRATIONS)


async def test_a_version_that_knows_no_last_prompts_may_only_read(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave their times as they are."""
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[:3])
        async with opened(database) as service:
            assert await contents(service, id) == ["one"]
            with pytest.raises(StorageReadOnly):
                await append_to_head(service, id, user_message("two"))
    with migrated(3) as old, migrated(4) as new:
        columns = [
            {column[0] for column in db.execute("SELECT * FROM session_records").description}
            for db in (old, new)
        ]
    added = {"last_prompt_at", "branch", "machine", "forked_at", "revisions"}
    assert columns[1] - columns[0] == added
    assert columns[0] <= columns[1]
