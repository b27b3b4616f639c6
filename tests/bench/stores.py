"""Databases of any size, made by the store's own schema and library and filled in bulk."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from tests.bench.measure import Sizes

PER_DIRECTORY = 100
HOT = 10
"""One in so many sessions is in one directory."""

TEXT = (
    "The parser keeps what it cannot read: première ligne, zweite Zeile, 第三行, and "
    "`for line in lines: print(line)`. "
) * 4
DATA = {"content": TEXT[:444]}
STORED = json.dumps(DATA, separators=(",", ":"))
"""What an event of 500 bytes holds, as it is stored."""

_SESSIONS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO sessions (
    number, id, directory, git_root, title, event_count, model_visible,
    created_at, updated_at, archived_at
)
SELECT
    n, 'session-' || n, place || '/src', iif(n % 10 = 0, NULL, place), 'A title', 1, 1,
    at, at, iif(n % 10 IN (1, 2, 3) OR place = '/repositories/archived', at, NULL)
FROM (
    SELECT
        n, :now - n * 7919 % 31536000 * 1000 AS at,
        '/repositories/' || CASE
            WHEN n <= :hot THEN 'hot' WHEN n <= 2 * :hot THEN 'archived' ELSE n / :per_directory
        END AS place
    FROM counted
)
"""

_ONE_EVENT_EACH = """
INSERT INTO events (key, id, invocation, created_at, type, data)
SELECT (number << 32) + 1, 'event', number, updated_at, 'text', '{"content":""}' FROM sessions
"""

_EVENTS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO events (key, id, invocation, created_at, type, data)
SELECT (:number << 32) + n, randomblob(16), :number, :now, 'text', :data FROM counted
"""


@contextlib.contextmanager
def made(path: Path) -> Iterator[Connection]:
    """Make a database and let it be filled in one transaction, without waiting for the disk."""
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


def with_sessions(folder: Path, sizes: Sizes) -> dict[int, Path]:
    """Return a database for each number of sessions, made by the first who asks.

    In each, one session in ten is in one directory, and as many are archived in another.
    """
    paths = {count: folder / "sessions" / f"{count}" / "sessions.db" for count in sizes.sessions}
    for count, path in paths.items():
        if not path.exists():
            with made(path) as db:
                add_sessions(db, count, count // HOT)
    return paths


def with_events(folder: Path, sizes: Sizes) -> tuple[Path, dict[int, str]]:
    """Return a database with a session of each length, by the first who asks; and their ids."""
    path = folder / "events" / "sessions.db"
    if not path.exists():
        with made(path) as db:
            for length in sizes.lengths:
                add_session(db, length, length)
    return path, {length: f"session-{length}" for length in sizes.lengths}


def add_sessions(db: Connection, count: int, hot: int) -> None:
    """Add sessions of one event: 30 % archived, 10 % without git, 100 in each directory.

    One directory has *hot* of them, and another as many that are all archived.
    """
    values = {"count": count, "hot": hot, "per_directory": PER_DIRECTORY, "now": _now()}
    db.execute(_SESSIONS, values)
    db.execute("INSERT INTO invocations SELECT number, 'invocation', number FROM sessions")
    db.execute(_ONE_EVENT_EACH)


def add_session(db: Connection, number: int, events: int) -> str:
    """Add a session with so many events of 500 bytes; return its id."""
    values = {"number": number, "count": events, "now": _now(), "data": STORED}
    db.execute(
        "INSERT INTO sessions (number, id, directory, event_count, model_visible, created_at, "
        "updated_at) VALUES (:number, 'session-' || :number, '/', :count, 1, :now, :now)",
        values,
    )
    db.execute("INSERT INTO invocations VALUES (:number, 'invocation', :number)", values)
    if events:
        db.execute(_EVENTS, values)
    return f"session-{number}"


def _now() -> int:
    return time.time_ns() // 1_000_000
