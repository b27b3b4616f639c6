"""A client of `segue lsp` for the demo, the tests and the benchmarks."""

import collections
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER_TIMEOUT_S = 30.0


class RequestError(Exception):
    """The server responded with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")

    @property
    def kind(self) -> str | None:
        """The name of a session error, such as `HeadMoved`."""
        return self.data.get("kind") if isinstance(self.data, dict) else None


class ServerGoneError(Exception):
    """The server ended before it responded."""


class Client:
    """One `segue lsp` process and its responses. Requests may be sent without waiting."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-P", "-m", "segue", "lsp"),
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603  the command is our own server
            command,
            cwd=Path(directory),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ids = itertools.count(1)
        self._answers: dict[Any, dict[str, Any]] = {}
        self._notifications: collections.deque[dict[str, Any]] = collections.deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def initialize(self, **params: Any) -> Any:
        """Send `initialize` and `initialized`; return the result of `initialize`."""
        result = self.request("initialize", {"processId": os.getpid(), "capabilities": {}} | params)
        self.notify("initialized", {})
        return result

    def request(self, method: str, params: Any = None) -> Any:
        """Send a request, wait for the response, return its result or raise RequestError."""
        return self.result(self.send(method, params))

    def send(self, method: str, params: Any = None) -> int:
        """Send a request and return its id, without waiting."""
        msg_id = next(self._ids)
        self.write({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params})
        return msg_id

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self.write({"jsonrpc": "2.0", "method": method, "params": params})

    def write(self, message: Any) -> None:
        """Send any JSON value in a frame."""
        body = json.dumps(message).encode()
        self.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def write_bytes(self, data: bytes) -> None:
        """Send bytes unchanged. A server that has ended raises ServerGoneError only in `answer`."""
        assert self.process.stdin is not None  # noqa: S101  Popen was given a PIPE
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def result(self, msg_id: Any) -> Any:
        """Return the result of a request that was sent, or raise RequestError."""
        answer = self.answer(msg_id)
        if "error" in answer:
            raise RequestError(answer["error"])
        return answer["result"]

    def answer(self, msg_id: Any) -> dict[str, Any]:
        """Wait for the response with this id and return it; None: to a message that had no id."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: msg_id in self._answers or self._ended, ANSWER_TIMEOUT_S
            ):
                raise TimeoutError(f"no response to request {msg_id}")
            if msg_id not in self._answers:
                raise ServerGoneError(f"no response to request {msg_id}: the server has ended")
            return self._answers.pop(msg_id)

    def notification(self, timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[str, Any]:
        """Wait for the next notification of the server; return its method and its params."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._notifications or self._ended, timeout_s):
                raise TimeoutError("no notification")
            if not self._notifications:
                raise ServerGoneError("no notification: the server has ended")
            told = self._notifications.popleft()
            return told["method"], told["params"]

    def is_answered(self, msg_id: Any) -> bool:
        """Return whether the response with this id has arrived."""
        with self._changed:
            return msg_id in self._answers

    def kill(self) -> None:
        """End the server with SIGKILL, so that it cannot clean up."""
        self.process.kill()
        self._end()

    def close_stdin(self) -> int:
        """Close the server's stdin, wait until it ends, and return its exit code."""
        assert self.process.stdin is not None  # noqa: S101  Popen was given a PIPE
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self._end()

    def shutdown(self) -> int:
        """Send `shutdown` and `exit`, wait until the server ends, and return its exit code."""
        self.request("shutdown")
        self.notify("exit")
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(timeout=ANSWER_TIMEOUT_S)
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code

    def _read(self) -> None:
        for message in self._messages():
            with self._changed:
                if "method" in message:
                    self._notifications.append(message)
                else:
                    self._answers[message.get("id")] = message
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _messages(self) -> Iterator[dict[str, Any]]:
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101  Popen was given a PIPE
        # A server that is killed may end in the middle of a header.
        while (header := stdout.readline()).endswith(b"\n"):
            length = int(header.split(b":")[1])
            stdout.readline()
            body = stdout.read(length)
            if len(body) == length:
                yield json.loads(body)
