"""Atuin AI: a database whose events are Segue's own, with their ids.

Two windows of one conversation append to the same list, and Atuin reads it in the order of time:
so does this.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.foreign_database import MAX_VALUE, ForeignDatabase
from segue.agents.transcript import (
    BrokenPart,
    Folder,
    Item,
    Places,
    Transcript,
    milliseconds,
    session_id,
    states_of_sessions,
    unchanged_session,
)
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp
from segue.model.validation import InvalidInputError

NAME = "atuin"
TITLE = "Atuin AI"
RESUME = None  # it goes on with the newest conversation of a directory

_SESSIONS = "SELECT id, directory FROM sessions WHERE id > ? ORDER BY id LIMIT 100"
_SEEN = "SELECT count(*), max(rowid) FROM session_events WHERE session_id = ?"
_ORDER = "SELECT rowid FROM session_events WHERE session_id = ? ORDER BY created_at, rowid"
_EVENT = """
SELECT id, event_type, CASE WHEN length(event_data) <= ? THEN event_data END, created_at
FROM session_events WHERE rowid = ?
"""


def find(places: Places) -> Iterator[Path]:
    """Yield the database, if there is one."""
    if (path := _path(places)).exists():
        yield path


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folder of the database."""
    yield Folder(_path(places).parent, is_deep=False)


def _path(places: Places) -> Path:
    default = str(places.folder("XDG_DATA_HOME", ".local/share") / "atuin" / "ai_sessions.db")
    return places.folder("ATUIN_AI__DB_PATH", default)


def accepts(path: Path) -> bool:
    """Return whether *path* is named like the database."""
    return path.suffix == ".db" and "ai_sessions" in path.name


def folder_of(path: Path) -> Path:
    """Return the folder that the database or file *path* lies in."""
    return path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversations of a database."""
    states_of = states_of_sessions(states)
    with ForeignDatabase(path, ("sessions", "session_events")) as database:
        for own_id, directory in database.pages(_SESSIONS, ("",), 1):
            own_id = str(own_id)
            seen = list(database.rows(_SEEN, own_id)[0])
            state = {"path": str(path), "session": own_id, "seen": seen}
            if (unchanged := unchanged_session(states_of.get(own_id, {}), state)) is not None:
                yield Transcript(id=unchanged, path=str(path), is_unchanged=True)
                continue
            transcript = Transcript(id=session_id(NAME, own_id), path=str(path))
            transcript.directory = directory if isinstance(directory, str) else None
            transcript.items = _items(database, transcript, state)
            yield transcript


def _items(
    database: ForeignDatabase, transcript: Transcript, state: Mapping[str, Any]
) -> Iterator[Item]:
    last_time = Timestamp(0)
    try:
        for (row,) in database.rows(_ORDER, state["session"]):
            for id, type, text, created_at in database.rows(_EVENT, MAX_VALUE, row):
                last_time = milliseconds(created_at) or last_time
                try:
                    event = Event.new(type, _value(text), id=str(id))
                except InvalidInputError as error:
                    transcript.broken.append(BrokenPart(f"event {id}"[:100], str(error)))
                else:
                    yield ImportedEvent(event, last_time)
    except BlockingIOError:
        raise
    except OSError as error:
        place = f"session {state['session']}"[:100]
        transcript.broken.append(BrokenPart(place, error.strerror or str(error)))
    else:
        transcript.state = state


def _value(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
