"""Text as a person sees it: without terminal escapes, and with the escapes of JSON decoded."""

import functools
import re
from bisect import bisect_right
from itertools import accumulate

# After a backslash none begins: otherwise a run of them is tried once for each.
_BACKSLASHES = r"\\(?<!\\\\)\\*+"
_CONTROL = r"\[[0-?]{0,32}[ -/]{0,4}[@-~]"
_ESC = "(?:u001[bB]|x1[bB]|033|e)"
_LINK = r"\]8;[^;\\\x07\x1b]{0,64};"

# Every alternative begins with one character: such a pattern is searched for fast.
_ESCAPE = re.compile(
    rf"({_BACKSLASHES}(?:{_ESC}{_CONTROL}|u[0-9A-Fa-f]{{4}}|[\"'/nrtbf])"
    rf"|\x1b(?:{_CONTROL}|{_LINK}|\\)|\x9b[0-?]{{0,32}}[@-~]|\x07)"
)
_WHITESPACE = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

_ENCODED_ANSI = re.compile(
    rf"{_BACKSLASHES}(?:{_ESC}(?:{_CONTROL}|{_LINK}|\\++)|u009b[0-?]{{0,32}}[@-~]|u0007)"
)
_ANSI_MARKS = (*(r"\u001b", r"\u001B", r"\x1b", r"\x1B", r"\033[", r"\e[", r"\u009b", r"\u0007"),)
_SIGNS = [
    (rf"\u00{code}", chr(int(code, 16))) for code in ("2b", "2B", "2f", "2F", "3d", "3D", "26")
]
_UNICODE = re.compile(r"(?:\\u[0-9A-Fa-f]{4})++")


class View:
    """A string as it is read, and where each of its characters stands in the string itself."""

    def __init__(self, string: str) -> None:
        """Decode *string*."""
        self.text = string
        self._raw: list[str] = []
        self._shown: list[str] = []
        if "\\" in string or "\x1b" in string or "\x9b" in string or "\x07" in string:
            self._raw = _ESCAPE.split(string)
            self._shown = self._raw.copy()
            self._shown[1::2] = map(_decode, self._raw[1::2])
            self.text = "".join(self._shown)

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Return where the characters from *begin* to *end* of the text stand in the string."""
        if not self._raw:
            return begin, end
        return self._locate(begin)[0], self._locate(end - 1)[1]

    def _locate(self, index: int) -> tuple[int, int]:
        shown, raw = self._offsets
        piece = bisect_right(shown, index) - 1
        if piece % 2:
            return raw[piece], raw[piece + 1]
        begin = raw[piece] + index - shown[piece]
        return begin, begin + 1

    @functools.cached_property
    def _offsets(self) -> tuple[list[int], list[int]]:
        shown = [0, *accumulate(map(len, self._shown))]
        return shown, [0, *accumulate(map(len, self._raw))]


def without_escapes(json_text: str) -> str:
    """Return *json_text*, which is ASCII, such that what an escape divides is contiguous.

    Terminal escapes vanish, the signs of base64 are decoded, and other escapes become a space.
    """
    if "\\" not in json_text:
        return json_text
    if any(mark in json_text for mark in _ANSI_MARKS):
        json_text = _ENCODED_ANSI.sub("", json_text)
    if r"\u" in json_text:
        for escape, sign in _SIGNS:
            json_text = json_text.replace(escape, sign)
        json_text = _UNICODE.sub(" ", json_text)
    for escape in (r"\n", r"\t", r"\r"):
        json_text = json_text.replace(escape, " ")
    return json_text.replace("\\", "")


@functools.lru_cache(maxsize=512)
def _decode(escape: str) -> str:
    if escape[0] != "\\" or "[" in escape:
        return ""
    if escape[-5:-4] == "u" and len(escape) > 5:
        return chr(int(escape[-4:], 16))
    return _WHITESPACE.get(escape[-1], escape[-1])
