"""A store that cannot be written is read, and written again as soon as it can be."""

import asyncio
import concurrent.futures.thread  # noqa: F401  the other user may not read the library
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from segue.model.errors import StorageCorrupt, StorageReadOnly
from segue.store.sqlite import schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, contents, execute, store_session, user_message
from tests.faults.foreign_files import STRANGER, as_stranger
from tests.store.sqlite.helpers import (
    PAGE_BYTES,
    modes,
    mounted,
    opened,
    pragma,
    remount_read_only,
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount, or become another"
)

CRASH = """
import asyncio, os, sys
from segue.store.sqlite.service import LocalSessionService
from tests.factories import store_session, user_message
async def main():
    service = await LocalSessionService.open(sys.argv[1])
    print(await store_session(service, user_message("in the log")), flush=True)
    os._exit(0)
asyncio.run(main())
"""


def crash_with_a_log(database: Path) -> str:
    """Let a process store a session and die; return the session's id. Only the log has it."""
    command = [sys.executable, "-c", CRASH, str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert database.with_name("sessions.db-wal").stat().st_size > 0
    return done.stdout.strip()


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if "-shm" not in path.name}


async def reads_everything(service: LocalSessionService, id: str, text: str) -> None:
    assert [session.id for session in (await service.list_sessions()).sessions] == [id]
    assert await contents(service, id) == [text]
    session, page = await service.open_session(id)
    assert page.events[0].data["content"] == text
    await service.find_resumable(session.directory, session.git_root, timedelta(days=1))
    assert await service.get_metadata(id, "key") is None


async def refuses_writing(service: LocalSessionService, id: str, database: Path) -> None:
    began = time.monotonic()
    for write in (
        append_to_head(service, id, user_message("two")),
        store_session(service, user_message("another")),
        service.archive(id),
        service.delete(id),
    ):
        with pytest.raises(
            StorageReadOnly, match=r"cannot be written.*Make both writable"
        ) as error:
            await write
        assert str(database) in str(error.value)
    assert time.monotonic() - began < 2


async def test_a_read_only_mount_is_read_until_it_can_be_written(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    before = state(database.parent)
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as service:
            await reads_everything(service, id, "one")
            await refuses_writing(service, id, disk / "sessions.db")
            assert state(database.parent) == before
            subprocess.run(["mount", "-o", "remount,bind,rw", disk], check=True)
            await append_to_head(service, id, user_message("two"))
            assert await contents(service, id) == ["one", "two"]
        remount_read_only(disk)
        with pytest.raises(StorageReadOnly):
            await LocalSessionService.open(disk / "none" / "sessions.db")
        with pytest.raises(StorageReadOnly, match="does not exist, and its folder is read-only"):
            await LocalSessionService.open(disk / "none.db")


@pytest.mark.parametrize("has_index", [True, False])
async def test_what_a_crash_left_in_the_log_is_read(
    database: Path, tmp_path: Path, has_index: bool
) -> None:
    id = crash_with_a_log(database)
    if not has_index:
        database.with_name("sessions.db-shm").unlink()
    before = state(database.parent)
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as service:
            await reads_everything(service, id, "in the log")
            await refuses_writing(service, id, disk / "sessions.db")
        target = tmp_path / "backup.db"
        backup = LocalStoreAdmin(disk / "sessions.db").back_up(str(target))
        assert (backup.sessions, backup.events) == (1, 1)
        assert LocalStoreAdmin(disk / "sessions.db").check().problems == []
    assert state(database.parent) == before


async def test_what_others_write_through_another_mount_is_seen(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as writer:
        id = await store_session(writer, user_message("one"))
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as reader:
            assert await contents(reader, id) == ["one"]
            async with opened(database) as writer:
                await append_to_head(writer, id, user_message("two"))
                assert await contents(reader, id) == ["one", "two"]
                await append_to_head(writer, id, user_message("three"))
                assert await contents(reader, id) == ["one", "two", "three"]
            assert await contents(reader, id) == ["one", "two", "three"]
            async with opened(database) as writer:
                await append_to_head(writer, id, user_message("four"))
            assert await contents(reader, id) == ["one", "two", "three", "four"]


async def test_an_older_schema_that_cannot_be_migrated_is_read(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
    later = ("ALTER TABLE sessions ADD COLUMN later TEXT",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    before = state(database.parent)
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as service:
            assert await pragma(service, "user_version") == len(schema.MIGRATIONS)
            await reads_everything(service, id, "one")
            await refuses_writing(service, id, disk / "sessions.db")
    assert state(database.parent) == before


async def test_damage_that_cannot_be_repaired_is_said(database: Path, tmp_path: Path) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("x" * 10_000))
    roots = execute(database, "SELECT rootpage FROM sqlite_master WHERE rootpage > 0")
    with database.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
    before = state(database.parent)
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as service:
            for _ in range(2):
                with pytest.raises(StorageCorrupt, match="is damaged"):
                    await service.get_session(id)
    assert state(database.parent) == before


# Rights: root has them all, so another user opens a store of his own.


def as_owner(work: Callable[[], Awaitable[None]]) -> None:
    """Run *work* as the user STRANGER."""

    def run() -> int:
        asyncio.run(work())  # type: ignore[arg-type]  # each is a coroutine
        return 0

    assert as_stranger(run) == 0


@pytest.mark.parametrize("crashed", [False, True])
@pytest.mark.parametrize("path", ["", "sessions.db"])
def test_a_store_whose_folder_or_file_may_not_be_written_is_read(
    database: Path, path: str, crashed: bool
) -> None:
    ids = []
    if crashed:
        ids.append(crash_with_a_log(database))
        database.with_name("sessions.db-shm").unlink()
    else:
        ids.append(asyncio.run(_stored(database, "in the log")))
    place = Path("/dev/shm") / f"segue-{os.getpid()}"  # pytest's folders are private
    shutil.copytree(database.parent, place)
    for each in (place, *place.iterdir()):
        os.chown(each, STRANGER, STRANGER)
    harmed = place / path
    harmed.chmod(0o500 if harmed.is_dir() else 0o400)
    before = state(place)

    async def work() -> None:
        async with opened(place / "sessions.db") as service:
            await reads_everything(service, ids[0], "in the log")
            await refuses_writing(service, ids[0], place / "sessions.db")
            assert state(place) == before
            harmed.chmod(0o700 if harmed.is_dir() else 0o600)
            await append_to_head(service, ids[0], user_message("two"))
            assert set(modes(place).values()) == {0o600}

    try:
        as_owner(work)
    finally:
        shutil.rmtree(place)


async def _stored(database: Path, text: str) -> str:
    async with opened(database) as service:
        return await store_session(service, user_message(text))
