"""Shared by the fault programmes of the PostgreSQL store: servers, writers, and what is stored."""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import psycopg

from segue.model.errors import HeadMoved, SegueError, SessionNotFound, StorageUnavailable
from segue.model.records import NewSession
from segue.store.postgres import codec, setup
from segue.store.postgres.service import PostgresSessionService
from tests.factories import HERE, INVOCATION
from tests.faults import ledger
from tests.faults.ledger import Ledger, StoredSession
from tests.faults.runner import Report
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer

MAX_EVENTS = 3
"""How many events a writer appends at once, at most."""

UNSEEN = "an event follows one that its writer had not been told of"

_EVENTS = """
SELECT e.seq, e.type, e.data FROM segue.events e
JOIN segue.sessions s ON s.owner = e.owner AND s.number = e.session WHERE s.id = %s ORDER BY e.seq
"""


def start(report: Report, *, is_oldest: bool = False, **options: str) -> PostgresServer:
    """Return a new server of the latest version that is here, or the oldest, with a store."""
    version = list(postgres_server.find_programs())[0 if is_oldest else -1]
    report.counts["version"] = version
    return postgres_server.start(version, **options)


def add_role(server: PostgresServer, name: str, **settings: str) -> str:
    """Add a role that may use the store, with *settings* of its own; return its name."""
    setup.add_user(server.url(), name)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for setting, value in settings.items():
            admin.execute(f"ALTER ROLE {name} SET {setting} = '{value}'")
    return name


async def open_service(url: str) -> PostgresSessionService:
    """Return a service, which the caller closes."""
    return await PostgresSessionService.open(url, machine=postgres_server.MACHINE)


async def begin(service: PostgresSessionService, session: str) -> Ledger:
    """Store a session with its first event."""
    first = Ledger(f"first-{session}")
    events = [ledger.event(name) for name in first.send(1)]
    new = NewSession(id=session, directory=HERE)
    appended = await service.create_session(new, events, invocation_id=INVOCATION)
    first.acknowledge((event.id, event.seq) for event in appended.events)
    return first


class Writer:
    """Appends batches to a session that others append to, each until it is acknowledged."""

    def __init__(
        self, report: Report, service: PostgresSessionService, session: str, name: str
    ) -> None:
        self.ledger = Ledger(name)
        self.session = session
        self.told: dict[str, str | None] = {}
        """The head that the writer knew, by the first event of each batch."""
        self._report = report
        self._service = service

    async def write(self, head: str | None, goes_on: Callable[[], bool], seed: int) -> None:
        """Append behind *head*, and so on, while it *goes_on*."""
        rng = random.Random(seed)
        while goes_on():
            batch = self.ledger.send(rng.randint(1, MAX_EVENTS))
            head = await self._append([ledger.event(name) for name in batch], head)

    async def _append(self, events: list[Any], head: str | None) -> str | None:
        while True:
            self.told[events[0].id] = head
            try:
                appended = await self._service.append_events(
                    self.session, events, parent_id=head, invocation_id=INVOCATION
                )
            except HeadMoved as error:
                head = error.head
                self._report.count("HeadMoved conflicts")
            except StorageUnavailable:
                self._report.count("given up, and sent again")
            except SessionNotFound:
                self._report.expect(False, ledger.LOST, self.session)
                return head
            except SegueError as error:
                self._report.expect(False, ledger.RETRY_REFUSED, f"{error.kind}: {error}")
                return head
            else:
                self.ledger.acknowledge((event.id, event.seq) for event in appended.events)
                self._report.count("acknowledged", len(events))
                self._report.count("duplicates on retry", appended.duplicates)
                return appended.head

    def check(self, stored: StoredSession, where: str = "") -> None:
        """Report every promise to this writer that the stored session breaks."""
        self.ledger.check(self._report, stored, where)
        names = dict(stored.events)
        for seq, name in stored.events:
            if name in self.told:
                before = names.get(seq - 1)
                fits = before == self.told[name]
                self._report.expect(fits, UNSEEN, f"{name} behind {before} {where}")


def read_session(admin: "psycopg.Connection[Any]", session: str) -> StoredSession:
    """Read a session without the store's own code, as a superuser."""
    id = packed(session)
    count = admin.execute("SELECT event_count FROM segue.sessions WHERE id = %s", (id,)).fetchone()
    found = admin.execute(_EVENTS, (id,)).fetchall()
    return StoredSession(
        count=0 if count is None else count[0],
        seqs=[seq for seq, _, _ in found],
        events=[(seq, _name(data)) for seq, type, data in found if type == "user_message"],
    )


def packed(id: str) -> bytes:
    """Return an id as the tables have it."""
    return codec.pack(id)


def check_sessions(
    report: Report, server: PostgresServer, writers: Iterable[Writer], firsts: dict[str, Ledger]
) -> dict[str, StoredSession]:
    """Report every broken promise to the writers; return what is stored, by the sessions' ids."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        stored = {session: read_session(admin, session) for session in firsts}
    for session, first in firsts.items():
        stored[session].check(report, session)
        first.check(report, stored[session], session)
    for writer in writers:
        writer.check(stored[writer.session], writer.session)
    return stored


def _name(data: str) -> str:
    return str(json.loads(data)["content"]).partition(".")[0]
