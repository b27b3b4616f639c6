"""The contract suite of pipelined appends, which runs on every store of `stores.STORES`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import SegueError
from segue.model.events import Event
from segue.model.records import AppendResult, EventPosition
from segue.store.service import SessionService
from tests.factories import INVOCATION, append_to_head, contents, note, store_session, user_message
from tests.store.stores import STORES, FakeClock, StoreFactory


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionService]:
    """Return a new service of each store, one after the other."""
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "data", FakeClock())
    yield opened
    await opened.close()


async def append(
    service: SessionService,
    session_id: str,
    events: list[Event],
    *,
    parent_id: str | None,
    invocation_id: str = INVOCATION,
    boundary: Event | None = None,
) -> Any:
    """Append *events* after *parent_id* or an own head; return the result or the error's kind."""
    try:
        return await service.append_events(
            session_id,
            events,
            parent_id=parent_id,
            accept_own_head=True,
            invocation_id=invocation_id,
            boundary=boundary,
        )
    except SegueError as error:
        return error.kind


async def append_all(
    service: SessionService, session_id: str, *batches: list[Event], **options: Any
) -> list[Any]:
    """Append *batches* without waiting for one another."""
    return await asyncio.gather(
        *(append(service, session_id, events, **options) for events in batches)
    )


async def test_appends_in_flight_are_stored_in_the_order_of_the_calls(
    service: SessionService,
) -> None:
    first = user_message("0")
    id = await store_session(service, first)
    batches = [[user_message("1"), user_message("2")], [user_message("3")]]
    one, two = await append_all(service, id, *batches, parent_id=first.id)
    assert await contents(service, id) == ["0", "1", "2", "3"]
    assert [one.event_count, two.event_count] == [3, 4]
    assert [one.head, two.head] == [batch[-1].id for batch in batches]
    assert two.events == [EventPosition(batches[1][0].id, 4)]


async def test_an_append_that_is_refused_leaves_the_others(service: SessionService) -> None:
    first, elsewhere = user_message("0"), user_message("other")
    id = await store_session(service, first)
    conflict = [user_message("new"), user_message("other", id=first.id)]
    one, refused, two = await append_all(
        service, id, [user_message("1")], conflict, [user_message("2")], parent_id=first.id
    )
    assert refused == "EventConflict"
    assert [one.event_count, two.event_count] == [2, 3]
    assert await contents(service, id) == ["0", "1", "2"]
    assert elsewhere.id not in {one.head, two.head}


async def test_the_parent_must_be_the_head_unless_own_heads_are_accepted(
    service: SessionService,
) -> None:
    first = user_message("0")
    id = await store_session(service, first)
    results = await asyncio.gather(
        service.append_events(
            id, [user_message("1")], parent_id=first.id, invocation_id=INVOCATION
        ),
        service.append_events(
            id, [user_message("unseen")], parent_id=first.id, invocation_id=INVOCATION
        ),
        return_exceptions=True,
    )
    assert isinstance(results[0], AppendResult)
    assert type(results[1]).__name__ == "HeadMoved"
    assert await contents(service, id) == ["0", "1"]


async def test_an_append_recognizes_events_of_the_appends_before_it(
    service: SessionService,
) -> None:
    first, again = user_message("0"), user_message("1")
    id = await store_session(service, first)
    one, two = await append_all(
        service, id, [again], [again, user_message("2")], parent_id=first.id
    )
    assert (one.duplicates, two.duplicates) == (0, 1)
    assert [position.seq for position in two.events] == [2, 3]


async def test_a_head_of_another_invocation_is_not_accepted(service: SessionService) -> None:
    mine = user_message("mine")
    id = await store_session(service, mine)
    await append_to_head(service, id, user_message("theirs"), invocation_id="another")
    refused, retried, also_refused = await append_all(
        service,
        id,
        [user_message("refused")],
        [mine],
        [user_message("refused, too")],
        parent_id=mine.id,
    )
    assert (refused, also_refused) == ("HeadMoved", "HeadMoved")
    assert retried.duplicates == 1
    assert await contents(service, id) == ["mine", "theirs"]


async def test_a_head_of_this_invocation_is_accepted_whatever_its_id(
    service: SessionService,
) -> None:
    first = user_message("0")
    id = await store_session(service, first)
    await append_to_head(service, id, user_message("1"))
    (result,) = await append_all(service, id, [user_message("2")], parent_id=first.id)
    assert result.event_count == 3
    (refused,) = await append_all(
        service, id, [user_message("3")], parent_id=first.id, invocation_id="another"
    )
    assert refused == "HeadMoved"


async def test_the_boundary_is_stored_once_before_the_first_append_that_writes(
    service: SessionService,
) -> None:
    first, boundary = user_message("0"), note("boundary")
    id = await store_session(service, first)
    batches = [[first], [user_message("1")], [user_message("2")]]
    await append_all(service, id, *batches, parent_id=first.id, boundary=boundary)
    assert await contents(service, id) == ["0", "boundary", "1", "2"]


async def test_appends_to_an_unknown_session_are_refused_one_by_one(
    service: SessionService,
) -> None:
    id = await store_session(service)
    known, unknown = await asyncio.gather(
        service.append_events(id, [], parent_id=None, invocation_id=INVOCATION),
        service.append_events(
            "unknown", [user_message()], parent_id=None, invocation_id=INVOCATION
        ),
        return_exceptions=True,
    )
    assert isinstance(known, AppendResult)
    assert type(unknown).__name__ == "SessionNotFound"


async def test_other_writes_keep_their_order_among_appends(service: SessionService) -> None:
    first = user_message("0")
    id, other = await store_session(service, first), await store_session(service)
    one, _, two, _, late = await asyncio.gather(
        append(service, id, [user_message("1")], parent_id=first.id),
        service.set_metadata(other, "key", 1),
        append(service, id, [user_message("2")], parent_id=first.id),
        service.delete(id),
        append(service, id, [user_message("late")], parent_id=first.id),
    )
    assert [one.event_count, two.event_count] == [2, 3]
    assert late == "SessionNotFound"
    assert await service.get_metadata(other, "key") == 1


async def test_a_read_sees_the_appends_before_it_and_none_after(service: SessionService) -> None:
    first = user_message("0")
    id = await store_session(service, first)
    _, (session, page), _ = await asyncio.gather(
        append(service, id, [user_message("1")], parent_id=first.id),
        service.open_session(id),
        append(service, id, [user_message("2")], parent_id=first.id),
    )
    assert session.event_count == 2
    assert [event.data["content"] for event in page.events] == ["0", "1"]


async def test_a_cancelled_append_leaves_the_others(service: SessionService) -> None:
    first = user_message("0")
    id = await store_session(service, first)
    appends = [
        asyncio.ensure_future(append_all(service, id, [user_message(word)], parent_id=first.id))
        for word in "1234"
    ]
    await asyncio.sleep(0)
    appends[1].cancel()
    await asyncio.wait(appends)
    assert [appends[index].result()[0].head is not None for index in (0, 2, 3)] == [True] * 3
    stored = await contents(service, id)
    assert [word for word in stored if word != "2"] == ["0", "1", "3", "4"]
