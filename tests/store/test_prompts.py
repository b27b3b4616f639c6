"""Prompts that a hook stores before their records are imported: twice is once, on every store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from segue.model.events import Event
from segue.model.imports import ImportedEvent, ImportResult
from segue.model.records import NewSession, Timestamp
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import execute
from tests.store.stores import STORES, FakeClock

SESSION = "11111111-2222-4333-8444-555555555555"
SECOND = 1_000


@pytest.fixture(params=STORES)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionService]:
    opened = await STORES[request.param].open_service(tmp_path, FakeClock())
    yield opened
    await opened.close()


def event(
    id: str, content: str, type: str = "user_message", *, at: int = 0, prompt_id: str | None = None
) -> ImportedEvent:
    time = Timestamp(FakeClock().now - 1_000 * SECOND + at * SECOND)
    return ImportedEvent(Event.new(type, {"content": content}, id=id), time, prompt_id)


async def store(
    service: SessionService, *events: ImportedEvent, id: str = SESSION, **options: Any
) -> ImportResult:
    new = NewSession(id=id, directory="/w", source="claude-code")
    return await service.import_session(new, events, **options)


async def ids(service: SessionService, id: str = SESSION) -> list[str]:
    return [each.id for each in (await service.load_events(id)).events]


async def test_a_record_with_the_id_of_a_prompt_is_that_prompt(service: SessionService) -> None:
    await store(service, event("prompt/p", "/review"))
    turn = (event("u", "<command>review", prompt_id="p"), event("a", "done", "text"))

    assert (await store(service, *turn)).added == 1
    assert (await store(service, *turn)).added == 0
    assert await ids(service) == ["prompt/p", "a"]


async def test_a_record_without_an_id_is_the_prompt_with_its_text(service: SessionService) -> None:
    await store(service, event("prompt/p", "hello"))

    await store(service, event("u", "hello\n", at=2), event("a", "hi", "text", at=3))

    assert await ids(service) == ["prompt/p", "a"]


async def test_a_record_with_another_id_is_another_prompt(service: SessionService) -> None:
    await store(service, event("prompt/p", "continue"))

    await store(service, event("u", "continue", prompt_id="q"))

    assert await ids(service) == ["prompt/p", "u"]


async def test_what_was_added_to_a_turn_may_begin_one_with_another_id(
    service: SessionService,
) -> None:
    await store(service, event("prompt/p", "one"))
    await store(service, event("prompt/added/x", "continue", at=1))

    await store(service, event("u1", "one", prompt_id="p"), event("a1", "1", "text"))
    turn = (event("u2", "continue", prompt_id="q", at=2), event("a2", "2", "text", at=3))
    for _ in range(2):
        await store(service, *turn, event("u3", "continue", prompt_id="r", at=4), after="a1")

    assert await ids(service) == ["prompt/p", "prompt/added/x", "a1", "a2", "u3"]


async def test_the_nearest_in_time_is_meant_and_nothing_older_than_an_hour(
    service: SessionService,
) -> None:
    await store(service, event("prompt/old", "continue", at=-7_200))
    await store(service, event("u0", "continue"), event("a0", "yes", "text"))
    await store(service, event("prompt/1", "continue", at=100))
    await store(service, event("prompt/2", "continue", at=200))

    await store(service, event("u2", "continue", at=201), event("a2", "yes", "text", at=202))
    await store(service, event("u1", "continue", at=101), after="u0")

    assert await ids(service) == ["prompt/old", "u0", "a0", "prompt/1", "prompt/2", "a2"]
    records = await service.get_metadata(SESSION, "prompts")
    assert records == {"u1": "prompt/1", "u2": "prompt/2"}


async def test_a_prompt_that_the_program_has_recorded_is_not_stored(
    service: SessionService,
) -> None:
    await store(service, event("u", "hello\n"), event("c", "context", "system_context"))

    assert (await store(service, event("prompt/p", "hello"))).added == 0
    assert await ids(service) == ["u", "c"]


async def test_the_same_words_after_an_answer_are_another_prompt(service: SessionService) -> None:
    await store(service, event("u", "go on"), event("a", "I go on.", "text"))

    assert (await store(service, event("prompt/p", "go on", at=9))).added == 1
    assert (await store(service, event("prompt/q", "go on", at=19))).added == 1
    assert await ids(service) == ["u", "a", "prompt/p", "prompt/q"]


async def test_a_transcript_that_is_read_again_adds_no_prompt(service: SessionService) -> None:
    await store(service, event("prompt/p", "one"))
    first = (event("u1", "one"), event("a1", "1", "text"))
    await store(service, *first)
    await store(service, event("prompt/q", "two"), after="a1")
    second = (event("u2", "two"), event("a2", "2", "text"))
    await store(service, *second, after="a1")
    before = await ids(service)

    result = await store(service, *first, *second)

    assert (result.added, result.made_fork) == (0, False)
    assert await ids(service) == before == ["prompt/p", "a1", "prompt/q", "a2"]


async def test_an_answer_behind_the_next_prompt_is_no_changed_past(
    service: SessionService,
) -> None:
    await store(service, event("prompt/1", "one"))
    await store(service, event("u1", "one"), event("a1", "half", "text"))
    await store(service, event("prompt/2", "two"))

    rest = await store(service, event("b1", "the rest", "text"), after="a1")
    last = await store(service, event("u2", "two"), event("a2", "2", "text"), after="b1")

    assert not rest.made_fork
    assert not last.made_fork
    assert await ids(service) == ["prompt/1", "a1", "prompt/2", "b1", "a2"]


async def test_a_batch_that_begins_behind_a_prompt_continues_it(service: SessionService) -> None:
    await store(service, event("prompt/1", "one"))
    await store(service, event("prompt/2", "two"))
    await store(service, event("u1", "one"), event("a1", "1", "text"), event("u2", "two"))

    result = await store(service, event("a2", "2", "text"), after="u2")

    assert not result.made_fork
    assert await ids(service) == ["prompt/1", "prompt/2", "a1", "a2"]


async def test_a_rewind_is_a_fork_that_has_the_prompt(service: SessionService) -> None:
    await store(service, event("u1", "one"), event("a1", "1", "text"), event("b1", "2", "text"))
    await store(service, event("prompt/2", "two"))
    rewound = (event("u2", "two"), event("a2", "2", "text"))

    result = await store(service, *rewound, after="a1")
    again = await store(service, *rewound, after="a1")
    further = await store(service, event("a3", "3", "text"), id=result.session_id, after="a2")

    assert result.made_fork
    assert (again.session_id, again.added, again.made_fork) == (result.session_id, 0, False)
    assert not further.made_fork
    assert await ids(service, result.session_id) == ["u1", "a1", "prompt/2", "a2", "a3"]


async def test_a_prompt_after_the_conversation_went_on_here_begins_a_fork(
    service: SessionService,
) -> None:
    await store(service, event("u1", "one"), event("a1", "1", "text"), state={"path": "/t"})
    here = Event.new("user_message", {"content": "here"}, id="here")
    await service.append_events(SESSION, [here], parent_id="a1", invocation_id="window")

    result = await store(service, event("prompt/2", "two"), state={"path": "/t"})

    assert result.made_fork
    assert await ids(service) == ["u1", "a1", "here"]
    assert await ids(service, result.session_id) == ["u1", "a1", "prompt/2"]
    assert await service.import_states("claude-code") == {result.session_id: {"path": "/t"}}
    assert await service.import_states("claude-code", SESSION) == {}


async def test_an_answer_to_a_prompt_after_the_conversation_went_on_here_is_a_fork(
    service: SessionService,
) -> None:
    await store(service, event("prompt/1", "one"))
    await store(service, event("u1", "one"))
    here = Event.new("user_message", {"content": "here"}, id="here")
    await service.append_events(SESSION, [here], parent_id="prompt/1", invocation_id="window")

    result = await store(service, event("a1", "1", "text"), after="u1")

    assert result.made_fork
    assert await ids(service, result.session_id) == ["prompt/1", "a1"]


async def test_a_dry_run_counts_a_record_of_a_prompt_as_stored(service: SessionService) -> None:
    await store(service, event("prompt/p", "one"))

    result = await store(service, event("u1", "one"), event("a1", "1", "text"), dry_run=True)

    assert result.added == 1


async def test_a_dry_run_remembers_no_record_of_a_prompt(tmp_path: Path) -> None:
    database = tmp_path / "data" / "sessions.db"
    opened = await LocalSessionService.open(database)
    await store(opened, event("prompt/p", "one"))

    await store(opened, event("u1", "one", prompt_id="p"), dry_run=True)

    await opened.close()
    assert execute(database, "SELECT key FROM metadata WHERE key = 'prompts'") == []
