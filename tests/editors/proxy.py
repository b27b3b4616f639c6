"""Runs the server behind it, and kills it between a commit and the response that says so.

`python proxy.py FLAGS COMMAND…`: once the file FLAGS/die before the answer exists, the next
response to the method that it names, else to `session/append`, is not delivered; instead the server
is killed.
"""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next frame with its header, or None at the end."""
    header = b""
    while not header.endswith(b"\r\n\r\n"):
        byte = stream.read(1)
        if not byte:
            return None
        header += byte
    length = re.search(rb"Content-Length: (\d+)", header)
    assert length is not None
    return header + stream.read(int(length[1]))


def body(frame: bytes) -> dict[str, object]:
    """Return the message of a frame."""
    message: dict[str, object] = json.loads(frame.split(b"\r\n\r\n", 1)[1])
    return message


def method_of(flag: Path) -> str:
    """Return the method whose response is lost."""
    return flag.read_text().strip() or "session/append"


def main() -> None:
    """Copy frames in both directions until the server exits."""
    flags = Path(sys.argv[1])
    flag = flags / "die before the answer"
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    (flags / "server process").write_text(str(server.pid))
    assert server.stdin is not None
    assert server.stdout is not None
    to_server = server.stdin
    methods: dict[object, object] = {}

    def copy_requests() -> None:
        while (frame := read_frame(sys.stdin.buffer)) is not None:
            message = body(frame)
            methods[message.get("id")] = message.get("method")
            to_server.write(frame)
            to_server.flush()
        to_server.close()

    threading.Thread(target=copy_requests, daemon=True).start()
    while (frame := read_frame(server.stdout)) is not None:
        if flag.exists() and methods.get(body(frame).get("id")) == method_of(flag):
            flag.unlink()
            server.kill()
            break
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()
    sys.exit(server.wait() != 0)


if __name__ == "__main__":
    main()
