import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model import events as model
from segue.model.events import PAYLOADS, Event, Payload, UserMessage
from segue.model.json_text import MAX_DEPTH
from segue.model.validation import InvalidInputError
from tests.factories import said

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
}
OPTIONAL = {
    "tool_result": {"remote", "content_length"},
    "skill_invocation": {"arguments"},
    "out_of_band_output": {"command"},
}
FIELDS = [(type, field) for type, data in COMPLETE.items() for field in data]


def faults(type: Any, data: Any, id: str | None = None) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        Event.new(type, data, id)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_every_known_type_is_covered_here() -> None:
    assert COMPLETE.keys() == PAYLOADS.keys()


def test_the_types_that_a_model_is_shown() -> None:
    hidden = {"system_context", "out_of_band_output"}
    assert PAYLOADS.keys() - hidden == model.MODEL_VISIBLE


@pytest.mark.parametrize("type", COMPLETE)
def test_an_event_keeps_its_data_as_it_was_given(type: str) -> None:
    event = Event.new(type, COMPLETE[type], "id-1")
    assert (event.id, event.type, event.data) == ("id-1", type, COMPLETE[type])
    assert model.decode(event.text) == (COMPLETE[type], False)


@pytest.mark.parametrize("type", COMPLETE)
def test_a_payload_class_makes_the_event_of_its_type(type: str) -> None:
    payload: Payload = PAYLOADS[type](**COMPLETE[type])
    event = Event.of(payload)
    assert (event.type, event.data) == (type, COMPLETE[type])


@pytest.mark.parametrize(("type", "field"), FIELDS)
def test_a_missing_field_is_named_unless_it_has_a_default(type: str, field: str) -> None:
    data = {name: value for name, value in COMPLETE[type].items() if name != field}
    if field in OPTIONAL.get(type, set()):
        assert Event.new(type, data).data == data
    else:
        assert faults(type, data) == {f"$.data.{field}": "is required"}


@pytest.mark.parametrize(("type", "field"), [at for at in FIELDS if at != ("tool_call", "input")])
def test_a_field_of_the_wrong_kind_is_named(type: str, field: str) -> None:
    wrong = "5" if field == "content_length" else 5
    assert list(faults(type, COMPLETE[type] | {field: wrong})) == [f"$.data.{field}"]


def test_every_wrong_field_is_named_at_once() -> None:
    assert faults("tool_result", {"content": 1, "is_error": "false"}) == {
        "$.data.tool_use_id": "is required",
        "$.data.content": "expected a string, got an integer",
        "$.data.is_error": "expected a boolean, got a string",
    }


@pytest.mark.parametrize("wrong", [0, 1, "true", None])
def test_a_boolean_is_never_made_of_something_else(wrong: Any) -> None:
    assert list(faults("tool_result", COMPLETE["tool_result"] | {"is_error": wrong})) == [
        "$.data.is_error"
    ]


def test_a_boolean_is_no_integer() -> None:
    assert list(faults("tool_result", COMPLETE["tool_result"] | {"content_length": True})) == [
        "$.data.content_length"
    ]


@pytest.mark.parametrize("type", COMPLETE)
def test_extra_fields_are_kept(type: str) -> None:
    data = {"later": {"than": ["this"]}, **COMPLETE[type]}
    event = Event.new(type, data)
    assert list(json.loads(event.text).items()) == list(data.items())


def test_an_unknown_type_keeps_any_object() -> None:
    data = {"jsonrpc": "2.0", "type": "text", "a-b": [], "class": {}}
    event = Event.new("from/later", data)
    assert (event.type, model.decode(event.text)[0]) == ("from/later", data)


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
@pytest.mark.parametrize("type", ["text", "from/later"])
def test_data_that_is_no_object_is_refused(type: str, data: Any) -> None:
    assert list(faults(type, data)) == ["$.data"]


@pytest.mark.parametrize("wrong", ["", "x" * 129, "half \ud83d", 5, None, ["text"]])
def test_a_type_that_is_no_name_is_refused(wrong: Any) -> None:
    assert list(faults(wrong, {})) == ["$.type"]


@pytest.mark.parametrize("wrong", ["", "x" * 129, "half \ud83d", 5])
def test_an_id_that_is_no_name_is_refused(wrong: Any) -> None:
    assert list(faults("text", {"content": ""}, wrong)) == ["$.id"]


@pytest.mark.parametrize("id", ["x", "x" * 128, "ä\0ö", "🎼"])
def test_an_id_is_any_string_of_1_to_128_characters(id: str) -> None:
    assert said(id=id).id == id


def test_an_event_without_an_id_gets_a_uuid_of_version_7() -> None:
    ids = {said().id for _ in range(100)}
    assert len(ids) == 100
    assert {(len(id), id[14]) for id in ids} == {(36, "7")}


@pytest.mark.parametrize(
    "text",
    [
        '{"n": NaN}',
        '{"n": [Infinity]}',
        '{"n": {"m": -Infinity}}',
        '{"n": 1e400}',
    ],
)
def test_a_number_that_json_has_no_words_for_is_refused(text: str) -> None:
    assert list(faults("from/later", json.loads(text))) == ["$.data"]


def test_integers_of_up_to_4300_digits_are_kept() -> None:
    largest = 10**4300 - 1
    event = Event.new("from/later", {"n": largest, "m": -largest})
    assert model.decode(event.text) == ({"n": largest, "m": -largest}, False)
    assert list(faults("from/later", {"n": largest + 1})) == ["$.data"]


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"x": value}
    return {"x": value}


def test_data_may_nest_so_deep_and_no_deeper() -> None:
    event = Event.new("from/later", nested(MAX_DEPTH))
    assert model.decode(event.text) == (nested(MAX_DEPTH), False)
    assert list(faults("from/later", nested(MAX_DEPTH + 1))) == ["$.data"]
    assert list(faults("from/later", nested(100_000))) == ["$.data"]


def test_brackets_in_a_string_are_no_depth() -> None:
    content = "[{" * MAX_DEPTH
    assert model.decode(said(content).text) == ({"content": content}, False)


def test_a_wide_object_is_not_deep() -> None:
    data: dict[str, Any] = {"rows": [{} for _ in range(2 * MAX_DEPTH)]}
    assert model.decode(Event.new("from/later", data).text) == (data, False)


@pytest.mark.parametrize("text", ["", "{", "not json", '{"a": 1} more', "[" * 100_000])
def test_a_text_that_is_not_json_is_decoded_to_itself(text: str) -> None:
    assert model.decode(text) == (text, True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":{"c":2,"d":3}}', '{"b":{"d":3,"c":2},"a":1}', True),
        ('{"a":"\\u00e4"}', '{"a": "ä"}', True),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":1}', '{"a":true}', False),
        ('{"a":null}', "{}", False),
        ("not json", "not json", True),
        ("not json", "not JSON", False),
        ("null", '"null"', False),
    ],
)
def test_same_json_compares_values_and_not_key_order(one: str, other: str, same: bool) -> None:
    assert model.same_json(one, other) is same
    assert model.same_json(other, one) is same


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Fix the test\nplease", "Fix the test"),
        ("\n  \r\n  Fix it  \n", "Fix it"),
        ("x" * 200, "x" * 80),
        ("tab\tand \x1b[31m", "tab and  [31m"),
        ("half \ud83d", "half  "),
        ("", None),
        (" \n\t\n", None),
    ],
)
def test_a_title_is_the_first_line_that_says_something(content: str, title: str | None) -> None:
    assert model.title(said(content)) == title


@pytest.mark.parametrize("type", sorted(PAYLOADS.keys() - {"user_message"}))
def test_only_a_user_message_gives_a_title(type: str) -> None:
    assert model.title(Event.new(type, COMPLETE[type])) is None


def test_a_payload_never_coerces_by_being_made_an_event() -> None:
    payload = attrs.evolve(UserMessage(content=""), content=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        Event.of(payload)


any_text = st.text(st.characters(codec=None))
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**100, max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=20,
)


def exactly(value: Any) -> Any:
    """Return *value* so that equality tells 1 from 1.0 and True, and one key order from another."""
    if isinstance(value, dict):
        return [(key, exactly(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return ["list", *map(exactly, value)]
    return (type(value), repr(value))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(any_text, any_json, max_size=6))
def test_what_is_read_back_equals_what_was_sent(data: dict[str, Any]) -> None:
    text = Event.new("from/later", data).text
    assert text.isascii()
    decoded, corrupt = model.decode(text)
    assert not corrupt
    assert exactly(decoded) == exactly(data)
