"""A damaged database is set aside whole, and every row that can still be read is kept.

Only SQLite's own word for damage leads here, only for a file that says it is ours, and only while
no other window has it open: a file that is moved under an open connection takes its log with it.
"""

import collections
import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from segue.events import new_id
from segue.service import StorageCorrupt, StorageError
from segue.storage import library, schema
from segue.storage.library import Connection
from segue.storage.presence import Presence

_MAGIC = b"SQLite format 3\0"
_PAGE = 4096
_LAST_KEY = (1 << 63) - 1
_LAST_SESSION = 1 << 30
_ERRORS: tuple[type[Exception], ...] = (*library.Error, OSError)


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
    if not _is_ours(where, presence):
        return Outcome(False, library.translate(damage, where))
    if not presence.alone():
        return Outcome(
            False,
            StorageCorrupt(
                f"{where} is damaged, and other editor windows have it open. Close them all, then "
                "open one again: what can be read will be saved."
            ),
        )
    folder = f"{where}.rescue"
    try:
        _make_folder(folder)
        rescued = _rescue(where, folder)
        aside = _move_aside(where)
        os.rename(rescued.path, where)
    except _ERRORS as error:
        return Outcome(False, library.translate(error, where))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        presence.enter()
    return Outcome(
        True,
        StorageCorrupt(
            f"{where} was damaged. It was set aside as {aside}; {rescued.events} events of "
            f"{rescued.sessions} sessions that could still be read are in {where}, which is in "
            "use from now on."
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


def _is_ours(where: str, presence: Presence) -> bool:
    try:
        with open(where, "rb") as file:
            header = file.read(100)
    except OSError:
        return False
    if header.startswith(_MAGIC) and len(header) == 100:
        return header[68:72] == schema.APPLICATION_ID.to_bytes(4, "big")
    # Damage took the header, or the file never was a database: only the mark knows.
    return presence.owns()


def _make_folder(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of a salvage that was killed
    os.mkdir(folder, 0o700)


@attrs.frozen
class _Rescued:
    path: str
    rows: int
    """How many rows of all tables could be read."""
    sessions: int
    events: int


def _rescue(where: str, folder: str) -> _Rescued:
    """Copy every readable row of *where* into a new database in *folder*."""
    rescued = _copy_rows(where, f"{folder}/rescued")
    schemas = _known_schemas(f"{folder}/empty")
    if _has_known_schema(where, schemas):
        return rescued
    attempts = [rescued]
    copy = f"{folder}/copy"
    _copy_file(where, copy)
    with contextlib.suppress(FileNotFoundError):
        _copy_file(f"{where}-wal", f"{copy}-wal")  # SQLite reads what is in it over the file
    for number, known in enumerate(schemas):
        _with_known_schema(copy, known.page)
        attempts.append(_copy_rows(copy, f"{folder}/rescued-{number}"))
    return max(attempts, key=lambda attempt: attempt.rows)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "xb", opener=_privately) as new:
        shutil.copyfileobj(old, new)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _with_known_schema(copy: str, page: bytes) -> None:
    """Let *copy* begin with *page*, which says where the tables of a Segue database lie."""
    with open(copy, "r+b") as file:
        file.write(page[:28] + bytes(4) + page[32:])  # of no stated length: SQLite measures it


@attrs.frozen
class _Schema:
    page: bytes
    """The first page of a file."""
    tables: list[tuple[Any, ...]]
    """What it says about the tables that hold rows to keep."""


def _known_schemas(empty: str) -> list[_Schema]:
    """Return how a Segue database begins: one that grew, and one that was restored from a backup.

    The same statements put the tables on the same pages of each file, and VACUUM INTO on others.
    """
    with contextlib.closing(library.connect(empty)) as db:
        for statement in schema.M001_INITIAL:
            db.execute(statement)
        grown = _Schema(_first_page(empty), _tables(db))
        db.execute("VACUUM")
        return [grown, _Schema(_first_page(empty), _tables(db))]


def _first_page(where: str) -> bytes:
    with open(where, "rb") as file:
        return file.read(_PAGE)


def _has_known_schema(where: str, schemas: list[_Schema]) -> bool:
    """Tell whether all rows can be found by what the first page says."""
    page = _first_page(where)
    if _format(page) != _format(schemas[0].page):
        return False
    # What lies behind the stated end is not read.
    if int.from_bytes(page[28:32], "big") < os.path.getsize(where) // _PAGE:
        return False
    try:
        with contextlib.closing(library.connect_to_read(where)) as db:
            db.execute("PRAGMA writable_schema = ON")
            return _tables(db) in [known.tables for known in schemas]
    except library.Error:
        return False


def _format(page: bytes) -> tuple[bytes, ...]:
    """Return what every row is read by: the size of a page and of its margin, the encoding."""
    return page[16:18], page[20:24], page[52:60]


def _tables(db: Connection) -> list[tuple[Any, ...]]:
    sql = (
        "SELECT name, rootpage, sql FROM sqlite_master WHERE type = 'table' "
        "AND name IN ('sessions', 'invocations', 'events', 'metadata') ORDER BY name"
    )
    return [tuple(row) for row in db.execute(sql)]


def _copy_rows(source: str, target: str) -> _Rescued:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    old, new = library.connect_to_read(source), library.connect(target)
    with contextlib.closing(old), contextlib.closing(new):
        # Without it one bad table, or a file that is shorter than it says, ends all reading.
        old.execute("PRAGMA writable_schema = ON")
        schema.migrate(new)
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("BEGIN IMMEDIATE")
        for table, columns in _COPIED.items():
            for row in _readable(old, table, columns, key="number"):
                _insert(new, table, columns, row)
        for row in _readable(old, "metadata", ("session", "key", "value"), key="rowid"):
            _insert(new, "metadata", ("session", "key", "value"), row)
        _copy_events(old, new)
        rows = new.total_changes
        _mend(new)
        new.execute("COMMIT")
        (sessions,) = new.execute("SELECT count(*) FROM sessions").fetchone()
        (events,) = new.execute("SELECT count(*) FROM events").fetchone()
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return _Rescued(target, rows, sessions, events)


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
    # Of every session: a key that is out of its order comes between the rows of another one.
    seqs: dict[int, int] = collections.defaultdict(int)
    for key, *values in _readable(old, "events", columns, key="key"):
        session = key >> 32
        # The next session takes the number above the highest, and it must still have keys.
        if not 0 < session <= _LAST_SESSION:
            continue
        if _insert(new, "events", columns, ((session << 32) + seqs[session] + 1, *values)):
            seqs[session] += 1


def _mend(new: Connection) -> None:
    """Give a row to what events still name, and count again what is left of each session."""
    # The next session takes the number above the highest, and it must still have keys.
    new.execute("DELETE FROM sessions WHERE number NOT BETWEEN 1 AND ?", (_LAST_SESSION,))
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
    bound = [_bindable(value) for value in values]
    marks = ["CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in values]
    try:
        db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)})", bound)  # noqa: S608
    except library.Error as error:
        if not library.is_broken_rule(error):
            raise
        return False
    return True


def _bindable(value: Any) -> Any:
    # Text that is not UTF-8 was read with surrogates, and those can be bound as bytes only.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _readable(
    db: Connection, table: str, columns: Sequence[str], *, key: str
) -> Iterator[Sequence[Any]]:
    """Yield every row that can be read, and go on behind each damaged page.

    Rows come by *key* where no key is damaged, and a few of them come twice.
    """
    sql = f"SELECT {key}, {', '.join(columns)} FROM {table} WHERE {key}"  # noqa: S608
    start: int | None = 0
    while start is not None:
        lately = collections.deque([start - 1] * 5, maxlen=5)
        try:
            for row in db.execute(f"{sql} >= ? ORDER BY {key}", (start,)):
                yield tuple(row)[1:]
                lately.append(row[0])
                # A damaged key leads back, or past all others: the middle one of five is sound.
                start = max(start, min(sorted(lately)[2] + 1, _LAST_KEY))
        except library.Error:
            at = _first_key(db, table, key, start)
            if at is not None:
                # Damage ahead took this row with it, or it is damaged itself, and alone.
                yield from _single(db, f"{sql} = ?", at)
            start = _past_damage(db, table, key, start, at)
        else:
            return


def _single(db: Connection, sql: str, at: int) -> Iterator[Sequence[Any]]:
    with contextlib.suppress(*library.Error):
        # A damaged key is met on the way, but not when it is looked for.
        if (row := db.execute(sql, (at,)).fetchone()) is not None:
            yield tuple(row)[1:]


def _past_damage(db: Connection, table: str, key: str, start: int, at: int | None) -> int | None:
    """Return the first key above *start* that leads to a row, and not to the one with key *at*.

    The search begins in three places, as a long stride may miss all that lies between two damaged
    pages: here, behind *at* (unless that is a damaged key), and at the next session.
    """
    places = {start, start if at is None else at, min(start | 0xFFFF_FFFF, _LAST_KEY)}
    found = [_past(db, table, key, place, at) for place in places]
    return min((place for place in found if place is not None), default=None)


def _past(db: Connection, table: str, key: str, start: int, at: int | None) -> int | None:
    """Return the first key above *start* that leads to a row other than *at*, if there is one.

    Every key of a damaged page leads into it, and the first one behind it does not: so the end is
    found by doubling the distance, then by halving it.
    """
    damaged = (None, at)
    distance = 1
    while start + distance <= _LAST_KEY:
        if _first_key(db, table, key, start + distance) not in damaged:
            break
        distance *= 2
    else:
        return None
    bad, good = start + distance // 2, start + distance
    while good - bad > 1:
        middle = (bad + good) // 2
        if _first_key(db, table, key, middle) in damaged:
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
    if row[0] is None:
        return start
    # A key that is out of its order lies on a damaged page.
    return int(row[0]) if row[0] >= start else None
