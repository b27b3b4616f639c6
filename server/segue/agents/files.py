"""Opens files of other programs to read them."""

import os
import stat
from pathlib import Path


def open_file(path: str | Path) -> tuple[int, os.stat_result]:
    """Open a file to read; return its descriptor and its state. Raises OSError if it is none."""
    # Not to wait for a writer of a pipe that is named like a transcript.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise OSError("not a file")
    except BaseException:
        os.close(fd)
        raise
    return fd, state
