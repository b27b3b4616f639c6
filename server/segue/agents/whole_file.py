"""Reads conversations of plugins that write one JSON file each, anew as a whole.

Their messages have no ids that could be relied on, so an event is known by its content: the first,
second, … of its kind in the conversation. What is taken out of the past there stays here, and what
is changed at the end makes a fork.
"""

import collections
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.json_file import Stamp, read_json, stamp
from segue.agents.transcript import (
    COMPACTED,
    Transcript,
    content_id,
    derived_id,
    states_of_sessions,
    text_of,
    unchanged_session,
)
from segue.agents.values import decoded, string
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

_NOT_SAID = ("system_context", "turn_end")
"""Events that are there before anybody has said anything."""


class Events:
    """The events of one conversation, in their order."""

    def __init__(self, transcript: Transcript, written_at: Timestamp) -> None:
        """*written_at* is the time of what has none of its own: when the file was written."""
        self.transcript = transcript
        self.time = written_at
        """The time of the events that are added."""
        self.items: list[ImportedEvent] = []
        self.summary_at: int | None = None
        """The index of the summary that has replaced what was said before it."""
        self._counts: collections.Counter[str] = collections.Counter()
        self._open_calls: list[tuple[str, str]] = []

    def add(self, type: str, data: dict[str, Any], *, id: str | None = None) -> None:
        """Add an event, with an *id* that is not made of its content if one is given."""
        if id is None:
            id = content_id("", type, data)
            self._counts[id] += 1
            if (count := self._counts[id]) > 1:
                id = derived_id(id, count)
        event = self.transcript.event(id, type, data, self.time)
        if event is not None:
            self.items.append(event)

    def messages(self, value: object) -> list[dict[str, Any]]:
        """Return the messages of a list; what is none is counted as skipped."""
        given = value if isinstance(value, list) else []
        found = [each for each in given if isinstance(each, dict)]
        if invalid := len(given) - len(found):
            self.transcript.skipped["invalid message"] += invalid
        return found

    def add_text(self, type: str, content: str) -> None:
        """Add an event that has nothing but a text, if there is any text."""
        if content:
            self.add(type, {"content": content})

    def add_system_prompt(self, content: str) -> None:
        """Add what stands before the conversation; another one later is not a changed past."""
        if content:
            self.add("system_context", {"content": content}, id=derived_id("system prompt"))

    def add_summary(self, content: str) -> None:
        """Add the summary that has replaced what was said before it."""
        self.summary_at = len(self.items)
        self.add("system_context", {"content": f"{COMPACTED}\n\n{content}"})

    def add_call(self, id: object, name: object, input: object) -> None:
        """Add a call of a tool. *input* is any JSON, or a text that is JSON."""
        count = self._counts["call"] = self._counts["call"] + 1
        call, name = string(id) or f"call {count}", string(name) or "unknown"
        self._open_calls.append((call, name))
        # Lua writes an empty table as a list.
        given = {} if input in (None, "", []) else decoded(input)
        self.add("tool_call", {"id": call, "name": name, "input": given})

    def add_result(
        self, id: object, content: object, *, is_error: bool = False, name: object = None
    ) -> None:
        """Add the result of a call. Without an *id* it is that of the first open call of *name*."""
        call = string(id)
        for each in self._open_calls:
            if each[0] == call or (call is None and name in (None, each[1])):
                self._open_calls.remove(each)
                call = each[0]
                break
        if call is None:
            self.transcript.skipped["result of no call"] += 1
            return
        data = {"tool_use_id": call, "content": any_text(content), "is_error": is_error}
        self.add("tool_result", data)


ReadEvents = Callable[[Any, Path, Events], str]
"""Adds the events of a file's value, and what is known of the conversation to its transcript.

Returns what tells it from other conversations that begin with the same words. Raises OSError if the
value is none.
"""


def read_transcript(
    path: Path, states: Mapping[str, Any], name: str, read_events: ReadEvents
) -> Iterator[Transcript]:
    """Yield the one conversation of a file of the source *name*, unless nobody said anything."""
    known = {"path": str(path), "seen": stamp(path)}
    if (id := unchanged_session(states, known)) is not None:
        yield Transcript(id=id, path=str(path), is_unchanged=True)
        return
    value, seen = read_json(path)
    transcript = Transcript(id="", path=str(path))
    events = Events(transcript, written_at(seen))
    own = read_events(value, path, events)
    items = events.items
    first = next((each.event.id for each in items if each.event.type not in _NOT_SAID), None)
    if first is None:
        return
    is_compacted = events.summary_at is not None
    own_states = states_of_sessions(states).get(own, {})
    before = {k: v for k, v in own_states.items() if is_compacted or v["first"] == first}
    if before:
        # In the last fork, if the past has changed before.
        transcript.id = max(before, key=lambda id: before[id]["seen"][-1])
    else:
        transcript.id = derived_id(name, own, first)
    if before and is_compacted:
        transcript.after = before[transcript.id]["last"]
        items = items[events.summary_at :]
    known = {"path": str(path), "seen": seen, "session": own}
    transcript.state = {**known, "first": first, "last": items[-1].event.id}
    transcript.items = iter(items)
    yield transcript


def written_at(seen: Stamp) -> Timestamp:
    """Return the time at which the file with this stamp was written."""
    return Timestamp(max(seen[-1] // 1_000_000, 1))


def any_text(content: object) -> str:
    """Return a content as text: a string, text parts, or else its JSON."""
    if content is None:
        return ""
    text = text_of([content] if isinstance(content, dict) else content)
    return text or ("" if content in ("", [], {}) else json.dumps(content, ensure_ascii=False))
