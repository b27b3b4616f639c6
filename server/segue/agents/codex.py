"""Codex: one file of JSON lines ("rollout") for each conversation, which is only appended to.

Lines have no ids: an event's is made of the conversation's, the line's number and its text. The
conversation is what was sent to the model and came from it (`response_item`). Much in it that has
the role of the user was written by the program: a person said only what is repeated for the
screen, as `user_message` or, in files with "paginated" history, as a completed `UserMessage`.

A fork is a copy or, with paginated history, has only its own lines and names those of another file
that precede them. The first version had no line for the screen. The one before it, in TypeScript,
wrote one JSON object, after each turn anew and under another name.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from segue.agents.files import open_file
from segue.agents.jsonl import MAX_LINE, JsonLines, read_transcript
from segue.agents.transcript import (
    COMPACTED,
    Folder,
    Item,
    Places,
    Rewind,
    Transcript,
    begin,
    derived_id,
    milliseconds,
    prompt_in_turn,
    session_id,
    state_of,
    text_of,
)
from segue.agents.values import decoded
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

NAME = "codex"
TITLE = "Codex"
RESUME = ("codex", "resume", "{id}")

_FOLDERS = ("sessions", "archived_sessions")
_NAME = re.compile(r"rollout-.*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?\.json(?:l|l\.zst)?")
_COMPRESSED = "compressed: unpack it with `zstd -d`"
_NO_BASE = "[Note: the beginning of this fork, was not found.]"
_MAX_DEPTH = 32
"""How many conversations a fork of a fork is followed through."""

_CONTEXT = (
    "<environment_context>", "<user_instructions>", "<turn_aborted>", "<user_shell_command>",
    "<skill>", "<subagent_notification>", "# AGENTS.md instructions",
)  # fmt: skip
"""How a text begins that the program gave the role of the user."""

_REPEATED = {
    "agent_message", "agent_reasoning", "agent_reasoning_raw_content", "context_compacted",
    "AgentMessage", "Reasoning", "ContextCompaction",
}  # fmt: skip
"""Kinds of records that only repeat what others hold: nothing is lost with them."""

_FAILED = re.compile(r"^(?:Exit code: |Process exited with code )-?[1-9]", re.MULTILINE)


def find(places: Places) -> Iterator[Path]:
    """Yield the files of conversations, archived or not."""
    for folder in folders(places):
        for path in folder.path.rglob("rollout-*"):
            # A file has both names while it is compressed.
            if accepts(path) and not (path.suffix == ".zst" and path.with_suffix("").exists()):
                yield path


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folders of conversations that are archived, and that are not."""
    home = places.folder("CODEX_HOME", ".codex")
    yield from (Folder(home / name) for name in _FOLDERS)


def accepts(path: Path) -> bool:
    """Return whether *path* is named as Codex names its files."""
    return _NAME.fullmatch(path.name) is not None


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file, from where *states* say that an earlier import ended.

    Raises OSError if the file cannot be read, or is compressed and was not imported before.
    """
    match = _NAME.fullmatch(path.name)
    own_id = session_id(NAME, (match and match[1]) or path.name)
    if path.suffix == ".zst":
        paths = (state.get("path") for state in states.values() if isinstance(state, dict))
        if path.stem not in (os.path.basename(str(each)) for each in paths):
            raise OSError(_COMPRESSED)
        yield Transcript(id=own_id, path=str(path), is_unchanged=True)
    elif path.suffix == ".json":
        yield _read_object(path, own_id, states)
    else:
        yield from read_transcript(
            path,
            states,
            own_id,
            lambda transcript, lines, state: _Reader(own_id, transcript, state).read_lines(lines),
        )


def folder_of(path: Path) -> Path:
    """Return the folder of Codex that the file *path* lies in."""
    return _home(path) or path.parent


def _read_object(path: Path, own_id: str, states: Mapping[str, Any]) -> Transcript:
    id, state = state_of(path, states)
    content, seen = _content(path)
    if state and state.get("seen") == seen:
        return Transcript(id=id or own_id, path=str(path), is_unchanged=True)
    try:
        value = json.loads(content.decode("utf-8-sig", "surrogatepass"))
    except (ValueError, RecursionError):
        raise OSError("not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("items"), list):
        raise OSError("not a JSON object with items")
    items = [item for item in value["items"] if isinstance(item, dict)]
    # Each turn made another file, with an id of its own: the model's first id is the same in all.
    firsts = (item.get("id") for item in items if item.get("role") != "user")
    first = next((id for id in firsts if isinstance(id, str)), None)
    id = derived_id(NAME, first) if first else own_id
    transcript = Transcript(id=id, own_id=None if id == own_id else own_id, path=str(path))
    transcript.state = {"path": str(path), "seen": seen}
    transcript.skipped["item"] += len(value["items"]) - len(items)
    reader = _Reader(id, transcript, None)
    begin(transcript, reader.read_items(value.get("session"), items))
    return transcript


def _content(path: Path) -> tuple[bytes, list[int]]:
    """Return what a file holds, and its size and time."""
    fd, status = open_file(path)
    with open(fd, "rb") as file:
        if status.st_size > MAX_LINE:
            raise OSError(f"longer than {MAX_LINE // 2**20} MiB")
        return file.read(), [status.st_size, status.st_mtime_ns]


def _home(path: Path) -> Path | None:
    """Return Codex's folder, if *path* lies where it has its files."""
    return next((each.parent for each in path.parents if each.name in _FOLDERS), None)


def _name_of(path: Path, id: str) -> str | None:
    """Return the name that a person gave to a conversation."""
    home = _home(path)
    try:
        index = home and home / "session_index.jsonl"
        return _names(index, index.stat().st_mtime_ns).get(id) if index else None
    except OSError:
        return None


@functools.lru_cache(maxsize=4)
def _names(index: Path, _: int) -> Mapping[str, str]:
    with JsonLines(str(index), None) as lines:
        found = ((record.get("id"), record.get("thread_name")) for record in lines.records())
        return {id: name for id, name in found if isinstance(id, str) and isinstance(name, str)}


def _base_of(record: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the conversation whose lines precede those of a fork, and the first not among them."""
    match record:
        case {
            "type": "session_meta",
            "payload": {"history_base": {"thread_id": str(id), "end_ordinal_exclusive": int(end)}},
        }:
            return session_id(NAME, id), end
    return None


@attrs.frozen
class _Heard:
    """A text with the role of the user, of which is not yet known who wrote it."""

    key: tuple[object, ...]
    time: Timestamp
    text: str
    parts: Sequence[str]


class _Reader:
    def __init__(
        self, own_id: str, transcript: Transcript, state: Mapping[str, Any] | None
    ) -> None:
        before = state or {}
        self._own_id = own_id
        self._transcript = transcript
        self._lines: JsonLines | None = None
        self._last_id: str | None = before.get("last")
        self._time = Timestamp(before.get("time") or 0)
        # The event before each turn of a person: a rewind counts turns.
        self._turns: list[str | None] = list(before.get("turns", ()))
        self._has_said = before.get("said") is True
        self._heard: list[_Heard] = []
        self._key: tuple[object, ...] = ()
        self._block = 0
        self._has_meta = state is not None
        self._is_subagent = False
        transcript.after = self._last_id

    def read_lines(self, lines: JsonLines) -> Iterator[Item]:
        self._lines = lines
        for key, record in self._records(lines):
            self._key, self._block = key, 0
            yield from self._noted(self._record(record))
            if self._is_subagent:
                self._transcript.skipped["subagent"] += 1
                return
        transcript = self._transcript
        transcript.broken = lines.broken
        transcript.title = transcript.title or _name_of(Path(lines.path), self._own_id)
        transcript.state = lines.state() | {
            "last": self._last_id,
            "time": self._time,
            "turns": self._turns,
            "said": self._has_said,
        }

    def read_items(self, session: object, items: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
        self._meta(session if isinstance(session, dict) else {})
        for number, item in enumerate(items):
            text = json.dumps(item, sort_keys=True).encode()
            self._key, self._block = (self._own_id, number, hashlib.sha256(text).hexdigest()), 0
            yield from self._noted(self._item(item, is_flat=True))

    def _noted(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self._last_id = item.event.id if isinstance(item, ImportedEvent) else item.after
            yield item

    def _records(
        self, lines: JsonLines, id: str | None = None, depth: int = 0
    ) -> Iterator[tuple[tuple[object, ...], Mapping[str, Any]]]:
        """Yield each record with what its events' ids are made of, and those that precede it."""
        is_first = not lines.continues
        for record in lines.records():
            yield (id or self._own_id, lines.number, lines.digest()), record
            base = _base_of(record) if is_first else None
            is_first = False
            if base is not None:
                yield from self._base(*base, record.get("timestamp"), depth + 1)

    def _base(
        self, id: str, end: int, time: object, depth: int
    ) -> Iterator[tuple[tuple[object, ...], Mapping[str, Any]]]:
        path = self._path_of(id) if depth <= _MAX_DEPTH else None
        if path is None:
            self._transcript.skipped["beginning of a fork"] += 1
            note = {"type": "compacted", "timestamp": time, "payload": {"message": _NO_BASE}}
            yield (self._own_id, "base", depth), note
            return
        with JsonLines(str(path), None) as lines:
            for key, record in self._records(lines, id, depth):
                ordinal = record.get("ordinal")
                if key[0] == id and isinstance(ordinal, int) and ordinal >= end:
                    return
                yield key, record

    def _path_of(self, id: str) -> Path | None:
        home = _home(Path(self._transcript.path))
        if home is None:
            return None
        folders = (home / folder for folder in _FOLDERS)
        found = (path for folder in folders for path in folder.rglob(f"rollout-*{id}.jsonl"))
        return next((path for path in found if path.is_file()), None)

    def _record(self, record: Mapping[str, Any]) -> Iterator[Item]:
        self._time = milliseconds(record.get("timestamp")) or self._time
        kind, payload = record.get("type"), record.get("payload")
        if not isinstance(payload, dict):
            if isinstance(kind, str) and kind not in ("session_meta", "turn_context"):
                yield from self._item(record, is_flat=True)
            elif isinstance(record.get("id"), str):
                self._meta(record)
            else:
                self._skip(str(record.get("record_type", "record")))
            return
        match kind:
            case "session_meta":
                self._meta(payload)
            case "turn_context":
                self._note(payload)
            case "response_item":
                yield from self._item(payload)
            case "compacted":
                message = payload.get("message")
                text = message if isinstance(message, str) and message else COMPACTED
                yield from self._event("system_context", {"content": text})
            case "event_msg":
                yield from self._message(payload)
            case _:
                self._skip(str(kind))

    def _meta(self, meta: Mapping[str, Any]) -> None:
        """Note what the first line says; those of others follow in a fork that was copied."""
        if not self._has_meta:
            self._has_meta = True
            source = meta.get("source")
            self._is_subagent = isinstance(source, dict) and "subagent" in source
            if isinstance(version := meta.get("cli_version"), str):
                self._transcript.client_version = version
            git = meta.get("git")
            if isinstance(git, dict) and isinstance(branch := git.get("branch"), str):
                self._transcript.branch = branch
        self._time = milliseconds(meta.get("timestamp")) or self._time
        self._note(meta)

    def _note(self, context: Mapping[str, Any]) -> None:
        transcript = self._transcript
        if transcript.directory is None and isinstance(cwd := context.get("cwd"), str):
            transcript.directory = cwd
        if isinstance(model := context.get("model"), str):
            transcript.model = model

    def _message(self, message: Mapping[str, Any]) -> Iterator[Item]:
        """Yield what a line for the screen adds to those for the model."""
        match message:
            case {"type": "user_message", "message": str(text)}:
                if message.get("kind") not in ("environment_context", "user_instructions"):
                    yield from self._said([text], _images(message))
            case {"type": "item_completed", "item": {"type": "UserMessage", "content": [*parts]}}:
                texts = [_text([part]) for part in parts if _is_text(part)]
                others = [_text([part]) for part in parts if not _is_text(part)]
                yield from self._said(texts, others, message.get("turn_id"))
            case {"type": "item_completed", "item": {"type": kind}}:
                self._skip(str(kind))
            case {"type": "thread_rolled_back", "num_turns": int(count)}:
                yield from self._rewind(count)
            case {"type": "turn_aborted"}:
                yield from self._event("turn_end", {"stop_reason": "cancelled"})
            case {"type": "error", "message": str(text)}:
                yield from self._event("turn_end", {"stop_reason": "error", "error": text})
            case {"type": "thread_name_updated", "thread_name": str(name)}:
                self._transcript.title = name
            case _:
                self._skip(str(message.get("type")))

    def _said(
        self, texts: Sequence[str], others: Sequence[str], turn: object = None
    ) -> Iterator[Item]:
        """Yield a message of a person, in place of what it repeats, and what came with it."""
        said, added = ("\n".join(filter(None, each)) for each in (texts, others))
        content = "\n".join(filter(None, (said, added)))
        if not content or content.startswith(_CONTEXT):
            return
        for heard in reversed(self._heard):
            if heard.text == content or set(texts) & set(heard.parts):
                self._heard.remove(heard)
                break
        self._has_said = True
        yield from self._flush()
        self._turns.append(self._last_id)
        id = prompt_in_turn(turn, said) if isinstance(turn, str) else None
        if said:
            for event in self._event("user_message", {"content": said}):
                yield attrs.evolve(event, prompt_id=id)
        if added:
            yield from self._event("user_message", {"content": added})

    def _flush(self) -> Iterator[ImportedEvent]:
        """Yield the texts that nobody is known to have said."""
        heard, self._heard = self._heard, []
        if self._lines is not None:
            self._lines.release()
        for each in heard:
            # Nothing tells what was said in a file without a single line for the screen.
            is_said = not self._has_said and not each.text.startswith(_CONTEXT)
            if is_said:
                self._turns.append(self._last_id)
            type = "user_message" if is_said else "system_context"
            id, data = derived_id(*each.key), {"content": each.text}
            if (event := self._transcript.event(id, type, data, each.time)) is not None:
                yield event

    def _rewind(self, count: int) -> Iterator[Item]:
        yield from self._flush()
        if count <= 0 or not self._turns:
            return
        begin = max(0, len(self._turns) - count)
        after = self._turns[begin]
        del self._turns[begin:]
        if after is None:
            self._skip("rewind to the beginning")
        else:
            yield Rewind(after)

    def _item(self, item: Mapping[str, Any], *, is_flat: bool = False) -> Iterator[Item]:
        """Yield a part of what was sent to the model, or came from it."""
        kind = item.get("type")
        call = item.get("call_id") or item.get("id")
        if not isinstance(call, str) or not call:
            call = derived_id(*self._key)
        match item:
            case {"type": "message"}:
                yield from self._role(item, is_flat=is_flat)
            case {"type": "reasoning"}:
                yield from self._reasoning(item)
            case {"type": "function_call", "name": str(name)}:
                yield from self._call(call, name, decoded(item.get("arguments")))
            case {"type": "custom_tool_call", "name": str(name)}:
                yield from self._call(call, name, item.get("input"))
            case {"type": "tool_search_call"}:
                yield from self._call(call, "tool_search", item.get("arguments"))
            case {"type": "local_shell_call" | "web_search_call"}:
                yield from self._call(call, str(kind).removesuffix("_call"), item.get("action"))
            case {"type": "image_generation_call"}:
                yield from self._call(call, "image_generation", item.get("revised_prompt"))
            case {"type": "function_call_output" | "custom_tool_call_output"}:
                yield from self._result(call, item.get("output"))
            case {"type": "tool_search_output"}:
                yield from self._result(call, json.dumps(item.get("tools"), ensure_ascii=False))
            case _:
                self._skip(str(kind))

    def _role(self, item: Mapping[str, Any], *, is_flat: bool) -> Iterator[Item]:
        content, role = item.get("content"), item.get("role")
        text = _text(content)
        if not text:
            self._skip("message without text")
        elif role == "assistant":
            yield from self._event("text", {"content": text})
        elif role == "user" and is_flat:
            is_said = not text.startswith(_CONTEXT)
            type = "user_message" if is_said else "system_context"
            yield from self._event(type, {"content": text})
        elif role == "user" and not self._heard and text.startswith(_CONTEXT):
            yield from self._event("system_context", {"content": text})
        elif role == "user":
            parts = [text_of([p]) for p in content] if isinstance(content, list) else [text]
            self._heard.append(_Heard(self._key, self._time, text, parts))
            if self._lines is not None:
                self._lines.hold()
        else:
            yield from self._event("system_context", {"content": text})

    def _reasoning(self, item: Mapping[str, Any]) -> Iterator[Item]:
        text = _text(item.get("content")) or _text(item.get("summary"))
        if text:
            yield from self._event("thinking", {"content": text})
        if item.get("encrypted_content"):
            self._skip("encrypted reasoning")

    def _call(self, id: str, name: str, input: Any) -> Iterator[Item]:
        yield from self._event("tool_call", {"id": id, "name": name, "input": input})

    def _result(self, id: str, output: object) -> Iterator[Item]:
        is_error = False
        if isinstance(output, dict):
            is_error = output.get("success") is False
            output = output.get("content", output.get("body"))
        content = _text(output)
        is_error = is_error or _has_failed(content)
        data = {"tool_use_id": id, "content": content, "is_error": is_error}
        yield from self._event("tool_result", data)

    def _event(self, type: str, data: dict[str, Any]) -> Iterator[ImportedEvent]:
        yield from self._flush()
        key = (*self._key, self._block) if self._block else self._key
        self._block += 1
        if (event := self._transcript.event(derived_id(*key), type, data, self._time)) is not None:
            yield event

    def _skip(self, kind: str) -> None:
        if kind not in _REPEATED:
            self._transcript.skipped[kind[:40]] += 1


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in ("text", "input_text")


def _text(content: object) -> str:
    """Return a content as one text, with images named as `text_of` names them."""
    if isinstance(content, list):
        content = [_named(part) for part in content]
    return text_of(content)


def _named(part: object) -> object:
    if not isinstance(part, dict) or isinstance(part.get("text"), str):
        return part
    match part:
        case {"type": "input_image" | "image", "image_url": url}:
            return _image(url)
        case {"type": "local_image", "path": str(path)}:
            return f"[image {path}]"
    return part


def _image(url: object) -> str:
    media = re.match(r"data:([\w.+/-]{1,100})", url) if isinstance(url, str) else None
    return f"[image {media[1]}]" if media else "[image]"


def _images(message: Mapping[str, Any]) -> list[str]:
    urls, paths = message.get("images"), message.get("local_images")
    named = [_image(url) for url in urls] if isinstance(urls, list) else []
    return named + ([f"[image {path}]" for path in paths] if isinstance(paths, list) else [])


def _has_failed(output: str) -> bool:
    """Return whether the output of a command says that it failed."""
    if output.startswith('{"output"'):
        match decoded(output):
            case {"metadata": {"exit_code": int(code)}}:
                return code != 0
    return _FAILED.search(output[:300]) is not None
