"""Recovery of damaged databases: policy, quarantine and salvage."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from segue.model.errors import StorageCorrupt, StorageError, StorageUnavailable
from segue.store.sqlite import driver, recovery, replacement
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.backup import back_up
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.recovery import policy
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    all_events,
    append_to_head,
    contents,
    execute,
    store_session,
    user_message,
)
from tests.store.sqlite.helpers import (
    PAGE_BYTES,
    digest,
    fill_disk,
    make_foreign,
    modes,
    opened,
    pragma,
    quarantined,
    read_line,
    send_line,
    start_process,
    wait_for_exit,
)


async def fill_database(database: Path, sessions: int = 30, events: int = 100) -> list[str]:
    """Fill a database so that its events are on many pages, all of them in the main file."""
    async with opened(database) as service:
        return [
            await store_session(
                service,
                *(user_message(f"payload {number}-{seq} {'x' * 200}") for seq in range(events)),
                directory=f"/project/{number}",
            )
            for number in range(sessions)
        ]


def leaf_pages(database: Path, marker: bytes) -> list[int]:
    """Return the offsets of the leaf pages of tables that contain *marker*."""
    content = database.read_bytes()
    return [
        offset
        for offset in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[offset] == 0x0D and marker in content[offset : offset + PAGE_BYTES]
    ]


def cell_count(database: Path, offset: int) -> int:
    """Return how many rows a leaf page holds, according to its header."""
    return int.from_bytes(database.read_bytes()[offset + 3 : offset + 5], "big")


def damage(database: Path, offset: int, size: int = PAGE_BYTES) -> str:
    """Overwrite one page with garbage and return the digest of the file."""
    garbage = b"\xff" + random.Random(7).randbytes(size - 1)
    content = database.read_bytes()
    database.write_bytes(content[:offset] + garbage + content[offset + size :])
    return digest(database)


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
    """Read sessions in another process, which must end within seconds, and return its errors."""
    return wait_for_exit(start_process(READER, database, readers, *ids)).splitlines()


async def read_all(service: LocalSessionService, ids: list[str]) -> list[str]:
    """Return the content of every event of the remaining *ids*; assert that no seq is missing."""
    left = {session.id for session in (await service.list_sessions(limit=1_000)).sessions}
    return [words for id in ids if id in left for words in await contents(service, id)]


# Damaged pages


@pytest.mark.parametrize("which", ["first", "within a session", "between two sessions", "last"])
async def test_a_damaged_database_is_quarantined_and_readable_rows_are_kept(
    database: Path, which: str
) -> None:
    ids = await fill_database(database)
    offset = {
        "first": leaf_pages(database, b"payload 0-0 ")[0],
        "within a session": leaf_pages(database, b"payload 15-50 ")[0],
        "between two sessions": leaf_pages(database, b"payload 15-99 ")[0],
        "last": leaf_pages(database, b"payload 29-99 ")[0],
    }[which]
    lost = cell_count(database, offset)
    damaged = damage(database, offset)
    (error,) = read_elsewhere(database, *ids)
    (kept,) = quarantined(database)
    assert digest(kept) == damaged
    assert error.startswith(
        f"StorageCorrupt: {database} was damaged. It was quarantined as {kept};"
    )
    assert set(modes(database.parent).values()) == {0o600}
    async with opened(database) as service:
        words = await read_all(service, ids)
        assert len(words) == len(set(words)) == 3_000 - lost
        await append_to_head(service, ids[15], user_message("goes on"))
        assert (await contents(service, ids[15]))[-1] == "goes on"
        assert await pragma(service, "integrity_check") == "ok"
    assert execute(database, "PRAGMA foreign_key_check") == []


async def test_a_damaged_schema_is_found_when_the_database_is_opened(database: Path) -> None:
    ids = await fill_database(database, sessions=3)
    damaged = damage(database, 100, PAGE_BYTES - 100)  # the application id is kept
    (error,) = read_elsewhere(database)
    (kept,) = quarantined(database)
    assert "StorageCorrupt" in error
    assert str(kept) in error
    assert digest(kept) == damaged
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300  # no row lies on the damaged page
        assert await contents(service, await store_session(service, user_message("anew"))) == [
            "anew"
        ]


@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
async def test_a_damaged_page_of_sessions_loses_no_events(database: Path, which: int) -> None:
    ids = await fill_database(database)
    damage(database, leaf_pages(database, b"/project/")[which])
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
    ids = await fill_database(database)
    damaged = damage(database, leaf_pages(database, b"payload 15-50 ")[0])
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
    ids = await fill_database(database, sessions=2)
    damaged = set()
    for number in (0, 1):
        damaged.add(damage(database, leaf_pages(database, f"payload {number}-50 ".encode())[0]))
        async with opened(database) as service:
            with pytest.raises(StorageCorrupt, match="quarantined"):
                await service.load_events(ids[number])
    assert {digest(path) for path in quarantined(database)} == damaged


async def test_a_row_that_violates_a_constraint_loses_no_other_row(database: Path) -> None:
    ids = await fill_database(database, sessions=2)
    with closing(driver.connect(str(database))) as db:
        # Like damage: a null in a column that forbids it.
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
    damage(database, leaf_pages(database, b"payload 1-50 ")[0])
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        events = await all_events(service, ids[0])
    assert [event.seq for event in events if event.corrupt] == [10]
    assert len(events) == 100


async def test_a_salvage_without_disk_space_loses_nothing(tiny_disk: Path) -> None:
    database = tiny_disk / "sessions.db"
    ids = await fill_database(database, sessions=4)
    damage(database, leaf_pages(database, b"payload 2-50 ")[0])
    filler = fill_disk(tiny_disk, leave=128 * 1_024)
    errors = read_elsewhere(database, ids[2])
    assert [error.partition(":")[0] for error in errors] == ["StorageFull"]
    filler.unlink()
    read_elsewhere(database, *ids)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 370


# Databases that another process has open


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
    ids = await fill_database(database)
    damaged = damage(database, leaf_pages(database, b"payload 15-50 ")[0])
    holder = start_process(HOLDER, database)
    assert read_line(holder) == "opened"
    (error,) = read_elsewhere(database, ids[0], ids[15])
    assert error.startswith("StorageCorrupt: ")
    assert "other editor windows have it open" in error
    assert quarantined(database) == []
    assert digest(database) == damaged
    send_line(holder, "close")
    wait_for_exit(holder)
    read_elsewhere(database, ids[15])
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 2_900


async def test_a_recovery_that_is_refused_keeps_the_lock(database: Path) -> None:
    """Otherwise another process could move the file while this one has it open."""
    await fill_database(database)
    damage(database, leaf_pages(database, b"payload 15-50 ")[0])
    mine, other = OpenLock(str(database)), OpenLock(str(database))
    for each in (mine, other):
        each.share()
    with pytest.raises(StorageCorrupt, match="other editor windows"):
        recovery.recover(str(database), mine, driver.corruption("damaged"))
    assert not other.try_exclusive()
    other.close()
    mine.close()


class OvertakenLock(OpenLock):
    """A lock that another process overtakes: it repairs the database first."""

    def __init__(self, database_path: str) -> None:
        super().__init__(database_path)
        self._database = database_path

    def try_exclusive(self) -> bool:
        """Let the other process repair, then try."""
        self.close()
        recovery.repair(self._database)
        self.share()
        return super().try_exclusive()


async def test_a_database_that_another_process_has_repaired_is_left(database: Path) -> None:
    ids = await fill_database(database)
    damage(database, leaf_pages(database, b"payload 15-50 ")[0])
    lock = OvertakenLock(str(database))
    lock.share()
    with pytest.raises(StorageUnavailable, match="is repaired"):
        recovery.recover(str(database), lock, driver.corruption("damaged"))
    lock.close()
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert len(await read_all(service, ids)) >= 2_900


async def test_repair_through_a_link_asks_for_the_lock_of_the_database(
    database: Path, tmp_path: Path
) -> None:
    await fill_database(database)
    damaged = damage(database, leaf_pages(database, b"payload 15-50 ")[0])
    link = tmp_path / "link.db"
    link.symlink_to(database)
    with another_process(database), pytest.raises(StorageCorrupt, match="other editor windows"):
        LocalStoreAdmin(link).repair()
    LocalStoreAdmin(link).repair()
    assert link.is_symlink()
    assert [digest(each) for each in quarantined(database)] == [damaged]


async def test_what_a_recovery_makes_is_private_whatever_the_umask(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await fill_database(database, sessions=3)
    damage(database, root_page_offset(database, "events"))
    found: set[int] = set()
    monkeypatch.setattr(
        replacement, "replace", lambda *_: found.update(modes(Path(f"{database}.rescue")).values())
    )
    old = os.umask(0)
    try:
        recovery.repair(str(database))
    finally:
        os.umask(old)
    assert found == {0o600}
    assert ids


# Damaged headers


def lock_path(database: Path) -> Path:
    return database.with_name(f"{database.name}-lock")


DAMAGED_HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda content: bytes(PAGE_BYTES) + content[PAGE_BYTES:],
    "garbage": lambda content: random.Random(7).randbytes(PAGE_BYTES) + content[PAGE_BYTES:],
    "one bit": lambda content: b"T" + content[1:],
    "cut within the header": lambda content: content[:50],
}


@pytest.mark.parametrize("kind", DAMAGED_HEADERS)
async def test_a_marked_file_with_a_damaged_header_is_recovered(database: Path, kind: str) -> None:
    ids = await fill_database(database, sessions=3)
    damaged = DAMAGED_HEADERS[kind](database.read_bytes())
    database.write_bytes(damaged)
    (error,) = read_elsewhere(database)
    (kept,) = quarantined(database)
    assert error.startswith("StorageCorrupt: ")
    assert kept.read_bytes() == damaged
    async with opened(database) as service:
        words = await read_all(service, ids)
        assert len(words) == (300 if len(damaged) > PAGE_BYTES else 0)


@pytest.mark.parametrize("lock", ["absent", "cleared by a foreign file", "of another content"])
async def test_an_unmarked_file_with_a_damaged_header_is_unchanged(
    database: Path, lock: str
) -> None:
    await fill_database(database, sessions=1)
    damaged = bytes(PAGE_BYTES) + database.read_bytes()[PAGE_BYTES:]
    if lock == "absent":
        lock_path(database).unlink()
    elif lock == "of another content":
        lock_path(database).write_bytes(b"12345")
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


async def test_a_damaged_foreign_database_is_refused_and_unchanged(
    database: Path,
) -> None:
    await fill_database(database, sessions=1)
    database.unlink()
    make_foreign(database, "CREATE TABLE t (x)", "INSERT INTO t VALUES ('" + "x" * 9_000 + "')")
    damaged = damage(database, PAGE_BYTES)
    with pytest.raises(StorageError, match="was left as it is"):
        await LocalSessionService.open(database)
    assert digest(database) == damaged
    assert quarantined(database) == []


# The write-ahead log


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


async def test_rows_in_the_write_ahead_log_survive_a_damaged_first_page(database: Path) -> None:
    (id,) = await fill_database(database, sessions=1)
    writer = start_process(LOGGER, database, id)
    assert read_line(writer) == "stored"
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


# Files that are empty, or gone


async def leave_log(database: Path) -> str:
    """Store 100 events in the file and four in the log, as a killed process leaves them."""
    (id,) = await fill_database(database, sessions=1)
    writer = start_process(LOGGER, database, id)
    assert read_line(writer) == "stored"
    writer.kill()
    writer.wait()
    return id


@pytest.mark.parametrize("backup", ["", "with a backup"])
async def test_an_empty_file_that_was_segues_is_reported(database: Path, backup: str) -> None:
    await fill_database(database, sessions=1)
    kept = database.parent / "backups" / "kept.db"
    if backup:
        back_up(str(database), str(kept))
    database.write_bytes(b"")
    admin = LocalStoreAdmin(database)
    assert admin.check().problems == [
        f"{database} is damaged (it is empty, and it was not before)."
    ]
    with pytest.raises(StorageCorrupt, match="is empty"):
        admin.back_up()
    (error,) = read_elsewhere(database)
    (empty,) = quarantined(database)
    assert empty.read_bytes() == b""
    assert error.startswith(f"StorageCorrupt: {database} was damaged. ")
    assert (f"`segue restore {kept}`" in error) is bool(backup)
    async with opened(database) as service:
        assert await contents(service, await store_session(service, user_message("anew"))) == [
            "anew"
        ]
    assert quarantined(database) == [empty]


@pytest.mark.parametrize("left", ["an empty file", "no file"])
@pytest.mark.parametrize("how", ["opened", "repaired"])
async def test_the_log_of_a_file_that_is_gone_is_salvaged(
    database: Path, left: str, how: str
) -> None:
    await leave_log(database)
    log = database.with_name("sessions.db-wal")
    before = log.read_bytes()
    database.write_bytes(b"")
    if left == "no file":
        database.unlink()
    admin = LocalStoreAdmin(database)
    assert admin.exists()
    assert admin.check().problems == [
        f"{database} is damaged (it is empty, but {database}-wal is not)."
    ]
    with pytest.raises(StorageCorrupt, match="is empty"):
        admin.back_up()
    assert log.read_bytes() == before
    if how == "opened":
        (error,) = read_elsewhere(database)
        if left == "no file":  # windows that have it open may still use the log
            (kept,) = database.parent.glob("*.corrupt-*-wal")
            assert str(kept) in error
            assert kept.read_bytes() == before
            return
        assert error.startswith(f"StorageCorrupt: {database} was damaged. ")
    else:
        assert admin.repair().startswith(f"{database} was damaged. ")
    (kept,) = quarantined(database)
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == before
    async with opened(database) as service:
        (session,) = (await service.list_sessions()).sessions
        assert (await contents(service, session.id))[-1] == "in the log 3"


async def test_the_log_of_an_empty_file_that_is_not_known_is_kept(database: Path) -> None:
    await leave_log(database)
    log = database.with_name("sessions.db-wal")
    before = log.read_bytes()
    database.write_bytes(b"")
    lock_path(database).unlink()
    for _ in range(2):
        with pytest.raises(StorageCorrupt, match="wal is not"):
            await LocalSessionService.open(database)
    assert log.read_bytes() == before


async def test_a_database_that_was_removed_is_made_anew(database: Path) -> None:
    await fill_database(database, sessions=1)
    database.unlink()
    for _ in range(2):
        async with opened(database) as service:
            assert (await service.list_sessions()).sessions == []
    assert quarantined(database) == []


# Lost pages


@pytest.mark.parametrize("layout", ["grown", "restored"])
async def test_rows_are_salvaged_without_a_first_page(database: Path, layout: str) -> None:
    ids = await fill_database(database, sessions=3)
    if layout == "restored":
        backup = database.with_name("backup.db")
        execute(database, f"VACUUM INTO '{backup}'")
        os.replace(backup, database)
    damage(database, 100, PAGE_BYTES - 100)
    read_elsewhere(database)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300


async def test_rows_beyond_the_page_count_of_the_header_are_salvaged(database: Path) -> None:
    ids = await fill_database(database, sessions=3)
    content = bytearray(database.read_bytes())
    content[28:32] = (16).to_bytes(4, "big")
    database.write_bytes(content)
    read_elsewhere(database, *ids)
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 300


def root_page_offset(database: Path, table: str) -> int:
    """Return the offset of the root page of a table, which is an interior page."""
    sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    offset = (int(execute(database, sql, table)[0][0]) - 1) * PAGE_BYTES
    assert database.read_bytes()[offset] == 0x05
    return offset


@pytest.mark.parametrize("table", ["events", "sessions"])
async def test_rows_survive_the_loss_of_the_root_page(database: Path, table: str) -> None:
    ids = await fill_database(database, sessions=40, events=30)
    async with opened(database) as service:
        await service.set_metadata(ids[7], "key", "kept")
        before = (await service.list_sessions(limit=1_000)).sessions
    damage(database, root_page_offset(database, table))
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert (await service.list_sessions(limit=1_000)).sessions == before
        assert len(await read_all(service, ids)) == 40 * 30
        assert await service.get_metadata(ids[7], "key") == "kept"


async def test_rows_in_the_write_ahead_log_survive_the_loss_of_the_root_page(
    database: Path,
) -> None:
    (id,) = await fill_database(database, sessions=1)
    writer = start_process(LOGGER, database, id)
    assert read_line(writer) == "stored"
    writer.kill()
    writer.wait()
    damage(database, root_page_offset(database, "events"))
    read_elsewhere(database, id)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        words = await contents(service, id)
    assert (len(words), words[-1]) == (104, "in the log 3")


DELETER = """
from segue.store.sqlite import driver

async def main(where, *ids):
    service = await LocalSessionService.open(where)
    # As if a reader held it up.
    driver.checkpoint_truncate = lambda db: False
    for id in ids:
        await service.delete(id)
    print("deleted", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("log", ["emptied", "pending"])
async def test_deleted_sessions_are_not_salvaged(database: Path, log: str) -> None:
    ids = await fill_database(database)
    gone, left = ids[5:15], ids[:5] + ids[15:]
    if log == "pending":
        writer = start_process(DELETER, database, *gone)
        assert read_line(writer) == "deleted"
        writer.kill()
        writer.wait()
        assert b"payload 7-50 " in database.read_bytes()
    else:
        async with opened(database) as service:
            for id in gone:
                await service.delete(id)
    damage(database, root_page_offset(database, "events"))
    read_elsewhere(database, *left)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        listed = (await service.list_sessions(archived=True, limit=1_000)).sessions
        assert {session.id for session in listed} == set(left)
        assert len(await read_all(service, left)) == 2_000


# Headers that contradict the tables


HEADER_FIELDS = {
    "page size": (16, 0x2000, 2), "write version": (18, 3, 1), "read version": (19, 3, 1),
    "reserved bytes": (20, 8, 1), "schema format": (44, 5, 4), "auto-vacuum": (52, 9, 4),
    "encoding": (56, 2, 4), "no migration": (60, 0, 4), "one migration fewer": (60, 1, 4),
    "foreign application id": (68, 77, 4), "no application id": (68, 0, 4),
}  # fmt: skip


def damage_header(database: Path, what: str) -> bytes:
    offset, value, size = HEADER_FIELDS[what]
    content = bytearray(database.read_bytes())
    content[offset : offset + size] = value.to_bytes(size, "big")
    database.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("what", HEADER_FIELDS)
async def test_a_header_that_contradicts_the_tables_is_damage(database: Path, what: str) -> None:
    ids = await fill_database(database, sessions=3)
    damaged = damage_header(database, what)
    for _ in range(2):
        with contextlib.suppress(StorageCorrupt):
            async with opened(database) as service:
                await append_to_head(service, ids[0], user_message("goes on"))
    (kept,) = quarantined(database)
    assert kept.read_bytes() == damaged
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 301
    assert execute(database, "PRAGMA integrity_check")[0][0] == "ok"


@pytest.mark.parametrize("what", HEADER_FIELDS)
async def test_repair_finds_a_header_that_contradicts_the_tables(database: Path, what: str) -> None:
    ids = await fill_database(database, sessions=1)
    damage_header(database, what)
    result = recovery.repair(str(database))
    assert result.recovered
    assert "was quarantined" in result.message
    assert quarantined(database) == [Path(str(result.quarantined_as))]
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 100


@pytest.mark.parametrize("what", ["foreign application id", "no application id"])
async def test_an_unmarked_file_with_segues_tables_is_unchanged(database: Path, what: str) -> None:
    await fill_database(database, sessions=1)
    lock_path(database).unlink()
    damaged = damage_header(database, what)
    for _ in range(2):
        with pytest.raises(StorageError):
            await LocalSessionService.open(database)
    assert database.read_bytes() == damaged
    assert quarantined(database) == []


# Files that are cut, and I/O errors


def io_error() -> Exception:
    """Return SQLite's error for a page that it cannot read completely."""
    error: Exception = driver.Error[0]("disk I/O error")
    error.sqlite_errorcode = 10  # type: ignore[attr-defined]  # typed as read-only
    return error


async def test_a_file_that_ends_within_a_page_is_damaged(database: Path) -> None:
    ids = await fill_database(database, sessions=3)
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
async def test_an_io_error_of_the_disk_is_not_damage(
    database: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_database(database, sessions=1)
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


# Indexes and keys


async def test_events_behind_a_key_out_of_order_are_recovered(database: Path) -> None:
    ids = await fill_database(database, sessions=3)
    content = bytearray(database.read_bytes())
    offset = leaf_pages(database, b"payload 1-50 ")[0]
    pointer = offset + 8 + 2 * 3
    cell = offset + int.from_bytes(content[pointer : pointer + 2], "big")
    assert content[cell + 2] == 0xA0  # after the payload size: the varint of session 2
    content[cell + 2] = 0xFF
    database.write_bytes(content)
    read_elsewhere(database, *ids)
    assert len(quarantined(database)) == 1
    async with opened(database) as service:
        assert len(await read_all(service, ids)) == 299


@pytest.mark.parametrize("call", ["get_session", "load_events", "archive", "delete"])
async def test_a_session_that_is_missing_from_an_index_is_recovered(
    database: Path, call: str
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("kept"))
    content = bytearray(database.read_bytes())
    assert content.count(id.encode()) == 2
    offset = next(
        offset
        for offset in range(0, len(content), PAGE_BYTES)
        if content[offset] == 0x0A and id.encode() in content[offset : offset + PAGE_BYTES]
    )
    content[content.index(id.encode(), offset)] ^= 1
    database.write_bytes(content)
    async with opened(database) as service:
        with pytest.raises(StorageCorrupt, match="was quarantined"):
            await getattr(service, call)(id)
        await getattr(service, call)(id)
    assert len(quarantined(database)) == 1


# Recovery that fails


@contextmanager
def another_process(database: Path) -> Iterator[None]:
    """Hold the database open as another process does, so that no one may recover it."""
    open_lock = OpenLock(str(database))
    open_lock.share()
    yield
    open_lock.close()


async def test_damage_that_cannot_be_repaired_is_reported_to_every_request(database: Path) -> None:
    """Reconnecting fails too; it must not deadlock by waiting for the recovery it belongs to."""
    async with opened(database) as service:
        id = await store_session(service)
        for _ in range(30):
            await append_to_head(service, id, user_message("x" * 3_000))
    async with opened(database) as service:
        with another_process(database):
            database.write_bytes(b"\xff" * database.stat().st_size)
            for _ in range(2):
                with pytest.raises(StorageError):
                    await asyncio.wait_for(service.load_events(id), 10)


async def test_a_service_works_again_once_the_file_is_undamaged(database: Path) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("kept"))
    whole = database.read_bytes()
    async with opened(database) as service:
        with another_process(database):
            database.write_bytes(b"\xff" * len(whole))
            with pytest.raises(StorageError):
                await service.load_events(id)
            database.write_bytes(whole)
        assert await contents(service, id) == ["kept"]
