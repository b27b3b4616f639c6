"""A model on loopback that speaks as much of Anthropic's protocol as Claude Code needs.

The last user text decides its answer: `RUN: COMMAND` calls the shell, `SLOW` never ends, anything
else is repeated.
"""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

_USAGE = {"input_tokens": 1, "output_tokens": 1}


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Yield the address of a model, which answers until the block ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send("text/plain", b"")

    def do_GET(self) -> None:
        self._send("application/json", b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        if not self.path.split("?")[0].endswith("/messages"):
            self._send("application/json", b'{"input_tokens": 1}')
            return
        with contextlib.suppress(ConnectionError):
            self._answer(body)

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: dict[str, Any]) -> None:
        asked, had_result = _asked(body)
        tool = None
        if "RUN: " in asked and not had_result and _has_shell(body):
            tool = {"command": asked.rpartition("RUN: ")[2].strip(), "description": "runs it"}
        message = {
            "id": f"msg_{time.monotonic_ns()}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [{"type": "text", "text": f"You said: {asked}"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": _USAGE,
        }
        if not body.get("stream"):
            self._send("application/json", json.dumps(message).encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        self._event("message_start", message={**message, "content": [], "stop_reason": None})
        self._block(0, {"type": "text", "text": ""}, "text_delta", "text", f"You said: {asked}")
        while asked.startswith("SLOW"):
            self._event("ping")
            time.sleep(0.1)
        if tool is not None:
            call = {"type": "tool_use", "id": f"toolu_{message['id']}", "name": "Bash", "input": {}}
            self._block(1, call, "input_json_delta", "partial_json", json.dumps(tool))
        reason = "end_turn" if tool is None else "tool_use"
        self._event("message_delta", delta={"stop_reason": reason}, usage=_USAGE)
        self._event("message_stop")

    def _block(self, index: int, block: Any, kind: str, field: str, content: str) -> None:
        self._event("content_block_start", index=index, content_block=block)
        self._event("content_block_delta", index=index, delta={"type": kind, field: content})
        self._event("content_block_stop", index=index)

    def _event(self, name: str, **data: Any) -> None:
        text = json.dumps({"type": name, **data})
        self.wfile.write(f"event: {name}\ndata: {text}\n\n".encode())


def _has_shell(body: dict[str, Any]) -> bool:
    return any(tool.get("name") == "Bash" for tool in body.get("tools", []))


def _asked(body: dict[str, Any]) -> tuple[str, bool]:
    """Return the last text that a person wrote, and whether a result of a tool came after it."""
    had_result = False
    for message in reversed(body.get("messages", [])):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [
            block["text"]
            for block in blocks
            if block["type"] == "text" and not block["text"].startswith("<system-reminder>")
        ]
        if message["role"] == "user" and texts:
            return texts[-1], had_result
        had_result |= any(block["type"] == "tool_result" for block in blocks)
    return "", had_result
