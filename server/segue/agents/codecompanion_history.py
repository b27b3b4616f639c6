"""codecompanion-history.nvim: chats of codecompanion.nvim, each in a JSON file.

The file has the messages as CodeCompanion has them in memory, in the shape of its version: what is
below `_meta`, `tools` and `context` today was in `opts` and in the message itself before.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.neovim import data_files, data_folders
from segue.agents.transcript import Folder, Places, Recording, Transcript, milliseconds
from segue.agents.values import mapping, string
from segue.agents.whole_file import Events, any_text, read_transcript

NAME = "codecompanion-history"
TITLE = "codecompanion-history.nvim"
RESUME = None


def find(places: Places) -> Iterator[Path]:
    """Yield the chats."""
    yield from data_files(places, "codecompanion-history/chats/*.json")


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folders of the plugin."""
    return data_folders(places, "codecompanion-history/chats")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a chat, and lies below the plugin's list of all chats."""
    is_named = path.suffix == ".json" and path.parent.name == "chats"
    return is_named and (path.parent.parent / "index.json").is_file()


def folder_of(path: Path) -> Path:
    """Return the folder of the plugin that the file *path* lies in."""
    return path.parent.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the chat of a file, unless nobody has said anything in it."""
    yield from read_transcript(path, states, NAME, _read)


def _read(chat: Any, path: Path, events: Events) -> str:
    messages = chat.get("messages") if isinstance(chat, dict) else None
    # Lua writes an empty table as an object.
    if not isinstance(messages, list) and messages != {}:
        raise OSError("it has no messages")
    transcript = events.transcript
    transcript.directory = string(chat.get("cwd")) or string(chat.get("project_root"))
    transcript.title = string(chat.get("title"))
    transcript.model = string(mapping(chat.get("settings")).get("model"))
    events.time = milliseconds(chat.get("updated_at")) or events.time
    valid = events.messages(messages)
    system = (any_text(each.get("content")) for each in valid if each.get("role") == "system")
    events.add_system_prompt("\n\n".join(filter(None, system)))
    said = [each for each in valid if _add(each, events)]
    transcript.recording = _recording(said, valid)
    return string(chat.get("save_id")) or path.stem


def _recording(said: list[dict[str, Any]], messages: list[dict[str, Any]]) -> Recording | None:
    """Return what Segue's plugin has noted in the messages, if it has recorded the chat.

    It was there when the last message of the person was *said*.
    """
    if not said or not string(_meta(said[-1]).get("segue_id")):
        return None
    noted = [string(_meta(each).get("segue_session")) for each in messages]
    sessions = [each for each in noted if each is not None and each.isascii()]
    return Recording(any_text(said[0].get("content")), sessions[-1] if sessions else None)


def _add(message: Mapping[str, Any], events: Events) -> bool:
    """Add the events of a message; return whether a person said it."""
    content = message.get("content")
    match message.get("role"):
        case "system":
            pass
        case "user":
            return _add_user(message, any_text(content), events)
        case "llm":
            reasoning = message.get("reasoning")
            thought = mapping(reasoning).get("content") or reasoning
            events.add_text("thinking", thought if isinstance(thought, str) else "")
            events.add_text("text", any_text(content))
            calls = mapping(message.get("tools")).get("calls") or message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                function = mapping(mapping(call).get("function"))
                id = mapping(call).get("call_id") or mapping(call).get("id")
                events.add_call(id, function.get("name"), function.get("arguments"))
        case "tool":
            _add_results(message, content, events)
        case role:
            events.transcript.skipped[f"message of {role}"[:40]] += 1
    return False


def _add_user(message: Mapping[str, Any], content: str, events: Events) -> bool:
    options, context = mapping(message.get("opts")), mapping(message.get("context"))
    tag = _meta(message).get("tag") or options.get("tag")
    shared = context.get("id") or options.get("context_id") or options.get("reference")
    if tag == "compact_summary":
        events.add_summary(content)
    elif isinstance(shared, str):
        # As in a recording: the content is large, may hold secrets, and becomes outdated.
        events.add_text("system_context", f"[Shared with the model: {shared}]")
    elif tag == "image":
        events.add_text("system_context", "[image]")
    elif tag or options.get("visible") is False:
        events.add_text("system_context", content)
    elif content:
        events.add_text("user_message", content)
        return True
    return False


def _add_results(message: Mapping[str, Any], content: object, events: Events) -> None:
    if mapping(_meta(message).get("context_management")).get("edited") is True:
        events.transcript.skipped["cleared tool result"] += 1
        return
    tools = mapping(message.get("tools"))
    id = tools.get("call_id") or message.get("tool_call_id")
    name = tools.get("name") or message.get("tool_name")
    # The adapter for Anthropic kept the blocks that it sent.
    given = content if isinstance(content, list) else [content]
    blocks = [each for each in map(mapping, given) if each.get("type") == "tool_result"]
    for block in blocks:
        is_error = block.get("is_error") is True
        events.add_result(block.get("tool_use_id") or id, block.get("content"), is_error=is_error)
    if not blocks:
        events.add_result(id, content, is_error=tools.get("is_error") is True, name=name)


def _meta(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(message.get("_meta"))
