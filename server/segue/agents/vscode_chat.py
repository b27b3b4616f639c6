"""The chat view of VS Code, and of programs that are made of it: a log for each chat.

Before version 1.109 it was one JSON value, written anew each time, and a chat of that age still is.
A log is read as the history of the chat, not only for its last state: what was said before the
person went back stays, as far as the log reaches. Conversations of Copilot CLI and other agents
that VS Code shows are no part of this: it keeps only their names.
"""

import glob
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from segue.agents.json_file import read_json, stamp
from segue.agents.jsonl import JsonLines
from segue.agents.transcript import (
    Folder,
    Item,
    Places,
    Rewind,
    Transcript,
    session_id,
    session_that_begins_with,
    states_of_sessions,
    unchanged_session,
)
from segue.agents.values import string
from segue.agents.vscode_log import versions
from segue.agents.vscode_turn import Turns
from segue.model.imports import ImportedEvent

NAME = "vscode-chat"
TITLE = "VS Code chat"
RESUME = None

_FOLDERS = ("chatSessions", "emptyWindowChatSessions")
_ABANDONED_S = 24 * 60 * 60
"""After how long without a change nobody writes an incomplete answer any more."""


def find(places: Places) -> Iterator[Path]:
    """Yield the chats of all programs that keep them as VS Code does."""
    for user in user_folders(places):
        chats = [*user.glob("workspaceStorage/*/chatSessions/*.json*")]
        chats += user.glob("globalStorage/emptyWindowChatSessions/*.json*")
        for path in chats:
            # One that was continued by a later version goes on in a log that has its turns, too.
            is_old = path.suffix == ".json" and path.with_suffix(".jsonl").exists()
            if accepts(path) and not is_old:
                yield path


def folders(places: Places) -> Iterator[Folder]:
    """Yield the folders of all chats; those above them, too, where others will be made.

    They are watched without what is in them: that is mostly of other extensions.
    """
    usual = places.folder("XDG_CONFIG_HOME", ".config") / "Code" / "User"
    for user in dict.fromkeys((usual, *user_folders(places))):
        workspaces = user / "workspaceStorage"
        chats = sorted(workspaces.glob("*/chatSessions"))
        for folder in (workspaces, *chats, user / "globalStorage" / "emptyWindowChatSessions"):
            yield Folder(folder, is_deep=False)


def user_folders(places: Places) -> Iterator[Path]:
    """Yield the folders with the data of users: of desktops, of servers, and of their remotes."""
    home = places.home
    desktops = {
        places.folder("XDG_CONFIG_HOME", ".config"),
        places.folder("APPDATA", "AppData/Roaming"),
        places.folder("VSCODE_APPDATA", ".config"),
        home / "Library" / "Application Support",
        places.folder("XDG_DATA_HOME", ".local/share"),  # of code-server
        *home.glob(".var/app/*/config"),
    }
    for folder in sorted(desktops):
        yield from sorted(folder.glob("*/User"))
    yield from sorted(home.glob(".*/data/User"))  # .vscode-server, .openvscode-server
    if portable := places.environment.get("VSCODE_PORTABLE"):
        yield Path(portable) / "user-data" / "User"


def accepts(path: Path) -> bool:
    """Return whether *path* is named like a chat where VS Code has its own."""
    return path.suffix in (".json", ".jsonl") and path.parent.name in _FOLDERS


def folder_of(path: Path) -> Path:
    """Return the folder of all workspaces that the chat *path* lies in, or that of none."""
    return path.parents[2] if path.parent.name == "chatSessions" else path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the conversation of a file; if its beginning was taken back, another one from there.

    One in which nobody has said anything has no items.
    """
    is_seen = stamp(path)
    seen = {f"seen {path}": is_seen}
    if (id := unchanged_session(states, seen)) is not None:
        yield Transcript(id=id, path=str(path), is_unchanged=True)
        return
    chat = _Chat(path, age_s=time.time() - is_seen[3] / 1e9)
    if path.suffix == ".json":
        value, _ = read_json(path)
        if not isinstance(value, dict):
            raise OSError("not a JSON object")
        chat.read([(value, True)])
    else:
        with JsonLines(str(path), None) as lines:
            chat.read(versions(lines))
        if lines.broken and not chat.found:
            problem = lines.broken[0]
            raise OSError(f"no conversation; {problem.place}: {problem.reason}")
        chat.last.broken = lines.broken
    yield from _with_states(chat, seen, states)


def _with_states(
    chat: "_Chat", seen: dict[str, Any], states: Mapping[str, Any]
) -> Iterator[Transcript]:
    """Yield the conversations that were found, each with its id and its state."""
    own_states = dict(states_of_sessions(states).get(chat.own_id, {}))
    # A chat has two files after its window got a folder: neither is read again for the other.
    others = {
        key: value
        for state in own_states.values()
        for key, value in state.items()
        if key.startswith("seen ")
    }
    seen = dict.fromkeys(seen) if chat.has_open_answer else seen
    for transcript, items in chat.found:
        first = next(each.event.id for each in items if isinstance(each, ImportedEvent))
        id = session_that_begins_with(first, session_id(NAME, chat.own_id), own_states)
        transcript.id = id
        state = {"path": transcript.path, "session": chat.own_id, "first": first, "original": id}
        transcript.state = state | others | seen
        own_states[id] = transcript.state
        transcript.items = iter(items)
        yield transcript
    if not chat.found and chat.last.skipped:
        chat.last.id = session_id(NAME, chat.own_id)
        yield chat.last


class _Chat:
    """The conversations in a file: one, and another for each time that its beginning changed."""

    def __init__(self, path: Path, *, age_s: float) -> None:
        """*age_s*: how long ago the file was changed, in seconds."""
        self.own_id = path.stem
        self.found: list[tuple[Transcript, list[Item]]] = []
        self.last = Transcript(id="", path=str(path))
        """The chat as it is now."""
        self.has_open_answer = False
        self._path = path
        self._turns = Turns()
        self._is_abandoned = age_s > _ABANDONED_S
        self._events: list[str] = []
        """The ids of the events of the last conversation, as they follow each other now."""

    def read(self, chats: Iterable[tuple[Mapping[str, Any], bool]]) -> None:
        """Add the versions of the chat, oldest first, each with whether it is the last one."""
        for chat, is_last in chats:
            self._add(chat, is_abandoned=self._is_abandoned or not is_last)

    def _add(self, chat: Mapping[str, Any], *, is_abandoned: bool) -> None:
        self.last = transcript = Transcript(id="", path=str(self._path))
        self.own_id = string(chat.get("sessionId")) or self.own_id
        transcript.title = string(chat.get("customTitle")) or string(chat.get("computedTitle"))
        transcript.directory = _directory(self._path, chat)
        events = list(self._turns.events(chat, transcript, is_abandoned=is_abandoned))
        self.has_open_answer = self._turns.has_open_answer
        ids = [each.event.id for each in events]
        pairs = zip(self._events, ids, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        if same == len(ids):
            if self.found:
                self.found[-1] = (transcript, self.found[-1][1])
            return
        items: list[Item]
        if same == 0:
            self.found.append((transcript, items := []))
        else:
            items = self.found[-1][1]
            self.found[-1] = (transcript, items)
        if 0 < same < len(self._events):
            items.append(Rewind(ids[same - 1]))
        items += events[same:]
        self._events = ids


def _directory(path: Path, chat: Mapping[str, Any]) -> str | None:
    """Return the folder that a chat was had in, None if its window had none."""
    if folder := _path_of(chat.get("workingDirectory")):
        return folder
    files = [path]
    if path.parent.name != "chatSessions":
        # When a window gets a folder, its chats are copied there.
        name = glob.escape(path.name)
        files = sorted(path.parent.parent.parent.glob(f"workspaceStorage/*/chatSessions/{name}"))
    for file in files:
        try:
            workspace, _ = read_json(file.parent.parent / "workspace.json")
        except OSError:
            continue
        match workspace:
            case {"folder": uri}:
                return _path_of(uri)
            case {"workspace": uri} | {"configuration": uri}:
                return _folder_of_workspace(_path_of(uri))
    return None


def _folder_of_workspace(file: str | None) -> str | None:
    """Return the first folder of a workspace file; if that cannot be read, the one it lies in."""
    if file is None:
        return None
    parent = os.path.dirname(file)
    try:
        value, _ = read_json(Path(file))
    except (OSError, ValueError):
        return parent
    match value:
        case {"folders": [{"path": str(path)}, *_]}:
            return os.path.normpath(os.path.join(parent, path))
        case {"folders": [{"uri": uri}, *_]}:
            return _path_of(uri) or parent
    return parent


def _path_of(uri: object) -> str | None:
    """Return the path in a URI, maybe one of another machine; None if it is none."""
    if not isinstance(uri, str) or "://" not in uri:
        return None
    _, slash, name = uri.partition("://")[2].partition("/")
    path = os.fsdecode(unquote_to_bytes(slash + name))
    if path[2:3] == ":":
        path = path[1:]  # /c:/Users
    return path or None
