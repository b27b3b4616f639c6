import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.events import Event
from segue.model.json_text import MAX_DEPTH, decode, same_json
from segue.model.validation import InvalidInputError
from tests.factories import user_message


def faults(data: Any) -> list[str]:
    """Return the paths of the faults in *data*."""
    with pytest.raises(InvalidInputError) as refused:
        Event.new("from/later", data)
    return [fault.path for fault in refused.value.faults]


@pytest.mark.parametrize(
    "json_text",
    [
        '{"n": NaN}',
        '{"n": [Infinity]}',
        '{"n": {"m": -Infinity}}',
        '{"n": 1e400}',
    ],
)
def test_nan_and_infinity_are_refused(json_text: str) -> None:
    assert faults(json.loads(json_text)) == ["$.data"]


def test_integers_of_up_to_4300_digits_are_kept() -> None:
    largest = 10**4300 - 1
    event = Event.new("from/later", {"n": largest, "m": -largest})
    assert decode(event.json_text) == ({"n": largest, "m": -largest}, False)
    assert faults({"n": largest + 1}) == ["$.data"]


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"x": value}
    return {"x": value}


def test_data_may_nest_up_to_max_depth() -> None:
    event = Event.new("from/later", nested(MAX_DEPTH))
    assert decode(event.json_text) == (nested(MAX_DEPTH), False)
    assert faults(nested(MAX_DEPTH + 1)) == ["$.data"]
    assert faults(nested(100_000)) == ["$.data"]


def test_brackets_in_a_string_do_not_count_as_nesting() -> None:
    content = "[{" * MAX_DEPTH
    assert decode(user_message(content).json_text) == ({"content": content}, False)


def test_siblings_do_not_count_as_nesting() -> None:
    data: dict[str, Any] = {"rows": [{} for _ in range(2 * MAX_DEPTH)]}
    assert decode(Event.new("from/later", data).json_text) == (data, False)


@pytest.mark.parametrize("stored", ["", "{", "not json", '{"a": 1} more', "[" * 100_000])
def test_invalid_json_is_decoded_to_itself_and_marked_corrupt(stored: str) -> None:
    assert decode(stored) == (stored, True)


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
def test_same_json_ignores_key_order(one: str, other: str, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


any_string = st.text(st.characters(codec=None))
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**100, max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_string,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_string, inner, max_size=4),
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
@given(st.dictionaries(any_string, any_json, max_size=6))
def test_data_survives_a_round_trip(data: dict[str, Any]) -> None:
    json_text = Event.new("from/later", data).json_text
    assert json_text.isascii()
    decoded, corrupt = decode(json_text)
    assert not corrupt
    assert exactly(decoded) == exactly(data)
