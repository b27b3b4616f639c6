"""Decodes the body of a frame, within a bound of memory.

What a body becomes in memory depends on what is in it: an empty list takes 24 times its three
characters, and one emoji makes each character of the text around it take four bytes. So a long body
is measured first, by counting bytes, and refused if it could take more than the bound.
"""

import json
import re
from typing import Any

from segue.lsp.framing.reader import MAX_FRAME

MAX_MEMORY = 7 * MAX_FRAME
"""The most memory that one message may take, in bytes, as estimated: with what is not estimated,
the process stays below 8 times MAX_FRAME."""

_SMALL = 256 * 1024
"""A shorter body needs no estimate: at most some hundred times of it."""

_LIST, _OBJECT, _MEMBER, _STRING, _ITEM = 80, 200, 70, 64, 44
"""At most so many bytes are taken by an empty list, an object of one member, each member, a string
beside its characters, and an item: its place in its list or object, and a number in it."""

_STORED_COPIES = 3
"""How often an event's ASCII JSON is in memory while it is stored: here, and twice in SQLite."""

_PIECE = 64 * 1024
_MARK = b"\xef\xbb\xbf"

_ID = rb'"id"\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*'
# A member of the outermost object: nothing before it nests, or nothing but its end follows.
_FIRST_ID = re.compile(
    rb'\s*\{(?:\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]*+"\s*,)*\s*' + _ID + rb"[,}]"
)
_LAST_ID = re.compile(rb"[,{]\s*" + _ID + rb"\}\s*\Z")
_ENDS = 4_096


class TooLargeError(ValueError):
    """A message that would take too much memory; the text says which bound it exceeds."""


def decode(body: bytearray | bytes) -> Any:
    """Return the JSON value of *body*, which is emptied if it is a bytearray.

    Raises ValueError or RecursionError if it is not JSON, and TooLargeError.
    """
    # Without pygls' object_hook, which takes any object with a "jsonrpc" key for a message.
    string = _decode_utf8(body)
    try:
        return json.loads(string)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # An integer of over 4,300 digits: read it as NaN, which is refused where the id is known.
        return json.loads(string, parse_int=_integer)


def ends(body: bytearray | bytes) -> bytes:
    """Return the beginning and the end of *body*: what `find_id` looks at."""
    return bytes(body) if len(body) <= 2 * _ENDS else bytes(body[:_ENDS] + body[-_ENDS:])


def find_id(body: bytearray | bytes) -> int | str | None:
    """Return the id of the request in *body*, which is not decoded; None if it is not found."""
    found = _FIRST_ID.match(body[:_ENDS]) or _LAST_ID.search(body[-_ENDS:])
    try:
        return None if found is None else json.loads(found[1])
    except ValueError:
        return None


def describe(error: Exception) -> str:
    """Return what is wrong with a body that `decode` did not accept, without a word of it."""
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start}"
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.pos}"
        case RecursionError():
            return "nested too deeply"
        case _:
            return str(error)


def _decode_utf8(body: bytearray | bytes) -> str:
    if body.startswith(_MARK):  # .NET's writers begin with it
        body = body[len(_MARK) :]
    if len(body) <= _SMALL:
        return body.decode()
    values, stored = _size_of_values(body), _size_as_stored(body)
    string = body.decode()
    if isinstance(body, bytearray):
        body.clear()  # its memory is needed for the values
    text = string.__sizeof__()
    # The strings of the values take as much as the text at most.
    memory = values + text + max(text, _STORED_COPIES * stored)
    if memory > MAX_MEMORY:
        raise TooLargeError(
            f"the message would take {memory >> 20:,} MiB of memory; the limit is "
            f"{MAX_MEMORY >> 20} MiB: send fewer or shorter events at once"
        )
    return string


def _size_as_stored(body: bytearray | bytes) -> int:
    """Return at most how many bytes *body* takes as ASCII JSON."""
    two, three, four, delete = (_count(body, *each) for each in _ESCAPED)
    # Of each: the length of its escape, without that of its UTF-8.
    return len(body) + 4 * two + 3 * three + 8 * four + 5 * delete


_ESCAPED = ((0xC2, 0xDF), (0xE0, 0xEF), (0xF0, 0xF4), (0x7F, 0x7F))
"""The first bytes of the characters that take two, three and four bytes of UTF-8, and DEL."""


def _count(body: bytearray | bytes, first: int, last: int) -> int:
    if first > 0x7F and body.isascii():
        return 0
    others = bytes(byte for byte in range(256) if not first <= byte <= last)
    return len(body.translate(None, others))


def _size_of_values(body: bytearray | bytes) -> int:
    """Return at most how many bytes the values of *body* take, without their strings' characters.

    It stops counting beyond the limit.
    """
    size = _size_of_structure(body, body.count(b'"'))
    if size <= MAX_MEMORY // 8:
        return size
    # Brackets and commas in strings count for nothing.
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    size, is_inside = 0, 0
    for begin in range(0, len(unescaped), _PIECE):
        parts = unescaped[begin : begin + _PIECE].split(b'"')
        quotes = len(parts) - 1
        size += _size_of_structure(b"".join(parts[is_inside::2]), quotes)
        is_inside ^= quotes & 1
        if size > MAX_MEMORY:
            break
    return size


def _size_of_structure(text: bytearray | bytes, quotes: int) -> int:
    return (
        _LIST * text.count(b"[")
        + _OBJECT * text.count(b"{")
        + _MEMBER * text.count(b":")
        + _ITEM * text.count(b",")
        + _STRING * quotes // 2
    )


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float("nan")
