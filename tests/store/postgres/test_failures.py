"""What a lost, silent or refusing server does to the calls of a service."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from segue.model.errors import HeadMoved, StorageReadOnly, StorageUnavailable
from segue.model.events import Event
from segue.store.postgres import client, wire
from segue.store.postgres.service import PostgresSessionService
from tests.factories import INVOCATION, contents, store_session, user_message
from tests.store import postgres_server
from tests.store.postgres.proxy import Proxy, proxy
from tests.store.postgres_server import PostgresServer


@pytest.fixture
async def line(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Proxy]:
    async with proxy(server, tmp_path_factory.mktemp("wire")) as opened:
        yield opened


@pytest.fixture
async def remote(line: Proxy, role: str) -> AsyncIterator[PostgresSessionService]:
    """Yield a service whose wire fails when the test says so."""
    opened = await PostgresSessionService.open(line.url(role), machine=postgres_server.MACHINE)
    yield opened
    await opened.close()


async def append(service: PostgresSessionService, id: str, event: Event, parent: str) -> None:
    await service.append_events(id, [event], parent_id=parent, invocation_id=INVOCATION)


async def test_a_call_is_one_round_trip_the_first_one_too(
    line: Proxy, remote: PostgresSessionService
) -> None:
    before = line.requests
    first = user_message("one")
    id = await store_session(remote, first)
    assert line.requests - before == 1
    await append(remote, id, user_message("two"), first.id)
    await remote.open_session(id, hold=True)
    await remote.list_sessions()
    assert line.requests - before == 4


async def test_an_append_whose_answer_is_lost_is_stored_once(
    line: Proxy, remote: PostgresSessionService
) -> None:
    head = user_message("0")
    id = await store_session(remote, head)
    for number in range(1, 30):
        line.answers_lost = number % 2
        event = user_message(str(number))
        await append(remote, id, event, head.id)
        head = event
    assert await contents(remote, id) == [str(number) for number in range(30)]
    assert line.connections > 15


async def test_a_silent_server_fails_a_call_in_time_and_the_loop_goes_on(
    line: Proxy, remote: PostgresSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CALL_S", 0.5)
    monkeypatch.setattr(client, "PATIENCE_S", 1.0)
    id = await store_session(remote)
    line.is_silent = True
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"cannot be reached: no answer within"):
        await remote.get_session(id)
    assert 1.0 <= time.monotonic() - began < 1.5
    ticking.cancel()
    assert ticks > 30
    line.is_silent = False
    assert (await remote.get_session(id)).id == id


async def test_calls_that_wait_while_the_server_is_gone_fail_together(
    line: Proxy, remote: PostgresSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.5)
    id = await store_session(remote)
    line.is_refusing = True
    line.answers_lost = 1
    began = time.monotonic()
    calls = (remote.get_session(id) for _ in range(20))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in found} == {StorageUnavailable}
    assert time.monotonic() - began < 2


async def test_a_failure_is_over_with_the_next_answer_whatever_it_says(
    server: PostgresServer,
    line: Proxy,
    remote: PostgresSessionService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = user_message("0")
    id = await store_session(remote, head)
    line.answers_lost = 1
    with pytest.raises(HeadMoved):
        await append(remote, id, user_message("no"), "another")
    monkeypatch.setattr(client, "PATIENCE_S", 0.3)
    with psycopg.connect(server.url()) as admin:
        admin.execute("SELECT 1 FROM segue.sessions FOR UPDATE")
        waiting = asyncio.ensure_future(append(remote, id, user_message("1"), head.id))
        await asyncio.sleep(0.6)
    await waiting
    assert await contents(remote, id) == ["0", "1"]


async def test_a_server_that_restarts_is_waited_for(
    server: PostgresServer, service: PostgresSessionService
) -> None:
    head = user_message("0")
    id = await store_session(service, head)
    appending = asyncio.ensure_future(append(service, id, user_message("1"), head.id))
    log = str(server.folder / "log")
    await asyncio.to_thread(server.control, "restart", "-m", "immediate", "-l", log)
    await appending
    assert await contents(service, id) == ["0", "1"]
    server.reconnect_admin()


async def test_a_process_that_is_terminated_loses_nothing(
    server: PostgresServer, service: PostgresSessionService, role: str
) -> None:
    head = user_message("0")
    id = await store_session(service, head)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    for number in range(1, 10):
        server.admin.execute(kill, (role,))
        event = user_message(str(number))
        await append(service, id, event, head.id)
        head = event
    assert await contents(service, id) == [str(number) for number in range(10)]


async def test_a_cancelled_caller_loses_only_the_result(
    line: Proxy, remote: PostgresSessionService
) -> None:
    head = user_message("0")
    id = await store_session(remote, head)
    for number in range(1, 60):
        event = user_message(str(number))
        appending = asyncio.ensure_future(append(remote, id, event, head.id))
        await asyncio.sleep(0.0002 * (number % 10))
        appending.cancel()
        await asyncio.wait([appending])
        head = event
    assert await contents(remote, id) == [str(number) for number in range(60)]
    assert line.connections == 1


async def test_holds_are_taken_again_after_a_loss(
    server: PostgresServer, service: PostgresSessionService, url: str, role: str
) -> None:
    id = await store_session(service)
    await service.hold(id)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    server.admin.execute(kill, (role,))
    other = await PostgresSessionService.open(url, machine=postgres_server.MACHINE)
    await service.get_session(id)
    assert await other.held([id]) == {id}
    await service.close()
    for _ in range(100):
        if not await other.held([id]):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the lock outlives its service")
    await other.close()


async def test_a_read_only_server_is_read_and_refuses_writes(
    server: PostgresServer, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.3)
    machine = postgres_server.MACHINE
    service = await PostgresSessionService.open(server.url(role), machine=machine)
    id = await store_session(service)
    await service.close()
    setting = f"ALTER ROLE {role} SET default_transaction_read_only = on"
    server.admin.execute(setting.encode())
    service = await PostgresSessionService.open(server.url(role), machine=machine)
    assert (await service.get_session(id)).id == id
    with pytest.raises(StorageReadOnly, match="it is read-only now"):
        await service.archive(id)
    await service.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://", None),
        ("postgresql://postgres@/nowhere?host={host}", 'database "nowhere" does not exist'),
        ("postgresql://nobody-here@/segue?host={host}", "does not exist"),
        ("postgresql://postgres@/postgres?host={host}", "run `segue postgres init`"),
        ("postgresql://x@/segue?host=/nowhere", "cannot be reached"),
        ("postgresql://x:secret@[/segue", "no valid postgresql:// URL"),
        ("postgresql://x:secret@db.example/segue?sslmode=require", "verify-full"),
    ],
)
async def test_an_address_that_is_wrong_is_an_error_that_says_what_to_do(
    server: PostgresServer, url: str, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    monkeypatch.setenv("PGHOST", "/nowhere")
    with pytest.raises(StorageUnavailable, match=says) as error:
        await PostgresSessionService.open(
            url.format(host=server.folder), machine=postgres_server.MACHINE
        )
    assert "secret" not in str(error.value)


async def test_a_role_that_is_no_user_is_refused(server: PostgresServer, tmp_path: Path) -> None:
    name = server.role_of(tmp_path / "other")
    server.admin.execute(
        f"REVOKE segue_user FROM {name}; GRANT CONNECT ON DATABASE segue TO {name}".encode()
    )
    with pytest.raises(StorageReadOnly, match="add it as a user"):
        await PostgresSessionService.open(server.url(name), machine=postgres_server.MACHINE)
