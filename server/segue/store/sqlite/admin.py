"""LocalStoreAdmin: the maintenance of one SQLite file."""

import os
import time
from pathlib import Path

from segue.model.errors import StorageUnavailable
from segue.model.store_reports import BackupResult, CheckReport, StoreEngine, StoreSizes
from segue.store.sqlite import backup, check, driver


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
        self._path = os.fspath(path)

    @property
    def location(self) -> str:
        """Return the path of the database file."""
        return self._path

    @property
    def engine(self) -> StoreEngine:
        """Return the linked SQLite and whether it is safe for several windows."""
        return sqlite_engine()

    def exists(self) -> bool:
        """Return whether the file exists; raise StorageUnavailable if that cannot be known."""
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StorageUnavailable(
                f"{self._path} cannot be reached: {error.strerror}. Check the permissions of its "
                "folders, or name another database."
            ) from None
        return True

    def sizes(self) -> StoreSizes:
        """Count the rows and the bytes of the file."""
        return check.database_sizes(self._path)

    def check(self) -> CheckReport:
        """Check the file's modes, its owner and its integrity; nothing is changed."""
        return check.check_database(self._path)

    def repair(self) -> str:
        """Quarantine a damaged file and salvage its rows; return what was done."""
        from segue.store.sqlite import recovery  # loaded only to repair

        self._require()
        return recovery.repair(self._path).message

    def back_up(self, target: str | None = None) -> BackupResult:
        """Copy the database to *target*, or into `backups` beside it, and verify the copy."""
        self._require()
        return backup.back_up(self._path, target or self._new_backup_path())

    def _require(self) -> None:
        if not self.exists():
            raise StorageUnavailable(f"there is no database at {self._path} yet")

    def _new_backup_path(self) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return str(Path(self._path).parent / "backups" / f"sessions-{stamp}.db")
