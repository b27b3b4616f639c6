"""Reads files that hold one JSON value, which their programs write anew as a whole."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from segue.agents.files import open_file

MAX_FILE = 64 * 1024 * 1024
"""How long a file can be, in bytes."""

Stamp = list[int]
"""What tells one content of a file from the next: device, inode, size, time of the last change."""


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file. Raises OSError if the path is no file."""
    return _stamp(os.stat(path), path)


def read_json(path: Path) -> tuple[Any, Stamp]:
    """Return the value of a file and its stamp.

    Raises OSError if the path is no file, the file is too long or is not JSON.
    """
    fd, state = open_file(path)
    try:
        seen = _stamp(state, path)
        content = b""
        while len(content) <= MAX_FILE and (chunk := os.read(fd, MAX_FILE + 1 - len(content))):
            content += chunk
    finally:
        os.close(fd)
    if len(content) > MAX_FILE:
        raise OSError(f"{path.name} is longer than {MAX_FILE // 2**20} MiB")
    try:
        return json.loads(content.decode("utf-8-sig", "surrogatepass")), seen
    except (ValueError, RecursionError):
        raise OSError(f"{path.name} is not JSON") from None


def _stamp(status: os.stat_result, path: Path) -> Stamp:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is not a file")
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
