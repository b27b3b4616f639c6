"""Recovers a damaged database: the file is quarantined, its readable rows go into a new one.

`policy` decides whether the file is damaged and may be moved, `salvage` copies its rows, `btree`
finds rows to which no undamaged page leads. This package is imported only after an error, before a
migration, or to repair: a server that starts does not load it.
"""

import contextlib
import os
import shutil
import time

import attrs

from segue.model.errors import StorageCorrupt
from segue.store.sqlite import driver
from segue.store.sqlite.check import find_damage
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.recovery import policy
from segue.store.sqlite.recovery.policy import may_be_damage as may_be_damage
from segue.store.sqlite.recovery.salvage import salvage

_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)


@attrs.frozen
class RecoveryResult:
    """Whether a database was recovered, a message for the user, and the damaged file's new path."""

    recovered: bool
    message: str
    quarantined_as: str | None = None


def recover(path: str, open_lock: OpenLock, damage: Exception) -> RecoveryResult:
    """Quarantine the damaged database at *path* and put what can be read of it in its place.

    *damage* is the error that the damage caused, *open_lock* this process's lock on the database.
    Raises a StorageError, and does not change the file, if it is not damaged, not Segue's or open
    in another process, or if there is no space for the new database.
    """
    if not (policy.is_ours(path, open_lock) and policy.is_damage(path, damage)):
        raise driver.translate(damage, path)
    if not open_lock.try_exclusive():
        raise StorageCorrupt(
            f"{path} is damaged, and other editor windows have it open. Close them all, then "
            "open one again: what can be read will be saved."
        )
    folder = f"{path}.rescue"
    try:
        _create_folder(folder)
        salvaged = salvage(path, folder)
        quarantined_as = _quarantine(path)
        os.rename(salvaged.path, path)
    except _ERRORS as error:
        raise driver.translate(error, path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        open_lock.share()
    return RecoveryResult(
        True,
        f"{path} was damaged. It was quarantined as {quarantined_as}; {salvaged.events} events of "
        f"{salvaged.sessions} sessions that could still be read are in {path}, which is in use "
        "from now on.",
        quarantined_as,
    )


def repair(path: str) -> RecoveryResult:
    """Check every page of the database at *path*, and recover it if it is damaged.

    Raises a StorageError if it cannot be checked, or is damaged and cannot be recovered.
    """
    open_lock = OpenLock(path)
    try:
        open_lock.share()
        damage = find_damage(path)
        if damage is None:
            return RecoveryResult(False, f"{path} is whole. Nothing was changed.")
        return recover(path, open_lock, damage)
    finally:
        open_lock.close()


def _create_folder(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of a recovery that was killed
    os.mkdir(folder, 0o700)


def _quarantine(path: str) -> str:
    """Rename the database and its log; return the new path, which no file had."""
    free = prefix = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    number = 1
    while os.path.lexists(free):
        number += 1
        free = f"{prefix}-{number}"
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{free}{suffix}")
    return free
