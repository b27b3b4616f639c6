"""A window that follows a session or the lists is told what any window stores."""

import contextlib
import itertools
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client, RequestError
from segue.store.sqlite import driver
from tests.conftest import StartClient


def new_session(client: Client, *contents: str) -> str:
    """Return the id of a new session, stored with messages of these *contents*."""
    opened = client.request("session/open", {"mode": "new"})
    session: str = opened["session"]["sessionId"]
    append(client, session, *contents)
    return session


def append(client: Client, session: str, *contents: str) -> None:
    if contents:
        client.request("session/append", {"sessionId": session, "events": events(*contents)})


def events(*contents: str) -> list[Any]:
    return [{"type": "user_message", "data": {"content": each}} for each in contents]


def follow(client: Client, session: str | None = None, after: int | None = None) -> Any:
    return client.request("session/follow", {"sessionId": session, "after": after})["after"]


def told(client: Client, count: int) -> list[tuple[int, str]]:
    """Return the seqs and contents of the next *count* events that a client is told of."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        method, params = client.notification()
        assert method == "session/didAppend"
        found += [(event["seq"], event["data"]["content"]) for event in params["events"]]
    return found


def is_told_nothing(client: Client) -> bool:
    try:
        client.notification(0.5)
    except TimeoutError:
        return True
    return False


def test_a_window_is_told_what_another_one_appends(start: StartClient) -> None:
    writer, reader = start(), start()
    session = new_session(writer, "one")
    assert follow(reader, session) == 1
    append(writer, session, "two", "three")
    method, params = reader.notification()
    assert method == "session/didAppend"
    assert params["sessionId"] == params["session"]["sessionId"] == session
    assert [each["seq"] for each in params["events"]] == [2, 3]
    assert params["session"]["eventCount"] == 3
    assert [each["id"] for each in params["invocations"]] == [params["events"][0]["invocationId"]]


def test_a_window_is_told_what_it_appends_itself(start: StartClient) -> None:
    client = start()
    session = new_session(client, "one")
    follow(client, session)
    for seq, content in ((2, "two"), (3, "three")):
        append(client, session, content)
        assert told(client, 1) == [(seq, content)]


def test_what_is_stored_already_is_told_after_the_given_seq(start: StartClient) -> None:
    writer, reader = start(), start()
    session = new_session(writer, *map(str, range(1, 501)))
    assert follow(reader, session, 20) == 20
    assert told(reader, 480) == [(seq, str(seq)) for seq in range(21, 501)]
    assert is_told_nothing(reader)
    assert follow(reader, session, 498) == 498
    assert told(reader, 2) == [(499, "499"), (500, "500")]


def test_the_lists_are_followed_apart_from_sessions(start: StartClient) -> None:
    writer, reader = start(), start()
    session = new_session(writer, "one")
    assert follow(reader) is None
    changes: Sequence[Callable[[], Any]] = (
        lambda: append(writer, session, "two"),
        lambda: writer.request("session/setTitle", {"sessionId": session, "title": "x"}),
        lambda: writer.request("session/archive", {"sessionId": session}),
        lambda: writer.request("session/delete", {"sessionId": session}),
    )
    for change in changes:
        assert is_told_nothing(reader)
        change()
        assert reader.notification() == ("session/didChangeList", {})


def test_nothing_is_told_after_unfollow(start: StartClient) -> None:
    writer, reader = start(), start()
    session, other = new_session(writer, "one"), new_session(writer, "one")
    for each in (None, session, other):
        follow(reader, each)
    for each in (None, session, "unknown"):
        reader.request("session/unfollow", {"sessionId": each})
    append(writer, session, "two")
    append(writer, other, "two")
    _, params = reader.notification()
    assert params["sessionId"] == other
    assert is_told_nothing(reader)


def test_a_deleted_session_is_told_of_and_followed_no_longer(start: StartClient) -> None:
    writer, reader = start(), start()
    session = new_session(writer, "one")
    follow(reader, session)
    writer.request("session/delete", {"sessionId": session})
    assert reader.notification() == (
        "session/didAppend",
        {"sessionId": session, "session": None, "events": [], "invocations": []},
    )
    new_session(writer, "another")
    assert is_told_nothing(reader)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sessionId": "unknown"}, "unknown"),
        ({"after": 1}, "$.after: needs a sessionId"),
        ({"sessionId": "x", "after": -1}, "$.after"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    start: StartClient, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        start().request("session/follow", params)
    assert message in caught.value.message


def test_a_session_that_is_still_empty_cannot_be_followed(start: StartClient) -> None:
    client = start()
    session = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
    with pytest.raises(RequestError) as caught:
        follow(client, session)
    assert caught.value.kind == "SessionNotFound"


def test_a_window_that_follows_ends_as_fast_as_any(start: StartClient) -> None:
    client = start()
    follow(client)
    follow(client, new_session(client, "one"))
    began = time.monotonic()
    assert client.close_stdin() == 0
    assert time.monotonic() - began < 2


def test_a_store_that_cannot_be_read_for_a_while_is_followed_on(
    start: StartClient, database: Path
) -> None:
    writer, reader = start(), start()
    session = new_session(writer, "one")
    follow(reader, session)
    writer.close_stdin()
    files = list(database.parent.glob("sessions.db*"))
    hidden = database.parent / "hidden"
    hidden.mkdir()
    foreign = database.with_name("foreign")
    with contextlib.closing(driver.connect(str(foreign))) as db:
        db.execute("PRAGMA application_id = 1")
        db.execute("CREATE TABLE another (program)")
    for path in files:
        path.rename(hidden / path.name)
    foreign.rename(database)
    time.sleep(1)
    with pytest.raises(RequestError) as caught:
        reader.request("session/list")
    assert caught.value.kind == "StorageUnavailable"
    for path in files:
        (hidden / path.name).replace(path)
    writer = start()
    writer.request("session/open", {"sessionId": session})
    append(writer, session, "two")
    assert [content for _, content in told(reader, 2)][1:] == ["two"], "behind the boundary"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_window_that_follows_no_longer_is_idle(start: StartClient) -> None:
    client = start()
    session = new_session(client, "one")
    follow(client, session)
    follow(client)

    def switches() -> int:
        tasks = Path(f"/proc/{client.process.pid}/task").iterdir()
        status = "".join((task / "status").read_text() for task in tasks)
        return sum(
            int(line.split()[1])
            for line in status.splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )

    def in_two_seconds() -> int:
        before = switches()
        time.sleep(2)  # this sleep is the measurement
        return switches() - before

    assert in_two_seconds() > 20
    client.request("session/unfollow", {"sessionId": session})
    client.request("session/unfollow", {})
    assert in_two_seconds() < 6


def test_nothing_is_lost_or_told_twice_while_both_sides_are_killed(start: StartClient) -> None:
    """What a reader collects, with its cursor kept over restarts, is what is stored."""
    rng = random.Random(7)
    session = new_session(start(), "0")
    collected = {1: "0"}
    numbers = itertools.count(1)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer = start()
            writer.request("session/open", {"sessionId": session})
            for _ in range(rng.randrange(5, 40)):
                append(writer, session, *(str(next(numbers)) for _ in range(rng.randrange(1, 4))))
            writer.process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(6):
        reader = start()
        follow(reader, session, max(collected))
        ends = time.monotonic() + rng.uniform(0.3, 1.0)
        while time.monotonic() < ends:
            try:
                _, params = reader.notification(0.2)
            except TimeoutError:
                continue
            for event in params["events"]:
                assert event["seq"] == max(collected) + 1
                collected[event["seq"]] = event["data"]["content"]
        reader.kill()
    stop.set()
    thread.join()
    reader = start()
    stored: dict[int, str] = {}
    while True:
        page = reader.request("session/events", {"sessionId": session, "after": len(stored)})
        stored |= {event["seq"]: event["data"]["content"] for event in page["events"]}
        if not page["hasMore"]:
            break
    follow(reader, session, max(collected))
    collected |= dict(told(reader, len(stored) - len(collected)))
    assert collected == stored
    assert len(collected) > 50


def test_a_notification_follows_an_append_soon(start: StartClient) -> None:
    writer, reader = start(), start()
    session = new_session(writer, "one")
    follow(reader, session)
    took = []
    for number in range(15):
        append(writer, session, str(number))
        answered = time.monotonic()
        told(reader, 1)
        took.append(time.monotonic() - answered)
        time.sleep(0.01 * number)  # not in step with the reader's looks
    assert statistics.median(took) < 0.5
