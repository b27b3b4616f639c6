"""A client of ACP that talks with a real agent, and answers what the agent asks."""

import json
import queue
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.acp.client import AcpClient

_LINE_S = 90


class RealClient(AcpClient):
    """An agent's process; it may run every tool that it asks for."""

    def __init__(self, command: Sequence[str], cwd: Path, errors: Path, **environment: str) -> None:
        """Start the agent, which writes its stderr into the file *errors*."""
        with errors.open("a") as file:
            super().__init__(command, cwd, file, **environment)
        self._errors = errors
        self.permissions: list[dict[str, Any]] = []
        """The params of the permissions that the agent has asked for."""

    def message(self) -> dict[str, Any]:
        """Return the next message; what the agent asks for is answered before."""
        try:
            line = self.line(_LINE_S)
        except queue.Empty:
            line = b""
        assert line, f"the agent says nothing more: {self._errors.read_text()[-2_000:]}"
        message: dict[str, Any] = json.loads(line)
        if message.get("method") == "session/update":
            self.updates.append(message["params"])
        elif "method" in message and "id" in message:
            self._answer(message)
        return message

    def wait_for(self, id: int) -> dict[str, Any]:
        """Return the answer to a request; the updates before it are kept in `updates`."""
        while True:
            message = self.message()
            if message.get("id") == id and "method" not in message:
                return message

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Read messages until something holds."""
        while not holds():
            self.message()

    def begin_endless(self, session: str) -> int:
        """Begin a turn that does not end by itself; return the id of its request."""
        self.updates.clear()
        prompt = [{"type": "text", "text": "SLOW"}]
        id = self.ask("session/prompt", sessionId=session, prompt=prompt)
        self.wait_until(lambda: "You said: SLOW" in json.dumps(self.updates))
        return id

    def _answer(self, message: dict[str, Any]) -> None:
        if message["method"] == "session/request_permission":
            params = message["params"]
            self.permissions.append(params)
            allow = next(each for each in params["options"] if each["kind"] == "allow_once")
            outcome = {"outcome": "selected", "optionId": allow["optionId"]}
            said: dict[str, Any] = {"result": {"outcome": outcome}}
        else:
            said = {"error": {"code": -32601, "message": f"no method {message['method']}"}}
        self.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}).encode() + b"\n")
