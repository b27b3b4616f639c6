import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.cli.client import Client
from segue.startup.log_stream import CAPACITY, LogStream

SERVER = f"exec {shlex.quote(sys.executable)} -P -m segue lsp"
PRINTING = """
import os, sys
from segue.sessions.window import Window
async def list_sessions(self, *arguments, **named):
    for file in (sys.stdout, sys.stderr):
        print("x" * 1_000_000, file=file, flush=True)
    raise ValueError
Window.list_sessions = list_sessions
from segue.startup.compose import serve
sys.exit(serve([]))
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[Path]:
    """Return a named pipe that nobody reads, and that is full."""
    pipe = tmp_path / "stderr"
    os.mkfifo(pipe)
    fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(fd, b"x" * 4_096)
    except BlockingIOError:
        pass
    yield pipe
    os.close(fd)


@pytest.mark.parametrize("redirection", ["2<>{}", "2>&-", "2>/dev/full"])
def test_an_unusable_stderr_delays_nothing(tmp_path: Path, unread: Path, redirection: str) -> None:
    shell = f"{SERVER} {redirection.format(shlex.quote(str(unread)))}"
    client = Client(tmp_path, {"SEGUE_LOG": "debug"}, ["sh", "-c", shell])
    client.initialize()
    session = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
    for _ in range(200):
        event = {"type": "x", "data": {}}
        client.request("session/append", {"sessionId": session, "events": [event]})
        client.notify("session/append", {})

    began = time.monotonic()
    assert client.shutdown() == 0
    assert time.monotonic() - began < 3


def test_printing_to_an_unread_stderr_blocks_no_request(tmp_path: Path, unread: Path) -> None:
    python = f"exec {shlex.quote(sys.executable)} -P -c {shlex.quote(PRINTING)}"
    shell = f"{python} 2<>{shlex.quote(str(unread))}"
    client = Client(tmp_path, command=["sh", "-c", shell])
    client.initialize()
    for _ in range(3):
        error = client.answer(client.send("session/list"))["error"]
        assert "ValueError" in error["message"]
    assert client.shutdown() == 0


def test_an_error_that_ends_the_process_is_written_if_it_can_be(
    tmp_path: Path, unread: Path
) -> None:
    environment = {**os.environ, "SEGUE_LOG": "nonsense"}
    done = subprocess.run(
        ["sh", "-c", SERVER], env=environment, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"segue: SEGUE_LOG: expected one of")

    shell = f"{SERVER} 2<>{shlex.quote(str(unread))}"
    done = subprocess.run(["sh", "-c", shell], env=environment, timeout=30, check=False)
    assert done.returncode == 2


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    reading, writing = os.pipe()
    stream = LogStream(writing)
    line = b"x" * 999 + b"\n"
    count = 2 * CAPACITY // len(line)
    for _ in range(count):
        stream.write(line)
    received = b""
    while b"missing" not in received:
        received += os.read(reading, 1 << 20)
    stream.drain()
    received += b"" if received.endswith(b"\n") else os.read(reading, 1 << 20)

    kept, report = received.rsplit(b"\n", 2)[0].count(b"\n") + 1, received.splitlines()[-1]
    assert report == (
        b"segue: WARNING: stderr was not read: %d lines of the log are missing here"
        % (count - kept)
    )
    assert kept >= CAPACITY // len(line)
    os.close(reading)


def test_a_full_disk_drops_lines_and_the_next_ones_are_written(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    target = os.dup(full)
    stream = LogStream(target)
    stream.write(b"lost\n")
    stream.drain()
    os.dup2(writing, target)
    stream.write(b"kept\n")
    stream.drain()
    assert os.read(reading, 1_000).splitlines() == [
        b"kept",
        b"segue: WARNING: stderr was not read: 1 lines of the log are missing here",
    ]
    for fd in (reading, writing, full):
        os.close(fd)
