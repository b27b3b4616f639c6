"""What a user of a store on PostgreSQL can maintain."""

import asyncio

import pytest

from segue.model.errors import StorageUnavailable
from segue.model.records import NewFork
from segue.store.postgres import client
from segue.store.postgres.admin import PostgresStoreAdmin
from segue.store.postgres.service import PostgresSessionService
from segue.store.service import StoreAdmin
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, store_session, user_message
from tests.store.postgres_server import MACHINE, PostgresServer


@pytest.fixture
def admin(url: str) -> StoreAdmin:
    return PostgresStoreAdmin(url, machine=MACHINE)


async def test_the_counts_are_those_of_the_account(
    admin: StoreAdmin, service: PostgresSessionService
) -> None:
    assert admin.exists()
    assert (admin.sizes().sessions, admin.check().problems) == (0, [])
    await store_session(service, user_message(), user_message())
    await service.archive(await store_session(service))
    sizes = admin.sizes()
    assert (sizes.sessions, sizes.archived, sizes.events) == (2, 1, 3)
    assert sizes.bytes > 0
    assert admin.check().sizes.events == 3


async def test_the_sizes_of_sessions_are_those_of_the_sqlite_store(
    admin: StoreAdmin, service: PostgresSessionService, tmp_path: object
) -> None:
    path = f"{tmp_path}/sessions.db"
    local = await LocalSessionService.open(path)
    for store in (service, local):
        first, second = user_message("one", "a"), user_message("second", "b")
        id = await store_session(store, first, second)
        forks = [NewFork(id=f"fork {number}", at=at) for number, at in enumerate(("a", "b", "b"))]
        for fork in forks:
            await store.fork_session(id, fork)
            await append_to_head(store, fork.id, user_message(f"own of {fork.id}"))
        await store.delete(id)
    await local.close()

    def sizes(report_of: StoreAdmin) -> list[tuple[object, ...]]:
        return [
            (size.id, size.title, size.events, size.own_events, size.bytes, size.shared)
            for size in report_of.session_sizes().sessions
        ]

    assert sizes(admin) == sizes(LocalStoreAdmin(path))
    assert len(sizes(admin)) == 3


async def test_a_session_of_which_events_are_missing_is_a_problem(
    admin: StoreAdmin, service: PostgresSessionService, server: PostgresServer
) -> None:
    id = await store_session(service, *map(user_message, "abc"))
    await store_session(service)
    server.admin.execute(
        b"DELETE FROM segue.events e USING segue.sessions s"
        b" WHERE s.number = e.session AND s.event_count = 3 AND e.seq = 2 AND s.id = %s",
        (b"\0" + bytes.fromhex(id.replace("-", "")),),
    )
    assert admin.check().problems == [f"events are missing from the session {id}"]


def test_the_engine_of_a_server_that_may_lose_what_it_answered_is_not_safe(
    admin: StoreAdmin,
) -> None:
    engine = admin.engine
    assert (engine.name, engine.library, engine.is_safe) == ("PostgreSQL", "psycopg", False)
    assert "has fsync = off" in str(engine.warning)
    assert int(engine.version.partition(".")[0]) >= 15


def test_what_an_administrator_has_to_do_is_refused_with_the_name_of_the_tool(
    admin: StoreAdmin,
) -> None:
    for change in (admin.repair, admin.back_up, lambda: admin.restore("x", lambda _: True)):
        with pytest.raises(StorageUnavailable, match="pg_dump"):
            change()
    assert (list(admin.copies()), list(admin.sweep())) == ([], [])


def test_a_server_that_is_gone_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    admin = PostgresStoreAdmin("postgresql://x:secret@/segue?host=/nowhere", machine=MACHINE)
    (problem,) = admin.check().problems
    assert "cannot be reached" in problem
    assert admin.engine.version == "unknown"
    assert admin.location == "postgresql://x@/segue?host=/nowhere"
    with pytest.raises(StorageUnavailable):
        admin.exists()
    with pytest.raises(StorageUnavailable):
        admin.watch_lock().acquire(waits=False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://anna:secret@127.0.0.1:5433/segue", "postgresql://anna@127.0.0.1:5433/segue"),
        ("postgresql://?service=team", "postgresql://?service=team"),
        ("postgresql://db.example/segue?password=secret", "postgresql://db.example/segue"),
    ],
)
def test_the_location_has_no_password(url: str, shown: str) -> None:
    assert PostgresStoreAdmin(url, machine=MACHINE).location == shown


@pytest.mark.parametrize("name", ["watch_lock", "sync_lock"])
async def test_at_most_one_process_of_a_machine_holds_a_lock(admin: StoreAdmin, name: str) -> None:
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
