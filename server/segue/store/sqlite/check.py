"""Checks a database file from outside, without changing a byte of it."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from segue.model.errors import StorageError, StorageUnavailable
from segue.model.store_reports import CheckReport, SizeReport, StoreSizes
from segue.store.sqlite import disk, driver, file_access, header, schema, sizes
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.lock_holders import find_lock_holders, lock_files
from segue.store.sqlite.locks import OpenLock

_MAX_DAMAGE_LINES = 20
_ERRORS: tuple[type[Exception], ...] = (*driver.Error, StorageUnavailable)


def check_database(path: str) -> CheckReport:
    """Return who else can read the database at *path*, whether it is damaged, and what it holds."""
    if emptied := find_emptied(path):
        problem = str(driver.translate(emptied, path))
        return CheckReport(exists=True, sizes=StoreSizes(), problems=[problem])
    if not os.path.lexists(path):
        return CheckReport(exists=False, sizes=StoreSizes())
    try:
        return _check(path)
    except OSError as error:
        report = CheckReport(exists=True, sizes=StoreSizes())
        return _with_problems(report, str(driver.translate(error, path)))


def _check(path: str) -> CheckReport:
    modes = {each: stat.S_IMODE(os.stat(each).st_mode) for each in _files(path)}
    report = CheckReport(
        exists=True,
        sizes=StoreSizes(bytes=os.path.getsize(path)),
        modes={each: f"{mode:o}" for each, mode in modes.items()},
        problems=[
            f"{each} may be read by others (mode {mode:o})"
            for each, mode in modes.items()
            if os.name == "posix" and mode & 0o077 and os.path.isfile(each)
        ],
    )
    report = _with_problems(report, *_held_locks(path))
    try:
        file_access.check_folder(os.path.dirname(path))
        file_access.check_files(path)
    except StorageError as error:
        report = _with_problems(report, str(error))
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            schema.check_owner(db, path)
            version = schema.version_of(db)
            if version == 0:
                return attrs.evolve(report, schema_version=0)
            lines = [row[0] for row in db.execute(f"PRAGMA integrity_check({_MAX_DAMAGE_LINES})")]
            sizes = _sizes(db, path)
    except driver.Error as error:
        return _with_problems(report, str(driver.translate(error, path)))
    except StorageUnavailable as error:
        return _with_problems(report, str(error))
    damage = [one_line(line) for line in lines if line != "ok"]
    return attrs.evolve(_with_problems(report, *damage), schema_version=version, sizes=sizes)


def find_damage(path: str, *, without_log: bool = False) -> Exception | None:
    """Return SQLite's error for the first damage in any page of the database, or None.

    With *without_log* the file is checked as if there were no log beside it. Raises a StorageError
    if the database cannot be checked.
    """
    if damage := find_emptied(path):
        return damage
    if header.is_impossible(path):
        return driver.corruption("its header has values that SQLite never writes")
    if header.is_cut_within_page(path):
        return driver.corruption("it ends within a page")  # SQLite reads zeros there, mostly
    try:
        with contextlib.closing(driver.connect_to_read(path, without_log=without_log)) as db:
            schema.check_owner(db, path)
            if without_log and schema.version_of(db) == 0:
                return driver.corruption("without its log it is empty")
            (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except driver.Error as error:
        if driver.is_corruption(error):
            return error
        raise driver.translate(error, path) from error
    return None if verdict == "ok" else driver.corruption(one_line(verdict))


def find_emptied(path: str) -> Exception | None:
    """Return an error if the database is empty or missing, and was not before; else None.

    SQLite would make a new one of it, and delete the log.
    """
    if driver.is_emptied(path):
        return driver.corruption(f"it is empty, but {path}-wal is not")
    if os.path.exists(path) and not os.path.getsize(path) and OpenLock(path).has_mark():
        return driver.corruption("it is empty, and it was not before")
    return None


def one_line(verdict: str) -> str:
    """Return what SQLite's integrity check says, which may have line breaks, as one line."""
    return " ".join(verdict.split())


def database_sizes(path: str) -> StoreSizes:
    """Return what the database at *path* holds; the counts are None if they cannot be read."""
    if not os.path.exists(path):
        return StoreSizes()
    with (
        contextlib.suppress(*_ERRORS),
        contextlib.closing(driver.connect_to_read(path)) as db,
    ):
        schema.check_owner(db, path)
        if schema.version_of(db) > 0:
            return _sizes(db, path)
    return StoreSizes(bytes=os.path.getsize(path))


def session_sizes(path: str) -> SizeReport:
    """Return how much each session of the database at *path* holds, or raise a StorageError."""
    if emptied := find_emptied(path):
        raise driver.translate(emptied, path)
    if not os.path.exists(path):
        return SizeReport()
    try:
        with contextlib.closing(driver.connect_to_read(path)) as db:
            schema.check_owner(db, path)
            return sizes.all_sizes(db) if schema.version_of(db) > 0 else SizeReport()
    except driver.Error as error:
        raise driver.translate(error, path) from error


def count_rows(db: Connection) -> tuple[int, int]:
    """Return how many sessions and how many events a database has."""
    sql = "SELECT (SELECT count(*) FROM session_records), (SELECT count(*) FROM events)"
    sessions, events = db.execute(sql).fetchone()
    return sessions, events


def _sizes(db: Connection, path: str) -> StoreSizes:
    sessions, events = count_rows(db)
    sql = "SELECT count(*) FROM session_records WHERE archived_at IS NOT NULL"
    (archived,) = db.execute(sql).fetchone()
    size = os.path.getsize(path)
    return StoreSizes(bytes=size, sessions=sessions, archived=archived, events=events)


def _held_locks(path: str) -> Iterator[str]:
    for holder in find_lock_holders(*lock_files(path)):
        if holder.is_stopped:
            yield f"{path} is locked by {holder}"


def _with_problems(report: CheckReport, *problems: str) -> CheckReport:
    return attrs.evolve(report, problems=[*report.problems, *problems])


def _files(path: str) -> Iterator[str]:
    index = f"{path}{disk.INDEX}"
    beside = (index, *(f"{index}{suffix}" for suffix in disk.LOGS))
    for each in (str(Path(path).parent), *file_access.files_of(path), *beside):
        if os.path.exists(each):
            yield each
