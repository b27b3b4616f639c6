"""Checkouts that were moved: the sessions get their new places, on every store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from segue.model.records import Machine
from segue.model.validation import InvalidInputError
from segue.store.service import SessionService
from tests.factories import note, store_session
from tests.store.stores import STORES, FakeClock

HOUR = timedelta(hours=1)
REPOSITORY = "github.com/org/repo"
LAPTOP = Machine(id="7d444840-9dc0-41d1-b245-5ffdce74fad2", name="LAPTOP")


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


async def store_in(service: SessionService, root: str, below: str = "", **fields: Any) -> str:
    given = {"git_common_dir": f"{root}/.git", "repository": REPOSITORY, **fields}
    return await store_session(service, directory=root + below, git_root=root, **given)


async def places(service: SessionService, *ids: str) -> list[tuple[str, str | None]]:
    sessions = [await service.get_session(id) for id in ids]
    return [(each.directory, each.git_root) for each in sessions]


async def checkouts(service: SessionService, repository: str = REPOSITORY) -> list[str]:
    return [each.id for each in await service.find_checkouts(repository)]


async def test_a_moved_checkout_takes_its_sessions_along(
    service: SessionService, clock: FakeClock
) -> None:
    top = await store_in(service, "/old")
    below = await store_in(service, "/old", "/src/ä")
    aside = await store_in(service, "/old")
    await service.archive(aside)
    inner = await store_in(service, "/old/inner", repository=None)
    plain = await store_session(service, directory="/old/docs")
    tree = await store_in(service, "/tree", worktree="tree", git_common_dir="/old/.git")
    others = [
        await store_in(service, root) for root in ("/older", "/old-2", "/olc", "/old.bak", "/x/old")
    ]
    there = await store_in(service, "/old", machine=LAPTOP)
    unmoved = await places(service, *others, there)
    before = await service.get_session(top)
    clock.now += 1

    assert await service.move_sessions("/old", "/new/place") == 6

    assert await places(service, top, below, aside, inner, plain, tree) == [
        ("/new/place", "/new/place"),
        ("/new/place/src/ä", "/new/place"),
        ("/new/place", "/new/place"),
        ("/new/place/inner", "/new/place/inner"),
        ("/new/place/docs", None),
        ("/tree", "/tree"),
    ]
    assert await places(service, *others, there) == unmoved
    assert (await service.get_session(top)).updated_at == before.updated_at
    found = await service.find_resumable("/new/place/src", "/new/place", HOUR)
    assert {each.id for each in found.sessions} == {top, below}
    assert (await service.find_resumable("/old", "/old", HOUR)).sessions == []
    page = await service.list_sessions(directory="/x", git_common_dir="/new/place/.git")
    assert {each.id for each in page.sessions} == {top, below, tree}
    assert await service.move_sessions("/old", "/new/place") == 0


async def test_sessions_can_be_moved_to_a_folder_that_has_some_and_back_up(
    service: SessionService,
) -> None:
    deep, here = await store_in(service, "/a/b"), await store_in(service, "/a")
    assert await service.move_sessions("/a/b", "/a") == 1
    assert await service.move_sessions("/a/b", "/a") == 0
    assert await places(service, deep, here) == [("/a", "/a")] * 2


async def test_places_of_any_length_are_moved(service: SessionService) -> None:
    long = "/long" * 800
    deep = await store_in(service, "/old", long)
    tree = await store_in(service, "/tree", worktree="w", git_common_dir=f"/old{long}/.git")
    bare = await store_session(service, directory="/bare", git_common_dir="/old/.git")
    assert await service.move_sessions("/old", "/new") == 3
    assert await places(service, deep, tree) == [(f"/new{long}", "/new"), ("/tree", "/tree")]
    for common, ids in ((f"/new{long}/.git", [tree]), ("/new/.git", [bare, deep])):
        page = await service.list_sessions(directory="/x", git_common_dir=common)
        assert [each.id for each in page.sessions] == ids
    assert await service.move_sessions(f"/new{long}", "/short") == 2
    assert await places(service, deep) == [("/short", "/new")]


@pytest.mark.parametrize("new", ["/old", "/old/", "/old/below"])
async def test_a_folder_cannot_be_moved_into_itself(service: SessionService, new: str) -> None:
    id = await store_in(service, "/old")
    with pytest.raises(InvalidInputError):
        await service.move_sessions("/old", new)
    assert await places(service, id) == [("/old", "/old")]


async def test_the_checkouts_of_a_repository_are_known(
    service: SessionService, clock: FakeClock
) -> None:
    newest = {}
    for root in ("/one", "/two", "/three"):
        for below in ("", "/src"):
            clock.now += 1
            newest[root] = await store_in(service, root, below)
    clock.now += 1
    await store_in(service, "/three", "", repository="github.com/org/other", worktree="x")
    await service.archive(await store_in(service, "/three"))
    await store_in(service, "/tree", worktree="tree")
    await store_in(service, "/there", machine=LAPTOP)
    await store_in(service, "/without", repository=None)
    await service.archive(await store_in(service, "/archived"))
    await store_session(
        service, note(), directory="/silent", git_root="/silent", repository=REPOSITORY
    )
    clock.now += 1
    newest["/one"] = await store_in(service, "/one")

    found = await checkouts(service)
    assert found[0] == newest["/one"]
    assert found[-1] == newest["/two"]
    assert len(found) == 3
    assert await checkouts(service, "github.com/org") == []


async def test_only_some_checkouts_are_looked_at(service: SessionService) -> None:
    for number in range(30):
        await store_in(service, f"/clones/{number}")
    assert 10 <= len(await checkouts(service)) < 30
