"""The search index: which events have which three characters in a row.

It is a file of its own beside the database, which the appends do not know of, and can be removed at
any time: what is not in it is looked through. What it names is only a candidate: each is compared
with the event itself.

An FTS5 table for trigrams has 16,384 events, a shard. It stores no text and no positions, and no
deletion is possible in it: a shard with an event that is deleted is dropped, and its other events
are indexed again later.
"""

import bisect
import contextlib
import json
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from segue.model.search_text import SearchQuery, fold, searched_text
from segue.store.rules.trigrams import spread, trigrams
from segue.store.sqlite import disk, driver, row_values
from segue.store.sqlite.disk import FileId
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OPEN_FILE_LOCK, LockFile, lock_bytes
from segue.store.sqlite.schema import MAX_SEQ
from segue.store.sqlite.search import Part
from segue.store.sqlite.spans import Span

APPLICATION_ID = 0x53454758
"""`SEGX`, in the header of every index."""

VERSION = 1
"""Of the tables, and of how a text is folded and cut into trigrams: another one is made anew."""

_SHARD_BITS = 14
_SHARD_SIZE = 1 << _SHARD_BITS

_CHUNK_BITS = 10
"""Of a shard so many documents are asked for at once, while it is not known that hits are rare."""

_BATCH_EVENTS = 64
_MAX_DOCUMENT = (1 << 62) - 1

_BATCH_BYTES = 256 * 1024
"""So much is indexed in one transaction: a search waits for no more."""

_MAX_CANDIDATES = 2_000
"""With more, it is not worth to know all sessions that have them."""

_LOCKED_BYTE = (1 << 32) - 2
"""Of the file of the lock that shows that the database is open: held while the index is opened or
removed, so that no process opens one file and the log of another."""

_TABLES = (
    # Documents are the events in the order in which they were indexed, each shard has the next
    # 16,384: keys of events as row ids would make it half as large again.
    "CREATE TABLE shards (number INTEGER PRIMARY KEY, size INTEGER NOT NULL) STRICT",
    # Documents that follow each other are events of a strand that do so.
    """
    CREATE TABLE runs (
        document INTEGER PRIMARY KEY,
        strand INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        length INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX runs_by_strand ON runs (strand, seq)",
    # What a session was like when it was indexed: its number alone is given to another one after
    # it was deleted, and a copy of the database can have another past.
    """
    CREATE TABLE covered (
        strand INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        documents INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        head ANY,
        updated_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE TABLE origin (inode INTEGER NOT NULL) STRICT",
)

_CHANGED = """
SELECT s.number, s.id, s.fork_seq, s.event_count, s.updated_at,
    c.id AS known_id, c.seq AS known_seq, c.head AS known_head
FROM store.sessions AS s LEFT JOIN covered AS c ON c.strand = s.number
WHERE (
    c.strand IS NULL AND s.event_count > s.fork_seq
    OR c.documents <> s.event_count - s.fork_seq OR c.updated_at <> s.updated_at OR c.id <> s.id
)
"""
_GONE = "SELECT strand FROM covered WHERE strand NOT IN (SELECT number FROM store.sessions)"
_RUNS = """
SELECT document, seq, length FROM runs WHERE strand = ? AND seq <= ? AND seq + length > ?
ORDER BY seq
"""
_PLACES = """
SELECT strand, seq + value - document FROM json_each(?) CROSS JOIN runs
WHERE document = (SELECT document FROM runs WHERE document <= value ORDER BY document DESC LIMIT 1)
ORDER BY 1, 2
"""
"""Of documents: the strands and seqs of their events."""

_COVER = """
INSERT INTO covered (strand, id, documents, seq, head, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (strand) DO UPDATE SET
    documents = documents + ?3, seq = ?4, head = ?5, updated_at = ?6
"""
_EVENTS = """
SELECT key, id, type, data FROM store.events WHERE key >= ? AND key < ? ORDER BY key LIMIT +?
"""


class IndexUnavailableError(Exception):
    """The index cannot be used: what is at its path is not a file of ours, or SQLite is too old."""


def index_path(database: str) -> str:
    """Return the path of the index of a database."""
    return f"{database}{disk.INDEX}"


# -- text ----------------------------------------------------------------------------------------


def expression(query: SearchQuery) -> str | None:
    """Return the query for the shards, or None if it has no trigram: then any event may match."""
    found = ('"' + each.replace('"', '""') + '"' for each in trigrams(query))
    return " AND ".join(found) or None


# -- the file ------------------------------------------------------------------------------------


def open_index(database: str, *, creates: bool = True) -> Connection:
    """Open the index of *database*, which is attached as `store`, to be read only.

    Makes it, or makes it anew if it is damaged, of an earlier version or of another database;
    without *creates* it is opened as it is. Raises IndexUnavailableError, or what SQLite and the
    system raise.
    """
    path = index_path(database)
    with _alone(database):
        file = _checked(path)
        if file is None and not creates:
            raise FileNotFoundError(path)
        try:
            return _open(path, database, creates=creates)
        except _StaleError:
            pass
        except driver.Error as error:
            if not driver.is_corruption(error):
                raise
        if not creates:
            raise IndexUnavailableError(f"{path} cannot be read")
        disk.remove_index(database)
        return _open(path, database, creates=True)


def discard(database: str, file: FileId | None = None) -> None:
    """Remove the index, or only *file*; raise OSError if that is impossible."""
    path = index_path(database)
    with _alone(database):
        if file is None or disk.file_id(path) == file:
            disk.remove_index(database)


def may_be_ours(path: str) -> bool:
    """Return whether the file at *path*, which cannot be used, may be an index that Segue made."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as file:
            head = file.read(72)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    is_database = head.startswith(b"SQLite format 3\0")
    return not is_database or int.from_bytes(head[68:], "big") == APPLICATION_ID


class _StaleError(Exception):
    """The index is damaged, of an earlier version, or of another database."""


@contextlib.contextmanager
def _alone(database: str) -> Iterator[None]:
    """Keep other processes from opening and removing the index during the block."""
    if OPEN_FILE_LOCK is None:
        yield
        return
    file = LockFile(f"{database}-lock")
    deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
    try:
        while True:
            try:
                lock_bytes(file.open(), _LOCKED_BYTE, 1, shared=False)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise IndexUnavailableError("another process opens it") from None
                time.sleep(0.005)
        yield
    finally:
        file.close()


def _checked(path: str) -> FileId | None:
    """Return the identity of the file at *path*, None if there is none; make it private."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise IndexUnavailableError(f"{path} is not a file, or has another name too")
    if os.name == "posix":
        if status.st_uid != os.geteuid():
            raise IndexUnavailableError(f"{path} is another user's")
        if status.st_mode & 0o077:
            os.chmod(path, 0o600)
    return disk.id_of(status)


def _open(path: str, database: str, *, creates: bool) -> Connection:
    db = driver.connect_attached(path, database)
    try:
        # A power failure may cost the last commits, which are made again, but no more.
        db.execute("PRAGMA main.synchronous = NORMAL")
        db.execute("PRAGMA main.cache_size = -16000")  # a rare word reads pages of every shard
        _prepare(db, database, creates=creates)
        # Opens the log: one that is opened later could be another file's.
        db.execute("SELECT inode FROM origin").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: Connection, database: str, *, creates: bool) -> None:
    if db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is None:
        raise IndexUnavailableError("this SQLite has no FTS5")
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM main.sqlite_schema").fetchone()
    inode = os.stat(database).st_ino
    if application == APPLICATION_ID and version == VERSION:
        if creates and db.execute("SELECT inode FROM origin").fetchone()[0] != inode:
            raise _StaleError
    elif application == APPLICATION_ID and version < VERSION:
        raise _StaleError
    elif application or version or tables:
        raise IndexUnavailableError("it is another program's, or a later version's")
    else:
        db.execute("PRAGMA main.journal_mode = WAL").fetchone()
        with driver.transaction(db):
            for statement in _TABLES:
                db.execute(statement)
            db.execute("INSERT INTO origin (inode) VALUES (?)", (inode,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")


# -- searching -----------------------------------------------------------------------------------


@attrs.frozen
class Changes:
    """Which sessions have something that is not indexed, and whether what is indexed holds."""

    versions: tuple[int, int]
    """Of the index and of the store: they change when another connection writes."""
    are_known: Mapping[int, bool]
    has_deleted: bool
    """Whether sessions are indexed that were deleted since."""

    @property
    def is_complete(self) -> bool:
        """Whether `extend` would do nothing."""
        return not self.are_known and not self.has_deleted


def find_changes(db: Connection, before: Changes | None = None) -> Changes:
    """Return the changes in the snapshot that begins, or those *before* if nobody has written.

    What this connection writes itself is not noticed.
    """
    # The index is read before the store: so it never has what the snapshot of the store lacks.
    db.execute("SELECT inode FROM origin").fetchone()
    db.execute("SELECT 1 FROM store.sessions LIMIT 1").fetchone()
    (own,) = db.execute("PRAGMA main.data_version").fetchone()
    (store,) = db.execute("PRAGMA store.data_version").fetchone()
    if before is not None and before.versions == (own, store):
        return before
    rows = db.execute(_CHANGED).fetchall()
    has_deleted = db.execute(_GONE).fetchone() is not None
    are_known = {row["number"]: _is_known(db, row) for row in rows}
    return Changes((own, store), are_known, has_deleted)


class IndexSnapshot:
    """What the index knows of the candidates of one query in the snapshot of *changes*."""

    def __init__(self, db: Connection, query: SearchQuery, changes: Changes) -> None:
        self._db = db
        self._changed = changes.are_known
        self._expression = expression(query)
        self._chunks: dict[int, list[int]] = {}
        self._all: dict[int, list[int]] | None = None
        """The seqs of all candidates by their strands, once they are known."""

    def parts(self, span: Span) -> Sequence[Part]:
        """Return the candidates of the span, and what is not indexed."""
        after, last = span.after, span.last
        if self._expression is None or not self._changed.get(span.strand, True):
            return (range(after + 1, last + 1),)
        if self._all is not None and span.strand not in self._changed:
            return (_within(self._all.get(span.strand, []), after + 1, last),)
        parts: list[Part] = []
        for document, seq, length in self._db.execute(_RUNS, (span.strand, last, after + 1)):
            if seq > after + 1:
                parts.append(range(after + 1, seq))
            first, after = max(seq, after + 1), min(seq + length - 1, last)
            found = self._between(document + first - seq, document + after - seq)
            parts.append([each - document + seq for each in found])
        if after < last:
            parts.append(range(after + 1, last + 1))
        return parts

    def strands(self) -> set[int] | None:
        """Return the strands with a candidate, and those that are not indexed completely."""
        if self._expression is None or len(self._changed) > _MAX_CANDIDATES:
            return None
        found: list[int] = []
        for (shard,) in self._db.execute("SELECT number FROM shards ORDER BY number").fetchall():
            found += self._match(shard, 0, _MAX_DOCUMENT, _MAX_CANDIDATES + 1 - len(found))
            if len(found) > _MAX_CANDIDATES:
                return None
        self._all = {}
        for strand, seq in self._db.execute(_PLACES, (json.dumps(found),)):
            self._all.setdefault(strand, []).append(seq)
        return {*self._changed, *self._all}

    def _between(self, first: int, last: int) -> list[int]:
        """Return the documents that have the trigrams, of a part of a shard."""
        bits = min(_CHUNK_BITS, _SHARD_BITS)
        found: list[int] = []
        for chunk in range(first >> bits, (last >> bits) + 1):
            if chunk not in self._chunks:
                low = chunk << bits
                shard = low >> _SHARD_BITS
                self._chunks[chunk] = self._match(shard, low, low + (1 << bits) - 1, 1 << bits)
            found += self._chunks[chunk]
        return _within(found, first, last)

    def _match(self, shard: int, first: int, last: int, limit: int) -> list[int]:
        """Return the documents of a shard that have the trigrams, in ascending order."""
        sql = (
            f"SELECT rowid FROM shard_{shard} WHERE shard_{shard} MATCH ? AND rowid >= ? "  # noqa: S608  a number
            "AND rowid <= ? ORDER BY rowid LIMIT +?"
        )
        rows = self._db.execute(sql, (self._expression, first, last, limit)).fetchall()
        return [document for (document,) in rows]


def _within(ascending: list[int], first: int, last: int) -> list[int]:
    return ascending[bisect.bisect_left(ascending, first) : bisect.bisect_right(ascending, last)]


def _is_known(db: Connection, changed: Any) -> bool:
    """Return whether what is indexed of a session is still what it has."""
    if changed["known_id"] != changed["id"]:
        return False
    if changed["known_seq"] > changed["event_count"]:
        return False
    sql = "SELECT id FROM store.events WHERE key = ?"
    row = db.execute(sql, ((changed["number"] << 32) + changed["known_seq"],)).fetchone()
    return row is not None and row["id"] == changed["known_head"]


# -- indexing ------------------------------------------------------------------------------------


def extend(db: Connection, must_stop: Callable[[], bool]) -> bool:
    """Index what is not indexed, the newest sessions first; return False if it had to stop."""
    if db.execute(_GONE).fetchone() is not None:
        forget(db, ())
    order = "ORDER BY s.updated_at DESC, s.number DESC"
    numbers = [row["number"] for row in db.execute(f"{_CHANGED} {order}").fetchall()]
    for number in numbers:
        while _extend_session(db, number):
            if must_stop():
                return False
    return not must_stop()


def count(db: Connection) -> int:
    """Return how many events are indexed."""
    (events,) = db.execute("SELECT coalesce(sum(documents), 0) FROM covered").fetchone()
    return int(events)


def forget(db: Connection, numbers: Collection[int]) -> None:
    """Drop every shard that has an event of these sessions, so that no file has its trigrams.

    Also of those that were deleted and not forgotten then. Raises driver.Error, or OSError if the
    log cannot be emptied.
    """
    with driver.transaction(db):
        gone = [strand for (strand,) in db.execute(_GONE)]
        has_dropped = _forget(db, {*numbers, *gone})
    if has_dropped:
        _empty_log(db)


def _empty_log(db: Connection) -> None:
    # The pages that were overwritten are in it. Searches are short: it can be emptied soon.
    deadline = time.monotonic() + driver.BUSY_TIMEOUT_S
    db.execute("PRAGMA busy_timeout = 0")
    try:
        while db.execute("PRAGMA main.wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise OSError("another process reads the index for too long")
            time.sleep(0.005)
    finally:
        db.execute(f"PRAGMA busy_timeout = {driver.BUSY_TIMEOUT_S * 1_000:.0f}")


def _forget(db: Connection, numbers: Collection[int]) -> bool:
    shards: set[int] = set()
    for number in numbers:
        sql = f"SELECT DISTINCT document >> {_SHARD_BITS} FROM runs WHERE strand = ?"  # noqa: S608  a number
        shards.update(shard for (shard,) in db.execute(sql, (number,)))
        db.execute("DELETE FROM covered WHERE strand = ?", (number,))
    for shard in shards:
        documents = (shard << _SHARD_BITS, (shard + 1) << _SHARD_BITS)
        sql = "SELECT strand, length FROM runs WHERE document >= ? AND document < ?"
        for strand, length in db.execute(sql, documents).fetchall():
            sql = "UPDATE covered SET documents = documents - ? WHERE strand = ?"
            db.execute(sql, (length, strand))
        db.execute("DELETE FROM runs WHERE document >= ? AND document < ?", documents)
        db.execute("DELETE FROM shards WHERE number = ?", (shard,))
        db.execute(f"DROP TABLE shard_{shard}")
    return bool(shards)


def _extend_session(db: Connection, number: int) -> bool:
    """Index the next events of a session; return whether there may be more."""
    # With the lock of the index, and only then the store: what is deleted in the store before is
    # not read, and what is deleted later is forgotten later.
    with driver.transaction(db):
        changed = db.execute(f"{_CHANGED} AND s.number = ?", (number,)).fetchone()
        if changed is None:
            return False
        is_other = changed["known_id"] is not None and not _is_known(db, changed)
        has_more = _forget(db, [number]) if is_other else _index_some(db, changed)
    if is_other:
        _empty_log(db)
        return True
    return has_more


def _index_some(db: Connection, session: Any) -> bool:
    """Index up to a batch of a session's events; return whether there were any."""
    number = session["number"]
    gap = _first_gap(db, number, session["fork_seq"], session["event_count"])
    rows = [] if gap is None else _batch(db, (number << 32) + gap.start, (number << 32) + gap.stop)
    seq, head = session["known_seq"] or 0, session["known_head"]
    if rows:
        _insert(db, number, rows)
        if (last := rows[-1]["key"] & MAX_SEQ) > seq:
            seq, head = last, rows[-1]["id"]
    values = (number, session["id"], len(rows), seq, head, session["updated_at"])
    db.execute(_COVER, values)
    return bool(rows)


def _batch(db: Connection, first: int, end: int) -> list[Any]:
    """Return the next events of a session, as far as none is missing."""
    rows: list[Any] = []
    size = 0
    for row in map(row_values.validated, db.execute(_EVENTS, (first, end, _BATCH_EVENTS))):
        if row["key"] != first + len(rows) or (rows and size > _BATCH_BYTES):
            break
        rows.append(row)
        size += len(row["data"])
    return rows


def _first_gap(db: Connection, number: int, after: int, last: int) -> range | None:
    """Return the first seqs that are not indexed."""
    for _, seq, length in db.execute(_RUNS, (number, last, after + 1)):
        if seq > after + 1:
            return range(after + 1, seq)
        after = seq + length - 1
    return range(after + 1, last + 1) if after < last else None


def _insert(db: Connection, number: int, rows: Sequence[Any]) -> None:
    """Add consecutive events of a session to the last shard, or to a new one."""
    row = db.execute("SELECT number, size FROM shards ORDER BY number DESC LIMIT 1").fetchone()
    shard, size = (0, _SHARD_SIZE) if row is None else row
    if size + len(rows) > _SHARD_SIZE:
        if row is not None:
            db.execute(f"INSERT INTO shard_{shard} (shard_{shard}) VALUES ('optimize')")  # noqa: S608  a number
            shard += 1
        size = 0
        db.execute(
            f"CREATE VIRTUAL TABLE shard_{shard} USING fts5 (text, content = '', detail = none, "
            "columnsize = 0, tokenize = 'trigram case_sensitive 1')"
        )
        db.execute("INSERT INTO shards (number, size) VALUES (?, 0)", (shard,))
    document = (shard << _SHARD_BITS) + size
    texts = [
        (document + at, spread(fold(searched_text(each["type"], each["data"]))))
        for at, each in enumerate(rows)
    ]
    db.executemany(f"INSERT INTO shard_{shard} (rowid, text) VALUES (?, ?)", texts)  # noqa: S608  a number
    db.execute("UPDATE shards SET size = size + ? WHERE number = ?", (len(rows), shard))
    seq = rows[0]["key"] & MAX_SEQ
    sql = "SELECT document, strand, seq, length FROM runs ORDER BY document DESC LIMIT 1"
    before = db.execute(sql).fetchone()
    if before is not None and _continues(before, number, seq, document, size):
        sql = "UPDATE runs SET length = length + ? WHERE document = ?"
        db.execute(sql, (len(rows), before["document"]))
    else:
        sql = "INSERT INTO runs (document, strand, seq, length) VALUES (?, ?, ?, ?)"
        db.execute(sql, (document, number, seq, len(rows)))


def _continues(before: Any, number: int, seq: int, document: int, size: int) -> bool:
    return (
        size > 0
        and before["strand"] == number
        and before["seq"] + before["length"] == seq
        and before["document"] + before["length"] == document
    )
