"""The names of git branches: anybody may have written them."""

from collections.abc import Callable
from typing import Any

from segue.model.json_text import encode

LONGEST = 200
"""How many characters of a name are kept."""


def storable_branch(name: str | None, redact: Callable[[Any, str], Any]) -> str | None:
    """Return *name* as one short line, with its secrets masked; None if nothing is left of it."""
    if not name:
        return None
    text = name.encode(errors="replace").decode()
    # Masked before it is cut: half a secret is not known as one.
    masked = str(redact(text, encode("$.branch", text)))
    line = "".join(each if each.isprintable() else " " for each in masked).strip()
    return (line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…") or None
