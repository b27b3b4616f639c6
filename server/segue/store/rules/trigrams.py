r"""Which three characters in a row an index of searches knows of a text, and looks for of a query.

What has all trigrams of a query is only a candidate: its text is compared.
"""

import re

from segue.model.search_text import SPREAD, SearchQuery

_MAX_TRIGRAMS = 24
"""So many trigrams of a query are looked up: more would hardly be fewer candidates."""

_RUN = re.compile(f"[{SPREAD}]+")
_UNUSABLE = re.compile("[\0\1\ud800-\udfff]")


def spread(folded: str) -> str:
    r"""Return a folded text such that trigrams find one Chinese character, and two.

    Each such character has \1 on both sides, `\1函\1数\1`: `函\1数` is a trigram. What has no
    UTF-8, or would end the text for SQLite, becomes a space.
    """
    usable = _UNUSABLE.sub(" ", folded)
    if usable.isascii():
        return usable
    return _RUN.sub(lambda run: "\1" + "\1".join(run[0]) + "\1", usable)


def trigrams(query: SearchQuery) -> list[str]:
    """Return trigrams that a text has if it matches; none if that can be any text."""
    found: dict[str, None] = {}
    for term in query.terms:
        text = spread(term)
        found.update((text[at : at + 3], None) for at in range(len(text) - 2))
    step = -(-len(found) // _MAX_TRIGRAMS) or 1
    return list(found)[::step]
