"""JSON-RPC messages as ACP has them, one a line. What is no message is not looked at."""

import json
import re
from typing import Any

import attrs

from segue.model.told_history import is_told

RESOURCE_NOT_FOUND = -32002
INTERNAL_ERROR = -32603

_HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, which JSON can have and no encoding."""

_encoder = json.JSONEncoder(separators=(",", ":"))


@attrs.frozen
class Message:
    """A line that is a JSON object, and what it says."""

    raw: bytes
    body: dict[str, Any]

    @property
    def method(self) -> str | None:
        """The method of a request or a notification; None: it is an answer, or nothing known."""
        method = self.body.get("method")
        return method if isinstance(method, str) else None

    @property
    def params(self) -> dict[str, Any]:
        """Its params, empty if it has none that are an object."""
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def result(self) -> dict[str, Any]:
        """Its result, empty if it has none that is an object."""
        result = self.body.get("result")
        return result if isinstance(result, dict) else {}

    @property
    def is_error(self) -> bool:
        """Whether it is an answer that says that a request failed."""
        return self.body.get("error") is not None

    @property
    def key(self) -> str | None:
        """Its id, of any type, as text; None if it has none."""
        return json.dumps(self.body["id"]) if self.body.get("id") is not None else None

    @property
    def session_id(self) -> str | None:
        """The session that it is about."""
        return session_id_in(self.params)


def parse(line: bytes) -> Message | None:
    """Return the message of a line, None if it is none, or more than one."""
    try:
        text = line.decode()
        try:
            body = json.loads(text)
        except ValueError:
            body = json.loads(text, parse_int=_number)  # Python reads at most 4,300 digits
    except (ValueError, RecursionError):
        return None
    return Message(line, body) if isinstance(body, dict) else None


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) < 1_000 else digits


def session_id_in(value: dict[str, Any]) -> str | None:
    """Return the id of a session in params or a result, None if it has none that can be stored."""
    id = value.get("sessionId")
    return None if not isinstance(id, str) or _HALF_PAIR.search(id) else id


def text_in(value: object, most: int) -> str | None:
    """Return the first *most* characters of a text such that they can be stored, None if none."""
    if not isinstance(value, str) or not value:
        return None
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", value[:most])


def model_in(result: dict[str, Any]) -> object:
    """Return the model that a result of `session/new` or `session/load` names."""
    models = result.get("models")
    return models.get("currentModelId") if isinstance(models, dict) else None


def without_told_title(message: Message) -> Message:
    """Return a message without the title in it, if the agent made that of a history it was given.

    The conversation goes on under the title that it has.
    """
    match message.params.get("update"):
        case {"sessionUpdate": "session_info_update", "title": str(title), **rest} if is_told(
            title
        ):
            params = message.params | {
                "update": {"sessionUpdate": "session_info_update", **rest},
            }
            body = message.body | {"params": params}
            return Message(encode(body), body)
    return message


def encode(body: dict[str, Any]) -> bytes:
    """Return the line of a message."""
    return _encoder.encode(body).encode() + b"\n"


def request(id: str, method: str, params: dict[str, Any]) -> bytes:
    """Return the line of a request."""
    return encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def notification(method: str, params: dict[str, Any]) -> bytes:
    """Return the line of a notification."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def update(session_id: str, update: dict[str, Any]) -> bytes:
    """Return the line of a `session/update`."""
    return notification("session/update", {"sessionId": session_id, "update": update})


def answer(message: Message, result: dict[str, Any]) -> bytes:
    """Return the line that answers a request."""
    return encode({"jsonrpc": "2.0", "id": message.body.get("id"), "result": result})


def error(message: Message, code: int, text: str) -> bytes:
    """Return the line that says that a request failed."""
    failure = {"code": code, "message": text}
    return encode({"jsonrpc": "2.0", "id": message.body.get("id"), "error": failure})


def answer_as(message: Message, other: Message) -> bytes:
    """Return the line that answers a request as *other* answered one of ours."""
    return encode(other.body | {"id": message.body.get("id")})


def with_session_id(raw: bytes, old: str, new: str) -> bytes:
    """Return a line with another session id, and every other byte as it is.

    Within a string the quotes would be escaped, so that nothing that was said is touched.
    """
    spelled = {json.dumps(old).encode(), json.dumps(old, ensure_ascii=False).encode()}
    pattern = rb'("sessionId"\s*:\s*)(?:' + b"|".join(map(re.escape, spelled)) + rb")"
    instead = json.dumps(new).encode()
    return re.sub(pattern, lambda found: found[1] + instead, raw)
