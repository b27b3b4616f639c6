"""Writes a conversation as a transcript of Claude Code, which goes on with it.

Each event becomes a record of its own, with the event's id, behind the one before it: Claude Code
walks from the last record to the first one. Thinking hangs beside that chain. A model service
refuses it without its signature, which Segue does not have; so Claude Code must not send it.
"""

import collections
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from segue.agents import claude_code
from segue.agents.transcript import COMPACTED, BrokenPart, Places, Transcript, derived_id
from segue.agents.writable import Writable, Written
from segue.model.imports import ImportedEvent
from segue.model.records import PROMPT, StoredEvent, iso
from segue.model.titles import title_of

NOT_KEPT = (
    "images and other files, redacted thinking, subagents, what Claude Code noted for itself "
    "(usage, snapshots of files, its hooks), and branches that you had left. Secrets stay masked. "
    "Thinking is in the file, but Claude Code neither shows it nor sends it to the model; results "
    "of tools are sent to it, but those of most tools except Bash are not shown"
)

_MAX_NAME = 200
_NO_MODEL = "<synthetic>"
_SHELL = "Bash"
_SHELL_OUTPUT = {"stderr": "", "interrupted": False, "isImage": False}
"""What Claude Code shows of a command beside its output; of other tools it shows a text."""

_INTERRUPTED = "[Request interrupted by user]"


def target(places: Places, path: Path, directory: str) -> Path:
    """Return where Claude Code looks now for a conversation of *directory* that was in *path*.

    That is *path*, if it is in the folder that Claude Code has now.
    """
    found = place(places, directory, path.stem)
    return path if path.parent.parent == found.parent.parent else found


def place(places: Places, directory: str, own_id: str) -> Path:
    """Return where Claude Code keeps a conversation that begins in *directory*."""
    name = re.sub(r"[^a-zA-Z0-9]", "-", _utf16(directory))
    if len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}-{_hash(directory)}"
    projects = places.folder("CLAUDE_CONFIG_DIR", ".claude") / "projects"
    return projects / name / f"{own_id}.jsonl"


def refusal(path: Path) -> str | None:
    """Return why Claude Code would not resume a transcript with this name, None if it would."""
    try:
        if str(uuid.UUID(path.stem)) == path.stem.lower():
            return None
    except ValueError:
        pass
    return "Claude Code resumes only conversations whose file is named by a UUID"


def write(conversation: Writable) -> Written:
    """Return the transcript of a conversation.

    Left out is what would not be read back as it is, such as types that Claude Code has not.
    """
    return _Writer(conversation).written()


def _utf16(text: str) -> str:
    """Return *text* with two characters for each that JavaScript counts as two."""
    return "".join(char if ord(char) < 0x10000 else "--" for char in text)


def _hash(text: str) -> str:
    """Return the hash that Claude Code ends a name with that it has cut."""
    value = 0
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        value = (value * 31 + (high << 8 | low)) & 0xFFFFFFFF
    number = abs(value - (1 << 32) if value >> 31 else value)
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


class _Writer:
    def __init__(self, conversation: Writable) -> None:
        self._conversation = conversation
        self._own_id = conversation.path.stem
        self._last: str | None = None
        self._message: str | None = None
        """The id of the model's message that is being written, None after anything else."""
        self._is_compacted = False
        self._shell_calls: set[str] = set()
        self._common: dict[str, Any] = {
            "isSidechain": False,
            "userType": "external",
            "sessionId": self._own_id,
        }
        if conversation.directory.startswith("/") or conversation.directory[1:2] == ":":
            self._common["cwd"] = conversation.directory
        if conversation.client_version is not None:
            self._common["version"] = conversation.client_version

    def written(self) -> Written:
        conversation = self._conversation
        lines: list[bytes] = []
        kept: list[tuple[str, StoredEvent]] = []
        left_out: collections.Counter[str] = collections.Counter()
        for event in conversation.events:
            id = self._uuid(event)
            record = self._record(event, id)
            if record is None or not _is_read_back(record, event, id):
                left_out[event.type] += 1
                continue
            lines.append(_line(record))
            kept.append((id, event))
            if event.type != "thinking":
                self._last = id
            is_answer = event.type in ("text", "thinking", "tool_call")
            self._message = self._message if is_answer else None
            if event.type in ("user_message", "system_context"):
                self._is_compacted = record["type"] == "system"
        if (title := self._title(event for _, event in kept)) is not None and lines:
            record = {"type": "ai-title", "aiTitle": title, "sessionId": self._own_id}
            lines.append(_line(record))
        return Written(lines, kept, left_out)

    def _uuid(self, event: StoredEvent) -> str:
        """Return the id of an event's record: its own, but of a prompt that a hook stored."""
        if not event.id.startswith(PROMPT):
            return event.id
        known = self._conversation.records.get(event.id)
        return known or derived_id(self._own_id, event.id)

    def _title(self, kept: Iterable[StoredEvent]) -> str | None:
        """Return the title, if Claude Code would not show it by itself."""
        title = self._conversation.title
        first = next((each for each in kept if each.type == "user_message"), None)
        return None if first and title == title_of(first.data["content"]) else title

    def _record(self, event: StoredEvent, id: str) -> dict[str, Any] | None:
        match event.type, event.data:
            case "user_message", {"content": str(text)}:
                fields = {}
                if event.id.startswith(PROMPT):
                    fields["promptId"] = event.id.removeprefix(PROMPT)
                return self._user(event, id, text, **fields)
            case "out_of_band_output", {"content": str(text)}:
                return self._user(event, id, text)
            case "system_context", {"content": str(text)}:
                return self._context(event, id, text)
            case "turn_end", {"stop_reason": "cancelled"}:
                return self._user(event, id, [{"type": "text", "text": _INTERRUPTED}])
            case "turn_end", {"stop_reason": "error", "error": str(text)}:
                said = {"type": "text", "text": text}
                record = self._assistant(event, id, said, derived_id(id, "error"))
                record["message"]["model"] = _NO_MODEL
                return record | {"isApiErrorMessage": True}
            case "tool_result", {"tool_use_id": str(call), "content": str(text)}:
                is_error = event.data.get("is_error") is True
                result = {"tool_use_id": call, "content": text, "is_error": is_error}
                content = [{"type": "tool_result", **result}]
                shown = _SHELL_OUTPUT | {"stdout": text} if call in self._shell_calls else text
                return self._user(event, id, content, toolUseResult=text if is_error else shown)
            case "text", {"content": str(text)}:
                self._message = event.data.get("message")
                return self._assistant(event, id, {"type": "text", "text": text}, self._message)
            case "thinking", {"content": str(text)}:
                block = {"type": "thinking", "thinking": text, "signature": ""}
                return self._assistant(event, id, block, derived_id(id, "message"))
            case "tool_call", {"id": str(call), "name": str(name), "input": dict(given)}:
                self._message = self._message or derived_id(id, "message")
                if name == _SHELL:
                    self._shell_calls.add(call)
                asked = {"type": "tool_use", "id": call, "name": name, "input": given}
                return self._assistant(event, id, asked, self._message)
        return None

    def _context(self, event: StoredEvent, id: str, text: str) -> dict[str, Any]:
        if text == COMPACTED:
            fields: dict[str, Any] = {
                "logicalParentUuid": self._last,
                "subtype": "compact_boundary",
                "content": "Conversation compacted",
                "level": "info",
                "compactMetadata": {"trigger": "auto", "preTokens": 0},
            }
            return self._base(event, id, "system") | {"parentUuid": None} | fields
        if self._is_compacted:
            fields = {"isCompactSummary": True, "isVisibleInTranscriptOnly": True}
            return self._user(event, id, text, **fields)
        return self._user(event, id, text, isMeta=True)

    def _user(self, event: StoredEvent, id: str, content: Any, **fields: Any) -> dict[str, Any]:
        message = {"role": "user", "content": content}
        return self._base(event, id, "user") | {"message": message} | fields

    def _assistant(
        self, event: StoredEvent, id: str, block: Mapping[str, Any], message_id: str | None
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "type": "message",
            "role": "assistant",
            "model": self._conversation.model or _NO_MODEL,
            "content": [block],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        if message_id is not None:
            message["id"] = message_id
        return self._base(event, id, "assistant") | {"message": message}

    def _base(self, event: StoredEvent, id: str, type: str) -> dict[str, Any]:
        record = {"parentUuid": self._last, "type": type, "uuid": id}
        return record | {"timestamp": iso(event.created_at)} | self._common


@attrs.define
class _OneRecord:
    """A record as the reader of transcripts takes it."""

    record: dict[str, Any]
    number: int = 1
    broken: list[BrokenPart] = attrs.field(factory=list)

    def records(self) -> Iterator[dict[str, Any]]:
        yield self.record

    def state(self) -> dict[str, Any]:
        return {}


def _is_read_back(record: dict[str, Any], event: StoredEvent, id: str) -> bool:
    transcript = Transcript(id="", path="")
    items = list(claude_code.items_of(transcript, _OneRecord(record)))
    if len(items) != 1 or not isinstance(item := items[0], ImportedEvent):
        return False
    read = item.event
    return (read.id, read.type, read.data) == (id, event.type, event.data)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
