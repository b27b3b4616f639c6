"""CopilotChat.nvim: what `:CopilotChatSave` writes, a list of messages in a JSON file.

It has neither times nor the folder, and another conversation may be saved under the same name. The
ids of messages do not tell it: Neovim's random numbers are the same after each start.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.agents.neovim import data_files, data_folders
from segue.agents.transcript import Folder, Places, Recording, Transcript
from segue.agents.values import mapping, string
from segue.agents.whole_file import Events, any_text, read_transcript

NAME = "copilot-chat"
TITLE = "CopilotChat.nvim"
RESUME = None


def find(places: Places) -> Iterator[Path]:
    """Yield the saved conversations."""
    yield from data_files(places, "copilotchat_history/*.json")


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folders of the plugin."""
    return data_folders(places, "copilotchat_history")


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a saved conversation."""
    return path.suffix == ".json" and path.parent.name == "copilotchat_history"


def folder_of(path: Path) -> Path:
    """Return the folder of CopilotChat that the file *path* lies in."""
    return path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file, unless nobody has said anything in it."""
    yield from read_transcript(path, states, NAME, _read)


def _read(messages: Any, path: Path, events: Events) -> str:
    if not isinstance(messages, list) and messages != {}:
        raise OSError("not a list of messages")
    transcript = events.transcript
    transcript.title = None if path.stem == "default" else path.stem
    valid = events.messages(messages)
    # The last prompt is what stands in the input when it is saved.
    draft = valid.pop() if valid and valid[-1].get("role") == "user" else {}
    if any_text(draft.get("content")).strip():
        transcript.skipped["draft"] += 1
    for message in valid:
        _add(message, events)
    transcript.recording = _recording(valid)
    return path.stem


def _recording(messages: list[dict[str, Any]]) -> Recording | None:
    """Return what Segue's plugin has noted in the messages, if it has recorded the chat.

    It was there when the last message of the person was said.
    """
    said = [each for each in messages if each.get("role") == "user"]
    if not said or said[-1].get("segue_recorded") is not True:
        return None
    noted = [string(each.get("segue_session")) for each in messages]
    sessions = [each for each in noted if each is not None and each.isascii()]
    first = any_text(said[0].get("content")).strip()
    return Recording(first, sessions[-1] if sessions else None)


def _add(message: Mapping[str, Any], events: Events) -> None:
    # The text around it differs: that of a message is read again from the buffer.
    content = any_text(message.get("content")).strip()
    match message.get("role"):
        case "user":
            events.add_text("user_message", content)
        case "assistant":
            events.add_text("thinking", any_text(message.get("reasoning")))
            events.add_text("text", content)
            calls = message.get("tool_calls")
            for call in map(mapping, calls if isinstance(calls, list) else ()):
                events.add_call(call.get("id"), call.get("name"), call.get("arguments"))
        case "tool":
            events.add_result(message.get("tool_call_id"), content)
        case "system":
            events.add_text("system_context", content)
        case role:
            events.transcript.skipped[f"message of {role}"[:40]] += 1
