"""Recovers a damaged database: the file is quarantined, its readable rows go into a new one.

`policy` decides whether the file is damaged and may be moved, `salvage` copies its rows, `btree`
finds rows to which no undamaged page leads, `restore` puts a backup in the place of a database.

This package is imported only after an error, before a migration, or to repair or restore: a server
that starts does not load it.
"""

import contextlib

import attrs

from segue.model.errors import StorageCorrupt, StorageUnavailable
from segue.store.sqlite import disk, driver, replacement
from segue.store.sqlite.check import find_damage
from segue.store.sqlite.copies import copies_of
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
    damaged = disk.file_id(path)
    if not open_lock.try_exclusive():
        open_lock.share()  # the attempt has released it
        raise StorageCorrupt(
            f"{path} is damaged, and other editor windows have it open. Close them all, then "
            "open one again: what can be read will be saved."
        )
    try:
        if replacement.is_pending(path) or disk.file_id(path) != damaged:
            replacement.finish(path, open_lock)
            raise StorageUnavailable(f"{path} was damaged and is repaired. Try again.")
        with contextlib.suppress(FileExistsError):
            disk.create_private(path)  # it may be missing: what its log holds can be saved
        with replacement.working_folder(path) as folder:
            salvaged = salvage(path, folder)
            if harm := find_damage(salvaged.path):
                raise harm
            quarantined_as = replacement.replace(path, salvaged.path, "corrupt")
    except _ERRORS as error:
        raise driver.translate(error, path) from error
    finally:
        open_lock.share()
    return RecoveryResult(
        True,
        f"{path} was damaged. It was quarantined as {quarantined_as}; {salvaged.events} events of "
        f"{salvaged.sessions} sessions that could still be read are in {path}, which is in use "
        f"from now on.{'' if salvaged.events else _copies(path)}",
        quarantined_as,
    )


def repair(path: str) -> RecoveryResult:
    """Check every page of the database at *path*, and recover it if it is damaged.

    One that is missing counts as damaged if its log is there. Raises a StorageError if it cannot be
    checked, or is damaged and cannot be recovered.
    """
    open_lock = OpenLock(path)
    try:
        open_lock.share()
        replacement.finish(path, open_lock)
        damage = find_damage(path)
        if damage is None:
            return RecoveryResult(False, f"{path} is whole. Nothing was changed.")
        return recover(path, open_lock, damage)
    finally:
        open_lock.close()


def _copies(path: str) -> str:
    """Return where else the conversations may be."""
    paths = [copy.path for copy in copies_of(path) if copy.kind in ("backup", "replaced")]
    if not paths:
        return ""
    return f" There are {len(paths)} copies; `segue restore {paths[-1]}` brings back one of them."
