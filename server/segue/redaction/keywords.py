"""Finds the rules that may match, and where, by their keywords: most text has none of them."""

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from segue.redaction.rule import ANY_LENGTH, LONG_WORD, Rule, written_out
from segue.redaction.rules import RULES

Places = dict[Rule, Sequence[int] | None]
"""The rules that may match, in order, each with where: at positions in order, or None, anywhere."""

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _table(kept: str) -> bytes:
    """Return a table that translates whatever is not *kept* to spaces."""
    return bytes(code if chr(code) in kept else ord(" ") for code in range(256))


_LETTERS = _table(_ALNUM)
_WORDS = _table(_ALNUM + "_-.:~$+/=@%!|,")
"""Whatever is in a token or in its keyword is kept."""

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

_SIGNS = [
    word
    for word, numbers in _NUMBERS.items()
    if len(word) == 1 or not all(RULES[number].keyword_first for number in numbers)
]
"""Too frequent, or not where a match begins: the patterns of their rules are searched for."""

_ENDING = [word for word in sorted(_NUMBERS.keys() - {*_SIGNS}) if not word[-1].isalnum()]
"""Most keywords end in a separator, which is rare in text: they are found from their end."""

_BEGINNING: dict[str, list[str]] = {}
"""The others, by their first character."""

for _keyword in sorted(_NUMBERS.keys() - {*_SIGNS, *_ENDING}):
    _BEGINNING.setdefault(_keyword[0], []).append(_keyword)

_WORDS_OF_CONTEXTS = [word for word, numbers in _CONTEXTS.items() if not _LENGTHS.keys() & numbers]
"""Those without which a rule of a context cannot match, whatever else is in the text."""

_RUN = re.compile(r"(\[[^]]+\]\{[0-9]+)[,}]")
"""The characters that a token has first after its keyword, and how many of them at least."""


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
        _add_tokens(places, text, joined.decode())
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


def _add_tokens(places: dict[int, list[int] | None], text: str, words: str) -> None:
    """Add the rules of tokens. *words* are the long words of *text*."""
    enough = 1 + len(text) // 512  # of more, one search for the pattern is as fast
    found: dict[int, list[int]] = defaultdict(list)
    for backwards, ends in _ends(text).items():
        for number, length in _rules_ending(backwards):
            found[number] += [end - length for end in ends]
    for first in _BEGINNING.keys() & set(words):
        pattern = _beginning(first)
        if not pattern.search(words):
            continue
        matches = list(itertools.islice(pattern.finditer(text), enough + 1))
        if len(matches) > enough:
            places.update(dict.fromkeys(n for word in _BEGINNING[first] for n in _NUMBERS[word]))
            continue
        for match in matches:
            for number in _rules_beginning(match[0] + match[1]):
                found[number].append(match.start())
    for number, positions in found.items():
        places.setdefault(number, None if len(positions) > enough else sorted(positions))
    for keyword in filter(words.__contains__, _SIGNS):
        places.update(dict.fromkeys(_NUMBERS[keyword]))


def _ends(text: str) -> dict[str, list[int]]:
    """Return where in *text* keywords end, by the longest that ends there, backwards."""
    ends: dict[str, list[int]] = defaultdict(list)
    for match in _ending().finditer(text[::-1]):
        ends[match[0] + match[match.lastindex or 0]].append(len(text) - match.start())
    return ends


@functools.cache
def _ending() -> re.Pattern[str]:
    """Return the pattern that finds, in reversed text, the end of a keyword before its token.

    It matches the separator; a group has the rest of the keyword.
    """
    rests: dict[str, dict[str, str]] = {}
    for keyword in _ENDING:
        runs = [f"(?<={run}.{{{len(keyword)}}})" for run in _runs(keyword)]
        rests.setdefault(keyword[-1], {})[keyword[-2::-1]] = _any_of(runs)
    ways = (f"{re.escape(last)}(?=({_trie(each)}))" for last, each in rests.items())
    return re.compile("|".join(ways), re.ASCII)


@functools.cache
def _beginning(first: str) -> re.Pattern[str]:
    """Return the pattern that finds *first* before the rest of a keyword, which a group has."""
    rests = {word[1:]: _any_of([f"(?={run})" for run in _runs(word)]) for word in _BEGINNING[first]}
    return re.compile(f"{re.escape(first)}(?=({_trie(rests)}))", re.ASCII)


def _runs(keyword: str) -> list[str]:
    """Return the patterns of which one must match after *keyword*: none, if that is not known."""
    found = [_RUN.match(written_out(RULES[number].rest)) for number in _NUMBERS[keyword]]
    return [f"{run[1]}}}" for run in found if run] if all(found) else []


def _trie(strings: dict[str, str]) -> str:
    """Return a pattern of *strings*, each followed by its value, that prefers the longest."""
    by_first: dict[str, dict[str, str]] = {}
    for string, after in strings.items():
        if string:
            by_first.setdefault(string[0], {})[string[1:]] = after
    ways = [re.escape(first) + _trie(rests) for first, rests in by_first.items()]
    return _any_of([*ways, strings[""]] if "" in strings else ways)


def _any_of(ways: list[str]) -> str:
    # Groups take most of the time of compiling.
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


@functools.cache
def _rules_ending(backwards: str) -> list[tuple[int, int]]:
    """Return the rules of each keyword with which *backwards*, reversed, ends, and its length."""
    words = [word for word in _ENDING if backwards.startswith(word[::-1])]
    return [(number, len(word)) for word in words for number in _NUMBERS[word]]


@functools.cache
def _rules_beginning(keyword: str) -> list[int]:
    """Return the rules of each keyword with which *keyword* begins."""
    words = filter(keyword.startswith, _BEGINNING[keyword[0]])
    return [number for word in words for number in _NUMBERS[word]]


def _all(text: str, keyword: str) -> Iterator[int]:
    at = text.find(keyword)
    while at >= 0:
        yield at
        at = text.find(keyword, at + 1)
