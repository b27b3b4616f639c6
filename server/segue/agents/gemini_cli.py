"""Gemini CLI: a log of JSON lines for each conversation, or one JSON file in older versions.

A line of the log is a message, or the metadata at its beginning, or a change: a message with a
known id replaces that message, `$rewindTo` removes a message and those after it, and `$set` with
`messages` replaces them all. The log is read as the history of the conversation, not for its last
state: what was said before a compression or a rewind stays. As the log is only appended to, what
is read from its beginning is always the same.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.json_file import read_json, stamp
from segue.agents.jsonl import JsonLines
from segue.agents.transcript import (
    COMPACTED,
    Folder,
    Item,
    Places,
    Rewind,
    Transcript,
    content_id,
    milliseconds,
    session_id,
    session_that_begins_with,
    states_of_sessions,
    text_of,
    unchanged_session,
)
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

NAME = "gemini-cli"
TITLE = "Gemini CLI"
RESUME = ("gemini", "--resume", "{id}")

_MACHINE_MADE = (
    "<session_context>",
    "<state_snapshot>",
    "This is the Gemini CLI. We are setting up the context for our chat.",
)
_NOT_SAID = ("system_context", "turn_end")
"""Events that are there before anybody has said anything."""

_CLEARED = "[Note: everything before this was taken back.]"


def find(places: Places) -> Iterator[Path]:
    """Yield the conversations of all projects, without those of subagents."""
    for folder in folders(places):
        yield from folder.path.glob("*/chats/session-*.jsonl")
        for path in folder.path.glob("*/chats/session-*.json"):
            # One that was resumed by a later version goes on in a log that has its messages, too.
            if not path.with_suffix(".jsonl").exists():
                yield path


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folder of all projects."""
    yield Folder(places.folder("GEMINI_CLI_HOME", "") / ".gemini" / "tmp")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a conversation in a project's folder."""
    return path.suffix in (".json", ".jsonl") and path.parent.name == "chats"


def folder_of(path: Path) -> Path:
    """Return the folder of Gemini CLI that the conversation *path* lies in."""
    return path.parent.parent.parent.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file, unless nobody has said anything in it."""
    seen = stamp(path)
    state = {"path": str(path), "seen": seen}
    if (id := unchanged_session(states, state)) is not None:
        yield Transcript(id=id, path=str(path), is_unchanged=True)
        return
    transcript = Transcript(id="", path=str(path), state=state)
    reader = _Reader(transcript)
    if path.suffix == ".json":
        record, _ = read_json(path)
        if not isinstance(record, dict):
            raise OSError("not a JSON object")
        items = reader.items(iter([record]))
        yield from _with_first(transcript, reader, items, states)
        return
    with JsonLines(str(path), None) as lines:
        transcript.broken = lines.broken
        items = reader.items(lines.records())
        yield from _with_first(transcript, reader, items, states)


def _with_first(
    transcript: Transcript, reader: "_Reader", items: Iterator[Item], states: Mapping[str, Any]
) -> Iterator[Transcript]:
    """Yield the transcript with its *items* and what the first ones tell, if there are any."""
    held = []
    for item in items:
        held.append(item)
        if isinstance(item, ImportedEvent) and item.event.type not in _NOT_SAID:
            break
    else:
        if transcript.broken:
            problem = transcript.broken[0]
            raise OSError(f"no conversation; {problem.place}: {problem.reason}")
        return
    first = next(item.event.id for item in held if isinstance(item, ImportedEvent))
    own_id = reader.metadata.get("sessionId")
    own_id = own_id if isinstance(own_id, str) and own_id else Path(transcript.path).stem
    own_states = states_of_sessions(states).get(own_id, {})
    transcript.id = session_that_begins_with(first, session_id(NAME, own_id), own_states)
    transcript.state |= {"session": own_id, "first": first, "original": transcript.id}
    transcript.directory = _directory(Path(transcript.path), reader.metadata)
    transcript.items = itertools.chain(held, items)
    yield transcript


def _directory(path: Path, metadata: Mapping[str, Any]) -> str | None:
    """Return the project's root: that of the marker in its folder, else of the list of all."""
    project = path.parent.parent
    with contextlib.suppress(OSError, ValueError):
        marker = project / ".project_root"
        if (stamp(marker)[2] < 10_000) and (root := marker.read_text("utf-8").strip()):
            return root
    with contextlib.suppress(OSError):
        registry, _ = read_json(project.parent.parent / "projects.json")
        projects = registry.get("projects") if isinstance(registry, dict) else None
        for root, slug in projects.items() if isinstance(projects, dict) else ():
            digest = hashlib.sha256(root.encode("utf-8", "replace")).hexdigest()
            if project.name in (slug, digest) or metadata.get("projectHash") == digest:
                return str(root)
    return None


class _Reader:
    def __init__(self, transcript: Transcript) -> None:
        self.metadata: dict[str, Any] = {}
        self._transcript = transcript
        self._messages: dict[str, list[str]] = {}
        """The events of each message of the conversation so far."""
        self._removed: set[str] = set()
        """The messages of it that the model does not get any more."""
        self._results: dict[str, str] = {}
        """The message that has the result of a call."""
        self._last_time = Timestamp(0)

    def items(self, records: Iterator[dict[str, Any]]) -> Iterator[Item]:
        for record in records:
            if isinstance(id := record.get("$rewindTo"), str):
                yield from self._rewind(id)
            elif isinstance(record.get("id"), str):
                yield from self._message(record)
            elif isinstance(change := record.get("$set"), dict):
                yield from self._set(change)
            elif isinstance(record.get("sessionId"), str):
                if record.get("kind") == "subagent":
                    self._transcript.skipped["subagent"] += 1
                    return
                yield from self._set(record)
            else:
                self._transcript.skipped["record"] += 1

    def _set(self, change: Mapping[str, Any]) -> Iterator[Item]:
        self.metadata.update((k, v) for k, v in change.items() if k != "messages")
        if isinstance(title := change.get("summary"), str):
            self._transcript.title = title
        if not isinstance(given := change.get("messages"), list):
            return
        messages = [each for each in given if isinstance(each, dict)]
        messages = [each for each in messages if isinstance(each.get("id"), str)]
        if invalid := len(given) - len(messages):
            self._transcript.skipped["invalid message"] += invalid
        ids = {each["id"] for each in messages}
        # Also messages that were not for the model are left out when it is resumed.
        removed = [id for id in self._messages if id not in ids and id not in self._removed]
        self._removed.update(removed)
        new = [each for each in messages if each["id"] not in self._messages]
        is_summary = any(self._messages[id] for id in removed)
        items = [item for each in new for item in self._message(each, is_summary=is_summary)]
        if is_summary and items:
            yield from self._note(COMPACTED, removed)
        yield from items

    def _rewind(self, id: str) -> Iterator[Item]:
        """Go back to before a message; if it is unknown, to the beginning, as Gemini CLI does."""
        ids = list(self._messages)
        gone = ids[ids.index(id) :] if id in ids else ids
        had_events = any(self._messages[each] for each in gone)
        for each in gone:
            del self._messages[each]
        if (last := self._last_event()) is not None:
            if had_events:
                yield Rewind(last)
        elif had_events:
            yield from self._note(_CLEARED, gone)

    def _note(self, text: str, about: list[str]) -> Iterator[Item]:
        data = {"content": text}
        yield from self._event("/".join(about), "note", "system_context", data, self._last_time)

    def _last_event(self) -> str | None:
        return next((ids[-1] for ids in reversed(self._messages.values()) if ids), None)

    def _message(self, record: Mapping[str, Any], *, is_summary: bool = False) -> Iterator[Item]:
        id = record["id"]
        known = self._messages.get(id)
        events = list(self._events_of(record, is_summary=is_summary))
        ids = [each.event.id for each in events]
        if known is None:
            self._messages[id] = ids
            yield from events
            return
        pairs = zip(known, ids, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        if same == len(ids):
            return
        if same < len(known):
            is_last = next(reversed(self._messages)) == id
            self._messages[id] = ids[:same]
            previous = self._last_event()
            if not is_last or previous is None:
                self._messages[id] = known
                self._transcript.skipped["changed message"] += 1
                return
            yield Rewind(previous)
        self._messages[id] = ids
        yield from events[same:]

    def _events_of(self, record: Mapping[str, Any], *, is_summary: bool) -> Iterator[ImportedEvent]:
        time = milliseconds(record.get("timestamp")) or self._last_time
        content = record.get("content")
        parts = [content] if isinstance(content, str) else content
        parts = [parts] if isinstance(parts, dict) else parts
        parts = parts if isinstance(parts, list) else []
        match record.get("type"):
            case "user":
                yield from self._user(record["id"], parts, time, is_summary=is_summary)
            case "gemini":
                yield from self._model(record, parts, time, is_summary=is_summary)
            case "error":
                data = {"stop_reason": "error", "error": _text(parts)}
                yield from self._event(record["id"], "error", "turn_end", data, time)
            case "info" if _text(parts).strip() == "Request cancelled.":
                data = {"stop_reason": "cancelled"}
                yield from self._event(record["id"], "cancelled", "turn_end", data, time)
            case kind:
                self._transcript.skipped[str(kind)[:40]] += 1

    def _user(
        self, id: str, parts: list[Any], time: Timestamp, *, is_summary: bool
    ) -> Iterator[ImportedEvent]:
        for part in parts:
            match part:
                case {"functionResponse": {"id": str(call), "response": response}}:
                    is_error = isinstance(response, dict) and "error" in response
                    yield from self._result(id, call, _response(response), is_error, time)
        text = _text(parts)
        if is_summary or text.lstrip().startswith(_MACHINE_MADE):
            if text:
                yield from self._event(id, "text", "system_context", {"content": text}, time)
            return
        # Apart: the hook of a prompt has only what was written.
        media = [part for part in parts if _is_media(part)]
        texts = [part for part in parts if part not in media]
        for name, said in (("text", _text(texts)), ("media", _text(media))):
            if said:
                yield from self._event(id, name, "user_message", {"content": said}, time)

    def _model(
        self, record: Mapping[str, Any], parts: list[Any], time: Timestamp, *, is_summary: bool
    ) -> Iterator[ImportedEvent]:
        id, thoughts, calls = record["id"], record.get("thoughts"), record.get("toolCalls")
        if isinstance(model := record.get("model"), str):
            self._transcript.model = model
        thoughts = [_thought(each) for each in thoughts] if isinstance(thoughts, list) else []
        thoughts += [part["text"] for part in parts if _is_thought(part)]
        for number, thought in enumerate(filter(None, thoughts)):
            data: dict[str, Any] = {"content": thought}
            yield from self._event(id, f"thought {number}", "thinking", data, time)
        if text := "".join(map(_part, parts)):
            kind = "system_context" if is_summary else "text"
            data = {"content": text} if is_summary else {"content": text, "message": id}
            yield from self._event(id, "text", kind, data, time)
        calls = calls if isinstance(calls, list) else []
        named = [each.get("id") for each in calls if isinstance(each, dict)]
        for part in parts:
            match part:
                case {"functionCall": {"id": str(call), "name": str(name), **more}}:
                    if call not in named:
                        data = {"id": call, "name": name, "input": more.get("args")}
                        yield from self._event(id, f"call {call}", "tool_call", data, time)
        for each in calls:
            match each:
                case {"id": str(call), "name": str(name)}:
                    data = {"id": call, "name": name, "input": each.get("args")}
                    yield from self._event(id, f"call {call}", "tool_call", data, time)
                    yield from self._result_of(id, call, each, time)
                case _:
                    self._transcript.skipped["invalid tool call"] += 1

    def _result_of(
        self, id: str, call: str, record: Mapping[str, Any], time: Timestamp
    ) -> Iterator[ImportedEvent]:
        result, status = record.get("result"), record.get("status")
        if result is None and status not in ("success", "error", "cancelled"):
            return
        results = result if isinstance(result, list) else [result]
        content = "\n".join(filter(None, map(_result_part, results)))
        if not content and isinstance(shown := record.get("resultDisplay"), str):
            content = shown
        time = milliseconds(record.get("timestamp")) or time
        yield from self._result(id, call, content, status in ("error", "cancelled"), time)

    def _result(
        self, id: str, call: str, content: str, is_error: bool, time: Timestamp
    ) -> Iterator[ImportedEvent]:
        """Yield the result of a call, unless another message has it."""
        owner = self._results.get(call)
        if owner in self._messages and owner != id:
            return
        self._results[call] = id
        data = {"tool_use_id": call, "content": content, "is_error": is_error}
        yield from self._event(id, f"result {call}", "tool_result", data, time)

    def _event(
        self, id: str, part: str, type: str, data: dict[str, Any], time: Timestamp
    ) -> Iterator[ImportedEvent]:
        self._last_time = time
        event = self._transcript.event(content_id(id, part, data), type, data, time)
        if event is not None:
            yield event


def _text(parts: list[Any]) -> str:
    return "\n".join(filter(None, map(_part, parts)))


def _part(part: object) -> str:
    """Return the text of a part; what is neither text nor a part of a tool call is named."""
    match part:
        case {"thought": True} | {"functionCall": _} | {"functionResponse": _}:
            return ""
        case {"inlineData": {"mimeType": str(media)}} | {"fileData": {"mimeType": str(media)}}:
            return f"[{media}]"
    return text_of([part])


def _is_media(part: object) -> bool:
    match part:
        case {"inlineData": _} | {"fileData": _}:
            return True
    return False


def _is_thought(part: object) -> bool:
    match part:
        case {"thought": True, "text": str()}:
            return True
    return False


def _thought(thought: object) -> str:
    match thought:
        case {"subject": str(subject), "description": str(description)}:
            return f"**{subject}**\n\n{description}" if subject else description
    return ""


def _result_part(part: object) -> str:
    match part:
        case {"functionResponse": {"response": response}}:
            return _response(response)
        case None:
            return ""
    return _part(part)


def _response(response: object) -> str:
    match response:
        case {"output": str(text)} | {"error": str(text)}:
            return text
        case None:
            return ""
    return json.dumps(response, ensure_ascii=False)
