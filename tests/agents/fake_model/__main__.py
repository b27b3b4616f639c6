"""The server: see the docstring of the package."""

import contextlib
import fcntl
import http.server
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.agents.fake_model import anthropic, gemini, openai_chat, openai_responses
from tests.agents.fake_model.protocol import Event, Json, ModelProtocol

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

_PROTOCOLS: dict[str, ModelProtocol] = {
    "/messages": anthropic,
    "/chat/completions": openai_chat,
    "/responses": openai_responses,
    ":generateContent": gemini,
    ":streamGenerateContent": gemini,
}
_MODELS = {"object": "list", "data": [], "models": []}


def main() -> None:
    """Serve until the standard input ends."""
    with contextlib.suppress(PermissionError):
        _bring_up_loopback()
    _Handler.log = Path(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)  # noqa: T201  whoever starts it waits for that
    sys.stdin.read()


def _bring_up_loopback() -> None:
    """Bring up the only interface that a new network namespace has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: Path
    _lock = threading.Lock()

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send({})

    def do_GET(self) -> None:
        self._note(None)
        self._send(_MODELS)

    def do_POST(self) -> None:
        with contextlib.suppress(ConnectionError):  # the agent was killed
            self._answer()

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        self._note(body)
        path = self.path.split("?")[0]
        protocol = next((p for end, p in _PROTOCOLS.items() if path.endswith(end)), None)
        if protocol is None:  # such as a count of tokens
            self._send({"input_tokens": 1, "totalTokens": 1})
            return
        answer = protocol.answer(body)
        if body.get("stream") or path.endswith(":streamGenerateContent"):
            self._stream(protocol.stream(body, answer))
        else:
            self._send(protocol.whole(body, answer))

    def _note(self, body: Json | None) -> None:
        line = json.dumps({"path": self.path, "body": body})
        with self._lock, self.log.open("a") as file:
            file.write(f"{line}\n")

    def _send(self, value: Json) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[Event]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events:
            if event.data is None:
                self.wfile.write(b": the answer goes on\n\n")
                time.sleep(0.1)
                continue
            name = "" if event.name is None else f"event: {event.name}\n"
            data = event.data if isinstance(event.data, str) else json.dumps(event.data)
            self.wfile.write(f"{name}data: {data}\n\n".encode())


if __name__ == "__main__":
    main()
