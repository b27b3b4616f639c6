"""SessionManager: deferred sessions, idempotent persistence, resuming and resetting."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import HeadMoved, SessionNotFound, StorageUnavailable
from segue.model.events import Event
from segue.model.records import MAX_BATCH, AppendResult, now
from segue.model.validation import InvalidInputError
from segue.sessions.boundary import ago, boundary_note
from segue.sessions.manager import SessionManager
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    all_events,
    append_to_head,
    contents,
    make_older,
    store_session,
    user_message,
    workspace_at,
)


class Failing:
    """A service of which each of the given methods fails once."""

    def __init__(self, service: SessionService, *methods: str) -> None:
        self._service = service
        self._methods = set(methods)

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            return getattr(self._service, name)
        self._methods.remove(name)

        async def fail(*_: Any, **__: Any) -> None:
            raise StorageUnavailable("for once")

        return fail


class Late:
    """The real service, whose results of appends are held back until they are released."""

    def __init__(self, service: SessionService) -> None:
        self._service = service
        self.stored, self.released = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def append_events(self, *values: Any, **named: Any) -> AppendResult:
        result = await self._service.append_events(*values, **named)
        self.stored.set()
        await self.released.wait()
        return result


class Recording:
    """A service that records which of its methods were called."""

    def __init__(self, service: SessionService) -> None:
        self._service = service
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._service, name)


def failing(service: SessionService, *methods: str) -> SessionService:
    wrapper: Any = Failing(service, *methods)
    return wrapper  # type: ignore[no-any-return]  # it has the interface of one


async def stored_ids(service: SessionService) -> list[str]:
    return [session.id for session in (await service.list_sessions(archived=True)).sessions]


# Deferred sessions


async def test_a_new_session_is_not_stored_before_its_first_event(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    await manager.persist_server_session_id("remote-1")
    await manager.set_metadata("key", 1)
    await manager.persist_events([])
    await manager.archive()
    assert ((await manager.snapshot())[1]).events == ()
    assert not manager.stored
    assert await stored_ids(service) == []


async def test_the_first_event_stores_the_session_with_its_deferred_metadata(
    service: LocalSessionService,
) -> None:
    workspace = workspace_at("/repo/src", "/repo")
    manager = SessionManager.create_new(service, workspace)
    await manager.persist_server_session_id("remote-1")
    await manager.persist_server_session_id("remote-2")
    for key, value in (("kept", {"a": 1}), ("removed", 1), ("removed", None)):
        await manager.set_metadata(key, value)
    assert await manager.get_metadata("kept") == {"a": 1}
    assert await manager.get_metadata("removed") is None
    event = user_message("Hello")
    await manager.persist_events([event])
    session = await service.get_session(manager.session_id)
    assert (session.directory, session.git_root) == ("/repo/src", "/repo")
    assert (session.server_session_id, session.head) == ("remote-2", event.id)
    assert await service.get_metadata(session.id, "kept") == {"a": 1}
    assert await service.get_metadata(session.id, "removed") is None
    page = await service.list_sessions(directory="/else", git_common_dir="/repo/.git")
    assert [listed.id for listed in page.sessions] == [session.id]


async def test_metadata_that_is_not_json_is_refused_before_the_first_event(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    with pytest.raises(InvalidInputError):
        await manager.set_metadata("key", float("nan"))
    await manager.persist_events([user_message()])
    assert await manager.get_metadata("key") is None


async def test_metadata_of_a_stored_session_is_stored_at_once(
    service: LocalSessionService,
) -> None:
    manager = await SessionManager.resume(service, await store_session(service), workspace_at())
    await manager.persist_server_session_id("remote-1")
    await manager.set_metadata("key", [1])
    assert (await service.get_session(manager.session_id)).server_session_id == "remote-1"
    assert await service.get_metadata(manager.session_id, "key") == [1]
    assert await manager.get_metadata("key") == [1]


# Persisting


async def test_persisting_the_whole_conversation_every_time_is_idempotent(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    conversation: list[Event] = []
    for number in range(5):
        conversation.append(user_message(str(number)))
        appended = await manager.persist_events(conversation)
        again = await manager.persist_events(conversation)
        assert appended.duplicates == number
        assert (again.head, again.duplicates) == (appended.head, number + 1)
    assert await contents(service, manager.session_id) == ["0", "1", "2", "3", "4"]


async def test_only_new_events_may_be_persisted(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    for number in range(5):
        await manager.persist_events([user_message(str(number))])
    assert await contents(service, manager.session_id) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("whole", [True, False], ids=["all events", "failed events"])
async def test_the_call_after_a_failure_stores_what_is_missing(
    service: LocalSessionService, whole: bool
) -> None:
    manager = SessionManager.create_new(failing(service, "append_events"), workspace_at())
    first, *rest = (user_message(str(number)) for number in range(4))
    await manager.persist_events([first])
    with pytest.raises(StorageUnavailable):
        await manager.persist_events(rest)
    assert await contents(service, manager.session_id) == ["0"]
    await manager.persist_events([first, *rest] if whole else rest)
    assert await contents(service, manager.session_id) == ["0", "1", "2", "3"]


async def test_after_a_failed_first_event_the_session_is_still_deferred(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(failing(service, "create_session"), workspace_at())
    await manager.set_metadata("key", 1)
    with pytest.raises(StorageUnavailable):
        await manager.persist_events([user_message("one")])
    assert not manager.stored
    assert await stored_ids(service) == []
    await manager.persist_events([user_message("two")])
    assert await contents(service, manager.session_id) == ["two"]
    assert await manager.get_metadata("key") == 1


async def test_concurrent_calls_take_effect_in_call_order(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    words = [str(number) for number in range(30)]
    await asyncio.gather(*(manager.persist_events([user_message(word)]) for word in words))
    assert await contents(service, manager.session_id) == words


async def test_the_append_after_a_refused_first_one_creates_the_session(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    refused, stored, _ = await asyncio.gather(
        manager.persist_events([user_message("no")], parent_id="nobody"),
        manager.persist_events([user_message("yes")]),
        manager.persist_events([user_message("and more")]),
        return_exceptions=True,
    )
    assert isinstance(refused, HeadMoved)
    assert isinstance(stored, AppendResult)
    assert await contents(service, manager.session_id) == ["yes", "and more"]


async def test_a_given_parent_is_compared_with_the_head(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    with pytest.raises(HeadMoved) as moved:
        await manager.persist_events([user_message()], parent_id="unknown")
    assert (moved.value.head, moved.value.event_count) == (None, 0)
    one, two = user_message("one"), user_message("two")
    await manager.persist_events([one], parent_id=None)
    with pytest.raises(HeadMoved):
        await manager.persist_events([user_message("other")], parent_id=None)
    await manager.persist_events([two], parent_id=one.id)
    assert await contents(service, manager.session_id) == ["one", "two"]


async def test_an_append_behind_unseen_events_of_another_window_is_refused(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    await manager.persist_events([user_message("mine")])
    theirs = user_message("theirs")
    await append_to_head(service, manager.session_id, theirs)
    for _ in range(2):
        with pytest.raises(HeadMoved) as moved:
            await manager.persist_events([user_message("unseen")])
        assert moved.value.head == theirs.id
    await manager.snapshot()
    await manager.persist_events([user_message("seen")])
    assert await contents(service, manager.session_id) == ["mine", "theirs", "seen"]


async def test_a_late_result_does_not_undo_what_a_snapshot_showed(
    service: LocalSessionService,
) -> None:
    late: Any = Late(service)
    manager = SessionManager.create_new(late, workspace_at())
    await manager.persist_events([user_message("one")])
    append = asyncio.ensure_future(manager.persist_events([user_message("two")]))
    await late.stored.wait()
    await append_to_head(service, manager.session_id, user_message("theirs"), invocation_id="b")
    await manager.snapshot()
    late.released.set()
    await append
    await manager.persist_events([user_message("three")])
    assert await contents(service, manager.session_id) == ["one", "two", "theirs", "three"]


# Resuming


async def test_resume_restores_the_parent_chain_under_a_new_invocation(
    service: LocalSessionService,
) -> None:
    first = SessionManager.create_new(service, workspace_at())
    one, two = user_message("one"), user_message("two")
    await first.persist_events([one])
    other = await SessionManager.resume(service, first.session_id, workspace_at())
    second = await SessionManager.resume(service, first.session_id, workspace_at())
    assert (second.session_id, second.resumed) == (first.session_id, True)
    assert len({first.invocation_id, other.invocation_id, second.invocation_id}) == 3
    boundary = second.boundary
    assert boundary is not None
    await second.persist_events([two])
    events = await all_events(service, first.session_id)
    assert [(event.id, event.parent_id, event.invocation_id) for event in events] == [
        (one.id, None, first.invocation_id),
        (boundary.id, one.id, second.invocation_id),
        (two.id, boundary.id, second.invocation_id),
    ]


async def test_an_unknown_session_cannot_be_resumed(service: LocalSessionService) -> None:
    with pytest.raises(SessionNotFound):
        await SessionManager.resume(service, "unknown", workspace_at())


async def test_the_boundary_contains_the_time_since_the_last_event(
    database: Path, service: LocalSessionService
) -> None:
    id = await store_session(service)
    make_older(database, id, 125)
    manager = await SessionManager.resume(service, id, workspace_at())
    assert manager.boundary is not None
    assert manager.boundary.type == "system_context"
    assert manager.boundary.data["content"].endswith("its last event was 2 hours ago.]")


async def test_the_boundary_is_stored_once_and_only_before_a_new_event(
    service: LocalSessionService,
) -> None:
    one = user_message("one")
    id = await store_session(service, one)
    manager = await SessionManager.resume(service, id, workspace_at())
    assert manager.boundary is not None
    await manager.persist_events([one])
    await manager.persist_events([])
    assert await contents(service, id) == ["one"]
    note = manager.boundary.data["content"]
    await manager.persist_events([one, user_message("two")])
    assert manager.boundary is None
    await manager.persist_events([user_message("three")])
    assert await contents(service, id) == ["one", note, "two", "three"]


async def test_the_boundary_is_kept_until_an_append_succeeds(
    service: LocalSessionService,
) -> None:
    id = await store_session(service, user_message("one"))
    manager = await SessionManager.resume(failing(service, "append_events"), id, workspace_at())
    with pytest.raises(StorageUnavailable):
        await manager.persist_events([user_message("two")])
    assert manager.boundary is not None
    note = manager.boundary.data["content"]
    await manager.persist_events([user_message("two")])
    assert await contents(service, id) == ["one", note, "two"]


async def test_a_conversation_that_contains_the_boundary_may_be_persisted(
    service: LocalSessionService,
) -> None:
    """Editors get the boundary when they open the session, and keep it with its events."""
    one = user_message("one")
    id = await store_session(service, one)
    manager = await SessionManager.resume(service, id, workspace_at())
    boundary = manager.boundary
    assert boundary is not None
    conversation = [one, boundary, user_message("two")]
    await manager.persist_events(conversation)
    await manager.persist_events([*conversation, user_message("three")])
    assert await contents(service, id) == ["one", boundary.data["content"], "two", "three"]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(milliseconds=10), "less than a second ago"),
        (timedelta(seconds=1.5), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=1, seconds=30), "1 minute ago"),
        (timedelta(minutes=59), "59 minutes ago"),
        (timedelta(hours=23.5), "23 hours ago"),
        (timedelta(days=1.5), "1 day ago"),
        (timedelta(days=400), "400 days ago"),
        (timedelta(seconds=-50), "less than a second ago"),
    ],
)
def test_ages_in_words(age: timedelta, words: str) -> None:
    then = now() - age // timedelta(milliseconds=1)
    assert ago(then) == words
    assert words in boundary_note(then)


@pytest.mark.parametrize(
    ("time", "date"), [(4_294_967_295_000, "2106-02-07"), (1 << 62, "9999-12-31")]
)
def test_a_time_in_the_future_is_called_one(time: int, date: str) -> None:
    assert ago(time) == f"in the future ({date})"
    assert f"its last event was in the future ({date})." in boundary_note(time)


# Archiving and resetting


async def test_archive_archives_the_stored_session(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    await manager.persist_events([user_message()])
    await manager.archive()
    assert (await service.get_session(manager.session_id)).archived_at is not None


async def test_a_conversation_of_any_length_is_persisted(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    events = [user_message(str(number)) for number in range(2 * MAX_BATCH + 1)]
    first = await manager.persist_events(events[:MAX_BATCH])
    assert first.event_count == MAX_BATCH
    result = await manager.persist_events(events)
    assert (result.event_count, result.duplicates) == (len(events), MAX_BATCH)
    assert [event.seq for event in result.events] == list(range(1, len(events) + 1))


async def test_a_late_event_is_stored_in_the_archived_session(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    await manager.persist_events([user_message("question")])
    await manager.archive()
    await manager.persist_events([user_message("late")])
    assert (await service.get_session(manager.session_id)).archived_at is not None
    assert await contents(service, manager.session_id) == ["question", "late"]


async def test_a_copy_goes_on_with_the_session_after_a_reset(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    await manager.persist_events([user_message("question")])
    before = manager.copy()
    await manager.archive_and_reset()
    await before.persist_events([user_message("late")])
    await manager.persist_events([user_message("afresh")])
    assert await contents(service, before.session_id) == ["question", "late"]
    assert await contents(service, manager.session_id) == ["afresh"]


async def test_reset_archives_the_old_session_and_defers_the_new_one(
    service: LocalSessionService,
) -> None:
    manager = await SessionManager.resume(
        service, await store_session(service, user_message("old")), workspace_at()
    )
    old, invocation = manager.session_id, manager.invocation_id
    await manager.persist_server_session_id("remote-1")
    await manager.set_metadata("edit permissions", True)
    await manager.archive_and_reset()
    assert old != manager.session_id
    assert invocation != manager.invocation_id
    assert (manager.stored, manager.resumed, manager.boundary) == (False, False, None)
    assert (await service.get_session(old)).archived_at is not None
    assert await stored_ids(service) == [old]
    await manager.persist_events([user_message("new")])
    (event,) = await all_events(service, manager.session_id)
    assert (event.parent_id, event.invocation_id) == (None, manager.invocation_id)
    assert (await service.get_session(manager.session_id)).server_session_id is None
    assert await manager.get_metadata("edit permissions") is None
    assert await contents(service, old) == ["old"]


async def test_reset_of_a_deferred_session_stores_nothing(
    service: LocalSessionService,
) -> None:
    manager = SessionManager.create_new(service, workspace_at())
    before = manager.session_id
    await manager.archive_and_reset()
    assert manager.session_id != before
    assert await stored_ids(service) == []


async def test_a_reset_whose_archiving_fails_changes_nothing(service: LocalSessionService) -> None:
    manager = SessionManager.create_new(failing(service, "archive"), workspace_at())
    await manager.persist_events([user_message("one")])
    before = (manager.session_id, manager.invocation_id)
    with pytest.raises(StorageUnavailable):
        await manager.archive_and_reset()
    assert (manager.session_id, manager.invocation_id) == before
    await manager.persist_events([user_message("two")])
    assert await contents(service, manager.session_id) == ["one", "two"]
    await manager.archive_and_reset()
    assert manager.session_id != before[0]


async def test_a_snapshot_of_a_deferred_session_does_not_call_the_store(
    service: LocalSessionService,
) -> None:
    recording: Any = Recording(service)
    manager = SessionManager.create_new(recording, workspace_at("/repo/src", "/repo"))
    await manager.persist_server_session_id("remote-1")
    session, page = await manager.snapshot()
    assert page.events == ()
    assert (session.id, session.head, session.event_count) == (manager.session_id, None, 0)
    assert (session.directory, session.git_root) == ("/repo/src", "/repo")
    assert session.server_session_id == "remote-1"
    assert recording.calls == []


async def test_a_session_and_its_first_events_are_stored_by_one_call(
    service: LocalSessionService,
) -> None:
    """Two writes would be two transactions: a crash between them leaves an empty session."""
    recording: Any = Recording(service)
    manager = SessionManager.create_new(recording, workspace_at())
    await manager.set_metadata("key", 1)
    await manager.persist_server_session_id("remote-1")
    await manager.persist_events([user_message(), user_message()])
    assert recording.calls == ["create_session"]


async def test_a_retry_does_not_adopt_the_head_of_another_window(
    service: LocalSessionService,
) -> None:
    """The head that a retry reports may be an event that this window has not loaded."""
    one = SessionManager.create_new(service, workspace_at())
    sent = user_message("a")
    await one.persist_events([sent])
    other = await SessionManager.resume(service, one.session_id, workspace_at())
    await other.persist_events([user_message("z")])
    assert (await one.persist_events([sent])).duplicates == 1
    with pytest.raises(HeadMoved):
        await one.persist_events([user_message("b")])
