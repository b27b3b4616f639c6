"""What an account shares is read by another one like its own, and changed by nobody else."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import EventNotFound, SessionNotFound, SessionReadOnly
from segue.model.events import new_id
from segue.model.records import NewFork
from segue.model.replicas import Replica
from segue.store.postgres.service import PostgresSessionService
from segue.store.replication import Replication
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from segue.store.transfer import Transfer
from tests.factories import (
    INVOCATION,
    all_events,
    append_to_head,
    contents,
    new_session,
    note,
    store_session,
    user_message,
)
from tests.store import postgres_server
from tests.store.postgres.test_schema import add_copies, least_s
from tests.store.postgres_server import PostgresServer
from tests.store.test_search import hits

ELSEWHERE = attrs.evolve(
    postgres_server.MACHINE, id="01890000-0000-7000-8000-00000000000b", name="desktop"
)
REPOSITORY = "github.com/org/repo"


@pytest.fixture
def reader(server: PostgresServer, tmp_path: Path) -> str:
    """Return the role of somebody else."""
    return server.role_of(tmp_path / "reader")


@pytest.fixture
async def other(server: PostgresServer, reader: str) -> AsyncIterator[PostgresSessionService]:
    """Yield the service of somebody else, on another machine."""
    opened = await PostgresSessionService.open(server.url(reader), machine=ELSEWHERE)
    yield opened
    await opened.close()


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalSessionService]:
    """Yield the file that the other one syncs with."""
    opened = await LocalSessionService.open(tmp_path / "local.db")
    yield opened
    await opened.close()


@pytest.fixture
async def third(server: PostgresServer, tmp_path: Path) -> AsyncIterator[PostgresSessionService]:
    """Yield the service of an account with which nothing is shared."""
    url = server.url(server.role_of(tmp_path / "third"))
    opened = await PostgresSessionService.open(url, machine=ELSEWHERE)
    yield opened
    await opened.close()


async def share(
    service: PostgresSessionService, what: str, grantee: str, *, revoked: bool = False
) -> None:
    session_id, repository = (None, what) if what == REPOSITORY else (what, None)
    shared = await service.sharing.share(session_id, repository, grantee, revoked=revoked)
    assert shared == "done"


Read = Callable[[PostgresSessionService, str], Awaitable[Any]]

READS: dict[str, Read] = {
    "get": lambda service, id: service.get_session(id),
    "open": lambda service, id: service.open_session(id, hold=True),
    "load": lambda service, id: service.load_events(id, after=0),
    "search in it": lambda service, id: service.search("hello", session_id=id),
}
WRITES: dict[str, Read] = {
    "append": lambda service, id: service.append_events(
        id, [note()], parent_id=None, invocation_id="two"
    ),
    "title": lambda service, id: service.set_title(id, "mine"),
    "archive": lambda service, id: service.archive(id),
    "unarchive": lambda service, id: service.unarchive(id),
    "metadata": lambda service, id: service.set_metadata(id, "key", 1),
    "server session": lambda service, id: service.update_server_session_id(id, "x"),
    "fork in its place": lambda service, id: service.fork_session(
        id, NewFork(id=new_id(), archive_original=True)
    ),
}


async def found_by(service: PostgresSessionService, id: str) -> dict[str, bool]:
    """Return by which calls that find sessions a session is found."""
    listed = await service.list_sessions()
    prompted = await service.list_sessions(order="lastPrompt")
    matches = await hits(service, "hello")
    found = {
        "list": [each.id for each in listed.sessions],
        "by prompt": [each.id for each in prompted.sessions],
        "search": [hit.session.id for hit in matches],
        "prefix": [each.id for each in await service.find_sessions(id[:30])],
    }
    assert all(len(ids) == len(set(ids)) for name, ids in found.items() if name != "search")
    return {name: id in ids for name, ids in found.items()}


async def test_a_shared_session_is_found_and_read_like_ones_own(
    service: PostgresSessionService, other: PostgresSessionService, role: str, reader: str
) -> None:
    id = await store_session(service, user_message("hello"), note("two"), metadata={"key": 1})
    private = await store_session(service, user_message("hello, in private"))
    assert not any((await found_by(other, id)).values())
    await share(service, id, reader)
    assert all((await found_by(other, id)).values())
    assert not any((await found_by(other, private)).values())
    own = await service.get_session(id)
    session = await other.get_session(id)
    assert session == attrs.evolve(own, shared_by=role, machine="laptop")
    assert (await other.open_session(id))[0] == session
    assert (await other.list_sessions()).sessions == [session]
    assert await all_events(other, id) == await all_events(service, id)
    (title, hit) = await hits(other, "hello")
    assert (title.session, title.event) == (session, None)
    assert (hit.session, hit.event and hit.event.seq) == (session, 1)
    assert await other.get_metadata(id, "key") is None
    assert own.shared_by is None


async def test_what_is_revoked_is_gone_at_once(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    id = await store_session(service, user_message("hello"))
    await share(service, id, reader)
    for read in READS.values():
        await read(other, id)
    await share(service, id, reader, revoked=True)
    assert not any((await found_by(other, id)).values())
    for call in (READS | WRITES).values():
        with pytest.raises(SessionNotFound):
            await call(other, id)
    with pytest.raises(SessionNotFound):
        await other.fork_session(id, NewFork(id=new_id()))


@pytest.mark.parametrize("name", WRITES)
async def test_nobody_else_changes_it(
    service: PostgresSessionService,
    other: PostgresSessionService,
    role: str,
    reader: str,
    name: str,
) -> None:
    id = await store_session(service, user_message("hello"))
    before = await service.get_session(id)
    await share(service, id, reader)
    with pytest.raises(SessionReadOnly) as caught:
        await WRITES[name](other, id)
    assert caught.value.details() == {"shared_by": role}
    assert await service.get_session(id) == before
    assert [each.id for each in (await other.list_sessions()).sessions] == [id]


async def test_it_is_not_deleted_by_who_reads_it(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    id = await store_session(service)
    await share(service, id, reader)
    with pytest.raises(SessionReadOnly):
        await other.delete(id)
    pruned = await other.prune(timedelta(0), live=True)
    assert list(pruned.taken) == []
    await service.get_session(id)


async def test_it_is_never_resumed_by_itself(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    await store_session(service, git_root="/home/someone", repository=REPOSITORY)
    await share(service, REPOSITORY, reader)
    assert len((await other.list_sessions()).sessions) == 1
    found = await other.find_resumable(
        "/home/someone", "/home/someone", timedelta(days=1), repository=REPOSITORY
    )
    assert found.sessions == []


async def test_who_goes_on_does_so_in_a_fork_that_needs_nobody_else(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    first, second, third = (user_message(each) for each in ("one", "two", "three"))
    id = await store_session(service, first, second, third, source="claude-code")
    await share(service, id, reader)
    events = await all_events(service, id)
    with pytest.raises(EventNotFound):
        await other.fork_session(id, NewFork(id=new_id(), at="nothing"))
    new = NewFork(id=new_id(), at=second.id, directory="/here", repository=REPOSITORY)
    fork = await other.fork_session(id, new)
    assert await other.fork_session(id, new) == fork
    assert (fork.forked_from, fork.fork_seq, fork.event_count) == (id, 2, 2)
    assert (fork.shared_by, fork.source, fork.machine) == (None, None, None)
    assert (fork.title, fork.directory, fork.head) == ("copy of one", "/here", second.id)
    assert await all_events(other, fork.id) == events[:2]
    await share(service, id, reader, revoked=True)
    await service.delete(id)
    await other.append_events(fork.id, [note("mine")], parent_id=second.id, invocation_id="two")
    assert await contents(other, fork.id) == ["one", "two", "mine"]
    again = await other.fork_session(fork.id, NewFork(id=new_id()))
    assert await contents(other, again.id) == ["one", "two", "mine"]
    with pytest.raises(SessionNotFound):
        await service.get_session(fork.id)
    resumable = await other.find_resumable("/here", None, timedelta(days=1))
    assert fork.id in [each.id for each in resumable.sessions]


@pytest.mark.parametrize("moves", [True, False], ids=["move", "sync"])
async def test_a_fork_of_what_is_shared_gets_whole_to_other_stores_with_its_link(
    service: PostgresSessionService,
    other: PostgresSessionService,
    reader: str,
    local: LocalSessionService,
    third: PostgresSessionService,
    *,
    moves: bool,
) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second, note("three"))
    await share(service, id, reader)
    fork = await other.fork_session(id, NewFork(id=new_id(), at=second.id, directory="/here"))
    await other.append_events(
        fork.id, [user_message("mine")], parent_id=second.id, invocation_id="two"
    )
    of_fork = await other.fork_session(fork.id, NewFork(id=new_id()))
    before = await everything_of(other)
    assert [*before] == sorted([fork.id, of_fork.id])
    # The link stays when the original can no longer be read, and nothing needs it.
    await share(service, id, reader, revoked=True)

    async def bring(source: SessionService, target: SessionService) -> None:
        if moves:
            report = await Transfer(source, target, ELSEWHERE).run()
            assert (report.sessions, report.copied, report.is_complete) == (2, 2, True)
        else:
            exchange = await Replication(target, source, ELSEWHERE).exchange()
            assert [step.action for step in exchange.steps] == ["receive", "receive"]
            assert (await Replication(target, source, ELSEWHERE).exchange()).steps == []

    for source, target in ((other, local), (local, third)):
        await bring(source, target)
        assert await everything_of(target) == before
        arrived = await target.get_session(fork.id)
        assert (arrived.forked_from, arrived.fork_seq, arrived.event_count) == (id, 2, 3)
        assert (await target.get_session(of_fork.id)).forked_from == fork.id
    await append_to_head(local, fork.id, note("on"))
    assert await contents(local, fork.id) == ["one", "two", "mine", "on"]


async def test_a_fork_of_what_is_shared_that_went_on_twice_or_was_deleted_loses_nothing_else(
    service: PostgresSessionService,
    other: PostgresSessionService,
    reader: str,
    local: LocalSessionService,
) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    await share(service, id, reader)
    fork = (await other.fork_session(id, NewFork(id=new_id()))).id
    exchange = Replication(local, other, ELSEWHERE).exchange
    await exchange()
    await append_to_head(other, fork, note("there"))
    await append_to_head(local, fork, note("here"))
    diverged = next(step.fork_id for step in (await exchange()).steps if step.action == "fork")
    assert diverged is not None
    stores: tuple[SessionService, ...] = (local, other)
    for each in stores:
        assert await contents(each, fork) == ["one", "two", "there"]
        assert await contents(each, diverged) == ["one", "two", "here"]
        links = [await each.get_session(one) for one in (fork, diverged)]
        assert [(one.forked_from, one.fork_seq) for one in links] == [(id, 2), (fork, 2)]
    await other.delete(fork)
    await exchange()
    for each in stores:
        assert [one.id for one in (await each.list_sessions()).sessions if not one.shared_by] == [
            diverged
        ]
        assert await contents(each, diverged) == ["one", "two", "here"]
    # In a store that has the original they share its events.
    await Transfer(local, service, ELSEWHERE).run()
    assert await contents(service, diverged) == ["one", "two", "here"]


async def everything_of(service: SessionService) -> dict[str, Any]:
    """Return all that a store has, as if it were of one machine."""
    found: dict[str, Any] = {}
    for version in (await service.list_versions()).versions:
        replica = await service.read_replica(version.id)
        assert isinstance(replica, Replica)
        page = await service.load_events(version.id, after=0)
        by = {each.id: each for each in page.invocations}
        found[version.id] = attrs.evolve(replica, machine=None), page.events, by
    return found


async def test_a_shared_fork_is_read_whole(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    first, second = user_message("hello"), user_message("two")
    id = await store_session(service, first, second)
    fork = await service.fork_session(id, NewFork(id=new_id(), at=first.id))
    await service.append_events(
        fork.id, [note("hello, three")], parent_id=first.id, invocation_id=INVOCATION
    )
    await share(service, fork.id, reader)
    assert await contents(other, fork.id) == ["hello", "hello, three"]
    matches = await hits(other, "hello")
    assert [hit.event and hit.event.seq for hit in matches] == [None, 2, 1]
    copy = await other.fork_session(fork.id, NewFork(id=new_id()))
    assert await contents(other, copy.id) == ["hello", "hello, three"]
    # Of both the common event is found once, where it was said.
    await other.delete(copy.id)
    await share(service, id, reader)
    matches = await hits(other, "hello", types=["user_message", "system_context"])
    assert {(hit.session.id, hit.event and hit.event.seq) for hit in matches} == {
        (fork.id, 2),
        (id, 1),
    }


async def test_a_repository_is_shared_with_all_that_is_said_there_later(
    service: PostgresSessionService, other: PostgresSessionService, server: PostgresServer
) -> None:
    await share(service, REPOSITORY, "segue_user")
    try:
        other_id = await store_session(service, user_message("hello"), repository="example.org/x")
        ids = [
            await store_session(
                service, user_message(f"hello {each}"), directory="/x", repository=REPOSITORY
            )
            for each in range(7)
        ]
        own = [await store_session(other, user_message("hello"), directory="/y") for _ in range(3)]
        expected = [*reversed(own), *reversed(ids)]
        for order in ("updated", "lastPrompt"):
            listed: list[str] = []
            cursor = None
            while cursor is not None or not listed:
                page = await other.list_sessions(order=order, cursor=cursor, limit=2)
                listed += [each.id for each in page.sessions]
                cursor = page.next_cursor
            assert listed == expected, order
        sourced = await other.list_sessions(sources=["segue"], limit=100)
        assert [each.id for each in sourced.sessions] == expected
        assert (await other.list_sessions(sources=["claude-code"])).sessions == []
        here = await other.list_sessions(directory="/mine", repository=REPOSITORY)
        assert [each.id for each in here.sessions] == [*reversed(ids)]
        assert (await other.list_sessions(directory="/x")).sessions == []
        matches = await hits(other, "hello", types=["user_message"], limit=2)
        assert [hit.session.id for hit in matches] == expected
        assert other_id not in listed
        await service.archive(ids[0])
        assert ids[0] not in [each.id for each in (await other.list_sessions()).sessions]
        archived = await other.list_sessions(archived=True)
        assert ids[0] in [each.id for each in archived.sessions]
    finally:
        await share(service, REPOSITORY, "segue_user", revoked=True)


async def test_a_short_id_names_one_of_all_that_can_be_read(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    theirs, private, mine = (
        f"01890000-0000-7000-8000-0000000000{each}" for each in ("aa", "ab", "ac")
    )
    for each, owner in ((theirs, service), (private, service), (mine, other)):
        new = attrs.evolve(new_session(), id=each)
        await owner.create_session(new, [user_message()], invocation_id=INVOCATION)
    assert await other.short_ids([mine]) == {mine: mine[:8]}
    await share(service, theirs, reader)
    assert await other.short_ids([mine, theirs]) == {mine: mine, theirs: theirs}
    found = await other.find_sessions(mine[:-1])
    assert [each.id for each in found] == [theirs, mine]


async def test_no_call_costs_much_more_than_a_list_where_many_sessions_are_shared(
    service: PostgresSessionService,
    other: PostgresSessionService,
    server: PostgresServer,
    reader: str,
) -> None:
    await store_session(service, user_message("first"))
    add_copies(server, service, 1_000)
    grant = """
    INSERT INTO segue.grants SELECT s.owner, s.number, '', 'granter', r.oid, r.rolname, ''
    FROM segue.sessions s, pg_roles r WHERE s.owner = %s AND r.rolname = %s
    """
    server.admin.execute(grant.encode(), (service._client.account, reader))
    ids = [each.id for each in (await other.list_sessions(limit=50)).sessions]
    assert len(ids) == 50
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "list": lambda: other.list_sessions(limit=50),
        "by prompt": lambda: other.list_sessions(order="lastPrompt", limit=50),
        "short ids": lambda: other.short_ids(ids),
    }
    least = {name: await least_s(call) for name, call in calls.items()}
    assert {name: s for name, s in least.items() if s > 8 * least["list"]} == {}


async def test_ones_own_is_found_in_place_of_anothers_with_its_id(
    service: PostgresSessionService, other: PostgresSessionService, reader: str
) -> None:
    new = new_session()
    await service.create_session(new, [user_message("hello")], invocation_id=INVOCATION)
    await share(service, new.id, reader)
    await other.create_session(new, [user_message("hello, mine")], invocation_id=INVOCATION)
    assert all((await found_by(other, new.id)).values())
    assert await contents(other, new.id) == ["hello, mine"]
    await other.set_title(new.id, "mine")
    await other.delete(new.id)
    assert await contents(other, new.id) == ["hello"]
