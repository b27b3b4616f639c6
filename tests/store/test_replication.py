"""Replication between one's own store and each store of `stores.STORES` as the other one."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import HeadMoved, SessionNotFound, StorageUnavailable
from segue.model.events import Event, new_id
from segue.model.imports import ImportedEvent
from segue.model.records import Invocation, Machine, NewFork, NewSession, Origin, Timestamp
from segue.model.replicas import REMAINDER_OF, Replica, Tombstone
from segue.store.replication import ExchangeReport, Replication, Step
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, all_events, append_to_head, contents, note, user_message
from tests.store.stores import STORES, FakeClock, StoreFactory

HOUR = timedelta(hours=1)
PARENT = "0198c0de-0000-7000-8000-000000000001"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def remote(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    """Return the store that the machines have in common."""
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "remote", clock)
    yield opened
    await opened.close()


async def _machine(path: Path, clock: FakeClock) -> AsyncIterator[LocalSessionService]:
    opened = await LocalSessionService.open(path, clock)
    yield opened
    await opened.close()


@pytest.fixture
async def laptop(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalSessionService]:
    async for opened in _machine(tmp_path / "laptop" / "sessions.db", clock):
        yield opened


@pytest.fixture
async def desktop(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalSessionService]:
    async for opened in _machine(tmp_path / "desktop" / "sessions.db", clock):
        yield opened


async def exchange(one: SessionService, remote: SessionService, **options: Any) -> ExchangeReport:
    report = await Replication(one, remote, _machine_of(one)).exchange(**options)
    assert (report.unsettled, report.failures) == ([], [])
    return report


def done(report: ExchangeReport) -> list[tuple[str, str]]:
    return [(step.session_id, step.action) for step in report.steps]


async def store(service: SessionService, *events: Event, **fields: Any) -> str:
    new = NewSession(**{"id": new_id(), "directory": HERE, **fields})
    origin = Origin(
        client_name="an editor", client_version="1.2", agent="agent", model="model", branch="topic"
    )
    given = events or (user_message("one"), note("two"))
    await service.create_session(new, given, invocation_id="window", origin=origin)
    return new.id


def _machine_of(service: SessionService) -> Machine:
    """Return a machine of the test, by the folder of its store."""
    assert isinstance(service, LocalSessionService)
    name = Path(service._connection.path or "").parent.name
    return Machine(id=f"id of {name}", name=name)


async def copy_of(service: SessionService, id: str) -> Any:
    """Return all that a store has of a session, with its machine as others know it."""
    replica = await service.read_replica(id)
    assert isinstance(replica, Replica)
    machine = replica.machine or _machine_of(service)
    replica = attrs.evolve(replica, machine=machine, git_common_dir=None)
    session = attrs.evolve(await service.get_session(id), machine=machine.name)
    page = await service.load_events(id, after=0, limit=1_000)
    return replica, session, page.events, page.invocations


async def listed(service: SessionService) -> list[str]:
    return sorted(each.id for each in (await service.list_sessions(archived=True)).sessions)


# Copying


async def test_what_is_stored_here_gets_to_the_other_machine(
    laptop: LocalSessionService,
    remote: SessionService,
    desktop: LocalSessionService,
    clock: FakeClock,
) -> None:
    id = await store(
        laptop,
        git_root="/home/someone",
        git_common_dir="/home/someone/.git",
        server_session_id="remote-1",
        metadata={"theme": {"dark": True}},
    )
    clock.now += 5_000
    await append_to_head(laptop, id, user_message("three"), invocation_id="another window")
    clock.now += 5_000
    await laptop.set_title(id, "Given")
    await laptop.archive(id)
    await laptop.set_metadata(id, "key", [1, 2])
    assert done(await exchange(laptop, remote)) == [(id, "send")]
    clock.now += 5_000
    assert done(await exchange(desktop, remote)) == [(id, "receive")]
    expected = await copy_of(laptop, id)
    assert await copy_of(remote, id) == expected
    assert await copy_of(desktop, id) == expected
    assert (await desktop.get_session(id)).title == "Given"


async def test_twice_is_once(laptop: LocalSessionService, remote: SessionService) -> None:
    await store(laptop)
    await store(remote)
    assert len((await exchange(laptop, remote)).steps) == 2
    assert (await exchange(laptop, remote)).steps == []


async def test_what_was_appended_goes_both_ways(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    id = await store(laptop)
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await append_to_head(desktop, id, user_message("three"))
    assert (await exchange(desktop, remote)).steps == [Step(session_id=id, action="send", events=1)]
    assert (await exchange(laptop, remote)).steps == [
        Step(session_id=id, action="receive", events=1)
    ]
    await append_to_head(laptop, id, user_message("four"))
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    assert await contents(desktop, id) == ["one", "two", "three", "four"]
    assert await copy_of(desktop, id) == await copy_of(laptop, id)


async def test_a_long_session_is_copied_in_parts(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop, *(user_message(str(number)) for number in range(1_201)))
    assert (await exchange(laptop, remote)).steps[0].events == 1_201
    assert await all_events(remote, id) == await all_events(laptop, id)
    assert (await copy_of(remote, id))[0] == (await copy_of(laptop, id))[0]


async def test_an_event_that_cannot_be_decoded_is_copied_as_it_is(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop)
    sql = "UPDATE events SET data = '{\"content\": ' WHERE type = 'system_context'"
    await laptop._connection.write(lambda transaction: transaction.db.execute(sql) and None)
    await exchange(laptop, remote)
    (_, event) = await all_events(remote, id)
    assert (event.data, event.corrupt) == ('{"content": ', True)


async def test_a_dry_run_says_what_would_be_done(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    ids = [await store(laptop), await store(remote)]
    both = await store(laptop)
    await exchange(laptop, remote)
    ids = [await store(laptop), await store(remote)]
    await append_to_head(laptop, both, user_message("mine"))
    await append_to_head(remote, both, user_message("theirs"))
    before = await listed(laptop), await listed(remote)
    report = await exchange(laptop, remote, dry_run=True)
    assert sorted(done(report)) == sorted([(ids[0], "send"), (ids[1], "receive"), (both, "fork")])
    assert (await listed(laptop), await listed(remote)) == before


async def test_a_session_is_of_the_machine_that_it_was_had_on(
    laptop: LocalSessionService,
    remote: SessionService,
    desktop: LocalSessionService,
    tmp_path: Path,
    clock: FakeClock,
) -> None:
    places = {"directory": "/home/anna/project", "git_root": "/home/anna/project"}
    common, repository = "/home/anna/project/.git", "github.com/org/repo"
    id = await store(laptop, git_common_dir=common, repository=repository, **places)
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    for service, machine in ((laptop, None), (remote, "laptop"), (desktop, "laptop")):
        session = await service.get_session(id)
        assert session.machine == machine
        assert (session.directory, session.git_root) == tuple(places.values())
        assert session.repository == repository
    found = await desktop.find_resumable("/elsewhere", None, HOUR, repository=repository)
    assert [each.id for each in found.sessions] == [id]
    assert (await desktop.find_resumable(places["directory"], None, HOUR)).sessions == []
    async for anew in _machine(tmp_path / "anew" / "laptop" / "sessions.db", clock):
        await exchange(anew, remote)
        assert (await anew.get_session(id)).machine is None
        assert (await anew.find_resumable(places["directory"], None, HOUR)).sessions != []


# Both have grown


async def test_if_both_have_grown_the_own_one_becomes_a_linked_fork(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    id = await store(laptop, user_message("common"))
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await append_to_head(desktop, id, user_message("on the desktop"))
    await append_to_head(laptop, id, user_message("on the laptop"))
    await exchange(desktop, remote)
    report = await exchange(laptop, remote)
    fork = report.steps[0].fork_id
    assert fork is not None
    assert done(report) == [(id, "fork"), (id, "receive"), (fork, "send")]
    await exchange(desktop, remote)
    for service in (laptop, remote, desktop):
        assert await contents(service, id) == ["common", "on the desktop"]
        assert await contents(service, fork) == ["common", "on the laptop"]
        found = await service.get_session(fork)
        assert (found.forked_from, found.fork_seq) == (id, 1)
        original = await service.get_session(id)
        assert (original.forked_from, original.fork_seq) == (None, None)
    for each in (id, fork):
        assert await copy_of(laptop, each) == await copy_of(desktop, each)


async def test_a_fork_of_what_became_a_fork_has_that_as_its_original(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    mine = user_message("mine")
    id = await store(laptop, user_message("common"))
    await exchange(laptop, remote)
    await append_to_head(remote, id, user_message("theirs"))
    await append_to_head(laptop, id, mine)
    early, late = new_id(), new_id()
    await laptop.fork_session(id, NewFork(id=early, at=(await all_events(laptop, id))[0].id))
    await laptop.fork_session(id, NewFork(id=late, at=mine.id))
    fork = next(
        step.fork_id for step in (await exchange(laptop, remote)).steps if step.action == "fork"
    )
    for service in (laptop, remote):
        assert (await service.get_session(early)).forked_from == id
        assert (await service.get_session(late)).forked_from == fork
        assert await contents(service, late) == ["common", "mine"]


async def test_a_push_whose_answer_was_lost_is_no_divergence(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop)
    answers = [StorageUnavailable("the answer was lost")]

    class LosesAnAnswer:
        def __getattr__(self, name: str) -> Any:
            async def call(*args: Any, **named: Any) -> Any:
                result = await getattr(remote, name)(*args, **named)
                if name == "write_replica" and answers:
                    raise answers.pop()
                return result

            return call

    lossy: Any = LosesAnAnswer()
    report = await Replication(laptop, lossy, _machine_of(laptop)).exchange()
    assert [failed for failed, _ in report.failures] == [id]
    await append_to_head(laptop, id, user_message("three"))
    assert done(await exchange(laptop, lossy)) == [(id, "send")]
    assert await contents(remote, id) == ["one", "two", "three"]


async def test_a_session_that_is_open_in_a_window_is_forked_after_that(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop)
    await exchange(laptop, remote)
    await append_to_head(remote, id, user_message("theirs"))
    await append_to_head(laptop, id, user_message("mine"))
    await laptop.hold(id)
    assert done(await exchange(laptop, remote)) == [(id, "wait")]
    assert await contents(laptop, id) == ["one", "two", "mine"]
    await laptop.release(id)
    assert done(await exchange(laptop, remote))[0] == (id, "fork")


async def test_set_aside_needs_the_head_and_the_event(laptop: LocalSessionService) -> None:
    first = user_message()
    id = await store(laptop, first, note())
    head = (await laptop.get_session(id)).head
    assert head is not None
    with pytest.raises(HeadMoved):
        await laptop.set_aside(id, id=new_id(), at=first.id, head=first.id)
    with pytest.raises(HeadMoved):
        await laptop.set_aside(id, id=await store(laptop), at=first.id, head=head)
    assert await laptop.set_aside(id, id=PARENT, at=None, head=head)
    assert await laptop.read_replica(id) is None
    assert (await laptop.get_session(PARENT)).forked_from is None


# Fields


async def test_of_two_values_the_later_one_wins(
    laptop: LocalSessionService, remote: SessionService, clock: FakeClock
) -> None:
    id = await store(laptop, metadata={"key": "first"})
    await exchange(laptop, remote)
    await laptop.set_title(id, "Early")
    await laptop.archive(id)
    await remote.set_metadata(id, "key", "early")
    clock.now += 1_000
    await remote.set_title(id, "Late")
    await laptop.set_metadata(id, "key", None)
    assert done(await exchange(laptop, remote)) == [(id, "change")]
    for service in (laptop, remote):
        session = await service.get_session(id)
        assert session.title == "Late"
        assert session.archived_at is not None
        assert await service.get_metadata(id, "key") is None


async def test_the_state_of_an_import_stays_on_its_machine(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    new = NewSession(id=new_id(), directory=HERE, source="claude-code")
    invocation = Invocation(id="import", client_name="Claude Code", client_version="2")
    events = [ImportedEvent(user_message(), Timestamp(1_000), invocation=invocation)]
    await laptop.import_session(new, events, state={"offset": 7}, title="Imported")
    await exchange(laptop, remote)
    assert await remote.import_states("claude-code") == {}
    assert (await remote.get_session(new.id)).source == "claude-code"
    assert await copy_of(remote, new.id) == await copy_of(laptop, new.id)
    await laptop.import_session(new, [], state={"offset": 9})
    assert (await exchange(laptop, remote)).steps == []


# Forks


async def test_a_fork_shares_what_its_original_has_there(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop, *(user_message(str(number)) for number in range(40)))
    fork, of_the_fork = new_id(), new_id()
    await laptop.fork_session(id, NewFork(id=fork))
    await append_to_head(laptop, fork, user_message("own"))
    await laptop.fork_session(fork, NewFork(id=of_the_fork))
    await exchange(laptop, remote)
    for each in (id, fork, of_the_fork):
        assert await copy_of(remote, each) == await copy_of(laptop, each)
    if isinstance(remote, LocalSessionService):
        sql = "SELECT count(*) FROM events"
        count = await remote._connection.read(lambda db: db.execute(sql).fetchone()[0])
        assert count == 41


async def test_a_fork_whose_original_is_not_there_is_copied(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop)
    fork = new_id()
    await laptop.fork_session(id, NewFork(id=fork))
    await laptop.delete(id)
    await exchange(laptop, remote)
    assert await copy_of(remote, fork) == await copy_of(laptop, fork)
    assert (await remote.get_session(fork)).fork_seq == 2


# Deleting


async def test_what_was_deleted_on_one_machine_is_deleted_on_all(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    id = await store(laptop)
    fork = new_id()
    await laptop.fork_session(id, NewFork(id=fork))
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await desktop.delete(id)
    assert done(await exchange(desktop, remote)) == [(id, "delete there")]
    assert done(await exchange(laptop, remote)) == [(id, "delete here")]
    for service in (laptop, remote, desktop):
        assert await listed(service) == [fork]
        assert isinstance(await service.read_replica(id), Tombstone)
        assert (await service.get_session(fork)).forked_from is None
        assert (await service.list_versions()).versions == (await laptop.list_versions()).versions


async def test_what_was_appended_to_a_deleted_session_elsewhere_is_kept(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    id = await store(laptop, user_message("secret"))
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await append_to_head(desktop, id, user_message("new"), note("and this"))
    await laptop.delete(id)
    await exchange(laptop, remote)
    (step, _) = (await exchange(desktop, remote)).steps
    assert (step.action, step.events) == ("delete here", 2)
    assert step.fork_id is not None
    await exchange(laptop, remote)
    for service in (laptop, remote, desktop):
        assert await listed(service) == [step.fork_id]
        assert await contents(service, step.fork_id) == ["new", "and this"]
        assert await service.get_metadata(step.fork_id, REMAINDER_OF) == [id]
        assert (await service.get_session(step.fork_id)).title == "new"
    assert (await exchange(desktop, remote)).steps == []
    await desktop.delete(step.fork_id)
    await exchange(desktop, remote)
    await exchange(laptop, remote)
    assert await listed(laptop) == []


async def test_what_was_deleted_is_not_kept_under_another_id_either(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    """Both delete it; one of them has deleted events that the other one never saw."""
    id = await store(laptop, user_message("common"))
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await append_to_head(laptop, id, user_message("only on the laptop"))
    await exchange(laptop, remote)
    await laptop.delete(id)
    await desktop.delete(id)
    await exchange(desktop, remote)
    (kept,) = await listed(desktop)
    assert await contents(desktop, kept) == ["only on the laptop"]
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    for service in (laptop, remote, desktop):
        assert await listed(service) == []


async def test_an_import_that_brings_back_what_was_deleted_does_so_everywhere(
    laptop: LocalSessionService, remote: SessionService, desktop: LocalSessionService
) -> None:
    new = NewSession(id=new_id(), directory=HERE, source="claude-code")
    events = [ImportedEvent(user_message(), Timestamp(1_000))]
    await laptop.import_session(new, events)
    await exchange(laptop, remote)
    await exchange(desktop, remote)
    await laptop.delete(new.id)
    await exchange(laptop, remote)
    assert (await laptop.import_session(new, events)).is_deleted
    await laptop.import_session(new, events, revive=True)
    assert done(await exchange(laptop, remote)) == [(new.id, "send")]
    await exchange(desktop, remote)
    for service in (laptop, remote, desktop):
        assert await listed(service) == [new.id]
    await desktop.delete(new.id)
    await exchange(desktop, remote)
    await exchange(laptop, remote)
    assert await listed(laptop) == []


async def test_what_was_recorded_here_can_be_imported_again_and_lives_everywhere(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    """From its export, for example: no program would bring it back by itself."""
    id = await store(laptop)
    await exchange(laptop, remote)
    await laptop.delete(id)
    await exchange(laptop, remote)
    events = [ImportedEvent(user_message(), Timestamp(1_000))]
    result = await laptop.import_session(NewSession(id=id, directory=HERE), events)
    assert not result.is_deleted
    assert done(await exchange(laptop, remote)) == [(id, "send")]
    assert await listed(remote) == [id]


async def test_a_replica_of_a_deleted_session_is_refused(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    id = await store(laptop)
    await exchange(laptop, remote)
    replica = await laptop.read_replica(id)
    assert isinstance(replica, Replica)
    await remote.delete(id)
    with pytest.raises(SessionNotFound):
        await remote.write_replica(replica, [], parent_id=None)
    tombstone = await remote.read_replica(id)
    assert isinstance(tombstone, Tombstone)
    with pytest.raises(HeadMoved):
        await laptop.write_tombstone(tombstone, head=None)
    again = attrs.evolve(replica, generation=2)
    events = [
        ImportedEvent(
            user_message(),
            Timestamp(1),
            invocation=Invocation(id="w", client_name=None, client_version=None),
        )
    ]
    await remote.write_replica(again, events, parent_id=None)
    assert await listed(remote) == [id]


# Trouble


async def test_a_store_that_fails_again_and_again_ends_the_exchange(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    calls: list[str] = []

    class IsAway:
        def __getattr__(self, name: str) -> Any:
            async def call(*args: Any, **named: Any) -> Any:
                if name != "list_versions":
                    calls.append(name)
                    raise StorageUnavailable("The server is away.")
                return await getattr(remote, name)(*args, **named)

            return call

    away: Any = IsAway()
    for _ in range(10):
        await store(laptop)
    with pytest.raises(StorageUnavailable, match="is away"):
        await Replication(laptop, away, _machine_of(laptop)).exchange()
    assert len(calls) == 3


async def test_the_versions_come_in_pages_of_all_ids(
    laptop: LocalSessionService, remote: SessionService
) -> None:
    ids: Sequence[str] = [await store(remote) for _ in range(5)]
    for id in ids[::2]:
        await remote.delete(id)
    found: list[str] = []
    while True:
        page = await remote.list_versions(after=found[-1] if found else None, limit=2)
        found += [version.id for version in page.versions]
        if not page.has_more:
            break
        assert len(page.versions) == 2
    assert found == sorted(ids)
    generations = {
        version.id: version.generation for version in (await remote.list_versions()).versions
    }
    assert [generations[id] for id in ids] == [1, 0, 1, 0, 1]
