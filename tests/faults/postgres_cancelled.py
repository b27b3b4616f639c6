"""Callers of the PostgreSQL store who are cancelled at any moment of their calls.

One window appends, an event a call, without waiting for the calls that it cancels, and reads
between. What was begun must be stored once and in order, on the connection of the beginning.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import psycopg

from segue.model.errors import SegueError
from segue.store.postgres.service import PostgresSessionService
from tests.factories import INVOCATION
from tests.faults import ledger, postgres_store
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

CALLS: dict[Size, int] = {"short": 3_000, "long": 100_000}
CANCELLED = 0.6
READS = 0.1
LONGEST_S = 0.003
"""A call is cancelled after at most so long, in seconds: some are done by then."""

CHECKED_EACH = 50
LIMIT_S = 30.0

LOST = "a call that was begun has stored nothing"
HANGS = "a call never returns"
RECONNECTED = "a cancelled call ends its connection"
FAILED = "a call that nobody cancelled fails"

SESSION = "one"


class Window:
    """Makes calls, and cancels some of them."""

    def __init__(self, report: Report, service: PostgresSessionService, seed: int) -> None:
        self._report = report
        self._service = service
        self._rng = random.Random(seed)
        self.ledger = Ledger("window")
        self._head = ""

    async def call_all(self, head: str) -> None:
        """Make all calls, behind *head*."""
        self._head = head
        for number in range(CALLS[self._report.size]):
            if self._report.has_failed:
                return
            is_read = self._rng.random() < READS
            await self._call(self._service.load_events(SESSION) if is_read else self._append())
            if number % CHECKED_EACH == 0:
                await self._wait(self._service.get_session(SESSION))

    def _append(self) -> Coroutine[Any, Any, Any]:
        (name,) = self.ledger.send(1)
        parent, self._head = self._head, name
        return self._service.append_events(
            SESSION, [ledger.event(name)], parent_id=parent, invocation_id=INVOCATION
        )

    async def _call(self, call: Coroutine[Any, Any, Any]) -> None:
        if self._rng.random() >= CANCELLED:
            await self._wait(call)
            return
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)  # it is begun
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0, LONGEST_S))
        self._report.count("cancelled" if task.cancel() else "done before they were cancelled")

    async def _wait(self, call: Coroutine[Any, Any, Any]) -> None:
        self._report.count("waited for")
        try:
            async with asyncio.timeout(LIMIT_S):
                await call
        except TimeoutError:
            self._report.expect(False, HANGS)
        except SegueError as error:
            self._report.expect(False, FAILED, f"{error.kind}: {error}")


def connections(server: PostgresServer, role: str) -> list[Any]:
    """Return the process of each connection of a role."""
    query = "SELECT pid, backend_start FROM pg_stat_activity WHERE usename = %s"
    with psycopg.connect(server.url()) as admin:
        return admin.execute(query, (role,)).fetchall()


async def call_and_cancel(report: Report, server: PostgresServer, rng: random.Random) -> None:
    """Make the calls, then compare what is stored with what was begun."""
    role = postgres_store.add_role(server, "window")
    service = await postgres_store.open_service(server.url(role))
    first = await postgres_store.begin(service, SESSION)
    before = connections(server, role)
    window = Window(report, service, rng.randrange(1 << 32))
    await window.call_all(first.batches[0][0])
    try:
        async with asyncio.timeout(LIMIT_S):
            session = await service.get_session(SESSION)
            report.expect(connections(server, role) == before, RECONNECTED)
            begun = len(window.ledger.batches)
            report.expect(
                session.event_count == 1 + begun, LOST, f"{session.event_count} of {1 + begun}"
            )
            report.counts["stored"] = session.event_count - 1
            await service.close()
    except TimeoutError:
        report.expect(False, HANGS)
        return
    with psycopg.connect(server.url()) as admin:
        stored = postgres_store.read_session(admin, SESSION)
    stored.check(report)
    window.ledger.check(report, stored)


def run(report: Report, rng: random.Random) -> None:
    """Call and cancel."""
    asyncio.run(call_and_cancel(report, postgres_store.start(report), rng))


if __name__ == "__main__":
    main(run)
