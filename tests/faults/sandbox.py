"""Where the programmes of this folder play: a home of their own, and clients that count."""

import collections
import contextlib
import json
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from segue.cli.client import Client
from segue.sessions import manager
from segue.store.sqlite import service as local

Json = dict[str, Any]
SERVER = (sys.executable, "-m", "segue", "lsp")


def make_folder() -> Path:
    """Make a new folder: in memory, where there is one, for no programme here cuts the power."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    name = tempfile.mkdtemp(prefix="segue-faults-", dir=memory if usable else None)
    return Path(os.path.realpath(name))


def turn_clock(now: Callable[[], int]) -> None:
    """Let the store and the manager of this process go by another clock."""
    for module in (local, manager):
        vars(module)["now"] = now


@contextlib.contextmanager
def stage() -> Iterator[Path]:
    """Yield a folder in which all settings and sessions of this process and its children lie."""
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
def quiet() -> Iterator[None]:
    """Let nobody hear what this process and its children say on stderr."""
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
    """Return where the servers of a stage keep their sessions."""
    return folder / "data" / "sessions.db"


class CountingClient(Client):
    """A client that knows how often each id was answered."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.arrived: collections.Counter[str] = collections.Counter()
        super().__init__(*args, **named)

    def _messages(self) -> Iterator[Json]:
        for message in super()._messages():
            self.arrived[json.dumps(message.get("id"))] += 1
            yield message


def framed(message: Any) -> bytes:
    """Return *message* as JSON in a frame."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def request(msg_id: Any, method: str, params: Any = None) -> Json:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}


def said(content: str, id: str | None = None) -> Json:
    """Return what a person said, as it travels."""
    return {"id": id, "type": "user_message", "data": {"content": content}}


def open_new(client: Client) -> str:
    """Open a new session and return its id."""
    return str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])


def is_gone_within(process_id: int, seconds: float) -> bool:
    """Wait until a process, no child of ours perhaps, has ended; tell whether it has."""
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
