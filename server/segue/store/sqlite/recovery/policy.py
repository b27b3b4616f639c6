"""Decides whether an error means that the database is damaged, and whether the file is Segue's.

If both hold, `recover`, in this package, quarantines and salvages it.

A full disk, a lock, a read error of the disk or a mistake in a statement is never damage. A file is
Segue's if its header has the application id, or if that is damaged and the lock has the mark.
"""

import contextlib
import os

from segue.store.sqlite import driver, header, schema
from segue.store.sqlite.locks import OpenLock


def may_be_damage(path: str, error: Exception) -> bool:
    """Return whether *error* is SQLite's error for damage, or one that damage can cause.

    Opens no file: closing one would release every lock that this process has on it.
    """
    if driver.is_io_error(error):
        return header.is_cut_within_page(path)
    if driver.is_read_only(error):
        return os.access(path, os.W_OK)
    return driver.is_corruption(error) or driver.is_schema_mismatch(error)


def is_damage(path: str, error: Exception) -> bool:
    """Return whether *error* has no other cause than damage. The database must be closed."""
    if driver.is_corruption(error):
        return True
    if driver.is_io_error(error):
        return header.is_cut_within_page(path) and _is_readable(path)
    if header.is_impossible(path):
        return True
    return driver.is_schema_mismatch(error) and is_schema_damaged(path)


def is_ours(path: str, open_lock: OpenLock) -> bool:
    """Return whether the file is a database of Segue, or was one before it was damaged."""
    if not os.path.lexists(path):
        return open_lock.has_mark()
    content = header.read_header(path)
    if content is None:
        return False
    if content.startswith(header.MAGIC) and len(content) == 100:
        return header.has_our_id(content) or (open_lock.has_mark() and _has_our_tables(path))
    # The header is damaged, or the file never was a database: the mark of the lock shows which.
    return open_lock.has_mark()


def is_schema_damaged(path: str) -> bool:
    """Return whether the header, or a definition, is not what SQLite and the migrations made."""
    if header.is_impossible(path):
        return True
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            return not schema.is_intact(db)
    except driver.Error as error:
        return driver.is_corruption(error)


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
