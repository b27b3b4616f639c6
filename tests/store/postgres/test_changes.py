"""How a server tells of changes: at once, only who follows, and without a statement meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from segue.store.postgres import changes, codec, setup
from segue.store.postgres.service import PostgresSessionService
from tests.factories import append_to_head, store_session, user_message
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
    await asyncio.sleep(0.3)
    following.cancel()
    assert len(marks) <= took / changes.REST_S + 5
    assert marks[-1][1] >= 100
