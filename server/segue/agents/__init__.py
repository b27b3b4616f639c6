"""The programs whose conversations are imported: one module each, named in SOURCES.

A module says where its conversations lie (`find`) and how they become events (`read`):

    NAME        its name in the store and on the command line: "claude-code"
    TITLE       its name for people: "Claude Code"
    RESUME      the command that goes on with a conversation there, or None
    find(places) -> Iterator[Path]              the files that may hold conversations
    folders(places) -> Iterator[Folder]         where such files lie; `segue watch` watches them
    accepts(path) -> bool                       whether a file that a person named is one of them
    read(path, states) -> Iterator[Transcript]  its conversations; *states* are those that were
                                                stored by earlier imports, by their sessions' ids
    folder_of(path) -> Path                     the program's own folder that such a file lies in:
                                                where that is not, the file was not deleted

What a program has lost is written back where that is honest: the format is one of appended lines,
the ids of the events are read back, and the program goes on with what is written. The module of
such a source has another one beside it, named in WRITERS:

    NOT_KEPT    what is not written, for people
    target(places, path, directory) -> Path     where the program looks now for what was in *path*
    refusal(path) -> str | None                 why it would not find *path*
    write(conversation) -> Written              the lines of its file

`server/AGENTS.md` lists what each keeps and skips.
"""

import importlib
from types import ModuleType

SOURCES = (
    "segue_jsonl", "claude_code", "codex", "copilot_cli", "codecompanion_history", "gemini_cli",
    "opencode", "vscode_chat", "atuin", "avante", "copilot_chat",
)  # fmt: skip
"""The modules, in the order in which a file that a person named is offered to them."""

WRITERS = ("claude_code",)
"""The sources with a module that writes, `NAME_writer`."""


def load(name: str) -> ModuleType:
    """Return the module of a source, by its name on the command line; raise KeyError."""
    module = name.replace("-", "_")
    if module not in SOURCES:
        raise KeyError(name)
    return importlib.import_module(f"segue.agents.{module}")


def load_all() -> list[ModuleType]:
    """Return the modules of all sources."""
    return [load(name) for name in SOURCES]


def find(name: str) -> ModuleType | None:
    """Return the module of a source, None for one that only a later version knows."""
    try:
        return load(name)
    except KeyError:
        return None


def load_writer(name: str) -> ModuleType | None:
    """Return the module that writes conversations of a source, None if there is none."""
    module = name.replace("-", "_")
    if module not in WRITERS:
        return None
    return importlib.import_module(f"segue.agents.{module}_writer")
