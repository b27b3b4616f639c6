"""How a server tells of changes: at once, only who follows, and without a statement meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from segue.store.postgres import changes, codec, search_index, setup
from segue.store.postgres.service import PostgresSessionService
from tests.factories import append_to_head, note, store_session, user_message
from tests.store.postgres_server import MACHINE, PostgresServer

SOON_S = 10.0
"""Far more than it takes, which a busy machine cannot keep."""


@pytest.fixture
async def other(url: str) -> AsyncIterator[PostgresSessionService]:
    opened = await PostgresSessionService.open(url, machine=MACHINE)
    yield opened
    await opened.close()


@pytest.fixture
def announced(server: PostgresServer, role: str) -> "Iterator[psycopg.Connection[Any]]":
    """Return a connection of the administrator, who listens but does not follow."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        account = setup.account_of(connection, role)
        row = connection.execute("SELECT segue.channel(%s)", (account,)).fetchone()
        assert row is not None
        connection.execute(f"LISTEN {row[0]}".encode())
        yield connection


def count(announced: "psycopg.Connection[Any]") -> int:
    return len(list(announced.notifies(timeout=0.2)))


async def soon(waiting: Any) -> Any:
    return await asyncio.wait_for(waiting, SOON_S)


def last_statement(server: PostgresServer, role: str) -> Any:
    """Return which was the last statement of the only connection of a role, and when it began."""
    query = "SELECT query, query_start FROM pg_stat_activity WHERE usename = %s"
    (found,) = server.admin.execute(query, (role,)).fetchall()
    return found


async def test_another_window_is_told_of(
    service: PostgresSessionService, other: PostgresSessionService
) -> None:
    mark = await soon(service.wait_for_change())
    waiting = asyncio.ensure_future(service.wait_for_change(mark))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    id = await store_session(other, user_message("one"))
    mark = await soon(waiting)
    await append_to_head(service, id, user_message("two"))
    assert await soon(service.wait_for_change(mark)) != mark


async def test_only_who_follows_is_told_of_anything(
    service: PostgresSessionService,
    other: PostgresSessionService,
    announced: "psycopg.Connection[Any]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "LINGER_S", 60)
    id = await store_session(service, user_message("one"))
    await append_to_head(other, id, user_message("two"))
    assert count(announced) == 0
    await soon(service.wait_for_change())
    assert count(announced) == 1  # it is tried out
    await append_to_head(other, id, user_message("three"))
    await append_to_head(service, id, user_message("four"))
    assert count(announced) == 2
    monkeypatch.setattr(changes, "LINGER_S", 0.1)
    await soon(service.wait_for_change())
    await asyncio.sleep(0.5)
    await append_to_head(other, id, user_message("five"))
    await append_to_head(service, id, user_message("six"))
    assert count(announced) == 0


async def test_nothing_is_asked_while_nothing_happens(
    service: PostgresSessionService,
    server: PostgresServer,
    role: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "LINGER_S", 0.1)
    mark = await soon(service.wait_for_change())
    waiting = asyncio.ensure_future(service.wait_for_change(mark))
    await asyncio.sleep(0.2)
    before = last_statement(server, role)
    await asyncio.sleep(1.5)
    assert last_statement(server, role) == before
    waiting.cancel()
    await asyncio.sleep(0.5)
    before = last_statement(server, role)
    assert "unfollow" in before[0]
    await asyncio.sleep(1.5)
    assert last_statement(server, role) == before
    assert await soon(service.wait_for_change(mark)) != mark


async def test_a_write_that_began_before_anybody_followed_is_not_missed(
    service: PostgresSessionService, server: PostgresServer, role: str
) -> None:
    id = await store_session(service, user_message("one"))
    account = setup.account_of(server.admin, role)
    with psycopg.connect(server.url(role)) as writer:
        sql = "SELECT segue_1.set_server_session_id(%s, %s, 'remote')"
        writer.execute(sql, (account, codec.pack(id)))
        waiting = asyncio.ensure_future(service.wait_for_change())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        writer.commit()
        await soon(waiting)
    assert (await service.get_session(id)).server_session_id == "remote"


async def test_a_lost_connection_counts_as_a_change(
    service: PostgresSessionService, other: PostgresSessionService, server: PostgresServer
) -> None:
    mark = await soon(service.wait_for_change())
    waiting = asyncio.ensure_future(service.wait_for_change(mark))
    await asyncio.sleep(0.2)
    process = service._client._connection.process  # type: ignore[union-attr]  # it is connected
    server.admin.execute("SELECT pg_terminate_backend(%s)", (process,))
    again = await soon(waiting)
    assert again != mark
    waiting = asyncio.ensure_future(service.wait_for_change(again))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await store_session(other, user_message("one"))
    assert await soon(waiting) != again


async def test_the_changes_of_a_busy_account_count_as_one(
    service: PostgresSessionService, other: PostgresSessionService
) -> None:
    id = await store_session(other, user_message("one"))
    marks = [await soon(service.wait_for_change())]

    async def follow() -> None:
        while True:
            marks.append(await service.wait_for_change(marks[-1]))

    following = asyncio.ensure_future(follow())
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(100):
        await append_to_head(other, id, user_message(str(number)))
    took = loop.time() - began
    async with asyncio.timeout(SOON_S):
        while await service.wait_for_change() != marks[-1]:  # noqa: ASYNC110  of a server
            await asyncio.sleep(0.05)
    following.cancel()
    assert 1 < len(marks) <= took / changes.REST_S + 10


async def test_what_another_account_writes_is_noticed_only_if_it_is_shared(
    service: PostgresSessionService, server: PostgresServer, role: str, tmp_path: Path
) -> None:
    granter_role = server.role_of(tmp_path / "granter")
    granter = await PostgresSessionService.open(server.url(granter_role), machine=MACHINE)
    shared = await store_session(granter, user_message("one"))
    private = await store_session(granter, user_message("two"))
    mark = await soon(service.wait_for_change())
    await granter.sharing.share(shared, None, role, revoked=False)
    await store_session(service, user_message("mine"))
    mark = await soon(service.wait_for_change(mark))
    waiting = asyncio.ensure_future(service.wait_for_change(mark))
    await append_to_head(granter, private, user_message("three"))
    await asyncio.sleep(2 * changes.LOOK_EVERY_S)
    assert not waiting.done()
    await append_to_head(granter, shared, user_message("four"))
    assert await soon(waiting) != mark
    await granter.close()


async def test_who_follows_is_not_told_of_the_search_index(
    service: PostgresSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "SHARD", 20)
    await store_session(service, *(note(f"word{number}") for number in range(50)))
    mark = await soon(service.wait_for_change())
    waiting = asyncio.ensure_future(service.wait_for_change(mark))
    state = await service.update_index()
    assert state is not None
    assert state.events == 40
    await service.update_index(anew=True)
    await asyncio.sleep(0.5)
    assert not waiting.done()
    waiting.cancel()
