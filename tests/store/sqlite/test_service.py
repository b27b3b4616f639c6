"""The service on full and read-only disks, and what a deletion leaves in its files."""

import contextlib
import sys
from pathlib import Path

import pytest

from segue.model.errors import SessionNotFound, StorageFull
from segue.model.events import new_id
from segue.model.records import NewFork
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    append_to_head,
    contents,
    execute,
    note,
    store_session,
    user_message,
)
from tests.store.sqlite.helpers import (
    CANARY,
    fill_disk,
    opened,
    start_process,
    wait_for_exit,
)

# Disks


async def test_a_full_disk_raises_storage_full_and_keeps_acknowledged_events(
    tiny_disk: Path,
) -> None:
    async with opened(tiny_disk / "sessions.db") as service:
        id = await store_session(service, user_message("0"))
        filler = fill_disk(tiny_disk)
        acknowledged = 1
        with contextlib.suppress(StorageFull):
            while acknowledged < 1_000:
                await append_to_head(
                    service, id, user_message(str(acknowledged)), note("x" * 10_000)
                )
                acknowledged += 1
        assert acknowledged < 1_000
        for _ in range(3):
            with pytest.raises(StorageFull):
                await append_to_head(service, id, note("x" * 100_000))
        page = await service.load_events(id)
        assert page.events[0].data == {"content": "0"}
        filler.unlink()
        await append_to_head(service, id, user_message("after"))
        short_contents = [words for words in await contents(service, id) if len(words) < 100]
        assert short_contents == [*map(str, range(acknowledged)), "after"]


async def test_creating_a_database_on_a_full_disk_raises_storage_full(tiny_disk: Path) -> None:
    filler = fill_disk(tiny_disk)
    for _ in range(2):
        with pytest.raises(StorageFull):
            await LocalSessionService.open(tiny_disk / "sessions.db")
    filler.unlink()
    async with opened(tiny_disk / "sessions.db") as service:
        assert await contents(service, await store_session(service, user_message("one"))) == ["one"]


async def test_opening_a_database_on_a_full_disk_raises_storage_full(tiny_disk: Path) -> None:
    async with opened(tiny_disk / "sessions.db") as service:
        id = await store_session(service, user_message("one"))
    filler = fill_disk(tiny_disk)
    with pytest.raises(StorageFull):
        async with opened(tiny_disk / "sessions.db") as service:
            await append_to_head(service, id, user_message("two"))
    filler.unlink()
    async with opened(tiny_disk / "sessions.db") as service:
        await append_to_head(service, id, user_message("three"))
        assert await contents(service, id) == ["one", "three"]


QUOTA = """
import resource
from segue.model.errors import StorageFull
from segue.store.sqlite.admin import LocalStoreAdmin
from tests.factories import append_to_head, contents, store_session, user_message

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main(database, target):
    service = await LocalSessionService.open(database)
    try:
        await fill(service, database, target)
    finally:
        limit(resource.RLIM_INFINITY)
        await service.close()

async def fill(service, database, target):
    id = await store_session(service, user_message("0"))
    stored = ["0"]
    limit(400_000)
    while True:
        try:
            await append_to_head(service, id, user_message(f"{len(stored)} " + "x" * 20_000))
        except StorageFull as error:
            assert "a quota" in str(error), error
            break
        stored.append(f"{len(stored)} " + "x" * 20_000)
    assert await contents(service, id) == stored
    limit(100_000)  # less than the copy needs
    try:
        LocalStoreAdmin(database).back_up(target)
    except StorageFull as error:
        assert target in str(error), error
    else:
        raise AssertionError("no error")
    limit(resource.RLIM_INFINITY)
    await append_to_head(service, id, user_message("last"))
    assert await contents(service, id) == [*stored, "last"]
    assert LocalStoreAdmin(database).back_up(target).events == len(stored) + 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_quota_raises_storage_full_until_there_is_room(database: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails as a quota does: with an errno other than ENOSPC."""
    wait_for_exit(start_process(QUOTA, database, tmp_path / "backup.db"))
    assert [path.name for path in tmp_path.glob("backup.db*")] == ["backup.db"]


async def test_a_backup_to_a_full_disk_raises_storage_full(database: Path, tiny_disk: Path) -> None:
    async with opened(database) as service:
        await store_session(service, user_message("x" * 2_000_000))
    with pytest.raises(StorageFull, match="backup"):
        LocalStoreAdmin(database).back_up(str(tiny_disk / "backup.db"))
    assert list(tiny_disk.iterdir()) == []


# Deletion


async def test_the_content_of_a_deleted_session_is_in_no_file(database: Path) -> None:
    async with opened(database) as service, opened(database):
        kept = await store_session(service, user_message("kept"))
        gone = await store_session(
            service,
            user_message(f"{CANARY} title"),
            server_session_id=f"{CANARY} remote",
            metadata={"key": f"{CANARY} metadata"},
        )
        for number in range(40):
            size = 10 ** (number % 5)
            await append_to_head(service, gone, user_message(f"{CANARY} {'x' * size} {CANARY}"))
            await append_to_head(service, kept, user_message("kept"))
        await service.set_metadata(gone, "key", "replaced")
        assert any(CANARY.encode() in path.read_bytes() for path in database.parent.iterdir())
        await service.delete(gone)
        files = {path: path.read_bytes() for path in database.parent.iterdir()}
        assert [path.name for path, held in files.items() if CANARY.encode() in held] == []
        assert await contents(service, kept) == ["kept"] * 41
        with pytest.raises(SessionNotFound):
            await service.get_session(gone)


async def test_what_no_fork_shows_of_a_deleted_session_is_in_no_file(database: Path) -> None:
    async with opened(database) as service, opened(database):
        first = user_message("first")
        gone = await store_session(
            service,
            first,
            user_message(f"{CANARY} late"),
            directory=f"/{CANARY}",
            git_root=f"/{CANARY}/root",
            server_session_id=f"{CANARY} remote",
            metadata={"key": f"{CANARY} metadata"},
        )
        fork = await service.fork_session(
            gone, NewFork(id=new_id(), at=first.id, title="Fork", directory="/elsewhere")
        )
        await service.set_title(gone, f"{CANARY} given")
        for _ in range(30):
            await append_to_head(service, gone, user_message(f"{CANARY} {'x' * 3_000} {CANARY}"))
        await service.delete(gone)
        files = {path: path.read_bytes() for path in database.parent.iterdir()}
        assert [path.name for path, held in files.items() if CANARY.encode() in held] == []
        # In the tombstone and its index: a copy of the session on another machine is deleted too.
        assert sum(held.count(gone.encode()) for held in files.values()) == 2
        assert await contents(service, fork.id) == ["first"]
        await service.delete(fork.id)
    assert [tuple(row) for row in execute(database, "SELECT count(*) FROM sessions")] == [(0,)]


async def test_what_is_left_of_a_deleted_session_counts_as_none(database: Path) -> None:
    async with opened(database) as service:
        gone = await store_session(service, user_message("one"), user_message("two"))
        fork = await service.fork_session(gone, NewFork(id=new_id()))
        await service.delete(gone)
        admin = LocalStoreAdmin(database)
        assert (admin.sizes().sessions, admin.sizes().events) == (1, 2)
        report = admin.check()
        assert report.problems == []
        result = admin.back_up(str(database.parent / "backup.db"))
        assert (result.sessions, result.events) == (1, 2)
        assert [each.id for each in (await service.list_sessions()).sessions] == [fork.id]
