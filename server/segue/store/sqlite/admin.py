"""LocalStoreAdmin: the maintenance of one SQLite file."""

import os
import time
from collections.abc import Callable, Sequence

import attrs

from segue.model.errors import StorageUnavailable
from segue.model.store_reports import (
    BackupResult,
    CheckReport,
    RestorePreview,
    RestoreResult,
    SizeReport,
    StoreCopy,
    StoreEngine,
    StoreSizes,
)
from segue.store.sqlite import backup, check, copies, drafts, driver, locks, replacement


def sqlite_engine() -> StoreEngine:
    """Return the SQLite that this process uses for every database file."""
    return StoreEngine(
        name="SQLite",
        library=driver.NAME,
        version=driver.VERSION,
        is_safe=driver.is_safe(),
        warning=driver.warning(),
    )


class LocalStoreAdmin:
    """The StoreAdmin of the database file at *path*."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._location = os.fspath(path)
        # As servers do: a link has no locks of its own, and must not be replaced by the file.
        self._path = os.path.realpath(path)

    @property
    def location(self) -> str:
        """Return the path of the database file."""
        return self._location

    @property
    def engine(self) -> StoreEngine:
        """Return the linked SQLite and whether it is safe for several windows."""
        return sqlite_engine()

    def exists(self) -> bool:
        """Return whether the file exists, or can be made of what is left beside it.

        Raises StorageUnavailable if that cannot be known.
        """
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return replacement.is_pending(self._path) or driver.is_emptied(self._path)
        except OSError as error:
            raise StorageUnavailable(
                f"{self._path} cannot be reached: {error.strerror}. Check the permissions of its "
                "folders, or name another database."
            ) from None
        return True

    def sizes(self) -> StoreSizes:
        """Count the rows and the bytes of the file."""
        return check.database_sizes(self._path)

    def session_sizes(self) -> SizeReport:
        """Sum up the events of each session, in one snapshot."""
        return check.session_sizes(self._path)

    def check(self) -> CheckReport:
        """Check the file's modes, its owner and its integrity; nothing is changed."""
        report = check.check_database(self._path)
        if not replacement.is_pending(self._path):
            return report
        message = replacement.pending_message(self._path)
        return attrs.evolve(report, exists=True, problems=[message, *report.problems])

    def repair(self) -> str:
        """Quarantine a damaged file and salvage its rows; return what was done."""
        from segue.store.sqlite import recovery  # loaded only to repair

        self._require()
        try:
            return recovery.repair(self._path).message
        except OSError as error:
            raise driver.translate(error, self._path) from error

    def back_up(self, target: str | None = None) -> BackupResult:
        """Copy the database to *target*, or into `backups` beside it, and verify the copy."""
        self._require()
        return backup.back_up(self._path, target or self._new_backup_path())

    def restore(
        self, source: str, confirm: Callable[[RestorePreview], bool]
    ) -> RestoreResult | None:
        """Replace the database by a copy of the file *source*; keep the old as `.replaced-TIME`."""
        if self._location == ":memory:":
            raise StorageUnavailable(
                "The database is `:memory:`, which keeps nothing that could be restored. Name a "
                "file with --database or the setting `database`."
            )
        from segue.store.sqlite.recovery import restore  # loaded only to restore

        return restore.restore(self._path, source, confirm)

    def copies(self) -> Sequence[StoreCopy]:
        """Return the copies beside the database and in `backups`."""
        return copies.copies_of(self._path)

    def watch_lock(self) -> locks.ProcessLock:
        """Return the lock in the file `-watch.lock`; a database in memory needs none."""
        return locks.ProcessLock(None if self._location == ":memory:" else self._path, "watch")

    def sync_lock(self) -> locks.ProcessLock:
        """Return the lock in the file `-sync.lock`; a database in memory needs none."""
        return locks.ProcessLock(None if self._location == ":memory:" else self._path, "sync")

    def sweep(self) -> Sequence[str]:
        """Remove what killed backups left."""
        return drafts.sweep(self._path)

    def _require(self) -> None:
        if not self.exists():
            raise StorageUnavailable(f"there is no database at {self._location} yet")

    def _new_backup_path(self) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name, number = f"sessions-{stamp}", 1
        folder = copies.backup_folder(self._path)
        while os.path.lexists(target := folder / f"{name}.db"):
            number += 1
            name = f"sessions-{stamp}-{number}"
        return str(target)
