"""avante.nvim: the conversations of a project, each in a JSON file that is named by a number.

The number is used again after a deletion, and a title may come later. The ids of messages are no
help either: Neovim's random numbers are the same after each start. A conversation is known by the
time of its first message, and what was said first.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from segue.agents.json_file import read_json
from segue.agents.neovim import state_files, state_folders
from segue.agents.transcript import Folder, Places, Transcript, milliseconds
from segue.agents.values import mapping, string
from segue.agents.whole_file import Events, any_text, read_transcript
from segue.model.records import Timestamp

NAME = "avante"
TITLE = "avante.nvim"
RESUME = None

_CANCELLED = "*[Request cancelled by user"


def find(places: Places) -> Iterator[Path]:
    """Yield the conversations, and the files that each project had before March 2025."""
    for path in state_files(places, "avante/projects/*/history/*.json"):
        if path.name != "metadata.json":
            yield path
    yield from state_files(places, "avante/*__*.json")


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folders of the plugin."""
    return state_folders(places, "avante")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a conversation, or like a file of a whole project."""
    if path.suffix != ".json" or path.name == "metadata.json":
        return False
    return path.parent.name == "history" or (path.parent.name == "avante" and "__" in path.name)


def folder_of(path: Path) -> Path:
    """Return the folder of avante that the file *path* lies in."""
    return path.parents[2] if path.parent.name == "history" else path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file, unless nobody has said anything in it."""
    yield from read_transcript(path, states, NAME, _read)


def _read(history: Any, path: Path, events: Events) -> str:
    if isinstance(history, list):
        history = {"entries": history}
    if not isinstance(history, dict):
        raise OSError("not a conversation")
    title = string(history.get("title"))
    events.transcript.title = None if title == "untitled" else title
    events.transcript.directory = _directory(path)
    events.time = _time(history.get("timestamp")) or events.time
    events.add_system_prompt(any_text(history.get("system_prompt")))
    messages = events.messages(history.get("messages"))
    if not messages:
        messages = list(_messages(events.messages(history.get("entries"))))
    while messages and _is_open(messages[-1]):
        messages.pop()
        events.transcript.skipped["incomplete message"] += 1
    outputs = _outputs(messages)
    for message in messages:
        _add(message, outputs, events)
    return next(filter(None, (string(each.get("timestamp")) for each in messages)), "")


def _messages(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the messages of the questions and answers of versions before May 2025."""
    for entry in entries:
        fields = {name: entry.get(name) for name in ("timestamp", "model", "selected_filepaths")}
        answer = string(entry.get("original_response")) or entry.get("response")
        visible = entry.get("visible")
        for role, content in (("user", entry.get("request")), ("assistant", answer)):
            yield {"message": {"role": role, "content": content}, "visible": visible, **fields}
            fields = {"timestamp": entry.get("timestamp")}


def _is_open(message: Mapping[str, Any]) -> bool:
    """Return whether a message at the end is still being written."""
    status = mapping(message.get("acp_tool_call")).get("status")
    return message.get("state") == "generating" or status in ("pending", "in_progress")


def _outputs(messages: list[dict[str, Any]]) -> Mapping[str, str]:
    """Return what the tools of an agent (ACP) returned: their calls have it, not their results."""
    found = {}
    for message in messages:
        call = mapping(message.get("acp_tool_call"))
        content = call.get("content")
        if isinstance(id := call.get("toolCallId"), str) and isinstance(content, list):
            found[id] = "\n".join(filter(None, map(_output, content)))
    return found


def _output(part: object) -> str:
    match part:
        case {"type": "content", "content": dict(content)}:
            return any_text(content)
        case {"type": "diff", "path": str(path)}:
            return f"[diff {path}]"
        case {"type": str(kind)}:
            return f"[{kind}]"
    return ""


def _add(message: Mapping[str, Any], outputs: Mapping[str, str], events: Events) -> None:
    events.time = _time(message.get("timestamp")) or events.time
    skipped = events.transcript.skipped
    inner = mapping(message.get("message"))
    role, content = inner.get("role"), inner.get("content")
    if message.get("just_for_display") is True:
        _add_notice(any_text(content), events)
    elif message.get("is_dummy") is True:
        skipped["synthetic message"] += 1
    elif role not in ("user", "assistant"):
        skipped[f"message of {role}"[:40]] += 1
    else:
        if isinstance(model := message.get("model"), str):
            events.transcript.model = model
        for part in content if isinstance(content, list) else [content]:
            _add_part(message, role, part, outputs, events)
        paths = message.get("selected_filepaths")
        for path in paths if isinstance(paths, list) else ():
            if isinstance(path, str):
                events.add_text("system_context", f"[Shared with the model: {path}]")


def _add_notice(text: str, events: Events) -> None:
    """Add what was only shown, if it says how a turn ended."""
    if text.strip().startswith(_CANCELLED):
        events.add("turn_end", {"stop_reason": "cancelled"})
    elif text.strip().startswith("Error: "):
        error = text.strip().removeprefix("Error: ")
        events.add("turn_end", {"stop_reason": "error", "error": error})
    else:
        events.transcript.skipped["notice"] += 1


def _add_part(
    message: Mapping[str, Any],
    role: str,
    part: object,
    outputs: Mapping[str, str],
    events: Events,
) -> None:
    block = mapping(part)
    match block:
        case {"type": "tool_use"}:
            call = mapping(message.get("acp_tool_call"))
            name = string(block.get("name")) or call.get("kind") or call.get("title")
            events.add_call(block.get("id"), name, block.get("input") or call.get("rawInput"))
        case {"type": "tool_result"}:
            id, content = block.get("tool_use_id"), block.get("content")
            if content is None and isinstance(id, str):
                content = outputs.get(id)
            events.add_result(id, content, is_error=block.get("is_error") is True)
        case {"type": "thinking", "thinking": str(text)}:
            events.add_text("thinking", text)
        case {"type": "reasoning", "summary": list(summary)}:
            events.add_text("thinking", any_text(summary))
        case {"type": "redacted_thinking" | "reasoning" as kind}:
            events.transcript.skipped[kind] += 1
        case {"type": "text", "content": str(text)}:
            _add_text(message, role, text, events)
        case _:
            _add_text(message, role, any_text(part), events)


def _add_text(message: Mapping[str, Any], role: str, text: str, events: Events) -> None:
    if role == "assistant":
        events.add_text("text", text)
    elif message.get("visible") is False or message.get("is_context") is True:
        events.add_text("system_context", text)
    else:
        events.add_text("user_message", text)


def _time(value: object) -> Timestamp | None:
    """Return a time that avante has written: that of a clock here, without its zone."""
    try:
        return milliseconds(datetime.fromisoformat(str(value)).astimezone().isoformat())
    except (ValueError, OverflowError, OSError):
        return None


def _directory(path: Path) -> str | None:
    """Return the project's root: as it is noted, else the only folder that the name may mean."""
    if path.parent.name != "history":
        return _decoded(path.stem)
    with contextlib.suppress(OSError):
        metadata, _ = read_json(path.with_name("metadata.json"))
        if root := string(mapping(metadata).get("project_root")):
            return root
    return _decoded(path.parent.parent.name)


def _decoded(name: str) -> str | None:
    """Return the folder that is here and whose name avante makes *name* of; it loses characters."""
    root = name.replace("__", "/")
    encoded = re.sub(r"[^A-Za-z0-9._]", "_", root.replace("/", "__"))
    return root if encoded == name and os.path.isabs(root) and os.path.isdir(root) else None
