"""The ledger of a writer: what it sent, what was acknowledged, and so what the store must hold.

An event has a name, which is its id and also the first word of its content. So a duplicate is
recognised even if it was stored under another id.
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
from tests.factories import user_message
from tests.faults.runner import Report

LOST = "an acknowledged event is lost"
DUPLICATED = "an event is duplicated"
PARTIAL_BATCH = "a batch is stored in part"
REORDERED = "events are stored in another order than they were sent in"
GAP = "a session's events have a gap or a wrong count"
CORRUPT = "the database is corrupt"
RETRY_REFUSED = "a retry with the same ids is refused"

Batch = tuple[str, ...]
_UNREADABLE: tuple[type[Exception], ...] = (*driver.Error, ValueError)
"""What corruption may raise; ValueError is for a row that is no longer JSON."""

_EVENTS = """
SELECT events.key & 4294967295 AS seq, events.type, events.data FROM events
JOIN sessions ON sessions.number = events.key >> 32 WHERE sessions.id = ? ORDER BY events.key
"""


@contextlib.contextmanager
def folder_on_disk() -> Iterator[Path]:
    """Yield a folder on a real disk if there is one, so that a commit takes a realistic time."""
    with tempfile.TemporaryDirectory(prefix="segue-faults-") as folder:
        yield Path(os.path.realpath(folder))


def event(name: str, size: int = 0) -> Event:
    """Return the event called *name*, with content of at least *size* characters."""
    return user_message(name.ljust(size, "."), id=name)


def event_json(name: str, size: int = 0) -> dict[str, Any]:
    """Return the same event as a client sends it."""
    return {"id": name, "type": "user_message", "data": {"content": name.ljust(size, ".")}}


@dataclasses.dataclass
class Ledger:
    """One writer of a session: the batches that it sent, and the acknowledged seq of each event."""

    writer: str = ""
    """The prefix of the names of its events: a session may have several writers."""
    batches: list[Batch] = dataclasses.field(default_factory=list)
    acknowledged: dict[str, int] = dataclasses.field(default_factory=dict)

    def send(self, size: int) -> Batch:
        """Record a new batch of *size* events and return their names."""
        number = len(self.batches)
        batch = tuple(f"{self.writer}-{number}-{part}" for part in range(size))
        self.batches.append(batch)
        return batch

    def acknowledge(self, positions: Iterable[tuple[str, int]]) -> None:
        """Record the name and seq of each event that the store acknowledged."""
        self.acknowledged.update(positions)

    def unacknowledged(self) -> list[Batch]:
        """Return the batches that must be sent again, in their order."""
        return [batch for batch in self.batches if batch[0] not in self.acknowledged]

    def check(self, report: Report, stored: "StoredSession", where: str = "") -> None:
        """Report every promise to this writer that the stored session breaks."""
        mine = {name: seq for seq, name in stored.events if name.startswith(f"{self.writer}-")}
        order = [name for _, name in stored.events if name in mine]
        sent = [name for batch in self.batches for name in batch]
        ends = {0, *itertools.accumulate(len(batch) for batch in self.batches)}
        lost = [name for name, seq in self.acknowledged.items() if mine.get(name) != seq]
        report.expect(not lost, LOST, f"{lost[:3]} {where}")
        report.expect(len(order) == len(mine), DUPLICATED, where)
        report.expect(list(mine) == sent[: len(mine)], REORDERED, where)
        report.expect(len(mine) in ends, PARTIAL_BATCH, where)


@dataclasses.dataclass
class StoredSession:
    """One session as the database holds it."""

    count: int
    """The session's own `event_count`."""
    seqs: Sequence[int]
    events: Sequence[tuple[int, str]]
    """Seq and name of the user messages: what a ledger can know of. Boundaries are left out."""

    def check(self, report: Report, where: str = "") -> None:
        """Report a sequence that is not 1, 2, … up to the session's count."""
        report.expect(list(self.seqs) == list(range(1, self.count + 1)), GAP, where)


def read_session(db: Connection, session: str) -> StoredSession:
    """Read a session without the store's own code."""
    count = db.execute("SELECT event_count FROM sessions WHERE id = ?", (session,)).fetchone()
    rows = db.execute(_EVENTS, (session,)).fetchall()
    return StoredSession(
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
    """Report every broken promise: of the database's integrity, and to each session's writers."""
    try:
        with contextlib.closing(driver.connect(str(database))) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            found += [tuple(row) for row in db.execute("PRAGMA foreign_key_check")]
            report.expect(found == ["ok"], CORRUPT, f"{found} {where}")
            for session, ledgers in sessions:
                stored = read_session(db, session)
                stored.check(report, where)
                for ledger in ledgers:
                    ledger.check(report, stored, where)
    except _UNREADABLE as error:
        report.expect(False, CORRUPT, f"{error} {where}")


def _name(row: Any) -> str:
    return str(json.loads(row["data"])["content"]).partition(".")[0]
