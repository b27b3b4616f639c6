"""A damaged database is set aside whole, and every row that can still be read is kept.

Only SQLite's own word for damage leads here, or what can only be damage; only for a file that says
it is ours, and only while no other window has it open: a file that is moved under an open
connection takes its log with it.
"""

import collections
import contextlib
import mmap
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from segue.model.errors import StorageCorrupt, StorageError
from segue.model.events import new_id
from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.recovery import btree

_MAGIC = b"SQLite format 3\0"
_LAST_KEY = (1 << 63) - 1
_LAST_SESSION = 1 << 30
_ERRORS: tuple[type[Exception], ...] = (*driver.Error, OSError)


@attrs.frozen
class Outcome:
    """What became of a damaged database, and what there is to tell."""

    repaired: bool
    error: StorageError


def set_aside(where: str, presence: OpenLock, damage: Exception) -> Outcome:
    """Move the damaged database at *where* aside and put what it still holds in its place.

    A file that is not ours, or that others have open, is left as it is; so is one whose readable
    part finds no room.
    """
    if not (_is_ours(where, presence) and _is_damage(where, damage)):
        return Outcome(False, driver.translate(damage, where))
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
        return Outcome(False, driver.translate(error, where))
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


def may_be_damage(where: str, error: Exception) -> bool:
    """Tell whether *error* is SQLite's word for damage, or one that damage can bring about.

    Opens no file: to close one gives up all locks that this process has on it.
    """
    if driver.is_io_error(error):
        return _is_cut_within_a_page(where)
    if driver.is_read_only(error):
        return os.access(where, os.W_OK)
    return driver.is_corruption(error) or driver.is_schema_mismatch(error)


def _is_damage(where: str, error: Exception) -> bool:
    """Tell whether *error* has no other cause than damage."""
    if driver.is_corruption(error):
        return True
    if driver.is_io_error(error):
        return _is_cut_within_a_page(where) and _is_readable(where)
    if _is_header_impossible(where):
        return True
    try:
        with contextlib.closing(driver.connect_to_read(where)) as db:
            return driver.is_schema_mismatch(error) and not schema.is_intact(db)
    except driver.Error as met:
        return driver.is_corruption(met)


def _is_cut_within_a_page(where: str) -> bool:
    """Tell whether the file ends where no page does, and no log holds that page."""
    with contextlib.suppress(OSError):
        if os.path.exists(log := f"{where}-wal") and os.path.getsize(log):
            return False
        return os.path.getsize(where) % btree.PAGE != 0
    return False


def _is_readable(where: str) -> bool:
    """Tell whether the disk gives out every byte: then it is the file that is too short."""
    try:
        with open(where, "rb") as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


def repair(where: str) -> str:
    """Do by hand what happens by itself when SQLite meets damage; return what became of it.

    Finds damage in pages that nothing has read yet, too. Raises a StorageError if it cannot be.
    """
    presence = OpenLock(where)
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
    if _is_header_impossible(where):
        return driver.corruption("its header has values that SQLite never writes")
    try:
        with contextlib.closing(driver.connect_to_read(where)) as db:
            schema.check_owner(db, where)
            verdicts = [row[0] for row in db.execute("PRAGMA integrity_check(1)")]
    except driver.Error as error:
        if driver.is_corruption(error):
            return error
        raise driver.translate(error, where) from error
    return None if verdicts == ["ok"] else driver.corruption(verdicts[0])


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


def _is_ours(where: str, presence: OpenLock) -> bool:
    header = _header(where)
    if header is None:
        return False
    if header.startswith(_MAGIC) and len(header) == 100:
        mine = header[68:72] == schema.APPLICATION_ID.to_bytes(4, "big")
        return mine or (presence.owns() and _has_our_tables(where))
    # Damage took the header, or the file never was a database: only the mark knows.
    return presence.owns()


def _has_our_tables(where: str) -> bool:
    try:
        with contextlib.closing(driver.connect_to_read(where)) as db:
            return schema.version_by_tables(db) > 0
    except driver.Error:
        return False


def _is_header_impossible(where: str) -> bool:
    """Tell whether the header has a value that SQLite never writes, and does not call damage."""
    header = _header(where) or b""
    if not header.startswith(_MAGIC):
        return False
    return header[18:19] > b"\2" or header[44:48] > b"\0\0\0\4"


def _header(where: str) -> bytes | None:
    try:
        with open(where, "rb") as file:
            return file.read(100)
    except OSError:
        return None


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
    if _is_all(where, rescued):
        return rescued
    copy = f"{folder}/copy"
    _copy_file(where, copy)
    with contextlib.suppress(FileNotFoundError):
        _copy_file(f"{where}-wal", f"{copy}-wal")
    _rebuild(copy, f"{folder}/plain")
    rebuilt = _copy_rows(copy, f"{folder}/rebuilt")
    return max(rebuilt, rescued, key=lambda attempt: attempt.rows)


def _is_all(where: str, rescued: _Rescued) -> bool:
    """Tell whether no row was missed, or misread, for what a page above it says."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(f"{where}-wal"):
            return False  # what is in it replaces pages of the file
    with _content(where) as content:
        held = sum(
            len(leaf.keys) for each in btree.find(content, _SHAPES).values() for leaf in each
        )
        return held <= rescued.rows and _format(content) == _FORMAT


@contextlib.contextmanager
def _content(where: str) -> Iterator[btree.Content]:
    with open(where, "rb") as file:
        if not os.path.getsize(where):
            yield b""  # of nothing there is no map
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _format(content: btree.Content) -> tuple[bytes, ...]:
    """Return what every row is read by: the size of a page and of its margin, the encoding."""
    return content[16:18], content[20:24], content[52:60]


# Of every Segue database: SQLite's own choices, and no margin.
_FORMAT = (btree.PAGE.to_bytes(2, "big"), bytes([0, 64, 32, 32]), bytes([0, 0, 0, 0, 0, 0, 0, 1]))


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "xb", opener=_privately) as new:
        shutil.copyfileobj(old, new)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _rebuild(copy: str, plain: str) -> None:
    """Let *copy* lead to every row on its leaves, whatever the pages above them say."""
    _write_first_page(copy, _first_page(f"{plain}-1", {}))
    _empty_log(copy)
    with _content(copy) as content:
        found = btree.find(content, _SHAPES)
        numbers = btree.numbers_from(len(content) // btree.PAGE + 1)
    roots = {}
    with open(copy, "r+b") as file:
        for table in _STORED:
            roots[table], pages = btree.tree(found[table], numbers)
            for number, page in pages.items():
                file.seek((number - 1) * btree.PAGE)
                file.write(page)
    _write_first_page(copy, _first_page(f"{plain}-2", roots))


def _empty_log(copy: str) -> None:
    with contextlib.suppress(*driver.Error), contextlib.closing(driver.connect(copy)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # only now the log is noticed
        driver.checkpoint_truncate(db)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{copy}-wal")


def _write_first_page(copy: str, page: bytes) -> None:
    with open(copy, "r+b") as file:
        unused = file.read(40)[32:].ljust(8, b"\0")
        file.seek(0)
        file.write(page[:28] + bytes(4) + unused + page[40:])  # of no stated length: it is measured


def _first_page(plain: str, roots: Mapping[str, int]) -> bytes:
    """Return how a database begins that has its tables at *roots*, and no more than they store."""
    with contextlib.closing(driver.connect(plain)) as db:
        db.execute(f"PRAGMA page_size = {btree.PAGE}")
        for table, columns in _STORED.items():
            key = " INTEGER PRIMARY KEY" if _SHAPES[table].begins_with_key else ""
            db.execute(f"CREATE TABLE {table} ({columns[0]}{key}, {', '.join(columns[1:])})")
        db.execute("PRAGMA writable_schema = ON")
        for table, root in roots.items():
            db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (root, table))
    with open(plain, "rb") as file:
        return file.read(btree.PAGE)


def _copy_rows(source: str, target: str) -> _Rescued:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    old, new = driver.connect_to_read(source), driver.connect(target)
    with contextlib.closing(old), contextlib.closing(new):
        # Without it one bad table, or a file that is shorter than it says, ends all reading.
        old.execute("PRAGMA writable_schema = ON")
        schema.migrate(new)
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("BEGIN IMMEDIATE")
        before = new.total_changes
        for table in ("sessions", "invocations", "metadata"):
            for row in _readable(old, table, _STORED[table], key=_key(table)):
                _insert_mended(new, table, _STORED[table], row)
        _copy_events(old, new)
        rows = new.total_changes - before
        _mend(new)
        new.execute("COMMIT")
        (sessions,) = new.execute("SELECT count(*) FROM sessions").fetchone()
        (events,) = new.execute("SELECT count(*) FROM events").fetchone()
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return _Rescued(target, rows, sessions, events)


_VERSION = len(schema.MIGRATIONS)
_STORED = {
    table: tuple(column.name for column in schema.columns(table, _VERSION))
    for table in schema.tables(_VERSION)
}
_SHAPES = {
    table: btree.Shape(len(columns), begins_with_key=columns[0].is_rowid)
    for table, columns in schema.COLUMNS.items()
}


def _key(table: str) -> str:
    return _STORED[table][0] if _SHAPES[table].begins_with_key else "rowid"


def _copy_events(old: Connection, new: Connection) -> None:
    """Copy the events, each session's numbered anew where some are lost: a chain has no gaps."""
    columns = _STORED["events"]
    # Of every session: a key that is out of its order comes between the rows of another one.
    seqs: dict[int, int] = collections.defaultdict(int)
    for key, *values in _readable(old, "events", columns, key="key"):
        session = key >> 32
        # The next session takes the number above the highest, and it must still have keys.
        if not 0 < session <= _LAST_SESSION:
            continue
        if _insert_mended(new, "events", columns, ((session << 32) + seqs[session] + 1, *values)):
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


def _insert_mended(
    db: Connection, table: str, columns: Sequence[str], values: Sequence[Any]
) -> bool:
    """Insert a row, if it must be with something else for what is not of its column's type."""
    if _insert(db, table, columns, values):
        return True
    by_name = {column.name: column for column in schema.COLUMNS[table]}
    mended = [by_name[name].salvaged(value) for name, value in zip(columns, values, strict=True)]
    return mended != list(values) and _insert(db, table, columns, mended)


def _insert(db: Connection, table: str, columns: Sequence[str], values: Sequence[Any]) -> bool:
    """Insert a row, and tell so, unless it breaks a rule: then it was damaged too."""
    bound = [_bindable(value) for value in values]
    marks = ["CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in values]
    try:
        db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)})", bound)  # noqa: S608
    except driver.Error as error:
        if not driver.is_constraint_violation(error):
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
        except driver.Error:
            at = _first_key(db, table, key, start)
            if at is not None:
                # Damage ahead took this row with it, or it is damaged itself, and alone.
                yield from _single(db, f"{sql} = ?", at)
            start = _past_damage(db, table, key, start, at)
        else:
            return


def _single(db: Connection, sql: str, at: int) -> Iterator[Sequence[Any]]:
    with contextlib.suppress(*driver.Error):
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
    except driver.Error:
        return None
    if row[0] is None:
        return start
    # A key that is out of its order lies on a damaged page.
    return int(row[0]) if row[0] >= start else None
