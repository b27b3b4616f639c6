"""The contract suite of StoreAdmin, which runs on every store of `stores.STORES` that has one."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from segue.model.errors import StorageUnavailable
from segue.model.records import NewFork
from segue.model.store_reports import RestorePreview, SizeReport, StoreSizes
from segue.store.service import SessionService, StoreAdmin
from tests.factories import store_session, user_message
from tests.store.stores import STORES, FakeClock, StoreFactory

WITH_ADMIN = {name: factory for name, factory in STORES.items() if factory.make_admin is not None}


@pytest.fixture(params=WITH_ADMIN.values(), ids=list(WITH_ADMIN))
def factory(request: pytest.FixtureRequest) -> StoreFactory:
    made: StoreFactory = request.param
    return made


@pytest.fixture
def admin(factory: StoreFactory, tmp_path: Path) -> StoreAdmin:
    assert factory.make_admin is not None
    return factory.make_admin(tmp_path / "data")


@pytest.fixture
async def service(factory: StoreFactory, tmp_path: Path) -> AsyncIterator[SessionService]:
    opened = await factory.open_service(tmp_path / "data", FakeClock())
    yield opened
    await opened.close()


def test_the_engine_has_a_warning_exactly_if_it_is_unsafe(admin: StoreAdmin) -> None:
    engine = admin.engine
    assert engine.is_safe is (engine.warning is None)
    assert re.match(r"\d+\.\d+", engine.version)
    assert engine.name
    assert engine.library


def test_a_store_that_does_not_exist_is_not_created(admin: StoreAdmin, tmp_path: Path) -> None:
    assert not admin.exists()
    assert admin.sizes() == StoreSizes(bytes=0, sessions=None, archived=None, events=None)
    assert admin.session_sizes() == SizeReport()
    report = admin.check()
    assert (report.exists, report.sizes, report.problems) == (False, admin.sizes(), [])
    for change in (admin.repair, admin.back_up, lambda: admin.back_up(str(tmp_path / "copy"))):
        with pytest.raises(StorageUnavailable, match=re.escape(admin.location)):
            change()
    assert admin.copies() == []
    assert admin.sweep() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["watch_lock", "sync_lock"])
async def test_at_most_one_holds_a_lock(
    admin: StoreAdmin, service: SessionService, name: str
) -> None:
    first, second = getattr(admin, name)(), getattr(admin, name)()
    assert first.acquire(waits=False)
    assert not second.acquire(waits=False)

    waiting = asyncio.create_task(asyncio.to_thread(second.acquire, waits=True))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    first.release()

    assert await waiting
    assert not first.acquire(waits=False)
    second.release()


async def test_check_and_sizes_count_what_is_stored(
    admin: StoreAdmin, service: SessionService
) -> None:
    await store_session(service, user_message(), user_message())
    await service.archive(await store_session(service))
    assert admin.exists()
    sizes = admin.sizes()
    assert (sizes.sessions, sizes.archived, sizes.events) == (2, 1, 3)
    assert sizes.bytes > 0
    report = admin.check()
    assert (report.exists, report.sizes, report.problems) == (True, sizes, [])
    assert report.schema_version is not None


async def test_a_deleted_session_is_not_counted_though_a_fork_has_its_events(
    admin: StoreAdmin, service: SessionService
) -> None:
    original = await store_session(service, user_message("one"), user_message("two"))
    fork = await service.fork_session(original, NewFork(id="fork"))
    await service.archive(original)
    await service.delete(original)
    for sizes in (admin.sizes(), admin.check().sizes):
        assert (sizes.sessions, sizes.archived, sizes.events) == (1, 0, 2)
    (size,) = admin.session_sizes().sessions
    assert (size.id, size.events, size.shared) == (fork.id, 2, 0)
    assert (admin.back_up().sessions, size.bytes > 0) == (1, True)


async def test_a_backup_is_a_new_copy(
    admin: StoreAdmin, service: SessionService, tmp_path: Path
) -> None:
    await store_session(service, user_message(), user_message())
    target = tmp_path / "copy"
    backup = admin.back_up(str(target))
    assert (backup.path, backup.sessions, backup.events) == (str(target), 1, 2)
    content = target.read_bytes()
    with pytest.raises(StorageUnavailable, match="exists already"):
        admin.back_up(str(target))
    assert target.read_bytes() == content


async def test_the_store_chooses_the_path_of_a_backup_that_has_none(
    admin: StoreAdmin, service: SessionService
) -> None:
    await store_session(service)
    assert Path(admin.back_up().path).is_file()


async def test_an_undamaged_store_is_not_changed_by_repair(
    admin: StoreAdmin, service: SessionService
) -> None:
    await store_session(service)
    before = admin.check()
    assert admin.location in admin.repair()
    assert admin.check() == before


def answer(answer: bool) -> Callable[[RestorePreview], bool]:
    """Return a function that answers every question alike."""
    return lambda preview: answer


async def test_every_backup_without_a_path_is_a_copy_of_its_own(
    admin: StoreAdmin, service: SessionService
) -> None:
    await store_session(service)
    assert admin.copies() == []
    paths = [admin.back_up().path for _ in range(3)]
    copies = admin.copies()
    assert sorted(copy.path for copy in copies) == sorted(paths)
    assert {copy.kind for copy in copies} == {"backup"}
    assert all(copy.bytes > 0 for copy in copies)


async def test_a_restored_store_holds_what_the_backup_holds(
    admin: StoreAdmin, factory: StoreFactory, tmp_path: Path
) -> None:
    service = await factory.open_service(tmp_path / "data", FakeClock())
    kept = await store_session(service, user_message(), user_message())
    backup = admin.back_up()
    await store_session(service)
    with pytest.raises(StorageUnavailable, match=re.escape(admin.location)):
        admin.restore(backup.path, answer(True))
    await service.close()
    assert admin.restore(backup.path, answer(False)) is None
    assert admin.sizes().sessions == 2
    result = admin.restore(backup.path, answer(True))
    assert result is not None
    assert (result.restored.sessions, result.restored.events) == (1, 2)
    assert [copy.path for copy in admin.copies() if copy.kind == "replaced"] == [result.replaced_as]
    service = await factory.open_service(tmp_path / "data", FakeClock())
    assert [each.id for each in (await service.list_sessions()).sessions] == [kept]
    await service.close()


async def test_a_store_that_does_not_exist_can_be_restored(
    admin: StoreAdmin, factory: StoreFactory, tmp_path: Path
) -> None:
    assert factory.make_admin is not None
    service = await factory.open_service(tmp_path / "data", FakeClock())
    await store_session(service)
    backup = admin.back_up()
    await service.close()
    other = factory.make_admin(tmp_path / "other")
    result = other.restore(backup.path, answer(True))
    assert result is not None
    assert (result.replaced_as, other.sizes().sessions) == (None, 1)
