"""Which sessions are open in a window, as other processes see it, and where that cannot be seen."""

from datetime import timedelta
from pathlib import Path

import pytest

from segue.model.errors import SessionNotFound, StorageReadOnly
from segue.model.records import NewSession
from segue.store.sqlite import driver, holds
from segue.store.sqlite import service as sqlite_service
from segue.store.sqlite.service import LocalSessionService
from tests.factories import contents, execute, make_older, store_session, user_message
from tests.store.sqlite.helpers import (
    mounted,
    opened,
    read_line,
    remount_read_only,
    send_line,
    start_process,
    wait_for_exit,
)

needs_locks = pytest.mark.skipif(not holds.CAN_TELL, reason="there are no locks of open files")
AT_ONCE = timedelta(0)

HOLDS_ONE = """
async def main(database, id):
    service = await LocalSessionService.open(database)
    await service.open_session(id, hold=True)
    print("held", flush=True)
    sys.stdin.readline()
    await service.release(id)
    print("released", flush=True)
    sys.stdin.readline()
    await service.close()
"""

OPENS_ONE = """
from segue.model.errors import SessionNotFound
async def main(database, id):
    service = await LocalSessionService.open(database)
    sys.stdin.readline()
    try:
        await service.open_session(id, hold=True)
        print("opened")
    except SessionNotFound:
        print("not found")
    await service.close()
"""


async def archived_session(service: LocalSessionService) -> str:
    id = await store_session(service, user_message("one"))
    await service.archive(id)
    return id


async def is_held(service: LocalSessionService, id: str) -> bool:
    """Return whether pruning would leave the session because it is held."""
    result = await service.prune(AT_ONCE, dry_run=True)
    held, taken = [each.id for each in result.held], [each.session.id for each in result.taken]
    assert (id in held) != (id in taken)
    return id in held


@needs_locks
async def test_a_hold_is_seen_from_another_process_until_it_is_released(
    database: Path, service: LocalSessionService
) -> None:
    id, other = await archived_session(service), await archived_session(service)
    process = start_process(HOLDS_ONE, database, id)
    assert read_line(process) == "held"
    assert (await is_held(service, id), await is_held(service, other)) == (True, False)
    send_line(process, "")
    assert read_line(process) == "released"
    assert not await is_held(service, id)
    wait_for_exit(process)


@needs_locks
async def test_a_hold_ends_with_its_process(database: Path, service: LocalSessionService) -> None:
    id = await archived_session(service)
    process = start_process(HOLDS_ONE, database, id)
    assert read_line(process) == "held"
    assert await is_held(service, id)
    process.kill()
    process.wait()
    assert not await is_held(service, id)


@needs_locks
async def test_a_hold_ends_with_its_service(database: Path, service: LocalSessionService) -> None:
    id = await archived_session(service)
    async with opened(database) as other:
        await other.hold("another")
        await other.hold(id)
        assert await is_held(service, id)
    assert not await is_held(service, id)


@needs_locks
async def test_what_another_service_holds_is_known_and_not_disturbed(
    database: Path, service: LocalSessionService
) -> None:
    id = await archived_session(service)
    async with opened(database) as other:
        await other.hold(id)
        assert await service.held([id]) == await other.held([id]) == {id}
        assert await is_held(service, id)
    assert await service.held([id]) == set()


@needs_locks
async def test_two_holds_of_one_session_end_apart(
    database: Path, service: LocalSessionService
) -> None:
    id = await archived_session(service)
    async with opened(database) as other:
        await service.hold(id)
        await other.hold(id)
        await service.release(id)
        assert await is_held(service, id)
        await other.release(id)
        assert not await is_held(service, id)


@needs_locks
async def test_all_holds_are_renewed_in_a_new_lock_file_by_the_next_one(
    database: Path, service: LocalSessionService
) -> None:
    first, second = await archived_session(service), await archived_session(service)
    async with opened(database) as other:
        await other.hold(first)
        Path(f"{database}-lock").unlink()
        await other.hold(second)
        assert await is_held(service, first)
        assert await is_held(service, second)


@needs_locks
async def test_ids_that_share_a_byte_are_held_together_and_released_apart(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "_byte", lambda session_id: 1 << 32)
    first, second = await archived_session(service), await archived_session(service)
    async with opened(database) as other:
        await other.hold(first)
        await other.hold(second)
        await other.release(first)
        assert await is_held(service, second)
        await other.release(second)
        assert not await is_held(service, second)
    assert len((await service.prune(AT_ONCE)).taken) == 2


@needs_locks
async def test_a_session_is_not_opened_while_it_is_pruned(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await archived_session(service)
    opening = start_process(OPENS_ONE, database, id)
    delete = sqlite_service._delete

    def delete_slowly(*given: object) -> list[int]:
        send_line(opening, "")
        return delete(*given)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(sqlite_service, "_delete", delete_slowly)
    assert [each.session.id for each in (await service.prune(AT_ONCE)).taken] == [id]
    assert wait_for_exit(opening).strip() == "not found"


@needs_locks
async def test_a_hold_does_not_wait_for_ever_for_a_process_that_prunes(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    id = await archived_session(service)
    async with opened(database) as other:
        await other._connection.read(lambda db: other._holds.prevent([id]))
        session, _ = await service.open_session(id, hold=True)
        assert session.id == id


async def test_a_store_that_cannot_be_written_can_be_held_and_not_pruned(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as service:
        id = await archived_session(service)
    with mounted(tmp_path / "mount", "--bind", str(database.parent)) as disk:
        remount_read_only(disk)
        async with opened(disk / "sessions.db") as service:
            session, page = await service.open_session(id, hold=True)
            assert (session.id, len(page.events)) == (id, 1)
            await service.release(id)
            with pytest.raises(StorageReadOnly):
                await service.prune(AT_ONCE)
            planned = await service.prune(AT_ONCE, dry_run=True)
            assert [each.id for each in planned.held] == [id], "who holds it cannot be seen"
            make_older(database, id, 24.1 * 60)
            planned = await service.prune(AT_ONCE, dry_run=True)
            assert [each.session.id for each in planned.taken] == [id]
            assert await contents(service, id) == ["one"]


async def test_a_database_in_memory_can_be_held_and_pruned() -> None:
    async with opened(":memory:") as service, opened(":memory:") as other:
        id = await archived_session(service)
        await other.hold(id)
        assert not await is_held(service, id)
        await service.hold(id)
        assert await is_held(service, id)


async def test_where_holds_cannot_be_seen_the_last_day_counts_as_held(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (holds, sqlite_service):
        monkeypatch.setattr(module, "CAN_TELL", False)
    yesterday, today, own = [await archived_session(service) for _ in range(3)]
    for id, hours in ((yesterday, 24.1), (today, 23.9), (own, 48)):
        make_older(database, id, hours * 60)
        execute(database, "UPDATE sessions SET archived_at = updated_at WHERE id = ?", id)
    await service.hold(own)
    result = await service.prune(timedelta(hours=1))
    assert [each.session.id for each in result.taken] == [yesterday]
    assert {each.id for each in result.held} == {today, own}
    await service.release(own)
    assert [each.session.id for each in (await service.prune(timedelta(hours=1))).taken] == [own]
    with pytest.raises(SessionNotFound):
        await service.get_session(own)


@needs_locks
async def test_opening_an_unknown_session_leaves_no_hold(database: Path) -> None:
    async with opened(database) as service:
        with pytest.raises(SessionNotFound):
            await service.open_session("later", hold=True)
        new = NewSession(id="later", directory="/")
        await service.create_session(new, [user_message()], invocation_id="window")
        await service.archive("later")
        assert not await is_held(service, "later")
