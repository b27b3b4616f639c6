"""What the tables are, how values get into them, and that the calls cost the same at any size."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.database_reports import DatabaseSetupError
from segue.model.errors import SessionNotFound
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import AGENTS, Machine, NewFork, Timestamp
from segue.store.postgres import codec, relocation, rows, setup
from segue.store.postgres.service import PostgresSessionService
from tests.factories import (
    HERE,
    INVOCATION,
    contents,
    new_session,
    note,
    store_session,
    user_message,
)
from tests.store.postgres_server import MACHINE, PostgresServer

HOUR = timedelta(hours=1)


def test_the_columns_of_a_session_are_in_their_order(server: PostgresServer) -> None:
    found = server.admin.execute(
        b"SELECT attname FROM pg_attribute WHERE attrelid = 'segue.sessions'::regclass"
        b" AND attnum > 0 ORDER BY attnum"
    )
    assert tuple(name for (name,) in found) == rows.SESSION_COLUMNS


@given(st.text())
def test_every_text_can_be_stored(text: str) -> None:
    stored = codec.escape(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert codec.unescape(stored) == text


@given(st.text(min_size=1, max_size=130), st.uuids())
def test_every_id_can_be_stored(text: str, uuid: object) -> None:
    for id in (text, str(uuid), str(uuid).upper()):
        assert codec.unpack(codec.pack(id)) == id


async def test_what_people_wrote_comes_back_as_it_was(service: PostgresSessionService) -> None:
    odd = "C:\\dir\\0 \0 \ud83d \\ud83d 🎼"
    new = new_session(f"/{odd}", given_title=odd, source=odd, metadata={odd: odd})
    await service.create_session(new, [user_message(odd)], invocation_id=odd)
    session = await service.get_session(new.id)
    assert (session.title, session.directory, session.source) == (odd, f"/{odd}", odd)
    assert await service.get_metadata(new.id, odd) == odd
    page = await service.load_events(new.id)
    assert (page.events[0].data["content"], page.events[0].invocation_id) == (odd, odd)
    assert [each.id for each in (await service.find_resumable(f"/{odd}", None, HOUR)).sessions]


async def test_equal_paths_of_two_machines_are_two_places(
    service: PostgresSessionService, url: str
) -> None:
    other = await PostgresSessionService.open(url, machine=Machine("other", "other"))
    id = await store_session(service)
    assert [each.id for each in (await service.find_resumable(HERE, None, HOUR)).sessions] == [id]
    assert (await other.find_resumable(HERE, None, HOUR)).sessions == []
    assert (await other.list_sessions(directory=HERE)).sessions == []
    assert [each.id for each in (await other.list_sessions()).sessions] == [id]
    await other.close()


async def test_a_path_can_be_longer_than_a_key_of_an_index(
    service: PostgresSessionService,
) -> None:
    path = "/" + "long" * 1_000
    id = await store_session(service, directory=path, git_root=path)
    found = (await service.find_resumable(path, path, HOUR)).sessions
    assert [each.id for each in found] == [id]


async def test_what_agents_call_a_deleted_conversation_stays_deleted(
    service: PostgresSessionService,
) -> None:
    agents = {"codex": {"id": "now", "former": [{"id": "before"}, 5]}, "odd": [], "none": {}}
    created = await store_session(service, metadata={AGENTS: agents})
    later = await store_session(service)
    await service.set_metadata(later, AGENTS, {"gemini": {"id": "later"}})
    for id in (created, later):
        await service.delete(id)
    for id in ("now", "before", "later", "unknown"):
        new = attrs.evolve(new_session(source="codex"), id=id)
        event = ImportedEvent(user_message(), Timestamp(1))
        assert (await service.import_session(new, [event])).is_deleted is (id != "unknown")


async def test_forks_that_are_deleted_at_once_leave_nothing(
    service: PostgresSessionService, url: str, role: str, server: PostgresServer
) -> None:
    others = [await PostgresSessionService.open(url, machine=MACHINE) for _ in range(4)]
    for _ in range(10):
        original = await store_session(service, user_message("a"), user_message("b"))
        forks = [NewFork(id=f"{original} {number}") for number in range(4)]
        for fork in forks:
            await service.fork_session(original, fork)
        await service.delete(original)
        pairs = zip(others, forks, strict=True)
        await asyncio.gather(*(other.delete(fork.id) for other, fork in pairs))
    for each in others:
        await each.close()
    account = setup.account_of(server.admin, role)
    for table in ("events", "sessions", "spans", "invocations"):
        query = f"SELECT count(*) FROM segue.{table} WHERE owner = %s"
        assert server.admin.execute(query.encode(), (account,)).fetchone() == (0,), table


async def test_calls_cost_the_same_in_a_long_session_that_was_never_analyzed(
    service: PostgresSessionService,
) -> None:
    """Plans are made while a session is short, and kept."""
    id = await store_session(service, user_message("first", "0"))
    head = "0"

    async def grow(to: int) -> None:
        nonlocal head
        for first in range(int(head) + 1, to, 5_000):
            events = [note_of(number) for number in range(first, min(first + 5_000, to))]
            await service.append_events(id, events, parent_id=head, invocation_id=INVOCATION)
            head = events[-1].id

    async def append() -> None:
        nonlocal head
        event = note_of(int(head) + 1)
        await service.append_events(id, [event], parent_id=head, invocation_id=INVOCATION)
        head = event.id

    async def again() -> None:
        await service.append_events(id, [note_of(7)], parent_id=None, invocation_id=INVOCATION)

    async def open_tail() -> None:
        await service.open_session(id, 50)

    async def load() -> None:
        await service.load_events(id, after=100, limit=50)

    calls = {"append": append, "retry": again, "open": open_tail, "load": load}
    await grow(1_000)
    short = {name: await least_s(call) for name, call in calls.items()}
    await grow(30_000)
    long = {name: await least_s(call) for name, call in calls.items()}
    slower = {name: long[name] / short[name] for name in calls}
    assert {name: ratio for name, ratio in slower.items() if ratio > 3} == {}


async def test_what_can_be_resumed_is_found_among_sessions_that_were_never_analyzed(
    service: PostgresSessionService, server: PostgresServer
) -> None:
    """All are newer, and somewhere else."""
    id = await store_session(service, user_message("first"))

    async def find() -> None:
        found = await service.find_resumable(HERE, None, HOUR)
        assert [each.id for each in found.sessions] == [id]

    few = await least_s(find)
    place = "'/' || n"
    newer = {"updated_at": "s.updated_at + n", "recent": "s.recent + 1", "at_repository": "NULL"}
    add_copies(server, service, 10_000, at_directory=place, at_git_root=place, **newer)
    assert await least_s(find) / few < 3


async def test_a_checkout_is_moved_among_sessions_that_were_never_analyzed(
    service: PostgresSessionService, server: PostgresServer
) -> None:
    """All are somewhere else."""
    await store_session(service, user_message("first"), directory="/other")
    add_copies(server, service, 1_000)
    id = await store_session(service, user_message("second"))
    roots = [HERE, "/moved"]

    async def move() -> None:
        assert await service.move_sessions(*roots) == 1
        assert (await service.get_session(id)).directory == roots[1]
        roots.reverse()

    few = await least_s(move)
    add_copies(server, service, 20_000, id="'more' || n")
    assert await least_s(move) / few < 3


async def test_a_checkout_with_many_sessions_is_moved_in_parts(
    service: PostgresSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relocation, "PART", 2)
    ids = [await store_session(service) for _ in range(5)]
    assert await service.move_sessions(HERE, "/moved") == 5
    assert {(await service.get_session(id)).directory for id in ids} == {"/moved"}


async def test_pages_by_the_last_prompt_of_many_sessions_in_a_place_are_right(
    service: PostgresSessionService, server: PostgresServer
) -> None:
    """Before the newest here, between them and behind them are too many of other places."""
    await store_session(service, user_message("first"), git_root=HERE)
    add_copies(server, service, 1_200, id="'here' || n", last_prompt_at="s.created_at + n * 1000")
    for minutes in (0, 10):
        add_copies(
            server,
            service,
            11_000,
            id=f"'{minutes} there' || n",
            at_directory="'/' || n",
            at_git_root="'/' || n",
            last_prompt_at=f"s.created_at + {minutes} * 60000 + n % 1000",
        )
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await service.list_sessions(
            directory=HERE, git_root=HERE, order="lastPrompt", cursor=cursor, limit=100
        )
        seen += [each.id for each in page.sessions]
        cursor = page.next_cursor
    assert seen[:-1] == [f"here{n}" for n in range(1_200, 0, -1)]


def add_copies(
    server: PostgresServer, service: PostgresSessionService, count: int, **columns: str
) -> None:
    """Store *count* sessions like the first of the account; *columns* are SQL of a number `n`."""
    account = service._client.account
    changed = {"id": "n", "last_prompt_at": "s.last_prompt_at"} | columns
    given = ", ".join(
        f"'{name}', convert_to(({sql})::text, 'UTF8')"
        if name.startswith("at_")
        else f"'{name}', {sql}"
        for name, sql in changed.items()
        if name != "id"
    )
    more = f"""
    INSERT INTO segue.sessions SELECT r.* FROM segue.sessions s
    CROSS JOIN generate_series(1, {count}) AS n
    CROSS JOIN jsonb_populate_record(s, jsonb_build_object(
        'number', nextval(pg_get_serial_sequence('segue.sessions', 'number')),
        'id', '\\x01'::bytea || convert_to(({changed["id"]})::text, 'UTF8'),
        'prompted', segue.minutes({changed["last_prompt_at"]}), {given}
    )) r
    WHERE s.owner = {account}
        AND s.number = (SELECT min(number) FROM segue.sessions WHERE owner = {account})
    """
    server.admin.execute(more.encode())


async def least_s(call: Callable[[], Awaitable[object]]) -> float:
    """Return how long a call takes at least: the rest is what else the machine does."""
    times = []
    for _ in range(25):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return min(times)


def note_of(number: int) -> Event:
    return Event.new("system_context", {"content": "x" * 100}, str(number))


def test_a_user_whose_name_has_conversations_is_not_added(
    server: PostgresServer, tmp_path: Path
) -> None:
    role = server.role_of(tmp_path / "removed")

    async def use() -> str:
        service = await PostgresSessionService.open(server.url(role), machine=MACHINE)
        id = await store_session(service, note("private"))
        await service.close()
        return id

    asyncio.run(use())
    server.admin.execute(f"DROP ROLE {role}".encode())
    with pytest.raises(DatabaseSetupError, match="that was removed"):
        setup.add_user(server.url(), role)
    setup.remove_user(server.url(), role)
    setup.add_user(server.url(), role, "secret")
    verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
    (stored,) = server.admin.execute(verifier.encode(), (role,)).fetchone() or ("",)
    assert str(stored).startswith("SCRAM-SHA-256$")

    async def list_all() -> int:
        service = await PostgresSessionService.open(server.url(role), machine=MACHINE)
        found = await service.list_sessions(archived=True)
        with pytest.raises(SessionNotFound):
            await contents(service, "unknown")
        await service.close()
        return len(found.sessions)

    assert asyncio.run(list_all()) == 0
