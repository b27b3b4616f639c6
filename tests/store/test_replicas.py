"""The contract suite of the copies that stores exchange, which runs on every store of `STORES`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import EventNotFound, HeadMoved, SessionNotFound
from segue.model.events import new_id
from segue.model.imports import ImportedEvent
from segue.model.records import AGENTS, Invocation, Machine, NewFork, NewSession, Timestamp
from segue.model.replicas import Replica, Tombstone, digest
from segue.store.service import SessionService
from tests.factories import (
    HERE,
    all_events,
    append_to_head,
    contents,
    store_session,
    user_message,
)
from tests.store.stores import STORES, FakeClock, StoreFactory

DAY_MS = 24 * 60 * 60 * 1_000
ELSEWHERE = Machine(id="0198c0de-0000-7000-8000-00000000000a", name="elsewhere")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "data", clock)
    yield opened
    await opened.close()


async def copy_of(service: SessionService, id: str) -> Replica:
    copy = await service.read_replica(id)
    assert isinstance(copy, Replica)
    return copy


async def tombstone_of(service: SessionService, id: str) -> Tombstone:
    copy = await service.read_replica(id)
    assert isinstance(copy, Tombstone)
    return copy


async def head_of(service: SessionService, id: str) -> str:
    head = (await service.get_session(id)).head
    assert head is not None
    return head


def imported(*texts: str, ids: tuple[str, ...] = ()) -> list[ImportedEvent]:
    invocation = Invocation(id="a window", client_name="an editor", client_version="1")
    events = [user_message(text, id) for text, id in zip(texts, ids or texts, strict=True)]
    return [
        ImportedEvent(event, Timestamp(seq), invocation=invocation)
        for seq, event in enumerate(events, 1)
    ]


def replica(**fields: Any) -> Replica:
    values: dict[str, Any] = {
        "id": new_id(), "generation": 0, "machine": ELSEWHERE, "directory": "/elsewhere",
        "git_root": None, "git_common_dir": None, "repository": None, "worktree": None,
        "source": None, "created_at": Timestamp(1), "event_count": 2, "head": "two",
        "automatic_title": "one", "model_visible": True, "client": "an editor", "agent": None,
        "model": None, "branch": None, "updated_at": Timestamp(2), "last_prompt_at": Timestamp(2),
        "forked_from": None, "fork_seq": None, "given_title": None, "archived_at": None,
        "server_session_id": None, "metadata": {}, "revisions": {},
    }  # fmt: skip
    return Replica(**(values | fields))


# Reading


async def test_what_never_was_has_no_copy(service: SessionService) -> None:
    assert await service.read_replica(new_id()) is None


async def test_every_change_of_a_field_has_a_later_revision(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service, user_message("one"))
    assert (await copy_of(service, id)).revisions == {}
    for change in (
        service.set_title(id, "a title"),
        service.archive(id),
        service.update_server_session_id(id, "remote"),
        service.set_metadata(id, "kéy\\\0", 1),
        service.set_metadata(id, "import", {"stays": "here"}),
    ):
        await change
    first = (await copy_of(service, id)).revisions
    assert sorted(first) == ["archive", "metadata/kéy\\\0", "server", "title"]
    assert {value[:15] for value in first.values()} == {f"{clock.now:015d}"}
    for change in (
        service.set_title(id, None),
        service.unarchive(id),
        service.update_server_session_id(id, "remote"),
        service.set_metadata(id, "kéy\\\0", None),
    ):
        await change
    second = (await copy_of(service, id)).revisions
    assert all(second[field] > first[field] for field in first)
    clock.now -= 5_000
    await service.archive(id)
    third = (await copy_of(service, id)).revisions
    assert third["archive"] > second["archive"]


async def test_a_fork_that_takes_the_place_archives_its_original_with_a_revision(
    service: SessionService,
) -> None:
    id = await store_session(service, user_message("one"))
    await service.fork_session(id, NewFork(id=new_id(), archive_original=True))
    assert list((await copy_of(service, id)).revisions) == ["archive"]


async def test_the_tombstone_has_the_events_that_only_the_session_had(
    service: SessionService,
) -> None:
    first, second, third = new_id(), "not a UUID: ✓ \0", new_id()
    id = await store_session(service, user_message("one", first), user_message("two", second))
    fork = new_id()
    await service.fork_session(id, NewFork(id=fork, at=first))
    await append_to_head(service, fork, user_message("three", third))
    await service.delete(fork)
    await service.delete(id)
    assert (await tombstone_of(service, fork)).events == {digest(third)}
    found = await tombstone_of(service, id)
    assert found.events == {digest(first), digest(second)}
    assert (found.generation, found.is_imported) == (1, False)
    assert found.has(second)
    assert not found.has(third)


async def test_a_session_that_is_created_again_lives_until_it_is_deleted_again(
    service: SessionService,
) -> None:
    id = await store_session(service, user_message("one"))
    await service.delete(id)
    new = NewSession(id=id, directory=HERE)
    await service.create_session(new, [user_message("again")], invocation_id="window")
    assert (await copy_of(service, id)).generation == 2
    (version,) = (await service.list_versions()).versions
    assert (version.generation, version.event_count) == (2, 1)
    await service.delete(id)
    assert (await tombstone_of(service, id)).generation == 3


async def test_what_metadata_names_is_deleted_with_the_session(service: SessionService) -> None:
    id = await store_session(
        service, user_message("one"), metadata={AGENTS: {"codex": {"id": "there"}}}
    )
    await service.delete(id)
    assert (await tombstone_of(service, "there")).is_imported


# Writing


async def test_a_copy_is_created_and_goes_on(service: SessionService) -> None:
    given = replica(
        given_title="Given",
        archived_at=Timestamp(5),
        metadata={"key": 1, "other": 2},
        revisions={"title": "1", "metadata/key": "1"},
    )
    await service.write_replica(given, imported("one", "two"), parent_id=None)
    assert attrs.evolve(await copy_of(service, given.id), git_common_dir=None) == given
    longer = attrs.evolve(given, event_count=3, head="three", updated_at=Timestamp(9), agent="new")
    await service.write_replica(longer, imported("two", "three"), parent_id="one")
    await service.write_replica(longer, imported("two", "three"), parent_id="one")
    assert attrs.evolve(await copy_of(service, given.id), git_common_dir=None) == longer
    assert await contents(service, given.id) == ["one", "two", "three"]
    with pytest.raises(HeadMoved):
        await service.write_replica(longer, imported("five"), parent_id="two")
    with pytest.raises(HeadMoved):
        await service.write_replica(longer, imported("two", "five"), parent_id="three")
    page = await service.load_events(given.id)
    assert [event.created_at for event in page.events] == [1, 2, 2]
    assert [(each.id, each.client_name) for each in page.invocations] == [("a window", "an editor")]


async def test_only_later_revisions_change_a_field(service: SessionService) -> None:
    given = replica(
        given_title="early",
        metadata={"key": "early", "kept": 1},
        revisions={"title": "2", "metadata/key": "2", "archive": "2"},
    )
    await service.write_replica(given, imported("one", "two"), parent_id=None)
    other = attrs.evolve(
        given,
        given_title="late",
        archived_at=Timestamp(9),
        server_session_id="remote",
        metadata={"key": "earlier", "new": 3},
        revisions={"title": "3", "metadata/key": "1", "archive": "1", "server": "1"},
        updated_at=Timestamp(99),
    )
    await service.write_replica(other, [], parent_id="two")
    found = await copy_of(service, given.id)
    assert (found.given_title, found.server_session_id) == ("late", "remote")
    assert (found.archived_at, found.updated_at) == (None, 2)
    assert found.metadata == {"key": "early", "kept": 1}
    assert found.revisions == {
        "title": "3", "metadata/key": "2", "archive": "2", "server": "1",
    }  # fmt: skip
    removed = attrs.evolve(found, metadata={}, revisions={"metadata/key": "3"})
    await service.write_replica(removed, [], parent_id="two")
    assert (await copy_of(service, given.id)).metadata == {"kept": 1}


async def test_a_copy_of_a_fork_shares_the_events_of_its_original(service: SessionService) -> None:
    original = replica()
    await service.write_replica(original, imported("one", "two"), parent_id=None)
    fork = replica(forked_from=original.id, fork_seq=1, event_count=2, head="own")
    with pytest.raises(EventNotFound):
        await service.write_replica(fork, imported("own"), parent_id="two")
    with pytest.raises(EventNotFound):
        await service.write_replica(fork, imported("own"), parent_id="nowhere")
    assert await service.read_replica(fork.id) is None
    await service.write_replica(fork, imported("own"), parent_id="one")
    assert attrs.evolve(await copy_of(service, fork.id), git_common_dir=None) == fork
    assert await contents(service, fork.id) == ["one", "own"]
    await service.delete(original.id)
    assert await contents(service, fork.id) == ["one", "own"]
    assert (await service.get_session(fork.id)).forked_from is None
    again = replica(forked_from=original.id, fork_seq=1)
    await service.write_replica(again, imported("one", "two"), parent_id=None)
    assert (await copy_of(service, again.id)).forked_from is None


async def test_a_copy_is_found_and_forked_like_any_session(service: SessionService) -> None:
    given = replica(directory=HERE, machine=None, updated_at=Timestamp(FakeClock().now))
    await service.write_replica(given, imported("one", "two"), parent_id=None)
    assert [each.id for each in (await service.list_sessions(directory=HERE)).sessions] == [
        given.id
    ]
    fork = await service.fork_session(given.id, NewFork(id=new_id(), at="one"))
    assert fork.title == "copy of one"
    replaced = NewFork(id=new_id(), at="one", archive_original=True)
    assert (await service.fork_session(given.id, replaced)).title == "one"


async def test_a_deleted_session_needs_a_later_generation(service: SessionService) -> None:
    given = replica()
    await service.write_replica(given, imported("one", "two"), parent_id=None)
    grave = Tombstone(id=given.id, generation=3, events=frozenset({digest("x")}), is_imported=True)
    with pytest.raises(HeadMoved):
        await service.write_tombstone(grave, head="one")
    with pytest.raises(HeadMoved):
        await service.write_tombstone(grave, head=None)
    await service.write_tombstone(grave, head="two")
    assert await service.read_replica(given.id) == grave
    earlier = attrs.evolve(grave, generation=1, events=frozenset({digest("y")}))
    await service.write_tombstone(earlier, head=None)
    assert await service.read_replica(given.id) == grave
    with pytest.raises(SessionNotFound):
        await service.write_replica(
            attrs.evolve(given, generation=2), imported("one", "two"), parent_id=None
        )
    again = attrs.evolve(given, generation=4)
    await service.write_replica(again, imported("one", "two"), parent_id=None)
    assert (await copy_of(service, given.id)).generation == 4


async def test_a_tombstone_of_what_never_was_here_is_kept(service: SessionService) -> None:
    grave = Tombstone(id="unknown", generation=1, events=frozenset(), is_imported=True)
    with pytest.raises(HeadMoved):
        await service.write_tombstone(grave, head="some head")
    await service.write_tombstone(grave, head=None)
    assert await service.read_replica("unknown") == grave
    result = await service.import_session(
        NewSession(id="unknown", directory=HERE, source="codex"), imported("one")
    )
    assert result.is_deleted


# Setting aside


async def test_what_is_set_aside_goes_on_as_a_fork(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(
        service, user_message("one", "1"), user_message("two", "2"), user_message("three", "3"),
        metadata={"key": "value"},
    )  # fmt: skip
    early, late, aside = new_id(), new_id(), new_id()
    await service.fork_session(id, NewFork(id=early, at="1"))
    await service.fork_session(id, NewFork(id=late, at="3"))
    clock.now += 2 * DAY_MS
    with pytest.raises(SessionNotFound):
        await service.set_aside(new_id(), id=aside, at="1", head="3")
    with pytest.raises(HeadMoved):
        await service.set_aside(id, id=aside, at="1", head="2")
    with pytest.raises(HeadMoved):
        await service.set_aside(id, id=early, at="1", head="3")
    with pytest.raises(EventNotFound):
        await service.set_aside(id, id=aside, at="nowhere", head="3")
    assert await service.set_aside(id, id=aside, at="2", head="3")
    assert await contents(service, id) == ["one", "two"]
    assert await contents(service, aside) == ["one", "two", "three"]
    for session, origin, seq in (
        (id, None, None), (aside, id, 2), (early, id, 1), (late, aside, 3),
    ):  # fmt: skip
        found = await service.get_session(session)
        assert (found.forked_from, found.fork_seq) == (origin, seq)
        assert (found.title or "").startswith("one" if session in (id, aside) else "copy ")
    assert await service.get_metadata(id, "key") == "value"
    await append_to_head(service, id, user_message("four", "4"))
    await append_to_head(service, aside, user_message("five", "5"))
    await service.delete(aside)
    assert (await tombstone_of(service, aside)).events == {digest("3"), digest("5")}
    assert await contents(service, id) == ["one", "two", "four"]
    assert [event.id for event in await all_events(service, late)] == ["1", "2", "3"]


async def test_all_of_it_can_be_set_aside(service: SessionService, clock: FakeClock) -> None:
    id = await store_session(service, user_message("one", "1"))
    clock.now += 2 * DAY_MS
    aside = new_id()
    assert await service.set_aside(id, id=aside, at=None, head="1")
    assert await service.read_replica(id) is None
    found = await service.get_session(aside)
    assert (found.forked_from, found.fork_seq) == (None, None)


async def test_what_is_held_is_not_set_aside(service: SessionService, clock: FakeClock) -> None:
    id = await store_session(service, user_message("one", "1"))
    await service.hold(id)
    assert not await service.set_aside(id, id=new_id(), at="1", head="1")
    await service.release(id)
    clock.now += 2 * DAY_MS
    assert await service.set_aside(id, id=new_id(), at="1", head=await head_of(service, id))
