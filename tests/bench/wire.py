"""A process on stdio that speaks JSON-RPC, and its one client, which costs as little as it can.

Not the package's client: its reading thread would be counted as the server's time.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVER = HERE.parents[1] / "server"
SEGUE = (sys.executable, "-m", "segue", "lsp")
NORMAL = (sys.executable, str(HERE / "launcher.py"), "normal", "lsp")
ECHO = (sys.executable, str(HERE / "launcher.py"), "echo", "lsp")
NAIVE = (sys.executable, str(HERE / "naive_server.py"))
BARE = (sys.executable, str(HERE / "bare_loop.py"))

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CHUNK = 1 << 20


class Server:
    """A process that speaks JSON-RPC, on one database."""

    def __init__(
        self, database: Path, command: Sequence[str] = SEGUE, *, quiet: bool = False
    ) -> None:
        home = str(database.parent)
        self.process = subprocess.Popen(
            command,
            cwd=home,
            env=_environment() | {"SEGUE_DATABASE": str(database), "XDG_CONFIG_HOME": home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._ids = itertools.count(1)
        self._buffer = bytearray()

    def initialize(self) -> None:
        """Do what every editor does first."""
        self.request("initialize", {"processId": os.getpid(), "capabilities": {}})
        self.send(_frame({"jsonrpc": "2.0", "method": "initialized", "params": {}}))

    def request(self, method: str, params: Any) -> Any:
        """Send a request and return the result."""
        return json.loads(self.exchange(self.frame(method, params)))["result"]

    def frame(self, method: str, params: Any) -> bytes:
        """Return a request as it is sent."""
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return _frame(message)

    def exchange(self, frame: bytes) -> bytes:
        """Send a request and return its answer, unparsed."""
        self.send(frame)
        return self.receive()

    def send(self, frames: bytes) -> None:
        """Send one frame, or more."""
        rest = memoryview(frames)
        while rest:
            rest = rest[os.write(self._in, rest) :]

    def receive(self) -> bytes:
        """Return the next answer, unparsed."""
        while (body := self._take()) is None:
            self._read()
        return body

    def pipeline(self, frames: Iterable[bytes], in_flight: int) -> int:
        """Send all, with so many at once unanswered; return how many were answered, all well."""
        rest = iter(frames)
        sent = list(itertools.islice(rest, in_flight))
        self.send(b"".join(sent))
        waiting, answered = len(sent), 0
        while waiting:
            self._read()
            came = 0
            while (body := self._take()) is not None:
                assert b'"error"' not in body, repr(body)
                came += 1
            sent = list(itertools.islice(rest, came))
            if sent:
                self.send(b"".join(sent))
            waiting += len(sent) - came
            answered += came
        return answered

    def status(self, field: str, thread: str = "") -> int:
        """Return a number of /proc/PID/status, as `VmRSS` (KiB)."""
        text = Path(f"/proc/{self.process.pid}/{thread}status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(field))

    def resident(self) -> int:
        """Return the bytes of memory that it has now."""
        return self.status("VmRSS") * 1024

    def peak(self) -> int:
        """Return the most bytes of memory that it had at once."""
        return self.status("VmHWM") * 1024

    def wakeups(self) -> int:
        """Return how often its threads have waited for something until now."""
        threads = os.listdir(f"/proc/{self.process.pid}/task")
        return sum(self.status("voluntary_ctxt_switches", f"task/{each}/") for each in threads)

    def end(self) -> None:
        """End the process as LSP has it."""
        self.request("shutdown", None)
        self.send(_frame({"jsonrpc": "2.0", "method": "exit"}))
        self.close()

    def close(self) -> None:
        """Close its stdin and wait until it is gone."""
        self.process.communicate(timeout=30)

    def _read(self) -> None:
        chunk = os.read(self._out, _CHUNK)
        assert chunk, f"{self.process.args!r} ended"
        self._buffer += chunk

    def _take(self) -> bytes | None:
        if (end := self._buffer.find(b"\r\n\r\n")) < 0:
            return None
        length = _LENGTH.search(self._buffer, 0, end)
        assert length is not None, self._buffer[:end]
        begin, end = end + 4, end + 4 + int(length[1])
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[begin:end])
        del self._buffer[:end]
        return body


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(SERVER), os.environ.get("PYTHONPATH")]))
    # What is installed has its bytecode beside it; without, each start compiles all of Segue.
    kept = {name: at for name, at in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": paths}


def _frame(message: Any) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
