"""What a server takes and returns is what schema.json says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from segue.cli.client import Client
from segue.protocol.methods import METHODS
from tests.generate import ROOT

SCHEMA: dict[str, Any] = json.loads((ROOT / "server" / "schema.json").read_text())


def check(method: str, part: str, message: Any) -> None:
    """Raise unless *message* is valid as the params or the result of *method*."""
    check_schema(SCHEMA["methods"][method][part], message)


def check_schema(schema: dict[str, Any], message: Any) -> None:
    schema = {**schema, "$defs": SCHEMA["$defs"]}
    jsonschema.validate(message, schema, jsonschema.Draft202012Validator)


class CheckedClient:
    """Makes requests whose params and results are valid by the schema."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.methods: set[str] = set()

    def request(self, method: str, **params: Any) -> Any:
        check(method, "params", params)
        result = self._client.request(method, params)
        check(method, "result", result)
        self.methods.add(method)
        return result

    def notification(self, expected: str) -> Any:
        method, params = self._client.notification()
        assert method == expected
        check_schema(SCHEMA["notifications"][method]["params"], params)
        return params


def test_the_schema_is_a_valid_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_messages_of_a_real_server_are_valid(start: Any, repository: Path) -> None:
    window, other = CheckedClient(start()), CheckedClient(start())
    opened = window.request("session/open", workspace=str(repository), mode="new", tail=0)
    id = opened["session"]["sessionId"]
    event = {"type": "user_message", "data": {"content": "Hello"}}
    head = window.request("session/append", sessionId=id, events=[event], parentId=None)["head"]
    window.request("session/append", sessionId=id, events=[event | {"id": head}])
    window.request("session/setServerSessionId", sessionId=id, serverSessionId="remote")
    window.request("session/setMetadata", sessionId=id, key="key", value={"any": [1, None]})
    window.request("session/getMetadata", sessionId=id, key="key")
    resumed = other.request("session/open", workspace=str(repository), continueMinutes=1.5)
    assert resumed["boundary"] is not None
    assert resumed["events"] != []
    other.request("session/findResumable")
    other.request("session/events", sessionId=id, after=0, limit=10)
    other.request("session/list", cwd=str(repository), archived=True, cursor=None)
    other.request("session/setTitle", sessionId=id, title="Greeting")
    other.request("session/follow", sessionId=id, after=0)
    assert other.notification("session/didAppend")["events"] != []
    other.request("session/unfollow", sessionId=None)
    found = other.request("session/search", query="hello", cwd=str(repository), types=None)
    assert len(found["hits"]) == 1
    other.request("session/export", sessionId=id, format="markdown", cursor=None)
    other.request("session/resumeCommand", sessionId=id)
    fork = other.request("session/fork", sessionId=id, at=head, title=None, newSessionId="fork")
    assert fork["session"]["forkedFrom"] == id
    assert fork["session"]["forkedAt"] == 1
    moved = {"oldRoot": "/gone", "newRoot": str(repository)}
    assert other.request("session/relocate", **moved, declined=True) == {"moved": 0}
    new = window.request("session/reset", sessionId=id)["session"]["sessionId"]
    window.request("session/archive", sessionId=id)
    window.request("session/unarchive", sessionId=id)
    window.request("session/delete", sessionId=id)
    assert other.notification("session/didAppend")["session"] is None
    window.request("session/close", sessionId=new)
    assert window.methods | other.methods == METHODS.keys()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("session/open", {"mode": "sometimes"}),
        ("session/open", {"tail": 1_001}),
        ("session/append", {"sessionId": "x"}),
        ("session/append", {"sessionId": "x", "events": [{"data": {}}]}),
        ("session/append", {"sessionId": "x", "events": [{"type": "t", "data": []}]}),
        ("session/events", {"sessionId": "", "limit": 10}),
        ("session/export", {"sessionId": "x", "format": "pdf"}),
        ("session/events", {"sessionId": "x", "after": "1"}),
        ("session/setMetadata", {"sessionId": "x", "key": "k" * 129, "value": 1}),
    ],
)
def test_what_the_server_refuses_the_schema_refuses(
    start: Any, method: str, params: dict[str, Any]
) -> None:
    client = start()
    answer = client.answer(client.send(method, params))
    assert answer["error"]["code"] == -32602
    with pytest.raises(jsonschema.ValidationError):
        check(method, "params", params)
