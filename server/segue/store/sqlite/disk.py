"""Files and folders that only their owner can read, and their way to the disk.

Also the names of what a replacement of the database leaves when it is killed: a server that starts
looks for them, and loads the module `replacement` only if they are there.
"""

import contextlib
import os
from pathlib import Path

REPLACEMENT_JOURNAL = "-replacement"
"""Behind the database's name: the file that exists while the database is replaced by another."""

REPLACEMENT_FOLDER = ".rescue"
"""Behind the database's name: the folder in which the other file is made."""


FileId = tuple[int, int]
"""The device and the inode of a file."""

LOGS = ("-wal", "-shm")
"""Behind the database's name: its write-ahead log, and the log's index."""


INDEX = "-search"
"""Behind the database's name: the index of searches, which can be made anew."""


def has_index(path: str) -> bool:
    """Return whether there is anything in the place of the index of the database at *path*."""
    return os.path.lexists(f"{path}{INDEX}")


def remove_index(path: str) -> None:
    """Remove the index of the database at *path*, which no process has open.

    Raises OSError if that is impossible.
    """
    for suffix in (*LOGS, "-journal", ""):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{INDEX}{suffix}")


def make_private_folder(folder: Path) -> None:
    """Make *folder*, and those above it that are missing, with mode 0700 whatever the umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another window may be faster
            each.mkdir(0o700)
            each.chmod(0o700)


def create_private(path: str) -> None:
    """Make the empty file *path* with mode 0600 whatever the umask, or raise FileExistsError.

    SQLite gives -wal and -shm the mode that the database has when it makes them.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(path, flags, 0o600)
    try:
        if os.name == "posix":
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def file_id(path: str) -> FileId | None:
    """Return the identity of the file at *path*, or None if there is none."""
    try:
        return id_of(os.stat(path))
    except OSError:
        return None


def id_of(stat: os.stat_result) -> FileId:
    """Return the identity of a file by its *stat*."""
    return stat.st_dev, stat.st_ino


def free_path(path: str) -> str:
    """Return *path*, or a path made from it, such that neither a database nor a log has it."""
    free, number = path, 1
    while any(os.path.lexists(f"{free}{suffix}") for suffix in ("", *LOGS)):
        number += 1
        free = f"{path}-{number}"
    return free


def sync_file(path: str) -> None:
    """Wait until the content of the file is on disk."""
    _sync(path, os.O_RDWR)  # Windows syncs only what may be written


def sync_folder_of(path: str) -> None:
    """Wait until the names in the folder of *path* are on disk."""
    if os.name == "posix":  # Windows opens no folder
        _sync(os.path.dirname(path) or ".", os.O_RDONLY)


def _sync(path: str, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
