"""What an ACP client is told of a tool that was not called in ACP: guessed from its name."""

import re
from typing import Any

_KINDS: dict[str, str] = {
    "fetch": "webfetch websearch fetch browse browser http url download navigate",
    "switch_mode": "exitplanmode enterplanmode switchmode",
    "think": "think thinking thought task agent todo todowrite todoread plan",
    "delete": "delete remove rm unlink",
    "move": "move rename mv",
    "edit": "edit multiedit notebookedit write create replace insert patch update append save",
    "search": "search grep glob find rg ripgrep query codebase",
    "read": "read view cat open ls list notebookread get show load",
    "execute": "execute exec bash sh shell zsh powershell run command cmd terminal process",
}
"""The words that tell the kind of a tool; a kind that stands earlier decides."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_HINTS = (
    "command", "cmd", "file_path", "filePath", "absolute_path", "path", "pattern", "query", "url",
    "description",
)  # fmt: skip
_PATHS = ("file_path", "filePath", "absolute_path", "path", "notebook_path")
_ABSOLUTE = re.compile(r"/|\\\\|[A-Za-z]:[/\\]")
_MAX_HINT = 80


def kind_of(name: str) -> str:
    """Return the kind of the tool called *name*: `read`, `edit`, `execute`, …, else `other`."""
    last = name[:200].rpartition("__")[2]  # `mcp__SERVER__TOOL`
    words = {word.lower() for word in _WORDS.findall(last)} | {last.replace("_", "").lower()}
    for kind, known in _KINDS.items():
        if not words.isdisjoint(known.split()):
            return kind
    return "other"


def title_of(name: str, given: Any) -> str:
    """Return a line that says what was called: the tool, and the most telling of what it got."""
    if isinstance(given, dict):
        for field in _HINTS:
            if isinstance(text := given.get(field), str) and text.strip():
                line = " ".join(text[: 4 * _MAX_HINT].split())
                return f"{name}: {line if len(line) <= _MAX_HINT else f'{line[:_MAX_HINT]}…'}"
    return name


def locations_of(given: Any) -> list[dict[str, Any]]:
    """Return the file that a tool works on, if it got an absolute path."""
    for field in _PATHS if isinstance(given, dict) else ():
        if isinstance(path := given.get(field), str) and _ABSOLUTE.match(path):
            return [{"path": path}]
    return []
