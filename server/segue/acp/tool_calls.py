"""The calls of tools: what an agent tells of one, a bit at a time, as one call and one result."""

from typing import Any, TypeGuard

import attrs

from segue.acp.content import names_of_diffs, text_of_raw_output, text_of_tool_content
from segue.acp.sizes import MAX_EVENT, without_blobs

FIELDS: dict[str, type] = {
    "title": str,
    "kind": str,
    "status": str,
    "content": list,
    "locations": list,
    "rawInput": object,
    "rawOutput": object,
    "name": str,
}
"""What an agent tells of a call, with its types. What is left out, or null, is as it was."""

FINAL = ("completed", "failed")
"""The states of a call that has ended."""

_NOT_ASKED = ("rawInput", "status")
_TOLD_WITH_CALL = ("title", "kind", "locations", "content")
_MAX_ID = 1024
_MAX_NAME = 128
_MAX_TERMINALS = 16


def call_id(update: Any) -> str | None:
    """Return the id of the call that *update* is of; None if it has none that can be used."""
    id = update.get("toolCallId") if isinstance(update, dict) else None
    return id if isinstance(id, str) and 0 < len(id) <= _MAX_ID else None


@attrs.define
class ToolCall:
    """One call as an agent has told it so far, and what of it is recorded."""

    id: str
    fields: dict[str, Any] = attrs.field(factory=dict)
    is_recorded: bool = False
    _tool_name: str | None = None
    _output: list[str] = attrs.field(factory=list)
    """What its terminal printed, as far as that is told in `_meta`."""
    _output_size: int = 0
    _recorded: dict[str, Any] = attrs.field(factory=dict)
    """The fields as they were when the call was recorded."""

    def merge(self, update: dict[str, Any], *, is_question: bool = False) -> None:
        """Take what *update* tells; what has another type than it should have is ignored.

        What *is_question* whether the call may be made tells nothing new of its input and status.
        """
        for field, kind in FIELDS.items():
            value = update.get(field)
            if value is None or not isinstance(value, kind):
                continue
            if is_question and self.fields.get(field) and (field in _NOT_ASKED or not value):
                continue
            self.fields[field] = value
        if isinstance(meta := update.get("_meta"), dict):
            self._merge_meta(meta)

    def _merge_meta(self, meta: dict[str, Any]) -> None:
        claude = meta.get("claudeCode")
        names = (claude.get("toolName") if isinstance(claude, dict) else None, meta.get("toolName"))
        self._tool_name = next(filter(_is_name, names), self._tool_name)
        for key in ("terminal_output_delta", "terminal_output"):
            output = meta.get(key)
            data = output.get("data") if isinstance(output, dict) else None
            room = MAX_EVENT - self._output_size
            if isinstance(data, str) and room:
                self._output.append(data[:room])
                self._output_size += len(data[:room])

    @property
    def has_ended(self) -> bool:
        """Whether it has a result."""
        return self.fields.get("status") in FINAL

    @property
    def has_begun(self) -> bool:
        """Whether the tool runs, or has run: then what is called is known."""
        return self.has_ended or self.fields.get("status") == "in_progress"

    @property
    def name(self) -> str:
        """The name of the tool: as the agent tells it, else the kind of tools that it is."""
        names = (self.fields.get("name"), self._tool_name, self.fields.get("kind"))
        return next(filter(_is_name, names), "other")

    def record_call(self) -> dict[str, Any]:
        """Return the data of its `tool_call`, with what else is known in `acp`."""
        self.is_recorded = True
        told = {key: self.fields[key] for key in _TOLD_WITH_CALL if key in self.fields}
        if self.has_ended:
            told.pop("content", None)  # the result has it
        self._recorded = told | {"rawInput": self.fields.get("rawInput")}
        return {
            "id": self.id,
            "name": self.name,
            "input": without_blobs(self.fields.get("rawInput")),
            "acp": without_blobs(told),
        }

    def record_result(self, terminals: dict[str, str]) -> dict[str, Any]:
        """Return the data of its `tool_result`, with what its end has changed in `acp`.

        *terminals* has the outputs of the client's terminals. `acp.content` is null if it is that
        of the call; without it, it is one text, the `content` of the result. Content with a
        terminal is told again: only now it is known what that printed.
        """
        content = self.fields.get("content")
        text = self._text(terminals)
        acp = {
            key: value
            for key, value in self.fields.items()
            if key not in ("content", "name") and value != self._recorded.get(key)
        }
        only_text = [{"type": "content", "content": {"type": "text", "text": text}}]
        if content is None or (
            content == self._recorded.get("content") and not any(map(_terminal_of, content))
        ):
            acp["content"] = None
        elif content != only_text:
            acp["content"] = content
        return {
            "tool_use_id": self.id,
            "content": text,
            "is_error": self.fields["status"] == "failed",
            "acp": without_blobs(acp),
        }

    def _text(self, terminals: dict[str, str]) -> str:
        content = self.fields.get("content")
        shown = (terminals.get(_terminal_of(item) or "", "") for item in content or ())
        return (
            text_of_tool_content(content)
            or "".join(self._output)
            or "\n".join(filter(None, shown))
            or text_of_raw_output(without_blobs(self.fields.get("rawOutput")))
            or names_of_diffs(content)
        )


@attrs.define
class Terminals:
    """What the client's terminals have printed, as far as the agent has asked for it."""

    outputs: dict[str, str] = attrs.field(factory=dict)
    """The last output of each, by its id; the oldest are forgotten."""

    def merge(self, params: Any, result: Any) -> None:
        """Take the client's *result* of a `terminal/output` with these *params*."""
        match params, result:
            case {"terminalId": str(id)}, {"output": str(output)} if len(id) <= _MAX_ID:
                self.outputs.pop(id, None)
                self.outputs[id] = output[:MAX_EVENT]
                if len(self.outputs) > _MAX_TERMINALS:
                    del self.outputs[next(iter(self.outputs))]


def _terminal_of(item: Any) -> str | None:
    """Return the id of a terminal in the content of a call; None if *item* is none."""
    id = item.get("terminalId") if isinstance(item, dict) else None
    return id if isinstance(id, str) and item.get("type") == "terminal" else None


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME
