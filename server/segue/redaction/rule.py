"""What a rule of redaction is, and how one is written: by a token's shape, or by its context."""

import functools
import re
import sys
from collections.abc import Container
from typing import NamedTuple

from segue.redaction.checks import (
    Check,
    is_filled_in,
    is_random,
    is_random_word,
)

ANY_LENGTH = range(sys.maxsize)


class Rule(NamedTuple):
    """One kind of secret: its name, and how it is found."""

    name: str
    about: str
    """The provider, or the context in which it is found."""

    keywords: tuple[str, ...]
    """Printable ASCII. Every match contains one of them: they are searched for first."""

    pattern: str
    """Its groups `lead`, if there is one, and `secret` are masked. `compiled` takes it."""

    check: Check
    """Whether a match is a secret."""

    fingerprint: bool = True
    """Whether the mask carries a fingerprint; never for what a person may have chosen."""

    is_word: bool = True
    """Whether every match is one word of at least `LONG_WORD` characters.

    The keywords of the other rules are in lower case, and match in either case.
    """

    lengths: Container[int] = ANY_LENGTH
    """Every match has a whole run of letters and digits of such a length."""

    keyword_first: bool = True
    """Whether every match begins with a keyword."""

    has_lead: bool = False
    """Whether the pattern has a group `lead`, where the secret begins."""

    rest: str = ""
    """What follows the keyword in every match, or an empty string if that is not known."""


GLUED = 20
"""So many letters may stand right before or after a token whose prefix base64 also has."""

LONG_WORD = 20
"""As long as the shortest token, an AWS access key id. JSON's escapes only make words longer."""

MASK = r"\[redacted:[a-z0-9-]+(?::[0-9a-f]{8})?\]"
"""The pattern of every mask. What overlaps one is not masked, which makes masking idempotent."""

_ABBREVIATIONS = {
    "@ID": "@h{8}-@h{4}-@h{4}-@h{4}-@h{12}",
    # A line of a key: what a tool puts before it (a number, a quotation mark, `-` of a diff), the
    # key, and what may follow it.
    "@NEXT": "(?:\n[^A-Za-z0-9\n]{0,12}+(?=\n)){0,2}+\n@LINE",
    "@CHUNK": "@B{24,}+",
    # `@LINE` to its end, which is looked at first: most lines end otherwise.
    "@WHOLE": "(?=[^\n]{24,}+(?<=@B{16}[^\n]{8})\n)@LEAD?@B{24,}+[^A-Za-z0-9\n]{0,8}+\n",
    "@LINE": "@LEAD@B{24,}+[^A-Za-z0-9\n]{0,8}+",
    "@LEAD": "(?:[^\n]{0,120}[^A-Za-z0-9+/=\n])?",
    "@KEY": "[A-Z0-9 ]{0,32}?PRIVATE KEY(?: BLOCK)? ?-{4,5}",
    # Between a name and its value, which is quoted or not, and ends.
    "@ASSIGNED": """@QUOTES[ \\t]{0,8}[:=]>?[ \\t]{0,8}@QUOTES""",
    "@QUOTES": """["'`\\\\]{0,4}""",
    "@VALUE": """(?:(?<=")[^"@Q]{8,256}+={0,2}(?=")|(?<=')[^'@Q]{8,256}+={0,2}(?=')"""
    """|(?![/.~%=])[^\\s\\x1b"'`,;&|$(){}<>\\[\\]\\\\=]{8,512}+={0,2}@END)""",
    "@Q": "\\s\\\\<>$=",
    "@END": """(?=$|[\\s\\x1b"'`,;&|)\\]}<\\\\])""",
    "@a": "[A-Za-z0-9]",
    "@b": "[A-Za-z0-9+/]",
    "@B": "[A-Za-z0-9+/=]",
    "@w": "[\\w-]",
    "@h": "[0-9a-f]",
    "@l": "[a-z0-9]",
    "@u": "[A-Z0-9]",
    "@D": "(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5])",  # three decimal digits in base64
    "@MASK": MASK,
}
"""Parts of patterns, each before those that it contains."""


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return *pattern* compiled, with its abbreviations written out."""
    # Only once its keyword was found: compiling all takes a tenth of a server's start.
    return re.compile(written_out(pattern), re.ASCII)


def written_out(pattern: str) -> str:
    """Return *pattern* with its abbreviations written out."""
    for short, long in _ABBREVIATIONS.items():
        pattern = pattern.replace(short, long)
    return pattern


def _literals(prefixes: str) -> str:
    escaped = [re.escape(prefix) for prefix in prefixes.split()]
    return escaped[0] if len(escaped) == 1 else f"(?:{'|'.join(escaped)})"


def token(
    name: str,
    about: str,
    prefixes: str,
    rest: str,
    check: Check | None = None,
    *,
    lengths: Container[int] = ANY_LENGTH,
) -> Rule:
    """Return the rule of a token whose prefix leaves no doubt: it need not begin a word."""
    pattern = f"(?P<secret>{_literals(prefixes)}{rest})"
    usual = is_random if "@w" in rest else is_filled_in
    keywords = tuple(prefixes.split())
    return Rule(name, about, keywords, pattern, check or usual, lengths=lengths, rest=rest)


def word(
    name: str,
    about: str,
    prefixes: str,
    rest: str,
    check: Check = is_random_word,
    *,
    lengths: Container[int] = ANY_LENGTH,
) -> Rule:
    """Return the rule of a token whose prefix words also have: `hf_`, `sk-`."""
    end = "(?![0-9a-f])" if rest.endswith(("@h{32}", "@h{40}", "@h{64}")) else ""
    pattern = f"(?P<secret>{_literals(prefixes)}{rest}){end}"
    keywords = tuple(prefixes.split())
    return Rule(name, about, keywords, pattern, check, lengths=lengths, rest=rest)


def letters(name: str, about: str, prefixes: str, rest: str, check: Check = is_filled_in) -> Rule:
    """Return the rule of a token whose prefix is also found in base64, which is left alone."""
    blob = f"[A-Za-z0-9+/]{{{GLUED}}}"
    leads = "|".join(f"{each}(?<!{blob}{each})" for each in prefixes.split())
    pattern = f"(?P<secret>(?:{leads}){rest})(?!{blob})"
    return Rule(name, about, tuple(prefixes.split()), pattern, check, rest=rest)


def around(
    name: str,
    about: str,
    mark: str,
    before: str,
    rest: str,
    lengths: Container[int] = ANY_LENGTH,
    *,
    check: Check = is_filled_in,
) -> Rule:
    """Return the rule of a token with *mark* inside, after *before*, which has a fixed length.

    Inside of base64, it is left alone.
    """
    literal, lead = re.escape(mark), before
    blob = f"(?<![A-Za-z0-9+/]{{{GLUED}}})"
    pattern = f"{literal}(?<=(?P<lead>{blob}{lead}){literal})(?P<secret>{rest})"
    return Rule(name, about, (mark,), pattern, check, lengths=lengths, has_lead=True, rest=rest)


def context(
    name: str,
    about: str,
    keywords: str,
    pattern: str,
    check: Check,
    *,
    fingerprint: bool = False,
    lengths: Container[int] = ANY_LENGTH,
) -> Rule:
    """Return the rule of a secret that is known by what stands around it.

    *keywords* are separated by commas.
    """
    return Rule(
        name,
        about,
        tuple(keywords.split(",")),
        pattern,
        check,
        fingerprint,
        is_word=False,
        lengths=lengths,
        keyword_first=False,
    )
