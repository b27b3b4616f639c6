"""Edits JSON text: what is not edited stays as it is written, to the last space.

What `append` writes, `remove` takes out again, and leaves the text that was there.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs

Path = Sequence[str | int]
"""The way to a value: keys of objects and numbers of items."""

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_INDENT = "  "


class NotJsonError(ValueError):
    """The text is not strict JSON. The message says why."""


@attrs.frozen
class Node:
    """A value in the text."""

    start: int
    end: int
    children: Sequence["Child"] = ()


@attrs.frozen
class Child:
    """A member of an object, with its key, or an item of a list, with its number."""

    key: str | int
    start: int
    """Where it begins: a member with its key."""
    node: Node


def parse(text: str) -> Any:
    """Return the value of a text without comments, doubled keys or anything else than JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise NotJsonError("nested too deep") from None
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise NotJsonError(message) from None


def append(text: str, path: Path, key: str | None, value: Any) -> str:
    """Return *text* with *value* at the end of the object (with *key*) or the list at *path*."""
    node = _find(_node(text, 0), path)
    newline = "\r\n" if "\r\n" in text else "\n"
    if node.children:
        last = node.children[-1]
        before = _previous_end(text, node, len(node.children) - 1)
        space = text[before : last.start]
        end = last.node.end
        if "\n" in space:
            base = space.rpartition("\n")[2]
            return text[:end] + "," + space + _written(text, key, value, base, newline) + text[end:]
        member = _prefix(key) + json.dumps(value, ensure_ascii=False)
        return f"{text[:end]},{space or ' '}{member}{text[end:]}"
    line = text[text.rfind("\n", 0, node.start) + 1 : node.start]
    base = line[: len(line) - len(line.lstrip(" \t"))]
    inner = base + _unit(text)
    written = _written(text, key, value, inner, newline)
    opening, closing = text[node.start], text[node.end - 1]
    whole = f"{opening}{newline}{inner}{written}{newline}{base}{closing}"
    return text[: node.start] + whole + text[node.end :]


def remove(text: str, path: Path, empty: str = "") -> str:
    """Return *text* without the value at *path*; a container that gets empty has *empty* in it."""
    *parent, key = path
    node = _find(_node(text, 0), parent)
    number = next(i for i, child in enumerate(node.children) if child.key == key)
    child = node.children[number]
    if len(node.children) == 1:
        return text[: node.start + 1] + empty + text[node.end - 1 :]
    if number == len(node.children) - 1:
        return text[: node.children[number - 1].node.end] + text[child.node.end :]
    return text[: child.start] + text[node.children[number + 1].start :]


def interior(text: str, path: Path) -> str:
    """Return what is between the brackets of the object or list at *path*."""
    node = _find(_node(text, 0), path)
    return text[node.start + 1 : node.end - 1]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise NotJsonError("an object has the same key twice")
    return value


def _refuse(constant: str) -> Any:
    raise NotJsonError(f"{constant} is not JSON")


def _node(text: str, at: int) -> Node:
    """Return the value that begins at *at*, in a text that is known to be JSON."""
    start = _skip(text, at)
    opening = text[start]
    if opening not in "{[":
        return Node(start, _DECODER.raw_decode(text, start)[1])
    children: list[Child] = []
    at = _skip(text, start + 1)
    while text[at] not in "}]":
        key: str | int = len(children)
        first = at
        if opening == "{":
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at) + 1  # the colon
        node = _node(text, at)
        children.append(Child(key, first, node))
        at = _skip(text, node.end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return Node(start, at + 1, children)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _find(node: Node, path: Path) -> Node:
    for key in path:
        node = next(child.node for child in node.children if child.key == key)
    return node


def _previous_end(text: str, node: Node, number: int) -> int:
    """Return where the space before a child begins: behind the comma, or the opening bracket."""
    if number == 0:
        return node.start + 1
    return text.index(",", node.children[number - 1].node.end) + 1


def _unit(text: str) -> str:
    """Return how the text indents: by what stands before its first member."""
    match = re.match(r"\s*[{\[][ \t]*\r?\n([ \t]+)\S", text)
    return _INDENT if match is None else match[1]


def _prefix(key: str | None) -> str:
    return "" if key is None else f"{json.dumps(key)}: "


def _written(text: str, key: str | None, value: Any, base: str, newline: str) -> str:
    dumped = json.dumps(value, indent=_unit(text), ensure_ascii=False)
    return _prefix(key) + dumped.replace("\n", f"{newline}{base}")
