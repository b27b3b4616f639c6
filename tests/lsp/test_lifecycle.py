import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client, RequestError
from segue.lsp.transport import MAX_IN_FLIGHT
from segue.store.sqlite import driver

Json = dict[str, Any]
StartClient = Callable[..., Client]

SERVER = [sys.executable, "-m", "segue", "lsp"]
EXIT_LIMIT_S = 5.0
"""The server promises to exit within this time after its end began."""


def user_message(content: str) -> Json:
    return {"id": content, "type": "user_message", "data": {"content": content}}


def open_new(client: Client) -> str:
    return str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])


def send_append(client: Client, session: str, content: str) -> int:
    return client.send("session/append", {"sessionId": session, "events": [user_message(content)]})


def stored_ids(client: Client, session: str) -> list[str]:
    """Return the ids of the stored events, after checking their `seq` and `parentId`."""
    params = {"sessionId": session, "after": 0, "limit": 1_000}
    events = client.request("session/events", params)["events"]
    ids = [event["id"] for event in events]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["parentId"] for event in events] == [None, *ids][: len(ids)]
    return ids


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def wait_for_exit(client: Client) -> int:
    """Wait for the exit, at most `EXIT_LIMIT_S`, with stdin open; return the exit code."""
    code = client.process.wait(timeout=EXIT_LIMIT_S)
    client.close_stdin()
    return code


@contextlib.contextmanager
def unread_server(stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a server whose stdout only the test may read; it is killed afterwards."""
    with subprocess.Popen(SERVER, stdin=stdin, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def editor() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process in the place of the editor, for the test to kill."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


# -- exit codes --------------------------------------------------------------------------------


def test_shutdown_and_exit_end_with_0(start: StartClient) -> None:
    assert start().shutdown() == 0


def test_exit_without_shutdown_ends_with_1(start: StartClient) -> None:
    client = start()
    client.notify("exit")

    assert wait_for_exit(client) == 1


def test_eof_ends_with_0(start: StartClient) -> None:
    assert start().close_stdin() == 0


def test_eof_before_any_request_ends_with_0(tmp_path: Path) -> None:
    assert Client(tmp_path).close_stdin() == 0


def test_exit_before_initialize_ends_with_1(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.notify("exit")

    assert wait_for_exit(client) == 1


def test_eof_after_shutdown_ends_with_0(start: StartClient) -> None:
    client = start()
    client.request("shutdown")

    assert client.close_stdin() == 0


def test_the_stdio_option_is_accepted(tmp_path: Path) -> None:
    client = Client(tmp_path, command=[*SERVER, "--stdio"])
    client.initialize()

    assert client.shutdown() == 0


# -- requests before the end -------------------------------------------------------------------


@pytest.mark.parametrize("count", [200, 2 * MAX_IN_FLIGHT])
def test_everything_sent_before_eof_is_stored(start: StartClient, count: int) -> None:
    client = start()
    session = open_new(client)
    for name in names(count):
        send_append(client, session, name)

    began = time.monotonic()
    assert client.close_stdin() == 0
    assert time.monotonic() - began < EXIT_LIMIT_S

    reader = start()
    ids = stored_ids(reader, session)
    if count > 1_000:
        params = {"sessionId": session, "after": 1_000, "limit": 1_000}
        ids += [event["id"] for event in reader.request("session/events", params)["events"]]
    assert ids == names(count)


def test_everything_sent_before_shutdown_is_stored_and_answered(start: StartClient) -> None:
    client = start()
    session = open_new(client)
    sent = [send_append(client, session, name) for name in names(200)]

    assert client.shutdown() == 0

    assert [client.result(msg_id)["eventCount"] for msg_id in sent] == list(range(1, 201))
    assert stored_ids(start(), session) == names(200)


def test_everything_sent_before_exit_is_stored(start: StartClient) -> None:
    client = start()
    session = open_new(client)
    for name in names(200):
        send_append(client, session, name)
    client.notify("exit")

    assert wait_for_exit(client) == 1
    assert stored_ids(start(), session) == names(200)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_everything_sent_before_a_signal_is_stored_and_answered(
    start: StartClient, name: str
) -> None:
    client = start()
    session = open_new(client)
    # So many that backpressure has paused the reader.
    sent = {send_append(client, session, name): name for name in names(2 * MAX_IN_FLIGHT)}

    client.process.send_signal(getattr(signal, name))

    assert wait_for_exit(client) == 0
    assert stored_ids(start(), session) == list(sent.values())
    for msg_id, name in sent.items():
        assert client.result(msg_id)["eventCount"] == int(name) + 1


def test_repeated_signals_end_with_0(start: StartClient) -> None:
    client = start()
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        client.process.send_signal(number)

    assert wait_for_exit(client) == 0


# -- the editor's process ----------------------------------------------------------------------

POLLING = """
import os, sys
del os.pidfd_open
from segue.startup.compose import serve
sys.exit(serve([]))
"""


@pytest.mark.parametrize("reaped", [True, False])
def test_it_ends_when_the_editor_exits_though_stdin_is_open(
    tmp_path: Path, editor: subprocess.Popen[bytes], reaped: bool
) -> None:
    client = Client(tmp_path)
    client.initialize(processId=editor.pid)
    session = open_new(client)
    client.result(send_append(client, session, "one"))

    # This process keeps the other end of stdin open.
    editor.kill()
    if reaped:
        editor.wait()

    assert wait_for_exit(client) == 0


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="polls always on this system")
def test_it_ends_when_the_editor_exits_where_it_has_to_poll(
    tmp_path: Path, editor: subprocess.Popen[bytes]
) -> None:
    client = Client(tmp_path, command=[sys.executable, "-c", POLLING])
    client.initialize(processId=editor.pid)

    editor.kill()
    editor.wait()

    assert wait_for_exit(client) == 0


@pytest.mark.parametrize("command", [SERVER, [sys.executable, "-c", POLLING]])
def test_a_process_that_was_never_seen_has_not_exited(
    tmp_path: Path,
    editor: subprocess.Popen[bytes],
    command: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    # As from outside of the server's container: no process here has the id.
    editor.kill()
    editor.wait()
    client = Client(tmp_path, {"SEGUE_LOG": "info"}, command=command)
    client.initialize(processId=editor.pid)

    assert client.request("session/list")["sessions"] == []
    with pytest.raises(subprocess.TimeoutExpired):
        client.process.wait(timeout=0.5)
    assert client.close_stdin() == 0
    assert f"process {editor.pid}, cannot be seen" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a process not waited for")
def test_an_editor_that_nobody_waits_for_has_exited(
    tmp_path: Path, editor: subprocess.Popen[bytes]
) -> None:
    client = Client(tmp_path, command=[sys.executable, "-c", POLLING])
    client.initialize(processId=editor.pid)

    editor.kill()

    assert wait_for_exit(client) == 0


@pytest.mark.parametrize("process_id", [True, "1", 1.5, [], {}])
def test_a_process_id_of_another_type_is_refused(tmp_path: Path, process_id: Any) -> None:
    client = Client(tmp_path)
    with pytest.raises(RequestError) as refused:
        client.initialize(processId=process_id)

    assert [fault["path"] for fault in refused.value.data["errors"]] == ["$.processId"]
    client.initialize(processId=None)
    assert client.shutdown() == 0


BLOCKED = """
import re, sys, time
{before}
from segue.sessions.window import Window
async def block(self, *arguments, **named):
    {block}
Window.list_sessions = block
from segue.startup.compose import serve
sys.exit(serve([]))
"""
SLEEP = "time.sleep(600)"
REGULAR_EXPRESSION = "re.match('(a+)+b', 'a' * 100)"


def test_a_blocked_event_loop_does_not_delay_the_exit(tmp_path: Path) -> None:
    """All at once, because each takes the whole time that it may."""

    def blocked(block: str, before: str = "") -> Client:
        program = BLOCKED.format(block=block, before=before)
        client = Client(tmp_path, command=[sys.executable, "-c", program])
        client.initialize(processId=process.pid)
        client.send("session/list")
        return client

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        by_signal = [blocked(SLEEP), blocked(REGULAR_EXPRESSION)]
        by_stdin = blocked(SLEEP)
        by_editor = [blocked(SLEEP), blocked(SLEEP, "import os; del os.pidfd_open")]
        time.sleep(0.5)

        began = time.monotonic()
        for client in by_signal:
            client.process.terminate()
        assert by_stdin.process.stdin is not None
        by_stdin.process.stdin.close()
        process.kill()
        process.wait()
        ended = [*by_signal, by_stdin, *by_editor]
        for client in ended:
            client.process.wait(timeout=max(EXIT_LIMIT_S - (time.monotonic() - began), 0.01))
            client.close_stdin()


@pytest.mark.parametrize("process_id", [None, 0, -1, 2**31, 2**70])
def test_an_invalid_process_id_is_ignored(tmp_path: Path, process_id: int | None) -> None:
    client = Client(tmp_path)
    client.initialize(processId=process_id)

    assert client.request("session/list")["sessions"] == []
    assert client.shutdown() == 0


SLOW_READER = """
import os, sys, time
read = os.read
def slowly(descriptor, size):
    time.sleep(0.01)
    return read(descriptor, min(size, 4096))
os.read = slowly
from segue.startup.compose import serve
sys.exit(serve([]))
"""


def test_requests_of_a_killed_editor_are_stored(
    tmp_path: Path, start: StartClient, editor: subprocess.Popen[bytes]
) -> None:
    # As on a busy machine: the exit is noticed before all requests have been read.
    client = Client(tmp_path, command=[sys.executable, "-c", SLOW_READER])
    client.initialize(processId=editor.pid)
    session = open_new(client)
    client.result(send_append(client, session, "first"))
    for name in names(200):
        send_append(client, session, name)
    assert client.process.stdin is not None
    client.process.stdin.close()
    editor.kill()

    assert wait_for_exit(client) == 0

    assert stored_ids(start(), session) == ["first", *names(200)]


# -- crashes, locks, and clients that do not read ----------------------------------------------


def test_after_sigkill_acknowledged_events_are_stored_and_all_can_be_resent(
    start: StartClient,
) -> None:
    client = start()
    session = open_new(client)
    sent = {send_append(client, session, name): name for name in names(300)}
    client.result(sorted(sent)[100])
    client.kill()
    answered = [name for msg_id, name in sent.items() if client.is_answered(msg_id)]

    again = start()
    before = stored_ids(again, session)
    assert set(answered) <= set(before)
    assert before == names(len(before))

    opened = again.request("session/open", {"sessionId": session})
    events = [user_message(name) for name in names(300)]
    params = {"sessionId": session, "parentId": None, "events": events}
    result = again.request("session/append", params)
    assert result["duplicates"] == len(before)
    after = stored_ids(again, session)
    if len(before) < 300:
        assert after[len(before)] == opened["boundary"]["id"]
        after.pop(len(before))
    assert after == names(300)


def test_a_lock_of_another_program_does_not_delay_the_exit(
    start: StartClient, database: Path
) -> None:
    client, other = start(), start()
    session = open_new(client)
    client.result(send_append(client, session, "one"))
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        send_append(client, session, "two")

        began = time.monotonic()
        assert client.close_stdin() == 1, "an accepted request was not finished"
        assert time.monotonic() - began < EXIT_LIMIT_S

        db.execute("ROLLBACK")
    assert stored_ids(other, session) == ["one"]


def test_a_lock_of_another_program_does_not_delay_shutdown(
    start: StartClient, database: Path
) -> None:
    client = start()
    session = open_new(client)
    client.result(send_append(client, session, "one"))
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        send_append(client, session, "two")

        began = time.monotonic()
        assert client.request("shutdown") is None
        # vscode-languageclient kills a server that has not answered after two seconds.
        assert time.monotonic() - began < 2
        client.kill()


def framed(msg_id: int, method: str, params: Json) -> bytes:
    message = {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_a_client_that_does_not_read_does_not_delay_the_exit(start: StartClient) -> None:
    writer = start()
    session = open_new(writer)
    writer.result(send_append(writer, session, "x" * 100))
    large = {"type": "text", "data": {"content": "x" * 1_000_000}}
    writer.request("session/append", {"sessionId": session, "events": [large]})
    requests = [framed(0, "initialize", {"capabilities": {}})]
    requests += [framed(n, "session/events", {"sessionId": session}) for n in range(1, 20)]

    with unread_server() as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(requests))
        process.stdin.close()
        process.wait(timeout=EXIT_LIMIT_S)


def test_an_append_behind_unread_responses_is_stored_at_exit(start: StartClient) -> None:
    writer = start()
    session = open_new(writer)
    large = [user_message(f"{n}" + "x" * 1_000_000) | {"id": f"{n}"} for n in range(4)]
    writer.request("session/append", {"sessionId": session, "events": large})
    requests = [framed(0, "initialize", {"capabilities": {}})]
    requests.append(framed(1, "session/open", {"sessionId": session, "tail": 0}))
    requests += [framed(n, "session/events", {"sessionId": session}) for n in range(2, 250)]
    requests.append(
        framed(250, "session/append", {"sessionId": session, "events": [user_message("last")]})
    )

    with unread_server() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(requests))
        # EOF comes while backpressure has paused the reader.
        select.select([process.stdout], [], [])
        time.sleep(2)
        process.stdin.close()
        assert process.wait(timeout=EXIT_LIMIT_S) == 0
    params = {"sessionId": session, "limit": 1}
    assert writer.request("session/events", params)["events"][0]["id"] == "last"


def test_eof_is_noticed_while_the_database_is_locked(start: StartClient, database: Path) -> None:
    client = start()
    session = open_new(client)
    client.result(send_append(client, session, "one"))
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        for name in names(2 * MAX_IN_FLIGHT):
            send_append(client, session, name)

        began = time.monotonic()
        assert client.close_stdin() == 1, "accepted requests were not finished"
        assert time.monotonic() - began < EXIT_LIMIT_S

        db.execute("ROLLBACK")


def test_a_closed_stdout_ends_it() -> None:
    with unread_server() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(framed(1, "initialize", {"capabilities": {}}))
        process.wait(timeout=EXIT_LIMIT_S)


def test_everything_sent_before_stdout_was_closed_is_stored(start: StartClient) -> None:
    # As from an editor that quits without waiting: its socket (Neovim uses sockets) holds more than
    # one read takes, and the first response meets a closed pipe.
    reader = start()
    session = open_new(reader)
    reader.result(send_append(reader, session, "first"))
    count = 2 * MAX_IN_FLIGHT
    greetings = [framed(0, "initialize", {"capabilities": {}})]
    greetings.append(framed(1, "session/open", {"sessionId": session}))
    appends = [
        framed(
            2 + int(name), "session/append", {"sessionId": session, "events": [user_message(name)]}
        )
        for name in names(count)
    ]
    ours, theirs = socket.socketpair()

    with ours, theirs, unread_server(stdin=theirs.fileno()) as process:
        assert process.stdout is not None
        for greeting in greetings:
            ours.sendall(greeting)
            assert process.stdout.read(65_536)
        process.send_signal(signal.SIGSTOP)
        ours.sendall(b"".join(appends))
        process.stdout.close()
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=EXIT_LIMIT_S) == 0
    assert stored_ids(reader, session)[2:] == names(count), (
        "behind the first event and the boundary"
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_an_idle_server_uses_no_cpu(start: StartClient) -> None:
    client = start()
    session = open_new(client)
    client.result(send_append(client, session, "one"))

    def ticks() -> int:
        status = Path(f"/proc/{client.process.pid}/stat").read_text()
        fields = status.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    # This sleep is the measurement.
    time.sleep(2)
    assert ticks() - before < 5


def test_cancelled_appends_count_as_in_flight_and_are_stored(
    start: StartClient, database: Path
) -> None:
    """While the database is locked, no more is read than could be stored before the exit."""
    client = start()
    session = open_new(client)
    client.result(send_append(client, session, "first"))
    sent: list[int] = []

    def storm() -> None:
        for name in names(3_000):
            sent.append(send_append(client, session, name))
            client.notify("$/cancelRequest", {"id": sent[-1]})

    sender = threading.Thread(target=storm)
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        sender.start()
        before = -1
        while before < (answered := sum(map(client.is_answered, list(sent)))):
            before = answered
            sender.join(timeout=0.5)
        db.execute("ROLLBACK")
    sender.join()
    assert 0 < answered < 1_500
    assert client.close_stdin() == 0
    [kept] = start().request("session/list")["sessions"]
    assert kept["eventCount"] == 3_001
