"""Mounts by FUSE, spoken directly: one that never answers, and one that ignores the case of names.

They need root and /dev/fuse; `unavailable` says why they cannot be had.
"""

import contextlib
import ctypes
import enum
import errno
import os
import stat
import struct
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

_MNT_DETACH = 2
_HEADER = struct.Struct("<IIQQIIII")


class _Op(enum.IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    DESTROY = 38
    BATCH_FORGET = 42


def unavailable() -> str | None:
    """Return why nothing can be mounted here, or None if it can."""
    if sys.platform != "linux":
        return "FUSE is spoken to the Linux kernel only"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse that may be opened"
    if os.geteuid() != 0:
        return "only root may mount"
    return None


@contextlib.contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """Mount a file system at *folder* that never answers: whoever looks at it waits.

    At the end it is unmounted, and whoever waits gets an error.
    """
    descriptor = _mount(folder)
    try:
        yield
    finally:
        _unmount(folder, descriptor)


@contextlib.contextmanager
def case_insensitive(folder: Path, *paths: str, unlisted: str = "") -> Iterator[None]:
    """Mount a file system at *folder* in which no case or Unicode form tells names apart.

    It has the folders of *paths* and nothing else; that of *unlisted* cannot be listed.
    """
    tree = _Tree(paths, unlisted)
    descriptor = _mount(folder)
    thread = threading.Thread(target=tree.serve, args=(descriptor,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        _unmount(folder, descriptor)
        thread.join(10)


def _mount(folder: Path) -> int:
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (b"segue-test", os.fsencode(folder), b"fuse", 0, options.encode())
    if libc.mount(*arguments) != 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), f"cannot mount at {folder}")
    return descriptor


def _unmount(folder: Path, descriptor: int) -> None:
    ctypes.CDLL(None).umount2(os.fsencode(folder), _MNT_DETACH)
    # Only now: it is what ends the waiting of others.
    with contextlib.suppress(OSError):
        os.close(descriptor)


class _Tree:
    """A tree of folders, by number; the root is 1."""

    def __init__(self, paths: tuple[str, ...], unlisted: str) -> None:
        self._children: list[dict[str, tuple[str, int]]] = [{}, {}]
        for path in paths:
            self._add(path)
        self._unlisted = self._add(unlisted) if unlisted else None

    def _add(self, path: str) -> int:
        node = 1
        for name in filter(None, path.split("/")):
            children = self._children[node]
            if _fold(name) not in children:
                children[_fold(name)] = name, len(self._children)
                self._children.append({})
            node = children[_fold(name)][1]
        return node

    def serve(self, descriptor: int) -> None:
        """Answer the kernel's requests until it is unmounted."""
        while True:
            try:
                request = os.read(descriptor, 1 << 20)
            except OSError:
                return
            _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
            if opcode == _Op.DESTROY:
                return
            if opcode in (_Op.FORGET, _Op.BATCH_FORGET):
                continue
            fault, body = self._answer(opcode, node, request[_HEADER.size :])
            with contextlib.suppress(OSError):  # the request was given up
                os.write(descriptor, struct.pack("<IiQ", 16 + len(body), -fault, unique) + body)

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        match opcode:
            case _Op.INIT:
                return 0, struct.pack("<IIIIHHIIHHI24x", 7, 31, 0, 0, 0, 0, 4_096, 1, 1, 0, 0)
            case _Op.LOOKUP:
                found = self._children[node].get(_fold(os.fsdecode(body.rstrip(b"\0"))))
                if found is None:
                    return errno.ENOENT, b""
                return 0, struct.pack("<Q32x", found[1]) + _attributes(found[1])
            case _Op.GETATTR:
                return 0, bytes(16) + _attributes(node)
            case _Op.OPENDIR if node == self._unlisted:
                return errno.EACCES, b""
            case _Op.OPENDIR:
                return 0, bytes(16)
            case _Op.READDIR:
                (offset,) = struct.unpack_from("<8xQ", body)
                return 0, self._entries(node, offset)
            case _Op.RELEASEDIR:
                return 0, b""
            case _:
                return errno.ENOSYS, b""

    def _entries(self, node: int, offset: int) -> bytes:
        listed = b""
        for number, (name, child) in enumerate(self._children[node].values(), 1):
            encoded = os.fsencode(name)
            if number > offset:
                entry = struct.pack("<QQII", child, number, len(encoded), stat.S_IFDIR >> 12)
                listed += entry + encoded + bytes(-len(encoded) % 8)
        return listed


def _fold(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755
    numbers = (node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 2, 0, 0, 0, 4_096, 0)
    return struct.pack("<6Q10I", *numbers)
