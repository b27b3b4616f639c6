"""Which processes hold a lock on a database, as `/proc/locks` of Linux shows it.

Loaded only when a lock was waited for in vain, or to check a database. On other systems no process
is found.
"""

import os

import attrs

_STOPPED = "Tt"
"""The states of a process that a signal, or a debugger, has stopped (proc(5))."""


@attrs.frozen
class LockHolder:
    """A process that holds a lock."""

    pid: int
    name: str
    is_stopped: bool

    def __str__(self) -> str:
        """Return the process for a message, with what to do if it is stopped."""
        process = f"process {self.pid} ({self.name})"
        if not self.is_stopped:
            return process
        return f"{process}, which is stopped: continue it (kill -CONT {self.pid}) or end it"


def lock_files(database: str) -> tuple[str, ...]:
    """Return the files on which a process that uses *database* can hold a lock."""
    return database, f"{database}-shm", f"{database}-write.lock", f"{database}-lock"


def find_lock_holders(*paths: str, shared: bool = False) -> list[LockHolder]:
    """Return the other processes with an exclusive lock on one of *paths*, or also a *shared*."""
    kinds = {"WRITE", "READ"} if shared else {"WRITE"}
    files = {str(os.stat(path).st_ino): path for path in paths if os.path.exists(path)}
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            lines = [line.split() for line in locks]
    except OSError:
        return []
    pids = set()
    # "1: FLOCK ADVISORY WRITE 708 08:01:2228253 0 EOF"; a waiting process has "->" in second place.
    for _, _, _, kind, pid, file, *_ in (line for line in lines if len(line) >= 8):
        inode = file.rpartition(":")[2]
        if kind in kinds and inode in files and _has_open(pid, files[inode]):
            pids.add(int(pid))
    return [_holder(pid) for pid in sorted(pids - {os.getpid()})]


def _has_open(pid: str, path: str) -> bool:
    """Return whether the process has *path* open: an inode's number alone can be another disk's."""
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.path.samefile(f"{folder}/{fd}", path) for fd in os.listdir(folder))
    except OSError:
        return False


def _holder(pid: int) -> LockHolder:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            name, _, rest = stat.read().partition("(")[2].rpartition(")")
    except OSError:
        return LockHolder(pid, "ended", is_stopped=False)
    return LockHolder(pid, name, is_stopped=rest.split()[0] in _STOPPED)
