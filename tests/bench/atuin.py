"""The schema and the statements of atuin's store of AI sessions, as a baseline."""

from pathlib import Path

from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection

_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, head_id TEXT, server_session_id TEXT, directory TEXT, git_root TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, archived_at INTEGER
);
CREATE TABLE session_events (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES sessions (id), parent_id TEXT,
    invocation_id TEXT NOT NULL, event_type TEXT NOT NULL, event_data TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX by_directory ON sessions (directory);
CREATE INDEX by_git_root ON sessions (git_root);
CREATE INDEX by_update ON sessions (updated_at);
CREATE INDEX by_creation ON sessions (created_at);
CREATE INDEX events_by_session ON session_events (session_id);
CREATE INDEX events_by_parent ON session_events (parent_id);
CREATE INDEX events_by_invocation ON session_events (invocation_id);
CREATE INDEX events_by_creation ON session_events (created_at);
"""

FIND = """
SELECT * FROM sessions
WHERE archived_at IS NULL AND updated_at > :since
    AND (directory = :directory OR (git_root IS NOT NULL AND git_root = :git_root))
ORDER BY updated_at DESC LIMIT 1
"""
INSERT = "INSERT INTO session_events VALUES (?, ?, ?, ?, ?, ?, ?)"
_HEAD = "UPDATE sessions SET head_id = ?, updated_at = ? WHERE id = ?"


def create_database(path: Path) -> Connection:
    """Create a store with atuin's journal mode and the synchronous=FULL that Segue uses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db: Connection = driver.connect(str(path))
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(_SCHEMA)
    return db


def add_session(db: Connection, session_id: str) -> None:
    """Add a session without events."""
    db.execute(
        "INSERT INTO sessions VALUES (?, NULL, NULL, '/', NULL, unixepoch(), unixepoch(), NULL)",
        (session_id,),
    )


def append(db: Connection, event: tuple[str, str, str | None, str, str, str, int]) -> None:
    """Insert one event and update its session's head and time, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(INSERT, event)
    db.execute(_HEAD, (event[0], event[6], event[1]))
    db.execute("COMMIT")


def copy_sessions(db: Connection, segue: Path) -> None:
    """Add the sessions of the Segue database at *segue*, without their events."""
    db.execute("ATTACH ? AS segue", (str(segue),))
    db.execute("PRAGMA synchronous = OFF")
    db.execute("""
        INSERT INTO sessions
        SELECT id, NULL, NULL, directory, git_root, created_at / 1000, updated_at / 1000,
            archived_at / 1000
        FROM segue.sessions
    """)
    db.execute("DETACH segue")
