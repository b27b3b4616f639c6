"""Opens databases whose schema somebody changed by hand, so that it harms whoever uses it.

A view that never ends or has a huge value, a trigger that never ends or alters what is appended, a
table, an index or a column that no migration made: a real server refuses each within two seconds,
names what is wrong, leaves the file as it is, and goes on answering. One that claims to be of a
later version, whose schema cannot be known, ends in time too.
"""

import asyncio
import random
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from segue.cli.client import Client
from segue.model.events import Event
from segue.model.records import NewSession, Session
from segue.store.sqlite import driver, schema
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import Json, database_in, sandbox, silent_stderr, user_message

ROUNDS: dict[Size, int] = {"short": 1, "long": 10}
TRIED: dict[Size, int] = {"short": 6, "long": 20}
"""How many of the harms are tried in each round, chosen at random."""

TIME_S = 2.0
SESSION = "the-session"
ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"

REFUSED = "a database with a foreign schema is refused in words that name what is foreign"
IN_TIME = "every request is answered within two seconds"
UNCHANGED = "a database with a foreign schema is left as it is"
ANSWERS = "the server goes on answering"
KEPT = "what is acknowledged is what is read"

RECORDS = ", ".join(
    # Of a list ordered by a time that is NULL, SQLite reads no row.
    f"{0 if name == 'updated_at' else 'NULL'} AS {name}"
    for name in (
        *(field.name for field in attrs.fields(Session)), "automatic_title", "given_title",
        "git_common_dir", "repository", "model_visible", "forked_at", "revisions",
    )
)  # fmt: skip

HARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "endless view": (
        "session_records",
        (
            "DROP VIEW session_records",
            f"CREATE VIEW session_records AS {ENDLESS} SELECT x AS number, {RECORDS} FROM c",
        ),
    ),
    "huge value": (
        "session_records",
        (
            "DROP VIEW session_records",
            f"CREATE VIEW session_records AS SELECT zeroblob(900000000) AS number, {RECORDS}",
        ),
    ),
    "endless trigger": (
        "endless",
        (
            (
                "CREATE TRIGGER endless AFTER INSERT ON events BEGIN INSERT INTO metadata "
                f"SELECT 1, 'x', (SELECT max(x) FROM ({ENDLESS} SELECT x FROM c)); END"
            ),
        ),
    ),
    "altering trigger": (
        "altering",
        (
            (
                "CREATE TRIGGER altering AFTER INSERT ON events BEGIN UPDATE events SET "
                """data = '{"content": "altered"}' WHERE key = NEW.key; END"""
            ),
        ),
    ),
    "changed trigger": (
        "events_are_gapless",
        (
            "DROP TRIGGER events_are_gapless",
            "CREATE TRIGGER events_are_gapless BEFORE INSERT ON events BEGIN SELECT 1; END",
        ),
    ),
    "table": ("more", ("CREATE TABLE more (x)",)),
    "view": ("more", ("CREATE VIEW more AS SELECT 1",)),
    "virtual table": ("more", ("CREATE VIRTUAL TABLE more USING fts5 (x)",)),
    "sequence": ("more", ("CREATE TABLE more (x INTEGER PRIMARY KEY AUTOINCREMENT)",)),
    "statistics": ("sqlite_stat", ("ANALYZE",)),
    "index": ("more", ("CREATE INDEX more ON events (type)",)),
    "index on an expression": ("more", ("CREATE INDEX more ON events (abs(invocation))",)),
    "unique index": ("more", ("CREATE UNIQUE INDEX more ON events (type)",)),
    "column": ("sessions", ("ALTER TABLE sessions ADD COLUMN more TEXT",)),
    "generated column": (
        "sessions",
        ("ALTER TABLE sessions ADD COLUMN more INTEGER AS (abs(number)) VIRTUAL",),
    ),
    "renamed column": ("events", ("ALTER TABLE events RENAME COLUMN data TO datum",)),
    "no rowid": (
        "metadata",
        (
            "DROP TABLE metadata",
            (
                "CREATE TABLE metadata (session INTEGER NOT NULL, key TEXT NOT NULL, "
                "value TEXT NOT NULL, PRIMARY KEY (session, key)) STRICT, WITHOUT ROWID"
            ),
        ),
    ),
    "not strict": (
        "compatibility",
        ("DROP TABLE compatibility", "CREATE TABLE compatibility (reader INTEGER, writer INTEGER)"),
    ),
    "changed check": (
        "sessions",
        (
            "PRAGMA writable_schema = ON",
            (
                "UPDATE sqlite_master SET sql = replace(sql, 'IN (0, 1)', '< 0') "
                "WHERE name = 'sessions'"
            ),
        ),
    ),
    "changed definition": (
        "resumable_by_directory",
        (
            "PRAGMA writable_schema = ON",
            (
                "UPDATE sqlite_master SET sql = sql || ' ' || 'AND number < 0' "
                "WHERE name = 'resumable_by_directory'"
            ),
        ),
    ),
}
"""What is foreign then, by the name that the refusal has, and the statements that make it so."""

LATER = {
    "endless permission": (
        "DROP TABLE compatibility",
        f"CREATE VIEW compatibility AS {ENDLESS} SELECT max(x) AS reader, 1 AS writer FROM c",
    ),
}
"""Databases that say that a later version made them."""


async def _make(database: Path) -> None:
    service = await LocalSessionService.open(database)
    new = NewSession(id=SESSION, directory="/")
    events = [Event.new("user_message", {"content": "kept"})]
    await service.create_session(new, events, invocation_id="1")
    await service.close()


def harmed(good: Path, database: Path, statements: tuple[str, ...]) -> None:
    """Put a copy of *good* at *database* and change it by *statements*."""
    shutil.rmtree(database.parent, ignore_errors=True)
    database.parent.mkdir(mode=0o700)
    shutil.copy(good, database)
    database.chmod(0o600)
    with closing(driver.connect(str(database))) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        for statement in statements:
            db.execute(statement)


class Trial:
    """A server on a database that was changed."""

    def __init__(self, report: Report, database: Path, label: str) -> None:
        self._report = report
        self._database = database
        self._label = label
        self._client = Client(database.parent)

    def run(self, name: str) -> None:
        """Send requests; each must be refused in time with a message that has *name*."""
        before = self._database.read_bytes()
        try:
            self._client.initialize()
            if self._are_refused(name):
                self._report.expect(self._answer("shutdown", None) is not None, ANSWERS)
        finally:
            self._client.kill()
        unchanged = self._database.read_bytes() == before
        self._report.expect(unchanged, UNCHANGED, self._label)
        self._report.count("databases")

    def _are_refused(self, name: str) -> bool:
        """Send requests until one is not answered in time; return whether all were."""
        requests: list[tuple[str, Json]] = [
            ("session/open", {"sessionId": SESSION}),
            ("session/append", {"sessionId": SESSION, "events": [user_message("said")]}),
            ("session/open", {"sessionId": SESSION}),
            ("session/list", {}),
            ("session/findResumable", {}),
        ]
        for method, params in requests:
            answer = self._answer(method, params)
            if answer is None:
                return False
            if method != "session/append":  # its session is not open
                self._check_refusal(answer, name)
        return True

    def _answer(self, method: str, params: Any) -> Json | None:
        id = self._client.send(method, params)
        deadline = time.monotonic() + TIME_S
        while time.monotonic() < deadline and not self._client.is_answered(id):
            time.sleep(0.005)
        in_time = self._client.is_answered(id)
        self._report.expect(in_time, IN_TIME, f"{self._label}: {method}")
        self._report.count("requests")
        return self._client.answer(id) if in_time else None

    def _check_refusal(self, answer: Json, name: str) -> None:
        error = answer.get("error", {})
        kind = error.get("data", {}).get("kind")
        is_refused = kind == "StorageUnavailable" and name in error["message"]
        self._report.expect(is_refused, REFUSED, f"{self._label}: {error}")
        for event in answer.get("result", {}).get("events", []):
            altered = event["data"] not in ({"content": "kept"}, {"content": "said"})
            self._report.expect(not altered, KEPT, self._label)


def run(report: Report, chance: random.Random) -> None:
    """Try every harm, in a random order."""
    with sandbox() as folder, silent_stderr():
        good = folder / "good" / "sessions.db"
        asyncio.run(_make(good))
        database = database_in(folder)
        for _ in range(ROUNDS[report.size]):
            for label, (name, statements) in chance.sample(list(HARMS.items()), TRIED[report.size]):
                harmed(good, database, statements)
                Trial(report, database, label).run(name)
            for label, statements in LATER.items():
                harmed(good, database, (*statements, "PRAGMA user_version = 99"))
                Trial(report, database, label).run("later Segue")
        report.counts["schema version"] = len(schema.MIGRATIONS)


if __name__ == "__main__":
    main(run)
