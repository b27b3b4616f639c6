"""What the model answers: the same in every protocol."""

import json
from collections.abc import Mapping
from typing import Any

import attrs

_SHELLS = ("Bash", "bash", "run_shell_command", "exec_command", "shell_command", "shell")


@attrs.frozen
class Call:
    """A call of a tool."""

    name: str
    input: dict[str, Any]


@attrs.frozen
class Answer:
    """What the model says."""

    text: str
    call: Call | None
    is_endless: bool
    """Whether no more than the text ever comes."""


def answer(texts: list[str], had_result: bool, tools: Mapping[str, Any]) -> Answer:
    """Return the answer to a person's last *texts*.

    *had_result* says whether the result of a tool came after them; *tools* has the properties of
    the input of each tool that is offered. Agents put lines of their own before the person's.
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    asked = lines[-1].strip() if lines else ""
    call = None
    if asked.startswith("RUN: ") and not had_result:
        call = _shell(asked.removeprefix("RUN: "), tools)
    elif asked.startswith("CALL: ") and not had_result:
        call = _tool(asked.removeprefix("CALL: "), tools)
    return Answer(f"You said: {asked}", call, is_endless=asked.startswith("SLOW"))


def _tool(asked: str, tools: Mapping[str, Any]) -> Call | None:
    wanted, _, given = asked.partition(" ")
    name = next((name for name in tools if name.endswith(wanted)), None)
    return None if name is None else Call(name, json.loads(given))


def _shell(command: str, tools: Mapping[str, Any]) -> Call | None:
    name = next((name for name in _SHELLS if name in tools), None)
    if name is None:
        return None
    key = "cmd" if "cmd" in tools[name] else "command"
    extra = {"description": "runs it"} if "description" in tools[name] else {}
    return Call(name, {key: command, **extra})
