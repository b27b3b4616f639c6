"""A server on stdio and its one client, which waits for each answer.

Not the package's client: its reading thread would be counted as the server's time.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEGUE = (sys.executable, "-m", "segue", "lsp")
NAIVE = (sys.executable, str(Path(__file__).with_name("naive_server.py")))


class Server:
    """A process that speaks JSON-RPC, on one database."""

    def __init__(self, database: Path, command: Sequence[str] = SEGUE) -> None:
        home = str(database.parent)
        self.process = subprocess.Popen(
            command,
            cwd=home,
            env=_environment() | {"SEGUE_DATABASE": str(database), "XDG_CONFIG_HOME": home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ids = itertools.count(1)

    def initialize(self) -> None:
        """Do what every editor does first."""
        self.request("initialize", {"processId": os.getpid(), "capabilities": {}})
        self._send({"jsonrpc": "2.0", "method": "initialized", "params": {}})

    def request(self, method: str, params: Any) -> Any:
        """Send a request and return the result."""
        self._send({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
        assert self.process.stdout is not None
        length = 0
        while header := self.process.stdout.readline().strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return json.loads(self.process.stdout.read(length))["result"]

    def memory(self) -> int | None:
        """Return the resident memory in KiB, where the system tells it."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def end(self) -> None:
        """End the process as LSP has it."""
        self.request("shutdown", None)
        self._send({"jsonrpc": "2.0", "method": "exit"})
        self.process.communicate(timeout=30)

    def _send(self, message: Any) -> None:
        body = json.dumps(message).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()


def _environment() -> dict[str, str]:
    # What is installed has its bytecode beside it; without, each start compiles all of Segue.
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
