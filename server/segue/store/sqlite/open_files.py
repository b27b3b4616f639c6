"""Whether a connection's files are still the ones that their paths name.

A file that was removed, moved or replaced stays open and takes writes, which nobody finds again.
"""

import contextlib
import os

from segue.store.sqlite.disk import FileId, file_id, id_of
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OPEN_FILE_LOCK, bytes_locked

_SHARED_BYTES = (0x4000_0002, 510)
"""Where SQLite's shared locks of a database file are, and how many bytes (sqlite.org/lockingv3)."""


class ReplacedError(Exception):
    """A file of the database is another one than the file that the connection has open.

    The message is a sentence for the user.
    """


class OpenFiles:
    """The files that a connection has open, by what they were when it was opened."""

    def __init__(self, named: str, path: str) -> None:
        """Record the files. *named* is the database as it was given, *path* without links."""
        self.database = named
        self._log = f"{path}-wal"
        self._beside = (self._log, f"{path}-shm")
        self._ids = {each: file_id(each) for each in (named, *self._beside)}

    @property
    def database_id(self) -> FileId | None:
        """The identity of the database that is open."""
        return self._ids[self.database]

    def find_replaced(self) -> list[str]:
        """Return the paths that name another file than the open one, or none."""
        return [path for path, id in self._ids.items() if id is not None and file_id(path) != id]

    def check(self) -> os.stat_result:
        """Return the database's state; raise ReplacedError if a path names no or another file."""
        state = self.check_database()
        for path in self._beside:
            if (id := self._ids[path]) is not None and file_id(path) != id:
                raise _replaced(path)
        return state

    def check_database(self) -> os.stat_result:
        """Do as `check`, for the database without its log and its index."""
        try:
            state = os.stat(self.database)
        except OSError:
            raise _replaced(self.database) from None
        if id_of(state) != self.database_id:
            raise _replaced(self.database)
        return state

    def is_log_needed(self) -> bool:
        """Return whether the log has commits that reach their database from this process only.

        The database was moved away from its log; or the log was taken away, and no process has
        begun another one.
        """
        replaced = self.find_replaced()
        if replaced == [self._log]:
            return not os.path.exists(self._log) or not os.path.getsize(self._log)
        return replaced == [self.database]

    def close(self, db: Connection) -> None:
        """Close *db* without a checkpoint: the files that have its names now are left as they are.

        SQLite's last connection to a file moves the log into it and removes, by their names, the
        log and the index, which can be another file's.
        """
        if OPEN_FILE_LOCK is None or (fd := self._reopen_database()) is None:
            _abandon(db)
            return
        # A shared lock of another open file: SQLite takes it for another process's connection.
        # Closing the descriptor would release the locks of all connections to this file.
        with bytes_locked(fd, *_SHARED_BYTES, shared=True):
            db.close()

    def _reopen_database(self) -> int | None:
        """Open the file that the connection has open, which may have no name, once more."""
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if file_id(f"/proc/self/fd/{name}") == self.database_id:
                    return os.open(f"/proc/self/fd/{name}", os.O_RDONLY | os.O_CLOEXEC)
        return None


def _replaced(path: str) -> ReplacedError:
    return ReplacedError(
        f"{path} was removed, moved or replaced while editors had it open. Nothing was written; "
        "try again: what is at that path now is opened."
    )


def _abandon(db: Connection) -> None:
    """Never close *db* in this process."""
    import ctypes  # only after files were replaced

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))
