"""Writes files that are complete or not there at all."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def new_file(path: str, *, replaces: bool = False) -> Iterator[BinaryIO]:
    """Yield a file, private to its owner, which gets the name *path* when it is complete.

    Until then its name is another one in the same folder, which it has as `name`.
    Raises FileExistsError if there is one then, unless *replaces*.
    """
    temporary = f"{path}.{os.getpid()}.part"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(temporary, "wb", opener=lambda *_: fd) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            os.replace(temporary, path)
        else:
            _name(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _name(temporary: str, path: str) -> None:
    """Give a file the name *path*; raise FileExistsError if another one has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)
    else:
        os.unlink(temporary)
