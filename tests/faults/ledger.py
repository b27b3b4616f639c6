"""What the writer of a session was told, and what the store must therefore still hold.

An event is known by its name: its id, and the first word that it says. So one that is stored twice
is seen, whatever ids it was given.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from segue.model.events import Event
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from tests.factories import said
from tests.faults.runner import Report

LOST = "an acknowledged event is lost"
TWICE = "an event is stored twice"
TORN = "a batch is stored in part"
DISORDER = "events are stored in another order than they were sent in"
UNCHAINED = "a chain has a gap or a wrong end"
DAMAGED = "the database is damaged"
REFUSED = "a retry with the same ids is refused"

Batch = tuple[str, ...]
_UNREADABLE: tuple[type[Exception], ...] = (*driver.Error, ValueError)
"""What damage may raise; the second is for a row that is no longer JSON."""

_EVENTS = """
SELECT events.key & 4294967295 AS seq, events.type, events.data FROM events
JOIN sessions ON sessions.number = events.key >> 32 WHERE sessions.id = ? ORDER BY events.key
"""


@contextlib.contextmanager
def on_disk() -> Iterator[Path]:
    """Yield a folder on a real disk, if there is one: to commit has to take its time there."""
    with tempfile.TemporaryDirectory(prefix="segue-faults-") as folder:
        yield Path(os.path.realpath(folder))


def event(name: str, size: int = 0) -> Event:
    """Return the event called *name*, with a text of at least *size* characters."""
    return said(name.ljust(size, "."), id=name)


def wire(name: str, size: int = 0) -> dict[str, Any]:
    """Return the same event as a client sends it."""
    return {"id": name, "type": "user_message", "data": {"content": name.ljust(size, ".")}}


@dataclasses.dataclass
class Ledger:
    """One writer of a session: what it sent, in its order, and what was acknowledged, and where."""

    writer: str = ""
    """What the names of its events begin with: a session may have several writers."""
    batches: list[Batch] = dataclasses.field(default_factory=list)
    places: dict[str, int] = dataclasses.field(default_factory=dict)

    def send(self, size: int) -> Batch:
        """Note a new batch of *size* events, and return their names."""
        number = len(self.batches)
        batch = tuple(f"{self.writer}-{number}-{part}" for part in range(size))
        self.batches.append(batch)
        return batch

    def acknowledge(self, placements: Iterable[tuple[str, int]]) -> None:
        """Note that the store said where each of these events stands."""
        self.places.update(placements)

    def unacknowledged(self) -> list[Batch]:
        """Return the batches that must be sent again, in their order."""
        return [batch for batch in self.batches if batch[0] not in self.places]

    def check(self, report: Report, stored: "Stored", where: str = "") -> None:
        """Report every promise that the session, as it is stored, breaks of this writer's."""
        mine = {name: seq for seq, name in stored.events if name.startswith(f"{self.writer}-")}
        order = [name for _, name in stored.events if name in mine]
        sent = [name for batch in self.batches for name in batch]
        ends = {0, *itertools.accumulate(len(batch) for batch in self.batches)}
        lost = [name for name, seq in self.places.items() if mine.get(name) != seq]
        report.expect(not lost, LOST, f"{lost[:3]} {where}")
        report.expect(len(order) == len(mine), TWICE, where)
        report.expect(list(mine) == sent[: len(mine)], DISORDER, where)
        report.expect(len(mine) in ends, TORN, where)


@dataclasses.dataclass
class Stored:
    """What a database says of one session: how many events it counts, and which it has."""

    count: int
    seqs: Sequence[int]
    events: Sequence[tuple[int, str]]
    """The seq and the name of those that a ledger may know of: no boundary is among them."""

    def check(self, report: Report, where: str = "") -> None:
        """Report a chain that is none."""
        report.expect(list(self.seqs) == list(range(1, self.count + 1)), UNCHAINED, where)


def read(db: Connection, session: str) -> Stored:
    """Return what the database at hand says of a session, read without the store's own code."""
    count = db.execute("SELECT event_count FROM sessions WHERE id = ?", (session,)).fetchone()
    rows = db.execute(_EVENTS, (session,)).fetchall()
    return Stored(
        count=0 if count is None else count[0],
        seqs=[row["seq"] for row in rows],
        events=[(row["seq"], _name(row)) for row in rows if row["type"] == "user_message"],
    )


def check_database(
    report: Report,
    database: Path,
    sessions: Iterable[tuple[str, Sequence[Ledger]]],
    where: str = "",
) -> None:
    """Report whatever the database at rest breaks: of each session's writers', and by itself."""
    try:
        with contextlib.closing(driver.connect(str(database))) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            found += [tuple(row) for row in db.execute("PRAGMA foreign_key_check")]
            report.expect(found == ["ok"], DAMAGED, f"{found} {where}")
            for session, ledgers in sessions:
                stored = read(db, session)
                stored.check(report, where)
                for ledger in ledgers:
                    ledger.check(report, stored, where)
    except _UNREADABLE as error:
        report.expect(False, DAMAGED, f"{error} {where}")


def _name(row: Any) -> str:
    return str(json.loads(row["data"])["content"]).partition(".")[0]
