"""A PostgreSQL store that is never analyzed: its plans are made while the tables are empty.

The cost of a call is the number of buffers that it touches, which a busy machine does not change.
It must be nearly the same in a session of 60,000 events as in one of 1,000.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from segue.store.postgres.codec import Parameter
from segue.store.postgres.service import PostgresSessionService
from segue.store.postgres.wire import Connection, Rows
from tests.factories import INVOCATION
from tests.faults import ledger, postgres_store
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

SMALL = 1_000
LARGE: dict[Size, int] = {"short": 60_000, "long": 600_000}
AT_ONCE = 500
MAX_RATIO = 1.5
SESSION = "one"
GROWS = "a call touches more buffers in a session of more events"


class Explained:
    """A connection that has each call explained before it makes it, and adds up the buffers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.buffers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def call(self, sql: str, *parameters: Parameter) -> Rows:
        """Make the call."""
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
        ((found,),) = await self._connection.call(explain, *parameters)
        plan = json.loads(found)[0]["Plan"]
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return await self._connection.call(sql, *parameters)


class Session:
    """One session that grows."""

    def __init__(self, service: PostgresSessionService) -> None:
        self._service = service
        self.events: list[str] = []

    async def grow(self, size: int) -> None:
        """Append until it has *size* events."""
        while len(self.events) < size:
            names = [f"event-{len(self.events) + number}" for number in range(AT_ONCE)]
            await self._append(names[: size - len(self.events)])

    async def _append(self, names: list[str]) -> None:
        parent = self.events[-1] if self.events else "first-one-0-0"
        events = [ledger.event(name) for name in names]
        await self._service.append_events(
            SESSION, events, parent_id=parent, invocation_id=INVOCATION
        )
        self.events += names

    async def retry(self) -> None:
        """Append the last event again."""
        *_, parent, last = self.events
        await self._service.append_events(
            SESSION, [ledger.event(last)], parent_id=parent, invocation_id=INVOCATION
        )

    async def retry_many(self) -> None:
        """Append some events again that were stored long ago."""
        events = [ledger.event(name) for name in self.events[10:30]]
        await self._service.append_events(
            SESSION, events, parent_id=self.events[9], invocation_id=INVOCATION
        )

    async def open(self) -> None:
        """Open the session."""
        await self._service.open_session(SESSION, 50)

    async def page(self) -> None:
        """Read events in the midst of it."""
        await self._service.load_events(SESSION, after=len(self.events) // 2, limit=50)

    async def page_back(self) -> None:
        """Read the events before some."""
        await self._service.load_events(SESSION, before=len(self.events) // 2, limit=50)

    async def find(self) -> None:
        """Find what may be resumed."""
        await self._service.list_sessions()


async def count_buffers(
    service: PostgresSessionService, call: Callable[[], Awaitable[None]]
) -> int:
    """Return how many buffers a call touches, at least."""
    client = service._client
    assert client._connection is not None
    found = []
    for _ in range(3):
        connection = client._connection
        explained = Explained(connection)
        client._connection = explained  # type: ignore[assignment]  # has all of it
        await call()
        client._connection = connection
        found.append(explained.buffers)
    return min(found)


async def measure(report: Report, server: PostgresServer) -> None:
    """Count the buffers of each call at two sizes of a session, on one connection."""
    role = postgres_store.add_role(server, "window")
    service = await postgres_store.open_service(server.url(role))
    await postgres_store.begin(service, SESSION)
    session = Session(service)
    calls = {
        "retry": session.retry,
        "retry of 20 old events": session.retry_many,
        "open": session.open,
        "page": session.page,
        "page back": session.page_back,
        "list": session.find,
    }
    await session.grow(40)
    for call in calls.values():
        await call()  # its plans are made now, and kept
    found = {}
    for size in (SMALL, LARGE[report.size]):
        await session.grow(size)
        found[size] = {name: await count_buffers(service, call) for name, call in calls.items()}
    small, large = found.values()
    for name in calls:
        report.counts[f"buffers of {name}"] = [small[name], large[name]]
        fits = large[name] <= MAX_RATIO * small[name]
        report.expect(fits, GROWS, f"{name}: {small[name]} at {SMALL}, then {large[name]}")
    report.counts["events"] = len(session.events)
    await service.close()


def run(report: Report, rng: random.Random) -> None:
    """Measure on a server that gathers no statistics."""
    asyncio.run(measure(report, postgres_store.start(report, autovacuum="off")))


if __name__ == "__main__":
    main(run)
