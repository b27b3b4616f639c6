"""The least that a JSON-RPC server in Python does: read a frame, parse it, answer, and wait."""

import json
import sys


def main() -> None:
    """Answer each request with its own params."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.readline():
        length = int(header.partition(b":")[2])
        stdin.readline()
        request = json.loads(stdin.read(length))
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
        body = json.dumps(answer, separators=(",", ":")).encode()
        stdout.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        stdout.flush()


if __name__ == "__main__":
    main()
