"""Creates databases of any size with the store's own schema and driver, filled in bulk."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from tests.bench.measure import Sizes

PER_DIRECTORY = 100
"""Sessions in each directory but the hot and the archived one."""

HOT_SHARE = 10
"""One session in so many is in the hot directory."""

_SENTENCES = (
    "The parser keeps what it cannot read: première ligne, zweite Zeile, 第三行, and "
    "`for line in lines: print(line)`. "
) * 4
DATA = {"content": _SENTENCES[:444]}
"""The data of an event of 500 bytes."""

DATA_JSON = json.dumps(DATA, separators=(",", ":"))
"""DATA as it is stored."""

_INSERT_SESSIONS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO sessions (
    number, id, directory, git_root, title, event_count, model_visible,
    created_at, updated_at, archived_at
)
SELECT
    n, 'session-' || n, root || '/src', iif(n % 10 = 0, NULL, root), 'A title', 1, 1,
    time, time, iif(n % 10 IN (1, 2, 3) OR root = '/repositories/archived', time, NULL)
FROM (
    SELECT
        n, :now - n * 7919 % 31536000 * 1000 AS time,
        '/repositories/' || CASE
            WHEN n <= :hot THEN 'hot' WHEN n <= 2 * :hot THEN 'archived' ELSE n / :per_directory
        END AS root
    FROM counted
)
"""

_INSERT_ONE_EVENT_EACH = """
INSERT INTO events (key, id, invocation, created_at, type, data)
SELECT (number << 32) + 1, 'event', number, updated_at, 'text', '{"content":""}' FROM sessions
"""

_INSERT_EVENTS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO events (key, id, invocation, created_at, type, data)
SELECT (:number << 32) + n, randomblob(16), :number, :now, 'text', :data FROM counted
"""


@contextlib.contextmanager
def create_database(path: Path) -> Iterator[Connection]:
    """Create a database at *path*; the block fills it in one transaction that is not synced.

    The folder is created too, and must not exist.
    """
    path.parent.mkdir(parents=True)
    db = driver.connect(str(path))
    schema.migrate(db)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    db.execute("BEGIN")
    yield db
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def session_databases(folder: Path, sizes: Sizes) -> dict[int, Path]:
    """Return a database for each of `sizes.sessions`, created by the first call for *folder*.

    In each, one session in ten is in the hot directory, and as many are archived in another.
    """
    paths = {count: folder / "sessions" / f"{count}" / "sessions.db" for count in sizes.sessions}
    for count, path in paths.items():
        if not path.exists():
            with create_database(path) as db:
                add_sessions(db, count, count // HOT_SHARE)
    return paths


def event_database(folder: Path, sizes: Sizes) -> tuple[Path, dict[int, str]]:
    """Return a database with a session of each of `sizes.lengths`, and their ids by length.

    It is created by the first call for *folder*.
    """
    path = folder / "events" / "sessions.db"
    if not path.exists():
        with create_database(path) as db:
            for length in sizes.lengths:
                add_session(db, length, length)
    return path, {length: f"session-{length}" for length in sizes.lengths}


def add_sessions(db: Connection, count: int, hot: int) -> None:
    """Add *count* sessions of one event: 30 % archived, 10 % without a git root.

    *hot* of them are in one directory, as many in another where all are archived, and the others in
    directories of 100.
    """
    values = {"count": count, "hot": hot, "per_directory": PER_DIRECTORY, "now": _now()}
    db.execute(_INSERT_SESSIONS, values)
    into = "INSERT INTO invocations (number, id, session)"
    db.execute(f"{into} SELECT number, 'invocation', number FROM sessions")
    db.execute(_INSERT_ONE_EVENT_EACH)


def add_session(db: Connection, number: int, events: int) -> str:
    """Add a session with *events* events of 500 bytes; return its id."""
    values = {"number": number, "count": events, "now": _now(), "data": DATA_JSON}
    db.execute(
        "INSERT INTO sessions (number, id, directory, event_count, model_visible, created_at, "
        "updated_at) VALUES (:number, 'session-' || :number, '/', :count, 1, :now, :now)",
        values,
    )
    into = "INSERT INTO invocations (number, id, session)"
    db.execute(f"{into} VALUES (:number, 'invocation', :number)", values)
    if events:
        db.execute(_INSERT_EVENTS, values)
    return f"session-{number}"


def _now() -> int:
    return time.time_ns() // 1_000_000
