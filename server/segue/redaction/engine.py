"""Masks secrets in JSON values: strings with the shape of a key, a token or a password in a URL.

A pure function of the value. `server/REDACTION.md` lists the rules, and what they do not mask.
"""

import io
import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from segue.redaction.keywords import find_places, may_match
from segue.redaction.rule import LONG_WORD, MASK, Rule, compiled
from segue.redaction.view import View, without_escapes

_SHORTEST = 8
"""A shorter string holds no secret of any rule."""

_SHORT_JSON = 4_096
"""Up to here, the whole JSON is searched for keywords before its strings are."""

_ROUNDS = 3
"""Masking a secret can reveal another beside it: so often it is searched for again."""

_MASK = re.compile(MASK)

_JOINING = tuple("+/_.-")
_DIVIDING = ("", *"\"'`,;)]}>&<|")


class _Span(NamedTuple):
    """Characters of a string: *begin* is the first, *end* comes after the last."""

    begin: int
    end: int


class _Secret(NamedTuple):
    """Where a secret stands, its mask, and whether masking it may reveal another."""

    begin: int
    end: int
    mask: str
    reveals: bool


class _Reach(NamedTuple):
    """How many characters are searched at once, and how many before and after them."""

    piece: int
    before: int
    after: int


_WHOLE = _Reach(65_536, 4_096, 16_384)
"""Of a whole string: no private key is longer, even with line numbers and names of files."""

_BESIDE = _Reach(65_536, 128, 512)
"""Beside a mask. Whatever reaches the end of what is searched is searched for further."""

_LONG_WORD = 4_096
"""Of a longer word beside a mask, only so much is searched again."""

_GAP = 1_024
"""Two masks with less between them are searched around at once."""

_LONGEST = 1_048_576
"""A longer secret is masked up to here. HAZARD: searching further each time is quadratic."""


def mask(value: Any, json_text: str) -> Any:
    """Return *value*, which *json_text* holds as ASCII JSON, with every secret in it masked.

    Only strings change, and of them only the secrets; of two keys of an object that become equal,
    the later gets a number. A value without a secret is returned itself. Equal secrets get equal
    masks, so equal values stay equal. Masking is idempotent.
    """
    if len(json_text) <= _SHORT_JSON and not may_match(without_escapes(json_text)):
        return value
    masked = _mask_value(value)
    return value if masked == value else masked


# -- values and strings ------------------------------------------------------------------------


def _mask_value(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        return _mask_string(value, f'\n{key}="' if key else "\n")
    if isinstance(value, dict):
        return _mask_object(value)
    if isinstance(value, list):
        return [_mask_value(item, key) for item in value]
    return value


def _mask_object(value: dict[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    # [{"name": "DB_PASSWORD", "value": "…"}] is how containers list their environment.
    named = value.get("name", value.get("key", "")) if "value" in value else ""
    for key, item in value.items():
        name = unique = key if _is_name(key) else _mask_string(key)
        while unique in masked:
            unique = f"{name} ({len(masked)})"
        of_name = key == "value" and isinstance(named, str) and named
        masked[unique] = _mask_value(item, named if of_name else key)
    return masked


def _is_name(key: str) -> bool:
    """Return whether *key* is a short name: every rule needs more, or a separator."""
    return len(key) < LONG_WORD and key.isidentifier()


def _mask_string(string: str, lead: str = "\n") -> str:
    """Return *string* with its secrets masked. *lead* stands before it: a line, a name and `=`.

    {"AWS_SECRET_ACCESS_KEY": "…"} is as revealing as an assignment in a shell script.
    """
    if len(string) < _SHORTEST:
        return string
    spans, reach = [_Span(0, len(string))], _WHOLE
    for _ in range(_ROUNDS):
        secrets = (found for span in spans for found in _search(string, lead, span, reach))
        string, masks = _replace(string, secrets)
        if not masks:
            break
        spans, reach = _widened(string, masks), _BESIDE
    return string


def _search(string: str, lead: str, span: _Span, reach: _Reach) -> Iterator[_Secret]:
    """Yield the secrets of *string* that begin in *span*, in order, searching it by pieces."""
    begin, after = span.begin, reach.after
    while begin < span.end:
        limit = span.end if span.end - begin <= reach.piece + after else begin + reach.piece
        start, stop = max(0, begin - reach.before), min(len(string), limit + after)
        found = _secrets_between(string, lead if start == 0 else "", start, stop)
        taken = [secret for secret in found if begin <= secret.begin < limit]
        is_cut = taken and stop < len(string) and taken[-1].end > stop - _BESIDE.before
        if is_cut and after < _LONGEST:
            after *= 4
            continue
        yield from taken
        begin, after = max(limit, taken[-1].end if taken else 0), reach.after


def _secrets_between(string: str, lead: str, start: int, stop: int) -> list[_Secret]:
    """Return the secrets of *string* from *start* to *stop*, where *lead* is put before them."""
    view = View(lead + string[start:stop])
    skipped = len(lead) - start
    secrets: list[_Secret] = []
    for (first, last), rule, is_crossed in _find_secrets(view.text):
        begin, end = view.span(first, last)
        if begin >= len(lead):
            hidden = _mask_of(rule, view.text[first:last])
            reveals = is_crossed or _touches(view.text, first, last)
            secrets.append(_Secret(begin - skipped, end - skipped, hidden, reveals))
    return secrets


def _find_secrets(text: str) -> list[tuple[tuple[int, int], Rule, bool]]:
    """Return the secrets in *text* in order: where, by which rule, and whether another crosses.

    None overlaps another, or a mask.
    """
    places = find_places(text)
    if not places:
        return []
    masks = ((found.start(), found.end()) for found in _MASK.finditer(text))
    taken = [(-1, -1), *masks, (len(text) + 1, len(text) + 1)]
    rules: dict[tuple[int, int], Rule] = {}
    crossed: set[tuple[int, int]] = set()
    for rule, positions in places.items():
        for match in _matches(rule, positions, text):
            begin = match.start("lead" if rule.has_lead else "secret")
            end = match.end("secret")
            at = bisect(taken, (begin, end))
            before, after = taken[at - 1], taken[at]
            if begin < before[1] or after[0] < end:
                if before[1] < end and begin < after[0]:  # neither contains it
                    crossed.update((before, after))
            elif rule.check(match):
                taken.insert(at, (begin, end))
                rules[begin, end] = rule
    return [(span, rules[span], span in crossed) for span in taken if span in rules]


def _touches(text: str, begin: int, end: int) -> bool:
    """Return whether what is beside a secret may itself be one, once it stands beside a mask."""
    before, after = text[begin - 1 : begin], text[end : end + 1]
    return before.isalnum() or before in _JOINING or not (after in _DIVIDING or after.isspace())


def _matches(rule: Rule, positions: Sequence[int] | None, text: str) -> Iterator[re.Match[str]]:
    pattern = compiled(rule.pattern)
    if positions is None:
        yield from pattern.finditer(text)
        return
    end = 0
    for position in positions:
        match = pattern.match(text, position) if position >= end else None
        if match is not None:
            end = match.end()
            yield match


def _replace(string: str, secrets: Iterable[_Secret]) -> tuple[str, list[_Span]]:
    """Return *string* with *secrets* masked, and where the masks are that may reveal another."""
    # A list of the pieces would take several times the memory of the string.
    written = io.StringIO()
    masks: list[_Span] = []
    done = 0
    for secret in secrets:
        if secret.begin < done:  # two characters of a view can come from one escape
            continue
        written.write(string[done : secret.begin])
        begin = written.tell()
        written.write(secret.mask)
        done = secret.end
        if secret.reveals:
            masks.append(_Span(begin, begin + len(secret.mask)))
    if not done:
        return string, []
    written.write(string[done:])
    return written.getvalue(), masks


def _widened(string: str, masks: list[_Span]) -> list[_Span]:
    """Return what is beside *masks* in *string*: the rest of the word, and a little more."""
    spans: list[_Span] = []
    for begin, end in masks:
        first, last = max(0, begin - _LONG_WORD), min(len(string), end + _LONG_WORD)
        before = max(string.rfind(space, first, begin) for space in " \n")
        after = min(string.find(space, end, last) % (last + 1) for space in " \n")
        span = _Span(
            max(0, (first if before < 0 else before) - _BESIDE.before),
            min(len(string), after + _BESIDE.before),
        )
        if spans and span.begin <= spans[-1].end + _GAP:
            last_span = spans.pop()
            span = _Span(last_span.begin, max(span.end, last_span.end))
        spans.append(span)
    return spans


def _mask_of(rule: Rule, secret: str) -> str:
    if not rule.fingerprint:
        return f"[redacted:{rule.name}]"
    return f"[redacted:{rule.name}:{_fingerprint(secret)}]"


def _fingerprint(secret: str) -> str:
    """Return 32 bits of SHA-256: enough to tell keys apart, no help in guessing 80 random bits.

    Unkeyed, so that every store and every process gives a secret the same mask. What a person may
    have chosen gets no fingerprint: a dictionary attack would recover it from these bits.
    """
    import hashlib  # loads OpenSSL, which a conversation without secrets does not need

    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:8]
