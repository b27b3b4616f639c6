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
from tests.store.sqlite.helpers import mode, opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "copy.db"


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
    assert [stat.S_IMODE(each.stat().st_mode) for each in (target.parent, target)] == [0o700, 0o600]


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
    target.parent.mkdir()
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
