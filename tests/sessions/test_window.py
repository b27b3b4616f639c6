"""The sessions of one window: opening, order of requests, group commit and backpressure."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import (
    EventConflict,
    EventNotFound,
    HeadMoved,
    NothingToResume,
    SessionNotFound,
    SessionNotOpen,
)
from segue.model.events import new_id
from segue.model.records import AppendResult, Machine, Mode
from segue.model.validation import InvalidInputError
from segue.model.workspace import InvalidWorkspaceError, Workspace
from segue.sessions.boundary import ON_OTHER_MACHINE
from segue.sessions.window import Window
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    HERE,
    contents,
    execute,
    make_older,
    queued_together,
    store_session,
    traced_statements,
    user_message,
    workspace_at,
)

OpenWindow = Callable[..., Window]


def open_service_of(service: SessionService) -> Callable[[], Awaitable[SessionService]]:
    async def open_service() -> SessionService:
        return service

    return open_service


@pytest.fixture
def open_window(service: LocalSessionService) -> OpenWindow:
    """Return a function that opens windows on one store: `open_window(continue_minutes=0)`."""

    def make(continue_minutes: float = 60) -> Window:
        return Window(open_service_of(service), continue_minutes)

    return make


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window()


# Choosing the session


async def test_a_window_resumes_the_session_of_another_window(
    window: Window, open_window: OpenWindow, service: LocalSessionService
) -> None:
    first = await window.open(workspace_at("/repo", "/repo"))
    await window.append(first.session.id, [user_message("one"), user_message("two")])
    second = await open_window().open(workspace_at("/repo/src", "/repo"))
    assert second.session.id == first.session.id
    assert second.resumed
    assert second.invocation_id != first.invocation_id
    assert second.boundary is not None
    assert [event.data["content"] for event in second.events] == ["one", "two"]
    assert second.last_event_at == second.session.updated_at
    assert "git repository (/repo)" in second.reason


async def test_each_reason_has_its_code(
    open_window: OpenWindow, service: LocalSessionService
) -> None:
    place = workspace_at("/repo/src", "/repo")
    window = open_window()

    async def code(window: Window, **options: Any) -> str:
        opened = await window.open(place, **options)
        if opened.session.event_count == 0:
            await window.close_session(opened.session.id)
        return opened.reason_code

    assert await code(window) == "nothingFits"
    assert await code(window, mode="new") == "new"
    assert await code(window, continue_minutes=0) == "neverByItself"
    assert (await window.find_resumable(place)).reason_code == "nothingFits"
    assert (await window.find_resumable(place, 0)).reason_code == "neverByItself"
    await window.open(place)
    assert await code(window) == "empty"
    await store_session(service, directory="/repo/src")
    assert (await window.find_resumable(place)).reason_code == "newestInDirectory"
    assert await code(open_window()) == "newestInDirectory"
    id = await store_session(service, directory="/repo", git_root="/repo")
    assert (await window.find_resumable(place)).reason_code == "newestInRepository"
    assert await code(open_window()) == "newestInRepository"
    assert await code(window, session_id=id) == "named"
    assert (await window.reset(id)).reason_code == "reset"


async def test_a_session_of_another_machine_is_resumed_by_its_repository(
    service: SessionService, open_window: OpenWindow
) -> None:
    place = attrs.evolve(workspace_at("/repo/src", "/repo"), repository="github.com/org/repo")
    there: dict[str, Any] = {"directory": "/repo/src", "git_root": "/repo"}
    laptop = Machine(id="1", name="LAPTOP")
    id = await store_session(service, machine=laptop, repository="github.com/org/repo", **there)
    await store_session(service, machine=laptop, repository="github.com/org/other", **there)

    opened = await open_window().open(place)

    assert (opened.session.id, opened.session.machine) == (id, "LAPTOP")
    assert opened.reason_code == "newestOnOtherMachine"
    begin = "The newest session of this repository, on LAPTOP (github.com/org/repo), last updated"
    assert opened.reason.startswith(begin)
    assert opened.boundary is not None
    assert ON_OTHER_MACHINE in opened.boundary.data["content"]
    assert opened.alternatives == []
    without = attrs.evolve(place, repository=None)
    assert (await open_window().open(without)).reason_code == "nothingFits"


async def test_a_new_session_has_the_name_of_the_repository(
    service: SessionService, open_window: OpenWindow
) -> None:
    place = attrs.evolve(workspace_at("/repo/src", "/repo"), repository="github.com/org/repo")
    window = open_window()
    opened = await window.open(place)
    assert opened.session.repository == "github.com/org/repo"
    await window.append(opened.session.id, [user_message()])
    assert (await service.get_session(opened.session.id)).repository == "github.com/org/repo"
    fork = await window.fork(opened.session.id, workspace=place)
    assert fork.session.repository == "github.com/org/repo"


async def test_auto_creates_a_session_when_none_is_resumable(window: Window) -> None:
    opened = await window.open(workspace_at())
    assert (opened.resumed, opened.boundary, opened.last_event_at) == (False, None, None)
    assert (opened.session.head, opened.session.event_count, opened.events) == (None, 0, ())
    assert "No session of this workspace" in opened.reason


async def test_resume_fails_when_no_session_is_resumable(
    window: Window, service: LocalSessionService
) -> None:
    await store_session(service, directory="/elsewhere")
    with pytest.raises(NothingToResume):
        await window.open(workspace_at(), mode="resume")


async def test_new_never_resumes(window: Window, service: LocalSessionService) -> None:
    id = await store_session(service)
    first = await window.open(workspace_at(), mode="new")
    second = await window.open(workspace_at(), mode="new")
    assert len({id, first.session.id, second.session.id}) == 3


async def test_other_resumable_sessions_are_alternatives(
    window: Window, service: LocalSessionService
) -> None:
    ids = [await store_session(service, user_message(str(number))) for number in range(4)]
    opened = await window.open(workspace_at())
    assert [opened.session.id, *(other.id for other in opened.alternatives)] == ids[::-1]


@pytest.mark.parametrize("minutes", [0, -1, -1e300])
@pytest.mark.parametrize("given", ["by the window", "by the call"])
async def test_zero_or_fewer_minutes_disable_automatic_resume(
    open_window: OpenWindow, service: LocalSessionService, minutes: float, given: str
) -> None:
    id = await store_session(service)
    by_window = given == "by the window"
    window = open_window(minutes if by_window else 60)
    asked = None if by_window else minutes
    found = await window.find_resumable(workspace_at(), asked)
    assert (found.session, found.alternatives) == (None, ())
    assert "continueMinutes is 0" in found.reason
    with pytest.raises(NothingToResume):
        await window.open(workspace_at(), mode="resume", continue_minutes=asked)
    opened = await window.open(workspace_at(), continue_minutes=asked)
    assert not opened.resumed
    opened = await window.open(workspace_at(), session_id=id, continue_minutes=asked)
    assert (opened.session.id, opened.resumed) == (id, True)


async def test_minutes_of_the_call_override_those_of_the_window(
    database: Path, window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service)
    make_older(database, id, 90)
    assert (await window.find_resumable(workspace_at())).session is None
    for minutes in (100, 1e300):
        found = await window.find_resumable(workspace_at(), minutes)
        assert found.session is not None
        assert found.session.id == id


async def test_finding_a_resumable_session_opens_nothing(
    window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service)
    found = await window.find_resumable(workspace_at())
    assert found.session is not None
    assert f"directory ({HERE})" in found.reason
    with pytest.raises(SessionNotOpen):
        await window.append(id, [user_message()])


# Opening again


@pytest.mark.parametrize("mode", ["auto", "resume"])
async def test_opening_again_returns_the_same_invocation_and_boundary(
    window: Window, service: LocalSessionService, mode: Mode
) -> None:
    id = await store_session(service, user_message("one"))
    first = await window.open(workspace_at(), mode=mode)
    second = await window.open(workspace_at(), mode=mode)
    by_id = await window.open(workspace_at(), session_id=id)
    assert first.invocation_id == second.invocation_id == by_id.invocation_id
    assert first.boundary == second.boundary == by_id.boundary
    await window.append(id, [user_message("two")])
    third = await window.open(workspace_at(), mode=mode)
    assert (third.invocation_id, third.boundary) == (first.invocation_id, None)
    assert len(await contents(service, id)) == 3


async def test_auto_returns_the_new_session_that_is_still_empty(window: Window) -> None:
    first = await window.open(workspace_at())
    assert (await window.open(workspace_at())).invocation_id == first.invocation_id
    elsewhere = await window.open(workspace_at("/elsewhere"))
    assert elsewhere.session.id != first.session.id
    await window.append(first.session.id, [user_message()])
    again = await window.open(workspace_at())
    assert (again.session.id, again.invocation_id) == (first.session.id, first.invocation_id)
    assert again.boundary is None


async def test_reopening_ten_times_changes_nothing(
    open_window: OpenWindow, service: LocalSessionService
) -> None:
    id = await store_session(service, user_message("one"))
    before = await service.get_session(id)
    for _ in range(10):
        assert (await open_window().open(workspace_at())).session == before
    assert await service.get_session(id) == before
    assert await contents(service, id) == ["one"]


async def test_an_old_or_archived_session_can_be_opened_by_its_id(
    database: Path, window: Window, service: LocalSessionService
) -> None:
    old, archived = await store_session(service), await store_session(service)
    make_older(database, old, 60 * 24 * 365)
    await service.archive(archived)
    assert (await window.open(workspace_at("/elsewhere"), session_id=old)).resumed
    opened = await window.open(workspace_at(), session_id=archived)
    assert opened.session.archived_at is not None
    assert (await window.append(archived, [user_message("on")])).event_count == 3
    assert (await service.get_session(archived)).archived_at is not None


async def test_an_unknown_session_is_not_opened(window: Window) -> None:
    with pytest.raises(SessionNotFound):
        await window.open(workspace_at(), session_id="unknown")
    with pytest.raises(SessionNotOpen):
        await window.append("unknown", [user_message()])


async def test_opening_returns_the_requested_tail(
    window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service, *(user_message(str(number)) for number in range(10)))
    opened = await window.open(workspace_at(), session_id=id, tail=3)
    assert ([event.seq for event in opened.events], opened.has_more) == ([8, 9, 10], True)
    opened = await window.open(workspace_at(), session_id=id, tail=0)
    assert (list(opened.events), opened.has_more) == ([], True)


# Two windows


async def test_of_two_windows_with_one_session_the_later_append_is_refused(
    open_window: OpenWindow, service: LocalSessionService
) -> None:
    id = await store_session(service, user_message("one"))
    one, other = open_window(), open_window()
    await one.open(workspace_at())
    await other.open(workspace_at())
    await one.append(id, [user_message("from one")])
    with pytest.raises(HeadMoved):
        await other.append(id, [user_message("from the other")])
    await other.open(workspace_at(), session_id=id)
    await other.append(id, [user_message("from the other")])
    stored = [words for words in await contents(service, id) if "Note" not in words]
    assert stored == ["one", "from one", "from the other"]


# The order of requests


async def test_an_append_after_a_reset_goes_to_the_session_that_it_names(
    window: Window, service: LocalSessionService
) -> None:
    opened = await window.open(workspace_at())
    id = opened.session.id
    _, reset, _ = await asyncio.gather(
        window.append(id, [user_message("before")]),
        window.reset(id),
        window.append(id, [user_message("behind")]),
    )
    assert reset.session.id != id
    assert (await service.get_session(id)).archived_at is not None
    assert await contents(service, id) == ["before", "behind"]


async def test_requests_take_effect_in_arrival_order(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    words = [str(number) for number in range(20)]
    appends = [window.append(id, [user_message(word)]) for word in words]
    await asyncio.gather(*appends, window.archive(id))
    assert await contents(service, id) == words
    assert (await service.get_session(id)).archived_at is not None


async def test_queued_appends_share_one_commit(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message("first")])
    words = [str(number) for number in range(64)]
    async with traced_statements(service) as statements:
        await queued_together(service, *(window.append(id, [user_message(word)]) for word in words))
    assert statements.count("COMMIT") == 1
    assert await contents(service, id) == ["first", *words]


async def test_queued_appends_to_two_sessions_share_one_commit(
    window: Window, service: LocalSessionService
) -> None:
    ids = [(await window.open(workspace_at(), mode="new")).session.id for _ in range(2)]
    for id in ids:
        await window.append(id, [user_message("first")])
    async with traced_statements(service) as statements:
        appends = [window.append(id, [user_message(word)]) for word in "abc" for id in ids]
        await queued_together(service, *appends)
    assert statements.count("COMMIT") == 1
    for id in ids:
        assert await contents(service, id) == ["first", *"abc"]


async def test_each_of_many_appends_has_its_own_result(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    first = user_message("0", id="0")
    await window.append(id, [first])
    batches = [
        [user_message("1", id="1")],
        [user_message("other", id="0")],
        [first],
        [],
        [user_message("2", id="2")],
    ]
    results = await asyncio.gather(
        window.append(id, [user_message("before", id="before")]),
        *(window.append(id, batch) for batch in batches),
        window.append(id, [user_message("unseen")], parent_id="0"),
        window.append("not open", [user_message("elsewhere")]),
        return_exceptions=True,
    )
    outcomes = [
        each.event_count if isinstance(each, AppendResult) else type(each) for each in results
    ]
    assert outcomes == [2, 3, EventConflict, 3, 3, 4, HeadMoved, SessionNotOpen]
    assert await contents(service, id) == ["0", "before", "1", "2"]


async def test_reads_between_appends_keep_their_order(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id

    async def read_contents() -> str:
        page = await window.events(id, after=0, before=None, limit=100)
        return "".join(event.data["content"] for event in page.events)

    appends = [window.append(id, [user_message(word)]) for word in "abcdef"]
    found = await asyncio.gather(
        *appends[:3], read_contents(), *appends[3:5], read_contents(), appends[5]
    )
    assert (found[3], found[6]) == ("abc", "abcde")


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("cancelled", [1, 2])
async def test_a_cancelled_append_leaves_the_others(
    window: Window, service: LocalSessionService, cancelled: int, iterations: int
) -> None:
    """The first append is committed alone; the second is the first of the next group."""
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message("0")])
    tasks = [asyncio.ensure_future(window.append(id, [user_message(word)])) for word in "abcd"]
    for _ in range(iterations):
        await asyncio.sleep(0)
    tasks[cancelled].cancel()
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    others = [each for workspace_at, each in enumerate(done) if workspace_at != cancelled]
    assert [type(each) for each in others] == [AppendResult] * 3
    await window.append(id, [user_message("e")])
    stored = await contents(service, id)
    assert set("0abcde") - {"abcd"[cancelled]} <= set(stored)
    assert len(stored) == len(set(stored))


async def test_appends_beyond_the_maximum_group_size_do_not_share_a_commit(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message("0")])
    async with traced_statements(service) as statements:
        many = [[user_message() for _ in range(1_000)], [user_message()]]
        await asyncio.gather(
            window.append(id, [user_message()]), *(window.append(id, events) for events in many)
        )
    assert statements.count("COMMIT") == 3


async def test_a_reset_creates_its_session_in_the_workspace_of_the_window(
    window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service, directory="/repo/docs", git_root="/repo")
    opened = await window.open(workspace_at("/repo/src", "/repo"))
    assert opened.session.id == id
    fresh = await window.reset(id)
    assert (fresh.session.directory, fresh.resumed, fresh.boundary) == ("/repo/src", False, None)
    assert fresh.session.id != id
    await window.append(fresh.session.id, [user_message("new")])
    assert (await service.get_session(id)).archived_at is not None
    assert (await service.get_session(fresh.session.id)).directory == "/repo/src"


# Closing, deleting and archiving


async def test_a_deleted_session_is_closed(window: Window, service: LocalSessionService) -> None:
    stored, deferred = (
        await store_session(service),
        (await window.open(workspace_at("/else"))).session.id,
    )
    await window.open(workspace_at(), session_id=stored)
    for id in (stored, deferred, "unknown"):
        await window.delete(id)
        with pytest.raises(SessionNotOpen):
            await window.append(id, [user_message()])
    assert (await service.list_sessions(archived=True)).sessions == []


async def test_a_closed_session_is_opened_under_a_new_invocation(
    window: Window, service: LocalSessionService
) -> None:
    await store_session(service)
    first = await window.open(workspace_at())
    await window.close_session(first.session.id)
    await window.close_session("unknown")
    with pytest.raises(SessionNotOpen):
        await window.append(first.session.id, [user_message()])
    assert (await window.open(workspace_at())).invocation_id != first.invocation_id


async def test_metadata_is_stored_whether_the_session_is_open_or_not(
    window: Window, open_window: OpenWindow, service: LocalSessionService
) -> None:
    deferred = (await window.open(workspace_at())).session.id
    stored = await store_session(service, directory="/else")
    for id in (deferred, stored):
        await window.set_server_session_id(id, "remote-1")
        await window.set_metadata(id, "key", [1])
        assert await window.get_metadata(id, "key") == [1]
    await window.append(deferred, [user_message()])
    for id in (deferred, stored):
        assert await open_window().get_metadata(id, "key") == [1]
        assert (await service.get_session(id)).server_session_id == "remote-1"
    with pytest.raises(SessionNotFound):
        await window.set_metadata("unknown", "key", 1)


async def test_archiving_an_empty_session_closes_it(window: Window) -> None:
    id = (await window.open(workspace_at())).session.id
    assert (await window.events(id, after=None, before=None, limit=10)).events == ()
    await window.archive(id)
    with pytest.raises(SessionNotOpen):
        await window.append(id, [user_message()])
    assert (await window.open(workspace_at())).session.id != id


async def test_a_session_that_was_deleted_elsewhere_can_be_reset(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message()])
    await service.delete(id)
    assert (await window.reset(id)).session.event_count == 0


async def test_the_list_of_a_workspace_includes_its_worktrees(
    window: Window, service: LocalSessionService
) -> None:
    one = await store_session(service, directory="/repo", git_common_dir="/repo/.git")
    two = await store_session(service, directory="/tree", git_common_dir="/repo/.git")
    three = await store_session(service, directory="/else")

    async def listed(directory: str | None, root: str | None) -> set[str]:
        where = None if directory is None else workspace_at(directory, root)
        page = await window.list_sessions(where, archived=False, cursor=None, limit=10)
        return {session.id for session in page.sessions}

    assert await listed("/repo", "/repo") == {one, two}
    assert await listed("/else", None) == {three}
    assert await listed(None, None) == {one, two, three}


async def test_the_store_is_opened_once_when_it_is_first_needed(database: Path) -> None:
    opened: list[LocalSessionService] = []

    async def open_service() -> SessionService:
        opened.append(await LocalSessionService.open(database))
        return opened[-1]

    window = Window(open_service, 60)
    await window.close()
    assert opened == []
    window = Window(open_service, 60)
    await asyncio.gather(*(window.open(workspace_at(f"/{number}")) for number in range(4)))
    assert len(opened) == 1
    await window.close()


# Backpressure


async def test_a_request_waits_until_its_response_can_be_buffered(
    service: LocalSessionService,
) -> None:
    has_capacity = asyncio.Event()
    has_capacity.set()

    async def wait_for_capacity() -> None:
        await has_capacity.wait()

    window = Window(open_service_of(service), 60, before_request=wait_for_capacity)
    session = (await window.open(workspace_at())).session.id
    has_capacity.clear()
    appends = [
        asyncio.create_task(window.append(session, [user_message(name)])) for name in ("one", "two")
    ]
    done, _ = await asyncio.wait(appends, timeout=0.1)
    assert not done

    has_capacity.set()

    assert [(await append).event_count for append in appends] == [1, 2]


async def test_a_request_that_is_refused_before_it_begins_has_no_effect(
    service: LocalSessionService,
) -> None:
    refuses = False

    async def before_request() -> None:
        if refuses:
            raise NothingToResume("refused")

    window = Window(open_service_of(service), 60, before_request=before_request)
    session = (await window.open(workspace_at())).session.id
    refuses = True
    with pytest.raises(NothingToResume):
        await window.append(session, [user_message("one")])
    refuses = False

    assert (
        await asyncio.wait_for(window.append(session, [user_message("two")]), 5)
    ).event_count == 1


# Workspaces that are still being looked for


def pending() -> "asyncio.Future[Workspace]":
    return asyncio.get_running_loop().create_future()


async def test_a_session_opened_by_its_id_does_not_wait_for_a_workspace(
    window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service, user_message("one"))
    async with asyncio.timeout(1):
        assert (await window.open(pending(), session_id=id)).session.id == id
        await window.append(id, [user_message("two")])


@pytest.mark.parametrize("answer", ["in time", "late", "never", "a fault"])
async def test_a_reset_after_a_restart_begins_where_the_window_is_or_the_session_was(
    window: Window, service: LocalSessionService, answer: str
) -> None:
    id = await store_session(service, directory="/repo/docs", git_root="/repo")
    workspace = pending()
    await window.open(workspace, session_id=id)
    if answer == "in time":
        workspace.set_result(workspace_at("/window"))
    elif answer == "late":
        asyncio.get_running_loop().call_later(0.02, workspace.set_result, workspace_at("/window"))
    elif answer == "a fault":
        workspace.set_exception(InvalidWorkspaceError("is a file"))
    opened = await window.reset(id)
    known = answer in ("in time", "late")
    assert opened.session.directory == ("/window" if known else "/repo/docs")
    assert opened.session.git_root == (None if known else "/repo")
    await window.append(opened.session.id, [user_message()])
    listed = await service.list_sessions(directory="/repo")
    assert (opened.session.id in [each.id for each in listed.sessions]) != known


async def test_requests_keep_their_order_while_a_workspace_is_looked_for(
    window: Window, service: LocalSessionService
) -> None:
    id = await store_session(service)
    workspace = pending()
    opening = asyncio.ensure_future(window.open(workspace))
    archiving = asyncio.ensure_future(window.archive(id))
    await asyncio.sleep(0.02)
    workspace.set_result(workspace_at())
    assert (await opening).session.id == id
    await archiving
    assert (await service.get_session(id)).archived_at is not None


async def test_a_workspace_that_takes_long_lets_the_other_requests_go_first(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    stuck = [pending() for _ in range(20)]
    late = [asyncio.ensure_future(window.find_resumable(each)) for each in stuck]
    async with asyncio.timeout(1):
        for word in "abc":
            await window.append(id, [user_message(word)])
        assert (await window.open(workspace_at("/elsewhere"))).session.directory == "/elsewhere"
    assert await contents(service, id) == list("abc")
    stuck[0].set_result(workspace_at())
    assert (await late[0]).session is not None
    for each in stuck[1:]:
        each.set_exception(InvalidWorkspaceError("the folder does not answer"))
    refused = await asyncio.gather(*late[1:], return_exceptions=True)
    assert {type(each) for each in refused} == {InvalidWorkspaceError}


# Sessions that are still empty


async def test_auto_costs_the_same_with_any_number_of_empty_sessions(window: Window) -> None:
    async def seconds_for(folders: range) -> float:
        best = 1.0
        for first in folders:
            began = time.perf_counter()
            for number in range(first, first + 20):
                await window.open(workspace_at(f"/{number}"), continue_minutes=0)
            best = min(best, time.perf_counter() - began)
        return best

    few = await seconds_for(range(0, 200, 20))
    await seconds_for(range(200, 6_000, 20))
    many = await seconds_for(range(6_000, 6_200, 20))
    assert many < 3 * few


async def test_auto_finds_the_oldest_session_that_is_still_empty(window: Window) -> None:
    first, second, third = [
        (await window.open(workspace_at(), mode="new")).session.id for _ in range(3)
    ]

    async def empty() -> str:
        return (await window.open(workspace_at(), continue_minutes=0)).session.id

    assert await empty() == first
    await window.append(first, [user_message()])
    assert await empty() == second
    await window.close_session(second)
    assert await empty() == third
    reset = (await window.reset(third)).session.id
    assert await empty() == reset
    await window.archive(reset)
    assert await empty() not in {first, second, third, reset}


# Times in the future


async def test_a_session_with_a_time_in_the_future_is_named_and_not_resumed(
    database: Path, window: Window, service: LocalSessionService
) -> None:
    ahead = await store_session(service, user_message("in 2106"))
    make_older(database, ahead, -60 * 24 * 365 * 80)
    found = await window.find_resumable(workspace_at())
    assert (found.session, found.alternatives) == (None, ())
    assert 'The session "in 2106" has a time in the future, 21' in found.reason
    with pytest.raises(NothingToResume, match="has a time in the future"):
        await window.open(workspace_at(), mode="resume")
    fresh = await store_session(service, user_message("now"))
    opened = await window.open(workspace_at())
    assert (opened.session.id, opened.alternatives) == (fresh, [])
    assert "has a time in the future" in opened.reason
    by_id = await window.open(workspace_at(), session_id=ahead)
    assert by_id.boundary is not None
    assert "was in the future (21" in by_id.boundary.data["content"]
    await window.append(ahead, [user_message()])
    found = await window.find_resumable(workspace_at())
    assert (found.session and found.session.id, len(found.alternatives)) == (ahead, 1)
    assert "future" not in found.reason


# Forks, titles, and what is open here


async def test_the_boundary_of_a_fork_has_the_time_of_its_last_event(
    window: Window, service: LocalSessionService, database: Path
) -> None:
    id = await store_session(service, user_message("one"))
    execute(database, "UPDATE events SET created_at = created_at - 2 * 3600 * 1000")
    opened = await window.fork(id)
    assert opened.boundary is not None
    assert "2 hours ago" in opened.boundary.data["content"]
    assert opened.last_event_at == opened.events[-1].created_at


async def test_a_fork_of_what_is_open_here_goes_on_without_a_boundary(window: Window) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message("one")])
    opened = await window.fork(id)
    assert opened.boundary is None
    await window.append(opened.session.id, [user_message("two")])
    page = await window.events(opened.session.id, after=0, before=None, limit=10)
    assert [event.data["content"] for event in page.events] == ["one", "two"]
    assert page.events[0].invocation_id != page.events[1].invocation_id == opened.invocation_id


async def test_a_fork_that_is_refused_opens_nothing(
    window: Window, service: LocalSessionService
) -> None:
    id = (await window.open(workspace_at())).session.id
    with pytest.raises(InvalidInputError, match="no event yet"):
        await window.fork(id)
    await window.append(id, [user_message("one")])
    new = new_id()
    for original, at, error in ((id, "unknown", EventNotFound), ("none", None, SessionNotFound)):
        with pytest.raises(error):
            await window.fork(original, at=at, new_session_id=new)
    with pytest.raises(SessionNotOpen):
        await window.append(new, [user_message("two")])
    assert len((await service.list_sessions()).sessions) == 1


async def test_sessions_are_held_while_they_are_open_in_a_window(
    window: Window, service: LocalSessionService, database: Path
) -> None:
    stored = await store_session(service)
    opened = (await window.open(workspace_at(), session_id=stored)).session.id
    created = (await window.open(workspace_at(), mode="new")).session.id
    await window.append(created, [user_message("one")])
    forked = (await window.fork(created)).session.id
    ids = {opened, created, forked}
    for id in ids:
        await window.archive(id)
    reset = await window.open(workspace_at(), mode="new")
    await window.append(reset.session.id, [user_message("one")])
    await window.reset(reset.session.id)
    ids.add(reset.session.id)
    command = await LocalSessionService.open(database)
    try:
        for closed in (None, *sorted(ids)):
            if closed is not None:
                await window.close_session(closed)
                ids.discard(closed)
            result = await command.prune(timedelta(0))
            assert {each.id for each in result.held} == ids
            assert {each.session.id for each in result.taken} == ({closed} if closed else set())
    finally:
        await command.close()


async def test_a_search_waits_for_no_other_request(
    window: Window, service: LocalSessionService
) -> None:
    await store_session(service, user_message("a word"))
    await window.search("word")
    async with window._requests:
        page = await asyncio.wait_for(window.search("word"), 10)
    assert len(page.hits) == 2
