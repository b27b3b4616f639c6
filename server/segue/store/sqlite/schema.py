"""The database's migrations: an append-only list, each one transaction with its own record."""

import contextlib
import functools
import itertools
from typing import Literal

from segue.model.errors import StorageUnavailable
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
    # Resuming is one probe of one of these two, however many sessions a directory has.
    """
    CREATE INDEX resumable_by_directory ON sessions (directory, updated_at)
    WHERE archived_at IS NULL AND model_visible = 1
    """,
    """
    CREATE INDEX resumable_by_git_root ON sessions (git_root, updated_at)
    WHERE archived_at IS NULL AND model_visible = 1
    """,
    "CREATE INDEX sessions_by_update ON sessions (updated_at)",
    # Without the time, which every append would have to move here too: a list is sorted instead.
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

MIGRATIONS: tuple[tuple[str, ...], ...] = (M001_INITIAL, M002_COMPATIBILITY)
"""Append only. A database's `user_version` counts those that it has had."""


def check_owner(db: Connection, where: str) -> None:
    """Raise unless the database is empty or ours, and may be read. Changes nothing.

    What its header says amiss, and its tables better, is damage, and raised as SQLite's own.
    """
    # The tables first: a database that another window makes meanwhile has both, or neither.
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    _check_pages(db)
    if tables and (application, version_of(db)) != (APPLICATION_ID, len(MIGRATIONS)):
        _check_header(db)
    if application != APPLICATION_ID and (application or tables):
        raise StorageUnavailable(
            f"{where} is another program's database. It was left as it is; choose another path."
        )
    if (version := version_of(db)) > len(MIGRATIONS) and not _compatible(db, "reader"):
        raise StorageUnavailable(
            f"{where} was written by a later Segue (schema {version}; this one knows up to "
            f"{len(MIGRATIONS)}). It was left as it is; update Segue."
        )


def _check_pages(db: Connection) -> None:
    # SQLite would write where it believes its pointers to be, over the page of a table.
    (moves_pages,) = db.execute("PRAGMA auto_vacuum").fetchone()
    sql = "SELECT count(*) FROM sqlite_master WHERE rootpage = 2"
    if moves_pages and db.execute(sql).fetchone()[0]:
        raise driver.corruption("its header tells of pages that are others")


def _check_header(db: Connection) -> None:
    with driver.read_snapshot(db):  # another window may migrate meanwhile
        (application,) = db.execute("PRAGMA application_id").fetchone()
        told, version = tells_version(db), version_of(db)
    # What a later version made of its tables is not known here.
    if told and version <= len(MIGRATIONS) and (application, version) != (APPLICATION_ID, told):
        raise driver.corruption("its header does not fit its tables")


def tells_version(db: Connection) -> int:
    """Return after how many migrations a database has the very tables of this one; 0: never."""
    definitions = _definitions(db)
    versions = range(1, len(MIGRATIONS) + 1)
    return next((number for number in versions if _made_by(MIGRATIONS[:number]) == definitions), 0)


def is_whole(db: Connection) -> bool:
    """Tell whether all is defined as the migrations defined it that the database has had."""
    version = version_of(db)
    return version > len(MIGRATIONS) or _made_by(MIGRATIONS[:version]) <= _definitions(db)


@functools.cache
def _made_by(migrations: tuple[tuple[str, ...], ...]) -> frozenset[tuple[str, str]]:
    with contextlib.closing(driver.connect(":memory:")) as db:
        for statement in itertools.chain.from_iterable(migrations):
            db.execute(statement)
        return _definitions(db)


def _definitions(db: Connection) -> frozenset[tuple[str, str]]:
    sql = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    return frozenset((row["name"], row["sql"]) for row in db.execute(sql))


def may_write(db: Connection) -> bool:
    """Tell whether the database, if a later version made it, says that this one may write it."""
    return version_of(db) <= len(MIGRATIONS) or _compatible(db, "writer")


def needs_migration(db: Connection) -> bool:
    """Tell whether the database holds something, and a migration is to come."""
    return 0 < version_of(db) < len(MIGRATIONS)


def migrate(db: Connection) -> None:
    """Bring the database up to date, one transaction for each migration, a new one in one."""
    while version_of(db) < len(MIGRATIONS):
        with driver.transaction(db):
            # Read again under the lock: another window may have migrated meanwhile.
            version = version_of(db)
            # A new database is made whole: half made, it would look like one to be migrated.
            due = MIGRATIONS[version : version + 1] if version else MIGRATIONS
            for statement in itertools.chain.from_iterable(due):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {version + len(due)}")


def version_of(db: Connection) -> int:
    """Return how many migrations the database has had."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version) & 0xFFFF_FFFF  # damage can make it negative, and no list ends there


def _compatible(db: Connection, role: Literal["reader", "writer"]) -> bool:
    """Tell whether a database of a later version lets this one be its *role*."""
    try:
        row = db.execute("SELECT reader, writer FROM compatibility").fetchone()
    except driver.Error:
        return False  # from a time when it was kept otherwise
    return row is not None and row[role] <= len(MIGRATIONS)
