"""Kills a migration at every statement, and aborts it at every statement.

Afterwards the migration is applied completely or not at all, no row is lost, and the next window
completes the migration. All of `schema.MIGRATIONS` are tested, and one that is defined here, so
that at least one runs on a database with rows.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs

from segue.cli.client import Client, RequestError
from segue.model.errors import StorageError, StorageUnavailable
from segue.model.events import Event
from segue.model.records import NewSession
from segue.store.sqlite import driver, files, schema
from segue.store.sqlite.commit import FileGuard
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import database_in, sandbox, silent_stderr
from tests.schema_versions import store_at_version

INSTRUCTIONS: dict[Size, int] = {"short": 20, "long": 3_000}
"""How many more kills there are, in the middle of statements."""

FURTHEST = 60_000
ROWS = 40
MADE_UP = (
    "ALTER TABLE sessions ADD COLUMN mood TEXT",
    "UPDATE sessions SET mood = 'calm'",
    "CREATE TABLE moods (session INTEGER PRIMARY KEY, mood TEXT NOT NULL) STRICT",
    "INSERT INTO moods SELECT number, mood FROM sessions",
    "CREATE INDEX moods_by_name ON moods (mood)",
)
"""A migration that changes rows, copies them and creates an index on them."""

NOTHING: frozenset[str] = frozenset()
Stop = Callable[[Connection], None]


@attrs.frozen
class State:
    """The state of a database: its version, its schema, and how many rows each table has."""

    version: int
    application: int
    names: frozenset[str]
    rows: tuple[tuple[str, int], ...]
    sound: bool


def state_of(database: Path) -> State:
    """Return the state that a process which opens *database* finds."""
    with contextlib.closing(driver.connect(str(database))) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        tables = [
            row[0]
            for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not row[0].startswith("sqlite_")
        ]
        counted = [(name, _one(db, f"SELECT count(*) FROM {name}")) for name in sorted(tables)]
        return State(
            version=_one(db, "PRAGMA user_version"),
            application=_one(db, "PRAGMA application_id"),
            names=frozenset(names),
            rows=tuple(counted),
            sound=_one(db, "PRAGMA integrity_check") == "ok",
        )


def _one(db: Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]


class Migrations:
    """The real migrations and the one of this file, and a database of each version."""

    def __init__(self, report: Report, folder: Path) -> None:
        self._report = report
        self._folder = folder
        self._all = (*schema.MIGRATIONS, MADE_UP)
        self._victim = folder / "victim" / "sessions.db"
        self._filled = folder / "filled" / "sessions.db"
        asyncio.run(_fill(self._filled, rows=ROWS))
        self.versions = range(len(self._all))
        self.before = [self._made(version) for version in range(len(self._all) + 1)]
        self.states = [state_of(database) for database in self.before]

    def _made(self, version: int) -> Path:
        database = self._folder / f"version-{version}" / "sessions.db"
        schema.MIGRATIONS = self._all[:version]
        if version == 1:
            store_at_version(self._filled, database, 1)
            return database
        database.parent.mkdir()
        if version:
            shutil.copy(self._folder / f"version-{version - 1}" / "sessions.db", database)
            asyncio.run(_fill(database, rows=0))
        return database

    def interrupt(self, version: int, stop: Stop, *, to: int | None = None) -> bool:
        """Migrate from *version*, interrupted by *stop*; return whether the process died.

        By one version, or *to* another one.
        """
        target = version + 1 if to is None else to
        shutil.rmtree(self._victim.parent, ignore_errors=True)
        shutil.copytree(self.before[version].parent, self._victim.parent)
        schema.MIGRATIONS = self._all[:target]
        if child := os.fork():
            _, status = os.waitpid(child, 0)
        else:
            _die_of(self._victim, stop)
        self._judge(version, target, status)
        return status != 0

    def _judge(self, version: int, target: int, status: int) -> None:
        report = self._report
        possible = self.states[version : target + 1]
        found = state_of(self._victim)
        example = f"version {version}, {found}"
        if not version:  # a new database has no rows, and gets all migrations at once
            whole_new = attrs.evolve(possible[-1], rows=found.rows)
            possible = [attrs.evolve(found, names=NOTHING), whole_new]
        after = possible[-1]
        report.expect(found in possible, "a migration is applied completely or not at all", example)
        report.expect(found.sound, "an interrupted migration leaves an undamaged database", example)
        report.count("found not migrated" if found.version == version else "found migrated")
        report.count("interrupted" if status else "not interrupted")
        try:
            asyncio.run(_fill(self._victim, rows=0))
        except StorageError as error:
            report.expect(False, "the next window finishes the migration", repr(error))
            return
        finished = state_of(self._victim)
        same = (finished.version, finished.names) == (after.version, after.names)
        report.expect(same, "the next window finishes the migration", f"{finished}")
        kept = not version or finished.rows == after.rows
        report.expect(kept, "a migration loses no row", f"{finished.rows}")


def _die_of(database: Path, stop: Stop) -> None:
    """Open *database* as a window does, with *stop* applied to every connection; never return."""
    connect = driver.connect

    def harmed(path: str) -> Connection:
        db = connect(path)
        stop(db)
        return db

    driver.connect = harmed
    try:
        guard = FileGuard(str(database), str(database), OpenLock(str(database)))
        files.open_database(str(database), database.parent, guard.open_lock, guard.prepare).close()
    except BaseException:
        os._exit(1)
    os._exit(0)


async def _fill(database: Path, rows: int) -> None:
    service = await LocalSessionService.open(database)
    try:
        for number in range(rows):
            new = NewSession(id=f"{number}", directory="/", metadata={"key": number})
            events = [Event.new("text", {"content": "x" * 300}) for _ in range(3)]
            await service.create_session(new, events, invocation_id="1")
    finally:
        await service.close()


def kill_at_statement(number: int) -> Stop:
    """Die when the statement with this *number* begins."""
    return _at_statement(number, lambda db: os.kill(os.getpid(), signal.SIGKILL))


def abort_at_statement(number: int) -> Stop:
    """Abort the statement with this *number*, as an error would."""
    return _at_statement(number, lambda db: db.set_progress_handler(lambda: 1, 1))


def _at_statement(number: int, harm: Callable[[Connection], None]) -> Stop:
    def stop(db: Connection) -> None:
        left = [number]

        def trace(sql: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                harm(db)
            elif left[0] < -1:
                db.set_progress_handler(None, 0)  # let the rollback run

        db.set_trace_callback(trace)

    return stop


def kill_at_instruction(number: int) -> Stop:
    """Die after *number* instructions of SQLite's virtual machine, in the middle of a statement."""

    def stop(db: Connection) -> None:
        db.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), number)

    return stop


def interrupt_all(report: Report, chance: Random, migrations: Migrations) -> None:
    """Interrupt each migration at every statement, then at random instructions."""
    for version in migrations.versions:
        statements = 0
        while migrations.interrupt(version, kill_at_statement(statements)):
            statements += 1
        report.counts[f"statements of migration {version + 1}"] = statements
        for number in range(statements):
            aborted = migrations.interrupt(version, abort_at_statement(number))
            report.count("aborted", int(aborted))
        for _ in range(INSTRUCTIONS[report.size]):
            at = int(FURTHEST ** chance.random())
            migrations.interrupt(version, kill_at_instruction(at))
            report.count("killed within a statement")
    for version in (0, 1):  # several migrations: in one transaction, and one in each
        if report.has_failed:
            return
        statements = 0
        last = migrations.versions[-1] + 1
        while migrations.interrupt(version, kill_at_statement(statements), to=last):
            statements += 1
        report.counts[f"statements from version {version} to {last}"] = statements


# -- a later version ---------------------------------------------------------------------------


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (each for each in folder.iterdir() if not each.name.endswith(("-lock", "-write.lock")))
    return {each.name: each.read_bytes() for each in files}


def later_version(report: Report, folder: Path, pending: bool) -> None:
    """Open a database of a later Segue, with its log pending or not."""
    database = database_in(folder)
    shutil.rmtree(database.parent, ignore_errors=True)
    asyncio.run(_fill(database, rows=3))
    writer = driver.connect(str(database))
    writer.execute("UPDATE compatibility SET reader = 99, writer = 99")
    writer.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    if pending:
        kept = folder / "kept"
        shutil.copytree(
            database.parent, kept, ignore=shutil.ignore_patterns("*-shm", "*-lock", "*-write.lock")
        )
        writer.close()
        shutil.rmtree(database.parent)
        kept.rename(database.parent)
    else:
        writer.close()
    before = _bytes(database.parent)
    for meet in (_meet_in_process, _meet_over_stdio):
        kind, message = meet(folder)
        clear = kind == "StorageUnavailable" and "later Segue" in message
        report.expect(clear, "a later version is refused by name", f"{kind}: {message}")
        after = {name: each for name, each in _bytes(database.parent).items() if name in before}
        report.expect(after == before, "a database of a later version is left as it is")
        more = {name for name in _bytes(database.parent) if "-shm" not in name} - set(before)
        report.expect(not more, "nothing is put beside a later version's database", f"{more}")
        report.count("later versions refused")


def _meet_in_process(folder: Path) -> tuple[str, str]:
    try:
        asyncio.run(_fill(database_in(folder), rows=0))
    except StorageUnavailable as error:
        return error.kind, str(error)
    return "nothing", "opened"


def _meet_over_stdio(folder: Path) -> tuple[str, str]:
    client = Client(folder)
    client.initialize()
    try:
        client.request("session/open", {})
    except RequestError as error:
        return str(error.kind), error.message
    finally:
        client.close_stdin()
    return "nothing", "opened"


def run(report: Report, chance: Random) -> None:
    """Open databases of a later version, then interrupt every migration."""
    report.counts["real migrations"] = len(schema.MIGRATIONS)
    with sandbox() as folder, silent_stderr():
        later_version(report, folder, pending=False)
        later_version(report, folder, pending=True)
        interrupt_all(report, chance, Migrations(report, folder))


if __name__ == "__main__":
    main(run)
