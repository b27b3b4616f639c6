"""Claude Code: one file of JSON lines for each conversation, which is only appended to.

Order is that of the file: tools that ran at the same time have different parents. Only a second
prompt with the same parent is another branch: the person went back to before the first one.
"""

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from segue.agents.jsonl import Records, read_transcript
from segue.agents.transcript import (
    COMPACTED,
    Folder,
    Item,
    Places,
    Rewind,
    Transcript,
    derived_id,
    milliseconds,
    session_id,
    text_of,
)
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

NAME = "claude-code"
TITLE = "Claude Code"
RESUME = ("claude", "--resume", "{id}")

_INTERRUPTED = "[Request interrupted by user"
_UNANSWERED = "No response requested."
"""What Claude Code writes in the model's name when it resumes after a prompt without an answer."""

_DETACHED = "HEAD"
"""What it writes as the branch where HEAD is detached, or there is no commit yet."""


def find(places: Places) -> Iterator[Path]:
    """Yield the transcripts, without those of subagents."""
    for folder in folders(places):
        yield from folder.path.glob("*/*.jsonl")


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folder of all projects."""
    yield Folder(places.folder("CLAUDE_CONFIG_DIR", ".claude") / "projects")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a transcript in a project's folder."""
    return path.suffix == ".jsonl" and path.parent.parent.name == "projects"


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file, from where *states* say that an earlier import ended."""
    own_id = session_id(NAME, path.stem)
    return read_transcript(path, states, own_id, lambda *given: _Reader(own_id, *given).items())


def items_of(transcript: Transcript, records: Records) -> Iterator[Item]:
    """Yield what *records* say, of which *transcript* is then told what else they say of it."""
    return _Reader(transcript.id, transcript, records, None).items()


def folder_of(path: Path) -> Path:
    """Return the folder of Claude Code that the transcript *path* lies in."""
    return path.parent.parent.parent


class _Reader:
    def __init__(
        self,
        own_id: str,
        transcript: Transcript,
        lines: Records,
        state: Mapping[str, Any] | None,
    ) -> None:
        before = state or {}
        self._own_id = own_id
        self._lines = lines
        self._transcript = transcript
        self._last_id: str | None = before.get("last")
        self._last_time = Timestamp(before.get("time") or 0)
        # The event that each record with a prompt behind it ended with.
        self._prompt_parents: dict[str, str] = dict(before.get("prompt_parents", {}))
        self._last_record: str | None = before.get("record")
        self._last_of: dict[str, str] = {}
        if self._last_record is not None and self._last_id is not None:
            self._last_of[self._last_record] = self._last_id
        self._titles: dict[str, str] = {}
        transcript.after = self._last_id

    def items(self) -> Iterator[Item]:
        transcript = self._transcript
        for record in self._lines.records():
            self._note(record)
            for item in self._items_of(record):
                if isinstance(item, ImportedEvent):
                    self._last_id, self._last_time = item.event.id, item.created_at
                yield item
            if isinstance(uuid := record.get("uuid"), str) and self._last_id is not None:
                self._last_of[uuid] = self._last_id
                self._last_record = uuid
        transcript.broken = self._lines.broken
        for kind in ("custom-title", "ai-title", "summary"):
            transcript.title = transcript.title or self._titles.get(kind)
        transcript.state = self._lines.state() | {
            "last": self._last_id,
            "record": self._last_record,
            "time": self._last_time,
            "prompt_parents": self._prompt_parents,
        }

    def _note(self, record: Mapping[str, Any]) -> None:
        transcript = self._transcript
        if transcript.directory is None and isinstance(cwd := record.get("cwd"), str):
            transcript.directory = cwd
        if isinstance(version := record.get("version"), str):
            transcript.client_version = version
        if isinstance(branch := record.get("gitBranch"), str):
            transcript.branch = None if branch == _DETACHED else branch
        match record:
            case {"type": "summary", "summary": str(title), "leafUuid": leaf}:
                if leaf in self._last_of:  # else it is the title of another conversation
                    self._titles["summary"] = title
            case {"type": "custom-title", "customTitle": str(title)}:
                self._titles["custom-title"] = title
            case {"type": "ai-title", "aiTitle": str(title)}:
                self._titles["ai-title"] = title

    def _items_of(self, record: Mapping[str, Any]) -> Iterator[Item]:
        kind, message = record.get("type"), record.get("message")
        if kind not in ("user", "assistant") or not isinstance(message, dict):
            if kind == "system" and record.get("subtype") == "compact_boundary":
                yield from self._event(record, 0, "system_context", {"content": COMPACTED})
            elif (text := _added(record)) and record.get("isSidechain") is not True:
                yield from self._event(record, 0, "user_message", {"content": text})
            elif kind not in ("summary", "custom-title", "ai-title"):
                self._skip(str(kind))
            return
        if record.get("isSidechain") is True:
            self._skip("sidechain")
            return
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            self._skip(f"{kind} without content")
            return
        if kind == "user":
            yield from self._user(record, blocks)
        else:
            yield from self._assistant(record, message, blocks)

    def _user(self, record: Mapping[str, Any], blocks: list[Any]) -> Iterator[Item]:
        results = [b for b in blocks if isinstance(b, dict) and b.get("type") == "tool_result"]
        for number, block in enumerate(results):
            data = {
                "tool_use_id": str(block.get("tool_use_id", "")),
                "content": text_of(block.get("content")),
                "is_error": block.get("is_error") is True,
            }
            yield from self._event(record, number, "tool_result", data)
        text = text_of([block for block in blocks if block not in results])
        if not text:
            return
        if record.get("isMeta") is True or record.get("isCompactSummary") is True:
            yield from self._event(record, len(results), "system_context", {"content": text})
        elif text.startswith(_INTERRUPTED):
            data = {"stop_reason": "cancelled"}
            yield from self._event(record, len(results), "turn_end", data)
        elif text.startswith(("<local-command-stdout>", "<bash-stdout>")):
            data = {"name": "command", "content": text}
            yield from self._event(record, len(results), "out_of_band_output", data)
        else:
            yield from self._rewind(record)
            for event in self._event(record, len(results), "user_message", {"content": text}):
                prompt_id = record.get("promptId")
                yield attrs.evolve(
                    event, prompt_id=prompt_id if isinstance(prompt_id, str) else None
                )

    def _rewind(self, record: Mapping[str, Any]) -> Iterator[Item]:
        """Yield a Rewind if another prompt has the same parent."""
        parent = record.get("parentUuid")
        if not isinstance(parent, str):
            return
        if parent in self._prompt_parents:
            yield Rewind(self._prompt_parents[parent])
        else:
            # Of what an earlier import has read, no more is known than the first event's id.
            self._prompt_parents[parent] = self._last_of.get(parent, parent)

    def _assistant(
        self, record: Mapping[str, Any], message: Mapping[str, Any], blocks: list[Any]
    ) -> Iterator[Item]:
        model = message.get("model")
        if isinstance(model, str) and not model.startswith("<"):
            self._transcript.model = model
        if model == "<synthetic>" and text_of(blocks) == _UNANSWERED:
            self._skip("answer that nobody gave")
            return
        if record.get("isApiErrorMessage") is True:
            end = {"stop_reason": "error", "error": text_of(blocks)}
            yield from self._event(record, 0, "turn_end", end)
            return
        for number, block in enumerate(blocks):
            match block:
                case {"type": "text", "text": str(text)}:
                    data: dict[str, Any] = {"content": text}
                    if isinstance(id := message.get("id"), str):
                        data["message"] = id
                    yield from self._event(record, number, "text", data)
                case {"type": "thinking", "thinking": str(text)}:
                    yield from self._event(record, number, "thinking", {"content": text})
                case {"type": "tool_use", "id": str(call), "name": str(name)}:
                    data = {"id": call, "name": name, "input": block.get("input")}
                    yield from self._event(record, number, "tool_call", data)
                case {"type": kind}:
                    self._skip(str(kind))
                case _:
                    self._skip("block")

    def _event(
        self, record: Mapping[str, Any], block: int, type: str, data: dict[str, Any]
    ) -> Iterator[ImportedEvent]:
        uuid = record.get("uuid")
        if not isinstance(uuid, str) or not 0 < len(uuid) <= 100 or not uuid.isascii():
            uuid = derived_id(self._own_id, self._lines.number)
        id = uuid if block == 0 else derived_id(uuid, block)
        time = milliseconds(record.get("timestamp")) or self._last_time
        if (event := self._transcript.event(id, type, data, time)) is not None:
            yield event

    def _skip(self, kind: str) -> None:
        skipped: collections.Counter[str] = self._transcript.skipped
        skipped[kind[:40]] += 1


def _added(record: Mapping[str, Any]) -> str:
    """Return what a person said while the model worked: it has no record of its own."""
    match record.get("attachment"):
        case {"type": "queued_command", "prompt": prompt, **more}:
            origin = more.get("origin")
            kind = origin.get("kind") if isinstance(origin, dict) else "human"
            if more.get("commandMode", "prompt") == "prompt" and kind == "human":
                return text_of(prompt)
    return ""
