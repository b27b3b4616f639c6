"""A damaged database is set aside whole, and every row that can still be read is kept.

Only SQLite's own word for damage leads here, only for a file that says it is ours, and only while
no other window has it open: a file that is moved under an open connection takes its log with it.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from segue.events import new_id
from segue.service import StorageCorrupt, StorageError
from segue.storage import library, schema
from segue.storage.library import Connection

try:
    import fcntl
except ImportError:  # Windows, where a file that others have open cannot be moved anyway
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"SQLite format 3\0"
_LAST_KEY = (1 << 62) - 1
_ERRORS: tuple[type[Exception], ...] = (*library.Error, OSError)


class Presence:
    """Says to other processes that this one has the database open."""

    def __init__(self, where: str) -> None:
        self._path = f"{where}-lock"
        self._fd: int | None = None

    def enter(self) -> None:
        """Wait until nobody repairs the database, and be counted as one who has it open."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._fd is not None and fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Tell whether nobody else has the database open, and keep the others out if so."""
        if self._fd is None or fcntl is None:
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Be gone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@attrs.frozen
class Outcome:
    """What became of a damaged database, and what there is to tell."""

    repaired: bool
    error: StorageError


def set_aside(where: str, presence: Presence, damage: Exception) -> Outcome:
    """Move the damaged database at *where* aside and put what it still holds in its place.

    A file that is not ours, or that others have open, is left as it is; so is one whose readable
    part finds no room.
    """
    if not _is_ours(where):
        return Outcome(False, library.translate(damage, where))
    if not presence.alone():
        return Outcome(
            False,
            StorageCorrupt(
                f"{where} is damaged, and other editor windows have it open. Close them all, then "
                "open one again: what can be read will be saved."
            ),
        )
    rescued = f"{where}.rescued"
    try:
        sessions, events = _rescue(where, rescued)
        aside = _move_aside(where)
        os.rename(rescued, where)
    except _ERRORS as error:
        return Outcome(False, library.translate(error, where))
    finally:
        for leftover in (rescued, f"{rescued}-wal", f"{rescued}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)
        presence.enter()
    return Outcome(
        True,
        StorageCorrupt(
            f"{where} was damaged. It was set aside as {aside}; {events} events of {sessions} "
            f"sessions that could still be read are in {where}, which is in use from now on."
        ),
    )


def repair(where: str) -> str:
    """Do by hand what happens by itself when SQLite meets damage; return what became of it.

    Finds damage in pages that nothing has read yet, too. Raises a StorageError if it cannot be.
    """
    presence = Presence(where)
    try:
        presence.enter()
        damage = _damage(where)
        if damage is None:
            return f"{where} is whole. Nothing was changed."
        outcome = set_aside(where, presence, damage)
    finally:
        presence.leave()
    if not outcome.repaired:
        raise outcome.error
    return str(outcome.error)


def _damage(where: str) -> Exception | None:
    try:
        with contextlib.closing(library.connect_to_read(where)) as db:
            schema.check_owner(db, where)
            verdicts = [row[0] for row in db.execute("PRAGMA integrity_check(1)")]
    except library.Error as error:
        if library.is_corruption(error):
            return error
        raise library.translate(error, where) from error
    return None if verdicts == ["ok"] else library.Error[0](verdicts[0])


def _move_aside(where: str) -> str:
    name = aside = f"{where}.corrupt-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    taken = 1
    while os.path.lexists(aside):
        taken += 1
        aside = f"{name}-{taken}"
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{where}{suffix}", f"{aside}{suffix}")
    return aside


def _is_ours(where: str) -> bool:
    try:
        with open(where, "rb") as file:
            header = file.read(100)
    except OSError:
        return False
    return header.startswith(_MAGIC) and header[68:72] == schema.APPLICATION_ID.to_bytes(4, "big")


def _rescue(source: str, target: str) -> tuple[int, int]:
    """Copy every readable row into a new database; return how many sessions and events."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    old, new = library.connect_to_read(source), library.connect(target)
    with contextlib.closing(old), contextlib.closing(new):
        schema.migrate(new)
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("BEGIN IMMEDIATE")
        for table, columns in _COPIED.items():
            for row in _readable(old, table, columns, key="number"):
                _insert(new, table, columns, row)
        for row in _readable(old, "metadata", ("session", "key", "value"), key="rowid"):
            _insert(new, "metadata", ("session", "key", "value"), row)
        _copy_events(old, new)
        _mend(new)
        new.execute("COMMIT")
        (sessions,) = new.execute("SELECT count(*) FROM sessions").fetchone()
        (events,) = new.execute("SELECT count(*) FROM events").fetchone()
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sessions, events


_COPIED: dict[str, tuple[str, ...]] = {
    "sessions": (
        "number", "id", "directory", "git_root", "git_common_dir", "title", "server_session_id",
        "forked_from", "event_count", "model_visible", "created_at", "updated_at", "archived_at",
    ),
    "invocations": ("number", "id", "session"),
}  # fmt: skip


def _copy_events(old: Connection, new: Connection) -> None:
    """Copy the events, each session's numbered anew where some are lost: a chain has no gaps."""
    columns = ("key", "id", "invocation", "created_at", "type", "data")
    session, seq = -1, 0
    for key, *values in _readable(old, "events", columns, key="key"):
        session, seq = (session, seq + 1) if key >> 32 == session else (key >> 32, 1)
        if not _insert(new, "events", columns, ((session << 32) + seq, *values)):
            seq -= 1


def _mend(new: Connection) -> None:
    """Give a row to what events still name, and count again what is left of each session."""
    lost = "SELECT DISTINCT session FROM events WHERE session NOT IN (SELECT number FROM sessions)"
    for (number,) in new.execute(lost).fetchall():
        values = (number, new_id(), "(lost)", 1, 0, 0)
        columns = ("number", "id", "directory", "model_visible", "created_at", "updated_at")
        _insert(new, "sessions", columns, values)
    lost = (
        "SELECT DISTINCT invocation, session FROM events "
        "WHERE invocation NOT IN (SELECT number FROM invocations)"
    )
    for number, session in new.execute(lost).fetchall():
        _insert(new, "invocations", ("number", "id", "session"), (number, new_id(), session))
    new.execute(
        "UPDATE sessions SET event_count = "
        "(SELECT count(*) FROM events WHERE events.session = sessions.number)"
    )
    new.execute("DELETE FROM sessions WHERE event_count = 0")
    for table in ("metadata", "invocations"):
        new.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT number FROM sessions)")  # noqa: S608


def _insert(db: Connection, table: str, columns: Sequence[str], values: Sequence[Any]) -> bool:
    """Insert a row, and tell so, unless it breaks a rule: then it was damaged too."""
    marks = ", ".join("?" * len(columns))
    try:
        db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", tuple(values))  # noqa: S608
    except library.Error as error:
        if not library.is_broken_rule(error):
            raise
        return False
    return True


def _readable(
    db: Connection, table: str, columns: Sequence[str], *, key: str
) -> Iterator[Sequence[Any]]:
    """Yield every row that can be read, by *key*, and go on behind each damaged page."""
    sql = f"SELECT {key}, {', '.join(columns)} FROM {table} WHERE {key}"  # noqa: S608
    start: int | None = 0
    while start is not None:
        try:
            for row in db.execute(f"{sql} >= ? ORDER BY {key}", (start,)):
                start = row[0] + 1
                yield tuple(row)[1:]
        except library.Error:
            at = _first_key(db, table, key, start)
            if at is None:
                start = _past_damage(db, table, key, start)
                continue
            # Damage ahead took this row with it, or it is damaged itself, and alone.
            with contextlib.suppress(*_ERRORS):
                yield tuple(db.execute(f"{sql} = ?", (at,)).fetchone())[1:]
            start = at + 1
        else:
            return


def _past_damage(db: Connection, table: str, key: str, start: int) -> int | None:
    """Return the first key from which *table* can be read again, if there is one.

    Every key of a damaged page leads into it, and the first one behind it does not: so the end is
    found by doubling the distance, then by halving it.
    """
    distance = 1
    while _first_key(db, table, key, start + distance) is None:
        distance *= 2
        if distance > _LAST_KEY:
            return None
    bad, good = start + distance // 2, start + distance
    while good - bad > 1:
        middle = (bad + good) // 2
        if _first_key(db, table, key, middle) is None:
            bad = middle
        else:
            good = middle
    return good


def _first_key(db: Connection, table: str, key: str, start: int) -> int | None:
    """Return the first key from *start* on (*start* itself if there is none), None in damage."""
    try:
        row = db.execute(f"SELECT min({key}) FROM {table} WHERE {key} >= ?", (start,)).fetchone()  # noqa: S608
    except library.Error:
        return None
    return start if row[0] is None else int(row[0])
