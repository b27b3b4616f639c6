"""Backups: each is a verified snapshot, and a failed one leaves no file."""

import asyncio
import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from segue.model.errors import StorageError, StorageUnavailable
from segue.store.sqlite import driver, schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.backup import back_up, back_up_before_migration
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
    mode,
    opened,
    read_line,
    send_line,
    start_process,
    wait_for_exit,
    write_file,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "backups" / "copy.db"


async def test_a_backup_holds_everything_and_can_be_used(
    database: Path, service: LocalSessionService, target: Path
) -> None:
    id = await store_session(service, user_message("one"))
    await append_to_head(service, id, user_message("two"))
    backup = back_up(str(database), str(target))
    assert (backup.sessions, backup.events, backup.size) == (1, 2, target.stat().st_size)
    await append_to_head(service, id, user_message("three"))
    copied = await LocalSessionService.open(target)
    try:
        assert await contents(copied, id) == ["one", "two"]
        await append_to_head(copied, id, user_message("elsewhere"))
    finally:
        await copied.close()
    assert await contents(service, id) == ["one", "two", "three"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_only_its_owner_can_read_a_backup(
    database: Path, service: LocalSessionService, target: Path
) -> None:
    await store_session(service)
    old = os.umask(0)
    try:
        back_up(str(database), str(target))
    finally:
        os.umask(old)
    made = (target.parent.parent, target.parent, target)
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o700, 0o700, 0o600]


async def test_a_backup_that_is_made_during_writes_is_a_snapshot(
    database: Path, service: LocalSessionService, target: Path
) -> None:
    id = await store_session(service, user_message("0"))

    async def write() -> None:
        for number in range(1, 200):
            await append_to_head(service, id, user_message(str(number)))

    writing = asyncio.create_task(write())
    for number in range(5):
        path = target.with_name(f"{number}.db")
        await asyncio.to_thread(back_up, str(database), str(path))
        with closing(driver.connect_to_read(str(path))) as copy:
            (events,) = copy.execute("SELECT count(*) FROM events").fetchone()
            (counted,) = copy.execute("SELECT event_count FROM sessions").fetchone()
        assert events == counted
    await writing
    assert len(await contents(service, id)) == 200


async def test_a_backup_overwrites_no_file(
    database: Path, service: LocalSessionService, target: Path
) -> None:
    await store_session(service)
    target.parent.mkdir(parents=True)
    target.write_text("precious")
    with pytest.raises(StorageUnavailable, match="exists already"):
        back_up(str(database), str(target))
    assert target.read_text() == "precious"


def damage_page(database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(database.stat().st_size - 4096)
        file.write(b"\xff" * 4096)


def make_foreign(database: Path) -> None:
    execute(database, "PRAGMA application_id = 77")


@pytest.mark.parametrize("damage", [damage_page, make_foreign, Path.unlink])
async def test_a_failed_backup_leaves_no_file(
    database: Path, target: Path, damage: Callable[[Path], None]
) -> None:
    service = await LocalSessionService.open(database)
    for number in range(20):
        await store_session(service, user_message("x" * 2_000 + str(number)))
    await service.close()
    damage(database)
    with pytest.raises(StorageError):
        back_up(str(database), str(target))
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("damage", [damage_page, lambda database: os.truncate(database, 20_000)])
async def test_a_failed_backup_before_a_migration_raises_corruption_and_leaves_no_file(
    database: Path, damage: Callable[[Path], None]
) -> None:
    service = await LocalSessionService.open(database)
    for number in range(20):
        await store_session(service, user_message("x" * 2_000 + str(number)))
    await service.close()
    damage(database)
    with pytest.raises(driver.Error) as caught:
        back_up_before_migration(str(database), len(schema.MIGRATIONS))
    assert driver.is_corruption(caught.value)
    assert not list(database.parent.glob("*.schema-*"))


async def test_a_backup_is_kept_before_a_migration(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    version = len(schema.MIGRATIONS)
    damage = ("UPDATE events SET data = '{}'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, damage))
    async with opened(database) as service:
        assert [event.data for event in await all_events(service, id)] == [{}]
    monkeypatch.undo()
    kept = Path(f"{database}.schema-{version}")
    assert mode(kept) == 0o600
    async with opened(kept) as service:
        assert await contents(service, id) == ["one"]


async def test_a_new_database_gets_no_backup(database: Path) -> None:
    async with opened(database):
        pass
    assert [path.name for path in database.parent.iterdir() if "schema" in path.name] == []


# Backups that are killed


KILLED = """
import os, signal
from segue.store.sqlite import backup

async def main(where, target, how):
    verified = backup._verified
    def wait(draft, target):
        print("copied", flush=True)
        if how == "waits":
            sys.stdin.readline()
            return verified(draft, target)
        os.kill(os.getpid(), signal.SIGKILL)
    backup._verified = wait
    backup.back_up(where, target)
"""


def drafts_in(*folders: Path) -> list[str]:
    """Return the names of drafts and of their records."""
    return [each.name for folder in folders for each in folder.iterdir() if "draft-" in each.name]


def kill_backup(database: Path, target: Path) -> None:
    process = start_process(KILLED, database, target, "dies")
    assert read_line(process) == "copied"
    process.wait()
    assert len(drafts_in(database.parent, target.parent)) == 2


@pytest.mark.parametrize("way", ["another backup", "doctor", "a migration"])
async def test_the_draft_of_a_killed_backup_is_removed(
    database: Path, target: Path, tmp_path: Path, way: str
) -> None:
    async with opened(database) as service:
        await store_session(service)
    kill_backup(database, target)
    if way == "another backup":
        back_up(str(database), str(tmp_path / "somewhere else.db"))
    elif way == "doctor":
        (removed,) = LocalStoreAdmin(database).sweep()
        assert removed.startswith(f"{target}.draft-")
    else:
        back_up_before_migration(str(database), len(schema.MIGRATIONS))
    assert drafts_in(database.parent, target.parent) == []
    assert not target.exists()


async def test_the_draft_of_a_backup_that_runs_is_left(database: Path, target: Path) -> None:
    async with opened(database) as service:
        await store_session(service)
    process = start_process(KILLED, database, target, "waits")
    assert read_line(process) == "copied"
    assert LocalStoreAdmin(database).sweep() == []
    assert len(drafts_in(database.parent, target.parent)) == 2
    send_line(process, "go on")
    wait_for_exit(process)
    assert drafts_in(database.parent, target.parent) == []
    assert target.exists()


@pytest.mark.parametrize("content", [b"", b"/nowhere/x.draft-1", b"precious"])
async def test_only_drafts_are_removed(database: Path, content: bytes) -> None:
    precious = database.with_name("precious")
    write_file(precious, b"precious")
    record = database.with_name("sessions.db-draft-1-1")
    record.write_bytes(content.replace(b"precious", os.fsencode(precious)))
    assert LocalStoreAdmin(database).sweep() == []
    assert precious.exists()
    assert not record.exists()


# Copies


async def test_every_copy_is_listed_with_its_parts(database: Path, target: Path) -> None:
    async with opened(database) as service:
        await store_session(service)
    folder = database.parent
    for name in (
        "sessions.db.corrupt-20260101T000000", "sessions.db.corrupt-20260101T000000-wal",
        "sessions.db.replaced-20260101T000000", "sessions.db.schema-1", "backups/mine.db",
        "backups/mine.db-lock", "backups/other.db.draft-7", "sessions.db.schema-2.draft-7",
        "sessions.db.other", "other.db.corrupt-1", "sessions.db-wal-1",
    ):  # fmt: skip
        write_file(folder / name, b"12345")
    found = {
        (copy.kind, copy.path.removeprefix(f"{folder}/"), copy.bytes)
        for copy in LocalStoreAdmin(database).copies()
    }
    assert found == {
        ("backup", "backups/mine.db", 10),
        ("before a migration", "sessions.db.schema-1", 5),
        ("damaged", "sessions.db.corrupt-20260101T000000", 10),
        ("in the making", "backups/other.db.draft-7", 5),
        ("in the making", "sessions.db.schema-2.draft-7", 5),
        ("replaced", "sessions.db.replaced-20260101T000000", 5),
    }
