"""A wrapper of SQLite's VFS that reports every disk operation to a listener, which may fail it.

SQLite reaches the disk through a table of C functions, its VFS. ctypes wraps the VFS of the library
that the store has loaded, so the store runs unmodified on the SQLite that it ships with. (A VFS in
Python, as apsw has, belongs to apsw's own SQLite, and it also raises errors that SQLite ignores,
such as those of a checkpoint after a commit.)
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
"""The result codes for EIO, as os_unix.c returns them."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """One disk operation of SQLite."""

    name: Name
    file: str
    argument: int = 0
    """The offset of a read or write, the new size of a truncation, the flags of an open or sync."""

    data: bytes = b""


Listener = Callable[[Operation], int]
"""Called before an operation. A result other than OK is SQLite's error code, and cancels it."""


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


class FaultVfs:
    """A VFS that calls a listener first. Connections opened while it is installed use it."""

    def __init__(self) -> None:
        self.listener: Listener = lambda operation: OK
        self._library = _load_library()
        self._base: Any = self._library.sqlite3_vfs_find(None)
        self._files: dict[int, str] = {}
        self._tables: dict[int, tuple[_Methods, _Methods]] = {}
        self._vfs = _Vfs.from_buffer_copy(self._base.contents)
        self._vfs.name, self._vfs.next = b"segue-faults", None
        for name in ("open", "delete"):
            _wrap(self._vfs, name, getattr(self, f"_{name}"))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Make this the default VFS inside the block."""
        self._library.sqlite3_vfs_register(byref(self._vfs), 1)
        try:
            yield
        finally:
            self._library.sqlite3_vfs_unregister(byref(self._vfs))
            self._library.sqlite3_vfs_register(self._base, 1)

    @contextlib.contextmanager
    def notifying(self, listener: Listener) -> Iterator[None]:
        """Call *listener* before every operation inside the block."""
        self.listener, before = listener, self.listener
        try:
            yield
        finally:
            self.listener = before

    def _notify(self, name: Name, file: str, argument: int = 0, data: bytes = b"") -> int:
        return self.listener(Operation(name, os.path.basename(file), argument, data))

    def _open(self, _: int, path: int, file: int, flags: int, out: int) -> int:
        name = ctypes.string_at(path).decode() if path else ""
        if code := self._notify("open", name, flags):
            _File.from_address(file).methods = None
            return code
        code = int(self._base.contents.open(self._base, path, file, flags, out))
        if code == OK:
            self._files[file] = name
            self._wrap_methods(_File.from_address(file))
        return code

    def _delete(self, _: int, path: bytes, sync: int) -> int:
        code = self._notify("delete", path.decode(), sync)
        return code or int(self._base.contents.delete(self._base, path, sync))

    def _wrap_methods(self, file: _File) -> None:
        address = ctypes.addressof(file.methods.contents)
        if address not in self._tables:
            original = _Methods.from_address(address)
            wrapped = _Methods.from_buffer_copy(original)
            for name in ("close", "read", "write", "truncate", "sync", "size", "lock", "index"):
                call = functools.partial(getattr(self, f"_{name}"), getattr(original, name))
                _wrap(wrapped, name, call)
            self._tables[address] = original, wrapped
        file.methods = ctypes.pointer(self._tables[address][1])

    def _close(self, base: Any, file: int) -> int:
        self._files.pop(file, None)
        return int(base(file))

    def _read(self, base: Any, file: int, into: int, size: int, offset: int) -> int:
        return self._notify("read", self._files[file], offset) or int(
            base(file, into, size, offset)
        )

    def _write(self, base: Any, file: int, data: int, size: int, offset: int) -> int:
        code = self._notify("write", self._files[file], offset, ctypes.string_at(data, size))
        return code or int(base(file, data, size, offset))

    def _truncate(self, base: Any, file: int, size: int) -> int:
        return self._notify("truncate", self._files[file], size) or int(base(file, size))

    def _sync(self, base: Any, file: int, flags: int) -> int:
        return self._notify("sync", self._files[file], flags) or int(base(file, flags))

    def _size(self, base: Any, file: int, out: int) -> int:
        return self._notify("size", self._files[file]) or int(base(file, out))

    def _lock(self, base: Any, file: int, level: int) -> int:
        return self._notify("lock", self._files[file], level) or int(base(file, level))

    def _index(self, base: Any, file: int, page: int, size: int, extend: int, out: int) -> int:
        code = self._notify("index", self._files[file], page)
        return code or int(base(file, page, size, extend, out))


def _wrap(table: Structure, name: str, call: Callable[..., int]) -> None:
    """Replace the function *name* by *call*, as a C function of the same type."""
    types = dict(table._fields_)  # type: ignore[arg-type]  # typeshed allows bit fields of three items
    setattr(table, name, types[name](call))


def _load_library() -> Any:
    """Return the SQLite library that the store has loaded."""
    extension = importlib.import_module(
        "_sqlite3" if driver.NAME == "sqlite3" else "pysqlite3._sqlite3"
    )
    linked = ctypes.CDLL(extension.__file__)
    linked.sqlite3_vfs_find.restype = POINTER(_Vfs)
    return linked
