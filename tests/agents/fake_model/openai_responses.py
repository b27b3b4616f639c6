"""OpenAI's responses: Codex."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.agents.fake_model import behaviour
from tests.agents.fake_model.behaviour import Answer
from tests.agents.fake_model.openai_chat import properties, said_last
from tests.agents.fake_model.protocol import WAIT, Event, Json

_numbers = itertools.count(1)


def answer(body: Json) -> Answer:
    """Return the answer to a request."""
    functions = [each for tool in body.get("tools", []) for each in _functions(tool)]
    items = body["input"]
    had_result = str(items[-1].get("type", "")).endswith("call_output")
    return behaviour.answer(said_last(items), had_result, properties(functions))


def _functions(tool: Json) -> list[Json]:
    """Return the functions of a tool; those of a namespace are named `NAMESPACE/NAME`."""
    if tool.get("type") == "namespace":
        return [{**each, "name": f"{tool['name']}/{each['name']}"} for each in tool["tools"]]
    return [tool] if "parameters" in tool else []


def whole(body: Json, given: Answer) -> Json:
    """Return an answer that is not streamed."""
    return {**_response(body), "status": "completed", "output": [_message(given)]}


def stream(body: Json, given: Answer) -> Iterator[Event]:
    """Yield the events of an answer."""
    begun = _response(body)
    yield _event("created", response=begun)
    message = _message(given)
    partial = {**message, "status": "in_progress", "content": []}
    yield _event("output_item.added", output_index=0, item=partial)
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    yield _event("output_text.delta", **place, delta=given.text)
    while given.is_endless:
        yield WAIT
    output = [message]
    if given.call is not None:
        number = next(_numbers)
        namespace, _, name = given.call.name.rpartition("/")
        output.append({
            "id": f"fc_{number}", "type": "function_call", "call_id": f"call_{number}",
            "name": name, "arguments": json.dumps(given.call.input), "status": "completed",
            **({"namespace": namespace} if namespace else {}),
        })  # fmt: skip
    for index, item in enumerate(output):
        yield _event("output_item.done", output_index=index, item=item)
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    ended = {**begun, "status": "completed", "output": output, "usage": usage}
    yield _event("completed", response=ended)


def _response(body: Json) -> Json:
    begun = {"object": "response", "created_at": 1, "status": "in_progress", "output": []}
    return {"id": f"resp_{next(_numbers)}", "model": body.get("model"), **begun}


def _message(given: Answer) -> Json:
    content = [{"type": "output_text", "text": given.text, "annotations": []}]
    begun = {"id": f"msg_{next(_numbers)}", "type": "message", "role": "assistant"}
    return {**begun, "status": "completed", "content": content}


def _event(name: str, **data: Any) -> Event:
    return Event({"type": f"response.{name}", **data}, f"response.{name}")
