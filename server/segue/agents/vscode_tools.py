"""The tool calls in an answer of VS Code's chat: what is shown of them, and what was asked."""

from collections.abc import Iterator, Mapping
from typing import Any

from segue.agents.values import decoded, mapping

CallAndResult = tuple[dict[str, Any], dict[str, Any] | None]
"""The data of a tool call, and of its result if it has one."""


class ToolCalls:
    """The tool calls of an answer: those that are shown, with what the metadata has of them.

    The metadata has a call under the model's id, and older versions show it under another one: then
    the first that is shown is the first that was made, and so on. A call that is not shown stands
    before the next one that is, or after the last.
    """

    def __init__(self, parts: list[Any], metadata: Mapping[str, Any]) -> None:
        shown = [part for part in parts if _is_call(part) and not is_of_subagent(part)]
        self._made = list(_made(metadata))
        self._results = mapping(metadata.get("toolCallResults"))
        index = {call["id"].partition("__vscode")[0]: at for at, call in enumerate(self._made)}
        ids = [part["toolCallId"] for part in shown]
        if not any(id in index for id in ids):
            index = {id: at for at, id in enumerate(ids) if at < len(self._made)}
        self._index = index
        self._part_of = {index[part["toolCallId"]]: part for part in reversed(shown)
                         if part["toolCallId"] in index}  # fmt: skip
        self._next = 0
        self._last = ids[-1] if ids else None
        self._known: set[str] = set()

    def until(self, part: Mapping[str, Any]) -> Iterator[CallAndResult]:
        """Yield the calls up to the one that *part* shows, with their results."""
        id = part["toolCallId"]
        if (at := self._index.get(id)) is not None:
            yield from self._up_to(at)
        elif id not in self._known:
            self._known.add(id)
            call = {"id": id, "name": part["toolId"], "input": _shown_input(part)}
            yield call, _shown_result(id, part)
        if id == self._last:
            yield from self.rest()

    def rest(self) -> Iterator[CallAndResult]:
        """Yield the calls that were not yielded yet."""
        yield from self._up_to(len(self._made) - 1)

    def _up_to(self, last: int) -> Iterator[CallAndResult]:
        for at in range(self._next, last + 1):
            call, part = self._made[at], self._part_of.get(at)
            yield call, self._result(call["id"], part)
        self._next = max(self._next, last + 1)

    def _result(self, id: str, part: Mapping[str, Any] | None) -> dict[str, Any] | None:
        shown = None if part is None else _shown_result(id, part)
        match self._results.get(id):
            case {"content": list(content)}:
                text = "\n".join(filter(None, map(_result_text, content)))
                is_error = shown is not None and shown["is_error"]
                return {"tool_use_id": id, "content": text, "is_error": is_error}
        return shown


def _made(metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the calls that the model made."""
    rounds = metadata.get("toolCallRounds")
    known = set()
    for each in rounds if isinstance(rounds, list) else ():
        calls = each.get("toolCalls") if isinstance(each, dict) else None
        for call in calls if isinstance(calls, list) else ():
            match call:
                case {"id": str(id), "name": str(name)} if id not in known:
                    known.add(id)
                    yield {"id": id, "name": name, "input": decoded(call.get("arguments"))}


def _is_call(part: object) -> bool:
    match part:
        case {"kind": "toolInvocationSerialized", "toolCallId": str(), "toolId": str()}:
            return True
    return False


def is_of_subagent(part: Mapping[str, Any]) -> bool:
    """Return whether a subagent made the call that *part* shows."""
    return isinstance(part.get("subAgentInvocationId"), str) or part.get("fromSubAgent") is True


def _shown_input(part: Mapping[str, Any]) -> Any:
    match part:
        case {"resultDetails": {"input": given}}:
            return decoded(given)
        case {"toolSpecificData": {"kind": "terminal", "commandLine": dict(line)}}:
            names = ("userEdited", "toolEdited", "original")
            return {"command": next((line[name] for name in names if line.get(name)), "")}
        case {"toolSpecificData": {"kind": "terminal", "command": str(command)}}:
            return {"command": command}
        case {"toolSpecificData": {"rawInput": given}}:
            return given
    return None


def _shown_result(id: str, part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the result of a call as far as it is shown, None if it has none yet."""
    is_error = False
    match part:
        case {"resultDetails": {"output": output} as details}:
            outputs = output if isinstance(output, list) else [output]
            content = "\n".join(filter(None, map(_result_text, outputs)))
            is_error = details.get("isError") is True
        case {"toolSpecificData": {"terminalCommandOutput": {"text": str(content)}}}:
            pass
        case {"toolSpecificData": {"kind": "subagent", "result": str(content)}}:
            pass
        case {"isComplete": True}:
            content = markdown_of(part.get("pastTenseMessage")) or ""
        case _:
            return None
    return {"tool_use_id": id, "content": content, "is_error": is_error}


def _result_text(part: Any) -> str:
    match part:
        case str():
            return part
        case {"value": {"node": node}}:
            return _prompt_text(node)
        case {"value": str(value)} if part.get("isText") is not False:
            return value
        case {"mimeType": str(media)}:
            return f"[{media}]"
    return ""


def _prompt_text(node: object) -> str:
    """Return the text of a tree of prompt elements."""
    texts = []
    nodes = [node]
    while nodes:
        match nodes.pop():
            case {"text": str(text), **rest}:
                texts.append(f"\n{text}" if rest.get("lineBreakBefore") else text)
            case {"children": list(children)}:
                nodes += reversed(children)
    return "".join(texts).strip("\n")


def markdown_of(value: object) -> str | None:
    """Return a text, which may be in an object; None if it is none."""
    match value:
        case str(text) | {"value": str(text)}:
            return text
    return None
