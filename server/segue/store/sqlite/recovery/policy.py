"""Decides whether an error means that the database is damaged, and whether the file is Segue's.

If both hold, `recover`, in this package, quarantines and salvages it.

A full disk, a lock, a read error of the disk or a mistake in a statement is never damage. A file is
Segue's if its header has the application id, or if that is damaged and the lock has the mark.
"""

import contextlib
import os

from segue.store.sqlite import driver, schema
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.recovery import btree

_MAGIC = b"SQLite format 3\0"


def may_be_damage(path: str, error: Exception) -> bool:
    """Return whether *error* is SQLite's error for damage, or one that damage can cause.

    Opens no file: closing one would release every lock that this process has on it.
    """
    if driver.is_io_error(error):
        return is_cut_within_page(path)
    if driver.is_read_only(error):
        return os.access(path, os.W_OK)
    return driver.is_corruption(error) or driver.is_schema_mismatch(error)


def is_damage(path: str, error: Exception) -> bool:
    """Return whether *error* has no other cause than damage. The database must be closed."""
    if driver.is_corruption(error):
        return True
    if driver.is_io_error(error):
        return is_cut_within_page(path) and _is_readable(path)
    if is_header_impossible(path):
        return True
    return driver.is_schema_mismatch(error) and is_schema_damaged(path)


def is_ours(path: str, open_lock: OpenLock) -> bool:
    """Return whether the file is a database of Segue, or was one before it was damaged."""
    header = read_header(path)
    if header is None:
        return False
    if header.startswith(_MAGIC) and len(header) == 100:
        return has_our_id(header) or (open_lock.has_mark() and _has_our_tables(path))
    # The header is damaged, or the file never was a database: the mark of the lock shows which.
    return open_lock.has_mark()


def has_our_id(header: bytes) -> bool:
    """Return whether a database's header has Segue's application id."""
    return header[68:72] == schema.APPLICATION_ID.to_bytes(4, "big")


def is_schema_damaged(path: str) -> bool:
    """Return whether the header, or a definition, is not what SQLite and the migrations made."""
    if is_header_impossible(path):
        return True
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            return not schema.is_intact(db)
    except driver.Error as error:
        return driver.is_corruption(error)


def is_cut_within_page(path: str) -> bool:
    """Return whether the file ends within a page, and no log holds the rest of it."""
    with contextlib.suppress(OSError):
        if os.path.exists(log := f"{path}-wal") and os.path.getsize(log):
            return False
        return os.path.getsize(path) % btree.PAGE != 0
    return False


def read_header(path: str) -> bytes | None:
    """Return the first 100 bytes of the file, or as many as there are; None if it is unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(100)
    except OSError:
        return None


def is_header_impossible(path: str) -> bool:
    """Return whether the header has a value that SQLite never writes and does not report."""
    header = read_header(path) or b""
    if not header.startswith(_MAGIC):
        return False
    return header[18:19] > b"\2" or header[44:48] > b"\0\0\0\4"


def _is_readable(path: str) -> bool:
    """Return whether every byte can be read: then the error is not one of the disk."""
    try:
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


def _has_our_tables(path: str) -> bool:
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            return schema.version_by_tables(db) > 0
    except driver.Error:
        return False
