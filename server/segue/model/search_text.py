"""What a search looks for and where: the words of a query, and the text of an event.

A query is words and "quoted phrases", and has no other syntax. Each of them is looked for as it
is, also within a word; only case, white space and Unicode's ways to write the same character
(NFKC) do not matter.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.events import EVENT_TYPES
from segue.model.records import Piece
from segue.model.validation import Fault, InvalidInputError, StringLength

MAX_QUERY = 1_000
"""The length of the longest query, in characters."""

HEAD = 8_000
TAIL = 2_000
"""Of an event with a longer text so many characters of its beginning and its end are searched."""

MAX_EXCERPT = 200
"""The length of an excerpt, in characters, unless the match itself is longer."""

_BEFORE_MATCH = 60
_AROUND = 500
"""So many characters around a match are looked at: white space becomes shorter."""

_LENGTH = StringLength(MAX_QUERY)
_TERM = re.compile(r'(?<!\S)"(.+?)"(?!\S)|\S+', re.DOTALL)

SPREAD = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Chinese, Japanese and Korean characters, as in a class of `re`: one or two of them are a word."""

_SPREAD = re.compile(f"[{SPREAD}]")

_NOT_SAID = frozenset({"id", "tool_use_id", "message", "model"})
"""Fields of known types that only connect events, or name who speaks."""


@attrs.frozen
class SearchQuery:
    """The words and phrases of a query, folded: a text matches if it has all of them."""

    terms: tuple[str, ...]

    @classmethod
    def parse(cls, query: str) -> "SearchQuery":
        """Return the terms of *query*.

        Raises InvalidInputError, at `$.query`, if it is empty, longer than MAX_QUERY, has NUL or
        half a surrogate pair, or has only single letters, which are in nearly every text.
        """
        try:
            _LENGTH.check(query)
        except (TypeError, ValueError) as error:
            raise _fault(str(error)) from None
        if "\0" in query:
            raise _fault("must not hold NUL")
        found = (fold(match[1] or match[0]) for match in _TERM.finditer(query))
        terms = tuple(dict.fromkeys(filter(None, found)))
        if not terms:
            raise _fault("has no word")
        if all(len(term) == 1 and not _SPREAD.match(term) for term in terms):
            raise _fault("must have a word of two letters, or one Chinese or Japanese character")
        return cls(terms)

    def matches(self, text: str) -> bool:
        """Return whether a text, as it is written, has all terms."""
        # To fold white space is slow, and no term of one word has any.
        folded = _fold_characters(text) if self._is_of_words else fold(text)
        return all(term in folded for term in self.terms)

    @property
    def _is_of_words(self) -> bool:
        return all(" " not in term for term in self.terms)

    def excerpt(self, text: str) -> Sequence[Piece]:
        """Return a part of *text*, on one line, around a match of the longest term.

        What is cut off is shown as `…`. If the match is written in a way that cannot be found in
        *text* as it is, the beginning is returned.
        """
        longest = max(self.terms, key=len)
        begin, end = _first_match(longest, text) or (0, 0)
        begin, end = max(0, begin - _AROUND), end + _AROUND
        line = " ".join(text[begin:end].split())
        found = _first_match(longest, line)
        at, until = found or (0, 0)
        first = max(0, at - _BEFORE_MATCH)
        last = max(until, first + MAX_EXCERPT)
        shown = line[first:last]
        pieces = []
        done = 0
        for match in _pattern(self.terms).finditer(shown) if found else ():
            pieces.append(Piece(shown[done : match.start()], match=False))
            pieces.append(Piece(match[0], match=True))
            done = match.end()
        pieces.append(Piece(shown[done:], match=False))
        if first or begin:
            pieces[0] = Piece(f"…{pieces[0].text}", match=False)
        if last < len(line) or end < len(text):
            pieces[-1] = Piece(f"{pieces[-1].text}…", match=False)
        return [piece for piece in pieces if piece.text]


def fold(text: str) -> str:
    """Return *text* in the form in which texts and terms are compared."""
    return " ".join(_fold_characters(text).split())


def _fold_characters(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Twice: to fold the case can make a character that another way of writing it would not.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("i\u0307", "i")  # the Turkish capital I with a dot


def searched_text(type: str, encoded: str) -> str:
    """Return what is searched of an event whose `data` is stored as *encoded*.

    It is every string and number in it, also the names of nested fields, each on a line of its own,
    but no ids, nor the model that speaks; of a long text the beginning and the end.
    """
    data, is_corrupt = json_text.decode(encoded)
    if is_corrupt or not isinstance(data, dict):
        return shortened(encoded)
    left_out = _NOT_SAID if type in EVENT_TYPES else ()
    return shortened("\n".join(_strings({k: v for k, v in data.items() if k not in left_out})))


def shortened(text: str) -> str:
    """Return *text*, or its beginning and its end if it is long."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


class Screen:
    """Tells quickly, from how an event is stored, that it cannot match a query."""

    def __init__(self, query: SearchQuery) -> None:
        self._is_ascii = all(term.isascii() for term in query.terms)
        words = {word for term in query.terms for word in term.split()}
        # What JSON writes otherwise may stand as it is in damaged data.
        self._words = [word for word in words if json.dumps(word) == f'"{word}"']

    def may_match(self, encoded: str) -> bool:
        """Return False only if the event with the `data` *encoded* does not match."""
        if "\\u" in encoded:  # it may have characters that fold to those of a word
            return True
        if not self._is_ascii:
            return not encoded.isascii()
        lowered = encoded.lower()
        return all(word in lowered for word in self._words) or not encoded.isascii()


def _strings(data: dict[str, Any]) -> Iterator[str]:
    # Depth first and in the order of the data, without recursion.
    pending = list(reversed(data.values()))
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, each in reversed(value.items()):
                pending += [each, key]
        elif isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)


def _first_match(term: str, text: str) -> tuple[int, int] | None:
    """Return where a term begins and ends in a text, if that can be found without folding it."""
    if (at := text.find(term)) >= 0:
        return at, at + len(term)
    lowered = text.lower()
    # Of the same length, every character is where it was.
    if len(lowered) == len(text) and (at := lowered.find(term)) >= 0:
        return at, at + len(term)
    found = _pattern((term,)).search(text)
    return found.span() if found else None


@functools.lru_cache(8)
def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(terms, key=len, reverse=True)
    patterns = (r"\s+".join(map(re.escape, term.split(" "))) for term in longest_first)
    return re.compile("|".join(patterns), re.IGNORECASE)


def _fault(message: str) -> InvalidInputError:
    return InvalidInputError(Fault("$.query", message))
