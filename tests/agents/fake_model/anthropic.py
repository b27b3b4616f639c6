"""Anthropic's messages: Claude Code."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.agents.fake_model import behaviour
from tests.agents.fake_model.behaviour import Answer
from tests.agents.fake_model.protocol import WAIT, Event, Json

_USAGE = {"input_tokens": 1, "output_tokens": 1}
_numbers = itertools.count(1)


def answer(body: Json) -> Answer:
    """Return the answer to a request."""
    tools = {
        tool["name"]: tool["input_schema"].get("properties", {})
        for tool in body.get("tools", [])
        if "input_schema" in tool
    }
    had_result = False
    for message in reversed(body["messages"]):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [
            block["text"]
            for block in blocks
            if block["type"] == "text" and not block["text"].startswith("<system-reminder>")
        ]
        if message["role"] == "user" and texts:
            return behaviour.answer(texts, had_result, tools)
        had_result |= any(block["type"] == "tool_result" for block in blocks)
    return behaviour.answer([], had_result, tools)


def whole(body: Json, given: Answer) -> Json:
    """Return an answer that is not streamed."""
    return {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [{"type": "text", "text": given.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
    }


def stream(body: Json, given: Answer) -> Iterator[Event]:
    """Yield the events of an answer."""
    begun = {**whole(body, given), "content": [], "stop_reason": None}
    yield _event("message_start", message=begun)
    yield from _block(0, {"type": "text", "text": ""}, "text_delta", "text", given.text)
    while given.is_endless:
        yield WAIT
    if given.call is not None:
        call = {
            "type": "tool_use", "id": f"toolu_{begun['id']}", "name": given.call.name, "input": {},
        }  # fmt: skip
        input = json.dumps(given.call.input)
        yield from _block(1, call, "input_json_delta", "partial_json", input)
    reason = "end_turn" if given.call is None else "tool_use"
    yield _event("message_delta", delta={"stop_reason": reason}, usage=_USAGE)
    yield _event("message_stop")


def _block(index: int, block: Json, kind: str, field: str, content: str) -> Iterator[Event]:
    yield _event("content_block_start", index=index, content_block=block)
    yield _event("content_block_delta", index=index, delta={"type": kind, field: content})
    yield _event("content_block_stop", index=index)


def _event(name: str, **data: Any) -> Event:
    return Event({"type": name, **data}, name)
