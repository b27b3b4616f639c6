"""Finds the rules that may match, and where, by their keywords: most text has none of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from segue.redaction.rule import ANY_LENGTH, LONG_WORD, Rule
from segue.redaction.rules import RULES

Places = dict[Rule, Sequence[int] | None]
"""The rules that may match, in order, each with where: at positions in order, or None, anywhere."""

_TAIL = 3
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SEPARATORS = "_-.:~$"
_BREAK = "\n"
_DENSE = 512
"""More than one tail in so many characters is frequent."""


def _table(kept: str, separators: str = "", other: str = " ") -> bytes:
    """Return a table that keeps *kept*, and translates *separators* to spaces."""
    translated = {**dict.fromkeys(kept), **dict.fromkeys(separators, " ")}
    characters = [translated.get(chr(code), other) or chr(code) for code in range(256)]
    return "".join(characters).encode()


_LETTERS = _table(_ALNUM)
_WORDS = _table(_ALNUM + _SEPARATORS + "+/=@%!|,")
"""Whatever is in a token or in its keyword is kept."""

_PARTS = _table(_ALNUM, _SEPARATORS, _BREAK)


def _tails(keyword: str) -> list[bytes]:
    """Return how the text before the last separator of *keyword* can end, if that is selective."""
    before = keyword[:-1]
    last = before.encode().translate(_LETTERS).rpartition(b" ")[2].decode()
    if keyword[-1] not in _SEPARATORS or len(last) < _TAIL - 1:
        return []
    if len(last) >= _TAIL:
        return [last[-_TAIL:].encode()]
    if last != before:
        return [last.encode()]
    return [(lead + last).encode() for lead in ("", _BREAK, *_ALNUM)]


def _by_tail(keywords: Iterable[str]) -> dict[bytes, tuple[str, ...]]:
    index: dict[bytes, tuple[str, ...]] = {}
    for keyword in keywords:
        for tail in _tails(keyword):
            index[tail] = (*index.get(tail, ()), keyword)
    return index


_NUMBERS: dict[str, list[int]] = {}
_CONTEXTS: dict[str, list[int]] = {}
for _number, _rule in enumerate(RULES):
    for _keyword in _rule.keywords:
        (_NUMBERS if _rule.is_word else _CONTEXTS).setdefault(_keyword, []).append(_number)

_LENGTHS = {n: rule.lengths for n, rule in enumerate(RULES) if rule.lengths is not ANY_LENGTH}
_TAILS = _by_tail(_NUMBERS)
_OTHERS = [keyword for keyword in _NUMBERS if not _tails(keyword)]
"""Keywords that do not end in a separator, or have little before it: searched for one by one."""


def find_places(text: str) -> Places:
    """Return the rules that may match in *text*, and where."""
    lower = text.lower()
    places: dict[int, list[int] | None] = {}
    for keyword, numbers in _CONTEXTS.items():
        if keyword in lower:
            places.update(dict.fromkeys(numbers))
    encoded = text.encode("ascii", "replace")
    words = [word for word in set(encoded.translate(_WORDS).split()) if len(word) >= LONG_WORD]
    runs: set[bytes] = set()
    if words:
        joined = b" ".join(words)
        runs = set(joined.translate(_LETTERS).split())
        _add_ends(places, text, encoded)
        _add_others(places, joined.decode())
    if not places:
        return {}
    lengths = set(map(len, runs))
    return {
        RULES[number]: places[number]
        for number in sorted(places)
        if number not in _LENGTHS or any(map(_LENGTHS[number].__contains__, lengths))
    }


def _add_ends(places: dict[int, list[int] | None], text: str, encoded: bytes) -> None:
    """Add the rules of tokens whose keywords end in a separator."""
    parts = encoded.translate(_PARTS).split(b" ")
    counts = Counter(parts)
    marked = {part: tail for part in counts if (tail := part[-_TAIL:]) in _TAILS}
    if not marked:
        return
    # Where a tail is frequent, one search for the pattern is faster than a look at each.
    often: Counter[bytes] = Counter()
    for part, tail in marked.items():
        often[tail] += counts[part]
    dense = {tail for tail, count in often.items() if count * _DENSE > len(text)}
    for tail in dense:
        for keyword in _TAILS[tail]:
            if keyword in text:
                places.update(dict.fromkeys(_NUMBERS[keyword]))
    marked = {part: tail for part, tail in marked.items() if tail not in dense}
    ends = list(accumulate(map(len, parts)))
    for number in [number for number, part in enumerate(parts) if part in marked]:
        end = ends[number] + number + 1
        keywords = _TAILS[marked[parts[number]]]
        if text.endswith(keywords, 0, end):
            for keyword in keywords:
                if text.endswith(keyword, 0, end):
                    _add(places, keyword, end - len(keyword))


def _add(places: dict[int, list[int] | None], keyword: str, position: int) -> None:
    for number in _NUMBERS[keyword]:
        positions = places.setdefault(number, [])
        if positions is not None:
            positions.append(position)


def _add_others(places: dict[int, list[int] | None], words: str) -> None:
    """Add the rules of the other tokens. *words* are the long words."""
    for keyword in _OTHERS:
        if keyword in words:
            places.update(dict.fromkeys(_NUMBERS[keyword]))
