"""High-water marks: what a database held at the last commit, kept outside of it.

SQLite takes a damaged frame for the end of the write-ahead log, and a log for that of whatever file
it lies beside. The marks show that acknowledged events are missing, or that another program has
written to the file. They are the content of the write lock's file, and change while it is held.
"""

import contextlib
import os
import struct
from collections.abc import Mapping

import attrs

from segue.store.sqlite.disk import FileId, file_id
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OPEN_FILE_LOCK, WriteLock

_MAGIC = b"SEGUEHW2"
_HEADER = struct.Struct("<8sQQQQQQQ")
_SLOT = struct.Struct("<QQ")
_SLOTS = 128
"""Of so many sessions, the last that were appended to, it is known how far they had got."""


@attrs.frozen
class FileState:
    """Which file the database is, and when it was last written to."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: str) -> "FileState":
        """Return the state of the file at *path*; raise OSError if there is none."""
        return cls.from_stat(os.stat(path))

    @classmethod
    def from_stat(cls, stat: os.stat_result) -> "FileState":
        """Return the state of a file by its *stat*."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@attrs.frozen
class MissingEvents:
    """How many acknowledged events a database lacks, and of how many sessions."""

    events: int
    sessions: int


class HighWaterMarks:
    """The marks of one database. Only the holder of the write lock may change them."""

    def __init__(self, database: str, lock: WriteLock) -> None:
        self._database = database
        self._lock = lock
        self._state: FileState | None = None
        self._is_erasure_due = True

    def load(self) -> None:
        """Read what the last commit, of whichever process, has left."""
        header = _read(self._lock.fd, _HEADER.size, 0)
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            # A new file: whether the log contains deleted rows is unknown.
            self._state, self._is_erasure_due = None, True
            return
        _, *own_id, device, inode, size, modified_ns, erasure = _HEADER.unpack(header)
        is_copy = tuple(own_id) != self._lock.file_id  # then the database is another file too
        self._state = None if is_copy else FileState(device, inode, size, modified_ns)
        self._is_erasure_due = bool(erasure)

    def is_current(self) -> bool:
        """Return whether the file is as the last commit, or checkpoint, has left it."""
        self.load()
        return self._state == FileState.of(self._database)

    def is_overwritten(self, stat: os.stat_result) -> bool:
        """Return whether the file has changed since the last commit, and no checkpoint runs.

        *stat* is its state now. A process that was killed during a checkpoint leaves the same
        trace.
        """
        if self._state in (None, FileState.from_stat(stat)):
            return False
        if OPEN_FILE_LOCK is None:
            return True  # a checkpoint holds the write lock there
        with self._lock.checkpointing() as is_alone:
            self.load()  # one may have ended meanwhile
            return is_alone and self._state != FileState.of(self._database)

    def is_of_file(self, id: FileId | None) -> bool:
        """Return whether the marks are those of the file with this identity."""
        return self._state is not None and (self._state.device, self._state.inode) == id

    def is_of_other_file(self) -> bool:
        """Return whether the marks are those of another file than the path names."""
        return self._state is not None and not self.is_of_file(file_id(self._database))

    @property
    def is_erasure_due(self) -> bool:
        """Whether the log may contain rows that were deleted."""
        return self._is_erasure_due

    def set_erasure_due(self, is_due: bool) -> None:
        """Record whether the log may contain rows that were deleted."""
        if is_due != self._is_erasure_due:
            self._is_erasure_due = is_due
            with contextlib.suppress(OSError):  # on a full disk this process remembers it
                self._write_header(self._state or FileState.of(self._database))

    def advance(self, counts: Mapping[int, int], stat: os.stat_result) -> None:
        """Record the event counts of sessions, by number, and *stat*, the state of the file."""
        for number, count in counts.items():
            _write(self._lock.fd, _SLOT.pack(number, count), _offset(number))
        self.record_state(stat)

    def record_state(self, stat: os.stat_result | None = None) -> None:
        """Record the state of the file: a checkpoint of this process may have written to it."""
        state = FileState.from_stat(stat or os.stat(self._database))
        if state == self._state:
            return
        if self.is_of_other_file():
            self.clear()  # the marks are those of the file that was here before
        else:
            self._write_header(state)

    def forget(self, number: int) -> None:
        """Drop the mark of a session, before it is deleted."""
        if self._slots().get(number) is not None:
            _write(self._lock.fd, bytes(_SLOT.size), _offset(number))

    def clear(self, *, is_new: bool = False) -> None:
        """Drop all marks: the database *is_new*, or what is missing was reported."""
        self._is_erasure_due = self._is_erasure_due and not is_new
        os.ftruncate(self._lock.fd, 0)
        self._write_header(FileState.of(self._database))

    def find_missing(self, db: Connection) -> MissingEvents | None:
        """Return how many events that were acknowledged are missing, or None."""
        self.load()
        if self._state is None or self.is_of_other_file():
            return None
        marks = self._slots()
        numbers = ", ".join(map(str, marks))
        sql = f"SELECT number, event_count FROM sessions WHERE number IN ({numbers})"  # noqa: S608  integers
        counts = dict(db.execute(sql).fetchall())
        # A count that is no number is damage of another kind: a row that was found is repaired.
        known = {number: counts.get(number, 0) for number in marks}
        missing = [
            marks[number] - count
            for number, count in known.items()
            if isinstance(count, int) and 0 <= count < marks[number]
        ]
        return MissingEvents(sum(missing), len(missing)) if missing else None

    def _slots(self) -> dict[int, int]:
        content = _read(self._lock.fd, _SLOTS * _SLOT.size, _HEADER.size)
        whole = content[: len(content) // _SLOT.size * _SLOT.size]
        return {number: count for number, count in _SLOT.iter_unpack(whole) if number}

    def _write_header(self, state: FileState) -> None:
        self._state = state
        values = (*self._lock.file_id, *attrs.astuple(state), self._is_erasure_due)
        _write(self._lock.fd, _HEADER.pack(_MAGIC, *values), 0)


def _read(fd: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.read(fd, size)


def _write(fd: int, content: bytes, offset: int) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(fd, content, offset)
    else:
        os.lseek(fd, offset, os.SEEK_SET)  # Windows
        os.write(fd, content)


def _offset(number: int) -> int:
    return _HEADER.size + number % _SLOTS * _SLOT.size
