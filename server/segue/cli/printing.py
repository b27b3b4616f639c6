"""Safe output of stored text: characters that could control the terminal are escaped."""

import unicodedata
from datetime import datetime

_JOINERS = "\u200c\u200d"


def visible(string: str, keep: str = "") -> str:
    """Return *string* with control and direction characters escaped, except those in *keep*.

    An escape sequence can make a terminal move, hide its output, or write to the clipboard.
    """
    return "".join(
        char if char in keep or not _is_control(char) else char.encode("unicode_escape").decode()
        for char in string
    )


def local_time(milliseconds: int) -> str:
    """Return a stored timestamp as local date and time, to the second."""
    return datetime.fromtimestamp(milliseconds / 1_000).strftime("%Y-%m-%d %H:%M:%S")


def _is_control(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Zl", "Zp") or (category[0] == "C" and char not in _JOINERS)
