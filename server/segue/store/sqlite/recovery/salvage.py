"""Copies every row of a damaged database that can be read into a new database.

The rows are read through SQLite first. If rows are missing then, or the format is damaged, a copy
of the file gets new interior pages (see `btree`) and is read again. The new database has the schema
version of the damaged one until all rows are in it, and is migrated then.
"""

import collections
import contextlib
import mmap
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from segue.model.events import new_id
from segue.store.sqlite import disk, driver, header, schema
from segue.store.sqlite.check import count_rows
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.recovery import btree, policy
from segue.store.sqlite.recovery.renumbering import ForkPoint, Renumbering, find_fork_points

_MAX_KEY = (1 << 63) - 1
_MAX_SESSION = 1 << 30
"""The highest number of a salvaged session: a new one gets the next number, and needs keys too."""

# Of every Segue database: page size, reserved bytes and payload fractions, auto-vacuum, encoding.
_FORMAT = (header.PAGE.to_bytes(2, "big"), bytes([0, 64, 32, 32]), bytes([0, 0, 0, 0, 0, 0, 0, 1]))

LeafPages = Mapping[str, Sequence[btree.LeafPage]]


@attrs.frozen
class Salvaged:
    """A new database with the rows that could be read: its path, and how many there are."""

    path: str
    rows: int
    """Of all tables."""
    sessions: int
    events: int


def salvage(path: str, folder: str) -> Salvaged:
    """Copy every readable row of the database at *path* into a new database in *folder*.

    No process may write to *path* meanwhile. Raises SQLite's error or an OSError, for example if
    there is no space.
    """
    version = _version(path)
    with _content(path) as content:
        leaves = btree.find_leaf_pages(content, _shapes())
        has_format = _format(content) == _FORMAT
    # SQLite deletes the log of an empty file: its pages are read from a copy only.
    is_empty = os.path.getsize(path) == 0
    direct = None if is_empty else _copy_directly(path, f"{folder}/direct", version, leaves)
    if direct and has_format and not _has_log(path) and _count(leaves) <= direct.rows:
        return direct
    copy = f"{folder}/copy"
    _copy_file(path, copy)
    with contextlib.suppress(FileNotFoundError):
        _copy_file(f"{path}-wal", f"{copy}-wal")
    rebuilt_leaves = _rebuild(copy, f"{folder}/plain", version)
    rebuilt = _copy_rows(copy, f"{folder}/rebuilt", version, rebuilt_leaves)
    return rebuilt if direct is None or direct.rows < rebuilt.rows else direct


def _version(path: str) -> int:
    """Return the schema version of a damaged database: by its tables, or else by its header.

    Without both it counts as the newest, so that no migration changes data a second time.
    """
    newest = len(schema.MIGRATIONS)
    if os.path.getsize(path) == 0:
        return newest
    with (
        contextlib.suppress(*driver.Error),
        contextlib.closing(driver.connect_to_read(path)) as db,
    ):
        db.execute("PRAGMA writable_schema = ON")
        return schema.version_by_tables(db) or min(schema.version_of(db), newest) or newest
    content = header.read_header(path) or b""
    version = int.from_bytes(content[60:64], "big")
    return version if header.has_our_id(content) and 0 < version <= newest else newest


def _shapes() -> dict[str, set[btree.RowShape]]:
    """Return the shapes that rows of each table had at any version."""
    versions = range(1, len(schema.MIGRATIONS) + 1)
    return {
        table: {
            btree.RowShape(
                len(columns),
                begins_with_key=columns[0].is_rowid,
                begins_with_text=columns[0].kind == "text",
            )
            for version in versions
            if (columns := schema.columns(table, version))
        }
        for table in schema.tables(versions[-1])
    }


def _count(leaves: LeafPages) -> int:
    return sum(len(leaf.keys) for each in leaves.values() for leaf in each)


def _has_log(path: str) -> bool:
    """Return whether there is a log: its pages replace some of the file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(f"{path}-wal") > 0
    return False


@contextlib.contextmanager
def _content(path: str) -> Iterator[btree.Content]:
    with open(path, "rb") as file:
        if not os.path.getsize(path):
            yield b""  # an empty file cannot be mapped
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _format(content: btree.Content) -> tuple[bytes, ...]:
    return content[16:18], content[20:24], content[52:60]


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "xb", opener=_open_private) as new:
        shutil.copyfileobj(old, new)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# -- a copy with new interior pages --------------------------------------------------------------


def _rebuild(copy: str, plain: str, version: int) -> LeafPages:
    """Give *copy* interior pages that lead to every leaf page; return the leaf pages."""
    _write_first_page(copy, _first_page(f"{plain}-1", version, {}))
    _empty_log(copy)
    with _content(copy) as content:
        leaves = btree.find_leaf_pages(content, _shapes())
        numbers = btree.numbers_from(len(content) // header.PAGE + 1)
    roots = {}
    with open(copy, "r+b") as file:
        for table in schema.tables(version):
            roots[table], pages = btree.build_btree(leaves[table], numbers)
            for number, page in pages.items():
                file.seek((number - 1) * header.PAGE)
                file.write(page)
    _write_first_page(copy, _first_page(f"{plain}-2", version, roots))
    return leaves


def _empty_log(copy: str) -> None:
    with contextlib.suppress(*driver.Error), contextlib.closing(driver.connect(copy)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # only this opens the log
        driver.checkpoint_truncate(db)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{copy}-wal")


def _write_first_page(copy: str, page: bytes) -> None:
    with open(copy, "r+b") as file:
        free_list = file.read(40)[32:].ljust(8, b"\0")
        file.seek(0)
        # Four zeros for the number of pages: SQLite then measures the file.
        file.write(page[:28] + bytes(4) + free_list + page[40:])


def _first_page(plain: str, version: int, roots: Mapping[str, int]) -> bytes:
    """Return the first page of a database whose tables have these *roots*, and no constraints."""
    with contextlib.closing(driver.connect(plain)) as db:
        db.execute(f"PRAGMA page_size = {header.PAGE}")
        for table in schema.tables(version):
            columns = ", ".join(map(_definition, schema.columns(table, version)))
            db.execute(f"CREATE TABLE {table} ({columns})")
        db.execute("PRAGMA writable_schema = ON")
        for table, root in roots.items():
            db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (root, table))
    with open(plain, "rb") as file:
        return file.read(header.PAGE)


def _definition(column: schema.Column) -> str:
    if column.is_rowid:
        return f"{column.name} INTEGER PRIMARY KEY"
    if column.since == 1 or column.stand_in is None:
        return column.name
    # Rows that were stored before the column was added do not have it.
    value = column.stand_in
    literal = value if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
    return f"{column.name} DEFAULT {literal}"


# -- rows ----------------------------------------------------------------------------------------


def _copy_directly(path: str, target: str, version: int, leaves: LeafPages) -> Salvaged | None:
    """Copy rows by means of the file's own schema; return None if that is damaged."""
    try:
        return _copy_rows(path, target, version, leaves)
    except driver.Error as error:
        if driver.is_schema_mismatch(error) and policy.is_schema_damaged(path):
            return None
        raise


def _copy_rows(source: str, target: str, version: int, leaves: LeafPages) -> Salvaged:
    disk.create_private(target)
    is_cut = header.is_cut_within_page(source)
    old, new = driver.connect_to_read(source), driver.connect(target)
    with contextlib.closing(old), contextlib.closing(new):
        # Otherwise one damaged definition, or a file with fewer pages than in its header, makes
        # SQLite refuse every statement.
        old.execute("PRAGMA writable_schema = ON")
        schema.migrate(new, version)
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("BEGIN IMMEDIATE")
        readers = {
            table: _TableReader(old, table, schema.columns(table, version), leaves[table], is_cut)
            for table in schema.tables(version)
        }
        event_reader, span_reader = readers.pop("events"), readers.pop("spans", None)
        rows = sum(_copy_table(reader, new) for reader in readers.values())
        spans = [] if span_reader is None else list(span_reader.rows())
        fork_points = {} if span_reader is None else find_fork_points(new, spans)
        rows += len(spans) + _copy_events(event_reader, new, fork_points)
        _restore_references(new, has_forks=span_reader is not None)
        if version >= schema.PROMPTS_AND_MACHINES:
            new.execute(schema.SET_LAST_PROMPTS)
        new.execute("COMMIT")
        new.execute("PRAGMA foreign_keys = ON")
        schema.migrate(new)
        sessions, events = count_rows(new)
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Salvaged(target, rows, sessions, events)


def _copy_table(reader: "_TableReader", new: Connection) -> int:
    """Copy the rows of a table; return how many."""
    return sum(_insert_salvaged(new, reader.table, reader.columns, row) for row in reader.rows())


def _copy_events(
    reader: "_TableReader", new: Connection, fork_points: Mapping[int, ForkPoint]
) -> int:
    """Copy the events, return how many; a session that has lost some gets seqs without gaps."""
    # For every session, because a damaged key brings an event between those of another session.
    seqs = Renumbering(fork_points)
    copied = 0
    (trigger,) = new.execute(_TRIGGER).fetchone()
    new.execute("DROP TRIGGER events_are_gapless")  # the own events of forks are moved at the end
    for key, *values in reader.rows():
        session = key >> 32
        if not 0 < session <= _MAX_SESSION:
            continue
        row = (seqs.next_key(session), *values)
        if _insert_salvaged(new, reader.table, reader.columns, row):
            seqs.count(session, key & schema.MAX_SEQ)
            copied += 1
    seqs.finish(new)
    new.execute(trigger)
    return copied


_TRIGGER = "SELECT sql FROM sqlite_master WHERE name = 'events_are_gapless'"


def _restore_references(new: Connection, *, has_forks: bool) -> None:
    """Add the sessions and invocations that events refer to, and delete what has no events."""
    new.execute("DELETE FROM sessions WHERE number NOT BETWEEN 1 AND ?", (_MAX_SESSION,))
    missing = (
        "SELECT DISTINCT session FROM events WHERE session NOT IN (SELECT number FROM sessions)"
    )
    for (number,) in new.execute(missing).fetchall():
        values = (number, new_id(), "(lost)", 1, 0, 0)
        names = ("number", "id", "directory", "model_visible", "created_at", "updated_at")
        _insert(new, "sessions", names, values)
    missing = (
        "SELECT DISTINCT invocation, session FROM events "
        "WHERE invocation NOT IN (SELECT number FROM invocations)"
    )
    for number, session in new.execute(missing).fetchall():
        _insert(new, "invocations", ("number", "id", "session"), (number, new_id(), session))
    if has_forks:
        new.execute(_FORK_SEQS)
        new.execute("DELETE FROM spans WHERE session NOT IN (SELECT number FROM sessions)")
        new.execute(_SHOW_UNUSED_STUBS)
    shared = "fork_seq + " if has_forks else ""
    new.execute(
        f"UPDATE sessions SET event_count = {shared}"  # noqa: S608  two constants
        "(SELECT count(*) FROM events WHERE events.session = sessions.number)"
    )
    new.execute("DELETE FROM sessions WHERE event_count = 0")
    for table in ("metadata", "invocations"):
        new.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT number FROM sessions)")  # noqa: S608  two constants


# Also of a session that was added, and of one that has lost its spans.
_FORK_SEQS = """
UPDATE sessions SET fork_seq = coalesce(
    (SELECT max(key & 4294967295) FROM spans WHERE spans.session = sessions.number), 0
)
"""

# Their events were those of forks, of which nothing else is left.
_SHOW_UNUSED_STUBS = """
UPDATE sessions SET is_stub = 0, directory = '(lost)', model_visible = 1
WHERE is_stub = 1 AND number NOT IN (
    SELECT strand FROM spans JOIN sessions AS forks ON forks.number = spans.session
    WHERE forks.is_stub = 0
)
"""


def _insert_salvaged(
    db: Connection, table: str, columns: Sequence[schema.Column], values: Sequence[Any]
) -> bool:
    """Insert a row, with stand-ins for invalid values if need be; return whether that worked."""
    names = [column.name for column in columns]
    if _insert(db, table, names, values):
        return True
    valid = [column.salvaged(value) for column, value in zip(columns, values, strict=True)]
    return valid != list(values) and _insert(db, table, names, valid)


def _insert(db: Connection, table: str, names: Sequence[str], values: Sequence[Any]) -> bool:
    """Insert a row and return True, or False if it violates a constraint: damage can do that."""
    bound = [_bindable(value) for value in values]
    marks = ["CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in values]
    try:
        db.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(marks)})", bound)  # noqa: S608  names of the schema
    except driver.Error as error:
        if not driver.is_constraint_violation(error):
            raise
        return False
    return True


def _bindable(value: Any) -> Any:
    # Text that is not UTF-8 was decoded to surrogates, which can be bound as bytes only.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


class _TableReader:
    """Reads the rows of a damaged table, and continues behind each damaged page.

    Only errors that damage causes are skipped; all others are raised.
    """

    def __init__(
        self,
        db: Connection,
        table: str,
        columns: Sequence[schema.Column],
        leaves: Sequence[btree.LeafPage],
        is_cut: bool,
    ) -> None:
        self.table = table
        self.columns = columns
        self._db = db
        self._key = columns[0].name if columns[0].is_rowid else "rowid"
        self._names = [column.name for column in columns]
        self._is_cut = is_cut
        self._last = self._last_key(leaves)

    def rows(self) -> Iterator[Sequence[Any]]:
        """Yield the readable rows: in the order of their keys, except for damaged keys.

        A few rows are yielded twice. None is, if the table's definition lacks a column: the rows
        can be read only in a copy that has new definitions.
        """
        if not self._is_defined():
            return
        select = f"SELECT {self._key}, {', '.join(self._names)} FROM {self.table}"  # noqa: S608  names of the schema
        start: int | None = 0
        while start is not None and start <= self._last:
            recent = collections.deque([start - 1] * 5, maxlen=5)
            try:
                sql = f"{select} WHERE {self._key} >= ? ORDER BY {self._key}"
                for row in self._db.execute(sql, (start,)):
                    yield tuple(row)[1:]
                    recent.append(row[0])
                    # A damaged key is out of order, the median of five is not.
                    start = max(start, min(sorted(recent)[2] + 1, _MAX_KEY))
            except driver.Error as error:
                self._raise_unless_damage(error)
                key = self._first_key(start)
                if key is not None:
                    # SQLite reads ahead: the error may come from the page behind this row.
                    yield from self._single(f"{select} WHERE {self._key} = ?", key)
                start = self._past_damage(start, key)
            else:
                return

    def _is_defined(self) -> bool:
        try:
            described = self._db.execute(f"PRAGMA table_xinfo({self.table})").fetchall()
        except driver.Error as error:
            self._raise_unless_damage(error)
            return False
        return {row["name"] for row in described} >= set(self._names)

    def _single(self, sql: str, key: int) -> Iterator[Sequence[Any]]:
        try:
            # A row whose key is damaged is found by reading in order, not by searching for its key.
            if (row := self._db.execute(sql, (key,)).fetchone()) is not None:
                yield tuple(row)[1:]
        except driver.Error as error:
            self._raise_unless_damage(error)

    def _past_damage(self, start: int, key: int | None) -> int | None:
        """Return the lowest key above *start* that leads to a row other than the one with *key*.

        Searches from three keys, since a long step can miss all rows between two damaged pages:
        from *start*, from *key* (unless that is damaged), and from the next session.
        """
        origins = {start, start if key is None else key, min(start | 0xFFFF_FFFF, _MAX_KEY)}
        found = [self._past(origin, key) for origin in origins]
        return min((each for each in found if each is not None), default=None)

    def _past(self, origin: int, key: int | None) -> int | None:
        """Return a key above *origin* that leads to a row other than the one with *key*, or None.

        Every key of a damaged page leads to it, and the first key behind it does not. So the end of
        the page is found by doubling the distance, and then by bisection, up to the last key.
        """
        damaged = (None, key)
        bad, good = origin, origin + 1
        while bad < self._last:
            good = min(good, self._last)
            if self._first_key(good) not in damaged:
                break
            bad, good = good, good + 2 * (good - bad)
        else:
            return None
        while good - bad > 1:
            middle = (bad + good) // 2
            if self._first_key(middle) in damaged:
                bad = middle
            else:
                good = middle
        return good

    def _first_key(self, start: int) -> int | None:
        """Return the first key from *start* on, *start* itself if there is none, None in damage."""
        sql = f"SELECT min({self._key}) FROM {self.table} WHERE {self._key} >= ?"  # noqa: S608  names of the schema
        try:
            (key,) = self._db.execute(sql, (start,)).fetchone()
        except driver.Error as error:
            self._raise_unless_damage(error)
            return None
        if key is None:
            return start
        # A key that is out of order is on a damaged page.
        return int(key) if key >= start else None

    def _last_key(self, leaves: Sequence[btree.LeafPage]) -> int:
        """Return the key at which every search ends: no readable row has a higher one."""
        if not self._is_defined():
            return 0
        try:
            (last,) = self._db.execute(f"SELECT max({self._key}) FROM {self.table}").fetchone()  # noqa: S608  names of the schema
        except driver.Error as error:
            self._raise_unless_damage(error)
            return _MAX_KEY
        # A damaged key on the last page can be lower than those before it.
        return max(last or 0, *(key for leaf in leaves for key in leaf.keys), 0)

    def _raise_unless_damage(self, error: Exception) -> None:
        if not (driver.is_corruption(error) or (self._is_cut and driver.is_io_error(error))):
            raise error
