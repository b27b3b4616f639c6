"""The contract suite of SessionService, which runs on every store of `stores.STORES`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.model.errors import EventConflict, EventNotFound, HeadMoved, SessionNotFound
from segue.model.events import Event, new_id
from segue.model.imports import ImportedEvent
from segue.model.records import (
    MAX_BATCH,
    MAX_PAGE_BYTES,
    MAX_SKEW_MS,
    AppendResult,
    EventPosition,
    Invocation,
    NewFork,
    NewSession,
    Order,
    Origin,
    Timestamp,
)
from segue.model.titles import MAX_TITLE
from segue.model.validation import InvalidInputError
from segue.store.service import SessionService
from tests.factories import (
    HERE,
    INVOCATION,
    all_events,
    append_to_head,
    contents,
    new_session,
    note,
    store_session,
    user_message,
)
from tests.store.stores import STORES, FakeClock, StoreFactory

HOUR = timedelta(hours=1)
MINUTE = 60_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    """Return a new service of each store, one after the other."""
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "data", clock)
    yield opened
    await opened.close()


@pytest.fixture
def knows_holds(request: pytest.FixtureRequest, service: SessionService) -> None:
    """Skip a test where it cannot be known what is open: what was used today then counts as it."""
    if not request.node.callspec.params["service"].can_hold:
        pytest.skip("this store cannot know which sessions are open")


async def append(
    service: SessionService,
    session_id: str,
    *events: Event,
    parent_id: str | None,
    boundary: Event | None = None,
) -> AppendResult:
    return await service.append_events(
        session_id, events, parent_id=parent_id, invocation_id=INVOCATION, boundary=boundary
    )


async def resumable(
    service: SessionService,
    directory: str = HERE,
    git_root: str | None = None,
    max_age: timedelta = HOUR,
) -> list[str]:
    found = (await service.find_resumable(directory, git_root, max_age)).sessions
    return [session.id for session in found]


async def listed(service: SessionService, **filters: Any) -> list[str]:
    page = await service.list_sessions(**filters)
    assert page.next_cursor is None
    return [session.id for session in page.sessions]


# Creating


async def test_a_session_is_created_with_its_first_events(
    service: SessionService, clock: FakeClock
) -> None:
    new = new_session(
        git_root="/home/someone",
        git_common_dir="/home/someone/.git",
        repository="github.com/org/repo",
        server_session_id="remote-1",
        source="claude-code",
        metadata={"theme": {"dark": True}, "later": [1]},
    )
    first, second = user_message("Fix the test\nplease"), user_message("Now")
    origin = Origin(client_name="Neovim", agent="codecompanion", model="a-model", branch="main")
    appended = await service.create_session(
        new, [first, second], invocation_id="invocation-7", origin=origin
    )
    assert appended == AppendResult(
        head=second.id,
        event_count=2,
        events=[EventPosition(first.id, 1), EventPosition(second.id, 2)],
        duplicates=0,
    )
    session = await service.get_session(new.id)
    assert attrs.asdict(session) == {
        "id": new.id,
        "directory": HERE,
        "git_root": "/home/someone",
        "title": "Fix the test",
        "server_session_id": "remote-1",
        "head": second.id,
        "event_count": 2,
        "created_at": clock.now,
        "updated_at": clock.now,
        "archived_at": None,
        "forked_from": None,
        "fork_seq": None,
        "source": "claude-code",
        "client": "Neovim",
        "agent": "codecompanion",
        "model": "a-model",
        "last_prompt_at": clock.now,
        "branch": "main",
        "repository": "github.com/org/repo",
        "machine": None,
        "shared_by": None,
    }
    assert await service.get_metadata(new.id, "theme") == {"dark": True}
    assert await service.get_metadata(new.id, "later") == [1]
    stored = await all_events(service, new.id)
    assert [
        (event.type, event.data, event.invocation_id, event.created_at) for event in stored
    ] == [(event.type, event.data, "invocation-7", clock.now) for event in (first, second)]


async def test_a_session_without_events_is_not_stored(service: SessionService) -> None:
    new = new_session()
    with contextlib.suppress(ValueError):  # a store may refuse it or store nothing
        await service.create_session(new, [], invocation_id=INVOCATION)
    with pytest.raises(SessionNotFound):
        await service.get_session(new.id)
    assert await listed(service) == []


async def test_retrying_a_creation_returns_the_first_result(
    service: SessionService, clock: FakeClock
) -> None:
    new, events = new_session(), [user_message("one"), user_message("two")]
    first = await service.create_session(new, events, invocation_id=INVOCATION)
    created = await service.get_session(new.id)
    clock.now += MINUTE
    again = await service.create_session(new, events, invocation_id=INVOCATION)
    assert attrs.evolve(again, duplicates=0) == first
    assert again.duplicates == 2
    assert await service.get_session(new.id) == created
    assert await contents(service, new.id) == ["one", "two"]


async def test_creating_a_session_that_has_other_events_raises_head_moved(
    service: SessionService,
) -> None:
    new = new_session()
    head = user_message("one")
    await service.create_session(new, [head], invocation_id=INVOCATION)
    with pytest.raises(HeadMoved) as moved:
        await service.create_session(new, [user_message("other")], invocation_id=INVOCATION)
    assert (moved.value.head, moved.value.event_count) == (head.id, 1)


async def test_a_creation_that_fails_leaves_no_session(service: SessionService) -> None:
    new = new_session(metadata={"key": "value"})
    events = [user_message("one", id="same"), user_message("two", id="same")]
    with pytest.raises(EventConflict):
        await service.create_session(new, events, invocation_id=INVOCATION)
    with pytest.raises(SessionNotFound):
        await service.get_session(new.id)


async def test_only_one_of_several_concurrent_creations_succeeds(
    service: SessionService,
) -> None:
    new = new_session()
    results = await asyncio.gather(
        *(
            service.create_session(new, [user_message()], invocation_id=INVOCATION)
            for _ in range(8)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, AppendResult) for result in results) == 1
    assert sum(isinstance(result, HeadMoved) for result in results) == 7
    assert len(await all_events(service, new.id)) == 1


# Appending


async def test_an_append_advances_the_head(service: SessionService, clock: FakeClock) -> None:
    first, second, third = user_message("one"), user_message("two"), user_message("three")
    id = await store_session(service, first)
    created = await service.get_session(id)
    clock.now += MINUTE
    assert await append(service, id, second, third, parent_id=first.id) == AppendResult(
        head=third.id,
        event_count=3,
        events=[EventPosition(second.id, 2), EventPosition(third.id, 3)],
        duplicates=0,
    )
    assert await service.get_session(id) == attrs.evolve(
        created, head=third.id, event_count=3, updated_at=clock(), last_prompt_at=clock()
    )
    assert await contents(service, id) == ["one", "two", "three"]


@pytest.mark.parametrize("parent", ["first", "unknown", None])
async def test_an_append_with_a_parent_that_is_not_the_head_is_refused(
    service: SessionService, parent: str | None
) -> None:
    first, second = user_message("one", id="first"), user_message("two")
    id = await store_session(service, first, second)
    before = await service.get_session(id)
    with pytest.raises(HeadMoved) as moved:
        await append(service, id, user_message("three"), parent_id=parent)
    assert (moved.value.head, moved.value.event_count) == (second.id, 2)
    assert moved.value.details() == {"head": second.id, "event_count": 2}
    assert await service.get_session(id) == before
    assert await contents(service, id) == ["one", "two"]


async def test_only_one_of_several_concurrent_appends_succeeds(service: SessionService) -> None:
    first = user_message()
    id = await store_session(service, first)
    rivals = [user_message(f"rival {number}") for number in range(8)]
    results = await asyncio.gather(
        *(append(service, id, rival, parent_id=first.id) for rival in rivals),
        return_exceptions=True,
    )
    (won,) = (result for result in results if isinstance(result, AppendResult))
    lost = [result for result in results if isinstance(result, HeadMoved)]
    assert [(moved.head, moved.event_count) for moved in lost] == [(won.head, 2)] * 7
    assert len(await all_events(service, id)) == 2


async def test_an_append_of_nothing_changes_nothing(
    service: SessionService, clock: FakeClock
) -> None:
    first = user_message()
    id = await store_session(service, first)
    before = await service.get_session(id)
    clock.now += MINUTE
    appended = await append(service, id, parent_id=first.id, boundary=note())
    assert appended == AppendResult(head=first.id, event_count=1, events=[], duplicates=0)
    assert await service.get_session(id) == before


async def test_retrying_an_append_writes_nothing(service: SessionService, clock: FakeClock) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first)
    appended = await append(service, id, second, parent_id=first.id)
    stored = await service.get_session(id)
    clock.now += MINUTE
    again = await append(service, id, second, parent_id=first.id)
    assert again == attrs.evolve(appended, duplicates=1)
    assert await service.get_session(id) == stored
    assert await contents(service, id) == ["one", "two"]


async def test_a_retry_is_recognized_with_any_parent_and_after_other_appends(
    service: SessionService,
) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first)
    await append(service, id, second, parent_id=first.id)
    await append_to_head(service, id, user_message("three"))
    for parent in (None, "unknown", first.id, second.id):
        again = await append(service, id, second, parent_id=parent)
        assert (again.events, again.duplicates) == ([EventPosition(second.id, 2)], 1)
    assert await contents(service, id) == ["one", "two", "three"]


async def test_the_key_order_does_not_matter_to_a_retry(service: SessionService) -> None:
    one = Event.new("later", {"a": 1, "b": {"c": 2, "d": 3}}, "same")
    other = Event.new("later", {"b": {"d": 3, "c": 2}, "a": 1}, "same")
    id = await store_session(service, one)
    assert (await append(service, id, other, parent_id=None)).duplicates == 1
    (stored,) = await all_events(service, id)
    assert list(stored.data) == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        Event.new("text", {"content": "two"}, "same"),
        Event.new("user_message", {"content": "one"}, "same"),
        Event.new("text", {"content": "one", "more": None}, "same"),
    ],
    ids=["data", "type", "field"],
)
async def test_a_known_id_with_other_content_is_a_conflict(
    service: SessionService, other: Event
) -> None:
    first = Event.new("text", {"content": "one"}, "same")
    id = await store_session(service, first)
    for parent in (None, "same"):
        with pytest.raises(EventConflict) as conflict:
            await append(service, id, user_message("new"), other, parent_id=parent)
        assert conflict.value.details() == {"event_id": "same"}
    assert await contents(service, id) == ["one"]


async def test_a_batch_may_mix_stored_and_new_events(service: SessionService) -> None:
    one, two, three, four = (user_message(word) for word in ("one", "two", "three", "four"))
    id = await store_session(service, one, two)
    appended = await append(service, id, one, two, three, four, parent_id=None)
    assert appended == AppendResult(
        head=four.id,
        event_count=4,
        events=[
            EventPosition(event.id, seq) for seq, event in enumerate((one, two, three, four), 1)
        ],
        duplicates=2,
    )
    assert await contents(service, id) == ["one", "two", "three", "four"]


async def test_stored_events_between_new_ones_are_duplicates_and_keep_their_seq(
    service: SessionService,
) -> None:
    one, two, three = (user_message(word) for word in ("one", "two", "three"))
    id = await store_session(service, one)
    appended = await append(service, id, two, one, three, parent_id=one.id)
    assert [(place.id, place.seq) for place in appended.events] == [
        (two.id, 2), (one.id, 1), (three.id, 3),
    ]  # fmt: skip
    assert appended.duplicates == 1
    assert await contents(service, id) == ["one", "two", "three"]


async def test_a_mixed_batch_whose_stored_part_is_not_the_newest_is_refused(
    service: SessionService,
) -> None:
    """The sender has not seen what another window appended after the events that it repeats."""
    one, two = user_message("one"), user_message("two")
    id = await store_session(service, one, two)
    with pytest.raises(HeadMoved) as moved:
        await append(service, id, one, user_message("three"), parent_id=None)
    assert moved.value.head == two.id
    assert await contents(service, id) == ["one", "two"]


async def test_an_event_twice_in_one_batch_is_written_once(service: SessionService) -> None:
    one, two = user_message("one"), user_message("two")
    id = await store_session(service, one)
    appended = await append(service, id, two, two, parent_id=one.id)
    assert (appended.head, appended.event_count) == (two.id, 2)
    assert appended.events == [EventPosition(two.id, 2), EventPosition(two.id, 2)]
    assert appended.duplicates == 1
    assert await contents(service, id) == ["one", "two"]


async def test_one_id_with_two_contents_in_one_batch_is_a_conflict(
    service: SessionService,
) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    with pytest.raises(EventConflict):
        await append(
            service,
            id,
            user_message("two"),
            user_message("a", "x"),
            user_message("b", "x"),
            parent_id=one.id,
        )
    assert await contents(service, id) == ["one"]


async def test_a_batch_is_stored_whole_or_not_at_all(service: SessionService) -> None:
    """The last event of the batch conflicts: the events before it must not be kept."""
    one = user_message("one", id="taken")
    id = await store_session(service, one)
    before = await service.get_session(id)
    batch = [user_message(str(number)) for number in range(50)]
    with pytest.raises(EventConflict):
        await append(service, id, *batch, user_message("other", id="taken"), parent_id=one.id)
    assert await service.get_session(id) == before
    assert await contents(service, id) == ["one"]


async def test_an_open_session_and_its_tail_are_one_snapshot(service: SessionService) -> None:
    id = await store_session(service, *map(user_message, "abc"))
    session, page = await service.open_session(id, 2)
    assert session == await service.get_session(id)
    assert [event.data["content"] for event in page.events] == ["b", "c"]
    assert page.events[-1].id == session.head
    assert page.has_more
    with pytest.raises(SessionNotFound):
        await service.open_session("unknown")


async def test_two_sessions_may_have_events_of_the_same_id(service: SessionService) -> None:
    one = await store_session(service, user_message("in one", id="same"))
    other = await store_session(service, user_message("in the other", id="same"))
    assert await contents(service, one) == ["in one"]
    assert await contents(service, other) == ["in the other"]


async def test_ids_are_compared_exactly(service: SessionService) -> None:
    uuid = new_id()
    ids = ["1", "01", "1.0", "1e0", " 1", "a", "A", "ä", "a\u0308", "a\0", uuid, uuid.upper()]
    ids += [uuid.replace("-", ""), "x" * 128]
    id = await store_session(service, *(user_message(id=id) for id in ids))
    assert [event.id for event in await all_events(service, id)] == ids


async def test_the_order_of_events_does_not_depend_on_the_clock(
    service: SessionService, clock: FakeClock
) -> None:
    words = [str(number) for number in range(20)]
    id = await store_session(service, user_message(words[0]))
    for word in words[1:]:
        clock.now -= 1_000
        await append_to_head(service, id, user_message(word))
    assert await contents(service, id) == words


async def test_every_event_has_the_invocation_that_wrote_it(service: SessionService) -> None:
    id = await store_session(service)
    await append_to_head(service, id, user_message(), user_message(), invocation_id="invocation-2")
    await append_to_head(service, id, user_message(), invocation_id=INVOCATION)
    assert [event.invocation_id for event in await all_events(service, id)] == [
        INVOCATION, "invocation-2", "invocation-2", INVOCATION,
    ]  # fmt: skip


async def test_an_event_is_read_as_it_was_appended(service: SessionService) -> None:
    data: dict[str, Any] = {
        "z": "NUL \0, half \ud83d, whole 🎼, line\u2028",
        "a": [10**400, -(2**63) - 1, 0.1, 1.0, True, None, {}],
        "jsonrpc": {"class": 1, "a-b": 2},
    }
    id = await store_session(service, Event.new("from/later", data))
    (event,) = await all_events(service, id)
    assert (event.type, event.data, event.corrupt) == ("from/later", data, False)
    assert list(event.data) == ["z", "a", "jsonrpc"]


# The title


async def test_the_title_is_the_first_user_message_that_is_not_blank(
    service: SessionService,
) -> None:
    id = await store_session(service, note("no title"))
    assert (await service.get_session(id)).title is None
    await append_to_head(
        service, id, user_message("  \n"), user_message("Fix the test"), user_message("Another")
    )
    await append_to_head(service, id, user_message("Later"))
    assert (await service.get_session(id)).title == "Fix the test"


async def test_a_message_that_a_tool_wrote_gives_no_title(service: SessionService) -> None:
    id = await store_session(service, user_message("[Request interrupted by user]"))
    reminder = user_message("<system-reminder>\nBe brief.\n</system-reminder>")
    await append_to_head(service, id, reminder, user_message("Fix the test"))
    assert (await service.get_session(id)).title == "Fix the test"


# The boundary


async def test_a_boundary_is_stored_before_the_first_new_event(service: SessionService) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    boundary, two, three = note("boundary"), user_message("two"), user_message("three")
    appended = await append(service, id, two, three, parent_id=one.id, boundary=boundary)
    assert appended == AppendResult(
        head=three.id,
        event_count=4,
        events=[EventPosition(two.id, 3), EventPosition(three.id, 4)],
        duplicates=0,
    )
    assert await contents(service, id) == ["one", "boundary", "two", "three"]


async def test_a_boundary_is_not_stored_when_nothing_new_follows(service: SessionService) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    await append(service, id, one, parent_id=one.id, boundary=note("boundary"))
    assert await contents(service, id) == ["one"]


async def test_a_boundary_follows_the_stored_part_of_a_mixed_batch(service: SessionService) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    await append(service, id, one, user_message("two"), parent_id=None, boundary=note("boundary"))
    assert await contents(service, id) == ["one", "boundary", "two"]


async def test_a_boundary_among_the_events_keeps_its_position(
    service: SessionService,
) -> None:
    one, boundary = user_message("one"), note("boundary")
    id = await store_session(service, one)
    await append(service, id, boundary, user_message("two"), parent_id=one.id, boundary=boundary)
    assert await contents(service, id) == ["one", "boundary", "two"]


async def test_a_boundary_that_is_stored_already_is_not_stored_again(
    service: SessionService,
) -> None:
    """After a lost response the sender repeats its events and the boundary, and adds one."""
    one, two, three, boundary = (
        user_message("one"),
        user_message("two"),
        user_message("three"),
        note("boundary"),
    )
    id = await store_session(service, one)
    await append(service, id, two, parent_id=one.id, boundary=boundary)
    appended = await append(service, id, two, three, parent_id=one.id, boundary=boundary)
    assert (appended.head, appended.duplicates) == (three.id, 1)
    assert await contents(service, id) == ["one", "boundary", "two", "three"]


# Resuming


async def test_a_session_of_the_same_directory_is_resumable(service: SessionService) -> None:
    id = await store_session(service)
    assert await resumable(service) == [id]
    assert await resumable(service, "/elsewhere") == []
    assert await resumable(service, HERE + "/src") == []


async def test_a_session_of_the_same_git_root_is_resumable(service: SessionService) -> None:
    id = await store_session(service, directory="/repo/src", git_root="/repo")
    assert await resumable(service, "/repo/docs", "/repo") == [id]
    assert await resumable(service, "/repo/docs", "/repository") == []


async def test_two_sessions_without_a_git_root_do_not_match_by_it(
    service: SessionService,
) -> None:
    await store_session(service, directory="/one", git_root=None)
    assert await resumable(service, "/other", None) == []


async def test_a_session_with_the_same_root_and_directory_is_found_once(
    service: SessionService,
) -> None:
    id = await store_session(service, directory="/repo", git_root="/repo")
    assert await resumable(service, "/repo", "/repo") == [id]


async def test_a_session_stays_resumable_when_its_directory_becomes_a_repository(
    service: SessionService,
) -> None:
    id = await store_session(service, directory="/repo")
    assert await resumable(service, "/repo", "/repo") == [id]
    assert await resumable(service, "/repo/src", "/repo") == [id]
    assert await resumable(service, "/repo/src", None) == []


async def test_a_session_stays_resumable_when_its_repository_is_none_any_more(
    service: SessionService,
) -> None:
    id = await store_session(service, directory="/repo/src", git_root="/repo")
    assert await resumable(service, "/repo/src", None) == [id]
    assert await resumable(service, "/repo", None) == [id]
    assert await resumable(service, "/repo/docs", None) == []


async def test_sessions_of_another_spelling_are_resumable_and_listed(
    service: SessionService, clock: FakeClock
) -> None:
    old = await store_session(service, directory="/vol/proj/src", git_root="/vol/proj")
    clock.now += 1
    new = await store_session(service, directory="/Vol/Proj/src", git_root="/Vol/Proj")
    place = {"git_root": "/Vol/Proj", "aliases": ("/vol/proj/src", "/vol/proj")}
    found = await service.find_resumable("/Vol/Proj/src", max_age=HOUR, **place)  # type: ignore[arg-type]  # the values have different types
    assert [session.id for session in found.sessions] == [new, old]
    assert await listed(service, directory="/Vol/Proj/src", **place) == [new, old]
    assert await resumable(service, "/Vol/Proj/src", "/Vol/Proj") == [new]


async def test_a_session_with_a_time_in_the_future_is_not_resumable(
    service: SessionService, clock: FakeClock
) -> None:
    ahead = await store_session(service, user_message("ahead"))
    clock.now -= MAX_SKEW_MS
    assert await resumable(service) == [ahead], "clocks are set back a little"
    clock.now -= 1
    found = await service.find_resumable(HERE, None, timedelta(days=365_000))
    assert (found.sessions, found.in_future and found.in_future.id) == ([], ahead)
    ids = []
    for _ in range(8):
        clock.now -= 1
        ids.append(await store_session(service))
    found = await service.find_resumable(HERE, None, HOUR)
    assert [session.id for session in found.sessions] == ids[:6]
    assert found.in_future is not None
    await append_to_head(service, ahead, user_message())
    found = await service.find_resumable(HERE, None, HOUR)
    assert found.in_future is None, "an append makes it a normal one again"


async def test_a_session_is_resumable_for_less_than_the_given_age(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service)
    clock.now += 60 * MINUTE - 1
    assert await resumable(service) == [id]
    clock.now += 1
    assert await resumable(service) == []
    assert await resumable(service, max_age=timedelta(days=400_000)) == [id]


@pytest.mark.parametrize("age", [timedelta(0), -HOUR])
async def test_no_session_is_resumable_with_an_age_of_zero_or_less(
    service: SessionService, age: timedelta
) -> None:
    await store_session(service)
    assert await resumable(service, max_age=age) == []


async def test_an_append_makes_an_old_session_resumable_again(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service)
    clock.now += 61 * MINUTE
    await append_to_head(service, id, user_message())
    assert await resumable(service) == [id]


async def test_an_archived_session_is_not_resumable(service: SessionService) -> None:
    id = await store_session(service)
    await service.archive(id)
    assert await resumable(service) == []
    await service.unarchive(id)
    assert await resumable(service) == [id]


@pytest.mark.parametrize(
    "hidden",
    [
        note(),
        Event.new("out_of_band_output", {"name": "help", "content": ""}),
        Event.new("from/later", {"content": ""}),
    ],
    ids=lambda event: event.type,
)
async def test_a_session_without_a_model_visible_event_is_not_resumable(
    service: SessionService, hidden: Event
) -> None:
    id = await store_session(service, hidden)
    assert await resumable(service) == []
    await append_to_head(service, id, user_message())
    await append_to_head(service, id, note())
    assert await resumable(service) == [id]


async def test_resumable_sessions_are_sorted_newest_first_and_limited(
    service: SessionService, clock: FakeClock
) -> None:
    ids = []
    for number in range(8):
        clock.now += MINUTE
        by_root = number % 2
        ids.append(
            await store_session(
                service,
                directory=f"/repo/{number}" if by_root else "/repo/here",
                git_root="/repo" if by_root else None,
            )
        )
    clock.now += MINUTE
    await append_to_head(service, ids[0], user_message())
    fitting = [ids[0], *reversed(ids[3:])]
    assert await resumable(service, "/repo/here", "/repo") == fitting


async def test_of_sessions_updated_at_the_same_time_the_last_created_comes_first(
    service: SessionService,
) -> None:
    ids = [await store_session(service) for _ in range(8)]
    assert await resumable(service) == ids[:1:-1]
    await append_to_head(service, ids[0], user_message())
    assert await resumable(service) == ids[:1:-1]


# Reading events


async def test_pages_of_events_in_both_directions(service: SessionService) -> None:
    id = await store_session(service, *(user_message(str(number)) for number in range(1, 11)))

    async def page(**where: int) -> tuple[list[int], bool]:
        found = await service.load_events(id, **where)
        assert [event.data["content"] for event in found.events] == [
            str(event.seq) for event in found.events
        ]
        return [event.seq for event in found.events], found.has_more

    assert await page() == (list(range(1, 11)), False)
    assert await page(limit=3) == ([8, 9, 10], True)
    assert await page(limit=10) == (list(range(1, 11)), False)
    assert await page(after=0, limit=3) == ([1, 2, 3], True)
    assert await page(after=7, limit=3) == ([8, 9, 10], False)
    assert await page(after=10) == ([], False)
    assert await page(after=2**32 - 1) == ([], False)
    assert await page(before=4, limit=2) == ([2, 3], True)
    assert await page(before=4, limit=3) == ([1, 2, 3], False)
    assert await page(before=1) == ([], False)
    assert await page(before=0) == ([], False)
    assert await page(before=2**32 - 1, limit=1) == ([10], True)
    assert await page(limit=0) == ([], True)


async def test_the_parent_of_a_pages_first_event_is_the_one_before_it(
    service: SessionService,
) -> None:
    events = [user_message() for _ in range(5)]
    id = await store_session(service, *events)
    page = await service.load_events(id, limit=2)
    assert [event.parent_id for event in page.events] == [events[2].id, events[3].id]


async def test_a_page_holds_events_of_its_session_only(service: SessionService) -> None:
    ids = [
        await store_session(service, user_message(name), user_message(name))
        for name in ("one", "two", "three")
    ]
    for where in ({}, {"after": 0}, {"before": 2**32 - 1}):
        page = await service.load_events(ids[1], **where)
        assert [event.data["content"] for event in page.events] == ["two", "two"]


async def test_a_page_ends_early_at_its_maximum_size_in_both_directions(
    service: SessionService,
) -> None:
    third = "x" * (MAX_PAGE_BYTES // 3)
    id = await store_session(service, *(user_message(third) for _ in range(5)))
    up = await service.load_events(id, after=0)
    assert ([event.seq for event in up.events], up.has_more) == ([1, 2], True)
    down = await service.load_events(id)
    assert ([event.seq for event in down.events], down.has_more) == ([4, 5], True)


async def test_a_page_holds_at_least_one_event_however_large(service: SessionService) -> None:
    giant = "x" * (MAX_PAGE_BYTES + 1)
    id = await store_session(
        service, user_message("small"), user_message(giant), user_message("last")
    )
    page = await service.load_events(id, after=1)
    assert ([event.data["content"] for event in page.events], page.has_more) == ([giant], True)
    page = await service.load_events(id, before=3)
    assert ([event.data["content"] for event in page.events], page.has_more) == ([giant], True)
    page = await service.load_events(id)
    assert ([event.data["content"] for event in page.events], page.has_more) == (["last"], True)


# Finding by a part of the id


async def test_a_session_is_found_by_the_beginning_of_its_id(service: SessionService) -> None:
    ids = ["ab-1", "ab-12", "ab-2", "b", "函数-1"]
    for id in reversed(ids):
        new = NewSession(id=id, directory=HERE)
        await service.create_session(new, [user_message()], invocation_id=INVOCATION)
    await service.archive("ab-2")

    async def found(prefix: str, **limits: int) -> list[str]:
        return [each.id for each in await service.find_sessions(prefix, **limits)]

    assert await found("ab-") == ["ab-1", "ab-12", "ab-2"]
    assert await found("ab-1") == ["ab-1", "ab-12"]
    assert await found("ab-", limit=2) == ["ab-1", "ab-12"]
    assert await found("函") == ["函数-1"]
    assert await found("ab-3") == await found("AB") == await found("a%") == []
    assert await found("") == ids
    await service.delete("ab-1")
    assert await found("ab-1") == ["ab-12"]


async def test_the_stub_of_a_deleted_session_is_not_found(service: SessionService) -> None:
    id = await store_session(service)
    fork = await service.fork_session(id, NewFork(id="fork"))
    await service.delete(id)
    assert [each.id for each in await service.find_sessions("")] == [fork.id]
    assert await service.short_ids([fork.id]) == {fork.id: fork.id}


async def test_a_short_id_begins_no_other_id(service: SessionService) -> None:
    ids = ["01a218e0-1111", "01a218e0-1122", "01a218e0", "b1a218e0-1", "c", "函数函数函数函数函数"]
    for id in ids:
        new = NewSession(id=id, directory=HERE)
        await service.create_session(new, [user_message()], invocation_id=INVOCATION)
    assert await service.short_ids(ids) == {
        "01a218e0-1111": "01a218e0-111",
        "01a218e0-1122": "01a218e0-112",
        "01a218e0": "01a218e0",
        "b1a218e0-1": "b1a218e0",
        "c": "c",
        "函数函数函数函数函数": "函数函数函数函数",
    }
    for id, short in (await service.short_ids(ids)).items():
        assert (await service.find_sessions(short))[0].id == id


# Listing


async def test_the_pages_of_the_list_hold_every_session_once_newest_first(
    service: SessionService, clock: FakeClock
) -> None:
    ids = []
    for number in range(25):
        clock.now += number % 2  # pairs share one millisecond
        ids.append(await store_session(service, directory=f"/{number}"))
    seen: list[str] = []
    cursor = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = await service.list_sessions(cursor=cursor, limit=4)
        seen += [session.id for session in page.sessions]
        cursor, pages = page.next_cursor, pages + 1
    assert seen == ids[::-1]
    assert pages == 7


async def test_a_full_last_page_has_no_cursor(service: SessionService) -> None:
    for _ in range(4):
        await store_session(service)
    page = await service.list_sessions(limit=2)
    assert page.next_cursor is not None
    page = await service.list_sessions(limit=2, cursor=page.next_cursor)
    assert (len(page.sessions), page.next_cursor) == (2, None)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "é",
        "WzEsMl0",  # [1,2], without padding
        "e30=",  # {}
        "WzFd",  # [1]
        "WyIxIiwyXQ==",  # ["1",2]
        "W3RydWUsZmFsc2Vd",  # [true,false]
        "W25hbiwxXQ==",  # [nan,1]
        "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwLDFd",  # [10**29,1]
        "W1tb" * 50_000,  # too deep
    ],
    ids=lambda cursor: cursor[:12] or "empty",
)
async def test_an_invalid_cursor_is_refused(service: SessionService, cursor: str) -> None:
    await store_session(service)
    with pytest.raises(InvalidInputError) as refused:
        await service.list_sessions(cursor=cursor)
    assert [fault.path for fault in refused.value.faults] == ["$.cursor"]


async def test_the_list_of_a_directory_includes_its_worktrees(
    service: SessionService, clock: FakeClock
) -> None:
    repository = {"git_common_dir": "/repo/.git"}
    main = await store_session(service, directory="/repo", git_root="/repo", **repository)
    clock.now += 1
    worktree = await store_session(service, directory="/tree", git_root="/tree", **repository)
    clock.now += 1
    other = await store_session(
        service, directory="/other", git_root="/other", git_common_dir="/other/.git"
    )
    clock.now += 1
    bare = await store_session(service, directory="/tmp")
    assert await listed(service) == [bare, other, worktree, main]
    assert await listed(service, directory="/repo", **repository) == [worktree, main]
    assert await listed(service, directory="/tree", **repository) == [worktree, main]
    assert await listed(service, directory="/repo") == [worktree, main]
    assert await listed(service, directory="/tmp") == [bare]
    assert await listed(service, directory="/nowhere") == []


async def test_a_directory_lists_its_sessions_before_and_after_it_is_a_repository(
    service: SessionService, clock: FakeClock
) -> None:
    before = await store_session(service, directory="/repo")
    clock.now += 1
    inside = await store_session(
        service, directory="/repo/src", git_root="/repo", git_common_dir="/repo/.git"
    )
    clock.now += 1
    tree = await store_session(
        service, directory="/tree/src", git_root="/tree", git_common_dir="/repo/.git"
    )
    all_of_it = [tree, inside, before]
    common = {"git_common_dir": "/repo/.git"}
    assert await listed(service, directory="/repo", git_root="/repo", **common) == all_of_it
    assert await listed(service, directory="/repo/docs", git_root="/repo", **common) == all_of_it
    # The repository is none any more.
    assert await listed(service, directory="/repo") == all_of_it
    assert await listed(service, directory="/repo/src") == [inside]
    assert await listed(service, directory="/tree") == [tree]
    await service.archive(inside)
    assert await listed(service, directory="/repo", archived=True) == all_of_it


async def test_the_pages_of_several_places_hold_every_session_once(
    service: SessionService, clock: FakeClock
) -> None:
    ids = []
    places = ("/Repo", "/Repo/src", "/repo", "/repo/src")
    for number in range(17):
        clock.now += number % 2
        root = None if number % 3 else "/Repo"
        directory = places[number % 4]
        ids.append(await store_session(service, directory=directory, git_root=root))
        await store_session(service, directory="/elsewhere")
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await service.list_sessions(
            directory="/Repo/src",
            git_root="/Repo",
            aliases=("/repo/src", "/repo"),
            cursor=cursor,
            limit=3,
        )
        assert len(page.sessions) <= 3
        seen += [session.id for session in page.sessions]
        cursor = page.next_cursor
    assert seen == ids[::-1]


async def test_the_list_of_a_directory_has_pages(service: SessionService) -> None:
    ids = []
    for number in range(7):
        directory = "/repo" if number % 2 else f"/tree/{number}"
        ids.append(await store_session(service, directory=directory, git_common_dir="/repo/.git"))
        await store_session(service, directory="/elsewhere")
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await service.list_sessions(
            directory="/repo", git_common_dir="/repo/.git", cursor=cursor, limit=2
        )
        seen += [session.id for session in page.sessions]
        cursor = page.next_cursor
    assert seen == ids[::-1]


# The order by the last prompt


async def prompted_at(service: SessionService, session_id: str) -> Timestamp | None:
    return (await service.get_session(session_id)).last_prompt_at


async def test_only_a_prompt_moves_the_time_of_the_last_one(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service, note())
    assert await prompted_at(service, id) is None
    clock.now += MINUTE
    first = clock.now
    prompt = user_message()
    await append_to_head(service, id, prompt, note())
    assert await prompted_at(service, id) == first
    clock.now += MINUTE
    await append_to_head(service, id, prompt, note())
    await service.set_title(id, "Given")
    assert await prompted_at(service, id) == first
    clock.now -= 2 * MINUTE
    await append_to_head(service, id, user_message())
    assert await prompted_at(service, id) == clock.now, "as `updated_at`, by the clock of today"


async def test_an_imported_prompt_has_the_time_of_its_source(
    service: SessionService, clock: FakeClock
) -> None:
    new = new_session(source="codex")
    prompts = [ImportedEvent(user_message(), Timestamp(time)) for time in (2_000, 5_000)]
    answer = ImportedEvent(note(), Timestamp(9_000))
    await service.import_session(new, [*prompts, answer], origin=Origin(branch="main"))
    session = await service.get_session(new.id)
    assert (session.last_prompt_at, session.updated_at, session.branch) == (5_000, 9_000, "main")
    later = ImportedEvent(note(), Timestamp(clock.now))
    await service.import_session(new, [*prompts, answer, later], origin=Origin(branch="topic"))
    session = await service.get_session(new.id)
    assert (session.last_prompt_at, session.branch) == (5_000, "topic")
    await service.import_session(new, [*prompts, answer, later], origin=Origin(branch="other"))
    assert (await service.get_session(new.id)).branch == "topic", "nothing is new"
    future = ImportedEvent(user_message(), Timestamp(clock.now + MINUTE))
    await service.import_session(new, [future], after=later.event.id)
    assert await prompted_at(service, new.id) == clock.now


async def test_a_fork_has_only_the_time_of_its_own_prompts(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service, user_message("one"))
    first = clock.now
    clock.now += MINUTE
    fork = await fork_of(service, id)
    assert await prompted_at(service, fork) is None
    clock.now += MINUTE
    await append_to_head(service, fork, user_message("own"))
    assert (await prompted_at(service, fork), await prompted_at(service, id)) == (clock.now, first)
    await service.delete(id)
    assert await listed(service, order="lastPrompt") == [fork]


@pytest.mark.parametrize("filters", [{}, {"directory": HERE}, {"sources": ["segue"]}])
async def test_the_list_is_ordered_by_the_last_prompt_on_request(
    service: SessionService, clock: FakeClock, filters: dict[str, Any]
) -> None:
    ids = []
    for _ in range(6):
        clock.now += MINUTE
        ids.append(await store_session(service, user_message()))
    clock.now += MINUTE
    unprompted = await store_session(service, note())
    for number in (3, 0):
        clock.now += MINUTE
        await append_to_head(service, ids[number], user_message())
    for number in (1, 4, 2, 5):
        clock.now += MINUTE
        await append_to_head(service, ids[number], note())
    expected = [ids[0], ids[3], unprompted, ids[5], ids[4], ids[2], ids[1]]
    assert await listed(service, **filters, order="lastPrompt") == expected
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await service.list_sessions(**filters, order="lastPrompt", cursor=cursor, limit=2)
        seen += [each.id for each in page.sessions]
        cursor = page.next_cursor
    assert seen == expected
    await service.archive(ids[3])
    live = [each for each in expected if each != ids[3]]
    assert await listed(service, **filters, order="lastPrompt") == live
    assert await listed(service, **filters, order="lastPrompt", archived=True) == expected
    assert (await listed(service, **filters))[0] == ids[5]


async def test_the_pages_by_the_last_prompt_hold_every_session_once(
    service: SessionService, clock: FakeClock
) -> None:
    ids = []
    for number in range(11):
        clock.now += number % 2  # pairs share one millisecond
        ids.append(await store_session(service))
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await service.list_sessions(order="lastPrompt", cursor=cursor, limit=3)
        seen += [each.id for each in page.sessions]
        cursor = page.next_cursor
    assert seen == ids[::-1]


@pytest.mark.parametrize("order", ["updated", "lastPrompt"])
async def test_a_cursor_of_another_order_is_refused(service: SessionService, order: Order) -> None:
    for _ in range(3):
        await store_session(service)
    other: Order = "updated" if order == "lastPrompt" else "lastPrompt"
    cursor = (await service.list_sessions(order=other, limit=1)).next_cursor
    assert cursor is not None
    with pytest.raises(InvalidInputError) as refused:
        await service.list_sessions(order=order, cursor=cursor)
    assert [fault.path for fault in refused.value.faults] == ["$.cursor"]


async def test_a_session_has_the_branch_that_was_told_last(service: SessionService) -> None:
    id = await store_session(service, user_message())

    async def after(origin: Origin | None, *events: Event) -> str | None:
        head = (await service.get_session(id)).head
        await service.append_events(
            id, events, parent_id=head, invocation_id=INVOCATION, origin=origin
        )
        return (await service.get_session(id)).branch

    assert await after(None, note()) is None
    event = note()
    assert await after(Origin(branch="main"), event) == "main"
    assert await after(Origin(agent="a"), note()) == "main"
    assert await after(Origin(branch="topic"), event) == "main", "nothing is new"
    assert await after(Origin(branch="topic"), note()) == "topic"
    assert (await service.get_session(await fork_of(service, id))).branch == "topic"
    elsewhere = await fork_of(service, id, directory="/other")
    assert (await service.get_session(elsewhere)).branch is None


@pytest.mark.parametrize("filters", [{}, {"directory": HERE}], ids=["everywhere", "here"])
async def test_the_list_of_some_sources_has_only_theirs(
    service: SessionService, clock: FakeClock, filters: dict[str, Any]
) -> None:
    ids: dict[str | None, list[str]] = {None: [], "codex": [], "gemini-cli": []}
    for number in range(12):
        clock.now += number % 2
        source = list(ids)[number % 3]
        ids[source].insert(0, await store_session(service, source=source))
    assert await listed(service, **filters, sources=["codex"]) == ids["codex"]
    assert await listed(service, **filters, sources=["segue"]) == ids[None]
    assert await listed(service, **filters, sources=[]) == []
    assert await listed(service, **filters, sources=["it's"]) == []
    both = await listed(service, **filters, sources=["codex", "segue"])
    assert sorted(both) == sorted([*ids["codex"], *ids[None]])
    page = await service.list_sessions(**filters, sources=["codex"], limit=3)
    assert [each.id for each in page.sessions] == ids["codex"][:3]
    rest = await listed(service, **filters, sources=["codex"], cursor=page.next_cursor)
    assert rest == ids["codex"][3:]
    await service.archive(ids["codex"][0])
    assert await listed(service, **filters, sources=["codex"]) == ids["codex"][1:]
    assert await listed(service, **filters, sources=["codex"], archived=True) == ids["codex"]


@pytest.mark.parametrize("filters", [{}, {"directory": HERE}], ids=["everywhere", "here"])
async def test_archived_sessions_are_listed_on_request(
    service: SessionService, filters: dict[str, Any]
) -> None:
    live, archived = await store_session(service), await store_session(service)
    await service.archive(archived)
    assert await listed(service, **filters) == [live]
    assert await listed(service, archived=True, **filters) == [archived, live]


# Archiving and deleting


async def test_archiving_again_keeps_the_first_timestamp(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service)
    created = await service.get_session(id)
    clock.now += MINUTE
    await service.archive(id)
    archived = attrs.evolve(created, archived_at=clock())
    assert await service.get_session(id) == archived
    clock.now += MINUTE
    await service.archive(id)
    assert await service.get_session(id) == archived
    await service.unarchive(id)
    await service.unarchive(id)
    assert await service.get_session(id) == created


async def test_a_batch_has_a_bound(service: SessionService) -> None:
    id = await store_session(service, user_message("one"))
    events = [user_message("x") for _ in range(MAX_BATCH + 1)]
    with pytest.raises(InvalidInputError, match="at most 10,000"):
        await append(service, id, *events, parent_id=None)
    assert await contents(service, id) == ["one"]


async def test_an_archived_session_takes_late_events_and_stays_archived(
    service: SessionService,
) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    await service.archive(id)
    assert (await append(service, id, one, parent_id=None)).duplicates == 1
    await append(service, id, user_message("two"), parent_id=one.id)
    assert await contents(service, id) == ["one", "two"]
    assert (await service.get_session(id)).archived_at is not None
    assert await resumable(service) == []


async def test_deleting_a_session_keeps_the_others(service: SessionService) -> None:
    kept = await store_session(service, user_message("kept"))
    gone = await store_session(service, user_message("gone"), metadata={"key": "value"})
    await service.delete(gone)
    await service.delete(gone)
    with pytest.raises(SessionNotFound):
        await service.get_session(gone)
    assert await listed(service, archived=True) == [kept]
    assert await resumable(service) == [kept]
    assert await contents(service, kept) == ["kept"]


async def test_the_id_of_a_deleted_session_can_be_used_again(service: SessionService) -> None:
    new = new_session(metadata={"key": "value"})
    await service.create_session(new, [user_message("old")], invocation_id=INVOCATION)
    await service.delete(new.id)
    again = attrs.evolve(new, metadata={})
    await service.create_session(again, [user_message("new")], invocation_id=INVOCATION)
    assert await contents(service, new.id) == ["new"]
    assert await service.get_metadata(new.id, "key") is None


# Server session id and metadata


async def test_the_server_session_id_is_replaced(service: SessionService) -> None:
    id = await store_session(service)
    assert (await service.get_session(id)).server_session_id is None
    for remote in ("remote-1", "remote-2"):
        await service.update_server_session_id(id, remote)
        assert (await service.get_session(id)).server_session_id == remote


@pytest.mark.parametrize(
    "value", [0, "", False, [], {"b": [1, None], "a": "\ud83d\0"}, 10**400, 0.5], ids=repr
)
async def test_metadata_is_any_json_value(service: SessionService, value: Any) -> None:
    id, other = await store_session(service), await store_session(service)
    await service.set_metadata(id, "key", "before")
    await service.set_metadata(id, "key", value)
    assert await service.get_metadata(id, "key") == value
    assert type(await service.get_metadata(id, "key")) is type(value)
    assert await service.get_metadata(id, "KEY") is None
    assert await service.get_metadata(other, "key") is None


async def test_null_removes_metadata(service: SessionService) -> None:
    id = await store_session(service, metadata={"key": 1, "other": 2})
    for _ in range(2):
        await service.set_metadata(id, "key", None)
        assert await service.get_metadata(id, "key") is None
    assert await service.get_metadata(id, "other") == 2


async def test_metadata_that_is_not_json_is_refused(service: SessionService) -> None:
    id = await store_session(service, metadata={"key": 1})
    with pytest.raises(InvalidInputError):
        await service.set_metadata(id, "key", float("nan"))
    assert await service.get_metadata(id, "key") == 1


async def test_only_an_append_moves_updated_at(service: SessionService, clock: FakeClock) -> None:
    id = await store_session(service)
    updated_at = (await service.get_session(id)).updated_at
    clock.now += MINUTE
    await service.get_session(id)
    await service.load_events(id)
    await service.list_sessions()
    await service.find_resumable(HERE, None, HOUR)
    await service.get_metadata(id, "key")
    await service.set_metadata(id, "key", 1)
    await service.update_server_session_id(id, "remote-1")
    await service.archive(id)
    await service.unarchive(id)
    assert (await service.get_session(id)).updated_at == updated_at
    await append_to_head(service, id, user_message())
    assert (await service.get_session(id)).updated_at == clock.now


async def test_an_unknown_session_is_not_found(service: SessionService) -> None:
    calls = [
        service.get_session("unknown"),
        service.load_events("unknown"),
        append(service, "unknown", user_message(), parent_id=None),
        append(service, "unknown", parent_id=None),
        service.update_server_session_id("unknown", "remote-1"),
        service.archive("unknown"),
        service.unarchive("unknown"),
        service.fork_session("unknown", NewFork(id=new_id())),
        service.set_title("unknown", "title"),
        service.set_title("unknown", None),
        service.open_session("unknown", hold=True),
        service.get_metadata("unknown", "key"),
        service.set_metadata("unknown", "key", 1),
    ]
    for call in calls:
        with pytest.raises(SessionNotFound) as not_found:
            await call
        assert not_found.value.session_id == "unknown"
    await service.delete("unknown")
    assert await listed(service, archived=True) == []


async def test_closing_is_idempotent(service: SessionService) -> None:
    await store_session(service)
    await service.close()
    await service.close()


# Forks


async def fork_of(
    service: SessionService, session_id: str, at: str | None = None, **fields: Any
) -> str:
    """Fork a session and return the id of the fork."""
    new = NewFork(id=new_id(), at=at, **fields)
    assert (await service.fork_session(session_id, new)).id == new.id
    return new.id


async def shown(service: SessionService, session_id: str) -> list[Any]:
    """Return what is shown of the events of a session."""
    return [attrs.astuple(event) for event in await all_events(service, session_id)]


async def test_a_fork_has_the_same_events(service: SessionService, clock: FakeClock) -> None:
    id = await store_session(service, user_message("one"))
    clock.now += MINUTE
    await append_to_head(service, id, user_message("two"), invocation_id="invocation-2")
    clock.now += MINUTE
    fork = await fork_of(service, id)
    assert await shown(service, fork) == await shown(service, id)


async def test_a_fork_ends_at_the_event_that_is_named(service: SessionService) -> None:
    events = [user_message(content) for content in ("one", "two", "three")]
    id = await store_session(service, *events)
    assert await contents(service, await fork_of(service, id, at=events[1].id)) == ["one", "two"]
    assert await contents(service, await fork_of(service, id, at=events[0].id)) == ["one"]
    assert await contents(service, id) == ["one", "two", "three"]


async def test_a_session_is_not_forked_at_an_event_that_it_lacks(service: SessionService) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    short = await fork_of(service, id, at=first.id)
    for original, at in ((id, "unknown"), (short, second.id)):
        new = NewFork(id=new_id(), at=at)
        with pytest.raises(EventNotFound) as caught:
            await service.fork_session(original, new)
        assert caught.value.event_id == at
        with pytest.raises(SessionNotFound):
            await service.get_session(new.id)


async def test_a_fork_and_its_original_go_on_apart(service: SessionService) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    fork = await fork_of(service, id, at=first.id)
    await append_to_head(service, fork, user_message("of the fork"))
    await append_to_head(service, id, user_message("three"))
    assert await contents(service, fork) == ["one", "of the fork"]
    assert await contents(service, id) == ["one", "two", "three"]


async def test_a_fork_of_a_fork_has_the_events_of_both(service: SessionService) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    fork = await fork_of(service, id, at=first.id)
    third, fourth = user_message("of the fork"), user_message("later")
    await append_to_head(service, fork, third, fourth)
    for at, expected in (
        (first.id, ["one"]),
        (third.id, ["one", "of the fork"]),
        (None, ["one", "of the fork", "later"]),
    ):
        again = await fork_of(service, fork, at=at)
        assert await contents(service, again) == expected
        await append_to_head(service, again, user_message("own"))
        assert await contents(service, again) == [*expected, "own"]


async def test_the_pages_of_a_fork_cross_from_one_session_to_the_other(
    service: SessionService,
) -> None:
    events = [user_message(str(seq)) for seq in range(1, 6)]
    id = await store_session(service, *events)
    fork = await fork_of(service, id, at=events[2].id)
    await append_to_head(service, fork, *(user_message(f"own {seq}") for seq in (4, 5, 6)))

    async def page(**bounds: Any) -> tuple[list[int], str | None, bool]:
        found = await service.load_events(fork, **bounds)
        return [each.seq for each in found.events], found.events[0].parent_id, found.has_more

    parents = [None, *(event.id for event in await all_events(service, fork))]
    assert await page(after=1, limit=4) == ([2, 3, 4, 5], parents[1], True)
    assert await page(after=3) == ([4, 5, 6], parents[3], False)
    assert await page(before=5, limit=3) == ([2, 3, 4], parents[1], True)
    assert await page(before=4, limit=2) == ([2, 3], parents[1], True)
    assert await page(limit=6) == ([1, 2, 3, 4, 5, 6], None, False)


async def test_retrying_a_fork_makes_no_second_one(service: SessionService) -> None:
    id = await store_session(service, user_message("one"))
    new = NewFork(id=new_id())
    first = await service.fork_session(id, new)
    await append_to_head(service, new.id, user_message("two"))
    again = await service.fork_session(id, new)
    assert (again.id, again.event_count) == (first.id, 2)
    await service.delete(id)
    assert (await service.fork_session(id, new)).id == first.id
    assert await listed(service) == [first.id]


async def test_a_retry_of_an_append_is_recognized_in_a_fork(service: SessionService) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    fork = await fork_of(service, id)
    third = user_message("three")
    result = await append(service, fork, first, second, third, parent_id=None)
    assert (result.duplicates, result.event_count) == (2, 3)
    assert [each.seq for each in result.events] == [1, 2, 3]
    with pytest.raises(EventConflict):
        await append(service, fork, user_message("other", first.id), parent_id=third.id)


async def test_an_event_behind_the_fork_is_new_to_it(service: SessionService) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first, second)
    fork = await fork_of(service, id, at=first.id)
    other = user_message("another two", second.id)
    result = await append(service, fork, other, parent_id=first.id)
    assert (result.duplicates, result.events) == (0, [EventPosition(second.id, 2)])
    assert await contents(service, fork) == ["one", "another two"]
    assert await contents(service, id) == ["one", "two"]


async def test_a_fork_says_what_it_is_a_fork_of(service: SessionService, clock: FakeClock) -> None:
    first = user_message("one")
    new = new_session("/repo/src", git_root="/repo", server_session_id="remote", source="codex")
    origin = Origin(client_name="Neovim", agent="an agent", model="a model", branch="topic")
    await service.create_session(
        attrs.evolve(new, metadata={"key": 1}),
        [first, user_message("two")],
        invocation_id=INVOCATION,
        origin=origin,
    )
    clock.now += MINUTE
    fork = await fork_of(service, new.id, at=first.id)
    assert attrs.asdict(await service.get_session(fork)) == {
        "id": fork,
        "title": "copy of one",
        "directory": "/repo/src",
        "git_root": "/repo",
        "server_session_id": None,
        "head": first.id,
        "event_count": 1,
        "created_at": clock.now,
        "updated_at": clock.now,
        "archived_at": None,
        "forked_from": new.id,
        "fork_seq": 1,
        "source": "codex",
        "client": "Neovim",
        "agent": "an agent",
        "model": "a model",
        "last_prompt_at": None,
        "branch": "topic",
        "repository": None,
        "machine": None,
        "shared_by": None,
    }
    assert await service.get_metadata(fork, "key") is None


async def test_a_fork_happens_where_its_original_did_or_elsewhere(service: SessionService) -> None:
    id = await store_session(service, directory="/repo/src", git_root="/repo")
    here = await fork_of(service, id)
    away = await fork_of(service, id, directory="/other")
    assert set(await resumable(service, "/repo/src", "/repo")) == {id, here}
    assert await resumable(service, "/other") == [away]
    assert (await service.get_session(away)).git_root is None


async def test_a_fork_without_a_model_visible_event_is_not_resumable(
    service: SessionService,
) -> None:
    first = note()
    id = await store_session(service, first, user_message("one"))
    await fork_of(service, id, at=first.id)
    whole = await fork_of(service, id)
    assert set(await resumable(service)) == {id, whole}


async def test_a_rewind_archives_the_original_and_takes_its_title(service: SessionService) -> None:
    first = user_message("one")
    id = await store_session(service, first, user_message("two"))
    await service.set_title(id, "Given")
    fork = await fork_of(service, id, at=first.id, archive_original=True)
    assert await listed(service) == [fork]
    assert (await service.get_session(fork)).title == "Given"
    assert (await service.set_title(fork, None)).title == "one"
    await service.unarchive(id)
    assert await contents(service, id) == ["one", "two"]


async def test_a_rewind_to_before_the_title_gets_a_new_one(service: SessionService) -> None:
    first, blank = note(), user_message("")
    id = await store_session(service, first, blank, user_message("one"))
    for at in (first.id, blank.id):
        fork = await fork_of(service, id, at=at, archive_original=True)
        assert (await service.get_session(fork)).title is None
        await append_to_head(service, fork, user_message("another"))
        assert (await service.get_session(fork)).title == "another"


async def test_copies_have_numbers(service: SessionService) -> None:
    id = await store_session(service, user_message("one"))
    titles = [(await service.get_session(await fork_of(service, id))).title for _ in range(3)]
    assert titles == ["copy of one", "copy 2 of one", "copy 3 of one"]
    named = await fork_of(service, id, title="Named")
    assert (await service.get_session(named)).title == "Named"
    untitled = await store_session(service, note())
    assert (await service.get_session(await fork_of(service, untitled))).title is None


async def test_many_copies_are_counted_to_a_hundred(service: SessionService) -> None:
    id = await store_session(service, user_message("one"))
    for _ in range(99):
        await service.fork_session(id, NewFork(id=new_id()))
    titles = [(await service.fork_session(id, NewFork(id=new_id()))).title for _ in range(2)]
    assert titles == ["copy 100 of one", "copy 100 of one"]


async def test_the_title_of_a_copy_has_a_bound(service: SessionService) -> None:
    id = await store_session(service, user_message("x" * 100))
    fork = await fork_of(service, await fork_of(service, id))
    title = (await service.get_session(fork)).title
    assert title is not None
    assert title.startswith("copy of copy of xxx")
    assert len(title) == MAX_TITLE


@pytest.mark.parametrize("deletes_original", [True, False])
async def test_a_fork_and_its_original_can_be_deleted_apart(
    service: SessionService, deletes_original: bool
) -> None:
    first = user_message("one")
    id = await store_session(service, first, user_message("two"))
    fork = await fork_of(service, id, at=first.id)
    await append_to_head(service, fork, user_message("own"))
    gone, kept = (id, fork) if deletes_original else (fork, id)
    expected = await contents(service, kept)
    await service.delete(gone)
    with pytest.raises(SessionNotFound):
        await service.load_events(gone)
    assert await listed(service, archived=True) == [kept]
    assert await contents(service, kept) == expected
    await append_to_head(service, kept, user_message("later"))
    assert await contents(service, await fork_of(service, kept)) == [*expected, "later"]


async def test_a_fork_of_a_deleted_session_names_none(service: SessionService) -> None:
    id = await store_session(service, user_message("one"))
    fork = await fork_of(service, id)
    await service.delete(id)
    session = await service.get_session(fork)
    assert (session.forked_from, session.fork_seq) == (None, 1)


async def test_the_id_of_a_deleted_original_can_be_used_again(service: SessionService) -> None:
    new = new_session()
    await service.create_session(new, [user_message("one")], invocation_id=INVOCATION)
    fork = await fork_of(service, new.id)
    await service.delete(new.id)
    await service.create_session(new, [user_message("new")], invocation_id=INVOCATION)
    assert await contents(service, new.id) == ["new"]
    assert await contents(service, fork) == ["one"]
    assert (await service.get_session(fork)).forked_from is None


async def test_the_invocations_of_shared_events_stay(service: SessionService) -> None:
    new = new_session()
    origin = Origin(client_name="Neovim", client_version="0.11")
    first = user_message("one")
    await service.create_session(new, [first], invocation_id="first", origin=origin)
    await append_to_head(service, new.id, user_message("two"), invocation_id="second")
    fork = await fork_of(service, new.id, at=first.id)
    await service.delete(new.id)
    page = await service.load_events(fork)
    assert page.invocations == [Invocation(id="first", client_name="Neovim", client_version="0.11")]


# Titles


async def test_a_given_title_replaces_the_automatic_one_until_it_is_taken_back(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service, user_message("Automatic"))
    before = await service.get_session(id)
    clock.now += MINUTE
    assert (await service.set_title(id, "Given")).title == "Given"
    await append_to_head(service, id, user_message("later"))
    assert (await service.get_session(id)).title == "Given"
    assert (await service.set_title(id, None)).title == "Automatic"
    clock.now += MINUTE
    session = await service.set_title(id, "Given again")
    assert session.updated_at == before.updated_at + MINUTE, "of the append"


async def test_an_automatic_title_is_never_moved_by_a_later_message(
    service: SessionService,
) -> None:
    id = await store_session(service, user_message("First"))
    for content in ("Second", "# Third", "<command-name>/fourth</command-name>"):
        await append_to_head(service, id, user_message(content))
        assert (await service.get_session(id)).title == "First"


async def test_a_title_that_is_given_first_hides_the_automatic_one(service: SessionService) -> None:
    id = await store_session(service, note(), given_title="Given")
    await append_to_head(service, id, user_message("Automatic"))
    assert (await service.get_session(id)).title == "Given"
    assert (await service.set_title(id, None)).title == "Automatic"


# Who wrote


async def test_an_invocation_has_the_client_of_its_first_event(service: SessionService) -> None:
    new = new_session()
    one, two = Origin(client_name="one", client_version="1.0"), Origin(client_name="two")
    first, second = user_message("1"), user_message("2")
    await service.create_session(new, [first], invocation_id="a", origin=one)
    for invocation, origin, event in (("a", two, second), ("b", two, user_message("3"))):
        head = (await service.get_session(new.id)).head
        await service.append_events(
            new.id, [event], parent_id=head, invocation_id=invocation, origin=origin
        )
    page = await service.load_events(new.id)
    assert page.invocations == [
        Invocation(id="a", client_name="one", client_version="1.0"),
        Invocation(id="b", client_name="two", client_version=None),
    ]
    assert (await service.load_events(new.id, after=2)).invocations == page.invocations[1:]
    assert (await service.load_events(new.id, after=3)).invocations == []


async def test_a_session_has_who_wrote_last(service: SessionService) -> None:
    id = await store_session(service, user_message("1"))

    async def after(origin: Origin | None, *events: Event) -> tuple[str | None, ...]:
        head = (await service.get_session(id)).head
        await service.append_events(
            id, events, parent_id=head, invocation_id=INVOCATION, origin=origin
        )
        session = await service.get_session(id)
        return session.client, session.agent, session.model

    assert await after(None, note()) == (None, None, None)
    event = note()
    assert await after(Origin(client_name="one", agent="a", model="m"), event) == ("one", "a", "m")
    assert await after(Origin(client_name="two"), note()) == ("two", "a", "m")
    assert await after(None, note()) == ("two", "a", "m")
    assert await after(Origin(agent="b"), note()) == ("two", "b", None), "m was the other one's"
    assert await after(Origin(client_name="three", agent="c"), event) == ("two", "b", None)


# Pruning


async def pruned(service: SessionService, hours: float = 1, **options: Any) -> set[str]:
    result = await service.prune(timedelta(hours=hours), **options)
    return {each.session.id for each in result.taken}


@pytest.mark.usefixtures("knows_holds")
async def test_sessions_that_were_archived_long_ago_are_pruned(
    service: SessionService, clock: FakeClock
) -> None:
    old, live, recent = [await store_session(service, user_message(name)) for name in "abc"]
    await service.archive(old)
    clock.now += 60 * MINUTE - 1
    assert await pruned(service) == set()
    clock.now += 1
    await service.archive(recent)
    result = await service.prune(HOUR)
    assert [each.session.id for each in result.taken] == [old]
    assert (result.held, result.live, result.recent) == ([], 1, 1)
    assert set(await listed(service, archived=True)) == {live, recent}


@pytest.mark.usefixtures("knows_holds")
async def test_live_sessions_are_pruned_on_request_by_their_last_update(
    service: SessionService, clock: FakeClock
) -> None:
    old, used = [await store_session(service, user_message(name)) for name in "ab"]
    clock.now += 60 * MINUTE
    await append_to_head(service, used, user_message("later"))
    assert await pruned(service) == set()
    assert await pruned(service, live=True) == {old}
    assert await listed(service) == [used]


@pytest.mark.usefixtures("knows_holds")
async def test_a_dry_run_of_a_pruning_says_the_same_and_deletes_nothing(
    service: SessionService, clock: FakeClock
) -> None:
    first = user_message("one")
    id = await store_session(service, first, user_message("two"))
    fork = await fork_of(service, id, at=first.id)
    await append_to_head(service, fork, user_message("x" * 100))
    again = await fork_of(service, fork)
    for each in (id, fork, again):
        await service.archive(each)
    clock.now += 60 * MINUTE
    planned = await service.prune(HOUR, dry_run=True)
    assert set(await listed(service, archived=True)) == {id, fork, again}
    done = await service.prune(HOUR)
    assert planned == done
    assert await listed(service, archived=True) == []


@pytest.mark.usefixtures("knows_holds")
async def test_a_pruned_session_counts_for_what_it_alone_had(
    service: SessionService, clock: FakeClock
) -> None:
    first, second = user_message("one"), user_message("second")
    id = await store_session(service, first, second)
    await service.archive(id)
    clock.now += 60 * MINUTE
    fork = await fork_of(service, id, at=first.id)
    (taken,) = (await service.prune(HOUR)).taken
    assert (taken.session.id, taken.size) == (id, len(second.json_text))
    await service.archive(fork)
    clock.now += 60 * MINUTE
    (taken,) = (await service.prune(HOUR)).taken
    assert (taken.session.id, taken.size) == (fork, len(first.json_text))


async def test_a_session_that_is_held_is_not_pruned(
    service: SessionService, clock: FakeClock
) -> None:
    id, other = await store_session(service), await store_session(service)
    for each in (id, other):
        await service.archive(each)
    await service.hold(id)
    clock.now += 48 * 60 * MINUTE
    result = await service.prune(HOUR)
    assert [each.session.id for each in result.taken] == [other]
    assert [each.id for each in result.held] == [id]
    await service.release(id)
    assert await pruned(service) == {id}


async def test_a_session_that_was_opened_to_be_used_is_held(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service)
    await service.archive(id)
    clock.now += 48 * 60 * MINUTE
    await service.open_session(id)
    assert await pruned(service, dry_run=True) == {id}
    await service.open_session(id, hold=True)
    await service.open_session(id)
    assert await pruned(service) == set()


async def test_a_list_says_which_sessions_are_open(service: SessionService) -> None:
    held, other = await store_session(service), await store_session(service)
    assert (await service.list_sessions()).open == []
    await service.hold(held)
    assert await service.held([held, other, "none"]) == {held}
    assert (await service.list_sessions()).open == [held]
    assert (await service.list_sessions(limit=1)).open == []
    await service.release(held)
    assert await service.held([held, other]) == set()


async def test_holding_needs_no_session_and_releasing_no_hold(
    service: SessionService, clock: FakeClock
) -> None:
    new = new_session()
    await service.release(new.id)
    await service.hold(new.id)
    await service.create_session(new, [user_message()], invocation_id=INVOCATION)
    await service.archive(new.id)
    clock.now += 48 * 60 * MINUTE
    assert await pruned(service) == set()
    await service.delete(new.id)
    await service.release(new.id)


async def test_a_past_that_changes_again_is_a_fork_of_the_fork(service: SessionService) -> None:
    new = new_session(source="other")
    versions = [("a", "b", "c"), ("a", "x", "c"), ("a", "x", "y"), ("a", "x", "y", "z")]
    for texts in versions:
        events = [user_message(text, id="-".join(texts[: n + 1])) for n, text in enumerate(texts)]
        imported = [ImportedEvent(each, Timestamp(1_000)) for each in events]
        for _ in range(2):
            result = await service.import_session(new, imported)
            assert await contents(service, result.session_id) == list(texts)
    sessions = (await service.list_sessions(archived=True)).sessions
    assert sorted(each.event_count for each in sessions) == [3, 3, 4]
