"""Sessions of other machines: the repository finds them and no path does, on every store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.events import new_id
from segue.model.imports import ImportedEvent
from segue.model.records import MAX_SKEW_MS, Machine, NewFork, NewSession, Order, Session, Timestamp
from segue.store.service import SessionService
from tests.factories import (
    HERE,
    INVOCATION,
    append_to_head,
    new_session,
    note,
    store_session,
    user_message,
)
from tests.store.stores import STORES, FakeClock
from tests.store.test_search import hits

HOUR = timedelta(hours=1)
MINUTE = 60_000
REPOSITORY = "github.com/org/repo"
LAPTOP = Machine(id="7d444840-9dc0-41d1-b245-5ffdce74fad2", name="LAPTOP")
THERE: dict[str, Any] = {"directory": "/home/anna/repo", "git_root": "/home/anna/repo"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    opened = await STORES[request.param].open_service(tmp_path, clock)
    yield opened
    await opened.close()


async def store_there(service: SessionService, *events: Any, **fields: Any) -> str:
    """Store a session of the laptop."""
    given = {**THERE, "repository": REPOSITORY, "machine": LAPTOP, **fields}
    return await store_session(service, *events, **given)


async def resumable(
    service: SessionService,
    directory: str = HERE,
    git_root: str | None = None,
    repository: str | None = REPOSITORY,
    worktree: str | None = None,
    max_age: timedelta = HOUR,
) -> list[str]:
    found = await service.find_resumable(
        directory, git_root, max_age, repository=repository, worktree=worktree
    )
    return [session.id for session in found.sessions]


async def listed(service: SessionService, **filters: Any) -> list[str]:
    page = await service.list_sessions(**filters)
    assert page.next_cursor is None
    return [session.id for session in page.sessions]


async def searched(service: SessionService, **filters: Any) -> set[str]:
    found = await hits(service, "Hello", **filters)
    return {hit.session.id for hit in found if hit.event is not None}


def place(session: Session) -> dict[str, str | None]:
    names = ("directory", "git_root", "repository", "machine")
    return {name: getattr(session, name) for name in names}


async def test_a_session_of_another_machine_has_its_places_there(service: SessionService) -> None:
    id = await store_there(service, directory="/home/anna/repo/src")
    whole = {
        "directory": "/home/anna/repo/src",
        "git_root": "/home/anna/repo",
        "repository": REPOSITORY,
        "machine": "LAPTOP",
    }
    assert place(await service.get_session(id)) == whole
    assert place((await service.open_session(id, 1))[0]) == whole
    assert [place(each) for each in (await service.list_sessions()).sessions] == [whole]
    assert [place(each) for each in await service.find_sessions(id[:8])] == [whole]


async def test_equal_paths_of_two_machines_are_not_one_place(service: SessionService) -> None:
    where: dict[str, Any] = {"directory": "/workspace", "git_root": "/workspace"}
    common = {"git_common_dir": "/workspace/.git"}
    there = await store_there(service, **where, **common)
    own = await store_session(service, **where, **common)
    assert await resumable(service, "/workspace", "/workspace", None) == [own]
    for archived in (False, True):
        for filters in ({}, {"git_root": "/workspace"}, common):
            places: dict[str, Any] = {"directory": "/workspace", "archived": archived, **filters}
            assert await listed(service, **places) == [own]
            assert await searched(service, **places) == {own}
        assert await listed(service, directory="/", archived=archived) == []
        assert await listed(service, directory="", archived=archived) == []
    assert set(await listed(service)) == {there, own}


async def test_the_repository_finds_what_was_had_on_another_machine(
    service: SessionService, clock: FakeClock
) -> None:
    first = await store_there(service)
    clock.now += 1
    own = await store_session(service, repository=REPOSITORY)
    clock.now += 1
    second = await store_there(service, directory="D:\\repo", git_root="D:\\repo")
    clock.now += 1
    await store_there(service, repository="github.com/org/other")
    assert await resumable(service) == [second, own, first]
    assert await resumable(service, repository=None) == [own]
    assert await resumable(service, "/elsewhere", repository="github.com/org") == []


async def test_two_clones_on_one_machine_stay_two(service: SessionService) -> None:
    one = await store_session(service, directory="/one", git_root="/one", repository=REPOSITORY)
    two = await store_session(service, directory="/two", git_root="/two", repository=REPOSITORY)
    assert await resumable(service, "/one", "/one") == [one]
    assert await resumable(service, "/two", "/two") == [two]
    assert await listed(service, directory="/two", git_root="/two", repository=REPOSITORY) == [two]
    assert await resumable(service, "/three", "/three") == []


async def test_linked_worktrees_are_found_by_their_names(service: SessionService) -> None:
    main = await store_there(service)
    topic = await store_there(service, directory="/home/anna/topic", worktree="topic")
    assert await resumable(service) == [main]
    assert await resumable(service, worktree="topic") == [topic]
    assert await resumable(service, worktree="other") == []
    where = {"directory": HERE, "repository": REPOSITORY}
    assert set(await listed(service, **where)) == {main, topic}, "a list has all worktrees"


async def test_the_rules_for_resuming_are_those_of_this_machine(
    service: SessionService, clock: FakeClock
) -> None:
    archived = await store_there(service)
    await service.archive(archived)
    await store_there(service, note())
    old = await store_there(service)
    clock.now += 60 * MINUTE
    ids = []
    for _ in range(8):
        clock.now += 1
        ids.append(await store_there(service))
    assert await resumable(service) == ids[::-1][:6]
    assert old not in await resumable(service, max_age=timedelta(days=9))
    await service.unarchive(archived)
    clock.now += 1
    await append_to_head(service, archived, user_message())
    assert (await resumable(service))[:3] == [archived, ids[-1], ids[-2]]
    assert (await service.get_session(archived)).machine == "LAPTOP", "an append moves nothing"
    clock.now -= MAX_SKEW_MS + 10
    found = await service.find_resumable(HERE, None, HOUR, repository=REPOSITORY)
    assert [each.id for each in found.sessions] == [old]
    assert found.in_future is not None
    assert found.in_future.id == archived


@pytest.mark.parametrize("order", ["updated", "lastPrompt"])
async def test_a_workspace_lists_and_searches_those_of_its_repository(
    service: SessionService, clock: FakeClock, order: Order
) -> None:
    ids = []
    for number in range(7):
        clock.now += 1
        own = {"repository": REPOSITORY, "git_common_dir": f"{HERE}/.git"}
        ids.append(await (store_session(service, **own) if number % 2 else store_there(service)))
    clock.now += 1
    aside = await store_there(service)
    await service.archive(aside)
    silent = await store_there(service, note("Hello"))
    await store_there(service, repository="github.com/org/other")
    await store_session(service, directory="/elsewhere")
    where: dict[str, Any] = {
        "directory": HERE,
        "git_common_dir": f"{HERE}/.git",
        "repository": REPOSITORY,
    }
    newest = [silent, *ids[::-1]]

    assert await listed(service, order=order, **where) == newest
    assert set(await listed(service, archived=True, **where)) == {aside, *newest}
    found, cursor = [], None
    while True:
        page = await service.list_sessions(order=order, cursor=cursor, limit=2, **where)
        found += [each.id for each in page.sessions]
        if (cursor := page.next_cursor) is None:
            break
    assert found == newest
    assert await searched(service, **where) == {silent, *ids}
    assert await searched(service, archived=True, **where) == {aside, silent, *ids}


async def test_a_fork_is_made_on_this_machine_if_it_has_a_place_here(
    service: SessionService,
) -> None:
    id = await store_there(service)
    there = await service.fork_session(id, NewFork(id=new_id()))
    assert place(there) == place(await service.get_session(id))
    here = NewFork(
        id=new_id(), directory="/own/src", git_root="/own", repository=REPOSITORY, worktree="topic"
    )
    assert place(await service.fork_session(id, here)) == {
        "directory": "/own/src",
        "git_root": "/own",
        "repository": REPOSITORY,
        "machine": None,
    }
    assert await resumable(service, "/own", "/own", None) == [here.id]
    assert set(await resumable(service)) == {id, there.id}
    await service.delete(id)
    assert await resumable(service) == [there.id]
    assert place(await service.get_session(there.id))["machine"] == "LAPTOP"


async def test_a_retry_of_a_session_of_another_machine_is_recognized(
    service: SessionService,
) -> None:
    new = new_session(**THERE, repository=REPOSITORY, machine=LAPTOP)
    events = [user_message()]
    for duplicates in (0, 1):
        result = await service.create_session(new, events, invocation_id=INVOCATION)
        assert result.duplicates == duplicates
    renamed = attrs.evolve(new, machine=attrs.evolve(LAPTOP, name="DESKTOP"))
    assert (await service.create_session(renamed, events, invocation_id="2")).duplicates == 1
    assert (await service.get_session(new.id)).machine == "LAPTOP"


async def test_an_import_can_be_of_another_machine(
    service: SessionService, clock: FakeClock
) -> None:
    new = NewSession(id="imported", **THERE, repository=REPOSITORY, machine=LAPTOP)
    events = [ImportedEvent(user_message(), Timestamp(clock.now - MINUTE))]
    await service.import_session(new, events)
    assert place(await service.get_session("imported"))["machine"] == "LAPTOP"
    assert await resumable(service) == [], "until it is continued here"
    await append_to_head(service, "imported", user_message())
    assert await resumable(service) == ["imported"]
