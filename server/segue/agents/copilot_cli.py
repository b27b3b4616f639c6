"""Copilot CLI: a log of events for each conversation. VS Code's agent writes the same.

Going back cuts the end off the log: what an import has seen of it stays, and the rest is a fork.
Logs of old versions have no folder each, and some have the fields of `data` beside `type`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.jsonl import JsonLines, read_transcript
from segue.agents.transcript import (
    COMPACTED,
    Folder,
    Item,
    Places,
    Transcript,
    derived_id,
    milliseconds,
    session_id,
)
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

NAME = "copilot-cli"
TITLE = "Copilot CLI"
RESUME = ("copilot", "--resume={id}")

_FOLDER = "session-state"
_LOG = "events.jsonl"
_ENCRYPTED = ("reasoningOpaque", "encryptedContent", "reasoningBlocks")

_REPEATED = {"assistant.turn_start", "assistant.turn_end", "session.start", "session.resume"}
"""Kinds of records with which nothing is lost."""


def find(places: Places) -> Iterator[Path]:
    """Yield the logs."""
    for folder in folders(places):
        yield from folder.path.glob(f"*/{_LOG}")
        yield from folder.path.glob("*.jsonl")


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folder of all conversations."""
    yield Folder(places.folder("COPILOT_HOME", ".copilot") / _FOLDER)


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a log where Copilot CLI has its own."""
    folder = path.parent.parent if path.name == _LOG else path.parent
    return path.suffix == ".jsonl" and folder.name == _FOLDER


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a log, from where *states* say that an earlier import ended."""
    own_id = session_id(NAME, path.parent.name if path.name == _LOG else path.stem)
    return read_transcript(path, states, own_id, lambda *given: _Reader(own_id, *given).items())


def folder_of(path: Path) -> Path:
    """Return the folder of Copilot CLI that the log *path* lies in."""
    return (path.parent if path.name == _LOG else path).parent.parent


def _title(path: Path) -> str | None:
    """Return the name in the YAML file beside the log, if it is there, on one line."""
    try:
        text = (path.parent / "workspace.yaml").read_bytes()[:65_536].decode(errors="replace")
    except OSError:
        return None
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    name = (values.get("name") or values.get("summary") or "").strip()
    if len(name) > 1 and name[0] == name[-1] == "'":
        return name[1:-1].replace("''", "'")
    if len(name) > 1 and name[0] == name[-1] == '"' and "\\" not in name:
        return name[1:-1]
    return name if name and name[0] not in "|>'\"&*!{[" else None


class _Reader:
    def __init__(
        self,
        own_id: str,
        transcript: Transcript,
        lines: JsonLines,
        state: Mapping[str, Any] | None,
    ) -> None:
        before = state or {}
        self._own_id = own_id
        self._lines = lines
        self._transcript = transcript
        self._last_id: str | None = before.get("last")
        self._time = Timestamp(before.get("time") or 0)
        # Calls are told when the model asks for them, and again when they begin.
        self._calls: set[str] = set(before.get("calls", ()))
        self._commands: dict[str, str | None] = dict(before.get("commands", {}))
        self._thought: str | None = before.get("thought")
        self._block = 0
        transcript.after = self._last_id

    def items(self) -> Iterator[Item]:
        transcript = self._transcript
        for record in self._lines.records():
            self._block = 0
            self._time = milliseconds(record.get("timestamp")) or self._time
            for item in self._items_of(record):
                if isinstance(item, ImportedEvent):
                    self._last_id = item.event.id
                yield item
        transcript.broken = self._lines.broken
        transcript.title = _title(Path(transcript.path))
        transcript.state = self._lines.state() | {
            "last": self._last_id,
            "time": self._time,
            "calls": sorted(self._calls),
            "commands": self._commands,
            "thought": self._thought,
        }

    def _items_of(self, record: Mapping[str, Any]) -> Iterator[Item]:
        kind = record.get("type")
        data = record.get("data")
        if not isinstance(data, dict):
            data = record
        self._note(data)
        if record.get("agentId") or data.get("parentToolCallId"):
            self._skip("subagent")
            return
        match kind:
            case "user.message":
                yield from self._user(record, data)
            case "assistant.message":
                yield from self._assistant(record, data)
            case "assistant.reasoning":
                yield from self._thinking(record, data.get("content"))
            case "tool.user_requested":
                self._commands[str(data.get("toolCallId"))] = _command(data.get("arguments"))
            case "tool.execution_start":
                id, name, input = (
                    data.get("toolCallId"),
                    data.get("toolName"),
                    data.get("arguments"),
                )
                yield from self._call(record, id, name, input)
            case "tool.execution_complete":
                yield from self._result(record, data)
            case "skill.invoked":
                name, content = str(data.get("name")), data.get("content")
                yield from self._text(record, "skill_invocation", content, name=name)
            case "abort":
                yield from self._event(record, "turn_end", {"stop_reason": "cancelled"})
            case "session.error":
                end = {"stop_reason": "error", "error": str(data.get("message"))}
                yield from self._event(record, "turn_end", end)
            case "session.compaction_complete" if data.get("success") is not False:
                content = data.get("summaryContent") or COMPACTED
                yield from self._text(record, "system_context", content)
            case "system.message" if data.get("role") == "system":
                self._skip("system prompt")
            case "system.message" | "system.notification":
                yield from self._text(record, "system_context", data.get("content"))
            case _:
                self._skip(str(kind))

    def _note(self, data: Mapping[str, Any]) -> None:
        transcript = self._transcript
        match data:
            case {"context": {"cwd": str(cwd)}} if transcript.directory is None:
                transcript.directory = cwd
        match data:
            case {"context": {"branch": str(branch)}} | {"cwd": str(), "branch": str(branch)}:
                transcript.branch = branch
        for key in ("selectedModel", "newModel", "model"):
            if isinstance(model := data.get(key), str):
                transcript.model = model
        if isinstance(version := data.get("copilotVersion"), str):
            transcript.client_version = version

    def _user(self, record: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Item]:
        content = data.get("content")
        attachments = data.get("attachments")
        named = [_attachment(each) for each in attachments] if isinstance(attachments, list) else []
        content = content if isinstance(content, str) else ""
        texts = list(filter(None, (content, "\n".join(filter(None, named)))))
        is_said = data.get("source") in (None, "", "user") and not data.get(
            "isAutopilotContinuation"
        )
        for text in texts:  # apart: the hook of a prompt has only what was written
            type = "user_message" if is_said else "system_context"
            yield from self._event(record, type, {"content": text})
        if not texts:
            self._skip("message without text")

    def _assistant(self, record: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Item]:
        if any(data.get(key) for key in _ENCRYPTED):
            self._skip("encrypted reasoning")
        yield from self._thinking(record, data.get("reasoningText"))
        self._thought = None
        if isinstance(content := data.get("content"), str) and content:
            text = {"content": content}
            if isinstance(id := data.get("messageId"), str):
                text["message"] = id
            yield from self._event(record, "text", text)
        requests = data.get("toolRequests")
        for request in requests if isinstance(requests, list) else ():
            if isinstance(request, dict):
                id, name = request.get("toolCallId"), request.get("name")
                yield from self._call(record, id, name, request.get("arguments"))

    def _thinking(self, record: Mapping[str, Any], text: object) -> Iterator[Item]:
        """Yield what the model thought, which is told before its message and with it."""
        if not isinstance(text, str) or not text:
            return
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
        if digest != self._thought:
            yield from self._event(record, "thinking", {"content": text})
        self._thought = digest

    def _call(
        self, record: Mapping[str, Any], id: object, name: object, input: object
    ) -> Iterator[Item]:
        if not isinstance(id, str) or not isinstance(name, str):
            self._skip("invalid tool_call")
            return
        if id in self._calls or id in self._commands:
            return
        self._calls.add(id)
        yield from self._event(record, "tool_call", {"id": id, "name": name, "input": input})

    def _result(self, record: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Item]:
        id = str(data.get("toolCallId"))
        self._calls.discard(id)
        content = _output(data)
        if id in self._commands or data.get("isUserRequested") is True:
            output: dict[str, Any] = {"name": "command", "content": content}
            if (command := self._commands.pop(id, None)) is not None:
                output["command"] = command
            yield from self._event(record, "out_of_band_output", output)
            return
        shell = data.get("shellExecution")
        code = shell.get("exitCode") if isinstance(shell, dict) else None
        is_error = data.get("success") is False or code not in (None, 0)
        result = {"tool_use_id": id, "content": content, "is_error": is_error}
        yield from self._event(record, "tool_result", result)

    def _text(
        self, record: Mapping[str, Any], type: str, content: object, **fields: str
    ) -> Iterator[Item]:
        if isinstance(content, str):
            yield from self._event(record, type, {**fields, "content": content})
        else:
            self._skip(f"invalid {type}")

    def _event(self, record: Mapping[str, Any], type: str, data: dict[str, Any]) -> Iterator[Item]:
        id = record.get("id")
        if not isinstance(id, str) or not 0 < len(id) <= 100 or not id.isascii():
            id = derived_id(self._own_id, self._lines.number, self._lines.digest())
        block, self._block = self._block, self._block + 1
        event_id = derived_id(id, block) if block else id
        if (event := self._transcript.event(event_id, type, data, self._time)) is not None:
            yield event

    def _skip(self, kind: str) -> None:
        if kind not in _REPEATED:
            self._transcript.skipped[kind[:40]] += 1


def _attachment(attachment: object) -> str:
    match attachment:
        case {"type": "selection", "filePath": str(path), "text": str(text)}:
            return f"[selection {path}]\n{text}"
        case {"type": str(kind), "path": str(name)} | {"type": str(kind), "displayName": str(name)}:
            return f"[{kind} {name}]"
        case {"type": str(kind), "mimeType": str(name)} | {"type": str(kind), "url": str(name)}:
            return f"[{kind} {name}]"
        case {"type": str(kind)}:
            return f"[{kind}]"
    return ""


def _command(arguments: object) -> str | None:
    command = arguments.get("command") if isinstance(arguments, dict) else None
    return command if isinstance(command, str) else None


def _output(data: Mapping[str, Any]) -> str:
    """Return what a tool gave to the model: its output, or why it failed."""
    for key, field in (("result", "content"), ("error", "message")):
        match data.get(key):
            case str(text):
                return text
            case dict(value) if isinstance(value.get(field), str):
                return str(value[field])
    return ""
