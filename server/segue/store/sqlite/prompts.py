"""Prompts that hooks stored before their programs recorded them, and which records are theirs.

A hook stores a prompt before the model answers, under an id of its own; the record of it comes with
the rest of the turn, under another one. Which is which is kept in the metadata of the session, so
that a transcript that is read again from its beginning adds no prompt either.
"""

from collections.abc import Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.records import PROMPT, ImportedEvent
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, unpack

RECORDS = "prompts"
"""The key of the metadata that has the ids of the prompts by those of their records."""

_MAX_DISTANCE_MS = 60 * 60 * 1_000
"""A record without an id of the prompt is not that of a prompt with the same text so long before:
that one was never answered."""

# In the order of SQLite a text is before every blob, and 0 is the character after the slash.
_PROMPTS = "SELECT id FROM events WHERE session = ? AND id >= 'prompt/' AND id < 'prompt0'"
_PROMPT = "SELECT created_at, data FROM events WHERE session = ? AND id = ?"
_RECORDS = "SELECT value FROM metadata WHERE session = ? AND key = ?"
_SAVE = "INSERT OR REPLACE INTO metadata (session, key, value) VALUES (?, ?, ?)"

_OTHERS = """
SELECT EXISTS (
    SELECT 1 FROM events LEFT JOIN invocations ON invocations.number = events.invocation
    WHERE events.key >= ? AND events.key < ? AND (
        invocations.id IS NOT ?
        OR NOT (? OR (typeof(events.id) = 'text' AND substr(events.id, 1, 7) = 'prompt/'))
    )
)
"""


def is_prompt(event_id: str | None) -> bool:
    """Return whether this is the id of a prompt that a hook stored."""
    return event_id is not None and event_id.startswith(PROMPT)


def has_others(db: Connection, keys: range, invocation: str, *, any_imported: bool) -> bool:
    """Return whether the events with these keys are not just prompts that *invocation* wrote.

    With *any_imported*, whether they are not just events that *invocation* wrote.
    """
    values = (keys.start, keys.stop, invocation, any_imported)
    return bool(db.execute(_OTHERS, values).fetchone()[0])


class Prompts:
    """The prompts of a session that were stored ahead, and their records."""

    def __init__(self, db: Connection, session: Row) -> None:
        self._db = db
        self._session: int = session["number"]
        rows = db.execute(_PROMPTS, (self._session,)).fetchall()
        self._ids = [unpack(row["id"]) for row in rows]
        self._by_record: dict[str, str] = self._load() if self._ids else {}
        self._stored = len(self._by_record)

    def stored_id(self, event_id: str | None) -> str | None:
        """Return the id under which an event is stored."""
        return event_id if event_id is None else self._by_record.get(event_id, event_id)

    def recognize(self, events: Sequence[ImportedEvent]) -> Sequence[ImportedEvent]:
        """Return *events*, those that record a prompt of the session under its id.

        That is the prompt with their `prompt_id`; if they have none, of those with the same text
        the nearest in time, within an hour.
        """
        return [self._recognize(each) for each in events] if self._ids else events

    def save(self) -> None:
        """Remember in the database which records were recognized."""
        if len(self._by_record) > self._stored:
            value = json_text.encode("$.prompts", self._by_record)
            self._db.execute(_SAVE, (self._session, RECORDS, value))

    def _recognize(self, record: ImportedEvent) -> ImportedEvent:
        event = record.event
        if is_prompt(event.id) or event.type != "user_message":
            return record
        id = self._by_record.get(event.id) or self._find(record)
        if id is None:
            return record
        self._by_record[event.id] = id
        return attrs.evolve(record, event=attrs.evolve(event, id=id))

    def _find(self, record: ImportedEvent) -> str | None:
        free = [id for id in self._ids if id not in self._by_record.values()]
        if record.prompt_id is not None:
            id = PROMPT + record.prompt_id
            return id if id in free else None
        text, time = _text(record.event.data), record.created_at
        near = []
        for id in free:
            row = self._db.execute(_PROMPT, (self._session, id)).fetchone()
            distance = abs(row["created_at"] - time)
            same = _text(json_text.decode(row["data"])[0]) == text
            if same and distance < _MAX_DISTANCE_MS:
                near.append((distance, id))
        return min(near)[1] if near else None

    def _load(self) -> dict[str, str]:
        row = self._db.execute(_RECORDS, (self._session, RECORDS)).fetchone()
        value = {} if row is None else json_text.decode(row["value"])[0]
        return value if isinstance(value, dict) else {}


def _text(data: Any) -> str:
    content = data.get("content") if isinstance(data, dict) else None
    return "\n".join(content.split()) if isinstance(content, str) else ""
