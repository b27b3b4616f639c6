"""The programs whose conversations are imported: one module each, named in SOURCES.

A module says where its conversations lie (`find`) and how they become events (`read`):

    NAME        its name in the store and on the command line: "claude-code"
    TITLE       its name for people: "Claude Code"
    RESUME      the command that goes on with a conversation there, or None
    find(places) -> Iterator[Path]              the files that may hold conversations
    accepts(path) -> bool                       whether a file that a person named is one of them
    read(path, states) -> Iterator[Transcript]  its conversations; *states* are those that were
                                                stored by earlier imports, by their sessions' ids

`server/AGENTS.md` lists what each keeps and skips.
"""

import importlib
from types import ModuleType

SOURCES = (
    "segue_jsonl", "claude_code", "codex", "copilot_cli", "gemini_cli", "opencode", "atuin",
)  # fmt: skip
"""The modules, in the order in which a file that a person named is offered to them."""


def load(name: str) -> ModuleType:
    """Return the module of a source, by its name on the command line; raise KeyError."""
    module = name.replace("-", "_")
    if module not in SOURCES:
        raise KeyError(name)
    return importlib.import_module(f"segue.agents.{module}")
