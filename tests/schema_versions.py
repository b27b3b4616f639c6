"""Databases of every schema version, also of one after the current: its migration adds columns."""

import shutil
from contextlib import closing
from pathlib import Path

from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.schema import Column

CURRENT = len(schema.MIGRATIONS)
NEXT = CURRENT + 1
VERSIONS = range(1, NEXT + 1)
ADD_COLUMNS = (
    "ALTER TABLE sessions ADD COLUMN added_text TEXT NOT NULL DEFAULT 'default'",
    "ALTER TABLE events ADD COLUMN added_number INTEGER",
)
MIGRATIONS = (*schema.MIGRATIONS, ADD_COLUMNS)
_ADDED = {
    "sessions": Column("added_text", "text", stand_in="default", since=NEXT),
    "events": Column("added_number", "integer", optional=True, since=NEXT),
}
COLUMNS = {
    table: (*columns, _ADDED[table]) if table in _ADDED else columns
    for table, columns in schema.COLUMNS.items()
}
_SESSION = {"sessions": "number"}


def store_at_version(source: Path, target: Path, version: int) -> None:
    """Store the rows of *source*, of the current version, as a Segue of schema *version* would.

    Those of the first half of the sessions are stored at the version before, and then migrated.
    `schema.MIGRATIONS` must have that many migrations.
    """
    target.parent.mkdir(mode=0o700, parents=True)
    with closing(driver.connect(str(target))) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("ATTACH ? AS source", (str(source),))
        (sessions,) = db.execute("SELECT max(number) FROM source.sessions").fetchone()
        half = sessions // 2
        schema.migrate(db, max(version - 1, 1))
        _copy(db, 1, half)
        schema.migrate(db, version)
        _copy(db, half + 1, sessions)
    shutil.copy(f"{source}-lock", f"{target}-lock")


def _copy(db: Connection, first: int, last: int) -> None:
    version = min(schema.version_of(db), CURRENT)
    for table in schema.tables(version):
        if table == "tombstones":
            continue  # of no session
        names = ", ".join(column.name for column in schema.columns(table, version))
        session = _SESSION.get(table, "session")
        without = "SELECT number FROM source.sessions WHERE (fork_seq > 0 OR is_stub) AND ? < 3"
        db.execute(
            f"INSERT INTO main.{table} ({names}) SELECT {names} FROM source.{table} "
            f"WHERE {session} BETWEEN ? AND ? AND {session} NOT IN ({without}) ORDER BY rowid",
            (first, last, version),
        )
