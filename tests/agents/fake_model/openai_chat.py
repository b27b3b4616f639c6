"""OpenAI's chat completions: Copilot CLI."""

import itertools
import json
from collections.abc import Iterator

from tests.agents.fake_model import behaviour
from tests.agents.fake_model.behaviour import Answer
from tests.agents.fake_model.protocol import DONE, WAIT, Event, Json

_numbers = itertools.count(1)


def answer(body: Json) -> Answer:
    """Return the answer to a request."""
    functions = [tool["function"] for tool in body.get("tools", []) if "function" in tool]
    messages = body["messages"]
    return behaviour.answer(
        said_last(messages), messages[-1].get("role") == "tool", properties(functions)
    )


def whole(body: Json, given: Answer) -> Json:
    """Return an answer that is not streamed."""
    message = {"role": "assistant", "content": given.text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_completion(body, "chat.completion"), "choices": [choice]}


def stream(body: Json, given: Answer) -> Iterator[Event]:
    """Yield the events of an answer."""
    begun = _completion(body, "chat.completion.chunk")

    def chunk(delta: Json, reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return Event({**begun, "choices": [choice]})

    yield chunk({"role": "assistant", "content": given.text})
    while given.is_endless:
        yield WAIT
    if given.call is not None:
        function = {"name": given.call.name, "arguments": json.dumps(given.call.input)}
        call = {"index": 0, "id": f"call_{next(_numbers)}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": function}]})
    yield chunk({}, "stop" if given.call is None else "tool_calls")
    yield DONE


def said_last(messages: list[Json]) -> list[str]:
    """Return the texts of a person's last message."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message["content"]
            return [content] if isinstance(content, str) else [each["text"] for each in content]
    return []


def properties(functions: list[Json]) -> Json:
    """Return the properties of the input of each function."""
    return {each["name"]: each.get("parameters", {}).get("properties", {}) for each in functions}


def _completion(body: Json, kind: str) -> Json:
    id = f"chatcmpl-{next(_numbers)}"
    return {"id": id, "object": kind, "created": 1, "model": body.get("model")}
