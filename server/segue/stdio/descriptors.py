"""The descriptors of the standard input and output."""

import os
import sys


def claim_stdio() -> tuple[int, int]:
    """Return stdin and stdout for the protocol alone: anything that is printed goes to stderr."""
    stdin, stdout = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(stdin, os.O_BINARY)
        msvcrt.setmode(stdout, os.O_BINARY)
    return stdin, stdout
