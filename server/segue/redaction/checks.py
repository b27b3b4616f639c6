"""Decides whether what has the shape of a secret is one: not a placeholder, a word or a hash."""

import functools
import re
from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase, digits
from typing import NamedTuple

Check = Callable[[re.Match[str]], bool]
"""Takes a match with the group `secret`; returns whether to mask it."""

_SAMPLE = 64
"""As many characters of a secret are enough to tell random letters from words."""

_KINDS = bytes.maketrans(
    (ascii_lowercase + ascii_uppercase + digits).encode(), b"a" * 26 + b"A" * 26 + b"0" * 10
)
"""Maps a letter or a digit to its kind: `a`, `A` or `0`."""

_CHANGES = (b"aA", b"Aa", b"a0", b"0a", b"A0", b"0A")

_ONE_REPEATED = re.compile(r"xxxxxx|\*\*\*|\.\.\.")
_PLACEHOLDER = re.compile(
    rf"{_ONE_REPEATED.pattern}|your|example|placeholder|redacted|change[-_]?me|insert|replace"
    r"|dummy|sample|[-_]here|keyhere|tokenhere|secrethere|my[-_](?:token|secret|key)|my-api"
)
_IDENTIFIER = re.compile(r"@?[A-Za-z_]\w*+(?:(?:\.|::|->|\?\.|-)[A-Za-z_]\w*+)++|[A-Za-z_]++[0-9]?")
_UUID_LENGTH = 36
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{24,}")

_COMMAND = 2_000
_LOOK_BACK = 80
"""So many characters before a password or a value are searched for its command or name."""

_IN_NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- "
_STAGES = ("production", "prod", "development", "dev", "staging", "test", "live", "value")
_NO_SEPARATORS = str.maketrans("", "", "_-. ")
_PASSWORDS = ("password", "passwd", "passphrase", "pwd", "dbpass", "userpass", "apipass")
_KEYS = (
    *("token", "secret", "secretkey", "apikey", "accesskey", "authkey", "privatekey", "accountkey"),
    *("encryptionkey", "signingkey", "masterkey", "clientkey", "servicekey", "appkey", "adminkey"),
    *("writekey", "licensekey", "sharedkey", "sessionkey", "secretvalue", "credential", "jwt"),
    *("credentials", "bearer", "deploykey", "integrationkey", "subscriptionkey", "functionkey"),
    *("connectionstring", "authorization", "applicationkey", "serverkey", "userkey"),
    *("consumerkey", "developerkey", "storagekey", "presharedkey", "accesscode"),
)
_PUBLIC = tuple(
    f"{word}{kind}"
    for word in ("public", "next", "page", "continuation", "cursor", "cancel", "sync")
    for kind in ("key", "token", "keytoken")
)
_STRONG = ("api", "auth", "access", "secret", "bearer", "client", "private", "deploy", "license")
_PATHS = ("/", "./", "~/", "http:", "https:", "file:", "sha1-", "sha256-", "sha384-", "sha512-")


def is_shaped(match: re.Match[str]) -> bool:
    """Return whether the secret is not one letter repeated, as in `AKIAXXXXXXXXXXXXXXXX`."""
    return _ONE_REPEATED.search(match["secret"].lower()) is None


def is_filled_in(match: re.Match[str]) -> bool:
    """Return whether the secret is no placeholder."""
    return _PLACEHOLDER.search(match["secret"].lower()) is None


def is_random(match: re.Match[str]) -> bool:
    """Return whether the secret is no placeholder and has random parts, unlike `hvs.in-a-vault`."""
    changes, length = _changes(match["secret"]), min(len(match["secret"]), _SAMPLE)
    return changes * 3 >= length or (changes * 10 >= length and is_filled_in(match))


def is_random_text(match: re.Match[str]) -> bool:
    """Return whether the secret is random and has letters and digits."""
    return _has_both(match["secret"]) and is_random(match)


def is_numbered(match: re.Match[str]) -> bool:
    """Return whether the secret is random or has long numbers, unlike `xoxo-hugs-and-kisses`."""
    count = sum(map(str.isdigit, match["secret"]))
    return (count >= 8 and is_filled_in(match)) or is_random_text(match)


def is_random_word(match: re.Match[str]) -> bool:
    """Return whether the secret is random, and begins a word or is mixed.

    After a letter, what may be a hash or the rest of a word does not count.
    """
    if _follows(match) and not _is_mixed(match["secret"]):
        return False
    return is_random(match)


def is_mixed_word(match: re.Match[str]) -> bool:
    """Return whether the secret is random, begins a word, and is mixed: no hash is."""
    return is_filled_in(match) and not _follows(match, "_.-") and _is_mixed(match["secret"])


def is_whole_word(match: re.Match[str]) -> bool:
    """Return whether the secret is random and no part of a longer name, as `my-api-1f0c…` is."""
    return is_random(match) and not _follows(match, "_.-")


def is_mailgun(match: re.Match[str]) -> bool:
    """Return whether `key-…` is a key: what may be a hash is one only as in `api:key-…`."""
    is_hash = _HEX.fullmatch(match["secret"], 4) is not None
    if is_hash and not match.string.endswith("api:", 0, match.start("secret")):
        return False
    return not _follows(match, "_.-/") and is_random(match)


def is_private_key(match: re.Match[str]) -> bool:
    """Return whether most of the group `body` is lines of a key."""
    body = match["body"]
    return sum(map(len, _KEY_LINE.findall(body))) * 5 >= len(body) * 2 and len(body) >= 32


def is_curl(match: re.Match[str]) -> bool:
    """Return whether `-u name:password` belongs to `curl`."""
    begin = match.start()
    line = match.string[max(0, begin - _COMMAND) : begin].rpartition("\n")[2]
    return "curl" in line and is_password(match)


def is_basic(match: re.Match[str]) -> bool:
    """Return whether the secret is `user:password` in base64."""
    import binascii  # only what looks like credentials needs it

    secret = match["secret"]
    try:
        decoded = binascii.a2b_base64(secret + "=" * (-len(secret) % 4))
    except binascii.Error:
        return False
    return b":" in decoded and all(32 <= byte < 127 for byte in decoded)


def is_password(match: re.Match[str]) -> bool:
    """Return whether the secret is no placeholder or identifier, and has letters and digits."""
    secret = match["secret"]
    return is_filled_in(match) and _changes(secret) > 0 and not _is_identifier(secret)


def is_parameter(match: re.Match[str]) -> bool:
    """Return whether the value of a parameter in a URL is random, or is that of a password."""
    if match["name"].lower().endswith(_PASSWORDS):
        return is_password(match)
    return len(match["secret"]) >= 16 and is_random_text(match)


def is_assigned(match: re.Match[str]) -> bool:
    """Return whether a value is assigned to a name that says that it is secret.

    In capitals, as in the environment, the name is enough. Otherwise the value must be random or,
    after the name of a password, have letters and digits.
    """
    begin = match.start()
    before = match.string[max(0, begin - _LOOK_BACK) : begin]
    name = _meaning(_name_before(before, match[0][0]))
    secret = match["secret"]
    if name is None or secret.startswith(_PATHS) or not is_password(match):
        return False
    if name.is_enough:
        return any(map(secret.__contains__, digits))
    if len(secret) < 16 or name.is_public:
        return False
    if len(secret) == _UUID_LENGTH and _UUID.fullmatch(secret):
        return name.is_strong
    # It is no placeholder, which leaves the rest of `is_random_text`.
    return _changes(secret) * 10 >= min(len(secret), _SAMPLE) and _has_both(secret)


class _Meaning(NamedTuple):
    """What a name says about the value that is assigned to it."""

    is_enough: bool
    """The value is masked if it has a digit."""

    is_public: bool
    is_strong: bool
    """A UUID counts as a secret."""


@functools.lru_cache(maxsize=512)
def _meaning(name: str) -> _Meaning | None:
    """Return what *name* says about its value, or None if that is no secret."""
    compact = _without_stage(name.lower()).translate(_NO_SEPARATORS)
    of_password = compact.endswith(_PASSWORDS)
    if not (of_password or compact.endswith(_KEYS) or name.endswith(("_PAT", "_auth", "_AUTH"))):
        return None
    return _Meaning(
        of_password or name.isupper(),
        compact.endswith(_PUBLIC),
        any(word in compact for word in _STRONG),
    )


def _without_stage(name: str) -> str:
    """Return *name* without a number or a stage at its end: `token` for `token_prod_2`."""
    name = name.rstrip("0123456789_-.")
    for stage in _STAGES:
        if name.endswith(stage):
            return name.removesuffix(stage).rstrip("_-.")
    return name


def _name_before(before: str, separator: str) -> str:
    """Return the name at the end of *before* to which a value is assigned, or an empty string."""
    before = before.rstrip(" \t")
    unquoted = before.rstrip("\"'`")
    quoted = unquoted != before
    if separator == "," and not quoted:
        return ""
    if unquoted.endswith("]"):
        if "[redacted:" in unquoted:
            return ""
        unquoted = unquoted.rstrip("\"'`]")
    lead = unquoted.rstrip(_IN_NAMES)
    name = unquoted[len(lead) :]
    if lead.endswith("::") or (separator == ">" and not lead.endswith("<")):  # a type, not a name
        return ""
    # Unquoted, only the last word is the name; a quoted one may have spaces: "API key".
    return name if quoted else name.strip(" ").rpartition(" ")[2]


def _is_identifier(secret: str) -> bool:
    """Return whether *secret* is a name in code or words: `process.env.TOKEN_1`, `in-a-vault`."""
    if _IDENTIFIER.fullmatch(secret) is None:
        return False
    return _changes(secret) * 4 < len(secret) or ("-" not in secret and len(secret) < _SAMPLE // 2)


def _changes(secret: str) -> int:
    return sum(map(_kinds(secret).count, _CHANGES))


def _has_both(secret: str) -> bool:
    kinds = _kinds(secret)
    count = kinds.count(b"0")
    return (1 if len(kinds) >= 32 else 2) <= count <= len(kinds) - 2 and len(set(secret)) >= 8


def _is_mixed(secret: str) -> bool:
    if _HEX.fullmatch(secret[_SAMPLE // 8 :]):
        return False
    kinds = _kinds(secret)
    return _changes(secret) * 20 >= len(kinds) * (5 if kinds.count(b"0") >= 2 else 7)


def _kinds(secret: str) -> bytes:
    """Return the kinds of the characters of *secret*, which are found faster in bytes."""
    return secret[:_SAMPLE].encode("ascii", "replace").translate(_KINDS)


def _follows(match: re.Match[str], characters: str = "") -> bool:
    begin = match.start("secret")
    before = match.string[begin - 1] if begin else " "
    return before.isalnum() or before in characters
