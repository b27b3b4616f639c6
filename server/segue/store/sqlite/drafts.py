"""Files that are copies in the making, and the removal of those that killed processes left.

Before a draft is made, a record of it is put beside the database. It names the draft, which may be
in any folder, and is locked as long as the process lives.
"""

import contextlib
import errno
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: a draft that was left stays, and `segue doctor` lists it
    fcntl = None  # type: ignore[assignment]  # every use is guarded by `is None`

from segue.store.sqlite import disk

_RECORD = "-draft-"
_DRAFT = ".draft-"


@contextlib.contextmanager
def new_draft(path: str, target: str) -> Iterator[str]:
    """Yield a private, empty file beside *target*, for a copy of the database at *path*.

    The file is removed at the end, unless it was renamed.
    """
    draft = f"{target}{_DRAFT}{os.getpid()}"
    with _recorded(path, draft):
        disk.create_private(draft)
        try:
            yield draft
        finally:
            _remove(draft)


def sweep(path: str) -> list[str]:
    """Remove the drafts of killed processes for the database at *path*; return their paths."""
    removed = []
    for record in Path(path).parent.glob(f"{glob.escape(os.path.basename(path))}{_RECORD}*"):
        with contextlib.suppress(OSError):
            fd = os.open(record, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(fd):
                    draft = os.fsdecode(os.read(fd, 65_536))
                    if _DRAFT in os.path.basename(draft) and _remove(draft):
                        removed.append(draft)
                    os.unlink(record)
            finally:
                os.close(fd)
    return removed


@contextlib.contextmanager
def _recorded(path: str, draft: str) -> Iterator[None]:
    record = f"{path}{_RECORD}{os.getpid()}-{time.monotonic_ns()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(record, flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
        yield  # a database that can only be read can be copied elsewhere
        return
    try:
        _lock(fd)
        os.write(fd, os.fsencode(os.path.abspath(draft)))
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(record)
        os.close(fd)


def _lock(fd: int) -> bool:
    """Lock a record; return whether that was possible: no living process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(draft: str) -> bool:
    """Remove a draft and what SQLite makes beside it; return whether there was a draft."""
    existed = os.path.lexists(draft)
    for suffix in ("-journal", "-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{draft}{suffix}")
    return existed
