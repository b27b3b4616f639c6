"""Masks secrets in JSON values: strings with the shape of a key, a token or a password in a URL.

A pure function of the value. `server/REDACTION.md` lists the rules, and what they do not mask.
"""

import json
import operator
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from segue.redaction.keywords import Candidates, find_candidates, present_in
from segue.redaction.rule import MASK, Rule, compiled
from segue.redaction.view import View

_SHORTEST = 8
"""A shorter string holds no secret of any rule."""

_LONG = 4_096

_ROUNDS = 3
"""Masking a secret can reveal another beside it: so often it is searched for again."""

_MASK = re.compile(MASK)


class _Secret(NamedTuple):
    """Where a secret stands in a view's text."""

    begin: int
    end: int
    rule: Rule


_JOINING = tuple("+/_.-")
_DIVIDING = ("", *"\"'`,;)]}>&<|")

_begin = operator.attrgetter("begin")


def mask(value: Any, json_text: str) -> Any:
    """Return *value*, which *json_text* holds as ASCII JSON, with every secret in it masked.

    Only strings change, and of them only the secrets; of two keys of an object that become equal,
    the later gets a number. A value without a secret is returned itself. Equal secrets get equal
    masks, so equal values stay equal. Masking is idempotent.
    """
    candidates = find_candidates(json_text)
    if not candidates:
        return value
    masked = _mask_value(value, candidates)
    return value if masked == value else masked


# -- values and strings ------------------------------------------------------------------------


def _mask_value(value: Any, candidates: Candidates, key: str = "") -> Any:
    if isinstance(value, str):
        return _mask_string(value, candidates, f'{key}="' if key else "")
    if isinstance(value, dict):
        return _mask_object(value, candidates)
    if isinstance(value, list):
        return [_mask_value(item, candidates, key) for item in value]
    return value


def _mask_object(value: dict[str, Any], candidates: Candidates) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    # [{"name": "DB_PASSWORD", "value": "…"}] is how containers list their environment.
    named = value.get("name", value.get("key", "")) if "value" in value else ""
    for key, item in value.items():
        name = unique = _mask_string(key, candidates)
        while unique in masked:
            unique = f"{name} ({len(masked)})"
        of_name = key == "value" and isinstance(named, str) and named
        masked[unique] = _mask_value(item, candidates, named if of_name else key)
    return masked


def _mask_string(string: str, candidates: Candidates, lead: str = "") -> str:
    """Return *string* with its secrets masked. *lead* stands before it: a name and `=`.

    {"AWS_SECRET_ACCESS_KEY": "…"} is as revealing as an assignment in a shell script.
    """
    if len(string) < _SHORTEST:
        return string
    for number in range(_ROUNDS):
        view = View(lead + string)
        if number:
            candidates = find_candidates(json.dumps(lead + string))
        elif len(string) < _LONG:
            # For a long string, searching for the patterns costs no more than for the keywords.
            candidates = present_in(view.text, candidates)
        secrets, reveals = _find_secrets(view.text, candidates)
        string = _replace(lead + string, view, secrets, len(lead))
        if not reveals:
            break
    return string


def _find_secrets(text: str, candidates: Candidates) -> tuple[list[_Secret], bool]:
    """Return the secrets in *text* in order, and whether masking them may reveal another.

    None overlaps another, or a mask.
    """
    masks = [(found.start(), found.end()) for found in _MASK.finditer(text)]
    taken = masks.copy()
    secrets: list[_Secret] = []
    reveals = False
    for rule, keywords in candidates.items():
        for match in _matches(rule, keywords, text):
            begin, end = match.start("lead" if rule.has_lead else "secret"), match.end("secret")
            at = bisect(taken, (begin, end))
            if _overlaps(taken, at, begin, end):
                reveals = reveals or not _is_inside(taken, at, begin, end)
            elif rule.check(match):
                taken.insert(at, (begin, end))
                secrets.append(_Secret(begin, end, rule))
    secrets.sort(key=_begin)
    reveals = reveals or any(_touches(text, secret.begin, secret.end) for secret in secrets)
    return secrets, reveals and bool(secrets)


def _overlaps(taken: list[tuple[int, int]], at: int, begin: int, end: int) -> bool:
    return bool(at and taken[at - 1][1] > begin) or (at < len(taken) and taken[at][0] < end)


def _is_inside(taken: list[tuple[int, int]], at: int, begin: int, end: int) -> bool:
    return any(first <= begin and end <= last for first, last in taken[max(0, at - 1) : at + 1])


def _touches(text: str, begin: int, end: int) -> bool:
    """Return whether what is beside a secret may itself be one, once it stands beside a mask."""
    before, after = text[begin - 1 : begin], text[end : end + 1]
    return before.isalnum() or before in _JOINING or not (after in _DIVIDING or after.isspace())


def _matches(rule: Rule, keywords: Sequence[str], text: str) -> Iterator[re.Match[str]]:
    pattern = compiled(rule.pattern)
    if not rule.keyword_first or len(rule.keywords) == 1:
        yield from pattern.finditer(text)
        return
    for keyword in keywords:
        at = text.find(keyword)
        while at >= 0:
            match = pattern.match(text, at)
            if match is not None:
                yield match
            end = at if match is None else match.end()
            at = text.find(keyword, max(end, at + len(keyword)))


def _replace(string: str, view: View, secrets: list[_Secret], lead: int) -> str:
    pieces: list[str] = []
    done = lead
    for begin, end, rule in secrets:
        raw_begin, raw_end = view.span(begin, end)
        if raw_begin >= done:
            pieces += string[done:raw_begin], _mask_of(rule, view.text[begin:end])
            done = raw_end
    return "".join(pieces) + string[done:]


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
