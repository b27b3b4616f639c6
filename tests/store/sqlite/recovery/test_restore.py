"""Restoring a backup: what is refused, what is kept, and that a refusal changes nothing."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.model.errors import StorageError, StorageFull
from segue.model.store_reports import RestorePreview
from segue.store.sqlite import schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, contents, execute, store_session, user_message
from tests.schema_versions import store_at_version
from tests.store.sqlite.helpers import (
    digest,
    fill_disk,
    make_foreign,
    opened,
    read_line,
    send_line,
    start_process,
    wait_for_exit,
)

HOLDER = """
async def main(where, *content):
    service = await LocalSessionService.open(where)
    for each in content:
        event = Event.new("user_message", {"content": each})
        (session,) = (await service.list_sessions()).sessions
        await service.append_events(
            session.id, [event], parent_id=session.head, invocation_id="2"
        )
    print("opened", flush=True)
    sys.stdin.readline()
    await service.close()
"""


def agree(preview: RestorePreview) -> bool:
    return True


def snapshot(folder: Path) -> dict[str, tuple[str, float]]:
    """Return the digest and the time of every file beneath *folder*, but for locks."""
    return {
        str(each.relative_to(folder)): (digest(each), each.stat().st_mtime)
        for each in folder.rglob("*")
        if each.is_file() and not each.name.endswith("-lock")
    }


def replaced(database: Path) -> list[Path]:
    found = database.parent.glob("*.replaced-*")
    return [each for each in found if not each.name.endswith(("-wal", "-shm"))]


@pytest.fixture
async def backup(database: Path, tmp_path: Path) -> Path:
    """Return a backup with one message, of a store that has two by now."""
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
        target = tmp_path / "elsewhere" / "copy.db"
        LocalStoreAdmin(database).back_up(str(target))
        await append_to_head(service, id, user_message("two"))
    return target


async def stored(database: Path) -> list[str]:
    async with opened(database) as service:
        (session,) = (await service.list_sessions()).sessions
        return await contents(service, session.id)


async def test_a_backup_replaces_the_database_and_is_left_as_it_is(
    database: Path, backup: Path
) -> None:
    before, content = digest(database), snapshot(backup.parent)
    previews: list[RestorePreview] = []

    def confirm(preview: RestorePreview) -> bool:
        previews.append(preview)
        return True

    old = os.umask(0)
    try:
        result = LocalStoreAdmin(database).restore(str(backup), confirm)
    finally:
        os.umask(old)
    assert result is not None
    (preview,) = previews
    assert preview.present is not None
    assert (preview.present.sessions, preview.present.events) == (1, 2)
    assert (preview.restored.sessions, preview.restored.events) == (1, 1)
    assert preview.restored.newest is not None
    assert preview.restored.newest <= (preview.present.newest or 0)
    (kept,) = replaced(database)
    assert (str(kept), digest(kept)) == (result.replaced_as, before)
    assert snapshot(backup.parent) == content
    for each in database.parent.iterdir():
        assert (stat.S_IMODE(each.stat().st_mode), each.stat().st_nlink) == (0o600, 1)
    assert await stored(database) == ["one"]
    assert LocalStoreAdmin(database).check().problems == []


async def test_nothing_is_changed_unless_it_is_confirmed(database: Path, backup: Path) -> None:
    before = snapshot(database.parent)
    assert LocalStoreAdmin(database).restore(str(backup), lambda preview: False) is None
    assert snapshot(database.parent) == before
    assert not database.with_name("sessions.db.rescue").exists()


async def test_a_store_is_made_of_a_backup(database: Path, backup: Path) -> None:
    shutil.rmtree(database.parent)
    old = os.umask(0)
    try:
        result = LocalStoreAdmin(database).restore(str(backup), agree)
    finally:
        os.umask(old)
    assert result is not None
    assert result.replaced_as is None
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
    assert await stored(database) == ["one"]


@pytest.mark.parametrize("damage", ["a page", "the header", "all of it", "its end"])
async def test_a_damaged_database_is_replaced(database: Path, backup: Path, damage: str) -> None:
    content = database.read_bytes()
    damaged = {
        "a page": content[:4_096] + b"\xff" * 4_096 + content[8_192:],
        "the header": bytes(4_096) + content[4_096:],
        "all of it": b"\xff" * len(content),
        "its end": b"",
    }[damage]
    database.write_bytes(damaged)
    assert LocalStoreAdmin(database).restore(str(backup), agree) is not None
    (kept,) = replaced(database)
    assert kept.read_bytes() == damaged
    assert await stored(database) == ["one"]


async def test_the_log_of_the_old_database_is_kept_and_not_applied(
    database: Path, backup: Path
) -> None:
    killed = start_process(HOLDER, database, "three", "four")
    assert read_line(killed) == "opened"
    killed.kill()
    killed.wait()
    LocalStoreAdmin(database).restore(str(backup), agree)
    assert await stored(database) == ["one"]
    (kept,) = replaced(database)
    assert await stored(kept) == ["one", "two", "three", "four"]


async def test_a_database_in_memory_cannot_be_restored(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StorageError, match="keeps nothing"):
        LocalStoreAdmin(":memory:").restore(str(backup), agree)
    assert sorted(tmp_path.iterdir()) == before


# The backup


@pytest.mark.parametrize("state", ["left by a killed process", "copied", "in use"])
async def test_a_backup_with_a_log_is_restored_with_it(
    database: Path, backup: Path, state: str
) -> None:
    process = start_process(HOLDER, backup, "more")
    assert read_line(process) == "opened"
    if state != "in use":
        process.kill()
        process.wait()
    if state == "copied":
        backup.with_name("copy.db-shm").unlink()
    before = snapshot(backup.parent)
    LocalStoreAdmin(database).restore(str(backup), agree)
    assert await stored(database) == ["one", "more"]
    assert set(snapshot(backup.parent)) == set(before)
    assert {name: each for name, each in snapshot(backup.parent).items() if "shm" not in name} == {
        name: each for name, each in before.items() if "shm" not in name
    }
    if state == "in use":
        send_line(process, "close")
        wait_for_exit(process)


async def test_a_backup_of_an_older_schema_is_migrated(
    database: Path, backup: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older" / "sessions.db"
    store_at_version(database, older, len(schema.MIGRATIONS) - 1)
    before = digest(older)
    LocalStoreAdmin(database).restore(str(older), agree)
    assert digest(older) == before
    assert await stored(database) == ["one", "two"]
    assert LocalStoreAdmin(database).check().schema_version == len(schema.MIGRATIONS)


def damage_page(backup: Path) -> None:
    content = backup.read_bytes()
    backup.write_bytes(content[:4_096] + b"\xff" * 4_096 + content[8_192:])


def put(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a function that puts what *make* makes in the place of the backup."""

    def spoil(backup: Path) -> None:
        backup.unlink()
        make(backup)

    return spoil


def set_versions(backup: Path, reader: int) -> None:
    """Make it a database of a later version, which lets versions from *reader* on read it."""
    execute(backup, f"UPDATE compatibility SET reader = {reader}, writer = 99")
    execute(backup, "PRAGMA user_version = 99")


ADD_TRIGGER = "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END"
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "cannot be read: No such file"),
    "a folder": (put(Path.mkdir), "is not a file"),
    "a pipe": (put(os.mkfifo), "is not a file"),
    "empty": (put(Path.touch), "is empty"),
    "text": (lambda backup: backup.write_text("hello " * 1_000), "is damaged, or is no database"),
    "cut": (lambda backup: os.truncate(backup, 9_000), "is damaged, or is no database"),
    "damaged": (damage_page, "is damaged, or is no database"),
    "another program's": (
        put(lambda backup: execute(backup, "CREATE TABLE t (x)")),
        "another program's",
    ),
    "an empty database": (put(lambda backup: execute(backup, "PRAGMA user_version = 0")), "empty"),
    "of a later version": (lambda backup: set_versions(backup, 99), "written by a later Segue"),
    "only readable": (lambda backup: set_versions(backup, 1), "may only read it"),
    "with a trigger": (lambda backup: execute(backup, ADD_TRIGGER), "tables|schema|trigger"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_what_is_no_backup_is_refused_and_nothing_is_changed(
    database: Path, backup: Path, kind: str
) -> None:
    spoil, message = UNUSABLE[kind]
    spoil(backup)
    before = snapshot(database.parent)
    with pytest.raises(StorageError, match=message) as caught:
        LocalStoreAdmin(database).restore(str(backup), agree)
    assert str(backup) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(database.parent) == before
    assert await stored(database) == ["one", "two"]


@pytest.mark.parametrize("name", ["itself", "a link to it", "a second name"])
async def test_the_database_is_no_backup_of_itself(
    database: Path, backup: Path, tmp_path: Path, name: str
) -> None:
    source = database if name == "itself" else tmp_path / "link.db"
    if name == "a link to it":
        source.symlink_to(database)
    elif name == "a second name":
        os.link(database, source)
    with pytest.raises(StorageError, match="is the database itself"):
        LocalStoreAdmin(database).restore(str(source), agree)
    assert replaced(database) == []


# The database


async def test_a_database_that_is_open_is_not_replaced(database: Path, backup: Path) -> None:
    holder = start_process(HOLDER, database)
    assert read_line(holder) == "opened"
    with pytest.raises(
        StorageError, match=rf"is open in editor windows \(process {holder.pid} \("
    ) as caught:
        LocalStoreAdmin(database).restore(str(backup), agree)
    assert "nothing was changed" in str(caught.value)
    assert replaced(database) == []
    send_line(holder, "close")
    wait_for_exit(holder)
    assert LocalStoreAdmin(database).restore(str(backup), agree) is not None


@pytest.mark.parametrize("content", ["a database", "a text"])
async def test_a_file_of_another_program_is_not_replaced(
    database: Path, backup: Path, content: str
) -> None:
    shutil.rmtree(database.parent)
    database.parent.mkdir(mode=0o700)
    if content == "a text":
        database.write_text("precious " * 1_000)
    else:
        make_foreign(database, "CREATE TABLE t (x)")
    before = database.read_bytes()
    with pytest.raises(StorageError, match="was left as it is"):
        LocalStoreAdmin(database).restore(str(backup), agree)
    assert database.read_bytes() == before
    assert replaced(database) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
async def test_a_backup_is_not_restored_into_the_folder_of_another_user(
    database: Path, backup: Path
) -> None:
    os.chown(database.parent, 12_345, -1)
    with pytest.raises(StorageError, match="belongs to another user"):
        LocalStoreAdmin(database).restore(str(backup), agree)
    assert replaced(database) == []


async def test_a_link_to_the_database_stays_a_link(
    database: Path, backup: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(database)
    LocalStoreAdmin(link).restore(str(backup), agree)
    assert link.is_symlink()
    assert await stored(database) == ["one"]
    assert len(replaced(database)) == 1


async def test_a_full_disk_changes_nothing(tiny_disk: Path, tmp_path: Path) -> None:
    database, backup = tiny_disk / "sessions.db", tmp_path / "copy.db"
    async with opened(database) as service:
        id = await store_session(service, user_message("x" * 100_000))
        LocalStoreAdmin(database).back_up(str(backup))
    filler = fill_disk(tiny_disk, leave=50_000)
    before = digest(database)
    with pytest.raises(StorageFull):
        LocalStoreAdmin(database).restore(str(backup), agree)
    filler.unlink()
    assert digest(database) == before
    assert [each.name for each in tiny_disk.iterdir() if "rescue" in each.name] == []
    async with opened(database) as service:
        assert (await service.get_session(id)).event_count == 1


async def test_a_service_that_opens_after_a_restore_serves_the_backup(
    database: Path, backup: Path
) -> None:
    LocalStoreAdmin(database).restore(str(backup), agree)
    service = await LocalSessionService.open(database)
    (session,) = (await service.list_sessions()).sessions
    await append_to_head(service, session.id, user_message("goes on"))
    await service.close()
    assert await stored(database) == ["one", "goes on"]
