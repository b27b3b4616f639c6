import json
from typing import Any

import pytest

from segue.model import events
from segue.model.events import EVENT_TYPES, Event, UserMessage, is_model_visible
from segue.model.json_text import decode
from segue.model.validation import InvalidInputError
from tests.factories import user_message

COMPLETE: dict[str, dict[str, Any]] = {
    "user_message": {"content": "Hello"},
    "text": {"content": "Hello back"},
    "tool_call": {"id": "call-1", "name": "grep", "input": [1, {"deep": None}]},
    "tool_result": {
        "tool_use_id": "call-1",
        "content": "found",
        "is_error": False,
        "remote": True,
        "content_length": 5,
    },
    "skill_invocation": {"name": "review", "arguments": "all", "content": "Review it."},
    "system_context": {"content": "A note"},
    "out_of_band_output": {"name": "help", "command": "/help", "content": "Help"},
    "thinking": {"content": "Let me see"},
    "plan": {"entries": [{"content": "Read the tests"}]},
    "permission": {
        "tool_use_id": "call-1",
        "options": [{"id": "yes"}],
        "outcome": "selected",
        "option": "yes",
    },
    "turn_end": {"stop_reason": "end_turn", "usage": {"tokens": 7}, "error": "none"},
}
OPTIONAL = {
    "tool_result": {"remote", "content_length"},
    "skill_invocation": {"arguments"},
    "out_of_band_output": {"command"},
    "permission": {"option"},
    "turn_end": {"usage", "error"},
}
ANY_JSON = {("tool_call", "input"), ("turn_end", "usage")}
FIELDS = [(type, field) for type, data in COMPLETE.items() for field in data]


def faults(type: Any, data: Any, id: str | None = None) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        Event.new(type, data, id)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_complete_covers_every_known_type() -> None:
    assert COMPLETE.keys() == EVENT_TYPES.keys()


def test_model_visible_types() -> None:
    visible = {"user_message", "text", "tool_call", "tool_result", "skill_invocation"}
    assert set(filter(is_model_visible, EVENT_TYPES)) == visible
    assert not is_model_visible("unknown")


@pytest.mark.parametrize("type", COMPLETE)
def test_an_event_keeps_its_data_unchanged(type: str) -> None:
    event = Event.new(type, COMPLETE[type], "id-1")
    assert (event.id, event.type, event.data) == ("id-1", type, COMPLETE[type])
    assert decode(event.json_text) == (COMPLETE[type], False)


@pytest.mark.parametrize("type", COMPLETE)
def test_a_payload_becomes_an_event_of_its_type(type: str) -> None:
    payload = EVENT_TYPES[type].payload(**COMPLETE[type])
    event = Event.of(payload)
    assert (event.type, event.data) == (type, COMPLETE[type])


@pytest.mark.parametrize(("type", "field"), FIELDS)
def test_a_missing_field_without_a_default_is_reported(type: str, field: str) -> None:
    data = {name: value for name, value in COMPLETE[type].items() if name != field}
    if field in OPTIONAL.get(type, set()):
        assert Event.new(type, data).data == data
    else:
        assert faults(type, data) == {f"$.data.{field}": "is required"}


@pytest.mark.parametrize(("type", "field"), [field for field in FIELDS if field not in ANY_JSON])
def test_a_field_of_the_wrong_type_is_reported(type: str, field: str) -> None:
    wrong = "5" if field == "content_length" else 5
    assert list(faults(type, COMPLETE[type] | {field: wrong})) == [f"$.data.{field}"]


def test_all_faults_are_reported_at_once() -> None:
    assert faults("tool_result", {"content": 1, "is_error": "false"}) == {
        "$.data.tool_use_id": "is required",
        "$.data.content": "expected a string, got an integer",
        "$.data.is_error": "expected a boolean, got a string",
    }


@pytest.mark.parametrize("wrong", [0, 1, "true", None])
def test_no_value_is_coerced_to_a_boolean(wrong: Any) -> None:
    assert list(faults("tool_result", COMPLETE["tool_result"] | {"is_error": wrong})) == [
        "$.data.is_error"
    ]


def test_a_boolean_is_not_accepted_as_an_integer() -> None:
    assert list(faults("tool_result", COMPLETE["tool_result"] | {"content_length": True})) == [
        "$.data.content_length"
    ]


@pytest.mark.parametrize("type", COMPLETE)
def test_extra_fields_and_key_order_are_kept(type: str) -> None:
    data = {"later": {"than": ["this"]}, **COMPLETE[type]}
    event = Event.new(type, data)
    assert list(json.loads(event.json_text).items()) == list(data.items())


def test_an_unknown_type_accepts_any_object() -> None:
    data = {"jsonrpc": "2.0", "type": "text", "a-b": [], "class": {}}
    event = Event.new("from/later", data)
    assert (event.type, decode(event.json_text)[0]) == ("from/later", data)


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
@pytest.mark.parametrize("type", ["text", "from/later"])
def test_data_that_is_not_an_object_is_refused(type: str, data: Any) -> None:
    assert list(faults(type, data)) == ["$.data"]


@pytest.mark.parametrize("wrong", ["", "x" * 129, "half \ud83d", 5, None, ["text"]])
def test_an_invalid_type_is_refused(wrong: Any) -> None:
    assert list(faults(wrong, {})) == ["$.type"]


@pytest.mark.parametrize("wrong", ["", "x" * 129, "half \ud83d", 5])
def test_an_invalid_id_is_refused(wrong: Any) -> None:
    assert list(faults("text", {"content": ""}, wrong)) == ["$.id"]


@pytest.mark.parametrize("id", ["x", "x" * 128, "ä\0ö", "🎼"])
def test_an_id_is_any_string_of_1_to_128_characters(id: str) -> None:
    assert user_message(id=id).id == id


def test_an_event_without_an_id_gets_a_uuidv7() -> None:
    ids = {user_message().id for _ in range(100)}
    assert len(ids) == 100
    assert {(len(id), id[14]) for id in ids} == {(36, "7")}


def test_the_title_is_that_of_the_content() -> None:
    assert events.title(user_message("\n## Fix the test\nplease")) == "Fix the test"


@pytest.mark.parametrize("type", sorted(EVENT_TYPES.keys() - {"user_message"}))
def test_only_a_user_message_has_a_title(type: str) -> None:
    assert events.title(Event.new(type, COMPLETE[type])) is None


def test_a_payload_with_a_wrong_type_is_refused() -> None:
    payload = UserMessage(content=5)  # type: ignore[arg-type]  # the wrong type is the test
    with pytest.raises(InvalidInputError):
        Event.of(payload)
