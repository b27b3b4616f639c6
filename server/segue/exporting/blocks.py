"""What is shown of a conversation, for people: blocks of events as prose, folds and notes.

A block is a message whose pieces are joined, a run of tool calls and results, or one event.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from segue.exporting import shown_time
from segue.model.pieces import IN_PIECES, continues_message
from segue.model.records import Invocation, Session, StoredEvent

Speaker = Literal["user", "assistant", ""]

NAMES: Mapping[str, str] = {"user": "You", "assistant": "Assistant"}

MAX_PROSE = 100_000
"""A longer message is shown as it is, in characters: parsing it as Markdown could take minutes."""

LOWERED = 2
"""By how many levels headings in messages are lowered: speakers have the second level."""

_MAX_JOINED = 16 * 1024 * 1024
_MAX_RUN = 200
_MAX_HINT = 80

TOOLS = frozenset({"tool_call", "tool_result", "permission"})
SAID = frozenset({"user_message", "text", "skill_invocation", "plan"})
"""The types of events that people and models say to each other."""

_ORDINARY_ENDS = frozenset({"end_turn", "stop", "completed", "tool_use"})

_SPEAKERS: Mapping[str, Speaker] = {
    "user_message": "user",
    "skill_invocation": "user",
    "text": "assistant",
    "thinking": "assistant",
    "plan": "assistant",
    **dict.fromkeys(TOOLS, "assistant"),
}

_ESCAPE_SEQUENCES = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-Z\\\\^-~])"
)
_LINE_ENDS = re.compile("\r\n?")
_UNSEEN = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff"
    "\ud800-\udfff]"
)


@attrs.define
class Block:
    """Events that are rendered together, and the invocations that wrote them, by their ids."""

    events: list[StoredEvent]
    invocations: Mapping[str, Invocation]
    size: int = 0
    """The characters of the pieces that were added to the first one."""

    def add(self, event: StoredEvent) -> None:
        """Append an event that continues this block."""
        self.events.append(event)
        if isinstance(event.data, dict) and isinstance(content := event.data.get("content"), str):
            self.size += len(content)


@attrs.frozen
class Prose:
    """Text in Markdown that a person or a model wrote."""

    text: str


@attrs.frozen
class Fold:
    """Something that is shown on demand: one line, and texts that are shown as they are."""

    label: str
    hint: str
    bodies: Sequence[str]
    has_failed: bool = False


@attrs.frozen
class Note:
    """A short remark between the messages."""

    text: str


Part = Prose | Fold | Note


def continues(block: Block, event: StoredEvent) -> bool:
    """Return whether *event* is a further piece of the block's message, or of its run of tools."""
    last = block.events[-1]
    if block.size > _MAX_JOINED:
        return False
    if last.type in TOOLS and event.type in TOOLS:
        return len(block.events) < _MAX_RUN
    return continues_message(last, event)


def speaker(block: Block) -> Speaker:
    """Return who speaks in *block*; an empty string for what stands between the messages."""
    return _SPEAKERS.get(block.events[0].type, "")


def parts(block: Block) -> Iterator[Part]:
    """Yield what is shown of *block*."""
    first = block.events[0]
    if first.type in TOOLS:
        yield from _tools(block.events)
    elif first.type in IN_PIECES and all(_content(event) is not None for event in block.events):
        text = "".join(_content(event) or "" for event in block.events)
        if first.type == "thinking":
            yield Fold("Thinking", "", [text])
        elif text.strip():
            yield Prose(text)
    else:
        yield from map(_part, block.events)


def _content(event: StoredEvent) -> str | None:
    content = event.data.get("content") if isinstance(event.data, dict) else None
    return content if isinstance(content, str) else None


def _part(event: StoredEvent) -> Part:
    match event.type, event.data:
        case "user_message" | "text", {"content": str(content)}:
            return Prose(content)
        case "skill_invocation", {"name": str(name), "content": str(content), **rest}:
            arguments = rest.get("arguments")
            return Fold(name, arguments if isinstance(arguments, str) else "", [content])
        case "system_context", {"content": str(content)}:
            return Fold("Context", hint_of(content), [content])
        case "out_of_band_output", {"name": str(name), "content": str(content), **rest}:
            command = rest.get("command")
            return Fold(name, command if isinstance(command, str) else "", [content])
        case "plan", {"entries": list(entries)}:
            return Fold("Plan", "", ["\n".join(map(_plan_entry, entries))])
        case "turn_end", {"stop_reason": str(reason), **rest}:
            error = rest.get("error")
            if isinstance(error, str) and error:
                return Note(f"The turn ended with an error: {error}")
            return Note("" if reason in _ORDINARY_ENDS else f"The turn ended: {reason}")
        case type, str(raw) if event.corrupt:
            return Fold(type, "unreadable", [raw])
        case type, data:
            return Fold(type, "", [json.dumps(data, ensure_ascii=False, indent=1)])


def _plan_entry(entry: Any) -> str:
    match entry:
        case {"content": str(content), **rest}:
            done = {"completed": "x", "in_progress": ">"}.get(str(rest.get("status")), " ")
            return f"[{done}] {content}"
        case str(content):
            return f"[ ] {content}"
        case _:
            return json.dumps(entry, ensure_ascii=False)


@attrs.define
class _Call:
    label: str
    hint: str
    bodies: list[str]
    has_failed: bool = False


def _tools(events: Sequence[StoredEvent]) -> Iterator[Part]:
    """Yield the calls, each with its result; what belongs to no call of this run stands alone."""
    calls: dict[str, _Call] = {}
    shown: list[_Call | Part] = []
    for event in events:
        match event.type, event.data:
            case "tool_call", {"id": str(id), "name": str(name), "input": given}:
                calls[id] = _Call(name, _hint_of_input(given), [input_text(given)])
                shown.append(calls[id])
            case "tool_result", {"tool_use_id": str(id), "content": str(content), **rest}:
                call = calls.get(id)
                if call is None:
                    call = _Call("Result", hint_of(content), [])
                    shown.append(call)
                call.bodies.append(content)
                call.has_failed |= rest.get("is_error") is True
            case "permission", {"tool_use_id": str(id), "outcome": str(outcome), **rest}:
                option = rest.get("option")
                answer = f"{outcome}: {option}" if isinstance(option, str) else outcome
                if id in calls:
                    calls[id].bodies.append(f"Permission: {answer}")
                else:
                    shown.append(Fold("Permission", answer, []))
            case _:
                shown.append(_part(event))
    for each in shown:
        if isinstance(each, _Call):
            bodies = [body for body in each.bodies if body]
            yield Fold(each.label, each.hint, bodies, has_failed=each.has_failed)
        else:
            yield each


def input_text(value: Any) -> str:
    """Return the input of a tool for people: a field a line, texts of several lines as they are."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return "" if value is None else json.dumps(value, ensure_ascii=False, indent=1)
    lines = []
    for name, each in value.items():
        text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
        lines.append(f"{name}:\n{text}" if "\n" in text else f"{name}: {text}")
    return "\n".join(lines)


def _hint_of_input(value: Any) -> str:
    values = value.values() if isinstance(value, dict) else (value,)
    return next((hint_of(each) for each in values if isinstance(each, str) and each.strip()), "")


def hint_of(text: str) -> str:
    """Return the beginning of *text* as one short line."""
    line = " ".join(text[: 4 * _MAX_HINT].split())
    return line if len(line) <= _MAX_HINT else f"{line[: _MAX_HINT - 1]}…"


def readable(text: str) -> str:
    """Return *text* without terminal colours, and with what cannot be seen escaped.

    Those are control characters, those that reverse the direction of text, and halves of surrogate
    pairs, which no file in UTF-8 can have.
    """
    if "\x1b" in text:
        text = _ESCAPE_SEQUENCES.sub("", text)
    return _UNSEEN.sub(_escaped, _LINE_ENDS.sub("\n", text))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """Return *text* as one readable line."""
    return " ".join(readable(text).split())


def title(session: Session) -> str:
    """Return the title of the session, or what stands for it."""
    return one_line(session.title or "") or "Conversation"


def facts(session: Session) -> str:
    """Return who spoke, where and when, as one line. Only the name of the folder is said."""
    folder = re.split(r"[/\\]", (session.git_root or session.directory).rstrip("/\\"))[-1]
    begin, end = shown_time(session.created_at), shown_time(session.updated_at)
    if begin[:10] == end[:10]:
        end = end[11:]
    program = session.source or session.client
    known = (program, session.agent, session.model, folder, f"{begin} to {end} UTC")
    return " · ".join(dict.fromkeys(one_line(each) for each in known if each))
