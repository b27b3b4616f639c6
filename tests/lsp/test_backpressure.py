"""What a client may have in flight, and the memory that one message may take."""

import contextlib
import fcntl
import functools
import json
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client, RequestError
from segue.lsp.framing.reader import MAX_FRAME
from segue.lsp.transport import MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT
from segue.store.sqlite import driver

StartClient = Callable[..., Client]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the system about a pipe")

MAX_GROWTH = 8 * MAX_FRAME


def open_session(client: Client) -> str:
    session = str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])
    append(client, session, "first")
    return session


def send_append(client: Client, session: str, content: str) -> None:
    event = {"type": "user_message", "data": {"content": content}}
    params = {"sessionId": session, "events": [event]}
    client.write({"jsonrpc": "2.0", "id": "same", "method": "session/append", "params": params})


def append(client: Client, session: str, content: str) -> Any:
    send_append(client, session, content)
    return client.result("same")


def unread(client: Client) -> int:
    """Return how many bytes of its stdin the server has not read."""
    assert client.process.stdin is not None
    size = fcntl.ioctl(client.process.stdin, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", size)[0])


def is_read(client: Client, seconds: float = 0.5) -> bool:
    """Return whether the server reads all of its stdin within *seconds*."""
    end = time.monotonic() + seconds
    while unread(client):
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def wait_until_idle(client: Client) -> None:
    """Wait until the server has used no time of the processor for half a second."""

    def ticks() -> list[str]:
        return Path(f"/proc/{client.process.pid}/stat").read_text().split()[13:15]

    before = None
    while before != (before := ticks()):
        time.sleep(0.5)


@pytest.fixture
def locked(start: StartClient, database: Path) -> Iterator[tuple[Client, str]]:
    """Return a client, and a session that it cannot append to until the test ends."""
    client = start()
    session = open_session(client)
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        yield client, session
        client.kill()
        db.execute("ROLLBACK")


def test_one_id_for_all_requests_does_not_lift_their_bound(locked: tuple[Client, str]) -> None:
    client, session = locked
    sent = 0
    while is_read(client):
        send_append(client, session, "x")
        sent += 1
        assert sent <= MAX_IN_FLIGHT + 2
    assert sent > MAX_IN_FLIGHT


def test_long_requests_in_flight_are_bounded_by_their_bytes(locked: tuple[Client, str]) -> None:
    client, session = locked
    send_append(client, session, "x" * MAX_BYTES_IN_FLIGHT)
    assert is_read(client, 10)
    wait_until_idle(client)  # it would read now, if it still took requests
    send_append(client, session, "x")
    assert not is_read(client, 3)


def growth(client: Client, request: Callable[[], Any]) -> tuple[int, Any]:
    """Return by how many bytes the server's memory grows at most while it does *request*.

    And what that returns, or its error.
    """
    status = Path(f"/proc/{client.process.pid}/status")

    def size(field: str) -> int:
        line = next(each for each in status.read_text().splitlines() if each.startswith(field))
        return int(line.split()[1]) * 1024

    Path(f"/proc/{client.process.pid}/clear_refs").write_text("5")  # forgets the peak
    before = size("VmRSS")
    result: Any
    try:
        result = request()
    except RequestError as error:
        result = error
    return size("VmHWM") - before, result


def raw(client: Client, session: str, data: bytes) -> Any:
    head = json.dumps({"jsonrpc": "2.0", "id": "raw", "method": "session/append"})[:-1].encode()
    body = b'%b,"params":{"sessionId":"%b","events":[{"type":"x","data":%b}]}}' % (
        head,
        session.encode(),
        data,
    )
    client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    return client.result("raw")


def test_no_message_takes_more_than_eight_times_the_longest_frame(start: StartClient) -> None:
    client = start()
    session = open_session(client)
    for unit in (b"[],", b"12345,"):
        wide = b'{"a":[' + unit * (60 * 1024 * 1024 // len(unit)) + b"0]}"
        grown, refused = growth(client, functools.partial(raw, client, session, wide))
        assert grown < MAX_GROWTH / 2
        assert refused.data["errors"][0]["path"] == "$"
        assert "the limit is 448 MiB" in refused.message

    emoji = "😀" * (30 * 1024 * 1024 // 4)
    message = b'{"content":"' + emoji.encode() + b'"}'
    grown, appended = growth(client, functools.partial(raw, client, session, message))
    assert grown < MAX_GROWTH
    assert appended["duplicates"] == 0
    params = {"sessionId": session, "limit": 1}
    grown, page = growth(client, functools.partial(client.request, "session/events", params))
    assert grown < MAX_GROWTH
    assert page["events"][0]["data"]["content"] == emoji
