"""An environment of its own for each fault programme, and helpers to drive real servers in it."""

import collections
import contextlib
import json
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segue.cli.client import Client

Json = dict[str, Any]
SERVER = (sys.executable, "-m", "segue", "lsp")


def make_folder() -> Path:
    """Return a new folder, in memory where possible: nothing that uses it needs a real disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    name = tempfile.mkdtemp(prefix="segue-faults-", dir=memory if usable else None)
    return Path(os.path.realpath(name))


@contextlib.contextmanager
def sandbox() -> Iterator[Path]:
    """Yield a folder that holds all settings and sessions of this process and its children."""
    folder = make_folder()
    own = {key: str(folder / key.lower()) for key in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    own["SEGUE_DATABASE"] = str(database_in(folder))
    before = dict(os.environ)
    for key in ("SEGUE_CONTINUE_MINUTES", "SEGUE_LOG"):
        os.environ.pop(key, None)
    os.environ.update(own)
    try:
        yield folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard the stderr of this process and its children."""
    sys.stderr.flush()
    before, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(null)


def database_in(folder: Path) -> Path:
    """Return the path of the database that the servers of a sandbox use."""
    return folder / "data" / "sessions.db"


class CountingClient(Client):
    """A client that counts the responses to each id, under its JSON."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.responses: collections.Counter[str] = collections.Counter()
        super().__init__(*args, **named)

    def _messages(self) -> Iterator[Json]:
        for message in super()._messages():
            self.responses[json.dumps(message.get("id"))] += 1
            yield message


def framed(message: Any) -> bytes:
    """Return *message* as JSON in a frame."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def request(msg_id: Any, method: str, params: Any = None) -> Json:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}


def user_message(content: str, id: str | None = None) -> Json:
    """Return a user message as a client sends it."""
    return {"id": id, "type": "user_message", "data": {"content": content}}


def open_new(client: Client) -> str:
    """Open a new session and return its id."""
    return str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])


def exits_within(process_id: int, seconds: float) -> bool:
    """Wait until a process, not necessarily a child of this one, has exited; return whether so."""
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(seconds * 1_000))
    finally:
        os.close(descriptor)


def status_of(process_id: int, field: str) -> int:
    """Return a number of `/proc/PID/status`: `VmRSS` and `VmHWM` are in KiB."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(field)
