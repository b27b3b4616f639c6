"""Identifies this machine: a random id in the user's data folder, and the host's name for people.

A home directory that several hosts share is one machine: its paths are the same on all of them.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segue.model.records import Machine

_FILE = "machine-id"
_LONGEST_NAME = 64
_LENGTH = 36
_DERIVED = "5e90e000-0000-5000-8000-000000000005"


def this_machine(folder: Path | None) -> "Machine":
    """Return this machine, whose id is in the data folder *folder* from the first call on.

    Of all processes that make the file at once, one wins, and all return its id. Where it cannot be
    made or is damaged, the id is derived from the folder and the host, the same each time: nothing
    is raised.
    """
    from segue.model.records import Machine

    name = _host_name()
    if folder is None:
        return Machine(id=_derived_id("", name), name=name)
    path = os.path.join(folder, _FILE)
    try:
        id = _read(path) or _create(path)
    except (OSError, ValueError):
        id = None
    return Machine(id=id or _derived_id(path, name), name=name)


def _host_name() -> str:
    """Return the host's name without its domain, as one short line."""
    import platform

    name = platform.node().partition(".")[0].encode(errors="replace").decode()
    return "".join(filter(str.isprintable, name))[:_LONGEST_NAME] or "(unknown)"


def _read(path: str) -> str | None:
    """Return the id in the file *path*; None if there is no file. Raises ValueError for no id."""
    import uuid

    try:
        # Should it be a FIFO, open would wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is no regular file")
        content = os.read(descriptor, _LENGTH + 2)
    finally:
        os.close(descriptor)
    return str(uuid.UUID(content.decode().strip()))


def _create(path: str) -> str | None:
    """Make the file *path* with a new id, unless another process does; return the id in it."""
    import uuid

    id = str(uuid.uuid4())
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}-{id}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(descriptor, f"{id}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # A link, unlike a rename, replaces nothing: the first one stays.
        os.link(new, path)
    except FileExistsError:
        return _read(path)
    finally:
        os.unlink(new)
    return id


def _derived_id(path: str, host: str) -> str:
    import uuid

    return str(uuid.uuid5(uuid.UUID(_DERIVED), f"{host}\0{path}"))
