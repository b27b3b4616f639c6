"""What the bytes of a database file say without SQLite: its header, and where it ends."""

import contextlib
import os

from segue.store.sqlite import schema

PAGE = 4096
"""The size of every page in bytes: SQLite's default, which Segue does not change."""

MAGIC = b"SQLite format 3\0"


def read_header(path: str) -> bytes | None:
    """Return the first 100 bytes of the file, or as many as there are; None if it is unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(100)
    except OSError:
        return None


def has_our_id(header: bytes) -> bool:
    """Return whether a database's header has Segue's application id."""
    return header[68:72] == schema.APPLICATION_ID.to_bytes(4, "big")


def is_impossible(path: str) -> bool:
    """Return whether the header has a value that SQLite never writes and does not report."""
    header = read_header(path) or b""
    if not header.startswith(MAGIC):
        return False
    return header[18:19] > b"\2" or header[44:48] > b"\0\0\0\4"


def is_cut_within_page(path: str) -> bool:
    """Return whether the file ends within a page, and no log holds the rest of it."""
    with contextlib.suppress(OSError):
        if os.path.exists(log := f"{path}-wal") and os.path.getsize(log):
            return False
        return os.path.getsize(path) % PAGE != 0
    return False
