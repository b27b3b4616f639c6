"""What can be said of a database from outside, without changing a byte of it."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver, schema

_SHOWN = 20


@attrs.frozen(kw_only=True)
class CheckReport:
    """The state of a database. `problems` is empty if all is well."""

    exists: bool
    size: int = 0
    modes: dict[str, str] = attrs.field(factory=dict)
    schema_version: int | None = None
    sessions: int | None = None
    archived: int | None = None
    events: int | None = None
    problems: list[str] = attrs.field(factory=list)


def examine(where: str) -> CheckReport:
    """Look at the database at *where*: who may read it, whether it is whole, how much it holds."""
    path = Path(where)
    if not path.exists():
        return CheckReport(exists=False)
    modes = {str(each): oct(stat.S_IMODE(each.stat().st_mode))[2:] for each in _files(path)}
    problems = [
        f"{each} may be read by others (mode {modes[str(each)]})"
        for each in _files(path)
        if os.name == "posix" and stat.S_IMODE(each.stat().st_mode) & 0o077 and each.is_file()
    ]
    found = CheckReport(exists=True, size=path.stat().st_size, modes=modes, problems=problems)
    try:
        with contextlib.closing(driver.connect_to_read(where)) as db:
            schema.check_owner(db, where)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                return attrs.evolve(found, schema_version=0)
            damage = [row[0] for row in db.execute(f"PRAGMA integrity_check({_SHOWN})")]
            (sessions,) = db.execute("SELECT count(*) FROM sessions").fetchone()
            (archived,) = db.execute(
                "SELECT count(*) FROM sessions WHERE archived_at IS NOT NULL"
            ).fetchone()
            (events,) = db.execute("SELECT count(*) FROM events").fetchone()
    except driver.Error as error:
        return attrs.evolve(found, problems=[*problems, str(driver.translate(error, where))])
    except StorageUnavailable as error:
        return attrs.evolve(found, problems=[*problems, str(error)])
    return attrs.evolve(
        found,
        schema_version=version,
        sessions=sessions,
        archived=archived,
        events=events,
        problems=problems + [line for line in damage if line != "ok"],
    )


def _files(path: Path) -> Iterator[Path]:
    for each in (path.parent, path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if each.exists():
            yield each
