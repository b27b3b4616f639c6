"""A PostgreSQL server that crashes, and ends connections, while windows write and read.

Eight writers append to four sessions and two readers read them, all of a role whose settings give
up the wait for the disk. `pg_terminate_backend` ends their connections at random, and the server is
restarted by `pg_ctl restart -m immediate`, which is what a crash of it is. It runs with fsync on.
"""

import asyncio
import contextlib
import random
import threading
import time

import psycopg

from segue.model.errors import SessionNotFound, StorageUnavailable
from segue.store.postgres.service import PostgresSessionService
from tests.faults import postgres_store
from tests.faults.ledger import Ledger, StoredSession
from tests.faults.postgres_store import Writer
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

SECONDS: dict[Size, float] = {"short": 6, "long": 300}
SESSIONS = ("one", "two", "three", "four")
WRITERS = 8
READERS = 2
RESTART_AFTER_S = (1.5, 3.5)
TERMINATE_AFTER_S = (0.02, 0.12)

NO_PREFIX = "what was read is not what is stored in the end"
STALE = "a read lacks an event that was acknowledged before it"


class Reader:
    """Reads sessions and remembers all that it saw."""

    def __init__(self, report: Report, service: PostgresSessionService) -> None:
        self.seen: dict[tuple[str, int], str] = {}
        self._report = report
        self._service = service

    async def read(self, writers: list[Writer], ends_at: float, seed: int) -> None:
        """Read a random session again and again."""
        rng = random.Random(seed)
        while time.monotonic() < ends_at:
            session = rng.choice(SESSIONS)
            positions = [
                seq
                for writer in writers
                if writer.session == session
                for seq in list(writer.ledger.acknowledged.values())[-1:]
            ]
            try:
                found, page = await self._service.open_session(session)
            except StorageUnavailable:
                self._report.count("reads given up")
                continue
            except SessionNotFound:
                self._report.expect(False, STALE, session)
                return
            self._report.count("reads")
            self._report.expect(found.event_count >= max(positions, default=0), STALE, session)
            for event in page.events:
                before = self.seen.setdefault((session, event.seq), event.id)
                self._report.expect(before == event.id, NO_PREFIX, f"{session} {event.seq}")
            await asyncio.sleep(0.005)

    def check(self, stored: dict[str, StoredSession]) -> None:
        """Report what was read that is not stored."""
        names = {session: dict(found.events) for session, found in stored.items()}
        for (session, seq), name in self.seen.items():
            where = f"{session} {seq} {name}"
            self._report.expect(names[session].get(seq) == name, NO_PREFIX, where)


class Storm(threading.Thread):
    """Ends connections and restarts the server until it is stopped."""

    def __init__(self, report: Report, server: PostgresServer, role: str, seed: int) -> None:
        super().__init__()
        self._report = report
        self._server = server
        self._role = role
        self._rng = random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Do so."""
        restart_at = time.monotonic() + self._rng.uniform(*RESTART_AFTER_S)
        while not self._stopped.wait(self._rng.uniform(*TERMINATE_AFTER_S)):
            if time.monotonic() > restart_at:
                self.restart()
                restart_at = time.monotonic() + self._rng.uniform(*RESTART_AFTER_S)
            else:
                with contextlib.suppress(psycopg.OperationalError):
                    self._terminate()

    def stop(self) -> None:
        """Stop, and crash the server once more."""
        self._stopped.set()
        self.join()
        self.restart()

    def restart(self) -> None:
        """Crash the server and start it again."""
        self._server.control("restart", "-m", "immediate", "-l", str(self._server.folder / "log"))
        self._report.count("crashes of the server")

    def _terminate(self) -> None:
        query = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s
        ORDER BY random() LIMIT 1
        """
        with psycopg.connect(self._server.url(), autocommit=True) as admin:
            self._report.count(
                "ended connections", len(admin.execute(query, (self._role,)).fetchall())
            )


async def write_and_read(
    report: Report, server: PostgresServer, role: str, rng: random.Random
) -> tuple[dict[str, Ledger], list[Writer], list[Reader]]:
    """Let all write and read while the storm lasts; return what they know."""
    url = server.url(role)
    services = [await postgres_store.open_service(url) for _ in range(WRITERS + READERS)]
    firsts = {session: await postgres_store.begin(services[0], session) for session in SESSIONS}
    writers = [
        Writer(report, service, SESSIONS[number % len(SESSIONS)], f"writer-{number}")
        for number, service in enumerate(services[:WRITERS])
    ]
    readers = [Reader(report, service) for service in services[WRITERS:]]
    storm = Storm(report, server, role, rng.randrange(1 << 32))
    ends_at = time.monotonic() + SECONDS[report.size]

    def goes_on() -> bool:
        return time.monotonic() < ends_at and not report.has_failed

    storm.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                head = firsts[writer.session].batches[0][0]
                tasks.create_task(writer.write(head, goes_on, rng.randrange(1 << 32)))
            for reader in readers:
                tasks.create_task(reader.read(writers, ends_at, rng.randrange(1 << 32)))
    finally:
        await asyncio.to_thread(storm.stop)
        for service in services:
            await service.close()
    return firsts, writers, readers


def run(report: Report, rng: random.Random) -> None:
    """Write and read in the storm, then compare what is stored with what was acknowledged."""
    # Without the wait for the disk, a commit is on it after up to so long.
    server = postgres_store.start(report, fsync="on", wal_writer_delay="10s")
    role = postgres_store.add_role(server, "writer", synchronous_commit="off")
    firsts, writers, readers = asyncio.run(write_and_read(report, server, role, rng))
    stored = postgres_store.check_sessions(report, server, writers, firsts)
    for reader in readers:
        reader.check(stored)


if __name__ == "__main__":
    main(run)
