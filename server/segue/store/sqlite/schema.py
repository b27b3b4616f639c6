"""The schema of the database: its migrations, and the table of its columns.

To add a column, append a migration to MIGRATIONS and a line to COLUMNS. If clients shall see a
column of a session, the migration replaces the view `session_records`, and `Session` in
`model.records` gets a field of the same name (`NewSession` too, if it is given with a new session):
a session's row is inserted and converted by the names of its columns. A column of an event is also
in the statements of `append` and `queries`, which name their columns for speed.
"""

import contextlib
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, Literal

import attrs

from segue.model.errors import StorageUnavailable
from segue.model.records import MAX_TIMESTAMP
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection

APPLICATION_ID = 0x53454755
"""`SEGU`, in the header of every Segue database."""

M001_INITIAL = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        directory TEXT NOT NULL,
        git_root TEXT,
        git_common_dir TEXT,
        title TEXT,
        server_session_id TEXT,
        forked_from TEXT,
        event_count INTEGER NOT NULL DEFAULT 0,
        model_visible INTEGER NOT NULL DEFAULT 0 CHECK (model_visible IN (0, 1)),
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        archived_at INTEGER
    ) STRICT
    """,
    # Resuming searches one of these two, however many sessions a directory has.
    """
    CREATE INDEX resumable_by_directory ON sessions (directory, updated_at)
    WHERE archived_at IS NULL AND model_visible = 1
    """,
    """
    CREATE INDEX resumable_by_git_root ON sessions (git_root, updated_at)
    WHERE archived_at IS NULL AND model_visible = 1
    """,
    "CREATE INDEX sessions_by_update ON sessions (updated_at)",
    # Without the time, which every append would have to update here too: a list is sorted instead.
    "CREATE INDEX sessions_by_directory ON sessions (directory)",
    "CREATE INDEX sessions_by_git_common_dir ON sessions (git_common_dir)",
    """
    CREATE TABLE invocations (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        UNIQUE (session, id)
    ) STRICT
    """,
    # `key` is the session's number in the high half and the seq in the low one: a session's events
    # lie together, so its tail is one short read. A rowid table, because WITHOUT ROWID moves every
    # row of over a kilobyte to pages of its own. `id` holds a UUID as its 16 bytes. `invocation` is
    # no foreign key: without an index on it, to delete one invocation would read every event.
    """
    CREATE TABLE events (
        key INTEGER PRIMARY KEY,
        session INTEGER NOT NULL GENERATED ALWAYS AS (key >> 32) VIRTUAL
            REFERENCES sessions (number) ON DELETE CASCADE,
        seq INTEGER NOT NULL GENERATED ALWAYS AS (key & 4294967295) VIRTUAL,
        id ANY NOT NULL,
        invocation INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        type TEXT NOT NULL,
        data TEXT NOT NULL,
        UNIQUE (session, id)
    ) STRICT
    """,
    """
    CREATE TRIGGER events_are_gapless BEFORE INSERT ON events
    WHEN (NEW.key & 4294967295) <> 1
        AND NOT EXISTS (SELECT 1 FROM events WHERE key = NEW.key - 1)
    BEGIN
        SELECT RAISE(ABORT, 'an event must follow the one before it');
    END
    """,
    """
    CREATE TABLE metadata (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (session, key)
    ) STRICT
    """,
    """
    CREATE VIEW session_records AS
    SELECT
        number, id, directory, git_root, git_common_dir, title, server_session_id, forked_from,
        (
            SELECT events.id FROM events
            WHERE events.key = (sessions.number << 32) + sessions.event_count
        ) AS head,
        event_count, model_visible, created_at, updated_at, archived_at
    FROM sessions
    """,
)

M002_COMPATIBILITY = (
    # The first versions that may read, and write, what this one stores. A migration that an
    # earlier version would misread, or would break by writing, raises them.
    """
    CREATE TABLE compatibility (
        reader INTEGER NOT NULL,
        writer INTEGER NOT NULL
    ) STRICT
    """,
    "INSERT INTO compatibility (reader, writer) VALUES (1, 1)",
)

M003_FORKS = (
    # `title` stays the automatic one. A fork has its first `fork_seq` events in other sessions. A
    # stub is what is left of a deleted session whose events forks have.
    "ALTER TABLE sessions ADD COLUMN given_title TEXT",
    "ALTER TABLE sessions ADD COLUMN fork_seq INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE sessions ADD COLUMN is_stub INTEGER NOT NULL DEFAULT 0 CHECK (is_stub IN (0, 1))",
    "ALTER TABLE sessions ADD COLUMN repository TEXT",
    "ALTER TABLE sessions ADD COLUMN source TEXT",
    "ALTER TABLE sessions ADD COLUMN client TEXT",
    "ALTER TABLE sessions ADD COLUMN agent TEXT",
    "ALTER TABLE sessions ADD COLUMN model TEXT",
    "CREATE INDEX sessions_by_origin ON sessions (forked_from) WHERE forked_from IS NOT NULL",
    "ALTER TABLE invocations ADD COLUMN client_name TEXT",
    "ALTER TABLE invocations ADD COLUMN client_version TEXT",
    # The events of a fork up to the seq in the low half of `key`, and above that of the span before
    # it, are those of the session `strand` with the same seqs. Flat: a strand never has to be
    # looked up in its own spans. A rowid table, because its leaf pages can be found in a damaged
    # file.
    """
    CREATE TABLE spans (
        key INTEGER PRIMARY KEY,
        session INTEGER NOT NULL GENERATED ALWAYS AS (key >> 32) VIRTUAL
            REFERENCES sessions (number) ON DELETE CASCADE,
        strand INTEGER NOT NULL REFERENCES sessions (number)
    ) STRICT
    """,
    "CREATE INDEX spans_by_strand ON spans (strand)",
    "CREATE INDEX spans_by_session ON spans (session)",  # for the cascade
    # The ids of imported sessions that were deleted, so that no import brings them back.
    "CREATE TABLE tombstones (id TEXT NOT NULL PRIMARY KEY) STRICT",
    "DROP TRIGGER events_are_gapless",
    """
    CREATE TRIGGER events_are_gapless BEFORE INSERT ON events
    WHEN (NEW.key & 4294967295) <> 1
        AND NOT EXISTS (SELECT 1 FROM events WHERE key = NEW.key - 1)
        AND NOT EXISTS (
            SELECT 1 FROM sessions
            WHERE number = NEW.key >> 32 AND fork_seq > 0 AND fork_seq = (NEW.key & 4294967295) - 1
        )
    BEGIN
        SELECT RAISE(ABORT, 'an event must follow the one before it');
    END
    """,
    "DROP VIEW session_records",
    """
    CREATE VIEW session_records AS
    SELECT
        number, id, directory, git_root, git_common_dir, repository,
        coalesce(given_title, title) AS title, title AS automatic_title, given_title,
        server_session_id, forked_from, fork_seq, source, client, agent, model,
        (
            SELECT events.id FROM events
            WHERE events.key = (
                CASE
                    WHEN sessions.event_count > sessions.fork_seq THEN sessions.number
                    ELSE (
                        SELECT strand FROM spans
                        WHERE spans.key >= (sessions.number << 32) + sessions.event_count
                        ORDER BY spans.key LIMIT 1
                    )
                END << 32
            ) + sessions.event_count
        ) AS head,
        event_count, model_visible, created_at, updated_at, archived_at
    FROM sessions
    WHERE is_stub = 0
    """,
    "UPDATE compatibility SET reader = 3, writer = 3",
)

PROMPTS_AND_MACHINES = 4
"""The number of the migration that adds `last_prompt_at`, `branch`, and the other machines."""

SET_LAST_PROMPTS = """
UPDATE sessions SET last_prompt_at = (
    SELECT created_at FROM events
    WHERE events.key > sessions.number << 32 AND events.key < (sessions.number + 1) << 32
        AND events.type = 'user_message'
    ORDER BY events.key DESC LIMIT 1
)
"""

M004_REPLICAS = (
    # When a field that no event changes was given its value, by the names of the fields: JSON. Of
    # two copies of a session the later revision of a field wins.
    "ALTER TABLE sessions ADD COLUMN revisions TEXT",
    # Which seq a fork has in common with its original, where that is not `fork_seq`: a copy of a
    # fork may have all its events itself, and what is no fork may have its first events elsewhere.
    "ALTER TABLE sessions ADD COLUMN forked_at INTEGER",
    # Odd while a session is deleted: it rises when a session is deleted, and when it is imported
    # again after that. `events` has digests of the ids that the deleted session had.
    "ALTER TABLE tombstones ADD COLUMN generation INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE tombstones ADD COLUMN events TEXT",
    # Whether its program still has what was deleted, so that no import brings it back by itself.
    "ALTER TABLE tombstones ADD COLUMN is_imported INTEGER NOT NULL DEFAULT 1",
)

M004_PROMPTS_AND_MACHINES = (
    # The time of the last prompt that the session itself has, which a fork has not at first. A
    # trigger could not keep it for less than an append, which updates the row anyway, so a version
    # that does not know it may not write.
    "ALTER TABLE sessions ADD COLUMN last_prompt_at INTEGER",
    "ALTER TABLE sessions ADD COLUMN branch TEXT",
    SET_LAST_PROMPTS,
    "CREATE INDEX sessions_by_prompt ON sessions (coalesce(last_prompt_at, created_at))",
    # A session that was had on another machine has no place here: its `directory` is empty, so that
    # no path of this machine finds it, nor an earlier version. `worktree` is the name of a linked
    # worktree.
    "ALTER TABLE sessions ADD COLUMN machine_id TEXT",
    "ALTER TABLE sessions ADD COLUMN machine TEXT",
    "ALTER TABLE sessions ADD COLUMN remote_directory TEXT",
    "ALTER TABLE sessions ADD COLUMN remote_git_root TEXT",
    "ALTER TABLE sessions ADD COLUMN worktree TEXT",
    # Without those of this machine: their appends do not update it.
    """
    CREATE INDEX resumable_by_repository ON sessions (repository, worktree, updated_at)
    WHERE archived_at IS NULL AND model_visible = 1 AND machine_id IS NOT NULL
    """,
    """
    CREATE INDEX sessions_by_repository ON sessions (repository, machine_id, worktree, git_root)
    WHERE repository IS NOT NULL
    """,
    "DROP VIEW session_records",
    """
    CREATE VIEW session_records AS
    SELECT
        number, id, coalesce(remote_directory, directory) AS directory,
        coalesce(remote_git_root, git_root) AS git_root, git_common_dir, repository, machine,
        coalesce(given_title, title) AS title, title AS automatic_title, given_title,
        server_session_id, forked_from, fork_seq, source, client, agent, model, branch,
        (
            SELECT events.id FROM events
            WHERE events.key = (
                CASE
                    WHEN sessions.event_count > sessions.fork_seq THEN sessions.number
                    ELSE (
                        SELECT strand FROM spans
                        WHERE spans.key >= (sessions.number << 32) + sessions.event_count
                        ORDER BY spans.key LIMIT 1
                    )
                END << 32
            ) + sessions.event_count
        ) AS head,
        event_count, model_visible, created_at, updated_at, archived_at, last_prompt_at,
        coalesce(forked_at, fork_seq) AS forked_at, revisions
    FROM sessions
    WHERE is_stub = 0
    """,
    "UPDATE compatibility SET writer = 4",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    M001_INITIAL,
    M002_COMPATIBILITY,
    M003_FORKS,
    (*M004_REPLICAS, *M004_PROMPTS_AND_MACHINES),
)
"""Append only. A database's `user_version` is how many of them it has had."""


MAX_SEQ = 0xFFFF_FFFF
"""The highest seq that an event can have: it is the low half of `events.key`."""

_MAX_SESSION = 0x7FFF_FFFF
_MAX_INTEGER = (1 << 63) - 1

_CHECK_LIMIT_S = 0.2
"""How long the check of a strange database may compute."""

Row = Mapping[str, Any]

_LOST = "(lost)"
_TYPES: dict[str, frozenset[type]] = {
    "integer": frozenset({int}),
    "text": frozenset({str}),
    "id": frozenset({str, bytes}),
}


@attrs.frozen
class Column:
    """Which values a column can hold, and what replaces one that damage changed or removed.

    An `id` is text, or a UUID as its 16 bytes. Integers go from 0 to `maximum`. Where a value is
    lost, a salvaged row gets the `stand_in`, or NULL if the column is optional; without either the
    whole row is lost. A column that a later migration adds has its DEFAULT as its `stand_in`: rows
    that were stored before lack the value.
    """

    name: str
    kind: Literal["integer", "text", "id"]
    optional: bool = False
    maximum: int = _MAX_INTEGER
    stand_in: int | str | None = None
    is_rowid: bool = False
    """Whether it is the table's INTEGER PRIMARY KEY, which SQLite stores as the row's key."""
    since: int = 1
    """The number of the migration that adds it."""
    types: frozenset[type] = attrs.field(init=False, eq=False)
    """The Python types of the values that it can hold."""

    @types.default
    def _types(self) -> frozenset[type]:
        return _TYPES[self.kind] | ({NoneType} if self.optional else set())

    def accepts(self, value: object) -> bool:
        """Return whether the column can hold *value*."""
        in_range = not isinstance(value, int) or 0 <= value <= self.maximum
        return in_range and type(value) in self.types

    def salvaged(self, value: object) -> object:
        """Return *value*, or the stand-in if the column cannot hold it and has one."""
        if self.accepts(value) or (self.stand_in is None and not self.optional):
            return value
        return self.stand_in


COLUMNS: dict[str, tuple[Column, ...]] = {
    "sessions": (
        Column("number", "integer", maximum=_MAX_SESSION, is_rowid=True),
        Column("id", "text"),
        Column("directory", "text", stand_in=_LOST),
        Column("git_root", "text", optional=True),
        Column("git_common_dir", "text", optional=True),
        Column("title", "text", optional=True),
        Column("server_session_id", "text", optional=True),
        Column("forked_from", "text", optional=True),
        Column("event_count", "integer", maximum=MAX_SEQ, stand_in=0),
        Column("model_visible", "integer", maximum=1, stand_in=1),
        Column("created_at", "integer", maximum=MAX_TIMESTAMP, stand_in=0),
        Column("updated_at", "integer", maximum=MAX_TIMESTAMP, stand_in=0),
        Column("archived_at", "integer", optional=True, maximum=MAX_TIMESTAMP),
        Column("given_title", "text", optional=True, since=3),
        Column("fork_seq", "integer", maximum=MAX_SEQ, stand_in=0, since=3),
        Column("is_stub", "integer", maximum=1, stand_in=0, since=3),
        Column("repository", "text", optional=True, since=3),
        Column("source", "text", optional=True, since=3),
        Column("client", "text", optional=True, since=3),
        Column("agent", "text", optional=True, since=3),
        Column("model", "text", optional=True, since=3),
        Column("revisions", "text", optional=True, since=4),
        Column("forked_at", "integer", optional=True, maximum=MAX_SEQ, since=4),
        Column(
            "last_prompt_at",
            "integer",
            optional=True,
            maximum=MAX_TIMESTAMP,
            since=PROMPTS_AND_MACHINES,
        ),
        Column("branch", "text", optional=True, since=PROMPTS_AND_MACHINES),
        Column("machine_id", "text", optional=True, since=PROMPTS_AND_MACHINES),
        Column("machine", "text", optional=True, since=PROMPTS_AND_MACHINES),
        Column("remote_directory", "text", optional=True, since=PROMPTS_AND_MACHINES),
        Column("remote_git_root", "text", optional=True, since=PROMPTS_AND_MACHINES),
        Column("worktree", "text", optional=True, since=PROMPTS_AND_MACHINES),
    ),
    "spans": (
        Column("key", "integer", is_rowid=True, since=3),
        Column("strand", "integer", maximum=_MAX_SESSION, since=3),
    ),
    "invocations": (
        Column("number", "integer", is_rowid=True),
        Column("id", "text"),
        Column("session", "integer", maximum=_MAX_SESSION),
        Column("client_name", "text", optional=True, since=3),
        Column("client_version", "text", optional=True, since=3),
    ),
    "events": (
        Column("key", "integer", is_rowid=True),
        Column("id", "id"),
        Column("invocation", "integer", stand_in=0),
        Column("created_at", "integer", maximum=MAX_TIMESTAMP, stand_in=0),
        Column("type", "text", stand_in=_LOST),
        Column("data", "text", stand_in=_LOST),
    ),
    "metadata": (
        Column("session", "integer", maximum=_MAX_SESSION),
        Column("key", "text"),
        Column("value", "text"),
    ),
    "tombstones": (
        Column("id", "text", since=3),
        Column("generation", "integer", stand_in=1, since=4),
        Column("events", "text", optional=True, since=4),
        Column("is_imported", "integer", maximum=1, stand_in=1, since=4),
    ),
}
"""The columns of every table that holds users' data, in the order in which a row stores them."""

COMPUTED = (
    Column("head", "id", optional=True),
    Column("seq", "integer", maximum=MAX_SEQ),
    Column("automatic_title", "text", optional=True),
)
"""The columns of generated values and views, which no row stores."""


def columns(table: str, version: int) -> tuple[Column, ...]:
    """Return the columns of *table* after *version* migrations, in the order of their storage."""
    return tuple(column for column in COLUMNS[table] if column.since <= version)


def tables(version: int) -> list[str]:
    """Return the tables of users' data that there are after *version* migrations."""
    return [table for table in COLUMNS if columns(table, version)]


def check_owner(db: Connection, path: str) -> None:
    """Raise StorageUnavailable unless the database is empty or Segue's, and may be read.

    Segue's is one that is defined exactly as its migrations made it; one of a later version, which
    are not known here, if it says so. Changes nothing. A header that contradicts the tables, or a
    definition that is lost or altered in place, is damage: raised as SQLite's own error.
    """
    driver.limit_time(db, _CHECK_LIMIT_S)
    with driver.read_snapshot(db):  # another window may create or migrate it meanwhile
        rows = db.execute("SELECT type, name, rootpage, sql FROM sqlite_master").fetchall()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        version = version_of(db)
        _check_pages(db, rows)
        is_later = version > len(MIGRATIONS)
        may_read = not is_later or _compatible(db, "reader")
    driver.limit_time(db, math.inf)
    if rows:
        _check_header(rows, application, version)
    if application != APPLICATION_ID and (application or rows):
        raise StorageUnavailable(
            f"{path} is another program's database. It was left as it is; choose another path."
        )
    if not may_read:
        raise StorageUnavailable(
            f"{path} was written by a later Segue (schema {version}; this one knows up to "
            f"{len(MIGRATIONS)}). It was left as it is; update Segue."
        )
    if rows and not is_later:
        _check_definitions(rows, version, path)


def _check_pages(db: Connection, rows: Iterable[Row]) -> None:
    # With auto-vacuum on, page 2 is a pointer map, which SQLite would write over a table's page.
    (moves_pages,) = db.execute("PRAGMA auto_vacuum").fetchone()
    if moves_pages and any(row["rootpage"] == 2 for row in rows):
        raise driver.corruption("its header turns on auto-vacuum, which its pages do not have")


def _check_header(rows: Iterable[Row], application: int, version: int) -> None:
    if (application, version) == (APPLICATION_ID, len(MIGRATIONS)):
        return
    by_tables = _version_by(_defined(rows))
    if by_tables == len(MIGRATIONS) < version:
        return  # a later version may have changed no definition
    if by_tables and (application, version) != (APPLICATION_ID, by_tables):
        raise driver.corruption("its header does not match its tables")


def _check_definitions(rows: Iterable[Row], version: int, path: str) -> None:
    expected = definitions(MIGRATIONS[:version])
    intact = set()
    for row in rows:
        name, sql = row["name"], row["sql"]
        if sql is None and str(name).startswith("sqlite_autoindex_"):
            continue  # of a UNIQUE that a table's definition has
        sql = str(sql).strip()
        if expected.get(name) == sql:
            intact.add(name)
        # Damage changes bytes in place, people and programs write other text.
        elif len(expected.get(name, "")) != len(sql) and sql not in expected.values():
            raise StorageUnavailable(
                f"{path} has the {row['type']} {str(name)[:60]!r}, which Segue did not make as it "
                "is. The file was left as it is; undo that change, or name another file with "
                "--database or the setting `database`."
            )
    if intact != expected.keys():
        raise driver.corruption("a definition of its tables is lost or changed")


def version_by_tables(db: Connection) -> int:
    """Return after how many migrations a database is defined exactly as this one; 0 if never."""
    return _version_by(_definitions(db))


def _version_by(found: Mapping[str, str]) -> int:
    versions = range(1, len(MIGRATIONS) + 1)
    return next((number for number in versions if definitions(MIGRATIONS[:number]) == found), 0)


def is_intact(db: Connection) -> bool:
    """Return whether everything that the database's migrations defined is there, unchanged."""
    version = version_of(db)
    expected = definitions(MIGRATIONS[:version])
    return version > len(MIGRATIONS) or expected.items() <= _definitions(db).items()


@functools.cache
def definitions(migrations: tuple[tuple[str, ...], ...]) -> Mapping[str, str]:
    """Return the SQL that a database has, by the names of what it defines, after *migrations*."""
    found: dict[str, str] = {}
    for statement in map(str.strip, itertools.chain.from_iterable(migrations)):
        if match := _CREATE.match(statement):
            found[match["name"]] = statement
        elif match := _DROP.match(statement):
            del found[match["name"]]
        elif match := _ADD_COLUMN.match(statement):
            found[match["name"]] = _with_column(found[match["name"]], match["column"])
        elif not _CHANGES_ROWS.match(statement):
            return _definitions_by_sqlite(migrations)
    return found


_CREATE = re.compile(r"CREATE (?:TABLE|INDEX|UNIQUE INDEX|TRIGGER|VIEW) (?P<name>\w+)")
_DROP = re.compile(r"DROP (?:INDEX|TRIGGER|VIEW) (?P<name>\w+)$")
_ADD_COLUMN = re.compile(r"ALTER TABLE (?P<name>\w+) ADD COLUMN (?P<column>.+)", re.DOTALL)
_CHANGES_ROWS = re.compile(r"(?:INSERT|UPDATE|DELETE) ")
_CONSTRAINT = re.compile(r",\s*(?:UNIQUE|PRIMARY|FOREIGN|CHECK|CONSTRAINT)\b")


def _with_column(sql: str, column: str) -> str:
    """Return a table's definition as SQLite writes it after ADD COLUMN."""
    depth = 0
    for index, char in enumerate(sql):
        depth += (char == "(") - (char == ")")
        ends = char == ")" and depth == 0
        if ends or (depth == 1 and _CONSTRAINT.match(sql, index)):
            return f"{sql[:index]}, {column}{sql[index:]}"
    return sql


def _definitions_by_sqlite(migrations: Iterable[Iterable[str]]) -> Mapping[str, str]:
    with contextlib.closing(driver.connect(":memory:")) as db:
        for statement in itertools.chain.from_iterable(migrations):
            db.execute(statement)
        return _definitions(db)


def _definitions(db: Connection) -> Mapping[str, str]:
    return _defined(db.execute("SELECT name, sql FROM sqlite_master"))


def _defined(rows: Iterable[Row]) -> Mapping[str, str]:
    return {row["name"]: str(row["sql"]).strip() for row in rows if row["sql"] is not None}


def may_write(db: Connection) -> bool:
    """Return whether this version may write the database, which may be a later version's."""
    return version_of(db) <= len(MIGRATIONS) or _compatible(db, "writer")


def needs_migration(db: Connection) -> bool:
    """Return whether the database is one of an older version. A new, empty one is not."""
    return 0 < version_of(db) < len(MIGRATIONS)


def migrate(db: Connection, version: int | None = None) -> None:
    """Bring the database up to *version*, or up to date.

    Each migration is one transaction; a new database gets all of them in one.
    """
    wanted = len(MIGRATIONS) if version is None else version
    while version_of(db) < wanted:
        with driver.transaction(db):
            # Read again under the lock: another window may have migrated meanwhile.
            version = version_of(db)
            # In one transaction: a new database that has a part would look like an old one.
            due = MIGRATIONS[version : version + 1] if version else MIGRATIONS[:wanted]
            for statement in itertools.chain.from_iterable(due):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {version + len(due)}")


def version_of(db: Connection) -> int:
    """Return how many migrations the database has had."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version) & 0xFFFF_FFFF  # damage can make it negative


def _compatible(db: Connection, role: Literal["reader", "writer"]) -> bool:
    """Return whether a database of a later version allows this version to be its *role*."""
    try:
        row = db.execute("SELECT reader, writer FROM compatibility").fetchone()
    except driver.Error:
        return False  # a later version may have replaced the table
    return row is not None and row[role] <= len(MIGRATIONS)
