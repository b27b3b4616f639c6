"""A PostgreSQL server that falls silent: its process is stopped, or nothing comes through.

Every call must return within the patience of the store, the loop must stay alive, and the service
must go on when the server does. What was on its way then arrives late, and is stored once.
"""

import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from segue.model.errors import SegueError, StorageUnavailable
from segue.model.records import EventPage
from segue.store.postgres import client
from segue.store.postgres.service import PostgresSessionService
from tests.factories import INVOCATION
from tests.faults import ledger, postgres_store
from tests.faults.ledger import Ledger
from tests.faults.postgres_proxy import Proxy
from tests.faults.runner import Report, Size, main
from tests.store.postgres_server import PostgresServer

ROUNDS: dict[Size, int] = {"short": 1, "long": 20}
LATEST_S = 1.1 * client.PATIENCE_S
"""After so long, in seconds, every call has returned: a tenth more than it may take."""

LIMIT_S = 1.5 * client.PATIENCE_S
TICK_S = 0.02
LONGEST_GAP_S = 1.5
"""The machine is busy with other work; a connection that blocks does so for seconds."""

CALLS_AT_ONCE = 20

LATE = "a call returns later than it may"
FROZEN = "the loop stands still"
WRONG_ERROR = "a silent server is reported as another error than StorageUnavailable"
DEAD = "the service does not go on when the server does"


class Window:
    """A service, one session, and what was appended to it."""

    def __init__(self, report: Report, service: PostgresSessionService, session: str) -> None:
        self._report = report
        self._service = service
        self.session = session
        self.ledger = Ledger(session)
        self._head: str | None = None

    async def begin(self) -> None:
        """Store the session."""
        first = await postgres_store.begin(self._service, self.session)
        self._head = first.batches[0][0]

    async def append(self) -> None:
        """Append one event, or the one that was not acknowledged before."""
        batch = (self.ledger.unacknowledged() or [self.ledger.send(1)])[0]
        appended = await self._service.append_events(
            self.session,
            [ledger.event(name) for name in batch],
            parent_id=self._head,
            invocation_id=INVOCATION,
        )
        self.ledger.acknowledge((event.id, event.seq) for event in appended.events)
        self._report.count("duplicates on retry", appended.duplicates)
        self._head = appended.head

    async def read(self) -> EventPage:
        """Read the session."""
        return await self._service.load_events(self.session)

    async def close(self) -> None:
        """Close the service."""
        await self._service.close()


class Ticker:
    """Measures how long the loop stands still."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def tick(self) -> None:
        """Measure until it is cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            self.longest_s = max(self.longest_s, time.monotonic() - before - TICK_S)


class Silences:
    """The kinds of silence, each of which has a window of its own."""

    def __init__(
        self, report: Report, server: PostgresServer, proxy: Proxy, folder: Path, seed: int
    ) -> None:
        self._report = report
        self._server = server
        self._proxy = proxy
        self._folder = folder
        self._rng = random.Random(seed)
        self._windows: list[Window] = []

    async def run(self) -> None:
        """Let the server fall silent again and again, then check what is stored."""
        lines = [await self._open(f"line-{number}", is_far=True) for number in range(2)]
        stopped = await self._open("stopped")
        waiting = await self._open("waiting")
        for _ in range(ROUNDS[self._report.size]):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._silent_line(*lines))
                tasks.create_task(self._stopped(stopped))
                tasks.create_task(self._stopped_in_a_call(waiting))
            if self._report.broken:
                return
            for window in self._windows:
                await self._goes_on(window)
        with psycopg.connect(self._server.url()) as admin:
            for window in self._windows:
                stored = postgres_store.read_session(admin, window.session)
                stored.check(self._report, window.session)
                window.ledger.check(self._report, stored, window.session)
        for window in self._windows:
            await window.close()

    async def _open(self, name: str, *, is_far: bool = False) -> Window:
        role = postgres_store.add_role(self._server, name.replace("-", "_"))
        url = self._url(role) if is_far else self._server.url(role)
        window = Window(self._report, await postgres_store.open_service(url), name)
        await window.begin()
        await window.append()
        self._windows.append(window)
        return window

    def _url(self, role: str) -> str:
        return self._server.url(role).replace(str(self._server.folder), str(self._folder))

    async def _silent_line(self, one: Window, two: Window) -> None:
        """Nothing comes through, from before the calls until they have returned."""
        self._proxy.speaks.clear()
        opening = postgres_store.open_service(self._url("line_0"))
        await asyncio.gather(
            self._timed("appends over a silent line", one.append()),
            *(self._timed("reads over a silent line", two.read()) for _ in range(CALLS_AT_ONCE)),
            self._timed("openings over a silent line", opening),
        )
        self._proxy.speaks.set()

    async def _stopped(self, window: Window) -> None:
        """Stop the process of the connection before the call."""
        with self._stopped_process(window):
            await self._timed("appends with a stopped process", window.append())

    async def _stopped_in_a_call(self, window: Window) -> None:
        """Stop the process while the call waits for a lock: it keeps its place for it."""
        lock = "SELECT 1 FROM segue.sessions WHERE id = %s FOR UPDATE"
        with psycopg.connect(self._server.url()) as admin:
            admin.execute(lock, (postgres_store.packed(window.session),))
            appending = asyncio.ensure_future(
                self._timed("appends stopped at a lock", window.append())
            )
            await asyncio.sleep(self._rng.uniform(0.1, 1.0))
            with self._stopped_process(window):
                admin.rollback()
                await appending

    @contextlib.contextmanager
    def _stopped_process(self, window: Window) -> Iterator[None]:
        query = "SELECT pid FROM pg_stat_activity WHERE usename = %s"
        with psycopg.connect(self._server.url()) as admin:
            found = admin.execute(query, (window.session.replace("-", "_"),)).fetchall()
        for (process,) in found:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for (process,) in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    async def _timed(self, what: str, call: Awaitable[Any]) -> None:
        began = time.monotonic()
        outcome = await self._outcome(call)
        seconds = time.monotonic() - began
        self._report.count(f"{what}: {outcome}")
        self._report.expect(seconds <= LATEST_S, LATE, f"{what}: {seconds:.1f} s")
        longest = self._report.counts.get("slowest call, s", 0)
        self._report.counts["slowest call, s"] = max(longest, round(seconds, 2))

    async def _outcome(self, call: Awaitable[Any]) -> str:
        try:
            async with asyncio.timeout(LIMIT_S):
                result = await call
        except StorageUnavailable:
            return "refused"
        except TimeoutError:
            return "not returned"
        except SegueError as error:
            self._report.expect(False, WRONG_ERROR, f"{error.kind}: {error}")
            return "refused"
        if isinstance(result, PostgresSessionService):
            await result.close()
        return "answered"

    async def _goes_on(self, window: Window) -> None:
        for call in (window.append, window.append, window.read):
            outcome = await self._repeated(call)
            self._report.expect(outcome == "answered", DEAD, f"{window.session}: {outcome}")

    async def _repeated(self, call: Callable[[], Awaitable[Any]]) -> str:
        # What was on its way may hold the lock for a moment.
        outcome = await self._outcome(call())
        return outcome if outcome == "answered" else await self._outcome(call())


async def fall_silent(report: Report, rng: random.Random, folder: Path) -> None:
    """Run all, while the loop's ticks are measured."""
    server = postgres_store.start(report)
    proxy = Proxy(server.folder)
    ticker = Ticker()
    async with proxy.listen(folder):
        silences = Silences(report, server, proxy, folder, rng.randrange(1 << 32))
        ticking = asyncio.ensure_future(ticker.tick())
        await silences.run()
        ticking.cancel()
    report.counts["longest gap between ticks, ms"] = round(ticker.longest_s * 1_000)
    report.expect(ticker.longest_s < LONGEST_GAP_S, FROZEN, f"{ticker.longest_s:.1f} s")


def run(report: Report, rng: random.Random) -> None:
    """Let the server fall silent."""
    with tempfile.TemporaryDirectory(prefix="segue-pg-") as folder:
        asyncio.run(fall_silent(report, rng, Path(folder)))


if __name__ == "__main__":
    main(run)
