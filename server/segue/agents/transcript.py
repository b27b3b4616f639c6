"""A conversation as a source gives it: events with ids that make twice once."""

import collections
import hashlib
import itertools
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.json_text import encode
from segue.model.records import Session, Timestamp
from segue.model.told_history import BEGIN_MARK, strip
from segue.model.validation import InvalidInputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDS = uuid.UUID("5e90e000-0000-5000-8000-000000000001")

COMPACTED = "[Note: the conversation was compacted here.]"
"""Stands where a program has replaced what was said before by a summary."""


@attrs.frozen
class Places:
    """Where a user's programs keep their files."""

    home: Path
    environment: Mapping[str, str]

    def folder(self, variable: str, default: str) -> Path:
        """Return the folder that an environment variable names, else *default* in the home."""
        given = self.environment.get(variable, "")
        return Path(given) if os.path.isabs(given) else self.home / default


@attrs.frozen
class Folder:
    """A folder in which a program writes conversations; it need not exist."""

    path: Path
    is_deep: bool = True
    """Whether the folders in it count too."""


@attrs.frozen
class Rewind:
    """What follows does not follow the event before it, but the event with the id *after*."""

    after: str


Item = ImportedEvent | Rewind


@attrs.frozen
class BrokenPart:
    """A part of a file that could not be read: its place, such as `line 7`, and the reason."""

    place: str
    reason: str


@attrs.frozen
class Recording:
    """That Segue's own plugin was there when a conversation was had, as the source notes."""

    first: str
    """What the person said first."""
    session: str | None = None
    """The id of the session that it was recorded into, once that had stored a message of it."""


@attrs.define(kw_only=True)
class Transcript:
    """One conversation. What is known of it is complete when `items` has been read to its end.

    `id`, `directory` and `after` are known before the first item.
    """

    id: str
    """The source's own id if it is a UUID, else one that is made of it."""
    own_id: str | None = None
    """What the source calls it, if that is not `id`: `RESUME` needs it."""
    path: str
    items: Iterator[Item] = attrs.field(factory=lambda: iter(()))
    is_unchanged: bool = False
    """Whether nothing was added since the import that stored its state: then nothing is read."""
    directory: str | None = None
    after: str | None = None
    """The id of the event before the first one, if the beginning was imported before."""
    title: str | None = None
    """The title that the source gives it; None: Segue's rule makes one."""
    client_version: str | None = None
    model: str | None = None
    branch: str | None = None
    """The git branch on which it was continued last, as the source notes it."""
    recording: Recording | None = None
    """Of one that Segue may have recorded itself, if all of it was said while it could."""
    session: Session | None = None
    """Of one that Segue has exported: the session as it was. Known before the first item."""
    state: Any = None
    """What the next `read` needs to go on: JSON."""
    skipped: "collections.Counter[str]" = attrs.field(factory=collections.Counter)
    """How many parts were not kept, by their kind."""
    broken: list[BrokenPart] = attrs.field(factory=list)

    def event(
        self, id: str, type: str, data: dict[str, Any], created_at: Timestamp
    ) -> ImportedEvent | None:
        """Return an event, or None, counted as skipped, if it is none that can be stored.

        *data* has the fields of *type*, of their types; *id* is ASCII, of 1 to 128 characters.
        """
        if type == "user_message" and BEGIN_MARK in data["content"]:
            data = data | {"content": strip(data["content"])}
        # Its fields have the types of the event type: it is not checked again, for speed.
        try:
            event = Event(id=id, type=type, data=data, json_text=encode("$.data", data))
        except InvalidInputError:
            self.skipped[f"invalid {type}"] += 1
            return None
        return ImportedEvent(event, created_at)


def begin(transcript: Transcript, items: Iterator[Item]) -> None:
    """Give *transcript* its *items*, read as far as the first one: the folder stands before it."""
    first = next(items, None)
    if first is not None:
        transcript.items = itertools.chain((first,), items)


def state_of(path: Path, states: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return the session that a file was imported into, and its state; None for both if none."""
    for id, state in states.items():
        if isinstance(state, dict) and state.get("path") == str(path):
            return id, state
    return None, None


def unchanged_session(states: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """Return the session whose state has all that is *known*, None if there is none."""
    for id, state in states.items():
        if isinstance(state, dict) and known.items() <= state.items():
            return id
    return None


def states_of_sessions(states: Mapping[str, Any]) -> dict[object, dict[str, Any]]:
    """Return the states by the source's own ids of their sessions, which they have as `session`."""
    found: dict[object, dict[str, Any]] = {}
    for id, state in states.items():
        if isinstance(state, dict) and isinstance(own := state.get("session"), str):
            found.setdefault(own, {})[id] = state
    return found


def derived_id(*parts: object) -> str:
    """Return a UUID that is always the same for these parts."""
    return str(uuid.uuid5(_IDS, "/".join(map(str, parts)).encode(errors="replace").decode()))


def prompt_in_turn(turn: str, text: str) -> str:
    """Return the id of a prompt in a turn, which may have several: a person can write meanwhile."""
    return derived_id(turn, "".join(text.split()))


def content_id(record: str, part: object, content: object) -> str:
    """Return the id of an event of a source that can change its records: other content, other id.

    *content* is JSON.
    """
    text = json.dumps(content, sort_keys=True)
    return derived_id(record, part, hashlib.sha256(text.encode()).hexdigest())


def session_that_begins_with(first: str, id: str, own_states: Mapping[str, Any]) -> str:
    """Return *id*, or an id made of it if that session was imported with another first event.

    No fork has another beginning than its original. *own_states* are those of the conversation,
    which have `first` and `original`, what this returned for it.
    """
    for state in own_states.values():
        if state.get("first") == first and isinstance(original := state.get("original"), str):
            return original
    return derived_id(id, first) if own_states else id


def session_id(source: str, own: str) -> str:
    """Return the id of a session whose source calls it *own*: that, if it is a UUID."""
    try:
        return str(uuid.UUID(own))
    except ValueError:
        return derived_id(source, own)


def milliseconds(value: object) -> Timestamp | None:
    """Return a time: ISO 8601, or seconds or milliseconds since 1970; None for anything else."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            if time.tzinfo is None:
                time = time.replace(tzinfo=UTC)
            found = (time - _EPOCH) // timedelta(milliseconds=1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = int(value if value > 100_000_000_000 else value * 1_000)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return Timestamp(found) if 0 < found < 253_402_300_800_000 else None


def text_of(content: object) -> str:
    """Return a content that is a string, or a list of parts, as one text.

    What is no text is named: `[image image/png]`.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(filter(None, map(_part, content)))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if isinstance(text := part.get("text"), str):
        return text
    if not isinstance(kind := part.get("type"), str):
        return ""
    source = part.get("source")
    media = source.get("media_type") if isinstance(source, dict) else part.get("mimeType")
    return f"[{kind} {media}]" if isinstance(media, str) else f"[{kind}]"
