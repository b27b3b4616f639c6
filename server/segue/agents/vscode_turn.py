"""A turn of a chat of VS Code: a question, and what was shown of the answer.

What was shown is the parts of `response`, in their order. Copilot adds what its model asked of the
tools and what they returned, in `result.metadata`: `toolCallRounds` and `toolCallResults`.
"""

import collections
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import attrs

from segue.agents.transcript import Transcript, content_id, milliseconds
from segue.agents.values import mapping, string
from segue.agents.vscode_log import is_complete
from segue.agents.vscode_tools import (
    CallAndResult,
    ToolCalls,
    is_of_subagent,
    markdown_of,
)
from segue.model.imports import ImportedEvent
from segue.model.records import Timestamp

_OWN_EXTENSION = "segue.segue"
_NOT_ATTACHED = ("implicit", "promptFile", "promptText", "tool", "toolset", "workspace")
"""Kinds of context that VS Code adds by itself, or that the question names."""
_EDITS = ("codeblockUri", "textEditGroup", "notebookEditGroup", "externalEdit")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\w*\s*")


@attrs.frozen
class _Read:
    """A turn with a complete answer, and what was read from it."""

    turn: dict[str, Any]
    id: str
    begin: Timestamp
    """When the turn before it ended."""
    end: Timestamp
    events: list[ImportedEvent]
    skipped: "collections.Counter[str]"


class Turns:
    """The turns of one chat, in all its versions. A turn that is still the same is read once."""

    def __init__(self) -> None:
        self.has_open_answer = False
        """Whether the version that was read last ends with an answer that is not complete."""
        self._read: dict[int, _Read] = {}
        """By the identity of the turns."""
        self._transcript = Transcript(id="", path="")
        self._is_abandoned = False
        self._time = Timestamp(0)
        self._said = 0
        """How many texts and thoughts an answer has so far."""

    def events(
        self, chat: Mapping[str, Any], transcript: Transcript, *, is_abandoned: bool
    ) -> Iterator[ImportedEvent]:
        """Yield the events of all turns that are a part of the conversation, and count others.

        *is_abandoned*: whether nobody writes the last answer any more if it is not complete.
        """
        self._transcript = transcript
        self._is_abandoned = is_abandoned
        self._time = milliseconds(chat.get("creationDate")) or Timestamp(0)
        self.has_open_answer = False
        turns = chat.get("requests")
        turns = turns if isinstance(turns, list) else []
        known = set()
        for number, turn in enumerate(turns):
            if not isinstance(turn, dict):
                self._skip("invalid turn")
                continue
            own_id = string(turn.get("requestId")) or f"turn {number}"
            if _is_taken_back(turn):
                self._skip("reverted turn")
            elif _is_own(turn):
                self._skip("turn of @segue")
            elif own_id in known:
                self._skip("doubled turn")
            else:
                known.add(own_id)
                if isinstance(model := turn.get("modelId"), str):
                    transcript.model = model
                if is_complete(turn):
                    yield from self._complete_turn(own_id, turn)
                else:
                    yield from self._turn(own_id, turn, is_last=number == len(turns) - 1)

    def _complete_turn(self, own_id: str, turn: dict[str, Any]) -> list[ImportedEvent]:
        found = self._read.get(id(turn))
        if found is None or (found.id, found.begin) != (own_id, self._time):
            begin, skipped = self._time, self._transcript.skipped
            self._transcript.skipped = collections.Counter()
            events = list(self._turn(own_id, turn, is_last=False))
            found = _Read(turn, own_id, begin, self._time, events, self._transcript.skipped)
            self._read[id(turn)] = found
            self._transcript.skipped = skipped
        self._transcript.skipped += found.skipped
        self._time = found.end
        return found.events

    def _turn(self, id: str, turn: dict[str, Any], *, is_last: bool) -> Iterator[ImportedEvent]:
        self._time = milliseconds(turn.get("timestamp")) or self._time
        yield from self._question(id, turn)
        if is_last and not is_complete(turn) and not self._is_abandoned:
            self.has_open_answer = True
            self._skip("incomplete answer")
            return
        result = mapping(turn.get("result"))
        self._time = max(self._time, _end(turn, result) or self._time)
        yield from self._answer(id, turn, mapping(result.get("metadata")))
        yield from self._turn_end(id, turn, result)

    def _question(self, id: str, turn: Mapping[str, Any]) -> Iterator[ImportedEvent]:
        message = turn.get("message")
        text = message.get("text") if isinstance(message, dict) else message
        said = [text if isinstance(text, str) else "", *_attached(turn)]
        if not (content := "\n".join(filter(None, said))):
            return
        hidden = ("isSystemInitiated", "hiddenFromTranscript", "requestHiddenFromTranscript")
        is_said = not any(turn.get(name) is True for name in hidden)
        type = "user_message" if is_said else "system_context"
        yield from self._event(id, "question", type, {"content": content})

    def _answer(
        self, id: str, turn: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Iterator[ImportedEvent]:
        parts = turn.get("response")
        parts = [parts] if isinstance(parts, str) else parts
        parts = parts if isinstance(parts, list) else []
        calls = ToolCalls(parts, metadata)
        self._said = 0
        texts: list[str] = []
        for number, part in enumerate(parts):
            if (text := _text(part)) is not None:
                if not _is_fence_of_edit(parts, number):
                    texts.append(text)
                continue
            match part:
                case {"kind": "thinking", "value": str() | list() as value}:
                    yield from self._say(id, "text", texts)
                    thoughts = [value] if isinstance(value, str) else value
                    said = list(filter(None, map(string, thoughts)))
                    yield from self._say(id, "thinking", said)
                case {"kind": "toolInvocationSerialized", "toolCallId": str(), "toolId": str()}:
                    if is_of_subagent(part):
                        self._skip("subagent")
                        continue
                    yield from self._say(id, "text", texts)
                    yield from self._tools(id, calls.until(part))
                case {"kind": str(kind)}:
                    self._skip(kind)
                case _:
                    self._skip("invalid part")
        yield from self._say(id, "text", texts)
        yield from self._tools(id, calls.rest())

    def _say(self, id: str, type: str, texts: list[str]) -> Iterator[ImportedEvent]:
        """Yield what *texts* say together, and empty them."""
        text = "".join(texts)
        texts.clear()
        if text.strip():
            self._said += 1
            yield from self._event(id, f"{type} {self._said}", type, {"content": text})

    def _tools(self, id: str, found: Iterator[CallAndResult]) -> Iterator[ImportedEvent]:
        for call, result in found:
            yield from self._event(id, f"call {call['id']}", "tool_call", call)
            if result is not None:
                yield from self._event(id, f"result {call['id']}", "tool_result", result)

    def _turn_end(
        self, id: str, turn: dict[str, Any], result: Mapping[str, Any]
    ) -> Iterator[ImportedEvent]:
        error = mapping(result.get("errorDetails", turn.get("responseErrorDetails")))
        is_cancelled = turn.get("isCanceled") is True or error.get("code") == "canceled"
        match turn.get("modelState"):
            case {"value": 2}:
                is_cancelled = True
        # VS Code itself says so of an answer that it finds like this.
        if is_cancelled or not is_complete(turn):
            yield from self._event(id, "end", "turn_end", {"stop_reason": "cancelled"})
        elif isinstance(reason := error.get("message"), str):
            data = {"stop_reason": "error", "error": reason}
            yield from self._event(id, "end", "turn_end", data)

    def _event(
        self, id: str, part: str, type: str, data: dict[str, Any]
    ) -> Iterator[ImportedEvent]:
        try:
            event = self._transcript.event(content_id(id, part, data), type, data, self._time)
        except RecursionError:
            self._skip(f"invalid {type}")
            return
        if event is not None:
            yield event

    def _skip(self, kind: str) -> None:
        self._transcript.skipped[kind[:40]] += 1


def _text(part: Any) -> str | None:
    """Return the text that a part is, None if it is none."""
    match part:
        case str():
            return part
        case {"kind": "markdownContent" | "markdownVuln"}:
            return markdown_of(part.get("content", part.get("value")))
        case {"kind": "inlineReference", "inlineReference": dict(reference)}:
            return _reference(part.get("name"), reference)
        case {"kind": _}:
            return None
    return markdown_of(part)


def _reference(name: object, reference: Mapping[str, Any]) -> str:
    """Return the name of a file, a place in it, or a symbol."""
    for found in (name, reference.get("name")):
        if isinstance(found, str) and found:
            return f"`{found}`"
    match reference:
        case {"path": str(path)} | {"uri": {"path": str(path)}}:
            return f"`{PurePosixPath(path).name}`"
    return ""


def _is_fence_of_edit(parts: list[Any], number: int) -> bool:
    """Return whether a text is only the fence around an edit, which is no text."""
    text = _text(parts[number])
    if text is None or _FENCE.fullmatch(text) is None:
        return False
    around = parts[max(0, number - 1) : number] + parts[number + 1 : number + 2]
    return any(isinstance(part, dict) and part.get("kind") in _EDITS for part in around)


def _attached(turn: Mapping[str, Any]) -> Iterator[str]:
    """Yield what stands for the files that a person has attached: `[file a.py]`."""
    variables = mapping(turn.get("variableData")).get("variables")
    for each in variables if isinstance(variables, list) else ():
        match each:
            case {"range": dict()} | {"automaticallyAdded": True}:
                pass
            case {"name": str(name)}:
                kind = each.get("kind", "file")
                if isinstance(kind, str) and kind not in _NOT_ATTACHED:
                    yield f"[{kind} {name}]"


def _is_taken_back(turn: Mapping[str, Any]) -> bool:
    """Return whether a person went back to before a turn, which is removed at the next question."""
    match turn.get("shouldBeRemovedOnSend"):
        case {"afterUndoStop": str()}:
            return False
        case {"requestId": _}:
            return True
    return turn.get("isHidden") is True


def _is_own(turn: Mapping[str, Any]) -> bool:
    """Return whether Segue's own participant answers a turn: its extension records that."""
    message = turn.get("message")
    parts = message.get("parts") if isinstance(message, dict) else None
    named = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return any(_is_own_agent(each.get("agent")) for each in (turn, *named))


def _is_own_agent(agent: object) -> bool:
    match agent:
        case {"extensionId": {"value": str(id)}} | {"extensionId": str(id)}:
            return id.lower() == _OWN_EXTENSION
    return False


def _end(turn: Mapping[str, Any], result: Mapping[str, Any]) -> Timestamp | None:
    """Return when an answer was complete."""
    match turn.get("modelState"):
        case {"completedAt": time}:
            return milliseconds(time)
    match turn.get("timestamp"), result.get("timings"):
        case int(begin), {"totalElapsed": int(elapsed)}:
            return milliseconds(begin + elapsed)
    return None
