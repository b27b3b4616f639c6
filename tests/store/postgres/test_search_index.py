"""The search index on PostgreSQL: what it finds, what it leaves out, and what deletion leaves."""

import asyncio
import random
from typing import Any

import pytest

from segue.model.records import NewFork
from segue.model.search_text import fold, searched_text
from segue.store.postgres import codec, search, search_index, setup
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.service import PostgresSessionService
from segue.store.postgres.wire import Connection
from segue.store.rules import searching
from tests.factories import append_to_head, note, store_session
from tests.store.postgres_server import MACHINE, PostgresServer
from tests.store.test_search import hits, multilingual, seqs, sessions

TABLES = ("search_shards", "search_runs", "search_trigrams")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few events make a shard, and let a search use the index at once."""
    monkeypatch.setattr(search_index, "SHARD", 20)
    monkeypatch.setattr(search, "_FIRST_SLICE_S", -1.0)
    monkeypatch.setattr(searching, "BUDGET_S", 60.0)


def rows(server: PostgresServer, role: str) -> dict[str, int]:
    """Return how many rows of the index an account has."""
    account = setup.account_of(server.admin, role)
    counted = {}
    for table in TABLES:
        query = f"SELECT count(*) FROM segue.{table} WHERE owner = %s"
        (counted[table],) = server.admin.execute(query.encode(), (account,)).fetchone() or (0,)
    return counted


async def reads(service: PostgresSessionService, server: PostgresServer) -> int:
    """Return how many events indexes have led to, as the server counts them."""
    await asyncio.sleep(1.1)  # its processes report once a second, at the end of a call
    await service.find_sessions("none")
    server.admin.execute(b"SELECT pg_stat_clear_snapshot()")
    query = b"SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'events'"
    (count,) = server.admin.execute(query).fetchone() or (0,)
    return int(count)


async def test_random_parts_of_indexed_texts_are_found_exactly_where_they_are(
    service: PostgresSessionService,
) -> None:
    rng = random.Random(7)
    texts: dict[tuple[str, int], str] = {}
    stored: list[str] = []
    for number in range(12):
        events = [note(multilingual(rng, rng.choice((20, 100, 400)))) for _ in range(9)]
        stored.append(await store_session(service, *events))
        for seq, event in enumerate(events, 1):
            texts[stored[-1], seq] = fold(searched_text(event.type, event.json_text))
        if number in (5, 9):
            await service.update_index()
    later = [note(multilingual(rng, 100)) for _ in range(7)]
    await append_to_head(service, stored[0], *later)
    for seq, event in enumerate(later, 10):
        texts[stored[0], seq] = fold(searched_text(event.type, event.json_text))
    state = await service.update_index()
    assert state is not None
    assert (state.complete, state.events % 20, state.events > 80) == (True, 0, True)
    for _ in range(150):
        part = rng.choice(list(texts.values()))
        first = rng.randrange(len(part) - 2)
        term = part[first : first + rng.randint(2, 12)].replace('"', " ").strip()
        if len(term) < 2:
            continue
        expected = {place for place, text in texts.items() if fold(term) in text}
        found = {
            (hit.session.id, hit.event.seq)
            for hit in await hits(service, f'"{term}"', limit=200)
            if hit.event is not None
        }
        assert found == expected, term


async def test_what_a_fork_shares_is_found_with_the_index(
    service: PostgresSessionService,
) -> None:
    original = await store_session(service, *(note(f"shared word{n}") for n in range(30)))
    at = (await service.load_events(original)).events[24].id
    fork = await service.fork_session(original, NewFork(id="fork", at=at))
    await append_to_head(service, fork.id, *(note(f"own word{n}") for n in range(20)))
    await store_session(service, *(note("nothing") for _ in range(20)))
    await service.update_index()
    assert await seqs(service, "word7") == [33, 8]
    assert await seqs(service, "word24") == [25]
    await service.delete(original)
    assert await seqs(service, "word24") == [25]
    assert await seqs(service, "word25") == []
    await service.update_index(anew=True)
    assert await sessions(service, "word24") == ["fork"]
    assert await seqs(service, "shared word7") == [8]


async def test_the_events_that_cannot_match_are_not_read(
    service: PostgresSessionService, server: PostgresServer
) -> None:
    for number in range(20):
        await store_session(service, *(note(f"plain {number} {each}") for each in range(20)))
    needle = await store_session(service, *(note(f"needle {each}x") for each in range(20)))
    await store_session(service, note("the newest, which is looked at first"))
    assert await service.update_index() is not None

    before = await reads(service, server)
    assert await sessions(service, '"needle 7x"') == [needle]
    assert await reads(service, server) - before < 30


async def test_a_deletion_drops_the_shards_of_a_session_and_nothing_is_lost(
    service: PostgresSessionService, server: PostgresServer, role: str
) -> None:
    first = await store_session(service, *(note(f"first word{n}") for n in range(30)))
    second = await store_session(service, *(note(f"second word{n}") for n in range(30)))
    await service.update_index()
    assert rows(server, role)["search_shards"] == 3
    await service.delete(first)
    left = rows(server, role)
    assert left["search_shards"] == 1
    assert await sessions(service, "word29") == [second]
    assert await sessions(service, "first") == []
    await service.update_index()
    assert await seqs(service, "word3") == [4]
    await service.delete(second)
    assert set(rows(server, role).values()) == {0}


async def test_services_that_index_at_once_index_nothing_twice(
    service: PostgresSessionService, url: str, server: PostgresServer, role: str
) -> None:
    for _ in range(5):
        await store_session(service, *(note(f"word{n}") for n in range(20)))
    others = [await PostgresSessionService.open(url, machine=MACHINE) for _ in range(3)]
    await asyncio.gather(*(each.update_index() for each in (service, *others)))
    state = await service.update_index()
    for each in others:
        await each.close()
    assert state is not None
    assert (state.events, rows(server, role)["search_shards"]) == (100, 5)
    assert len(await hits(service, "word7", limit=200)) == 5


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_shard_of_a_session_that_is_deleted_meanwhile_is_not_kept(
    service: PostgresSessionService, url: str, server: PostgresServer, role: str, *, is_first: bool
) -> None:
    """Whichever of the two is first, no trigrams of the deleted session stay."""
    id = await store_session(service, *(note(f"word{n}") for n in range(20)))
    other = await PostgresSessionService.open(url, machine=MACHINE)
    outcome: list[Any] = []

    async def make_shard(connection: Connection) -> None:
        account = codec.int8(service._client.account)
        ((session, first, last),) = await connection.call(
            "SELECT * FROM segue_1.unindexed($1, $2)", account, codec.int4(20)
        )
        await connection.call("BEGIN")
        ((number,),) = await connection.call("SELECT segue_1.begin_shard($1)", account)
        bits = codec.bits([b"\xff" * 2_048])
        await connection.call(
            "SELECT segue_1.add_trigrams($1, $2, $3, $4)",
            account, codec.int4(number), codec.int4s([1]), bits,
        )  # fmt: skip
        if not is_first:
            await other.delete(id)
        ((is_right,),) = await connection.call(
            "SELECT segue_1.finish_shard($1, $2, $3, $4, $5, $6)",
            account, codec.int4(number), codec.int8s([session]), codec.int4s([first]),
            codec.int4s([last - first + 1]), codec.int4s([0]),
        )  # fmt: skip
        outcome.append(is_right)
        deletion = asyncio.ensure_future(other.delete(id))
        await asyncio.sleep(0.2)
        outcome.append(deletion.done())
        await connection.call("COMMIT" if is_right else "ROLLBACK")
        await deletion

    await PostgresClient.run(service._client, make_shard)
    await other.close()
    assert outcome == ([True, False] if is_first else [False, True])
    assert set(rows(server, role).values()) == {0}


async def test_a_search_extends_the_index_behind_its_answer(
    service: PostgresSessionService, server: PostgresServer, role: str
) -> None:
    await store_session(service, *(note(f"word{n}") for n in range(45)))
    assert await seqs(service, "word44") == [45]
    async with asyncio.timeout(60):
        while rows(server, role)["search_shards"] < 2:  # noqa: ASYNC110  of a server
            await asyncio.sleep(0.1)
    assert await seqs(service, "word44") == [45]
    assert await seqs(service, "word1") == [20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 2]
