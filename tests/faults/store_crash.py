"""Kill processes that append through LocalSessionService alone, thousands of times.

They are forked from a process that has imported everything, and work two at a time on one database.
Each first sends again what the one before it sent and saw no answer to.
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
AT_ONCE = 2
KILLS_OF_A_SESSION = 25
LATEST_S = 0.03
"""How long a process may go on after its first answer. A kill may also fall into its opening."""

EARLY = 0.1
"""How many of the kills do not wait for the first answer."""


class Writer:
    """The only writer of one session, in one process after the other."""

    def __init__(self, report: Report, database: Path, name: str, rng: random.Random) -> None:
        self.name = name
        self.ledger = Ledger("writer")
        self._report = report
        self._database = database
        self._rng = rng
        self._process = 0
        self._answers = 0

    def begin(self) -> None:
        """Fork a process that appends until it is killed."""
        self._answers, end = os.pipe()
        # What is said is decided here: it is the same in every process that says it.
        while len(missing := self.ledger.unacknowledged()) < 100:
            self.ledger.send(self._rng.randint(1, 3))
        self._process = os.fork()
        if self._process == 0:
            # Whatever happens, a child never goes on with its parent's work.
            try:
                asyncio.run(append_all(self._database, self.name, missing, end))
                signal.pause()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(end)

    def end(self) -> None:
        """Kill the process at some moment, and note what it was answered until then."""
        if self._rng.random() >= EARLY:
            select.select([self._answers], [], [])
        time.sleep(self._rng.uniform(0, LATEST_S))
        os.kill(self._process, signal.SIGKILL)
        _, status = os.waitpid(self._process, 0)
        self._report.count("kills", int(os.WIFSIGNALED(status)))
        with open(self._answers, encoding="utf-8") as answers:
            for line in answers:
                self._note(json.loads(line))

    def _note(self, answer: Any) -> None:
        if "refused" in answer:
            self._report.expect(False, ledger.REFUSED, answer["refused"])
            return
        self.ledger.acknowledge(answer["places"])
        self._report.count("acknowledged", len(answer["places"]))
        self._report.count("found stored at a retry", answer["duplicates"])


async def append_all(database: Path, session: str, batches: list[Batch], answers: int) -> None:
    """Append *batches*, and write a line to *answers* for each answer."""
    service = await LocalSessionService.open(database)
    for batch in batches:
        try:
            answer = await append(service, session, batch)
        except SegueError as error:
            answer = {"refused": f"{batch}: {error.kind} {error}"}
        os.write(answers, json.dumps(answer).encode() + b"\n")


async def append(service: LocalSessionService, session: str, batch: Batch) -> dict[str, Any]:
    """Append a batch to whatever is the head, and return the answer as it is written down."""
    events = [ledger.event(name) for name in batch]
    try:
        head = (await service.get_session(session)).head
        appended = await service.append_events(
            session, events, parent_id=head, invocation_id=INVOCATION
        )
    except SessionNotFound:
        new = NewSession(id=session, directory=HERE)
        appended = await service.create_session(new, events, invocation_id=INVOCATION)
    places = [(event.id, event.seq) for event in appended.events]
    return {"places": places, "duplicates": appended.duplicates}


def run(report: Report, rng: random.Random) -> None:
    """Kill processes, two at a time, and look at the database after each of their sessions."""
    with ledger.on_disk() as folder:
        database = folder / "sessions.db"
        for generation in range(KILLS[report.size] // (AT_ONCE * KILLS_OF_A_SESSION)):
            names = [f"{generation}-{lane}" for lane in range(AT_ONCE)]
            writers = [Writer(report, database, name, rng) for name in names]
            for _ in range(KILLS_OF_A_SESSION):
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
