"""Which sessions are open in a window, so that nothing prunes them.

Each is a shared lock of one byte: it costs a microsecond, is seen by every process, and ends with
its process, also by SIGKILL. The bytes lie in the file of the lock that shows that the database is
open, far behind its content.
"""

import contextlib
import os
import time
import zlib
from collections.abc import Iterable

from segue.model.errors import StorageError
from segue.store.sqlite import driver
from segue.store.sqlite.locks import (
    OPEN_FILE_LOCK,
    LockFile,
    is_locked,
    lock_bytes,
    unlock_bytes,
)

_FIRST_BYTE = 1 << 32
_POLL_INTERVAL_S = 0.01

CAN_TELL = OPEN_FILE_LOCK is not None
"""Whether it can be known what other processes hold."""


class SessionHolds:
    """The sessions that one service holds.

    What can wait, which is all but `release`, runs on the thread of its connection.
    """

    def __init__(self, database_path: str | None) -> None:
        """*database_path* is without links; None for a database that no other process can reach."""
        self._path = None if database_path is None else f"{database_path}-lock"
        self._file = None if self._path is None else LockFile(self._path)
        self._ids: set[str] = set()
        self._prevented: LockFile | None = None

    def hold(self, session_id: str) -> None:
        """Hold a session. Where there are no such locks, only this service knows."""
        self._ids.add(session_id)
        if self._file is None or not CAN_TELL:
            return
        # A store that can be read only has no lock file, and nothing can be deleted from it.
        with contextlib.suppress(OSError, StorageError):
            if self._file.is_current():
                self._lock(self._file, session_id)
                return
            self._file.close()
            for each in tuple(self._ids):
                self._lock(self._file, each)

    def release(self, session_id: str) -> None:
        """End the hold of a session."""
        self._ids.discard(session_id)
        if self._file is None or self._file.fd is None:
            return
        if all(_byte(each) != _byte(session_id) for each in tuple(self._ids)):
            unlock_bytes(self._file.fd, _byte(session_id), 1)

    def held(self, session_ids: Iterable[str]) -> set[str]:
        """Return those that any service holds; where there are no such locks, that this one does.

        The locks are only asked for: nobody waits for that.
        """
        ids = set(session_ids)
        own = ids & self._ids
        if self._path is None or not CAN_TELL:
            return own
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # nothing was ever held in this store
            return own
        try:
            return {each for each in ids if is_locked(fd, _byte(each), 1)}
        finally:
            os.close(fd)

    def prevent(self, session_ids: Iterable[str]) -> set[str]:
        """Keep every service from holding these until `allow`; return those that none holds."""
        if self._path is None or not CAN_TELL:
            return set(session_ids) - self._ids
        # Through another open file: what this service holds itself counts too.
        self._prevented = LockFile(self._path)
        fd = self._prevented.open()
        return {each for each in session_ids if _try_lock(fd, each, shared=False)}

    def allow(self) -> None:
        """End `prevent`."""
        if self._prevented is not None:
            self._prevented.close()

    def close(self) -> None:
        """End all holds."""
        self._ids.clear()
        if self._file is not None:
            self._file.close()

    def _lock(self, file: LockFile, session_id: str) -> None:
        deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
        while not _try_lock(file.open(), session_id, shared=True):
            if time.monotonic() > deadline:
                return  # the process that prunes is stopped
            time.sleep(_POLL_INTERVAL_S)


def _try_lock(fd: int, session_id: str, *, shared: bool) -> bool:
    try:
        lock_bytes(fd, _byte(session_id), 1, shared=shared)
    except BlockingIOError:
        return False
    return True


def _byte(session_id: str) -> int:
    """Return the byte of a session: by its id, so that it stays whatever happens to the file.

    Two ids can have the same one: then a session counts as held while the other one is.
    """
    return _FIRST_BYTE + zlib.crc32(session_id.encode())
