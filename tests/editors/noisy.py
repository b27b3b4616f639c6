"""Runs the server behind it like a wrapper that prints text, and spells headers in other ways."""

import re
import subprocess
import sys

BANNER = (
    b"\ndirenv: loading .envrc\r\nContent-Length: 123456\r\n\r\ndirenv: export +X\nno line break"
)


def main() -> None:
    """Print a banner, then copy the server's frames, each with a line before it."""
    server = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
    assert server.stdout is not None
    output = sys.stdout.buffer
    output.write(BANNER)
    while header := server.stdout.readline():
        length = re.search(rb"\d+", header)
        assert length is not None
        while server.stdout.readline() != b"\r\n":
            pass
        body = server.stdout.read(int(length[0]))
        output.write(b"content-length:%s\nContent-Type: x; charset=utf-8\n\n%s" % (length[0], body))
        output.write(b"\n\nContent-Length: 0\n\nnot a message\nmore of it\n")
        output.flush()
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
