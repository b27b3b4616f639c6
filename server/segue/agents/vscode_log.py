"""The log that VS Code keeps of a chat: a value, and the changes that were made to it since.

A line is an entry. `{"kind": 0, "v"}` is the value; `{"kind": 1, "k", "v"}` sets what lies at the
path `k`, `{"kind": 3, "k"}` removes it; `{"kind": 2, "k", "v", "i"}` cuts a list to the length `i`,
if that is given, and then appends `v`. After 1,024 entries the log is written anew, as one value.
"""

from collections.abc import Iterator
from typing import Any

from segue.agents.jsonl import JsonLines
from segue.agents.transcript import BrokenPart

_PENDING = (0, 4)
"""States of an answer: it is being written, or waits for the person."""
_OF_A_COMPLETE_ANSWER = ("isHidden", "modelState", "result", "shouldBeRemovedOnSend")
"""What is only changed in a turn that is complete when it is taken back, or answered anew."""


def versions(lines: JsonLines) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the chat before each entry that takes something of it back, and as it is at last.

    With each comes whether it is the last one. What was yielded is changed when the next one is
    asked for; but a turn that is still the same object has not changed. Entries that cannot be
    applied are reported in `lines.broken`.
    """
    chat: dict[str, Any] | None = None
    for entry in lines.records():
        if chat is not None and _takes_back(chat, entry):
            yield chat, False
        try:
            chat = _applied(chat, entry)
        except ValueError as error:
            lines.broken.append(BrokenPart(f"line {lines.number}", str(error)))
    if chat is not None:
        yield chat, True


def is_complete(turn: dict[str, Any]) -> bool:
    """Return whether the answer of a turn is complete, cancelled and failed ones included."""
    match turn.get("modelState"):
        case {"value": value}:
            return value not in _PENDING
    # Versions before the state of answers write only complete ones.
    return turn.get("response") is not None or turn.get("result") is not None


def _takes_back(chat: dict[str, Any], entry: dict[str, Any]) -> bool:
    turns = chat.get("requests")
    turns = turns if isinstance(turns, list) else []
    match entry:
        case {"kind": 0}:
            return True
        case {"kind": 2, "k": ["requests"], "i": int(length)}:
            return length < len(turns)
        case {"kind": 1 | 3, "k": ["requests"] | ["requests", _]}:
            return True
        case {"kind": 1 | 3, "k": ["requests", int(at), str(name), *_]}:
            is_there = 0 <= at < len(turns) and isinstance(turns[at], dict)
            return name in _OF_A_COMPLETE_ANSWER and is_there and is_complete(turns[at])
    return False


def _applied(chat: dict[str, Any] | None, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the chat with an entry applied; raise ValueError, with the reason, if it cannot be."""
    match entry:
        case {"kind": 0, "v": dict(value)}:
            return value
        case {"kind": 1 | 2 | 3, "k": [*path, name]}:
            if chat is None:
                raise ValueError("a change of nothing")
            _renew_turn(chat, path)
            place = _at(chat, path)
            if entry["kind"] == 2:
                _push(place, name, entry.get("v"), entry.get("i"))
            else:
                _set(place, name, entry.get("v"))
            return chat
    raise ValueError("not an entry of the log of a chat")


def _renew_turn(chat: dict[str, Any], path: list[Any]) -> None:
    """Let the turn that an entry changes be another object than before."""
    match path:
        case ["requests", number, *_] if isinstance(turn := _at(chat, path[:2]), dict):
            chat["requests"][number] = dict(turn)


def _at(value: Any, path: list[Any]) -> Any:
    for name in path:
        is_there = isinstance(value, dict) and isinstance(name, str) and name in value
        if not is_there and not (_is_index(value, name) and name < len(value)):
            raise ValueError("a change of what is not there")
        value = value[name]
    return value


def _set(place: Any, name: Any, value: Any) -> None:
    is_field = isinstance(place, dict) and isinstance(name, str)
    if not is_field and not (_is_index(place, name) and name < len(place)):
        raise ValueError("a change of what is not there")
    place[name] = value


def _push(place: Any, name: Any, values: Any, length: Any) -> None:
    try:
        found = _at(place, [name])
    except ValueError:
        found = None
    found = [] if found is None else found
    values = [] if values is None else values
    if not isinstance(found, list) or not isinstance(values, list):
        raise ValueError("an addition to what is no list")
    if _is_index(found, length):
        del found[length:]
    found.extend(values)
    _set(place, name, found)


def _is_index(value: Any, name: Any) -> bool:
    is_number = isinstance(name, int) and not isinstance(name, bool)
    return isinstance(value, list) and is_number and name >= 0
