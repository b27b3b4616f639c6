import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import segue
from segue.cli.client import Client, RequestError
from segue.lsp.server import HANDLERS
from segue.protocol.methods import METHODS

Json = dict[str, Any]
StartClient = Callable[..., Client]


class Matches:
    """Equals every string that matches a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._pattern, other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"Matches({self._pattern!r})"


UUID7 = Matches(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = Matches(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SENTENCE = Matches(r".+")
BRANCH = Matches(r"\S+")
UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.path.realpath(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def start_window(home: Path) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def start() -> Client:
        names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")
        environment = {name: str(home / name.lower()) for name in names}
        client = Client(home, environment | {"SEGUE_DATABASE": str(home / "sessions.db")})
        clients.append(client)
        client.initialize(rootUri=home.as_uri())
        return client

    yield start
    for client in clients:
        assert client.shutdown() == 0


@pytest.fixture(scope="module")
def window(start_window: Callable[[], Client]) -> Client:
    """Return a window that the tests share; each has a repository of its own."""
    return start_window()


@pytest.fixture(scope="module")
def other(start_window: Callable[[], Client]) -> Client:
    """Return a second window on the same store."""
    return start_window()


def user_message(content: str, id: str | None = None) -> Json:
    event = {"type": "user_message", "data": {"content": content}}
    return event if id is None else {"id": id} | event


def open_new(client: Client, folder: Path) -> str:
    opened = client.request("session/open", {"workspace": str(folder), "mode": "new"})
    return str(opened["session"]["sessionId"])


def append(client: Client, session: str, *events: Json, **params: Any) -> Any:
    return client.request("session/append", {"sessionId": session, "events": list(events)} | params)


def read(client: Client, session: str, **params: Any) -> list[Json]:
    result = client.request("session/events", {"sessionId": session} | params)
    return list(result["events"])


def contents(events: list[Json]) -> list[str]:
    return [event["data"]["content"] for event in events]


def open_in(client: Client, folder: Path, **params: Any) -> Any:
    return client.request("session/open", {"workspace": str(folder)} | params)


def error_of(client: Client, method: str, params: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        client.request(method, params)
    return caught.value


def paths(error: RequestError) -> list[str]:
    assert error.code == -32602
    return [fault["path"] for fault in error.data["errors"]]


# -- the method table --------------------------------------------------------------------------


def test_every_method_has_a_handler_and_is_announced(tmp_path: Path, database: Path) -> None:
    client = Client(tmp_path)
    try:
        assert client.initialize() == {
            "capabilities": {
                "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
                "experimental": {
                    "sessions": {
                        "version": 1,
                        "methods": list(METHODS),
                        "database": str(database),
                    }
                },
            },
            "serverInfo": {"name": "segue", "version": segue.__version__},
        }
    finally:
        client.kill()
    assert list(HANDLERS) == list(METHODS)


# -- complete results --------------------------------------------------------------------------


def test_open_returns_a_new_session(window: Client, repository: Path) -> None:
    opened = window.request("session/open", {"workspace": str(repository / "src")})

    assert opened == {
        "session": {
            "sessionId": UUID7,
            "title": None,
            "directory": str(repository / "src"),
            "gitRoot": str(repository),
            "serverSessionId": None,
            "head": None,
            "eventCount": 0,
            "createdAt": TIME,
            "updatedAt": TIME,
            "archivedAt": None,
            "forkedFrom": None,
            "forkedAt": None,
            "source": None,
            "client": None,
            "agent": None,
            "model": None,
            "lastPromptAt": None,
            "branch": None,
            "repository": None,
            "machine": None,
            "sharedBy": None,
        },
        "invocationId": UUID7,
        "resumed": False,
        "reason": SENTENCE,
        "reasonCode": "nothingFits",
        "boundary": None,
        "events": [],
        "hasMore": False,
        "lastEventAt": None,
        "alternatives": [],
        "moved": None,
    }


def test_open_returns_a_resumed_session(window: Client, other: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("Why is the sky blue?", "q"))
    older = open_new(window, repository)
    append(window, older, user_message("older"))
    append(window, session, {"id": "a", "type": "text", "data": {"content": "Rayleigh."}})

    opened = open_in(other, repository)

    expected_session = {
        "sessionId": session,
        "title": "Why is the sky blue?",
        "directory": str(repository),
        "gitRoot": str(repository),
        "serverSessionId": None,
        "head": "a",
        "eventCount": 2,
        "createdAt": TIME,
        "updatedAt": TIME,
        "archivedAt": None,
        "forkedFrom": None,
        "forkedAt": None,
        "source": None,
        "client": None,
        "agent": None,
        "model": None,
        "lastPromptAt": TIME,
        "branch": BRANCH,
        "repository": None,
        "machine": None,
        "sharedBy": None,
    }
    first_invocation = opened["events"][0]["invocationId"]
    assert opened == {
        "session": expected_session,
        "invocationId": UUID7,
        "resumed": True,
        "reason": SENTENCE,
        "reasonCode": "newestInRepository",
        "boundary": {"id": UUID7, "type": "system_context", "data": {"content": SENTENCE}},
        "events": [
            {
                "id": "q",
                "seq": 1,
                "parentId": None,
                "invocationId": UUID7,
                "createdAt": TIME,
                "type": "user_message",
                "data": {"content": "Why is the sky blue?"},
            },
            {
                "id": "a",
                "seq": 2,
                "parentId": "q",
                "invocationId": first_invocation,
                "createdAt": TIME,
                "type": "text",
                "data": {"content": "Rayleigh."},
            },
        ],
        "hasMore": False,
        "lastEventAt": opened["session"]["updatedAt"],
        "alternatives": [
            expected_session
            | {"sessionId": older, "title": "older", "head": UUID7, "eventCount": 1}
        ],
        "moved": None,
    }
    assert opened["invocationId"] != first_invocation


def test_append_returns_the_position_of_each_event(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    result = append(window, session, user_message("one", "first"), user_message("two"))

    assert result == {
        "head": UUID7,
        "eventCount": 2,
        "events": [{"id": "first", "seq": 1}, {"id": UUID7, "seq": 2}],
        "duplicates": 0,
    }
    assert result["head"] == result["events"][1]["id"]


def test_append_of_no_events_returns_the_head(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    assert append(window, session) == {
        "head": None,
        "eventCount": 0,
        "events": [],
        "duplicates": 0,
    }
    append(window, session, user_message("one", "first"))
    assert append(window, session)["head"] == "first"


def test_events_returns_a_page(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))

    assert window.request("session/events", {"sessionId": session}) == {
        "events": [
            {
                "id": "1",
                "seq": 1,
                "parentId": None,
                "invocationId": UUID7,
                "createdAt": TIME,
                "type": "user_message",
                "data": {"content": "one"},
            }
        ],
        "hasMore": False,
        "invocations": [{"id": UUID7, "clientName": None, "clientVersion": None}],
    }


def test_events_pages_in_both_directions(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, *(user_message(str(n), str(n)) for n in range(1, 11)))

    def page(**params: int) -> tuple[list[int], bool]:
        result = window.request("session/events", {"sessionId": session} | params)
        return [event["seq"] for event in result["events"]], result["hasMore"]

    assert page() == (list(range(1, 11)), False)
    assert page(limit=3) == ([8, 9, 10], True)
    assert page(limit=10) == (list(range(1, 11)), False)
    assert page(before=8, limit=3) == ([5, 6, 7], True)
    assert page(before=3, limit=3) == ([1, 2], False)
    assert page(before=1) == ([], False)
    assert page(after=0, limit=4) == ([1, 2, 3, 4], True)
    assert page(after=8, limit=4) == ([9, 10], False)
    assert page(after=10) == ([], False)
    assert page(after=4_294_967_295) == ([], False)


def test_a_page_holds_200_events_by_default(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, *(user_message(str(n)) for n in range(1, 1_201)))

    assert [event["seq"] for event in read(window, session)] == list(range(1_001, 1_201))
    assert len(read(window, session, limit=1_000)) == 1_000
    assert len(open_in(window, repository, sessionId=session)["events"]) == 200


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"after": 1, "before": 3}, "$.before"),
        ({"limit": 0}, "$.limit"),
        ({"limit": 1_001}, "$.limit"),
        ({"limit": 2.0}, "$.limit"),
        ({"limit": True}, "$.limit"),
        ({"after": -1}, "$.after"),
        ({"before": "3"}, "$.before"),
    ],
)
def test_events_refuses_invalid_page_params(
    window: Client, repository: Path, params: Json, path: str
) -> None:
    session = open_new(window, repository)

    assert paths(error_of(window, "session/events", {"sessionId": session} | params)) == [path]


def test_events_of_an_empty_session(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    assert window.request("session/events", {"sessionId": session}) == {
        "events": [],
        "hasMore": False,
        "invocations": [],
    }


def test_events_of_a_session_that_is_not_open_here(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    assert contents(read(other, session)) == ["one"]


def test_list_returns_sessions_newest_first(window: Client, repository: Path) -> None:
    first, second = open_new(window, repository), open_new(window, repository)
    append(window, first, user_message("one", "1"))
    append(window, second, user_message("two", "2"))
    time.sleep(0.002)  # times have milliseconds
    append(window, first, user_message("three", "3"))

    result = window.request("session/list", {"cwd": str(repository)})

    assert result == {
        "sessions": [
            {
                "sessionId": session,
                "title": title,
                "directory": str(repository),
                "gitRoot": str(repository),
                "serverSessionId": None,
                "head": head,
                "eventCount": count,
                "createdAt": TIME,
                "updatedAt": TIME,
                "archivedAt": None,
                "forkedFrom": None,
                "forkedAt": None,
                "source": None,
                "client": None,
                "agent": None,
                "model": None,
                "lastPromptAt": TIME,
                "branch": BRANCH,
                "repository": None,
                "machine": None,
                "sharedBy": None,
            }
            for session, title, head, count in ((first, "one", "3", 2), (second, "two", "2", 1))
        ],
        "nextCursor": None,
        "open": sorted([first, second]),
    }
    everywhere = window.request("session/list", {})["sessions"]
    assert [session["sessionId"] for session in everywhere[:2]] == [first, second]


def test_list_omits_archived_sessions_by_default(window: Client, repository: Path) -> None:
    kept, archived = open_new(window, repository), open_new(window, repository)
    append(window, kept, user_message("kept"))
    append(window, archived, user_message("archived"))
    window.request("session/archive", {"sessionId": archived})

    def listed(**params: Any) -> list[str]:
        result = window.request("session/list", {"cwd": str(repository)} | params)
        return [session["sessionId"] for session in result["sessions"]]

    assert listed() == [kept]
    assert sorted(listed(archived=True)) == sorted([kept, archived])


def test_list_pages_by_cursor(window: Client, repository: Path) -> None:
    sessions = [open_new(window, repository) for _ in range(7)]
    for session in sessions:
        append(window, session, user_message(session))

    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = window.request(
            "session/list", {"cwd": str(repository), "limit": 3, "cursor": cursor}
        )
        seen += [session["sessionId"] for session in page["sessions"]]
        cursor, pages = page["nextCursor"], pages + 1

    assert seen == sessions[::-1]
    assert pages == 3


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "é",
        "\ud83d",
        "WzFd",
        "WzEsMl0",
        "eyJhIjoxfQ==",
        # Base64 of [10 ** 30, 1], and of brackets that nest too deep to be decoded.
        "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAsIDFd",
        "W1tb" * 30_000,
    ],
)
def test_list_refuses_an_invalid_cursor(window: Client, cursor: str) -> None:
    assert paths(error_of(window, "session/list", {"cursor": cursor})) == ["$.cursor"]


def test_list_finds_the_sessions_of_a_deleted_folder(window: Client, repository: Path) -> None:
    gone = repository / "gone"
    gone.mkdir()
    session = open_new(window, gone)
    append(window, session, user_message("one"))
    gone.rmdir()

    (found,) = window.request("session/list", {"cwd": gone.as_uri()})["sessions"]
    assert found["sessionId"] == session


def test_search_finds_events_and_titles_with_what_matches(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    event = append(window, session, user_message("Why does CommitHook fail?"))["head"]

    params = {"query": "commithook", "cwd": str(repository), "limit": 1}
    title = other.request("session/search", params)
    found = other.request("session/search", params | {"cursor": title["nextCursor"]})

    assert title["hits"][0]["event"] is None
    assert title["hits"][0]["session"]["sessionId"] == session
    assert found["hits"][0]["event"] == {
        "id": event,
        "seq": 1,
        "type": "user_message",
        "createdAt": TIME,
    }
    assert found["hits"][0]["excerpt"] == [
        {"text": "Why does ", "match": False},
        {"text": "CommitHook", "match": True},
        {"text": " fail?", "match": False},
    ]
    assert found["complete"] is True


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"query": "a"}, "$.query"),
        ({"query": ""}, "$.query"),
        ({"query": "x" * 1_001}, "$.query"),
        ({"query": "nul\0"}, "$.query"),
        ({"query": "\ud83d"}, "$.query"),
        ({"query": "word", "cursor": "x"}, "$.cursor"),
        ({"query": "word", "cwd": "untitled:Untitled-1"}, "$.cwd"),
        ({"query": "word", "limit": 201}, "$.limit"),
        ({"query": "word", "types": [1]}, "$.types[0]"),
    ],
)
def test_search_refuses_what_it_cannot_look_for(window: Client, params: Json, path: str) -> None:
    assert paths(error_of(window, "session/search", params)) == [path]


def test_find_resumable_returns_what_open_would_resume(
    window: Client, other: Client, repository: Path
) -> None:
    assert window.request("session/findResumable", {"workspace": str(repository)}) == {
        "session": None,
        "reason": SENTENCE,
        "reasonCode": "nothingFits",
        "alternatives": [],
        "moved": None,
    }
    older, newer = open_new(window, repository), open_new(window, repository)
    append(window, older, user_message("older"))
    append(window, newer, user_message("newer"))

    found = other.request("session/findResumable", {"workspace": (repository / "src").as_uri()})

    opened = open_in(other, repository)
    assert found == {
        "session": opened["session"],
        "reason": SENTENCE,
        "reasonCode": "newestInRepository",
        "alternatives": opened["alternatives"],
        "moved": None,
    }
    assert found["session"]["sessionId"] == newer
    assert [session["sessionId"] for session in found["alternatives"]] == [older]


def test_find_resumable_opens_nothing(window: Client, other: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    other.request("session/findResumable", {"workspace": str(repository)})

    error = error_of(
        other, "session/append", {"sessionId": session, "events": [user_message("two")]}
    )
    assert error.kind == "SessionNotOpen"


def test_reset_archives_and_starts_a_new_session(window: Client, repository: Path) -> None:
    opened = window.request("session/open", {"workspace": str(repository), "mode": "new"})
    session = opened["session"]["sessionId"]
    append(window, session, user_message("one"))

    reset = window.request("session/reset", {"sessionId": session})

    assert reset == {
        "session": opened["session"] | {"sessionId": UUID7, "createdAt": TIME, "updatedAt": TIME},
        "invocationId": UUID7,
        "resumed": False,
        "reason": SENTENCE,
        "reasonCode": "reset",
        "boundary": None,
        "events": [],
        "hasMore": False,
        "lastEventAt": None,
        "alternatives": [],
        "moved": None,
    }
    fresh = reset["session"]["sessionId"]
    assert fresh != session
    assert reset["invocationId"] != opened["invocationId"]
    assert append(window, session, user_message("late"))["eventCount"] == 2
    assert append(window, fresh, user_message("afresh"))["eventCount"] == 1
    listed = window.request("session/list", {"cwd": str(repository), "archived": True})
    archived = {entry["sessionId"]: entry["archivedAt"] for entry in listed["sessions"]}
    assert archived == {session: TIME, fresh: None}


def test_archive_and_unarchive(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))

    assert window.request("session/archive", {"sessionId": session}) == {}
    assert append(window, session, user_message("a late answer"))["eventCount"] == 2
    assert not open_in(window, repository)["resumed"]
    assert open_in(window, repository, sessionId=session)["session"]["archivedAt"] == TIME

    assert window.request("session/unarchive", {"sessionId": session}) == {}
    assert append(window, session, user_message("two"))["eventCount"] == 3
    assert open_in(window, repository, sessionId=session)["session"]["archivedAt"] is None


def test_delete_removes_a_session_and_its_events(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    assert other.request("session/delete", {"sessionId": session}) == {}

    assert error_of(window, "session/events", {"sessionId": session}).kind == "SessionNotFound"
    error = error_of(
        window, "session/append", {"sessionId": session, "events": [user_message("two")]}
    )
    assert error.kind == "SessionNotFound"


@pytest.mark.parametrize("method", ["session/delete", "session/close"])
def test_delete_and_close_of_an_unknown_session_succeed(window: Client, method: str) -> None:
    assert window.request(method, {"sessionId": UNKNOWN}) == {}


def test_close_leaves_the_session_in_the_store(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    assert window.request("session/close", {"sessionId": session}) == {}

    error = error_of(
        window, "session/append", {"sessionId": session, "events": [user_message("two")]}
    )
    assert error.kind == "SessionNotOpen"
    assert contents(read(window, session)) == ["one"]


@pytest.mark.parametrize("stored", [False, True])
def test_the_server_session_id_and_metadata_are_kept(
    window: Client, other: Client, repository: Path, stored: bool
) -> None:
    session = open_new(window, repository)
    if stored:
        append(window, session, user_message("one"))
    value = {"model": None, "steps": [1, 2.5, True], "jsonrpc": "2.0", "ü": "\ud83d"}
    remote = {"sessionId": session, "serverSessionId": "remote-1"}
    metadata = {"sessionId": session, "key": "view", "value": value}

    assert window.request("session/setServerSessionId", remote) == {}
    assert window.request("session/setMetadata", metadata) == {}
    if not stored:
        append(window, session, user_message("one"))

    key = {"sessionId": session, "key": "view"}
    for client in (window, other):
        assert client.request("session/getMetadata", key) == {"value": value}
        opened = open_in(client, repository, sessionId=session)
        assert opened["session"]["serverSessionId"] == "remote-1"


@pytest.mark.parametrize("stored", [False, True])
def test_metadata_of_null_is_removed(window: Client, repository: Path, stored: bool) -> None:
    session = open_new(window, repository)
    if stored:
        append(window, session, user_message("one"))
    key = {"sessionId": session, "key": "view"}

    assert window.request("session/getMetadata", key) == {"value": None}
    window.request("session/setMetadata", key | {"value": 1})
    assert window.request("session/getMetadata", key) == {"value": 1}
    assert window.request("session/setMetadata", key | {"value": None}) == {}
    assert window.request("session/getMetadata", key) == {"value": None}


# -- forks and titles --------------------------------------------------------------------------


def fork(client: Client, session: str, **params: Any) -> Any:
    return client.request("session/fork", {"sessionId": session} | params)


def retitle(client: Client, session: str, title: str | None) -> Any:
    result = client.request("session/setTitle", {"sessionId": session, "title": title})
    return result["session"]["title"]


def titles(client: Client, folder: Path) -> dict[str, str | None]:
    result = client.request("session/list", {"cwd": str(folder)})
    return {session["sessionId"]: session["title"] for session in result["sessions"]}


def test_fork_returns_the_fork_opened(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"), user_message("two", "2"))

    forked = fork(window, session, at="1")

    event = {
        "id": "1",
        "seq": 1,
        "parentId": None,
        "invocationId": UUID7,
        "createdAt": TIME,
        "type": "user_message",
        "data": {"content": "one"},
    }
    assert forked == {
        "session": {
            "sessionId": UUID7,
            "title": "copy of one",
            "directory": str(repository),
            "gitRoot": str(repository),
            "serverSessionId": None,
            "head": "1",
            "eventCount": 1,
            "createdAt": TIME,
            "updatedAt": TIME,
            "archivedAt": None,
            "forkedFrom": session,
            "forkedAt": 1,
            "source": None,
            "client": None,
            "agent": None,
            "model": None,
            "lastPromptAt": None,
            "branch": BRANCH,
            "repository": None,
            "machine": None,
            "sharedBy": None,
        },
        "invocationId": UUID7,
        "resumed": True,
        "reason": SENTENCE,
        "reasonCode": "forked",
        "boundary": None,
        "events": [event],
        "hasMore": False,
        "lastEventAt": TIME,
        "alternatives": [],
        "moved": None,
    }
    assert forked["lastEventAt"] == forked["events"][0]["createdAt"]


def test_a_fork_can_be_appended_to_at_once(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"), user_message("two"))
    new = fork(window, session, at="1")["session"]["sessionId"]

    append(window, new, user_message("other"))
    append(window, session, user_message("three"))

    assert contents(read(window, new)) == ["one", "other"]
    assert contents(read(window, session)) == ["one", "two", "three"]


def test_a_fork_has_a_boundary_if_its_original_is_not_open_here(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    assert fork(window, session)["boundary"] is None
    there = fork(other, session)
    assert there["boundary"] == {
        "id": UUID7,
        "type": "system_context",
        "data": {"content": SENTENCE},
    }
    append(other, there["session"]["sessionId"], user_message("two"))
    note = there["boundary"]["data"]["content"]
    assert contents(read(other, there["session"]["sessionId"])) == ["one", note, "two"]


def test_a_fork_at_an_unknown_event_is_refused(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    error = error_of(window, "session/fork", {"sessionId": session, "at": "unknown"})

    assert error.data == {"kind": "EventNotFound", "eventId": "unknown"}
    assert list(titles(window, repository)) == [session]


def test_an_empty_session_cannot_be_forked(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    assert paths(error_of(window, "session/fork", {"sessionId": session})) == ["$.sessionId"]


def test_a_retry_of_a_fork_opens_the_same_one(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))
    params: Json = {"newSessionId": f"{session[:-4]}aaaa", "archiveOriginal": True}

    first = fork(window, session, **params)
    again = fork(window, session, **params)
    append(window, params["newSessionId"], user_message("two"))
    restarted = fork(other, session, **params)

    assert first["session"]["sessionId"] == params["newSessionId"]
    assert again == first, "the same invocation"
    assert restarted["session"]["eventCount"] == 2
    assert list(titles(window, repository)) == [params["newSessionId"]]


def test_a_fork_happens_in_the_workspace_that_is_given(
    window: Client, repository: Path, tmp_path: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    forked = fork(window, session, workspace=elsewhere.as_uri())["session"]

    assert (forked["directory"], forked["gitRoot"]) == (os.path.realpath(elsewhere), None)
    assert open_in(window, elsewhere)["session"]["sessionId"] == forked["sessionId"]
    reset = window.request("session/reset", {"sessionId": forked["sessionId"]})["session"]
    assert reset["directory"] == forked["directory"]
    bad = {"sessionId": session, "workspace": "relative"}
    assert paths(error_of(window, "session/fork", bad)) == ["$.workspace"]


def test_going_back_archives_the_original_and_keeps_the_title(
    window: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"), user_message("wrong", "2"))

    back = fork(window, session, at="1", archiveOriginal=True)["session"]

    assert titles(window, repository) == {back["sessionId"]: "one"}
    window.request("session/unarchive", {"sessionId": session})
    assert titles(window, repository) == {back["sessionId"]: "one", session: "one"}


def test_two_windows_go_on_apart_with_a_fork(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))
    open_in(other, repository, sessionId=session)
    append(window, session, user_message("of the first"))
    queue = [user_message("of the second", "q")]
    refused = {"sessionId": session, "events": queue}
    assert error_of(other, "session/append", refused).kind == "HeadMoved"

    forked = fork(other, session, at="1")["session"]["sessionId"]
    append(other, forked, *queue)

    assert contents(read(window, session)) == ["one", "of the first"]
    assert contents(read(window, forked)) == ["one", "of the second"]


def test_a_given_title_stays_until_it_is_null(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("Automatic"))
    before = open_in(window, repository, sessionId=session)["session"]

    result = window.request("session/setTitle", {"sessionId": session, "title": "Given"})

    assert result == {"session": before | {"title": "Given"}}
    append(window, session, user_message("later"))
    assert titles(window, repository) == {session: "Given"}
    assert retitle(window, session, None) == "Automatic"
    append(window, session, user_message("still later"))
    assert titles(window, repository) == {session: "Automatic"}


def test_the_title_of_a_session_that_is_not_open_here_can_be_given(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("Automatic"))

    assert retitle(other, session, "Given") == "Given"
    assert open_in(window, repository, sessionId=session)["session"]["title"] == "Given"


def test_the_title_of_an_empty_session_is_stored_with_its_first_event(
    window: Client, repository: Path
) -> None:
    session = open_new(window, repository)

    assert retitle(window, session, "First") == "First"
    assert retitle(window, session, None) is None
    assert retitle(window, session, "Given") == "Given"
    assert titles(window, repository) == {}
    append(window, session, user_message("Automatic"))
    assert titles(window, repository) == {session: "Given"}
    assert retitle(window, session, None) == "Automatic"


def test_secrets_in_titles_are_masked(window: Client, repository: Path) -> None:
    secret = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zB9dF1hJ3kL5"
    session, empty = open_new(window, repository), open_new(window, repository)
    append(window, session, user_message("one"))

    given = retitle(window, session, f"use {secret}")
    first = retitle(window, empty, f"use {secret}")
    forked = fork(window, session, title=f"use {secret}")["session"]["title"]

    for title in (given, first, forked):
        assert title.startswith("use ")
        assert secret not in title


@pytest.mark.parametrize(
    "title",
    ["", " ", "two\nlines", "end\n", "a\u2028b", "\x1b[31mred", "nul\x00", "x" * 201, "\ud83d", 5],
)
def test_a_title_is_one_line(window: Client, repository: Path, title: Any) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    given = {"sessionId": session, "title": title}
    assert paths(error_of(window, "session/setTitle", given)) == ["$.title"]
    assert paths(error_of(window, "session/fork", given)) == ["$.title"]
    assert titles(window, repository) == {session: "one"}


def test_a_title_has_to_be_given(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    assert paths(error_of(window, "session/setTitle", {"sessionId": session})) == ["$.title"]


# -- who writes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "name", "version"),
    [
        ({"name": "Neovim", "version": "0.11.1"}, "Neovim", "0.11.1"),
        ({"name": "Neovim"}, "Neovim", None),
        ({"name": "", "version": ""}, None, None),
        ({"name": "x" * 1_000_000, "version": "1" * 1_000}, "x" * 100, "1" * 100),
        ({"name": " two\r\nlines\u2028 ", "version": "\x1b[31m\x00"}, "two lines", "[31m"),
        ({"name": "half \ud83d", "version": "\udc00"}, "half", None),
        ({"name": 5, "version": ["1"]}, None, None),
        ({}, None, None),
        ("Neovim", None, None),
        (None, None, None),
    ],
)
def test_the_client_is_stored_with_what_it_writes(
    repository: Path, info: Any, name: str | None, version: str | None
) -> None:
    client = Client(repository)
    client.initialize(rootUri=repository.as_uri(), clientInfo=info)
    try:
        session = open_new(client, repository)
        append(client, session, user_message("one"))

        page = client.request("session/events", {"sessionId": session})
        assert page["invocations"] == [
            {
                "id": page["events"][0]["invocationId"],
                "clientName": name,
                "clientVersion": version,
            }
        ]
        assert open_in(client, repository, sessionId=session)["session"]["client"] == name
    finally:
        client.kill()


def test_each_window_is_named_with_its_events(repository: Path) -> None:
    clients = [Client(repository) for _ in range(2)]
    try:
        for number, client in enumerate(clients):
            client.initialize(clientInfo={"name": f"editor {number}", "version": "1"})
        session = open_new(clients[0], repository)
        append(clients[0], session, user_message("one"))
        open_in(clients[1], repository, sessionId=session)
        append(clients[1], session, user_message("two"))

        page = clients[0].request("session/events", {"sessionId": session})

        assert [each["clientName"] for each in page["invocations"]] == ["editor 0", "editor 1"]
        listed = clients[0].request("session/list", {"cwd": str(repository)})
        assert [each["client"] for each in listed["sessions"]] == ["editor 1"]
    finally:
        for client in clients:
            client.kill()


def test_the_agent_and_model_of_the_last_answer_are_kept(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    def after(**params: Any) -> tuple[str | None, str | None]:
        append(window, session, user_message("more"), **params)
        result = open_in(window, repository, sessionId=session)["session"]
        return result["agent"], result["model"]

    assert after() == (None, None)
    assert after(agent="copilot", model="gpt-x") == ("copilot", "gpt-x")
    assert after(agent=None) == ("copilot", "gpt-x")
    assert after(agent="claude_code") == ("claude_code", None)
    forked = fork(window, session)["session"]
    assert (forked["agent"], forked["model"]) == ("claude_code", None)
    bad = {"sessionId": session, "events": [], "agent": "two\nlines", "model": ""}
    assert sorted(paths(error_of(window, "session/append", bad))) == ["$.agent", "$.model"]


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("session/open", {}),
        ("session/events", {}),
        ("session/archive", {}),
        ("session/unarchive", {}),
        ("session/setServerSessionId", {"serverSessionId": "remote"}),
        ("session/getMetadata", {"key": "view"}),
        ("session/setMetadata", {"key": "view", "value": 1}),
    ],
)
def test_an_unknown_session_is_not_found(window: Client, method: str, params: Json) -> None:
    error = error_of(window, method, {"sessionId": UNKNOWN} | params)

    assert (error.code, error.data) == (-32803, {"kind": "SessionNotFound"})
    assert UNKNOWN in error.message


@pytest.mark.parametrize(
    ("method", "params"),
    [("session/append", {"events": [user_message("one")]}), ("session/reset", {})],
)
def test_append_and_reset_require_an_open_session(
    window: Client, other: Client, repository: Path, method: str, params: Json
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    for unopened in (session, UNKNOWN):
        error = error_of(other, method, {"sessionId": unopened} | params)
        assert (error.code, error.data) == (-32803, {"kind": "SessionNotOpen"})


def test_mode_resume_fails_when_nothing_fits(window: Client, repository: Path) -> None:
    error = error_of(window, "session/open", {"workspace": str(repository), "mode": "resume"})

    assert (error.code, error.data) == (-32803, {"kind": "NothingToResume"})


def test_the_same_id_with_other_content_is_a_conflict(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))

    for event in (
        user_message("other", "1"),
        {"id": "1", "type": "text", "data": {"content": "one"}},
    ):
        error = error_of(
            window, "session/append", {"sessionId": session, "events": [user_message("new"), event]}
        )
        assert (error.code, error.data) == (-32803, {"kind": "EventConflict", "eventId": "1"})
    assert contents(read(window, session)) == ["one"], "a batch is all or nothing"


def test_the_same_id_twice_with_other_content_in_one_batch_is_a_conflict(
    window: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    batch = [user_message("one", "1"), user_message("other", "1")]

    error = error_of(window, "session/append", {"sessionId": session, "events": batch})

    assert error.data == {"kind": "EventConflict", "eventId": "1"}
    assert read(window, session) == []


# -- append ------------------------------------------------------------------------------------


def test_head_moved_carries_the_current_head(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))
    open_in(other, repository, sessionId=session)
    append(window, session, user_message("two", "2"))

    late = {"sessionId": session, "events": [user_message("three", "3")]}
    for parent in ({}, {"parentId": "1"}):
        error = error_of(other, "session/append", late | parent)
        assert (error.code, error.data) == (
            -32803,
            {"kind": "HeadMoved", "head": "2", "eventCount": 2},
        )

    result = append(other, session, user_message("three", "3"), parentId="2")
    assert (result["head"], result["eventCount"]) == ("3", 4), "with the boundary of this window"
    stored = read(window, session)
    assert [event["parentId"] for event in stored] == [None, "1", "2", stored[2]["id"]]
    assert [event["id"] for event in stored] == ["1", "2", UUID7, "3"]


def test_a_window_that_opened_again_may_append_without_a_parent(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))
    open_in(other, repository, sessionId=session)
    append(window, session, user_message("two", "2"))

    open_in(other, repository, sessionId=session)

    assert append(other, session, user_message("three", "3"))["head"] == "3"


def test_append_is_idempotent(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    batch = [user_message("one", "1"), user_message("two", "2")]
    first = append(window, session, *batch, parentId=None)
    before = open_in(window, repository, sessionId=session)["session"]

    assert append(window, session, *batch, parentId=None) == first | {"duplicates": 2}
    assert append(window, session, *batch) == first | {"duplicates": 2}

    assert contents(read(window, session)) == ["one", "two"]
    assert open_in(window, repository, sessionId=session)["session"] == before


def test_a_retry_with_another_key_order_is_a_duplicate(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    call = {"id": "c", "name": "grep", "input": {"a": 1, "b": [2, {"x": 1, "y": 2}]}}
    again = {"input": {"b": [2, {"y": 2, "x": 1}], "a": 1}, "name": "grep", "id": "c"}
    append(window, session, {"id": "1", "type": "tool_call", "data": call})

    result = append(window, session, {"id": "1", "type": "tool_call", "data": again})

    assert result["duplicates"] == 1


def test_a_batch_may_mix_stored_and_new_events(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"), user_message("two", "2"))

    result = append(
        window,
        session,
        user_message("two", "2"),
        user_message("three", "3"),
        user_message("four", "4"),
    )

    assert result == {
        "head": "4",
        "eventCount": 4,
        "events": [{"id": "2", "seq": 2}, {"id": "3", "seq": 3}, {"id": "4", "seq": 4}],
        "duplicates": 1,
    }
    assert contents(read(window, session)) == ["one", "two", "three", "four"]


def test_a_null_parent_requires_an_empty_session(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    assert append(window, session, user_message("one", "1"), parentId=None)["head"] == "1"
    error = error_of(
        window,
        "session/append",
        {"sessionId": session, "parentId": None, "events": [user_message("two", "2")]},
    )
    assert error.data == {"kind": "HeadMoved", "head": "1", "eventCount": 1}


def test_a_parent_in_an_empty_session_is_refused(window: Client, repository: Path) -> None:
    session = open_new(window, repository)

    error = error_of(
        window,
        "session/append",
        {"sessionId": session, "parentId": "1", "events": [user_message("two")]},
    )

    assert error.data == {"kind": "HeadMoved", "head": None, "eventCount": 0}


def test_unacknowledged_events_can_be_resent_after_a_restart(
    start: StartClient, repository: Path
) -> None:
    client = start()
    session = open_new(client, repository)
    append(client, session, user_message("one", "1"))
    client.kill()

    again = start()
    opened = open_in(again, repository, sessionId=session)
    result = append(
        again, session, user_message("one", "1"), user_message("two", "2"), parentId=None
    )

    assert result["duplicates"] == 1
    assert [event["id"] for event in read(again, session)] == ["1", opened["boundary"]["id"], "2"]


@pytest.mark.parametrize("id", ["", "x" * 129, 7, "\ud83d"])
def test_an_event_id_has_1_to_128_characters(window: Client, repository: Path, id: Any) -> None:
    session = open_new(window, repository)

    error = error_of(
        window,
        "session/append",
        {"sessionId": session, "events": [user_message("one") | {"id": id}]},
    )

    assert paths(error) == ["$.events[0].id"]


def test_any_other_string_is_an_event_id(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    ids = ["x" * 128, "0", " ", "é\u0000\n", "😀" * 128, "0189D8F2-0000-7000-8000-000000000000"]

    append(window, session, *(user_message(id, id) for id in ids))

    assert [event["id"] for event in read(window, session)] == ids


# -- open --------------------------------------------------------------------------------------


def test_a_new_session_is_stored_with_its_first_event(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    where = {"cwd": str(repository), "archived": True}

    assert other.request("session/list", where)["sessions"] == []
    assert error_of(other, "session/open", {"sessionId": session}).kind == "SessionNotFound"

    append(window, session, user_message("one"))
    assert len(other.request("session/list", where)["sessions"]) == 1


def test_mode_auto_returns_the_open_empty_session(window: Client, repository: Path) -> None:
    first = open_in(window, repository)
    again = open_in(window, repository, mode="auto")

    assert again["session"]["sessionId"] == first["session"]["sessionId"]
    assert again["invocationId"] == first["invocationId"]
    assert open_new(window, repository) != first["session"]["sessionId"]


def test_opening_an_open_session_returns_it_unchanged(window: Client, repository: Path) -> None:
    first = open_in(window, repository)
    session = first["session"]["sessionId"]
    append(window, session, user_message("one"))

    for params in ({"sessionId": session}, {"mode": "auto"}, {"mode": "resume"}):
        again = open_in(window, repository, **params)
        assert again["session"]["sessionId"] == session
        assert again["invocationId"] == first["invocationId"]
        assert again["boundary"] is None
        assert contents(again["events"]) == ["one"]


def test_the_boundary_says_what_changed_in_the_repository(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))
    subprocess.run(["git", "-C", repository, "checkout", "--quiet", "-b", "topic"], check=True)

    def opened_note() -> str:
        other.request("session/close", {"sessionId": session})
        return str(open_in(other, repository)["boundary"]["data"]["content"])

    notes = (opened_note() for _ in range(5))  # a machine that is busy takes too long for one
    assert any(note.endswith(' The repository is on branch "topic".]') for note in notes)


def test_the_boundary_is_stored_with_the_first_append_and_not_before(
    window: Client, start_window: Callable[[], Client], repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one", "1"))
    before = window.request("session/list", {"cwd": str(repository)})
    other = start_window()

    for _ in range(10):
        other.request("session/close", {"sessionId": session})
        opened = open_in(other, repository)
        assert opened["boundary"] is not None
    assert window.request("session/list", {"cwd": str(repository)}) == before

    again = open_in(other, repository)
    assert again["boundary"] == opened["boundary"], "one opening, one boundary"
    append(other, session, user_message("two", "2"))
    stored = read(other, session)
    assert [event["id"] for event in stored] == ["1", opened["boundary"]["id"], "2"]
    assert stored[1]["data"] == opened["boundary"]["data"]
    assert [event["invocationId"] for event in stored[1:]] == [opened["invocationId"]] * 2


def test_mode_new_never_resumes(window: Client, other: Client, repository: Path) -> None:
    append(window, open_new(window, repository), user_message("one"))

    assert not open_in(other, repository, mode="new")["resumed"]


@pytest.mark.parametrize("minutes", [0, -1, 1e-9])
def test_continue_minutes_limits_automatic_resume(
    window: Client, other: Client, repository: Path, minutes: float
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))

    found = open_in(other, repository, continueMinutes=minutes)
    assert not found["resumed"]
    params = {"workspace": str(repository), "continueMinutes": minutes}
    assert other.request("session/findResumable", params)["session"] is None
    error = error_of(other, "session/open", params | {"mode": "resume"})
    assert error.kind == "NothingToResume"
    assert open_in(other, repository, sessionId=session, continueMinutes=minutes)["resumed"]


def test_continue_minutes_may_be_huge(window: Client, other: Client, repository: Path) -> None:
    append(window, open_new(window, repository), user_message("one"))

    assert open_in(other, repository, continueMinutes=1e300)["resumed"]


def test_a_session_without_a_model_visible_event_is_not_resumed(
    window: Client, other: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, {"type": "system_context", "data": {"content": "a notice"}})
    append(window, session, {"type": "from_the_future", "data": {"content": "?"}})

    assert not open_in(other, repository)["resumed"]
    assert open_in(other, repository, sessionId=session)["resumed"]


def test_tail_limits_the_events_that_are_returned(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, *(user_message(str(n)) for n in range(5)))

    def tail(count: int) -> tuple[list[str], bool]:
        opened = open_in(window, repository, sessionId=session, tail=count)
        return contents(opened["events"]), opened["hasMore"]

    assert tail(2) == (["3", "4"], True)
    assert tail(5) == (["0", "1", "2", "3", "4"], False)
    assert tail(0) == ([], True)


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"tail": -1}, "$.tail"),
        ({"tail": 1_001}, "$.tail"),
        ({"mode": "AUTO"}, "$.mode"),
        ({"mode": None}, "$.mode"),
        ({"sessionId": ""}, "$.sessionId"),
        ({"workspace": 7}, "$.workspace"),
    ],
)
def test_open_reports_the_invalid_field(window: Client, params: Json, path: str) -> None:
    assert paths(error_of(window, "session/open", params)) == [path]


def test_a_page_of_events_is_limited_to_4_mib(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    for n in range(9):
        append(window, session, user_message(f"{n}" + "x" * 1_000_000))
    limit = 4.2 * 1024 * 1024

    opened = open_in(window, repository, sessionId=session)
    assert len(json.dumps(opened)) < limit
    assert [event["seq"] for event in opened["events"]] == [6, 7, 8, 9]
    assert opened["hasMore"]

    up = window.request("session/events", {"sessionId": session, "after": 0})
    assert len(json.dumps(up)) < limit
    assert [event["seq"] for event in up["events"]] == [1, 2, 3, 4]
    assert up["hasMore"]


def test_an_event_of_over_4_mib_is_still_returned(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(
        window,
        session,
        user_message("small"),
        user_message("x" * 5_000_000),
        user_message("small too"),
    )

    last = window.request("session/events", {"sessionId": session})
    assert [event["seq"] for event in last["events"]] == [3]
    large = window.request("session/events", {"sessionId": session, "before": 3})
    assert [event["seq"] for event in large["events"]] == [2]
    assert large["hasMore"]


def test_times_of_creation_update_and_last_event(window: Client, repository: Path) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))
    created = open_in(window, repository, sessionId=session)
    append(window, session, user_message("two"))
    later = open_in(window, repository, sessionId=session)

    assert created["session"]["createdAt"] == later["session"]["createdAt"]
    assert later["session"]["updatedAt"] >= created["session"]["updatedAt"]
    assert later["lastEventAt"] == later["events"][-1]["createdAt"] == TIME


def test_the_title_is_the_first_line_of_the_first_user_message(
    window: Client, repository: Path
) -> None:
    session = open_new(window, repository)
    append(window, session, {"type": "text", "data": {"content": "Hello"}})
    append(window, session, user_message("\n  " + "word " * 40 + "\nsecond line"))
    append(window, session, user_message("later"))

    title = open_in(window, repository, sessionId=session)["session"]["title"]
    assert title.strip() == ("word " * 16).strip()
    assert len(title) <= 80


# -- workspaces --------------------------------------------------------------------------------


def directory_of(client: Client, workspace: str | None) -> str:
    params = {"mode": "new"} | ({} if workspace is None else {"workspace": workspace})
    return str(client.request("session/open", params)["session"]["directory"])


@pytest.mark.parametrize(
    "name", ["plain", "with space", "ü", "a;b", "50%25", "a#b?c", "a%b", "a:b"]
)
def test_a_workspace_is_a_uri_or_a_path(window: Client, repository: Path, name: str) -> None:
    folder = repository / name
    folder.mkdir()

    assert directory_of(window, str(folder)) == str(folder)
    assert directory_of(window, f"{folder}/") == str(folder)
    assert directory_of(window, folder.as_uri()) == str(folder)
    assert directory_of(window, folder.as_uri().replace("file:///", "file://localhost/")) == str(
        folder
    )


def test_a_semicolon_in_a_uri_needs_no_escape(window: Client, repository: Path) -> None:
    folder = repository / "a;b"
    folder.mkdir()

    assert directory_of(window, f"file://{repository}/a;b") == str(folder)
    assert directory_of(window, f"file://{repository}/a%3Bb") == str(folder)


def test_a_symlink_is_resolved(window: Client, repository: Path) -> None:
    (repository / "link").symlink_to(repository / "src")

    assert directory_of(window, str(repository / "link")) == str(repository / "src")


@pytest.mark.parametrize(
    "workspace",
    [
        "untitled:Untitled-1",
        "vscode-remote://ssh-remote+host/home/me",
        "https://example.org/",
        "relative/folder",
        "file:relative",
        "",
        ".",
        "file:///nowhere/%FF",
        "/nowhere/\x00",
        "/nowhere/\ud83d",
        "file://server/share",
        "file:///c%3A/Users/me",
        "C:\\Users\\me",
        "/" + "x" * 256,
        "/a" * 2_100,
        "/" * 100_000,
    ],
)
@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("session/open", "workspace"),
        ("session/findResumable", "workspace"),
        ("session/list", "cwd"),
    ],
)
def test_an_invalid_workspace_is_refused(
    window: Client, method: str, field: str, workspace: str
) -> None:
    error = error_of(window, method, {field: workspace})

    assert paths(error) == [f"$.{field}"]
    assert len(error.message) < 500
    assert "\n" not in error.message


def test_a_file_is_refused_as_a_workspace(window: Client, repository: Path) -> None:
    (repository / "file").touch()

    error = error_of(window, "session/open", {"workspace": str(repository / "file")})

    assert paths(error) == ["$.workspace"]
    assert "is not a folder: there is a file" in error.message


def test_what_was_said_in_a_folder_that_is_gone_is_resumed_there(
    window: Client, other: Client, tmp_path: Path
) -> None:
    gone = Path(os.path.realpath(tmp_path)) / "disk" / "project"
    gone.mkdir(parents=True)
    session = open_new(window, gone)
    append(window, session, user_message("one"))
    gone.rmdir()
    gone.parent.rmdir()

    assert open_in(other, gone, mode="resume")["session"]["sessionId"] == session
    where = {"workspace": gone.as_uri()}
    found = other.request("session/findResumable", where)["session"]
    assert found["sessionId"] == session
    new = open_in(other, gone, mode="new")["session"]
    assert (new["directory"], new["gitRoot"]) == (str(gone), None)
    append(other, new["sessionId"], user_message("two"))
    assert len(other.request("session/list", {"cwd": str(gone)})["sessions"]) == 2


@pytest.mark.parametrize("root", ["vscode-remote://host/home/me", "file:///gone", None])
def test_a_session_is_opened_by_its_id_whatever_the_workspace(
    window: Client,
    repository: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    home: Path,
    root: str | None,
) -> None:
    session = open_new(window, repository)
    append(window, session, user_message("one"))
    gone = tmp_path / "gone"
    gone.mkdir()
    client = Client(gone, {"SEGUE_DATABASE": str(home / "sessions.db")})
    request.addfinalizer(client.kill)
    client.initialize(rootUri=root)
    gone.rmdir()
    unusable = [
        None,
        "vscode-remote://host/home/me",
        "untitled:x",
        "file:///c%3A/Users/me",
        "relative",
        "",
        "/half \ud83d",
        "/etc/passwd",
        "/" * 100_000,
    ]

    for workspace in (*unusable, "/nowhere/at/all"):
        opened = client.request("session/open", {"sessionId": session, "workspace": workspace})
        assert opened["session"]["sessionId"] == session
        append(client, session, user_message("two"))
        session = client.request("session/reset", {"sessionId": session})["session"]
        place = "/nowhere/at/all" if workspace == "/nowhere/at/all" else str(repository)
        assert session["directory"] == place
        append(client, session := session["sessionId"], user_message("three"))
        client.request("session/close", {"sessionId": session})


@pytest.mark.parametrize(
    "roots",
    [
        {"rootUri": "vscode-remote://ssh-remote%2Bhost/home/me/A"},
        {"rootUri": "untitled:x"},
        {"rootUri": "file:///gone/A"},
        {"rootUri": "file:///c%3A/Users/me/A"},
        {"rootUri": "file://server/share/A"},
        {"rootPath": "C:\\Users\\me\\A"},
        {"rootPath": "/gone/A"},
        {"rootPath": "A"},
        {"workspaceFolders": [{"uri": "vscode-vfs://github/o/r", "name": "r"}]},
        {
            "workspaceFolders": [
                {"uri": "file:///gone/A", "name": "A"},
                {"uri": "file:///gone/B", "name": "B"},
            ]
        },
    ],
)
def test_a_root_that_is_not_here_is_not_replaced_by_the_servers_directory(
    repository: Path, roots: Json, request: pytest.FixtureRequest
) -> None:
    client = Client(repository)
    request.addfinalizer(client.kill)
    client.initialize(**roots)
    append(client, open_new(client, repository), user_message("of the server's own directory"))

    for params in ({}, {"mode": "new"}, {"mode": "resume"}):
        error = error_of(client, "session/open", params)
        assert paths(error) == ["$.workspace"]
        assert "name a folder of this machine in `workspace`" in error.message
    assert paths(error_of(client, "session/findResumable", {})) == ["$.workspace"]

    change = {"added": [{"uri": repository.as_uri(), "name": "r"}], "removed": []}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": change})
    assert client.request("session/open", {})["session"]["eventCount"] == 1


def test_a_folder_whose_name_has_a_raw_question_mark_or_hash_is_that_folder(
    window: Client, repository: Path
) -> None:
    for name in ("c#", "what?", "a?b#c"):
        (repository / name).mkdir()
        assert directory_of(window, f"file://{repository}/{name}") == str(repository / name)


def test_git_init_and_the_loss_of_git_hide_nothing(
    window: Client, other: Client, tmp_path: Path
) -> None:
    folder = Path(os.path.realpath(tmp_path)) / "project"
    (folder / "src").mkdir(parents=True)
    session = open_new(window, folder)
    append(window, session, user_message("before git init"))
    (folder / ".git").mkdir()
    inside = open_new(window, folder / "src")
    append(window, inside, user_message("after it"))
    for directory in (folder, folder / "src"):
        found = other.request("session/findResumable", {"workspace": str(directory)})
        ids = [each["sessionId"] for each in (found["session"], *found["alternatives"])]
        assert ids == [inside, session]
        listed = other.request("session/list", {"cwd": str(directory)})["sessions"]
        assert [each["sessionId"] for each in listed] == [inside, session]
    (folder / ".git").rmdir()
    found = other.request("session/findResumable", {"workspace": str(folder)})
    assert found["session"]["sessionId"] == inside
    assert f"git repository ({folder})" in found["reason"]
    listed = other.request("session/list", {"cwd": str(folder)})["sessions"]
    assert [each["sessionId"] for each in listed] == [inside, session]


def test_list_refuses_a_cwd_that_is_not_a_path(window: Client) -> None:
    assert paths(error_of(window, "session/list", {"cwd": "untitled:Untitled-1"})) == ["$.cwd"]


def test_the_workspace_folder_is_chosen_per_session(
    repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    client = Client(repository)
    request.addfinalizer(client.kill)
    named = [{"uri": folder.as_uri(), "name": folder.name} for folder in folders]
    untitled = {"uri": "vscode-remote://host/one", "name": "elsewhere"}

    client.initialize(rootUri=repository.as_uri(), workspaceFolders=[untitled, *named])

    assert directory_of(client, None) == os.path.realpath(folders[0]), "the first that exists"
    for folder in folders:
        assert directory_of(client, folder.as_uri()) == os.path.realpath(folder)

    change = {"added": [{"uri": repository.as_uri(), "name": "r"}], "removed": [untitled, named[0]]}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": change})
    assert directory_of(client, None) == os.path.realpath(folders[1])
    change = {"added": [], "removed": [named[1]]}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": change})
    assert directory_of(client, None) == str(repository)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"rootUri": None, "workspaceFolders": None},
        {"workspaceFolders": []},
        {"rootUri": None, "rootPath": ""},
    ],
)
def test_without_a_folder_the_servers_directory_is_used(
    repository: Path, params: Json, request: pytest.FixtureRequest
) -> None:
    client = Client(repository / "src")
    request.addfinalizer(client.kill)
    client.initialize(**params)

    assert directory_of(client, None) == str(repository / "src")


def test_a_workspace_is_required_if_the_servers_directory_was_deleted(
    repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    client = Client(gone)
    request.addfinalizer(client.kill)
    client.initialize()
    gone.rmdir()

    error = error_of(client, "session/open", {})
    assert paths(error) == ["$.workspace"]
    assert "is required: the server's own directory is gone" in error.message
    assert directory_of(client, str(repository)) == str(repository)


def test_root_path_is_supported(repository: Path, request: pytest.FixtureRequest) -> None:
    client = Client(repository)
    request.addfinalizer(client.kill)
    client.initialize(rootPath=str(repository / "src"))

    assert directory_of(client, None) == str(repository / "src")


# -- params ------------------------------------------------------------------------------------


def test_unknown_fields_are_ignored(window: Client, repository: Path) -> None:
    opened = open_in(window, repository, mode="new", later="x", options={"a": [1]})
    event = user_message("one", "1") | {"seq": 7, "parentId": "?", "later": True}

    result = append(window, opened["session"]["sessionId"], event, later=None)

    assert result["events"] == [{"id": "1", "seq": 1}]


message_ids = itertools.count(1_000_000)


@pytest.mark.parametrize("params", [{}, {"params": None}, {"params": []}, {"params": {}}])
@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ("session/open", {"session", "invocationId", "resumed"}),
        ("session/findResumable", {"session", "reason", "alternatives"}),
        ("session/list", {"sessions", "nextCursor", "open"}),
    ],
)
def test_missing_params_are_read_as_an_empty_object(
    window: Client, params: Json, method: str, keys: set[str]
) -> None:
    msg_id = next(message_ids)
    window.write({"jsonrpc": "2.0", "id": msg_id, "method": method} | params)

    assert keys <= window.result(msg_id).keys()


@pytest.mark.parametrize("params", [{}, {"params": None}, {"params": []}, {"params": {}}])
def test_missing_params_report_the_required_field(window: Client, params: Json) -> None:
    msg_id = next(message_ids)
    window.write({"jsonrpc": "2.0", "id": msg_id, "method": "session/events"} | params)

    error = window.answer(msg_id)["error"]
    assert error["code"] == -32602
    faults = [{"path": "$.sessionId", "message": "is required"}]
    assert error["data"] == {"errors": faults, "errorCount": 1}
