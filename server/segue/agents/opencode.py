"""OpenCode: rows of a database that are changed, before version 1.2 files of one JSON value each.

A conversation has messages, and those have parts. Both are changed while the model answers, so the
ids of events have a digest of their content, and a last answer that is not complete is imported as
far as its parts are.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from segue.agents.foreign_database import ForeignDatabase, text_column
from segue.agents.json_file import read_json, stamp
from segue.agents.transcript import (
    COMPACTED,
    BrokenPart,
    Folder,
    Places,
    Transcript,
    content_id,
    milliseconds,
    session_id,
    session_that_begins_with,
    states_of_sessions,
    unchanged_session,
)
from segue.agents.values import decoded, mapping, string
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

NAME = "opencode"
TITLE = "OpenCode"
RESUME = ("opencode", "--session", "{id}")

_OLD = Path("storage", "session")

_ROWS = 16
"""How many rows with texts are read at a time."""


def find(places: Places) -> Iterator[Path]:
    """Yield the databases; if there are none, the conversations of versions before 1.2."""
    folder, named = _folder(places), _named(places)
    databases = {named, *folder.glob("opencode*.db")}
    if existing := sorted(path for path in databases if path.exists()):
        yield from existing
    else:
        yield from (folder / _OLD).glob("*/*.json")


def folders(places: Places) -> Iterator[Folder]:
    """Yield those of the databases and of the conversations before 1.2."""
    folder = _folder(places)
    yield Folder(folder, is_deep=False)  # it has copies of whole repositories
    yield Folder(_named(places).parent, is_deep=False)
    yield Folder(folder / _OLD)


def _folder(places: Places) -> Path:
    return places.folder("XDG_DATA_HOME", ".local/share") / "opencode"


def _named(places: Places) -> Path:
    return _folder(places) / places.environment.get("OPENCODE_DB", "opencode.db")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a database, or like a conversation before 1.2."""
    if path.suffix == ".db":
        return path.name.startswith("opencode")
    return path.suffix == ".json" and path.parent.parent.name == "session"


def folder_of(path: Path) -> Path:
    """Return the folder that the database or file *path* lies in."""
    return path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversations of a database, or that of a file."""
    if path.suffix == ".json":
        yield from _read_files(path, states)
        return
    with ForeignDatabase(path, ("session", "message", "part")) as database:
        yield from _read_database(database, path, states)


Row = tuple[str, Any]
"""The id of a message or a part, and its value: an object, or a BrokenPart."""


@attrs.frozen
class _Conversation:
    """A conversation as it is stored, and how to get at its messages and their parts."""

    id: str
    session: Mapping[str, Any]
    seen: str | None
    """What tells that nothing was changed; None if that cannot be told."""
    messages: Callable[[], Iterator[Row]]
    parts: Callable[[str], Iterator[Row]]


def _read_database(
    database: ForeignDatabase, path: Path, states: Mapping[str, Any]
) -> Iterator[Transcript]:
    has = database.columns("session")
    kept = ("parent_id", "directory", "title", "version", "revert", "time_updated")
    columns = ", ".join(name if name in has else "NULL" for name in kept)
    sql = f"SELECT id, {columns} FROM session WHERE id > ? ORDER BY id LIMIT 100"  # noqa: S608  names of columns
    in_order = "time_created" in database.columns("message")
    is_dated = "time_updated" in has & database.columns("message")
    states_of = states_of_sessions(states)
    for id, *values in database.pages(sql, ("",), 1):
        session = dict(zip(kept, values, strict=True))
        seen = repr((session["time_updated"], *_counts(database, id))) if is_dated else None
        messages = functools.partial(_messages_of, database, id, in_order=in_order)
        parts = functools.partial(_parts_of, database)
        found = _Conversation(str(id), session, seen, messages, parts)
        yield from _transcript(found, path, states_of.get(found.id, {}))


def _counts(database: ForeignDatabase, id: str) -> tuple[Any, ...]:
    sql = "SELECT count(*), max(time_updated) FROM message WHERE session_id = ?"
    return database.rows(sql, id)[0]


def _messages_of(database: ForeignDatabase, session: str, *, in_order: bool) -> Iterator[Row]:
    time = "time_created" if in_order else "id"
    sql = f"""
    SELECT {time}, id, {text_column("data")} FROM message
    WHERE session_id = ? AND ({time}, id) > (?, ?) ORDER BY {time}, id LIMIT {_ROWS}
    """  # noqa: S608  names of columns
    for _, id, data in database.pages(sql, (session, -1, ""), 2):
        yield str(id), _value(f"message {id}"[:100], data)


def _parts_of(database: ForeignDatabase, message: str) -> Iterator[Row]:
    sql = f"""
    SELECT id, {text_column("data")} FROM part
    WHERE message_id = ? AND id > ? ORDER BY id LIMIT {_ROWS}
    """  # noqa: S608  names of columns
    for id, data in database.pages(sql, (message, ""), 1):
        yield str(id), _value(f"part {id}"[:100], data)


def _value(place: str, data: object) -> Any:
    if data is None:
        return BrokenPart(place, "too long, or empty")
    try:
        value = json.loads(data) if isinstance(data, str) else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else BrokenPart(place, "not a JSON object")


def _read_files(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of `storage/session/PROJECT/ID.json`."""
    session, _ = read_json(path)
    if not isinstance(session, dict):
        raise OSError("not a JSON object")
    storage = path.parent.parent.parent
    messages = functools.partial(_files_of, storage / "message" / path.stem)
    digest = hashlib.sha256(repr(stamp(path)).encode())
    for file in sorted((storage / "message" / path.stem).glob("*.json")):
        for each in (file, *sorted((storage / "part" / file.stem).glob("*.json"))):
            digest.update(repr(_stamp_or_none(each)).encode())

    def in_order() -> Iterator[Row]:
        yield from sorted(messages(), key=lambda row: (_created(row[1]), row[0]))

    def parts(message: str) -> Iterator[Row]:
        yield from _files_of(storage / "part" / message)

    named = session | {"parent_id": session.get("parentID")}
    found = _Conversation(path.stem, named, digest.hexdigest(), in_order, parts)
    yield from _transcript(found, path, states_of_sessions(states).get(found.id, {}))


def _stamp_or_none(path: Path) -> object:
    try:
        return stamp(path)
    except OSError:
        return None


def _files_of(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.glob("*.json")):
        try:
            value, _ = read_json(path)
        except OSError as error:
            value = BrokenPart(path.name, error.strerror or str(error))
        else:
            if not isinstance(value, dict):
                value = BrokenPart(path.name, "not a JSON object")
        yield path.stem, value


def _created(message: object) -> Timestamp:
    match message:
        case {"time": {"created": time}}:
            return milliseconds(time) or Timestamp(0)
    return Timestamp(0)


def _transcript(
    found: _Conversation, path: Path, own_states: Mapping[str, Any]
) -> Iterator[Transcript]:
    state = {"path": str(path), "session": found.id, "seen": found.seen}
    unchanged = found.seen is not None and unchanged_session(own_states, state)
    if unchanged:
        yield Transcript(id=unchanged, path=str(path), is_unchanged=True)
        return
    session = found.session
    transcript = Transcript(id=session_id(NAME, found.id), path=str(path))
    transcript.own_id = found.id if found.id.isascii() and len(found.id) <= 100 else None
    if string(session.get("parent_id")):
        transcript.skipped["subagent"] += 1
        yield transcript
        return
    transcript.directory = string(session.get("directory"))
    title = string(session.get("title"))
    transcript.title = None if title is None or title.startswith("New session - ") else title
    transcript.client_version = string(session.get("version"))
    items = _Reader(transcript, state, session.get("revert")).items(found)
    first = next(items, None)
    if first is not None:
        id = session_that_begins_with(first.event.id, transcript.id, own_states)
        state |= {"first": first.event.id, "original": id}
        transcript.id = id
        transcript.items = itertools.chain((first,), items)
    yield transcript


class _Reader:
    def __init__(self, transcript: Transcript, state: dict[str, Any], revert: object) -> None:
        self._transcript = transcript
        self._state = state
        self._last_time = Timestamp(0)
        place = mapping(decoded(revert))
        self._reverted = (place.get("messageID"), place.get("partID"))
        """The message, and the part of it, from which on all was taken back."""

    def items(self, found: _Conversation) -> Iterator[ImportedEvent]:
        """Yield the events, and leave the state in the transcript when all were read."""
        try:
            yield from self._all(found)
        except BlockingIOError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            self._transcript.broken.append(BrokenPart(f"session {found.id}"[:100], reason))
        else:
            self._transcript.state = self._state

    def _all(self, found: _Conversation) -> Iterator[ImportedEvent]:
        messages = found.messages()
        following = next(messages, None)
        while following is not None:
            (id, data), following = following, next(messages, None)
            message, part = self._reverted
            if id == message and part is None:
                self._transcript.skipped["reverted message"] += 1 + (following is not None)
                self._transcript.skipped["reverted message"] += sum(1 for _ in messages)
                return
            if isinstance(data, BrokenPart):
                self._transcript.broken.append(data)
                continue
            self._last_time = milliseconds(_time(data, "created")) or self._last_time
            parts = self._parts(found.parts(id), part if id == message else None)
            match data.get("role"):
                case "user":
                    yield from self._user(id, parts)
                case "assistant":
                    is_open = following is None and not self._is_complete(data)
                    yield from self._assistant(id, data, parts, is_open=is_open)
                case role:
                    self._transcript.skipped[f"message of {role}"[:40]] += 1

    @staticmethod
    def _is_complete(message: Mapping[str, Any]) -> bool:
        return _time(message, "completed") is not None or message.get("error") is not None

    def _parts(
        self, parts: Iterator[Row], reverted: object
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for id, data in parts:
            if id == reverted:
                self._transcript.skipped["reverted message"] += 1
                return
            if isinstance(data, BrokenPart):
                self._transcript.broken.append(data)
            else:
                yield id, data

    def _user(
        self, id: str, parts: Iterator[tuple[str, dict[str, Any]]]
    ) -> Iterator[ImportedEvent]:
        said, rest = [], []
        for part, data in parts:
            match data:
                case {"type": "text", "text": str(text)} if not _is_machine_made(data):
                    said.append(text)
                case {"type": "file"}:
                    said.append(_file(data))
                case {"type": "subtask", "prompt": str(text)}:
                    said.append(text)
                case {"type": "compaction"}:
                    rest.append((part, "system_context", {"content": COMPACTED}))
                case {"type": "text", "text": str(text)}:
                    rest.append((part, *_machine_made(data, text)))
                case _:
                    self._skip(data)
        if text := "\n".join(filter(None, said)):
            yield from self._event(id, "user_message", {"content": text})
        for part, type, data in rest:
            yield from self._event(part, type, data)

    def _assistant(
        self,
        id: str,
        message: Mapping[str, Any],
        parts: Iterator[tuple[str, dict[str, Any]]],
        *,
        is_open: bool,
    ) -> Iterator[ImportedEvent]:
        if isinstance(model := message.get("modelID"), str):
            self._transcript.model = model
        if is_open:
            self._state["seen"] = None
        is_summary = message.get("summary") is True
        for part, data in parts:
            self._last_time = milliseconds(_time(data, "start")) or self._last_time
            match data:
                case {"type": "text" | "reasoning"} if is_open and _time(data, "end") is None:
                    self._transcript.skipped["incomplete part"] += 1
                    return
                case {"type": "text", "text": ""} | {"type": "reasoning", "text": ""}:
                    continue
                case {"type": "text", "text": str(text)} if is_summary:
                    yield from self._event(part, "system_context", {"content": text})
                case {"type": "text", "text": str(text)} if _is_machine_made(data):
                    yield from self._event(part, *_machine_made(data, text))
                case {"type": "text", "text": str(text)}:
                    yield from self._event(part, "text", {"content": text, "message": id})
                case {"type": "reasoning", "text": str(text)}:
                    yield from self._event(part, "thinking", {"content": text})
                case {"type": "tool", "callID": str(), "tool": str(), "state": dict(state)}:
                    status = state.get("status")
                    if is_open and status not in ("running", "completed", "error"):
                        self._transcript.skipped["incomplete part"] += 1
                        return
                    yield from self._tool(part, data, state)
                    if is_open and status == "running":
                        return
                case _:
                    self._skip(data)
        if isinstance(error := message.get("error"), dict):
            yield from self._end(id, error)

    def _tool(
        self, part: str, data: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Iterator[ImportedEvent]:
        call = data["callID"]
        self._last_time = milliseconds(_time(state, "start")) or self._last_time
        called = {"id": call, "name": data["tool"], "input": state.get("input")}
        yield from self._event(part, "tool_call", called)
        match state:
            case {"status": "completed", "output": str(output)}:
                attached = state.get("attachments")
                attached = attached if isinstance(attached, list) else []
                names = [_file(each) for each in attached if isinstance(each, dict)]
                content = "\n".join([output, *names])
            case {"status": "error", "error": str(content)}:
                pass
            case _:
                return
        self._last_time = milliseconds(_time(state, "end")) or self._last_time
        is_error = state["status"] == "error"
        result = {"tool_use_id": call, "content": content, "is_error": is_error}
        yield from self._event(part, "tool_result", result)

    def _end(self, id: str, error: Mapping[str, Any]) -> Iterator[ImportedEvent]:
        if error.get("name") == "MessageAbortedError":
            yield from self._event(id, "turn_end", {"stop_reason": "cancelled"})
            return
        data = error.get("data")
        message = data.get("message") if isinstance(data, dict) else None
        reason = message if isinstance(message, str) else str(error.get("name"))
        yield from self._event(id, "turn_end", {"stop_reason": "error", "error": reason})

    def _event(self, record: str, type: str, data: dict[str, Any]) -> Iterator[ImportedEvent]:
        id = content_id(record, type, data)
        event = self._transcript.event(id, type, data, self._last_time)
        if event is not None:
            yield event

    def _skip(self, part: Mapping[str, Any]) -> None:
        self._transcript.skipped[f"{part.get('type')}"[:40]] += 1


def _time(record: Mapping[str, Any], name: str) -> object:
    times = record.get("time")
    return times.get(name) if isinstance(times, dict) else None


def _is_machine_made(part: Mapping[str, Any]) -> bool:
    return part.get("synthetic") is True or part.get("ignored") is True


def _machine_made(part: Mapping[str, Any], text: str) -> tuple[str, dict[str, Any]]:
    """Return the event of a text that no one wrote: for the model, or only to be shown."""
    if part.get("ignored") is True:
        return "out_of_band_output", {"name": TITLE, "content": text}
    return "system_context", {"content": text}


def _file(part: Mapping[str, Any]) -> str:
    """Return what stands for a file: `[file a.png image/png]`."""
    names = (part.get("filename"), part.get("mime"))
    return f"[{' '.join(('file', *(name for name in names if isinstance(name, str))))}]"
