"""Prompts that hooks stored before their programs recorded them, and which records are theirs.

A hook stores a prompt before the model answers, under an id of its own; the record of it comes with
the rest of the turn, under another one. Which is which is kept in the metadata of the session, so
that a transcript that is read again from its beginning adds no prompt either.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import attrs

from segue.model import json_text
from segue.model.imports import ImportedEvent
from segue.model.records import ADDED_PROMPT, PROMPT

_MAX_DISTANCE_MS = 60 * 60 * 1_000
"""A record without an id of the prompt is not that of a prompt with the same text so long before:
that one was never answered."""

TAIL = 8
"""How many of the last events are looked at for the record of a prompt that comes after it."""

_ANSWERS = ("text", "thinking", "tool_call", "tool_result", "turn_end")


class PromptFacts(Protocol):
    """What has to be known of a session's own events, those that it does not share."""

    def prompt_ids(self) -> Sequence[str]:
        """Return the ids of its prompts that were stored ahead."""

    def prompt(self, event_id: str) -> tuple[int, str]:
        """Return the time and the JSON of one of them."""

    def prompt_records(self) -> str | None:
        """Return the JSON that its metadata has under PROMPT_RECORDS."""

    def tail(self) -> Iterable[tuple[str, str, str]]:
        """Return the ids, types and JSON of its last `TAIL` events, the last one first."""


def is_prompt(event_id: str | None) -> bool:
    """Return whether this is the id of a prompt that a hook stored."""
    return event_id is not None and event_id.startswith(PROMPT)


class Prompts:
    """The prompts of a session that were stored ahead, and their records."""

    def __init__(self, facts: PromptFacts) -> None:
        self._facts = facts
        self._ids = facts.prompt_ids()
        self._by_record: dict[str, str] = self._load() if self._ids else {}
        self._stored = len(self._by_record)

    def stored_id(self, event_id: str | None) -> str | None:
        """Return the id under which an event is stored."""
        return event_id if event_id is None else self._by_record.get(event_id, event_id)

    def recognize(self, events: Sequence[ImportedEvent]) -> Sequence[ImportedEvent]:
        """Return *events*, those that record a prompt of the session under its id.

        That is the prompt with their `prompt_id`; if there is none, of those with the same text
        the nearest in time, within an hour: of all if they have no `prompt_id`, else of those that
        were added to a turn, since what is added too late begins a turn, under an id of its own.
        Left out is a prompt whose record was stored before it.
        """
        if self._ids:
            events = [self._recognize(each) for each in events]
        return [each for each in events if not self._is_recorded(each)]

    def new_records(self) -> str | None:
        """Return the JSON to be stored under PROMPT_RECORDS; None if no record was recognized."""
        if len(self._by_record) == self._stored:
            return None
        return json_text.encode("$.prompts", self._by_record)

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
            if (id := PROMPT + record.prompt_id) in free:
                return id
            free = [id for id in free if id.startswith(ADDED_PROMPT)]
        text, time = _text(record.event.data), record.created_at
        near = []
        for id in free:
            created_at, stored = self._facts.prompt(id)
            distance = abs(created_at - time)
            same = _text(json_text.decode(stored)[0]) == text
            if same and distance < _MAX_DISTANCE_MS:
                near.append((distance, id))
        return min(near)[1] if near else None

    def _is_recorded(self, prompt: ImportedEvent) -> bool:
        """Return whether the last message is the record of *prompt*, and not answered yet."""
        # What an export has of a prompt is told by its id alone: it comes with an invocation.
        if not is_prompt(prompt.event.id) or prompt.invocation is not None:
            return False
        for id, type, stored in self._facts.tail():
            if type == "user_message" and not is_prompt(id):
                return _text(json_text.decode(stored)[0]) == _text(prompt.event.data)
            if type in _ANSWERS:
                return False
        return False

    def _load(self) -> dict[str, str]:
        stored = self._facts.prompt_records()
        value = {} if stored is None else json_text.decode(stored)[0]
        return value if isinstance(value, dict) else {}


def _text(data: Any) -> str:
    content = data.get("content") if isinstance(data, dict) else None
    return "\n".join(content.split()) if isinstance(content, str) else ""
