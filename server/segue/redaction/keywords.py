"""Finds the rules that may match, and where, by their keywords: most text has none of them."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from segue.redaction.rule import ANY_LENGTH, LONG_WORD, Rule
from segue.redaction.rules import RULES

Places = dict[Rule, Sequence[int] | None]
"""The rules that may match, in order, each with where: at positions in order, or None, anywhere."""

_TAIL = 3
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SEPARATORS = "_-.:~$"
_BREAK = "\n"


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
_RUNS = _CONTEXTS.pop("")
"""The rules without a keyword."""

_FEW_RUNS = 16
"""Searching for more runs one by one is slower than searching for the pattern."""

_TAILS = _by_tail(_NUMBERS)
_OTHERS: dict[str, list[str]] = {}
"""By their first character, the keywords that do not end so: searched for one by one."""

for _keyword in _NUMBERS:
    if not _tails(_keyword):
        _OTHERS.setdefault(_keyword[0], []).append(_keyword)

_WORDS_OF_CONTEXTS = [word for word, numbers in _CONTEXTS.items() if not _LENGTHS.keys() & numbers]
"""Those without which a rule of a context cannot match, whatever else is in the text."""


def may_match(text: str) -> bool:
    """Return whether any rule may match in *text*."""
    lower = text.lower()
    return any(map(lower.__contains__, _WORDS_OF_CONTEXTS)) or bool(find_places(text))


def find_places(text: str) -> Places:
    """Return the rules that may match in *text*, and where."""
    lower = text.lower()
    places: dict[int, list[int] | None] = {}
    for keyword, numbers in _CONTEXTS.items():
        if keyword in lower:
            places.update(dict.fromkeys(numbers))
    encoded = text.encode("ascii", "replace")
    words = {word for word in encoded.translate(_WORDS).split() if len(word) >= LONG_WORD}
    lengths: set[int] = set()
    if words:
        joined = b" ".join(words)
        runs = set(joined.translate(_LETTERS).split())
        lengths = set(map(len, runs))
        _add_runs(places, text, runs)
        _add_ends(places, text, encoded, joined)
        _add_others(places, text, joined.decode())
    return {
        RULES[number]: places[number]
        for number in sorted(places)
        if number not in _LENGTHS or any(map(_LENGTHS[number].__contains__, lengths))
    }


def _add_runs(places: dict[int, list[int] | None], text: str, runs: set[bytes]) -> None:
    """Add the rules without a keyword, which match a whole run of letters and digits."""
    for number in _RUNS:
        suitable = [run.decode() for run in runs if len(run) in _LENGTHS[number]]
        if len(suitable) > _FEW_RUNS:
            places[number] = None
        elif suitable:
            places[number] = sorted(at for run in suitable for at in _all(text, run))


def _add_ends(places: dict[int, list[int] | None], text: str, encoded: bytes, words: bytes) -> None:
    """Add the rules of tokens whose keywords end in a separator. *words* are the long ones."""
    parts_of_words = set((b" " + words).translate(_PARTS).split(b" "))
    tails = {tail for part in parts_of_words if (tail := part[-_TAIL:]) in _TAILS}
    if not tails:
        return
    parts = encoded.translate(_PARTS).split(b" ")
    marked = {part: tail for part in set(parts) if (tail := part[-_TAIL:]) in tails}
    if not marked:
        return
    counts = Counter([marked[part] for part in parts if part in marked])
    dense = {tail for tail, count in counts.items() if count > _often(text)}
    for tail in dense:
        for keyword in _TAILS[tail]:
            if keyword in text:
                places.update(dict.fromkeys(_NUMBERS[keyword]))
    marked = {part: tail for part, tail in marked.items() if tail not in dense}
    ends = list(itertools.accumulate(map(len, parts)))
    found: dict[str, list[int]] = {}
    for number in [number for number, part in enumerate(parts) if part in marked]:
        end = ends[number] + number + 1
        keywords = _TAILS[marked[parts[number]]]
        if text.endswith(keywords, 0, end):
            for keyword in keywords:
                if text.endswith(keyword, 0, end):
                    found.setdefault(keyword, []).append(end - len(keyword))
    for keyword, positions in found.items():
        for number in _NUMBERS[keyword]:
            places[number] = _with(places, number, positions)


def _with(
    places: dict[int, list[int] | None], number: int, positions: Iterable[int]
) -> list[int] | None:
    known = places.get(number, ())
    return None if known is None else sorted({*known, *positions})


def _add_others(places: dict[int, list[int] | None], text: str, words: str) -> None:
    """Add the rules of the other tokens. *words* are the long words of *text*."""
    enough = _often(text)
    for keyword in [word for first in _OTHERS.keys() & set(words) for word in _OTHERS[first]]:
        if keyword in words:
            positions = list(itertools.islice(_all(text, keyword), enough + 1))
            for number in _NUMBERS[keyword]:
                anywhere = len(positions) > enough or not RULES[number].keyword_first
                places[number] = None if anywhere else _with(places, number, positions)


def _often(text: str) -> int:
    """Return how often one search of *text* for a pattern is as fast as a look at each keyword."""
    return 1 + len(text) // 512


def _all(text: str, keyword: str) -> Iterator[int]:
    at = text.find(keyword)
    while at >= 0:
        yield at
        at = text.find(keyword, at + 1)
