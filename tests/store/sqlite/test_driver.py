"""The versions of SQLite that are safe to use, and what the errors of the system mean."""

import errno
import os
from pathlib import Path

import pytest

from segue.model.errors import StorageError, StorageFull, StorageReadOnly, StorageUnavailable
from segue.store.sqlite import driver


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.0", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.51.0", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.53.4", True),
        ("4.0.0", True),
    ],
)
def test_versions_without_the_fix_of_the_wal_reset_race_are_unsafe(
    version: str, safe: bool
) -> None:
    assert driver.is_safe(version) is safe


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EROFS, StorageReadOnly),
        (errno.EACCES, StorageReadOnly),
        (errno.EISDIR, StorageUnavailable),
        (errno.EMFILE, StorageUnavailable),
    ],
)
def test_the_errors_of_the_system_have_their_meaning(
    tmp_path: Path, number: int, kind: type[StorageError]
) -> None:
    path = str(tmp_path / "sessions.db-lock")
    error = driver.translate(OSError(number, os.strerror(number), path), path)
    assert type(error) is kind
    assert path in str(error)
