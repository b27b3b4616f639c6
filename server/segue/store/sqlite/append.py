"""Appends events to a session, inside a transaction that may append to it several times.

Here duplicates are found, and conflicts: HeadMoved and EventConflict.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from segue.model.errors import EventConflict, HeadMoved, SessionNotFound
from segue.model.events import Event, is_model_visible, title
from segue.model.json_text import same_json
from segue.model.records import AppendResult, EventPosition, Origin, Timestamp
from segue.store.sqlite import queries, spans
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import coerced, pack, unpack
from segue.store.sqlite.schema import MAX_SEQ

_UNKNOWN = Origin()

PROMPT_TYPE = "user_message"
"""The type of the events whose time is a session's `last_prompt_at`."""

_WHO = itemgetter("client", "agent", "model", "branch")

_SESSION = """
SELECT
    number, event_count, head,
    (
        SELECT invocations.number FROM invocations
        WHERE invocations.session = session_records.number AND invocations.id = ?
    ) AS invocation,
    automatic_title, fork_seq, client, agent, model, branch
FROM session_records WHERE id = ?
"""

FIND_INVOCATION = "SELECT number FROM invocations WHERE session = ? AND id = ?"

_WRITER = "SELECT invocation FROM events WHERE key = ?"

_STORED_EVENT = "SELECT key, type, data FROM events WHERE session = ? AND id = ?"

INSERT_EVENT = """
INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?, ?, ?, ?, ?, ?)
"""

_UPDATE_SESSION = """
UPDATE sessions SET
    event_count = event_count + ?2, updated_at = ?3, title = coalesce(title, ?4),
    model_visible = max(model_visible, ?5), client = ?6, agent = ?7, model = ?8, branch = ?9
WHERE number = ?1
"""

# Apart, so that an append without a prompt does not write to the index of the prompts' times.
_UPDATE_PROMPTED_SESSION = """
UPDATE sessions SET
    event_count = event_count + ?2, updated_at = ?3, title = coalesce(title, ?4),
    model_visible = max(model_visible, ?5), client = ?6, agent = ?7, model = ?8, branch = ?9,
    last_prompt_at = ?3
WHERE number = ?1
"""

INSERT_INVOCATION = """
INSERT INTO invocations (session, id, client_name, client_version) VALUES (?, ?, ?, ?)
RETURNING number
"""


class SessionAppender:
    """One session while a transaction appends to it: its row is read and updated once.

    An append that is refused has written nothing; `flush` updates the session's row.
    """

    def __init__(
        self, db: Connection, session_id: str, invocation_id: str, time: Timestamp
    ) -> None:
        """Read the session's row, or raise SessionNotFound. *time* is that of all the events."""
        row = db.execute(_SESSION, (invocation_id, session_id)).fetchone()
        if row is None:
            queries.raise_if_index_lost(db, session_id)
            raise SessionNotFound(session_id)
        session = coerced(row)
        self._db = db
        self._time = time
        self.number: int = session["number"]
        self._head = None if session["head"] is None else unpack(session["head"])
        self._stored_count: int = session["event_count"]
        self._fork_seq: int = session["fork_seq"]
        self._is_untitled = session["automatic_title"] is None
        self._client, self._agent, self._model, self._branch = _WHO(session)
        self._invocations = {invocation_id: row["invocation"]}
        self._head_known_to: set[str] = set()
        self._new: list[Event] = []

    def append(
        self,
        events: Sequence[Event],
        *,
        parent_id: str | None,
        invocation_id: str,
        accept_own_head: bool = False,
        boundary: Event | None = None,
        origin: Origin | None = None,
    ) -> AppendResult:
        """Insert the new ones of *events*, as `SessionService.append_events` promises."""
        # Ids before the head: a retry after a lost response must never look like a conflict.
        seqs = self._stored_seqs(events)
        new = _new_events(events, seqs)
        if new:
            if not (
                self._head in _known_heads(events, new, parent_id)
                or (accept_own_head and self._knows_head(invocation_id))
            ):
                raise HeadMoved(self._head, self.count)
            inserted = list(new.values())
            if boundary and boundary.id not in new and not self._stored_seqs([boundary]):
                inserted.insert(0, boundary)
            seqs |= self._insert(inserted, invocation_id, origin or _UNKNOWN)
        result = AppendResult(
            head=self._head,
            event_count=self.count,
            events=[EventPosition(event.id, seqs[event.id]) for event in events],
            duplicates=len(events) - len(new),
        )
        if result.includes_head:
            self._head_known_to.add(invocation_id)
        return result

    def flush(self) -> None:
        """Update the session's row by what was appended."""
        if not self._new:
            return
        titles = map(title, self._new if self._is_untitled else ())
        first_title = next(filter(None, titles), None)
        is_visible = any(is_model_visible(event.type) for event in self._new)
        is_prompted = any(event.type == PROMPT_TYPE for event in self._new)
        row = (self.number, len(self._new), self._time, first_title, is_visible)
        who = (self._client, self._agent, self._model, self._branch)
        sql = _UPDATE_PROMPTED_SESSION if is_prompted else _UPDATE_SESSION
        self._db.execute(sql, (*row, *who))
        self._stored_count, self._new = self.count, []
        self._is_untitled = self._is_untitled and first_title is None

    @property
    def count(self) -> int:
        """How many events the session has, with those that are not flushed."""
        return self._stored_count + len(self._new)

    def _stored_seqs(self, events: Iterable[Event]) -> dict[str, int]:
        seqs = {}
        for event in events:
            row = self._db.execute(_STORED_EVENT, (self.number, pack(event.id))).fetchone()
            stored = None if row is None else coerced(row)
            if stored is None and self._fork_seq:
                stored = spans.shared_event(self._db, self.number, event.id)
            if stored is not None:
                _raise_if_different(event, stored["type"], stored["data"])
                seqs[event.id] = stored["key"] & MAX_SEQ
        return seqs

    def _knows_head(self, invocation_id: str) -> bool:
        """Return whether this invocation wrote the head, or sent it again in this transaction."""
        if invocation_id in self._head_known_to:
            return True
        row = self._db.execute(_WRITER, (self.number << 32 | self.count,)).fetchone()
        return row is not None and row["invocation"] == self._find_invocation(invocation_id)

    def _insert(
        self, events: Sequence[Event], invocation_id: str, origin: Origin
    ) -> dict[str, int]:
        invocation = self._find_invocation(invocation_id)
        if invocation is None:
            row = (self.number, invocation_id, origin.client_name, origin.client_version)
            (invocation,) = self._db.execute(INSERT_INVOCATION, row).fetchone()
        first = self.count + 1
        for seq, event in enumerate(events, first):
            key = self.number << 32 | seq
            values = (key, pack(event.id), invocation, self._time, event.type, event.json_text)
            self._db.execute(INSERT_EVENT, values)
        # Only now: if an insert fails, what this object holds is still true after the rollback.
        self._invocations[invocation_id] = invocation
        self._new += events
        self._head = events[-1].id
        self._head_known_to.clear()
        self._client = origin.client_name or self._client
        self._branch = origin.branch or self._branch
        if origin.agent or origin.model:  # the model of another agent would be wrong
            self._agent, self._model = origin.agent, origin.model
        return {event.id: seq for seq, event in enumerate(events, first)}

    def _find_invocation(self, invocation_id: str) -> int | None:
        if invocation_id not in self._invocations:
            row = self._db.execute(FIND_INVOCATION, (self.number, invocation_id)).fetchone()
            self._invocations[invocation_id] = None if row is None else row["number"]
        found: int | None = self._invocations[invocation_id]
        return found


def _known_heads(
    events: Sequence[Event], new: Mapping[str, Event], parent_id: str | None
) -> set[str | None]:
    """Return what the head may be: *parent_id*, or the stored event that the new ones follow."""
    first = next(index for index, event in enumerate(events) if event.id in new)
    return {parent_id, events[first - 1].id} if first else {parent_id}


def _new_events(events: Iterable[Event], stored: Mapping[str, int]) -> dict[str, Event]:
    new: dict[str, Event] = {}
    for event in events:
        if event.id in new:
            _raise_if_different(event, new[event.id].type, new[event.id].json_text)
        elif event.id not in stored:
            new[event.id] = event
    return new


def _raise_if_different(event: Event, type: str, json_text: str) -> None:
    if event.type != type or not same_json(event.json_text, json_text):
        raise EventConflict(event.id)
