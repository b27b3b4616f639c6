"""Finds the rules that may match, by their keywords: most text has none of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from segue.redaction.rule import ANY_LENGTH, LONG_WORD, Rule
from segue.redaction.rules import RULES
from segue.redaction.view import without_escapes

Candidates = Mapping[Rule, Sequence[str]]
"""The rules that may match, in order, each with its keywords that were found."""

_TAIL = 3
_HEAD = 120
"""No keyword of letters is found behind so many: it would be inside of base64."""


def _only(characters: str) -> bytes:
    """Return a table that translates all but letters, digits and *characters* to spaces."""
    kept = [code < 128 and (chr(code).isalnum() or chr(code) in characters) for code in range(256)]
    return bytes(code if kept[code] else 32 for code in range(256))


_LETTERS = _only("")
_BASE64 = _only("+/")


class _Index(NamedTuple):
    """The keywords, by where they are searched for."""

    tails: dict[bytes, list[str]]
    """Those that end in a separator, by the end of their last part."""

    heads: list[str]
    """Those of letters, which stand near the beginning of a run of letters."""

    rest: list[str]
    contexts: list[str]


def _index() -> _Index:
    index = _Index({}, [], [], [])
    for keyword in dict.fromkeys(word for rule in RULES if rule.is_word for word in rule.keywords):
        *_, last = keyword.encode().translate(_LETTERS).split() or [b""]
        if not keyword[-1].isalnum() and len(last) > 1:
            index.tails.setdefault(last[-_TAIL:], []).append(keyword)
        elif keyword.encode().translate(_BASE64) == keyword.encode():
            index.heads.append(keyword)
        else:
            index.rest.append(keyword)
    contexts = (word for rule in RULES if not rule.is_word for word in rule.keywords)
    index.contexts.extend(dict.fromkeys(contexts))
    return index


def _parts(text: str) -> set[bytes]:
    """Return the runs of letters and digits in ASCII *text*."""
    return set(text.encode().translate(_LETTERS).split())


_INDEX = _index()
_NUMBERS: dict[str, list[int]] = {}
for _number, _rule in enumerate(RULES):
    for _keyword in _rule.keywords:
        _NUMBERS.setdefault(_keyword, []).append(_number)


def find_candidates(json_text: str) -> Candidates:
    """Return the rules whose keywords occur in *json_text*, which is ASCII."""
    text = without_escapes(json_text)
    lower = text.lower()
    found = {keyword for keyword in _INDEX.contexts if keyword in lower}
    # Most words are too short for a token: searching only the others halves the cost.
    words = " ".join([word for word in text.split() if len(word) >= LONG_WORD])
    parts: set[bytes] = set()
    if words:
        parts = _parts(words)
        tails = {part[-_TAIL:] for part in parts}
        tails |= {tail[-2:] for tail in tails}
        maybe = [keyword for tail in tails & _INDEX.tails.keys() for keyword in _INDEX.tails[tail]]
        found |= {keyword for keyword in (*maybe, *_INDEX.rest) if keyword in words}
        runs = set(words.encode().translate(_BASE64).split())
        heads = b" ".join([run[:_HEAD] for run in runs])
        found |= {keyword for keyword in _INDEX.heads if keyword.encode() in heads}
    if not found:
        return {}
    lengths = set(map(len, parts))
    numbers = {number for keyword in found for number in _NUMBERS[keyword]}
    rules = [RULES[number] for number in sorted(numbers)]
    return {
        rule: [keyword for keyword in rule.keywords if keyword in found]
        for rule in rules
        if rule.lengths is ANY_LENGTH or any(map(rule.lengths.__contains__, lengths))
    }


def present_in(text: str, candidates: Candidates) -> Candidates:
    """Return the candidates of which a keyword is in *text*."""
    lower = text.lower()
    present = {
        rule: [word for word in words if word in (text if rule.is_word else lower)]
        for rule, words in candidates.items()
    }
    return {rule: words for rule, words in present.items() if words}
