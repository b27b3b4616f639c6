"""What holds for the SQLite store alone, shown on real files, disks and processes."""

import asyncio
import contextlib
import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import (
    EventConflict,
    HeadMoved,
    SessionNotFound,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnavailable,
)
from segue.protocol import messages
from segue.store.sqlite import driver, recovery, schema
from segue.store.sqlite.locks import OpenLock, WriteLock
from segue.store.sqlite.recovery import policy
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    INVOCATION,
    add,
    chain,
    contents,
    execute,
    note,
    said,
    store,
)

PAGE_BYTES = 4_096
CANARY = "canary-7f3a9c"


@asynccontextmanager
async def opened(database: Path | str) -> AsyncIterator[LocalSessionService]:
    service = await LocalSessionService.open(database)
    try:
        yield service
    finally:
        await service.close()


async def pragma(service: LocalSessionService, name: str) -> Any:
    row = await service._connection.read(lambda db: db.execute(f"PRAGMA {name}").fetchone())
    return row[0]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def workers() -> list[threading.Thread]:
    """Return the threads of connections that are not closed."""
    return [thread for thread in threading.enumerate() if "connection_worker" in thread.name]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


# Who may read it


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["000", "022", "077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_files_are_for_their_owner_alone_from_the_first_byte(database: Path) -> None:
    async with opened(database) as service:
        await store(service)
        assert modes(database.parent) == {
            "sessions.db": 0o600,
            "sessions.db-wal": 0o600,
            "sessions.db-shm": 0o600,
            "sessions.db-lock": 0o600,
            "sessions.db-write.lock": 0o600,
        }
        assert mode(database.parent) == 0o700


def link(path: Path, target: Path) -> None:
    for folder in (path.parent, target.parent):
        folder.mkdir()
    path.symlink_to(target)


async def test_a_link_to_nowhere_makes_no_file_that_others_can_read(
    database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    link(database, folder / "sessions.db")
    with contextlib.suppress(StorageError):  # to refuse it is as good as to make it private
        async with opened(database) as service:
            await store(service)
    assert set(modes(folder).values()) <= {0o600}


# What the database says of itself


async def test_the_database_says_whose_it_is(database: Path, service: LocalSessionService) -> None:
    assert await pragma(service, "application_id") == schema.APPLICATION_ID
    assert await pragma(service, "user_version") == len(schema.MIGRATIONS)
    await service.close()
    with database.open("rb") as file:
        assert file.read(100)[68:72] == b"SEGU"


async def test_the_connection_keeps_the_promises_of_the_store(service: LocalSessionService) -> None:
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }
    assert {name: await pragma(service, name) for name in expected} == expected


async def test_every_table_is_strict(database: Path, service: LocalSessionService) -> None:
    tables = execute(
        database, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND schema = ?",
        "main",
    )  # fmt: skip
    strict = {row["name"]: row["strict"] for row in tables if row["name"] != "sqlite_schema"}
    assert set(strict) == {"sessions", "invocations", "events", "metadata", "compatibility"}
    assert set(strict.values()) == {1}


async def test_the_schema_itself_refuses_a_gap(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service, said("one"), said("two"))
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


# Rows that cannot be decoded


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("data", b"not json", {"data": "not json", "corrupt": True}),
        ("data", b"", {"data": "", "corrupt": True}),
        ("data", b'{"content": "', {"data": '{"content": "', "corrupt": True}),
        ("data", b"\xff\xfe", {"data": "\udcff\udcfe", "corrupt": True}),
        ("data", b"[" * 100_000, {"data": "[" * 100_000, "corrupt": True}),
        ("data", b'{"content": 5}', {"data": {"content": 5}, "corrupt": False}),
        ("data", b"[1]", {"data": [1], "corrupt": False}),
        ("type", b"from/later", {"type": "from/later", "corrupt": False}),
        ("type", b"\xff", {"type": "\udcff", "corrupt": False}),
    ],
    ids=lambda value: str(value)[:14],
)
async def test_a_bad_row_comes_back_and_never_fails_its_page(
    database: Path,
    service: LocalSessionService,
    column: str,
    value: bytes,
    shown: dict[str, Any],
) -> None:
    id = await store(service, said("one"), said("two"), said("three"))
    execute(database, f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = 2", value)
    one, bad, three = await chain(service, id)
    assert {name: getattr(bad, name) for name in shown} == shown
    assert (one.data, three.data) == ({"content": "one"}, {"content": "three"})
    await add(service, id, said("four"))
    assert len(await chain(service, id)) == 4


async def test_a_session_with_a_bad_title_is_still_listed(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service)
    execute(database, "UPDATE sessions SET title = CAST(? AS TEXT)", b"\xff")
    page = await service.list_sessions()
    assert [(session.id, session.title) for session in page.sessions] == [(id, "\udcff")]


# Files that are not ours


def make_foreign(database: Path, *statements: str) -> None:
    for statement in statements:
        execute(database, statement)


NOT_OURS: dict[str, Callable[[Path], object]] = {
    "five bytes": lambda path: path.write_bytes(b"hello"),
    "a text": lambda path: path.write_bytes(b"Not a database at all.\n" * 1_000),
    "another program's": lambda path: make_foreign(path, "CREATE TABLE t (x)"),
    "another program's in WAL mode": lambda path: make_foreign(
        path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"
    ),
    "another program's, still empty": lambda path: make_foreign(path, "PRAGMA application_id = 77"),
    "a later version's": lambda path: make_foreign(
        path,
        f"PRAGMA application_id = {schema.APPLICATION_ID}",
        "CREATE TABLE sessions (later)",
        "PRAGMA user_version = 99",
    ),
}


@pytest.mark.parametrize("kind", NOT_OURS)
async def test_a_file_that_is_not_ours_is_left_as_it_is(database: Path, kind: str) -> None:
    write(database, b"")
    NOT_OURS[kind](database)
    before = digest(database)
    for _ in range(2):
        with pytest.raises(StorageError, match="was left as it is") as error:
            await LocalSessionService.open(database)
        assert str(database) in str(error.value)
        assert workers() == []
    assert digest(database) == before
    assert {path.name for path in database.parent.iterdir()} <= {
        "sessions.db",
        "sessions.db-lock",
    }


async def test_a_folder_is_no_database(database: Path) -> None:
    write(database / "kept", b"kept")
    with pytest.raises(StorageUnavailable):
        await LocalSessionService.open(database)
    assert modes(database).keys() == {"kept"}


async def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("kept")
    with pytest.raises(StorageError):
        await LocalSessionService.open(tmp_path / "data" / "sessions.db")
    assert (tmp_path / "data").read_text() == "kept"


async def test_an_empty_file_becomes_the_database(database: Path) -> None:
    write(database, b"")
    async with opened(database) as service:
        assert await contents(service, await store(service, said("one"))) == ["one"]


# Migrations


def schema_of(database: Path) -> list[tuple[str, str]]:
    rows = execute(database, "SELECT name, sql FROM sqlite_master ORDER BY name")
    return [(row["name"], row["sql"]) for row in rows]


async def test_opening_again_changes_nothing(database: Path) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    before = schema_of(database)
    async with opened(database) as one, opened(database) as other:
        assert await contents(one, id) == await contents(other, id) == ["one"]
    assert schema_of(database) == before


async def test_windows_that_open_a_new_database_at_once_make_one(database: Path) -> None:
    services = await asyncio.gather(*(LocalSessionService.open(database) for _ in range(8)))
    ids = [await store(service) for service in services]
    assert {session.id for session in (await services[0].list_sessions()).sessions} == set(ids)
    await asyncio.gather(*(service.close() for service in services))
    (version,) = execute(database, "PRAGMA user_version")
    assert version[0] == len(schema.MIGRATIONS)


@attrs.frozen
class Answer:
    row: Any

    def fetchone(self) -> Any:
        return self.row


class Meddled:
    """A connection; another window makes the database behind its statement number *at*."""

    def __init__(self, where: str, at: int) -> None:
        self.db, self.other = driver.connect(where), driver.connect(where)
        self.at = at

    def execute(self, sql: str) -> Any:
        row = self.db.execute(sql).fetchone()
        if self.at == 0:
            schema.migrate(self.other)
        self.at -= 1
        return Answer(row)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_database_that_another_window_makes_during_the_check_is_ours(
    tmp_path: Path, at: int
) -> None:
    meddled = Meddled(str(tmp_path / "sessions.db"), at)
    with closing(meddled.db), closing(meddled.other):
        schema.check_owner(meddled, "sessions.db")  # type: ignore[arg-type]  # a stand-in
        assert meddled.at < 0


async def test_a_failed_migration_is_rolled_back(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    before = schema_of(database)
    with monkeypatch.context() as patch:
        broken = ("CREATE TABLE half (x)", "CREATE TABLE sessions (x)")
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StorageError):
            await LocalSessionService.open(database)
    assert schema_of(database) == before
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]


async def test_a_later_migration_keeps_what_is_stored(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    later = ("ALTER TABLE sessions ADD COLUMN later TEXT",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]
        assert await pragma(service, "user_version") == len(schema.MIGRATIONS)


@pytest.mark.parametrize("says", ["reader = 99, writer = 99", None])
async def test_a_later_versions_database_is_refused_unless_it_permits_reading(
    database: Path, says: str | None
) -> None:
    async with opened(database) as service:
        await store(service, said("one"))
    execute(database, f"UPDATE compatibility SET {says}" if says else "DROP TABLE compatibility")
    execute(database, "PRAGMA user_version = 99")
    before = digest(database)
    with pytest.raises(StorageUnavailable, match="later Segue"):
        await LocalSessionService.open(database)
    assert digest(database) == before


async def test_a_later_versions_database_can_be_read_if_it_permits_that(database: Path) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    execute(database, "UPDATE compatibility SET writer = 99")
    execute(database, "PRAGMA user_version = 99")
    before = digest(database)
    async with opened(database) as service:
        assert await contents(service, id) == ["one"]
        with pytest.raises(StorageReadOnly, match="later Segue"):
            await add(service, id, said("two"))
        with pytest.raises(StorageReadOnly):
            await store(service, said("another"))
    assert digest(database) == before


async def test_a_later_versions_database_can_be_written_if_it_permits_that(database: Path) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    execute(database, "PRAGMA user_version = 99")
    async with opened(database) as service:
        await add(service, id, said("two"))
        assert await contents(service, id) == ["one", "two"]
        assert await pragma(service, "user_version") == 99


async def test_a_backup_is_kept_before_a_migration(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"))
    version = len(schema.MIGRATIONS)
    harm = ("UPDATE events SET data = '{}'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, harm))
    async with opened(database) as service:
        assert [event.data for event in await chain(service, id)] == [{}]
    monkeypatch.undo()
    kept = Path(f"{database}.schema-{version}")
    assert mode(kept) == 0o600
    async with opened(kept) as service:
        assert await contents(service, id) == ["one"]


async def test_a_new_database_gets_no_backup(database: Path) -> None:
    async with opened(database):
        pass
    assert [path.name for path in database.parent.iterdir() if "schema" in path.name] == []


async def test_a_folder_that_is_a_link_is_refused(database: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    database.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailable, match="is a link"):
        await LocalSessionService.open(database)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away"
)
async def test_a_folder_of_another_user_is_refused(database: Path) -> None:
    database.parent.mkdir()
    os.chown(database.parent, 12_345, 12_345)
    with pytest.raises(StorageUnavailable, match="belongs to another user"):
        await LocalSessionService.open(database)
    assert list(database.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.0", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.51.0", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.53.4", True),
        ("4.0.0", True),
    ],
)
def test_which_versions_of_sqlite_are_safe(version: str, safe: bool) -> None:
    assert driver.is_safe(version) is safe


# Disks


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[Path]:
    where.mkdir(exist_ok=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    done = subprocess.run(["mount", *options, where], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        yield disk


def fill(disk: Path, leave: int = 0) -> Path:
    """Leave no byte free on *disk*, or *leave* of them."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (PAGE_BYTES, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    os.truncate(filler, filler.stat().st_size - leave)
    return filler


async def test_a_full_disk_is_said_to_be_full_and_costs_nothing_that_was_answered(
    tiny_disk: Path,
) -> None:
    async with opened(tiny_disk / "sessions.db") as service:
        id = await store(service, said("0"))
        filler = fill(tiny_disk)
        answered = 1
        with contextlib.suppress(StorageFull):
            while answered < 1_000:
                await add(service, id, said(str(answered)), note("x" * 10_000))
                answered += 1
        assert answered < 1_000
        for _ in range(3):
            with pytest.raises(StorageFull):
                await add(service, id, note("x" * 100_000))
        page = await service.load_events(id)
        assert page.events[0].data == {"content": "0"}
        filler.unlink()
        await add(service, id, said("after"))
        said_words = [words for words in await contents(service, id) if len(words) < 100]
        assert said_words == [*map(str, range(answered)), "after"]


async def test_a_new_database_on_a_full_disk_is_a_full_disk(tiny_disk: Path) -> None:
    filler = fill(tiny_disk)
    for _ in range(2):
        with pytest.raises(StorageFull):
            await LocalSessionService.open(tiny_disk / "sessions.db")
    filler.unlink()
    async with opened(tiny_disk / "sessions.db") as service:
        assert await contents(service, await store(service, said("one"))) == ["one"]


async def test_an_old_database_on_a_full_disk_is_a_full_disk(tiny_disk: Path) -> None:
    async with opened(tiny_disk / "sessions.db") as service:
        id = await store(service, said("one"))
    filler = fill(tiny_disk)
    with pytest.raises(StorageFull):
        async with opened(tiny_disk / "sessions.db") as service:
            await add(service, id, said("two"))
    filler.unlink()
    async with opened(tiny_disk / "sessions.db") as service:
        await add(service, id, said("three"))
        assert await contents(service, id) == ["one", "three"]


async def test_a_read_only_disk_is_said_to_be_read_only(database: Path, tmp_path: Path) -> None:
    async with opened(database) as service:
        id = await store(service)
    before = digest(database)
    with mounted(tmp_path / "readonly", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        with pytest.raises(StorageReadOnly):
            async with opened(disk / "sessions.db") as service:
                await add(service, id, said())
        with pytest.raises(StorageReadOnly):
            await LocalSessionService.open(disk / "folder" / "new.db")
    assert digest(database) == before


async def test_a_lock_that_is_never_given_back_is_told_and_sets_nothing_aside(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    async with opened(database) as service:
        id = await store(service, said("one"))
        with closing(driver.connect(str(database))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="locked"):
                await add(service, id, said("two"))
            assert await contents(service, id) == ["one"]
        await add(service, id, said("three"))
        assert await contents(service, id) == ["one", "three"]
    assert not list(database.parent.glob("*.corrupt-*"))


async def test_what_is_deleted_while_another_process_reads_is_gone_with_the_next_write(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service, said(CANARY))
    other = await store(service)
    with closing(driver.connect(str(database))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        began = time.monotonic()
        await service.delete(id)
        assert time.monotonic() - began < driver.BUSY_TIMEOUT_S / 2
        assert CANARY.encode() in Path(f"{database}-wal").read_bytes()
    await add(service, other, said())
    holding = [path for path in database.parent.iterdir() if CANARY.encode() in path.read_bytes()]
    assert holding == []


async def test_a_turn_that_is_never_given_back_is_told_and_loses_nothing(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    id = await store(service, said("one"))
    stopped = WriteLock(str(database))
    assert stopped.acquire(0)
    with pytest.raises(StorageUnavailable, match="locked"):
        await add(service, id, said("two"))
    assert await contents(service, id) == ["one"]
    stopped.release()
    for thread in threading.enumerate():
        if thread.name == "turn":
            thread.join()
    assert stopped.acquire(0), "whoever gave up keeps nobody from it"
    stopped.release()
    await add(service, id, said("three"))
    stopped.close()
    assert await contents(service, id) == ["one", "three"]


def store_impossible_value(database: Path, table: str, column: str, value: Any, where: str) -> None:
    """Store a value that the schema forbids, like damage that SQLite does not notice."""
    with closing(driver.connect(str(database))) as db:
        db.execute("PRAGMA writable_schema = ON")
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        lax = re.sub(r"\bTEXT\b|\bINTEGER\b(?! PRIMARY)", "ANY", sql).replace("NOT NULL", "")
        lax = re.sub(r"CHECK \(\w+ IN \(0, 1\)\)", "", lax)
        for each in (lax, sql):
            db.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (each, table))
            db.execute("PRAGMA writable_schema = RESET")
            db.execute("PRAGMA writable_schema = ON")
            if each == lax:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))


IMPOSSIBLE: list[Any] = [None, 7, -7, 1 << 62, -(1 << 62), 1.5, float("inf"), b"", b"\xff\xfe", "x"]


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize("column", ["id", "invocation", "created_at", "type", "data"])
async def test_an_event_with_an_impossible_value_can_be_read(
    database: Path, column: str, value: Any
) -> None:
    async with opened(database) as service:
        id = await store(service, said("one"), said("two"), said("three"))
    store_impossible_value(database, "events", column, value, "seq = 2")
    async with opened(database) as service:
        one, bad, three = (await service.load_events(id)).events
        assert (one.data, three.data) == ({"content": "one"}, {"content": "three"})
        assert (type(bad.id), type(bad.type), type(bad.invocation_id)) == (str, str, str)
        assert messages.iso(bad.created_at)
        assert bad.seq == 2
        assert bad.corrupt is (column == "data")
        for again in (bad.id, said().id):
            with contextlib.suppress(EventConflict, HeadMoved):
                await service.append_events(
                    id, [said("more", again)], parent_id=three.id, invocation_id=INVOCATION
                )


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize(
    "column",
    [
        "directory", "git_root", "title", "server_session_id", "forked_from", "event_count",
        "model_visible", "created_at", "updated_at", "archived_at",
    ],
)  # fmt: skip
async def test_a_session_with_an_impossible_value_can_be_read(
    database: Path, column: str, value: Any
) -> None:
    async with opened(database) as service:
        id, other = await store(service, said("one")), await store(service, said("two"))
    store_impossible_value(database, "sessions", column, value, "number = 1")
    async with opened(database) as service:
        session = await service.get_session(id)
        assert isinstance(session.directory, str)
        assert {type(session.title), type(session.git_root)} <= {str, type(None)}
        assert messages.iso(session.created_at)
        assert messages.iso(session.updated_at)
        cursor, listed = None, []
        for _ in range(3):
            page = await service.list_sessions(archived=True, limit=1, cursor=cursor)
            listed += [each.id for each in page.sessions]
            if (cursor := page.next_cursor) is None:
                break
        assert cursor is None
        assert other in listed
        for _ in range(2):  # of an event that is not there the store is told as of damage, once
            with contextlib.suppress(StorageCorrupt):
                assert await contents(service, id) == ["one"]


# Interruptions


async def test_cancelled_appends_leave_no_open_transaction_and_no_half_batch(
    database: Path, service: LocalSessionService
) -> None:
    chance = random.Random(7)
    loop = asyncio.get_running_loop()
    id = await store(service, said("first"))
    answered: set[str] = set()
    cancelled = 0
    for number in range(300):
        batch = [said(f"{number}-{part}") for part in range(3)]
        head = (await service.get_session(id)).head
        task = asyncio.ensure_future(
            service.append_events(id, batch, parent_id=head, invocation_id=INVOCATION)
        )
        handle = loop.call_later(chance.random() * 0.003, task.cancel)
        if chance.random() < 0.2:
            task.cancel()
        try:
            await task
            answered |= {event.id for event in batch}
        except asyncio.CancelledError:
            cancelled += 1
        handle.cancel()
    execute(database, "BEGIN IMMEDIATE")
    words = await contents(service, id)
    assert answered <= {event.id for event in await chain(service, id)}
    batches = [words[at : at + 3] for at in range(1, len(words), 3)]
    assert batches == [[f"{one[0].split('-')[0]}-{part}" for part in range(3)] for one in batches]
    assert 0 < cancelled < 300


async def test_an_opening_that_is_cancelled_leaves_nothing_open(database: Path) -> None:
    for turns in range(6):
        task = asyncio.ensure_future(LocalSessionService.open(database))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for worker in workers():
            await asyncio.to_thread(worker.join, 10)
    assert workers() == []
    open_lock = OpenLock(str(database))
    open_lock.share()
    assert open_lock.try_exclusive()
    open_lock.close()
    async with opened(database) as service:
        assert await contents(service, await store(service, said("one"))) == ["one"]


started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.communicate()
    started.clear()


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs `async def main(*arguments)` of *program*."""
    text = (
        "import asyncio, sys\n"
        "from segue.model.errors import HeadMoved, StorageError\n"
        "from segue.model.events import Event\n"
        "from segue.store.sqlite.service import LocalSessionService\n"
        f"{program}\n"
        "asyncio.run(main(*sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", text, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> str:
    """Wait for a process that ends well within seconds, and return what it has still said."""
    said_last, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return said_last


OPENER = """
async def main():
    for where in map(str.strip, sys.stdin):
        service = await LocalSessionService.open(where)
        print("opened", flush=True)
        await service.close()
"""


def test_processes_that_first_open_a_database_at_once_all_succeed(tmp_path: Path) -> None:
    processes = [start(OPENER) for _ in range(8)]
    for number in range(20):
        database = tmp_path / f"{number}" / "sessions.db"
        for process in processes:
            tell(process, str(database))
        assert [line(process) for process in processes] == ["opened"] * 8
        assert schema_of(database)
    for process in processes:
        end(process)


RIVAL = """
async def main(where, session_id):
    service = await LocalSessionService.open(where)
    head = (await service.get_session(session_id)).head
    for number in range(100):
        event = Event.new("text", {"content": f"{number}"})
        while True:
            try:
                appended = await service.append_events(
                    session_id, [event], parent_id=head, invocation_id=sys.argv[1])
            except HeadMoved as moved:
                head = moved.head
            else:
                head = appended.head
                break
        print(event.id)
    await service.close()
"""


async def test_processes_that_append_to_one_session_lose_nothing(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service)
    processes = [start(RIVAL, database, id) for _ in range(4)]
    written = [end(process) for process in processes]
    order = [event.id for event in (await chain(service, id))[1:]]
    assert len(order) == 400
    for ids in map(str.split, written):
        assert len(ids) == 100
        assert [one for one in order if one in set(ids)] == ids


WRITER = """
async def main(where, session_id):
    service = await LocalSessionService.open(where)
    head = (await service.get_session(session_id)).head
    while True:
        batch = [Event.new("text", {"content": "x" * 500}) for _ in range(3)]
        appended = await service.append_events(
            session_id, batch, parent_id=head, invocation_id="killed")
        head = appended.head
        print(head, flush=True)
"""


async def test_what_was_answered_survives_the_death_of_its_writer(database: Path) -> None:
    chance = random.Random(7)
    async with opened(database) as service:
        id = await store(service)
    answered: list[str] = []
    for _ in range(20):
        writer = start(WRITER, database, id)
        answered += [line(writer) for _ in range(chance.randrange(1, 20))]
        writer.kill()
        rest, _ = writer.communicate()
        answered += [head for head in rest.split("\n")[:-1] if head]
    async with opened(database) as service:
        ids = [event.id for event in await chain(service, id)]
        assert set(answered) <= set(ids)
        assert len(ids) % 3 == 1
        assert await pragma(service, "integrity_check") == "ok"
    assert len(answered) >= 20


# Deletion


async def test_a_deleted_sessions_text_is_in_no_file(database: Path) -> None:
    async with opened(database) as service, opened(database):
        kept = await store(service, said("kept"))
        gone = await store(
            service,
            said(f"{CANARY} title"),
            server_session_id=f"{CANARY} remote",
            metadata={"key": f"{CANARY} metadata"},
        )
        for number in range(40):
            size = 10 ** (number % 5)
            await add(service, gone, said(f"{CANARY} {'x' * size} {CANARY}"))
            await add(service, kept, said("kept"))
        await service.set_metadata(gone, "key", "replaced")
        assert any(CANARY.encode() in path.read_bytes() for path in database.parent.iterdir())
        await service.delete(gone)
        files = {path: path.read_bytes() for path in database.parent.iterdir()}
        assert [path.name for path, held in files.items() if CANARY.encode() in held] == []
        assert await contents(service, kept) == ["kept"] * 41
        with pytest.raises(SessionNotFound):
            await service.get_session(gone)


# Damage


async def many(database: Path, sessions: int = 30, events: int = 100) -> list[str]:
    """Fill a database so that its events are on many pages, all of them in the main file."""
    async with opened(database) as service:
        return [
            await store(
                service,
                *(said(f"payload {number}-{seq} {'x' * 200}") for seq in range(events)),
                directory=f"/project/{number}",
            )
            for number in range(sessions)
        ]


def leaves(database: Path, marker: bytes) -> list[int]:
    """Return the offsets of the leaf pages of tables that contain *marker*."""
    content = database.read_bytes()
    return [
        at
        for at in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[at] == 0x0D and marker in content[at : at + PAGE_BYTES]
    ]


def cells(database: Path, at: int) -> int:
    """Return how many rows a leaf page holds, according to its header."""
    return int.from_bytes(database.read_bytes()[at + 3 : at + 5], "big")


def damage(database: Path, at: int, size: int = PAGE_BYTES) -> str:
    """Overwrite one page with garbage and return the digest of the file."""
    garbage = b"\xff" + random.Random(7).randbytes(size - 1)
    content = database.read_bytes()
    database.write_bytes(content[:at] + garbage + content[at + size :])
    return digest(database)


def quarantined(database: Path) -> list[Path]:
    found = database.parent.glob("*.corrupt-*")
    return sorted(
        path for path in found if not path.name.endswith(("-wal", "-shm", "-lock", "-write.lock"))
    )


READER = """
async def main(where, readers, *ids):
    try:
        service = await LocalSessionService.open(where)
    except StorageError as error:
        print(f"{error.kind}: {error}")
        return
    for id in ids:
        calls = [service.load_events(id) for _ in range(int(readers))]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                print(f"{type(result).__name__}: {result}")
    await service.close()
"""


def read_elsewhere(database: Path, *ids: str, readers: int = 1) -> list[str]:
    """Read sessions in another process and return its errors: a salvage must end in seconds."""
    return end(start(READER, database, readers, *ids)).splitlines()


async def read_all(service: LocalSessionService, ids: list[str]) -> list[str]:
    """Return the content of every event of the sessions that are left, which have no gaps."""
    left = {session.id for session in (await service.list_sessions(limit=1_000)).sessions}
    return [words for id in ids if id in left for words in await contents(service, id)]


@pytest.mark.parametrize("which", ["first", "within a session", "between two sessions", "last"])
async def test_a_damaged_database_is_quarantined_and_readable_rows_are_kept(
    database: Path, which: str
) -> None:
    ids = await many(database)
    at = {
        "first": leaves(database, b"payload 0-0 ")[0],
        "within a session": leaves(database, b"payload 15-50 ")[0],
        "between two sessions": leaves(database, b"payload 15-99 ")[0],
        "last": leaves(database, b"payload 29-99 ")[0],
    }[which]
    on_it = cells(database, at)
    damaged = damage(database, at)
    (error,) = read_elsewhere(database, *ids)
    (kept,) = quarantined(database)
    assert digest(kept) == damaged
    assert error.startswith(
        f"StorageCorrupt: {database} was damaged. It was quarantined as {kept};"
    )
    assert set(modes(database.parent).values()) == {0o600}
    async with opened(database) as service:
        words = await read_all(service, ids)
        assert len(words) == len(set(words)) == 3_000 - on_it
        await add(service, ids[15], said("goes on"))
        assert (await contents(service, ids[15]))[-1] == "goes on"
        assert await pragma(service, "integrity_check") == "ok"
    assert execute(database, "PRAGMA foreign_key_check") == []


async def test_a_damaged_schema_is_found_when_the_database_is_opened(database: Path) -> None:
    ids = await many(database, sessions=3)
    damaged = damage(database, 100, PAGE_BYTES - 100)  # the file still says that it is ours
    (error,) = read_elsewhere(database)
    (kept,) = quarantined(database)
    assert "StorageCorrupt" in error
    assert str(kept) in error
    assert digest(kept) == damaged
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300  # no row lies on the damaged page
        assert await contents(service, await store(service, said("anew"))) == ["anew"]


@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
async def test_a_damaged_page_of_sessions_costs_no_events(database: Path, which: int) -> None:
    ids = await many(database)
    damage(database, leaves(database, b"/project/")[which])
    errors = read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    assert errors[0].startswith("StorageCorrupt: ")
    async with opened(database) as service:
        left = (await service.list_sessions(limit=1_000)).sessions
        chains = [await contents(service, session.id) for session in left]
    assert sorted(word for words in chains for word in words) == sorted(
        f"payload {number}-{seq} {'x' * 200}" for number in range(30) for seq in range(100)
    )


async def test_concurrent_readers_quarantine_a_damaged_database_once(database: Path) -> None:
    ids = await many(database)
    damaged = damage(database, leaves(database, b"payload 15-50 ")[0])
    errors = read_elsewhere(database, ids[15], readers=4)
    assert all(error.startswith("Storage") for error in errors)
    (kept,) = quarantined(database)
    assert digest(kept) == damaged
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 2_900


async def test_two_quarantines_in_one_second_keep_both_files(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101T000000")
    ids = await many(database, sessions=2)
    damaged = set()
    for number in (0, 1):
        damaged.add(damage(database, leaves(database, f"payload {number}-50 ".encode())[0]))
        async with opened(database) as service:
            with pytest.raises(StorageCorrupt, match="quarantined"):
                await service.load_events(ids[number])
    assert {digest(path) for path in quarantined(database)} == damaged


async def test_a_row_that_violates_a_constraint_costs_no_other_row(database: Path) -> None:
    ids = await many(database, sessions=2)
    with closing(driver.connect(str(database))) as db:
        # As damage would: a null where the schema allows none.
        db.execute("PRAGMA writable_schema = ON")
        sql = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'events'"
        for one, other in (
            ("data TEXT NOT NULL", "data TEXT"),
            ("data TEXT", "data TEXT NOT NULL"),
        ):
            db.execute(sql, (one, other))
            db.execute("PRAGMA writable_schema = RESET")
            db.execute("PRAGMA writable_schema = ON")
            if other == "data TEXT":
                db.execute("UPDATE events SET data = NULL WHERE session = 1 AND seq = 10")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(database, leaves(database, b"payload 1-50 ")[0])
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        events = await chain(service, ids[0])
    assert [event.seq for event in events if event.corrupt] == [10]
    assert len(events) == 100


async def test_a_salvage_without_disk_space_loses_nothing(tiny_disk: Path) -> None:
    database = tiny_disk / "sessions.db"
    ids = await many(database, sessions=4)
    damage(database, leaves(database, b"payload 2-50 ")[0])
    filler = fill(tiny_disk, leave=128 * 1_024)
    errors = read_elsewhere(database, ids[2])
    assert [error.partition(":")[0] for error in errors] == ["StorageFull"]
    filler.unlink()
    read_elsewhere(database, *ids)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 370


HOLDER = """
async def main(where):
    service = await LocalSessionService.open(where)
    print("opened", flush=True)
    sys.stdin.readline()
    await service.close()
"""


async def test_a_damaged_database_that_another_process_has_open_is_not_moved(
    database: Path,
) -> None:
    ids = await many(database)
    damaged = damage(database, leaves(database, b"payload 15-50 ")[0])
    holder = start(HOLDER, database)
    assert line(holder) == "opened"
    (error,) = read_elsewhere(database, ids[0], ids[15])
    assert error.startswith("StorageCorrupt: ")
    assert "other editor windows have it open" in error
    assert quarantined(database) == []
    assert digest(database) == damaged
    tell(holder, "close")
    end(holder)
    read_elsewhere(database, ids[15])
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 2_900


def lock_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-lock")


DAMAGED_HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda content: bytes(PAGE_BYTES) + content[PAGE_BYTES:],
    "garbage": lambda content: random.Random(7).randbytes(PAGE_BYTES) + content[PAGE_BYTES:],
    "one bit": lambda content: b"T" + content[1:],
    "cut within the header": lambda content: content[:50],
}


@pytest.mark.parametrize("kind", DAMAGED_HEADERS)
async def test_a_marked_file_with_a_damaged_header_is_recovered(database: Path, kind: str) -> None:
    ids = await many(database, sessions=3)
    damaged = DAMAGED_HEADERS[kind](database.read_bytes())
    database.write_bytes(damaged)
    (error,) = read_elsewhere(database)
    (kept,) = quarantined(database)
    assert error.startswith("StorageCorrupt: ")
    assert kept.read_bytes() == damaged
    async with opened(database) as service:
        words = await read_all(service, ids)
        assert len(words) == (300 if len(damaged) > PAGE_BYTES else 0)


@pytest.mark.parametrize("lock", ["absent", "of a file that was refused", "of something else"])
async def test_an_unmarked_file_with_a_damaged_header_is_left_as_it_is(
    database: Path, lock: str
) -> None:
    await many(database, sessions=1)
    damaged = bytes(PAGE_BYTES) + database.read_bytes()[PAGE_BYTES:]
    if lock == "absent":
        lock_of(database).unlink()
    elif lock == "of something else":
        lock_of(database).write_bytes(b"12345")
    else:
        database.unlink()
        make_foreign(database, "CREATE TABLE t (x)")
        with pytest.raises(StorageUnavailable, match="another program's"):
            await LocalSessionService.open(database)
    database.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(StorageCorrupt, match="was left as it is"):
            await LocalSessionService.open(database)
    assert database.read_bytes() == damaged
    assert quarantined(database) == []


async def test_another_programs_database_in_the_place_of_ours_is_left_as_it_is(
    database: Path,
) -> None:
    await many(database, sessions=1)
    database.unlink()
    make_foreign(database, "CREATE TABLE t (x)", "INSERT INTO t VALUES ('" + "x" * 9_000 + "')")
    damaged = damage(database, PAGE_BYTES)
    with pytest.raises(StorageError, match="was left as it is"):
        await LocalSessionService.open(database)
    assert digest(database) == damaged
    assert quarantined(database) == []


async def test_an_empty_file_in_the_place_of_ours_is_a_new_database(database: Path) -> None:
    await many(database, sessions=1)
    database.write_bytes(b"")
    async with opened(database) as service:
        assert await contents(service, await store(service, said("anew"))) == ["anew"]
    assert quarantined(database) == []


LOGGER = """
async def main(where, id):
    service = await LocalSessionService.open(where)
    for number in range(4):  # so few that the file need not grow: then the log has no first page
        event = Event.new("user_message", {"content": f"in the log {number}"})
        head = (await service.get_session(id)).head
        await service.append_events(id, [event], parent_id=head, invocation_id="2")
    print("stored", flush=True)
    sys.stdin.readline()
"""


async def test_rows_in_the_log_survive_a_damaged_first_page(database: Path) -> None:
    (id,) = await many(database, sessions=1)
    writer = start(LOGGER, database, id)
    assert line(writer) == "stored"
    writer.kill()
    writer.wait()
    files = [database, database.with_name("sessions.db-wal")]
    database.write_bytes(bytes(PAGE_BYTES) + database.read_bytes()[PAGE_BYTES:])
    before = [digest(file) for file in files]
    read_elsewhere(database)
    async with opened(database) as service:
        words = await contents(service, id)
    assert words[-1] == "in the log 3"
    assert len(words) == 104
    (kept,) = quarantined(database)
    assert [digest(kept), digest(kept.with_name(f"{kept.name}-wal"))] == before


@pytest.mark.parametrize("layout", ["grown", "restored"])
async def test_rows_are_found_without_a_first_page(database: Path, layout: str) -> None:
    ids = await many(database, sessions=3)
    if layout == "restored":
        backup = database.with_name("backup.db")
        execute(database, f"VACUUM INTO '{backup}'")
        os.replace(backup, database)
    damage(database, 100, PAGE_BYTES - 100)
    read_elsewhere(database)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300


async def test_rows_beyond_the_page_count_of_the_header_are_kept(database: Path) -> None:
    ids = await many(database, sessions=3)
    content = bytearray(database.read_bytes())
    content[28:32] = (16).to_bytes(4, "big")
    database.write_bytes(content)
    read_elsewhere(database, *ids)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300


def page_of(database: Path, table: str) -> int:
    """Return the offset of the root page of a table, which is an interior page."""
    sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    at = (int(execute(database, sql, table)[0][0]) - 1) * PAGE_BYTES
    assert database.read_bytes()[at] == 0x05
    return at


@pytest.mark.parametrize("table", ["events", "sessions"])
async def test_rows_survive_the_loss_of_the_root_page(database: Path, table: str) -> None:
    ids = await many(database, sessions=40, events=30)
    async with opened(database) as service:
        await service.set_metadata(ids[7], "key", "kept")
        before = (await service.list_sessions(limit=1_000)).sessions
    damage(database, page_of(database, table))
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert (await service.list_sessions(limit=1_000)).sessions == before
        assert len(await read_all(service, ids)) == 40 * 30
        assert await service.get_metadata(ids[7], "key") == "kept"


async def test_rows_in_the_log_survive_the_loss_of_the_root_page(database: Path) -> None:
    (id,) = await many(database, sessions=1)
    writer = start(LOGGER, database, id)
    assert line(writer) == "stored"
    writer.kill()
    writer.wait()
    damage(database, page_of(database, "events"))
    read_elsewhere(database, id)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        words = await contents(service, id)
    assert (len(words), words[-1]) == (104, "in the log 3")


DELETER = """
async def main(where, *ids):
    service = await LocalSessionService.open(where)
    # As if a reader held it up.
    service._connection.checkpoint_truncate = lambda: asyncio.sleep(0)
    for id in ids:
        await service.delete(id)
    print("deleted", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("log", ["emptied", "pending"])
async def test_deleted_sessions_do_not_come_back(database: Path, log: str) -> None:
    ids = await many(database)
    gone, left = ids[5:15], ids[:5] + ids[15:]
    if log == "pending":
        writer = start(DELETER, database, *gone)
        assert line(writer) == "deleted"
        writer.kill()
        writer.wait()
        assert b"payload 7-50 " in database.read_bytes()
    else:
        async with opened(database) as service:
            for id in gone:
                await service.delete(id)
    damage(database, page_of(database, "events"))
    read_elsewhere(database, *left)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        listed = (await service.list_sessions(archived=True, limit=1_000)).sessions
        assert {session.id for session in listed} == set(left)
        assert len(await read_all(service, left)) == 2_000


HEADER = {
    "the size of a page": (16, 0x2000, 2), "who may write": (18, 3, 1), "who may read": (19, 3, 1),
    "the margin of a page": (20, 8, 1), "the format of the schema": (44, 5, 4),
    "moving pages": (52, 9, 4), "the encoding": (56, 2, 4), "no migration": (60, 0, 4),
    "one migration less": (60, 1, 4), "whose it is": (68, 77, 4), "nobody's": (68, 0, 4),
}  # fmt: skip


def damage_header(database: Path, what: str) -> bytes:
    at, value, size = HEADER[what]
    content = bytearray(database.read_bytes())
    content[at : at + size] = value.to_bytes(size, "big")
    database.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("what", HEADER)
async def test_a_header_that_contradicts_the_tables_is_damage(database: Path, what: str) -> None:
    ids = await many(database, sessions=3)
    damaged = damage_header(database, what)
    for _ in range(2):
        with contextlib.suppress(StorageCorrupt):
            async with opened(database) as service:
                await add(service, ids[0], said("goes on"))
    (kept,) = quarantined(database)
    assert kept.read_bytes() == damaged
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 301
    assert execute(database, "PRAGMA integrity_check")[0][0] == "ok"


@pytest.mark.parametrize("what", HEADER)
async def test_repair_finds_a_header_that_contradicts_the_tables(database: Path, what: str) -> None:
    ids = await many(database, sessions=1)
    damage_header(database, what)
    result = recovery.repair(str(database))
    assert result.recovered
    assert "was quarantined" in result.message
    assert quarantined(database) == [Path(str(result.quarantined_as))]
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 100


@pytest.mark.parametrize("what", ["whose it is", "nobody's"])
async def test_an_unmarked_file_with_our_tables_is_left_as_it_is(database: Path, what: str) -> None:
    await many(database, sessions=1)
    lock_of(database).unlink()
    damaged = damage_header(database, what)
    for _ in range(2):
        with pytest.raises(StorageError):
            await LocalSessionService.open(database)
    assert database.read_bytes() == damaged
    assert quarantined(database) == []


def io_error() -> Exception:
    """Return SQLite's error for a page that it cannot read completely."""
    error: Exception = driver.Error[0]("disk I/O error")
    error.sqlite_errorcode = 10  # type: ignore[attr-defined]  # typed as read-only
    return error


async def test_a_file_that_ends_within_a_page_is_damaged(database: Path) -> None:
    ids = await many(database, sessions=3)
    database.write_bytes(cut := database.read_bytes()[:-100])
    assert recovery.may_be_damage(str(database), io_error())
    open_lock = OpenLock(str(database))
    open_lock.share()
    result = recovery.recover(str(database), open_lock, io_error())
    open_lock.close()
    assert result.recovered
    (kept,) = quarantined(database)
    assert kept.read_bytes() == cut
    async with opened(database) as service:
        chains = [(await service.load_events(id)).events for id in ids]
    assert sum(not event.corrupt for events in chains for event in events) > 280


@pytest.mark.parametrize("file", ["whole", "cut, with a log", "cut, and the disk fails"])
async def test_an_io_error_of_the_disk_is_no_damage(
    database: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many(database, sessions=1)
    if file != "whole":
        database.write_bytes(database.read_bytes()[:-100])
    if file == "cut, with a log":
        database.with_name("sessions.db-wal").write_bytes(b"something")
    if file == "cut, and the disk fails":
        monkeypatch.setattr(policy, "_is_readable", lambda where: False)
    content = database.read_bytes()
    open_lock = OpenLock(str(database))
    open_lock.share()
    with pytest.raises(StorageUnavailable):
        recovery.recover(str(database), open_lock, io_error())
    open_lock.close()
    assert database.read_bytes() == content
    assert quarantined(database) == []


async def test_events_behind_a_key_out_of_order_are_recovered(database: Path) -> None:
    ids = await many(database, sessions=3)
    content = bytearray(database.read_bytes())
    at = leaves(database, b"payload 1-50 ")[0]
    pointer = at + 8 + 2 * 3
    cell = at + int.from_bytes(content[pointer : pointer + 2], "big")
    assert content[cell + 2] == 0xA0  # behind the size: session 2, in seven bits each
    content[cell + 2] = 0xFF
    database.write_bytes(content)
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 299


@pytest.mark.parametrize("call", ["get_session", "load_events", "archive", "delete"])
async def test_a_session_that_its_index_lacks_is_recovered(database: Path, call: str) -> None:
    async with opened(database) as service:
        id = await store(service, said("kept"))
    content = bytearray(database.read_bytes())
    assert content.count(id.encode()) == 2
    at = next(
        at
        for at in range(0, len(content), PAGE_BYTES)
        if content[at] == 0x0A and id.encode() in content[at : at + PAGE_BYTES]
    )
    content[content.index(id.encode(), at)] ^= 1
    database.write_bytes(content)
    async with opened(database) as service:
        with pytest.raises(StorageCorrupt, match="was quarantined"):
            await getattr(service, call)(id)
        await getattr(service, call)(id)
    assert len(quarantined(database)) == 1


@contextmanager
def another_process(database: Path) -> Iterator[None]:
    """Hold the database open, as another process does: then nobody else may repair it."""
    open_lock = OpenLock(str(database))
    open_lock.share()
    yield
    open_lock.close()


# Recovery that fails


async def test_damage_that_cannot_be_repaired_is_reported_to_every_request(database: Path) -> None:
    """Reconnecting fails too, and must not wait for the recovery that it is part of."""
    async with opened(database) as service:
        id = await store(service)
        for _ in range(30):
            await add(service, id, said("x" * 3_000))
    async with opened(database) as service:
        with another_process(database):
            database.write_bytes(b"\xff" * database.stat().st_size)
            for _ in range(2):
                with pytest.raises(StorageError):
                    await asyncio.wait_for(service.load_events(id), 10)


async def test_a_window_works_again_once_the_file_is_undamaged(database: Path) -> None:
    async with opened(database) as service:
        id = await store(service, said("kept"))
    whole = database.read_bytes()
    async with opened(database) as service:
        with another_process(database):
            database.write_bytes(b"\xff" * len(whole))
            with pytest.raises(StorageError):
                await service.load_events(id)
            database.write_bytes(whole)
        assert await contents(service, id) == ["kept"]


@pytest.mark.parametrize(("application", "version"), [(0, 0), (schema.APPLICATION_ID, 99)])
async def test_the_pending_log_of_what_is_not_ours_is_left_as_it_is(
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


async def test_to_delete_a_session_reads_no_event_of_another(database: Path) -> None:
    async with opened(database):
        pass
    [reference] = execute(database, "PRAGMA foreign_key_list(events)")
    assert (reference["table"], reference["from"]) == ("sessions", "session")
