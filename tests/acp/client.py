"""A client of ACP, which starts an agent and says what a test wants it to say."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ECHO = (sys.executable, "-I", str(HERE / "echo_agent.py"))
PROXY = (sys.executable, "-P", "-m", "segue", "acp", "--")
TIMEOUT_S = 20


class AcpClient:
    """An agent's process, behind the proxy or not, and what it says."""

    def __init__(
        self, command: Sequence[str], cwd: Path, stderr: Any = subprocess.PIPE, **environment: str
    ) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        self.cwd = cwd
        self._id = 0
        self._lines: queue.Queue[bytes] = queue.Queue()
        self.updates: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> int:
        """Send a request without waiting; return its id."""
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self.send(json.dumps(body).encode() + b"\n")
        return self._id

    def line(self, timeout: float = TIMEOUT_S) -> bytes:
        """Return the next line; empty at the end."""
        return self._lines.get(timeout=timeout)

    def wait_for(self, id: int) -> dict[str, Any]:
        """Return the answer to a request; the updates before it are kept in `updates`."""
        while line := self.line():
            message = json.loads(line)
            if message.get("method") == "session/update":
                self.updates.append(message["params"])
            elif message.get("id") == id and "method" not in message:
                return dict(message)
        raise AssertionError(f"the agent ended with {self.process.wait()}")

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a request."""
        answer = self.wait_for(self.ask(method, **params))
        assert "result" in answer, answer
        return dict(answer["result"])

    def initialize(self) -> dict[str, Any]:
        info = {"name": "test-client", "title": "Test Client", "version": "1.0"}
        return self.request("initialize", protocolVersion=1, clientInfo=info, clientCapabilities={})

    def new(self) -> str:
        return str(self.request("session/new", cwd=str(self.cwd), mcpServers=[])["sessionId"])

    def prompt(self, session: str, text: str) -> str:
        """Say *text*, and return what the agent says in the turn."""
        self.updates.clear()
        self.request("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])
        return self.said("agent_message_chunk")

    def load(self, session: str) -> str:
        """Load a conversation, of which the updates are kept; return what Segue says of it."""
        self.updates.clear()
        loaded = self.request("session/load", sessionId=session, cwd=str(self.cwd), mcpServers=[])
        return str(loaded["_meta"]["segue"]["history"])

    def cancel(self, session: str) -> None:
        """Cancel the turn of a session that has not ended."""
        body = {"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": session}}
        self.send(json.dumps(body).encode() + b"\n")

    def said(self, kind: str) -> str:
        """Return the text of the updates of a kind that came last."""
        updates = [each["update"] for each in self.updates]
        return "".join(each["content"]["text"] for each in updates if each["sessionUpdate"] == kind)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def stderr(self) -> str:
        """Return what was written to stderr by a process that has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def end(self) -> int:
        """Close the agent's input and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)
