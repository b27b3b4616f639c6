"""The smallest JSON-RPC server in Python: reads a frame, parses it, responds, and waits."""

import json
import sys


def main() -> None:
    """Respond to each request with its own params until stdin ends."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.readline():
        length = int(header.partition(b":")[2])
        stdin.readline()
        request = json.loads(stdin.read(length))
        response = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
        body = json.dumps(response, separators=(",", ":")).encode()
        stdout.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        stdout.flush()


if __name__ == "__main__":
    main()
