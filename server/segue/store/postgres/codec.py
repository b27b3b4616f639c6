"""Values as PostgreSQL's binary protocol has them, and how ids and text are stored.

An id is the 16 bytes of a UUID behind a zero, or else its UTF-8 behind a one: two ids are never the
same bytes, and those of UUIDs are in the order of their text. PostgreSQL's text has no NUL and no
half surrogate pair, so those, and the backslash, are escaped.
"""

import hashlib
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

Row = dict[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TEXT_TAG = b"\x01"

_BOOL, _BYTEA, _INT8, _INT2, _INT4, _TEXT, _OID, _FLOAT8 = 16, 17, 20, 21, 23, 25, 26, 701
_VARBIT, _JSONB = 1562, 3802
_ARRAYS = {_BOOL: 1000, _BYTEA: 1001, _INT4: 1007, _TEXT: 1009, _INT8: 1016, _VARBIT: 1563}
_ELEMENTS = {array: element for element, array in _ARRAYS.items()}

_int4 = struct.Struct(">i")
_int8 = struct.Struct(">q")
_float8 = struct.Struct(">d")
_array_head = struct.Struct(">iiIii")
_field_head = struct.Struct(">Ii")


# -- ids and text ----------------------------------------------------------------------------------


def pack(id: str) -> bytes:
    """Return *id* as it is stored."""
    if _UUID.fullmatch(id):
        return b"\0" + bytes.fromhex(id.replace("-", ""))
    return _TEXT_TAG + id.encode("utf-8", "surrogatepass")


def unpack(stored: bytes) -> str:
    """Return the id of its stored form."""
    if stored[:1] == _TEXT_TAG:
        return stored[1:].decode("utf-8", "surrogatepass")
    return uuid_text(stored[1:])


def uuid_text(number: bytes) -> str:
    """Return a UUID of 16 bytes as text."""
    digits = number.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_ESCAPED = re.compile("[\\\\\0\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(\\|0|u[0-9a-f]{4})")


def escape(text: str) -> str:
    """Return *text* as it is stored: without NUL and half surrogate pairs."""
    return _ESCAPED.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char == "\\":
        return "\\\\"
    return "\\0" if char == "\0" else f"\\u{ord(char):04x}"


def unescape(stored: str) -> str:
    """Return the text of its stored form."""
    return _ESCAPE.sub(_unescaped, stored) if "\\" in stored else stored


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code == "\\":
        return "\\"
    return "\0" if code == "0" else chr(int(code[1:], 16))


def place_key(machine_id: str, path: str) -> bytes:
    """Return the key of a path of a machine: equal paths of two machines are two places."""
    text = f"{machine_id}\0{path}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def repository_key(name: str) -> bytes:
    """Return the key of a repository, which is the same on every machine."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]


def hold_key(owner: int, session_id: str) -> int:
    """Return the key of the advisory lock that holds a session, as the function `hold_key` does."""
    digest = hashlib.sha256(_int8.pack(owner) + pack(session_id)).digest()
    return int(_int8.unpack(digest[:8])[0])


# -- parameters ------------------------------------------------------------------------------------


@attrs.frozen
class Parameter:
    """A value of a call: the OID of its type, and its bytes, None for null."""

    oid: int
    data: bytes | None


def boolean(value: bool) -> Parameter:
    """Return a boolean."""
    return Parameter(_BOOL, b"\1" if value else b"\0")


def int4(value: int | None) -> Parameter:
    """Return an integer of 32 bits."""
    return Parameter(_INT4, None if value is None else _int4.pack(value))


def int8(value: int | None) -> Parameter:
    """Return an integer of 64 bits; one that is out of range becomes the nearest."""
    if value is None:
        return Parameter(_INT8, None)
    return Parameter(_INT8, _int8.pack(min(max(value, -(1 << 63)), (1 << 63) - 1)))


def float8(value: float) -> Parameter:
    """Return a double."""
    return Parameter(_FLOAT8, _float8.pack(value))


def text(value: str | None) -> Parameter:
    """Return text, escaped."""
    return Parameter(_TEXT, None if value is None else escape(value).encode())


def stored_text(value: str | None) -> Parameter:
    """Return text that is stored as it is, such as ASCII JSON."""
    return Parameter(_TEXT, None if value is None else value.encode())


def binary(value: bytes | None) -> Parameter:
    """Return bytes."""
    return Parameter(_BYTEA, value)


def id(value: str | None) -> Parameter:
    """Return an id."""
    return Parameter(_BYTEA, None if value is None else pack(value))


def ids(values: Sequence[str]) -> Parameter:
    """Return an array of ids."""
    return _array(_BYTEA, [pack(value) for value in values])


def binaries(values: Sequence[bytes] | None) -> Parameter:
    """Return an array of bytes."""
    return Parameter(_ARRAYS[_BYTEA], None) if values is None else _array(_BYTEA, values)


def optional_binaries(values: Sequence[bytes | None]) -> Parameter:
    """Return an array of bytes and nulls."""
    return _array(_BYTEA, values)


def texts(values: Sequence[str | None] | None) -> Parameter:
    """Return an array of text, escaped."""
    if values is None:
        return Parameter(_ARRAYS[_TEXT], None)
    return _array(_TEXT, [None if value is None else escape(value).encode() for value in values])


def stored_texts(values: Sequence[str]) -> Parameter:
    """Return an array of text that is stored as it is."""
    return _array(_TEXT, [value.encode() for value in values])


def int4s(values: Sequence[int]) -> Parameter:
    """Return an array of integers of 32 bits."""
    return _array(_INT4, [_int4.pack(value) for value in values])


def bits(values: Sequence[bytes]) -> Parameter:
    """Return an array of bit strings, each of eight times as many bits as it has bytes."""
    return _array(_VARBIT, [_int4.pack(8 * len(value)) + value for value in values])


def optional_int4s(values: Sequence[int] | None) -> Parameter:
    """Return an array of integers of 32 bits, or null."""
    return Parameter(_ARRAYS[_INT4], None) if values is None else int4s(values)


def int8s(values: Sequence[int]) -> Parameter:
    """Return an array of integers of 64 bits."""
    return _array(_INT8, [_int8.pack(value) for value in values])


def _array(element: int, values: Sequence[bytes | None]) -> Parameter:
    if not values:
        return Parameter(_ARRAYS[element], struct.pack(">iiI", 0, 0, element))
    parts = [_array_head.pack(1, int(None in values), element, len(values), 1)]
    for value in values:
        parts.append(_int4.pack(-1 if value is None else len(value)))
        parts.append(value or b"")
    return Parameter(_ARRAYS[element], b"".join(parts))


# -- results ---------------------------------------------------------------------------------------


def decode(oid: int, data: bytes | None) -> Any:
    """Return a value of a result; one of a composite type as it is, for `decode_composite`."""
    if data is None:
        return None
    return _DECODERS[oid](data) if oid in _DECODERS else data


def decode_composite(data: bytes, wanted: Sequence[bool]) -> list[Any]:
    """Return the values of a composite type, None for those that are not *wanted*."""
    values: list[Any] = []
    at, unpack_from = 4, _field_head.unpack_from
    for is_wanted in wanted:
        oid, length = unpack_from(data, at)
        at += 8
        if length < 0:
            values.append(None)
            continue
        values.append(_DECODERS[oid](data[at : at + length]) if is_wanted else None)
        at += length
    return values


def _decode_array(data: bytes) -> list[Any]:
    dimensions, _, element = struct.unpack_from(">iiI", data)
    if not dimensions:
        return []
    (count,) = struct.unpack_from(">i", data, 12)
    return [decode(element, value) for value in _fields(data, 20, count)]


def _fields(data: bytes, at: int, count: int) -> Iterator[bytes | None]:
    for _ in range(count):
        (length,) = _int4.unpack_from(data, at)
        at += 4
        if length < 0:
            yield None
        else:
            yield data[at : at + length]
            at += length


_DECODERS: Mapping[int, Callable[[bytes], Any]] = {
    _BOOL: lambda data: data == b"\1",
    _BYTEA: lambda data: data,
    _INT2: lambda data: int.from_bytes(data, "big", signed=True),
    _INT4: lambda data: _int4.unpack(data)[0],
    _INT8: lambda data: _int8.unpack(data)[0],
    _OID: lambda data: int.from_bytes(data, "big"),
    _TEXT: lambda data: data.decode(),
    _FLOAT8: lambda data: _float8.unpack(data)[0],
    _JSONB: lambda data: data[1:].decode(),  # behind a version
    2278: lambda data: None,  # void
    **dict.fromkeys(_ELEMENTS, _decode_array),
}
