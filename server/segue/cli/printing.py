"""Stored text on a terminal: what could steer the terminal is shown, not obeyed."""

import unicodedata
from datetime import datetime

_JOINERS = "\u200c\u200d"


def visible(text: str, keep: str = "") -> str:
    """Return *text* with control, escape and direction characters spelled out, those in *keep* not.

    A terminal that is sent an escape sequence may move, hide, or copy to the clipboard.
    """
    return "".join(
        char if char in keep or not _steers(char) else char.encode("unicode_escape").decode()
        for char in text
    )


def local_time(milliseconds: int) -> str:
    """Return a time of the store as the person's clock has it."""
    return datetime.fromtimestamp(milliseconds / 1_000).strftime("%Y-%m-%d %H:%M:%S")


def _steers(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Zl", "Zp") or (category[0] == "C" and char not in _JOINERS)
