"""Stored events as the updates with which an agent replays a conversation in `session/load`."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import attrs

from segue.acp.content import text_of_block
from segue.acp.tool_kinds import kind_of, locations_of, title_of
from segue.model.pieces import IN_PIECES, continues_message
from segue.model.records import StoredEvent

Update = dict[str, Any]

MAX_CHUNK = 1024 * 1024
"""A longer message is more than one chunk, in characters."""

_MAX_OPEN = 10_000
"""How many calls may wait for their results; of more, the oldest count as failed."""

_CHUNKS = {"text": "agent_message_chunk", "thinking": "agent_thought_chunk"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]+")
_PRIORITIES = ("high", "medium", "low")
_STATES = ("pending", "in_progress", "completed")


@attrs.define
class _Message:
    """The pieces of a message so far."""

    last: StoredEvent
    id: str
    texts: list[str]
    size: int = 0


class Replayer:
    """Makes the updates of a conversation: takes its events in their order, page by page.

    A client that gets the updates shows what was said. What it cannot show is left out: notes for
    the model, permissions, ends of turns and types that are unknown. It keeps one message, and the
    ids of calls without a result.
    """

    def __init__(self) -> None:
        self._message: _Message | None = None
        self._open: dict[str, None] = {}

    def updates(self, events: Iterable[StoredEvent]) -> Iterator[Update]:
        """Yield the updates of the next *events*; the last message may be held back."""
        for event in events:
            if event.type in IN_PIECES and (text := _content(event)) is not None:
                yield from self._piece(event, text)
            else:
                yield from self._end_message()
                yield from self._others(event)

    def end(self) -> Iterator[Update]:
        """Yield the updates after the last event: what has no result has failed."""
        yield from self._end_message()
        for id in self._open:
            yield _failed(id)
        self._open.clear()

    def _piece(self, event: StoredEvent, text: str) -> Iterator[Update]:
        message = self._message
        if message is None or not continues_message(message.last, event):
            yield from self._end_message()
            given = event.data.get("message")
            id = given if isinstance(given, str) and given else event.id
            message = self._message = _Message(event, id, [])
        message.last = event
        block = _acp(event).get("content")
        if _is_valid(block):
            yield from self._chunk(message)
            yield _chunk(_CHUNKS[event.type], block, message.id)
        else:
            message.texts.append(text)
            message.size += len(text)
            if message.size > MAX_CHUNK:
                yield from self._chunk(message)

    def _end_message(self) -> Iterator[Update]:
        message, self._message = self._message, None
        if message is not None:
            yield from self._chunk(message)

    def _chunk(self, message: _Message) -> Iterator[Update]:
        if text := "".join(message.texts):
            yield _text(_CHUNKS[message.last.type], text, message.id)
        message.texts.clear()
        message.size = 0

    def _others(self, event: StoredEvent) -> Iterator[Update]:
        match event.type, event.data:
            case "user_message", {"content": str(content)}:
                for block in _said(_acp(event).get("prompt"), content):
                    yield _chunk("user_message_chunk", block, event.id)
            case "skill_invocation", {"name": str(name), "content": str(content), **rest}:
                arguments = rest.get("arguments")
                called = f"/{name} {arguments}" if isinstance(arguments, str) else f"/{name}"
                yield _text("user_message_chunk", called, event.id)
                if content:
                    yield _text("agent_thought_chunk", content, event.id)
            case "out_of_band_output", {"content": str(content), **rest}:
                command = rest.get("command")
                shown = f"{command}\n\n{content}" if isinstance(command, str) else content
                if shown:
                    yield _text("agent_thought_chunk", shown, event.id)
            case "tool_call", {"id": str(id), "name": str(name)}:
                yield from self._call(id, name, event)
            case "tool_result", {"tool_use_id": str(id), "content": str(content)}:
                yield self._result(id, content, event)
            case "plan", {"entries": list(entries)}:
                yield {"sessionUpdate": "plan", "entries": [*_plan_entries(entries)]}

    def _call(self, id: str, name: str, event: StoredEvent) -> Iterator[Update]:
        given = event.data.get("input")
        update: Update = {"sessionUpdate": "tool_call", "toolCallId": id, "status": "pending"}
        if "acp" in event.data:
            update |= _told(_acp(event), "")
            update.setdefault("title", name)
        else:
            update |= {"title": title_of(name, given), "kind": kind_of(name)}
            if locations := locations_of(given):
                update["locations"] = locations
        if given is not None:
            update["rawInput"] = given
        yield update
        self._open.pop(id, None)
        self._open[id] = None
        if len(self._open) > _MAX_OPEN:
            oldest = next(iter(self._open))
            del self._open[oldest]
            yield _failed(oldest)

    def _result(self, id: str, content: str, event: StoredEvent) -> Update:
        is_known = id in self._open
        self._open.pop(id, None)
        status = "failed" if event.data.get("is_error") is True else "completed"
        update: Update = {"sessionUpdate": "tool_call_update", "toolCallId": id, "status": status}
        if not is_known:  # a client does not know it either
            update |= {"sessionUpdate": "tool_call", "title": "Result", "kind": "other"}
        acp = _acp(event)
        update |= _told(acp, content)
        for field in ("rawInput", "rawOutput"):
            if acp.get(field) is not None:
                update[field] = acp[field]
        if "content" not in acp and content:
            update["content"] = [_tool_text(content)]
        return update


def replay(events: Iterable[StoredEvent]) -> Iterator[Update]:
    """Yield the updates of all *events* of a conversation, in their order."""
    replayer = Replayer()
    yield from replayer.updates(events)
    yield from replayer.end()


def _content(event: StoredEvent) -> str | None:
    content = event.data.get("content") if isinstance(event.data, dict) else None
    return content if isinstance(content, str) else None


def _acp(event: StoredEvent) -> dict[str, Any]:
    """Return what the recorder keeps beside the fields of an event, if it is one of its own."""
    acp = event.data.get("acp")
    return acp if isinstance(acp, dict) else {}


def _chunk(kind: str, block: dict[str, Any], message_id: str) -> Update:
    return {"sessionUpdate": kind, "messageId": message_id, "content": block}


def _text(kind: str, text: str, message_id: str) -> Update:
    return _chunk(kind, {"type": "text", "text": text}, message_id)


def _failed(id: str) -> Update:
    return {"sessionUpdate": "tool_call_update", "toolCallId": id, "status": "failed"}


def _said(blocks: Any, content: str) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a prompt; of one that is not whole, what its text says."""
    if isinstance(blocks, list) and blocks:
        shown = [_block(block) for block in blocks]
        if None not in shown:
            yield from filter(None, shown)
            return
    if content:
        yield {"type": "text", "text": content}


def _block(block: Any) -> dict[str, Any] | None:
    """Return a block that a client can show: its name, if what it had was omitted or masked."""
    if _is_valid(block):
        return dict(block)
    text = text_of_block(block)
    return None if text is None else {"type": "text", "text": text}


def _is_valid(block: Any) -> TypeGuard[dict[str, Any]]:
    match block:
        case {"type": "text", "text": str()}:
            return True
        case {"type": "image" | "audio", "data": str(data), "mimeType": str()}:
            return _BASE64.fullmatch(data) is not None
        case {"type": "resource_link", "uri": str(), "name": str()}:
            return True
        case {"type": "resource", "resource": {"uri": str(), "text": str()}}:
            return True
        case {"type": "resource", "resource": {"uri": str(), "blob": str(blob)}}:
            return _BASE64.fullmatch(blob) is not None
        case _:
            return False


def _told(acp: dict[str, Any], content: str) -> Update:
    """Return what an agent has told of a call, as far as it is valid.

    *content* is shown in the place of a terminal, which is gone.
    """
    told: Update = {key: acp[key] for key in ("title", "kind") if isinstance(acp.get(key), str)}
    if isinstance(locations := acp.get("locations"), list):
        told["locations"] = [
            each
            for each in locations
            if isinstance(each, dict) and isinstance(each.get("path"), str)
        ]
    if isinstance(items := acp.get("content"), list):
        shown = [_tool_content(item, content) for item in items]
        told["content"] = [item for item in shown if item is not None]
    return told


def _tool_content(item: Any, content: str) -> dict[str, Any] | None:
    match item:
        case {"type": "content", "content": inner} if (block := _block(inner)) is not None:
            return {**item, "content": block}
        case {"type": "diff", "path": str(path), "newText": new}:
            old = item.get("oldText")
            is_whole = isinstance(new, str) and (old is None or isinstance(old, str))
            return dict(item) if is_whole else _tool_text(f"[diff of {path}]")
        case {"type": "terminal"} if content:
            return _tool_text(content)
        case _:
            return None


def _tool_text(text: str) -> dict[str, Any]:
    return {"type": "content", "content": {"type": "text", "text": text}}


def _plan_entries(entries: list[Any]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        match entry:
            case str(content):
                yield {"content": content, "priority": "medium", "status": "pending"}
            case {"content": str(content), **rest}:
                priority, status = rest.get("priority"), rest.get("status")
                known = {
                    "priority": priority if priority in _PRIORITIES else "medium",
                    "status": status if status in _STATES else "pending",
                }
                yield entry | known | {"content": content}
