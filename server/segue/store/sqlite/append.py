"""Chain: appending to a session's events, inside one transaction."""

from collections.abc import Iterable, Mapping, Sequence

from segue.model import events, json_text
from segue.model.errors import EventConflict, HeadMoved, SessionArchived, SessionNotFound
from segue.model.events import Event
from segue.model.records import AppendResult, EventPosition
from segue.store.sqlite import queries, row_values
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import pack

_SESSION = """
SELECT
    number, archived_at, event_count, head,
    (
        SELECT invocations.number FROM invocations
        WHERE invocations.session = session_records.number AND invocations.id = ?
    ) AS invocation
FROM session_records WHERE id = ?
"""

_STORED_EVENT = "SELECT seq, type, data FROM events WHERE session = ? AND id = ?"

_INSERT_EVENT = """
INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?, ?, ?, ?, ?, ?)
"""

_PROGRESS = """
UPDATE sessions SET
    event_count = event_count + ?, updated_at = ?, title = coalesce(title, ?),
    model_visible = max(model_visible, ?)
WHERE number = ?
"""


class SessionAppender:
    """A stored session's events while they grow, at one time: its row is read and written once."""

    def __init__(self, db: Connection, session_id: str, invocation_id: str, at: int) -> None:
        row = db.execute(_SESSION, (invocation_id, session_id)).fetchone()
        if row is None:
            queries.raise_if_index_lost(db, session_id)
            raise SessionNotFound(session_id)
        invocation = row["invocation"]
        session = row_values.coerced(row)
        self._db = db
        self._at = at
        self._session_id = session_id
        self._invocation_id = invocation_id
        self._number: int = session["number"]
        self._is_archived = session["archived_at"] is not None
        self._head = queries.head(session)
        self._stored: int = session["event_count"]
        self._invocation: int | None = invocation
        self._new: list[Event] = []

    def append(
        self, events: Sequence[Event], parent_id: str | None, boundary: Event | None = None
    ) -> AppendResult:
        """Write those of *events* that are new, or raise before any of them is written."""
        # Ids before the head: a retry after a lost answer must never look like a conflict.
        seqs = self._stored_seqs(events)
        fresh = _fresh(events, seqs)
        if fresh:
            if self._is_archived:
                raise SessionArchived(self._session_id)
            self._check_head(events, fresh, parent_id)
            chain = list(fresh.values())
            if boundary and boundary.id not in fresh and not self._stored_seqs([boundary]):
                chain.insert(0, boundary)
            seqs |= self._write(chain)
        return AppendResult(
            head=self._head,
            event_count=self._count,
            events=[EventPosition(event.id, seqs[event.id]) for event in events],
            duplicates=len(events) - len(fresh),
        )

    def store_progress(self) -> None:
        """Say in the session's row what was written."""
        if not self._new:
            return
        title = next(filter(None, map(events.title, self._new)), None)
        is_visible = any(event.type in events.MODEL_VISIBLE for event in self._new)
        self._db.execute(_PROGRESS, (len(self._new), self._at, title, is_visible, self._number))

    @property
    def _count(self) -> int:
        return self._stored + len(self._new)

    def _stored_seqs(self, events: Iterable[Event]) -> dict[str, int]:
        seqs = {}
        for event in events:
            row = self._db.execute(_STORED_EVENT, (self._number, pack(event.id))).fetchone()
            if row is not None:
                stored = row_values.coerced(row)
                _check_same(event, stored["type"], stored["data"])
                seqs[event.id] = stored["seq"]
        return seqs

    def _check_head(
        self, events: Sequence[Event], fresh: Mapping[str, Event], parent_id: str | None
    ) -> None:
        """Raise HeadMoved unless the first fresh event follows the head, as far as known.

        A sender that repeats stored events knows them too, whatever it says of the parent.
        """
        first = next(place for place, event in enumerate(events) if event.id in fresh)
        known = {parent_id, events[first - 1].id} if first else {parent_id}
        if self._head not in known:
            raise HeadMoved(self._head, self._count)

    def _write(self, events: Sequence[Event]) -> dict[str, int]:
        if self._invocation is None:
            self._invocation = self._begin_invocation()
        first = self._count + 1
        for seq, event in enumerate(events, first):
            key = self._number << 32 | seq
            row = (key, pack(event.id), self._invocation, self._at, event.type, event.json_text)
            self._db.execute(_INSERT_EVENT, row)
        self._new += events
        self._head = events[-1].id
        return {event.id: seq for seq, event in enumerate(events, first)}

    def _begin_invocation(self) -> int:
        sql = "INSERT INTO invocations (session, id) VALUES (?, ?) RETURNING number"
        (number,) = self._db.execute(sql, (self._number, self._invocation_id)).fetchone()
        return int(number)


def _fresh(events: Iterable[Event], stored: Mapping[str, int]) -> dict[str, Event]:
    fresh: dict[str, Event] = {}
    for event in events:
        if event.id in fresh:
            _check_same(event, fresh[event.id].type, fresh[event.id].json_text)
        elif event.id not in stored:
            fresh[event.id] = event
    return fresh


def _check_same(event: Event, type: str, text: str) -> None:
    if event.type != type or not json_text.same_json(event.json_text, text):
        raise EventConflict(event.id)
