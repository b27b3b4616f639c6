"""Kill processes that append through LocalSessionService, thousands of times, without a server.

They are forked from a process that has imported everything, and two at a time share one database.
Each begins with the appends of its predecessor that were not acknowledged.
"""

import asyncio
import json
import os
import random
import select
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from segue.model.errors import SegueError, SessionNotFound
from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, INVOCATION
from tests.faults import ledger
from tests.faults.ledger import Batch, Ledger
from tests.faults.runner import Report, Size, main

KILLS: dict[Size, int] = {"short": 200, "long": 10_000}
CONCURRENT = 2
KILLS_PER_SESSION = 25
MAX_KILL_DELAY_S = 0.03
"""The longest time from a process's first result to its kill."""

EARLY = 0.1
"""The share of kills that do not wait for the first result: they may hit the opening."""


class Writer:
    """The only writer of one session, in a sequence of processes."""

    def __init__(self, report: Report, database: Path, name: str, rng: random.Random) -> None:
        self.name = name
        self.ledger = Ledger("writer")
        self._report = report
        self._database = database
        self._rng = rng
        self._process = 0
        self._results = 0

    def begin(self) -> None:
        """Fork a process that appends until it is killed."""
        self._results, end = os.pipe()
        # The batches are made in the parent, so that every process retries the same ones.
        while len(missing := self.ledger.unacknowledged()) < 100:
            self.ledger.send(self._rng.randint(1, 3))
        self._process = os.fork()
        if self._process == 0:
            # A child must never return into its parent's code.
            try:
                asyncio.run(append_all(self._database, self.name, missing, end))
                signal.pause()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(end)

    def end(self) -> None:
        """Kill the process after a random time, and record the results that it got until then."""
        if self._rng.random() >= EARLY:
            select.select([self._results], [], [])
        time.sleep(self._rng.uniform(0, MAX_KILL_DELAY_S))
        os.kill(self._process, signal.SIGKILL)
        _, status = os.waitpid(self._process, 0)
        self._report.count("kills", int(os.WIFSIGNALED(status)))
        with open(self._results, encoding="utf-8") as results:
            for line in results:
                self._record(json.loads(line))

    def _record(self, result: Any) -> None:
        if "error" in result:
            self._report.expect(False, ledger.RETRY_REFUSED, result["error"])
            return
        self.ledger.acknowledge(result["positions"])
        self._report.count("acknowledged", len(result["positions"]))
        self._report.count("duplicates on retry", result["duplicates"])


async def append_all(database: Path, session: str, batches: list[Batch], results: int) -> None:
    """Append *batches*, and write the result of each as a line to the descriptor *results*."""
    service = await LocalSessionService.open(database)
    for batch in batches:
        try:
            result = await append(service, session, batch)
        except SegueError as error:
            result = {"error": f"{batch}: {error.kind} {error}"}
        os.write(results, json.dumps(result).encode() + b"\n")


async def append(service: LocalSessionService, session: str, batch: Batch) -> dict[str, Any]:
    """Append a batch to the current head; return its positions and the number of duplicates."""
    events = [ledger.event(name) for name in batch]
    try:
        head = (await service.get_session(session)).head
        appended = await service.append_events(
            session, events, parent_id=head, invocation_id=INVOCATION
        )
    except SessionNotFound:
        new = NewSession(id=session, directory=HERE)
        appended = await service.create_session(new, events, invocation_id=INVOCATION)
    positions = [(event.id, event.seq) for event in appended.events]
    return {"positions": positions, "duplicates": appended.duplicates}


def run(report: Report, rng: random.Random) -> None:
    """Kill processes, two at a time, and check the database after each of their sessions."""
    with ledger.folder_on_disk() as folder:
        database = folder / "sessions.db"
        for generation in range(KILLS[report.size] // (CONCURRENT * KILLS_PER_SESSION)):
            names = [f"{generation}-{number}" for number in range(CONCURRENT)]
            writers = [Writer(report, database, name, rng) for name in names]
            for _ in range(KILLS_PER_SESSION):
                for writer in writers:
                    writer.begin()
                for writer in writers:
                    writer.end()
            sessions = [(writer.name, [writer.ledger]) for writer in writers]
            ledger.check_database(report, database, sessions)
            if report.broken:
                break


if __name__ == "__main__":
    main(run)
