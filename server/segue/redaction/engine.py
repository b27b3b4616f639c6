"""Masks secrets in JSON values: strings with the shape of a key, a token or a password in a URL.

A pure function of the value. `server/REDACTION.md` lists the rules, and what they do not mask.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

from segue.redaction.rules import LONG_WORD, MASK, RULES, Rule

__all__ = ["RULES", "Rule", "mask"]

Candidates = Sequence[tuple[str, Rule]]
"""The rules that may match, each with the keyword that was found."""

_SHORTEST = 8
"""A shorter string holds no secret of any rule."""

_ESCAPE_INTERVAL = 32
"""If escapes are more frequent than one in this many characters, removing them first is faster."""

_LONG = 4_096
"""From this length on, searching for a pattern costs no more than searching for its keyword."""

_IN_WORDS = [(keyword, rule) for rule in RULES if rule.is_word for keyword in rule.keywords]
_ANYWHERE = [(keyword, rule) for rule in RULES if not rule.is_word for keyword in rule.keywords]


def mask(value: Any, json_text: str) -> Any:
    """Return *value*, which *json_text* holds as ASCII JSON, with every secret in it masked.

    Only strings change, and of them only the secrets; keys of objects are kept. A value without a
    secret is returned itself. Equal secrets get equal masks, so equal values stay equal. Masking is
    idempotent.
    """
    candidates = _find_candidates(json_text)
    if not candidates:
        return value
    masked = _mask_value(value, candidates)
    return value if masked == value else masked


def _find_candidates(json_text: str) -> Candidates:
    if json_text.count(r"\u") * _ESCAPE_INTERVAL > len(json_text):
        # No keyword contains an escaped character.
        json_text = _compile(r"(?:\\u[0-9a-f]{4})+").sub(" ", json_text)
    # Most words are too short for a token: searching only the others halves the cost.
    words = " ".join([word for word in json_text.split() if len(word) >= LONG_WORD])
    found = [candidate for candidate in _ANYWHERE if candidate[0] in json_text]
    if words:
        found += [candidate for candidate in _IN_WORDS if candidate[0] in words]
    return sorted(found, key=lambda candidate: RULES.index(candidate[1])) if found else ()


def _mask_value(value: Any, candidates: Candidates, key: str | None = None) -> Any:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        if key is None:
            return _mask_string(value, candidates)
        return _mask_assigned(key, value, candidates)
    if isinstance(value, dict):
        return {name: _mask_value(item, candidates, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_value(item, candidates) for item in value]
    return value


def _mask_assigned(key: str, string: str, candidates: Candidates) -> str:
    # {"AWS_SECRET_ACCESS_KEY": "…"} is as revealing as an assignment in a shell script.
    assigned = f'{key}="'
    masked = _mask_string(assigned + string, candidates)
    if masked.startswith(assigned):
        return masked.removeprefix(assigned)
    return _mask_string(string, candidates)


def _mask_string(string: str, candidates: Candidates) -> str:
    if len(string) < _LONG:
        candidates = [(keyword, rule) for keyword, rule in candidates if keyword in string]
    for rule in dict.fromkeys(rule for _, rule in candidates):
        string = _compile(rule.pattern).sub(functools.partial(_replace, rule), string)
    return string


def _replace(rule: Rule, match: re.Match[str]) -> str:
    secret = match["secret"]
    if _compile(MASK).fullmatch(secret):
        return match[0]
    begin = match.start("secret") - match.start()
    return match[0][:begin] + _mask_of(rule, secret) + match[0][begin + len(secret) :]


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


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    # Only once its keyword was found: compiling all takes a tenth of a server's start.
    return re.compile(pattern, re.ASCII)
