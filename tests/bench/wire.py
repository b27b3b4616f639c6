"""A JSON-RPC server process on stdio, and a client for it that costs as little as possible.

The package's own client is not used: its reading thread would be counted as the server's time.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
SEGUE = (sys.executable, "-P", "-m", "segue", "lsp")
SEGUE_NORMAL = (sys.executable, str(HERE / "launcher.py"), "normal", "lsp")
SEGUE_ECHO = (sys.executable, str(HERE / "launcher.py"), "echo", "lsp")
NAIVE = (sys.executable, str(HERE / "naive_server.py"))
BARE = (sys.executable, str(HERE / "bare_loop.py"))

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CHUNK = 1 << 20


class Server:
    """A process that serves JSON-RPC on stdio, on one database."""

    def __init__(
        self,
        database: Path,
        command: Sequence[str] = SEGUE,
        *,
        quiet: bool = False,
        checkout: Path = CHECKOUT,
    ) -> None:
        """Start *command* with the package of *checkout*; *quiet* discards its stderr."""
        home = str(database.parent)
        self.process = subprocess.Popen(
            command,
            cwd=home,
            env=environment(checkout) | {"SEGUE_DATABASE": str(database), "XDG_CONFIG_HOME": home},
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
        """Perform LSP's handshake, as every editor does first."""
        self.request("initialize", {"processId": os.getpid(), "capabilities": {}})
        self.send(_frame({"jsonrpc": "2.0", "method": "initialized", "params": {}}))

    def request(self, method: str, params: Any) -> Any:
        """Send a request and return its result; KeyError if the response is an error."""
        return json.loads(self.exchange(self.frame(method, params)))["result"]

    def frame(self, method: str, params: Any) -> bytes:
        """Return a request with a new id, framed but not sent."""
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return _frame(message)

    def exchange(self, frame: bytes) -> bytes:
        """Send a request and return the body of its response, unparsed."""
        self.send(frame)
        return self.receive()

    def send(self, frames: bytes) -> None:
        """Write one frame or several to the server's stdin."""
        rest = memoryview(frames)
        while rest:
            rest = rest[os.write(self._in, rest) :]

    def receive(self) -> bytes:
        """Wait for the next response and return its body, unparsed."""
        while (body := self._next_body()) is None:
            self._read()
        return body

    def receive_available(self) -> list[bytes]:
        """Read once, waiting for bytes if there are none; return the bodies that are complete."""
        self._read()
        return list(iter(self._next_body, None))

    def pipeline(self, frames: Iterable[bytes], in_flight: int) -> int:
        """Send *frames* with up to *in_flight* unanswered; return the number of responses.

        Fails if a response is an error.
        """
        rest = iter(frames)
        sent = list(itertools.islice(rest, in_flight))
        self.send(b"".join(sent))
        waiting, answered = len(sent), 0
        while waiting:
            bodies = self.receive_available()
            for body in bodies:
                assert b'"error"' not in body, repr(body)
            sent = list(itertools.islice(rest, len(bodies)))
            if sent:
                self.send(b"".join(sent))
            waiting += len(sent) - len(bodies)
            answered += len(bodies)
        return answered

    def fileno(self) -> int:
        """Return the descriptor that responses are read from, for a selector."""
        return self._out

    def resident_memory(self) -> int:
        """Return the bytes of resident memory now."""
        return self._status("VmRSS") * 1024

    def peak_memory(self) -> int:
        """Return the largest number of bytes of resident memory until now."""
        return self._status("VmHWM") * 1024

    def cpu_time(self) -> float:
        """Return the CPU seconds of all its threads until now. Linux only."""
        # The clock that clock_getcpuclockid(3) returns; Python does not expose that function.
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def wakeups(self) -> int:
        """Return how often its threads have blocked and been woken until now."""
        threads = os.listdir(f"/proc/{self.process.pid}/task")
        return sum(self._status("voluntary_ctxt_switches", f"task/{each}/") for each in threads)

    def shut_down(self) -> None:
        """End the process with LSP's `shutdown` and `exit`, and wait for it."""
        self.request("shutdown", None)
        self.send(_frame({"jsonrpc": "2.0", "method": "exit"}))
        self.close()

    def close(self) -> None:
        """Close the server's stdin and wait until the process has ended."""
        self.process.communicate(timeout=30)

    def _status(self, field: str, thread: str = "") -> int:
        lines = Path(f"/proc/{self.process.pid}/{thread}status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def _read(self) -> None:
        chunk = os.read(self._out, _CHUNK)
        assert chunk, f"{self.process.args!r} ended"
        self._buffer += chunk

    def _next_body(self) -> bytes | None:
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


def environment(checkout: Path) -> dict[str, str]:
    """Return the variables for a process that imports the package from *checkout*."""
    paths = [str(checkout / "server"), os.environ.get("PYTHONPATH", "")]
    # Without bytecode files, every start compiles all of Segue; an installed package has them.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _frame(message: Any) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
