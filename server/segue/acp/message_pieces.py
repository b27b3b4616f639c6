"""A message that is being said: its text comes in small chunks, and is given out in pieces.

A piece is stored as soon as it is given out. Secrets are masked in each piece by itself, so that no
piece ends inside of a line or of a key, if that can be helped.
"""

import re

MAX_PIECE = 64 * 1024
"""How long a piece may be, in characters."""

PERIOD = 2.0
"""After how many seconds what was said is given out, as far as its last line is complete."""

MAX_KEY = 32 * 1024
"""How long a key in PEM may be, in characters, before it counts as none."""

_KEY_MARK = re.compile(r"-{4,5} ?(BEGIN) |-{4,5} ?END [^-\n]{0,80}-{4,5}")


class MessagePieces:
    """One message. Its pieces, joined, are what was added; times are in seconds."""

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._size = 0
        self._since = 0.0
        """When the first of the chunks came."""
        self._line_ended: float | None = None
        """When the last chunk came that ended a line, if any did that may be given out."""

    @property
    def due(self) -> float | None:
        """When `take_lines` has to be called; None: not before something is added."""
        return None if self._line_ended is None else self._since + PERIOD

    def add(self, text: str, time: float) -> list[str]:
        """Add *text*, which came at *time*; return the pieces that are complete by their size."""
        if not self._chunks:
            self._since = time
        self._chunks.append(text)
        self._size += len(text)
        if "\n" in text:
            self._line_ended = time
        if self._size <= MAX_PIECE:
            return []
        whole, begin, pieces = "".join(self._chunks), 0, []
        while len(whole) - begin > MAX_PIECE:
            cut = _cut(whole[begin : begin + MAX_PIECE + MAX_KEY])
            pieces.append(whole[begin : begin + cut])
            begin += cut
        rest = whole[begin:]
        self._keep(rest, time if len(rest) <= len(text) else self._since)
        return pieces

    def take_lines(self) -> str:
        """Return what may be given out before the message has ended; it may be empty."""
        whole = "".join(self._chunks)
        cut = _end_of_lines(whole, len(whole), _keys(whole))
        ended = self._line_ended
        # What is left came with the end of the last line, or later, unless it is held as a key.
        self._keep(whole[cut:], self._since if ended is None or "\n" in whole[cut:] else ended)
        self._line_ended = None
        return whole[:cut]

    def take_rest(self) -> str:
        """Return what is left, at the end of the message; it may be empty."""
        rest = "".join(self._chunks)
        self._keep("", 0.0)
        return rest

    def _keep(self, rest: str, since: float) -> None:
        self._chunks = [rest] if rest else []
        self._size = len(rest)
        self._since = since
        if "\n" not in rest:
            self._line_ended = None


def _cut(text: str) -> int:
    """Return where a piece ends of *text*, which is longer than one: 1 to MAX_PIECE."""
    keys = _keys(text)
    if cut := _end_of_lines(text, MAX_PIECE, keys):
        return cut
    cut = 1 + max(text.rfind(" ", 0, MAX_PIECE), text.rfind("\t", 0, MAX_PIECE)) or MAX_PIECE
    return next((begin for begin, end in keys if 0 < begin < cut < end), cut)


def _end_of_lines(text: str, most: int, keys: list[tuple[int, int]]) -> int:
    """Return the end of the last line, at most *most*, that is outside of all keys; else 0."""
    cut = text.rfind("\n", 0, most) + 1
    for begin, end in reversed(keys):
        if begin < cut < end:
            cut = text.rfind("\n", 0, begin) + 1
    return cut


def _keys(text: str) -> list[tuple[int, int]]:
    """Return where the keys in PEM begin and end; one that does not end here ends after it."""
    keys: list[tuple[int, int]] = []
    if "BEGIN " not in text:  # found faster than the pattern
        return keys
    begin = None
    for mark in _KEY_MARK.finditer(text):
        if mark[1] and begin is None:
            begin = mark.start()
        elif not mark[1] and begin is not None:
            keys.append((begin, mark.end()))
            begin = None
    if begin is not None:
        keys.append((begin, len(text) + 1))
    return [(begin, end) for begin, end in keys if end - begin <= MAX_KEY]
