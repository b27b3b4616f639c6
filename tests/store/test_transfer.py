"""Copying of one's own store to each store of `stores.STORES`, and back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.events import new_id
from segue.model.imports import ImportedEvent
from segue.model.records import Machine, NewFork, NewSession, Timestamp
from segue.model.replicas import Replica, Tombstone
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from segue.store.transfer import Transfer, TransferReport
from tests.factories import (
    HERE,
    all_events,
    append_to_head,
    contents,
    note,
    store_session,
    user_message,
)
from tests.store.postgres_server import MACHINE
from tests.store.stores import STORES, FakeClock, StoreFactory

ELSEWHERE = Machine(id="0198c0de-0000-7000-8000-00000000000a", name="elsewhere")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def other(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    """Return the store that is copied to, and from."""
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "other", clock)
    yield opened
    await opened.close()


@pytest.fixture
async def own(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalSessionService]:
    opened = await LocalSessionService.open(tmp_path / "own" / "sessions.db", clock)
    yield opened
    await opened.close()


async def copy(source: SessionService, target: SessionService) -> TransferReport:
    return await Transfer(source, target, MACHINE).run()


async def all_of(service: SessionService) -> dict[str, Any]:
    """Return all that a store has, as if every session were of another machine."""
    found: dict[str, Any] = {}
    for version in (await service.list_versions()).versions:
        replica = await service.read_replica(version.id)
        if isinstance(replica, Replica):
            replica = attrs.evolve(replica, machine=replica.machine or MACHINE)
            page = await service.load_events(version.id, after=0, limit=1_000)
            local = [await service.get_metadata(version.id, key) for key in ("import", "prompts")]
            by = {each.id: each for each in page.invocations}
            found[version.id] = (replica, page.events, by, local)
        else:
            found[version.id] = replica
    return found


async def store_everything(service: SessionService, clock: FakeClock) -> None:
    """Store a session of each kind."""
    places = {"git_root": HERE, "git_common_dir": f"{HERE}/.git", "repository": "h/org/repo"}
    id = await store_session(service, user_message("one"), note("two"), **places)
    clock.now += 5_000
    await service.set_title(id, "Given")
    await service.set_metadata(id, "key", {"a": [1]})
    archived = await store_session(service, user_message("archived"), machine=ELSEWHERE)
    await service.archive(archived)
    fork, of_fork = new_id(), new_id()
    await service.fork_session(id, NewFork(id=fork))
    await append_to_head(service, fork, user_message("own"))
    await service.fork_session(fork, NewFork(id=of_fork))
    imported = NewSession(id=new_id(), directory=HERE, source="codex")
    events = [ImportedEvent(user_message("imported"), Timestamp(1_000))]
    await service.import_session(imported, events, state={"offset": 7})
    gone = NewSession(id="gone", directory=HERE, source="codex")
    await service.import_session(gone, events)
    await service.delete("gone")


async def test_all_of_it_is_copied_and_comes_back(
    own: LocalSessionService, other: SessionService, clock: FakeClock, tmp_path: Path
) -> None:
    await store_everything(own, clock)
    before = await all_of(own)
    first = await copy(own, other)
    assert (first.sessions, first.copied, first.is_complete) == (5, 5, True)
    assert first.events == 2 + 1 + 3 + 3 + 1
    assert (first.forked, first.deleted) == ({}, [])
    assert await all_of(own) == before
    assert await all_of(other) == before
    again = await copy(own, other)
    assert (again.sessions, again.copied, again.is_complete) == (5, 0, True)
    back = await LocalSessionService.open(tmp_path / "back" / "sessions.db", clock)
    assert (await copy(other, back)).is_complete
    assert await all_of(back) == before
    (here,) = (await back.list_sessions(directory=HERE, sources=["codex"])).sessions
    assert here.machine is None
    result = await back.import_session(NewSession(id="gone", directory=HERE, source="codex"), [])
    assert result.is_deleted
    await back.close()


async def test_what_came_later_is_copied_later(
    own: LocalSessionService, other: SessionService, clock: FakeClock
) -> None:
    id = await store_session(own, user_message("one"))
    await copy(own, other)
    await append_to_head(own, id, user_message("two"))
    clock.now += 1_000
    await own.set_title(id, "Given")
    report = await copy(own, other)
    assert (report.copied, report.is_complete) == (1, True)
    assert await all_of(other) == await all_of(own)
    await append_to_head(other, id, user_message("three"))
    clock.now += 1_000
    await other.set_title(id, "There")
    before = await all_of(other)
    report = await copy(own, other)
    assert (report.copied, report.is_complete) == (0, True)
    assert await all_of(other) == before


async def test_what_went_on_in_both_becomes_a_fork_there(
    own: LocalSessionService, other: SessionService
) -> None:
    id = await store_session(own, user_message("common"))
    await copy(own, other)
    await append_to_head(own, id, user_message("here"))
    await append_to_head(other, id, user_message("there"))
    for added in ([], ["more"]):
        for text in added:
            await append_to_head(own, id, user_message(text))
        report = await copy(own, other)
        (fork,) = report.forked.values()
        assert report.is_complete
        assert await contents(other, id) == ["common", "there"]
        assert await contents(other, fork) == ["common", "here", *added]
        found = await other.get_session(fork)
        assert (found.forked_from, found.fork_seq) == (id, 1)
    assert await contents(own, id) == ["common", "here", "more"]
    assert len((await own.list_sessions()).sessions) == 1


async def test_what_was_deleted_there_stays_so(
    own: LocalSessionService, other: SessionService
) -> None:
    id = await store_session(own, user_message("one"))
    await copy(own, other)
    await other.delete(id)
    report = await copy(own, other)
    assert (report.deleted, report.is_complete) == ([id], True)
    assert isinstance(await other.read_replica(id), Tombstone)


async def test_what_was_deleted_here_stays_there(
    own: LocalSessionService, other: SessionService
) -> None:
    id = await store_session(own, user_message("one"))
    await copy(own, other)
    await own.delete(id)
    assert (await copy(own, other)).is_complete
    assert await contents(other, id) == ["one"]


async def test_a_copy_that_differs_is_named(
    own: LocalSessionService, other: SessionService
) -> None:
    id = await store_session(own, user_message("one"), note("two"))
    titled = await store_session(own, user_message("three"))
    await copy(own, other)
    sql = "UPDATE events SET data = '{\"content\":\"other\"}' WHERE type = 'system_context'"
    await own._connection.write(lambda transaction: transaction.db.execute(sql) and None)
    retitle = "UPDATE sessions SET given_title = 'other' WHERE title = 'three'"
    await own._connection.write(lambda transaction: transaction.db.execute(retitle) and None)
    report = await copy(own, other)
    assert report.different == {id: "events", titled: "given_title"}
    assert not report.is_complete


async def test_a_long_session_is_compared_as_a_whole(
    own: LocalSessionService, other: SessionService
) -> None:
    id = await store_session(own, *(user_message(str(number)) for number in range(1_201)))
    assert (await copy(own, other)).events == 1_201
    assert await all_events(other, id) == await all_events(own, id)
