import json
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.lsp import json_body
from segue.lsp.json_body import TooLargeError, decode, find_id

MIB = 1024 * 1024


def filled(unit: str, size: int = MIB) -> bytes:
    """Return the JSON of an object that holds *unit* so often that it has about *size* bytes."""
    unit_bytes = unit.encode()
    return b'{"a":[' + unit_bytes * (size // len(unit_bytes)) + b"0]}"


SHAPES = {
    "empty lists": "[],",
    "lists of one": "[1],",
    "nested lists": "[[[[[[]]]]]],",
    "empty objects": "{},",
    "objects of one member": '{"a":1},',
    "objects of six members": '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1},',
    "small numbers": "1,",
    "numbers": "1234,",
    "floats": "1.5,",
    "empty strings": '"",',
    "short strings": '"ab",',
    "short strings of two bytes": '"é",',
    "short strings of four bytes": '"😀",',
    "strings": '"abcdefghijklmnopqrstuvwxyz",',
    "constants": "null,",
    "events": '{"type":"x","data":{}},',
    "escapes in strings": r'"\"\\\"[,",',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_values_take_no_more_memory_than_estimated(shape: str) -> None:
    body = filled(SHAPES[shape])
    text = body.decode()
    tracemalloc.start()
    try:
        value = json.loads(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert value["a"]
    assert peak <= json_body._size_of_values(body) + text.__sizeof__()


def test_keys_take_no_more_memory_than_estimated() -> None:
    body = b"{" + b",".join(b'"key%06d":1' % number for number in range(60_000)) + b"}"
    tracemalloc.start()
    try:
        json.loads(body.decode())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= json_body._size_of_values(body) + 2 * len(body)


@pytest.mark.parametrize(
    "text",
    ["a", "é", "漢", "😀", "\x7f", "a\x7fé漢😀", r"\u00e9", r"\n"],
)
def test_the_stored_size_is_not_underestimated(text: str) -> None:
    body = b'{"a":"' + text.encode() * 10_000 + b'"}'
    stored = json.dumps(json.loads(body), separators=(",", ":"))
    assert len(stored) == json_body._size_as_stored(body)


def test_brackets_and_commas_in_strings_count_for_nothing() -> None:
    text = 'a, [b], {"c": 1}\\, ' * 300_000
    body = bytearray(json.dumps({"a": text, "b": []}).encode())

    outside = re.sub(rb'"(?:[^"\\]|\\.)*+"', b'""', bytes(body))
    assert json_body._size_of_structure(body, 0) > json_body.MAX_MEMORY // 8
    assert json_body._size_of_values(body) == json_body._size_of_structure(
        outside, body.count(b'"') - 2 * 300_000
    )
    assert decode(body) == {"a": text, "b": []}
    assert body == b"", "its memory is free again"


@pytest.mark.parametrize("unit", ["[],", "{},", "1,", '"",', '{"a":1},'])
def test_a_message_of_too_many_values_is_refused(unit: str) -> None:
    with pytest.raises(TooLargeError, match="the limit is 448 MiB"):
        decode(bytearray(filled(unit, 32 * MIB)))


def test_a_message_that_is_too_long_as_stored_is_refused() -> None:
    with pytest.raises(TooLargeError, match="570 MiB"):
        decode(bytearray(b'["' + "é".encode() * (30 * MIB) + b'"]'))


@pytest.mark.parametrize(
    ("body", "id"),
    [
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":[', 5),
        (b' { "method" : "m" , "id" : "five" , "params":{"id":7}}', "five"),
        (b'{"id":-5}', -5),
        (b'{"params":{"id":7},"id":5}', 5),
        (b'{"params":{"id":7}, "id" : "five" } \n', "five"),
        (b'{"jsonrpc":"2.0","params":{"id":7}}', None),
        (b'{"params":{"a":"{\\"id\\":7}"}}', None),
        (b'{"params":{"a":"\\"id\\":7}', None),
        (b'{"id":1.5}', None),
        (b'{"id":[7]}', None),
        (b'[{"id":7},', None),
        (b"", None),
    ],
)
def test_the_id_is_found_without_decoding(body: bytes, id: Any) -> None:
    assert find_id(body) == id
    assert find_id(bytearray(body)) == id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(st.sampled_from(["id", "jsonrpc", "method", "params", "x"]), JSON),
    st.sampled_from([None, 1]),
)
def test_an_id_that_is_found_is_that_of_the_message(message: Any, indent: int | None) -> None:
    found = find_id(json.dumps(message, indent=indent).encode())
    assert found is None or found == message["id"]
