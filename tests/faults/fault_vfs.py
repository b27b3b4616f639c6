"""Stands between the product's own SQLite and the disk: hears every operation, and may fail it.

SQLite reaches a disk through a table of C functions, its VFS. Here that of the very library that
the store has loaded is wrapped, by ctypes: no other build of SQLite, no other code of the store. (A
VFS in Python, as apsw has, belongs to apsw's own SQLite; and it raises also the errors that SQLite
itself decides to ignore, such as those of a checkpoint behind a commit.)
"""

import contextlib
import ctypes
import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Literal

from segue.store.sqlite import driver

OK = 0
FULL = 13
CANTOPEN = 14
Name = Literal["open", "delete", "read", "write", "truncate", "sync", "size", "lock", "index"]
IO_ERRORS: dict[Name, int] = {
    "open": CANTOPEN,
    "delete": 10 | 10 << 8,
    "read": 10 | 1 << 8,
    "write": 10 | 3 << 8,
    "truncate": 10 | 6 << 8,
    "sync": 10 | 4 << 8,
    "size": 10 | 7 << 8,
    "lock": 10 | 15 << 8,
    "index": 10 | 21 << 8,
}
"""What SQLite is told when the system says EIO, as os_unix.c tells it."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """One thing that SQLite asks of the disk."""

    name: Name
    file: str
    at: int = 0
    """Where it writes; the new size of a truncation; how a file is opened."""

    data: bytes = b""


Listener = Callable[[Operation], int]
"""Hears an operation before it happens; what is not OK happens not, and is SQLite's error code."""


class _Methods(Structure):
    _fields_ = [
        ("version", c_int),
        ("close", CFUNCTYPE(c_int, c_void_p)),
        ("read", CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)),
        ("write", CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)),
        ("truncate", CFUNCTYPE(c_int, c_void_p, c_int64)),
        ("sync", CFUNCTYPE(c_int, c_void_p, c_int)),
        ("size", CFUNCTYPE(c_int, c_void_p, c_void_p)),
        ("lock", CFUNCTYPE(c_int, c_void_p, c_int)),
        *((name, c_void_p) for name in ("unlock", "is_reserved", "control", "sector", "traits")),
        ("index", CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)),
        *((name, c_void_p) for name in ("index_lock", "barrier", "unmap", "fetch", "unfetch")),
    ]


class _File(Structure):
    _fields_ = [("methods", POINTER(_Methods))]


class _Vfs(Structure):
    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("open", CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
        ("delete", CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)),
        *((f"other_{number}", c_void_p) for number in range(13)),
    ]


class Disk:
    """A VFS that asks a listener first. Connections opened while it is installed go by it."""

    def __init__(self) -> None:
        self.listener: Listener = lambda operation: OK
        self._library = _linked()
        self._base: Any = self._library.sqlite3_vfs_find(None)
        self._files: dict[int, str] = {}
        self._tables: dict[int, tuple[_Methods, _Methods]] = {}
        self._vfs = _Vfs.from_buffer_copy(self._base.contents)
        self._vfs.name, self._vfs.next = b"segue-faults", None
        for name in ("open", "delete"):
            _wrap(self._vfs, name, getattr(self, f"_{name}"))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Be the way to the disk for every connection that is opened meanwhile."""
        self._library.sqlite3_vfs_register(byref(self._vfs), 1)
        try:
            yield
        finally:
            self._library.sqlite3_vfs_unregister(byref(self._vfs))
            self._library.sqlite3_vfs_register(self._base, 1)

    @contextlib.contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Let *listener* hear every operation meanwhile."""
        self.listener, before = listener, self.listener
        try:
            yield
        finally:
            self.listener = before

    def _hear(self, name: Name, file: str, at: int = 0, data: bytes = b"") -> int:
        return self.listener(Operation(name, os.path.basename(file), at, data))

    def _open(self, _: int, path: int, file: int, flags: int, out: int) -> int:
        name = ctypes.string_at(path).decode() if path else ""
        if code := self._hear("open", name, flags):
            _File.from_address(file).methods = None
            return code
        code = int(self._base.contents.open(self._base, path, file, flags, out))
        if code == OK:
            self._files[file] = name
            self._take_over(_File.from_address(file))
        return code

    def _delete(self, _: int, path: bytes, sync: int) -> int:
        code = self._hear("delete", path.decode(), sync)
        return code or int(self._base.contents.delete(self._base, path, sync))

    def _take_over(self, file: _File) -> None:
        address = ctypes.addressof(file.methods.contents)
        if address not in self._tables:
            theirs = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(theirs)
            for name in ("close", "read", "write", "truncate", "sync", "size", "lock", "index"):
                call = functools.partial(getattr(self, f"_{name}"), getattr(theirs, name))
                _wrap(ours, name, call)
            self._tables[address] = theirs, ours
        file.methods = ctypes.pointer(self._tables[address][1])

    def _close(self, base: Any, file: int) -> int:
        self._files.pop(file, None)
        return int(base(file))

    def _read(self, base: Any, file: int, into: int, size: int, at: int) -> int:
        return self._hear("read", self._files[file], at) or int(base(file, into, size, at))

    def _write(self, base: Any, file: int, data: int, size: int, at: int) -> int:
        code = self._hear("write", self._files[file], at, ctypes.string_at(data, size))
        return code or int(base(file, data, size, at))

    def _truncate(self, base: Any, file: int, size: int) -> int:
        return self._hear("truncate", self._files[file], size) or int(base(file, size))

    def _sync(self, base: Any, file: int, flags: int) -> int:
        return self._hear("sync", self._files[file], flags) or int(base(file, flags))

    def _size(self, base: Any, file: int, out: int) -> int:
        return self._hear("size", self._files[file]) or int(base(file, out))

    def _lock(self, base: Any, file: int, level: int) -> int:
        return self._hear("lock", self._files[file], level) or int(base(file, level))

    def _index(self, base: Any, file: int, page: int, size: int, extend: int, out: int) -> int:
        code = self._hear("index", self._files[file], page)
        return code or int(base(file, page, size, extend, out))


def _wrap(table: Structure, name: str, call: Callable[..., int]) -> None:
    """Put *call* in the place of the function *name*, as a C function of the same type."""
    types = dict(table._fields_)  # type: ignore[arg-type]
    setattr(table, name, types[name](call))


def _linked() -> Any:
    """Return the SQLite that the store has loaded, as a library of C functions."""
    extension = importlib.import_module(
        "_sqlite3" if driver.NAME == "sqlite3" else "pysqlite3._sqlite3"
    )
    linked = ctypes.CDLL(extension.__file__)
    linked.sqlite3_vfs_find.restype = POINTER(_Vfs)
    return linked
