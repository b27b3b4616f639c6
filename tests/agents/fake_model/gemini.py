"""Google's `generateContent`, streamed or not: Gemini CLI."""

import json
from collections.abc import Iterator

from tests.agents.fake_model import behaviour
from tests.agents.fake_model.behaviour import Answer
from tests.agents.fake_model.protocol import WAIT, Event, Json

_ROUTING = {"reasoning": "x", "model_choice": "flash", "complexity_reasoning": "x"}
"""What Gemini CLI wants to know before a turn: how difficult it is."""


def answer(body: Json) -> Answer:
    """Return the answer to a request."""
    tools = {
        function["name"]: function.get("parametersJsonSchema", {}).get("properties", {})
        for tool in body.get("tools", [])
        for function in tool.get("functionDeclarations", [])
    }
    had_result = any("functionResponse" in part for part in body["contents"][-1]["parts"])
    for content in reversed(body["contents"]):
        texts = [part["text"] for part in content["parts"] if "text" in part]
        if content.get("role") == "user" and texts:
            return behaviour.answer(texts, had_result, tools)
    return behaviour.answer([], had_result, tools)


def whole(body: Json, given: Answer) -> Json:
    """Return an answer that is not streamed."""
    wanted = body.get("generationConfig", {}).get("responseMimeType")
    text = json.dumps(_ROUTING) if wanted == "application/json" else given.text
    return _candidate({"text": text}, "STOP")


def stream(body: Json, given: Answer) -> Iterator[Event]:
    """Yield the events of an answer."""
    yield Event(_candidate({"text": given.text}))
    while given.is_endless:
        yield WAIT
    part: Json = {"text": ""}
    if given.call is not None:
        part = {"functionCall": {"name": given.call.name, "args": given.call.input}}
    yield Event(_candidate(part, "STOP"))


def _candidate(part: Json, reason: str | None = None) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": [part]}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [candidate], "usageMetadata": usage}
