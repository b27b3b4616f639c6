"""Masks secrets in JSON values: strings with the shape of a key, a token or a password in a URL.

Pure: a value in, a value out. `server/REDACTION.md` lists the rules and says what they leave alone.
The shapes are those that the providers publish, and those of the rules that scanners share.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """One kind of secret: what it is called, and how it is found."""

    name: str
    about: str
    """Whose it is, or where it stands, for people."""

    keywords: tuple[str, ...]
    """Printable ASCII, one of which is in every text that the pattern matches: found at once."""

    pattern: str
    """Its group `secret` is what is masked."""

    fingerprint: bool = True
    """Whether the mask says which one it was; never of what a person may have chosen."""

    is_word: bool = True
    """Whether all that the pattern matches is a word of at least `_LONG_WORD` characters."""


Suspects = Sequence[tuple[str, Rule]]
"""The rules that may find something, each with the keyword that was seen."""

_SHORTEST = 8
"""What is shorter holds no secret of any rule."""

_LONG_WORD = 20
"""As long as the shortest token, an AWS access key id. JSON's escapes only make words longer."""

_SELDOM = 32
"""Where an escape comes in fewer characters than this, a text is searched faster without them."""

_LONG = 4_096
"""From here on, searching for a pattern costs no more than searching for its keyword."""

MASK = r"\[redacted:[a-z0-9-]+(?::[0-9a-f]{8})?\]"
"""What every mask looks like. No rule matches inside one, so masking twice is masking once."""


def mask(value: Any, text: str) -> Any:
    """Return *value*, which *text* holds as ASCII JSON, with each secret in its strings masked.

    Nothing else changes, and without a secret it is *value* itself that is returned. Keys are kept.
    The same secret gets the same mask always, so equal values stay equal.
    """
    suspects = _suspects(text)
    if not suspects:
        return value
    masked = _masked(value, suspects)
    return value if masked == value else masked


def _suspects(text: str) -> Suspects:
    if text.count(r"\u") * _SELDOM > len(text):
        text = _compiled(r"(?:\\u[0-9a-f]{4})+").sub(" ", text)  # no keyword has such a character
    # Most words are too short for a token: to look only through the others halves the cost.
    words = " ".join([word for word in text.split() if len(word) >= _LONG_WORD])
    found = [suspect for suspect in _ANYWHERE if suspect[0] in text]
    if words:
        found += [suspect for suspect in _IN_WORDS if suspect[0] in words]
    return sorted(found, key=lambda suspect: RULES.index(suspect[1])) if found else ()


def _masked(value: Any, suspects: Suspects, key: str | None = None) -> Any:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        return _masked_text(value, suspects) if key is None else _masked_at(key, value, suspects)
    if isinstance(value, dict):
        return {name: _masked(item, suspects, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, suspects) for item in value]
    return value


def _masked_at(key: str, text: str, suspects: Suspects) -> str:
    # {"AWS_SECRET_ACCESS_KEY": "…"} says as much as a line of shell does.
    assigned = f'{key}="'
    masked = _masked_text(assigned + text, suspects)
    if masked.startswith(assigned):
        return masked.removeprefix(assigned)
    return _masked_text(text, suspects)


def _masked_text(text: str, suspects: Suspects) -> str:
    if len(text) < _LONG:
        suspects = [(keyword, rule) for keyword, rule in suspects if keyword in text]
    for rule in dict.fromkeys(rule for _, rule in suspects):
        text = _compiled(rule.pattern).sub(functools.partial(_replacement, rule), text)
    return text


def _replacement(rule: Rule, match: re.Match[str]) -> str:
    secret = match["secret"]
    if _compiled(MASK).fullmatch(secret):
        return match[0]
    begin = match.start("secret") - match.start()
    return match[0][:begin] + _mask_of(rule, secret) + match[0][begin + len(secret) :]


def _mask_of(rule: Rule, secret: str) -> str:
    if not rule.fingerprint:
        return f"[redacted:{rule.name}]"
    return f"[redacted:{rule.name}:{_fingerprint(secret)}]"


def _fingerprint(secret: str) -> str:
    """Return 32 bits of SHA-256: they tell keys apart, and are no help in guessing 80 random bits.

    No key, or every store and every process would give one secret another mask. What a person may
    have chosen gets no fingerprint at all: a dictionary would find it from these bits.
    """
    import hashlib  # loads OpenSSL, which a conversation without secrets does not need

    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:8]


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Not before its keyword was seen: to compile them all is a tenth of a server's start.
    return re.compile(pattern, re.ASCII)


def _after(lead: str, inside: str = "A-Za-z0-9") -> str:
    r"""Return the pattern of a *lead* that begins a word or follows an escape: `\n`, `%3D`, `[1m`.

    What comes before is looked at last: a pattern that begins with letters is searched for fast.
    Where *inside* has all that the secret is made of, no run of it is ever tried twice.
    """
    escaped = rf"(?<=\\[nrt]{lead})|(?<=%[0-9A-Fa-f]{{2}}{lead})|(?<=[0-9\[]m{lead})"
    return rf"{lead}(?:(?<![{inside}]{lead})|{escaped})"


def _token(
    name: str, about: str, keywords: str, lead: str, rest: str, inside: str = "A-Za-z0-9"
) -> Rule:
    """Return the rule of a token that is known by its own shape, whole."""
    pattern = rf"(?P<secret>{_after(lead, inside)}{rest})(?![A-Za-z0-9])"
    return Rule(name, about, tuple(keywords.split()), pattern)


_DIGITS = "[MNO][DTjz][AEIMQUYcgk][w-z0-5]"
"""Three decimal digits in base64."""

_PRIVATE_KEY = r"[A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----"
_NEWLINE = r"(?:\s|\\{1,4}[nrt]|[\"'+,])"
_BASE64 = "[A-Za-z0-9+/=]"
_QUOTES = r"""["'\\]{0,4}"""
_ASSIGNED = rf"{_QUOTES}[ \t]{{0,8}}[:=]>?[ \t]{{0,8}}{_QUOTES}"
_IN_URL = r"""\s/?#"'<>`\\"""
_ENDING = r"""\s\x1b"'`,;&|$(){}<>\[\]\\"""
_END = r"""(?=$|[\s\x1b"'`,;&|)\]}<\\])"""

RULES: tuple[Rule, ...] = (
    # First of all, so that no other rule finds something within.
    Rule(
        "private-key",
        "private keys: PEM, OpenSSH, PGP",
        ("PRIVATE KEY",),
        rf"(?P<secret>-----BEGIN {_PRIVATE_KEY}"
        rf"{_NEWLINE}*+(?:[A-Za-z-]++:[^\n\\]{{0,200}}+{_NEWLINE}++){{0,8}}+{_BASE64}{{24}}"
        rf"(?:[^-]*+(?:-(?!----)[^-]*+)*+-----END {_PRIVATE_KEY}"
        rf"|{_BASE64}*+(?:{_NEWLINE}++{_BASE64}{{20,}}+)*+))",
        is_word=False,
    ),
    _token(
        "age-key",
        "age",
        "AGE-SECRET-KEY-1",
        "AGE-SECRET-KEY-1",
        "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
    ),
    # Of model services.
    _token("anthropic-key", "Anthropic", "sk-ant-", "sk-ant-", r"[a-z0-9]{2,12}-[\w-]{40,}+"),
    _token("openrouter-key", "OpenRouter", "sk-or-v1-", "sk-or-v1-", "[0-9a-f]{64}"),
    _token(
        "openai-key",
        "OpenAI, and others with the same shape",
        "sk-",
        "sk-",
        r"(?:(?:proj|svcacct|admin|None)-[\w-]{40,}+|[A-Za-z0-9]{32,}+)",
    ),
    _token("google-api-key", "Google", "AIza", "AIza", r"[\w-]{35}(?![\w-])"),
    _token("huggingface-token", "Hugging Face", "hf_", "hf_", "[A-Za-z0-9]{34,}+"),
    _token("groq-key", "Groq", "gsk_", "gsk_", "[A-Za-z0-9]{52}"),
    _token("xai-key", "xAI", "xai-", "xai-", "[A-Za-z0-9]{80}"),
    _token("replicate-token", "Replicate", "r8_", "r8_", "[A-Za-z0-9]{37}"),
    _token("perplexity-key", "Perplexity", "pplx-", "pplx-", "[A-Za-z0-9]{48}"),
    _token("nvidia-key", "NVIDIA", "nvapi-", "nvapi-", r"[\w-]{60,}+"),
    _token("langsmith-key", "LangSmith", "lsv2_", "lsv2_", "(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    # Of forges and package registries.
    _token("github-token", "GitHub", "ghp_ gho_ ghu_ ghs_ ghr_", "gh[pousr]_", "[A-Za-z0-9]{36,}+"),
    _token(
        "github-fine-grained-token",
        "GitHub",
        "github_pat_",
        "github_pat_",
        "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    ),
    _token(
        "gitlab-token",
        "GitLab",
        "glpat- gldt- glrt- glptt- glcbt- glsoat- gloas- glimt- glagent-",
        "gl",
        r"(?:pat|dt|rt|ptt|cbt|soat|oas|imt|agent)-[\w-]{20,}+(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?+",
    ),
    _token("npm-token", "npm", "npm_", "npm_", "[A-Za-z0-9]{36}"),
    _token("pypi-token", "PyPI", "pypi-Ag", "pypi-Ag", r"[\w-]{50,}+"),
    _token("rubygems-key", "RubyGems", "rubygems_", "rubygems_", "[0-9a-f]{48}"),
    _token("docker-token", "Docker Hub", "dckr_pat_ dckr_oat_", "dckr_[po]at_", r"[\w-]{27,}+"),
    # Of clouds.
    _token("aws-access-key-id", "AWS", "AKIA ASIA", "A[KS]IA", "[A-Z2-7]{16}"),
    Rule(
        "aws-secret-key",
        "AWS, by its name",
        ("secret_access_key", "ecretAccessKey", "SECRET_ACCESS_KEY"),
        r"[Ss](?:ecret_access_key|ecretAccessKey|ECRET_ACCESS_KEY)"
        rf"{_ASSIGNED}(?P<secret>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
        is_word=False,
    ),
    Rule(
        "aws-session-token",
        "AWS, by its name",
        ("session_token", "essionToken", "SESSION_TOKEN"),
        r"[Ss](?:ession_token|essionToken|ESSION_TOKEN)"
        rf"{_ASSIGNED}(?P<secret>[A-Za-z0-9/+]{{100,}}+={{0,2}})",
        is_word=False,
    ),
    Rule(
        "azure-storage-key",
        "Azure Storage",
        ("AccountKey=",),
        r"AccountKey=(?P<secret>[A-Za-z0-9+/]{86}==)",
    ),
    Rule(
        "azure-client-secret",
        "Azure, Entra ID: all but the first six characters",
        ("Q~",),
        r"Q~(?<=[\w~.-]{3}[0-9]Q~)(?P<secret>[\w~.-]{31,34})(?![\w~.-])",
    ),
    _token("google-oauth-token", "Google", "ya29.", r"ya29\.", r"[\w-]{20,}+(?:\.[\w-]++)*+"),
    _token("google-oauth-secret", "Google", "GOCSPX-", "GOCSPX-", r"[\w-]{28}(?![\w-])"),
    _token("digitalocean-token", "DigitalOcean", "_v1_", "do[opr]_v1_", "[0-9a-f]{64}"),
    _token("heroku-key", "Heroku", "HRKU-AA", "HRKU-AA", r"[\w-]{58}"),
    _token("databricks-token", "Databricks", "dapi", "dapi", "[0-9a-f]{32}(?:-[0-9])?+"),
    _token("supabase-token", "Supabase", "sbp_", "sbp_", "[0-9a-f]{40}"),
    _token(
        "planetscale-token",
        "PlanetScale",
        "pscale_",
        "pscale_",
        r"(?:tkn|pw|oauth)_[\w.=-]{32,}+",
    ),
    _token("vault-token", "HashiCorp Vault", "hvs. hvb.", r"hv[sb]\.", r"[\w-]{24,}+"),
    Rule(
        "terraform-token",
        "HCP Terraform: all but the id before the first dot",
        (".atlasv1.",),
        r"\.atlasv1\.(?<=[A-Za-z0-9]{14}\.atlasv1\.)(?P<secret>[\w-]{60,}+)",
    ),
    _token("pulumi-token", "Pulumi", "pul-", "pul-", "[0-9a-f]{40}"),
    _token("tailscale-key", "Tailscale", "tskey-", "tskey-", r"[a-z]{3,10}-[\w-]{16,}+"),
    _token("doppler-token", "Doppler", "dp.", r"dp\.", r"(?:pt|st|ct|sa)\.[\w.-]{40,}+"),
    # Of services for messages, payments and work.
    _token(
        "slack-token",
        "Slack",
        "xox xapp-",
        "x(?:ox|ap)",
        r"(?:[a-z]-|p-[0-9]-|e\.xox[bp]-)[A-Za-z0-9%-]{20,}+",
    ),
    Rule(
        "slack-webhook",
        "Slack",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[\w/-]{30,}+)",
    ),
    _token(
        "discord-token",
        "Discord bots",
        ".",
        _DIGITS,
        rf"(?:{_DIGITS}){{5}}[A-Za-z0-9]{{0,3}}\.[\w-]{{6}}\.[\w-]{{27,}}+",
        inside="A-Za-z0-9_-",
    ),
    Rule(
        "discord-webhook",
        "Discord",
        ("/api/webhooks/",),
        r"/api/webhooks/[0-9]{17,20}/(?P<secret>[\w-]{60,}+)",
    ),
    Rule(
        "telegram-token",
        "Telegram bots: all but the bot's id",
        (":AA",),
        r":(?P<secret>AA(?<=[0-9]{8}:AA)[\w-]{33})(?![\w-])",
    ),
    _token("stripe-key", "Stripe", "_live_ _test_", "[sr]k_", "(?:live|test)_[A-Za-z0-9]{16,}+"),
    _token("stripe-webhook-secret", "Stripe", "whsec_", "whsec_", "[A-Za-z0-9+/]{32,}+={0,2}"),
    _token("square-token", "Square", "sq0", "sq0", r"(?:atp|csp)-[\w-]{22,}+"),
    _token(
        "shopify-token",
        "Shopify",
        "shpat_ shpca_ shppa_ shpss_",
        "shp[acps][ats]_",
        "[0-9a-fA-F]{32}",
    ),
    _token("sendgrid-key", "SendGrid", "SG.", r"SG\.", r"[\w-]{22}\.[\w-]{43}(?![\w-])"),
    _token("mailgun-key", "Mailgun", "key-", "key-", "[0-9a-f]{32}"),
    _token("twilio-key", "Twilio", "SK", "SK", "[0-9a-f]{32}"),
    _token("linear-key", "Linear", "lin_", "lin_", "(?:api|oauth)_[A-Za-z0-9]{40,}+"),
    _token("notion-token", "Notion", "ntn_", "ntn_", "[A-Za-z0-9]{40,}+"),
    _token("notion-secret", "Notion, before 2024", "secret_", "secret_", "[A-Za-z0-9]{43}"),
    _token("figma-token", "Figma", "figd_", "figd_", r"[\w-]{40,}+"),
    _token("atlassian-token", "Atlassian", "ATATT3", "ATATT3", r"[\w-]{100,}+=?[0-9A-F]{0,8}"),
    _token("postman-key", "Postman", "PMAK-", "PMAK-", "[0-9a-f]{24}-[0-9a-f]{34}"),
    _token("grafana-token", "Grafana", "glsa_", "glsa_", "[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    _token("newrelic-key", "New Relic", "NRAK-", "NRAK-", "[A-Z0-9]{27}"),
    _token("sentry-token", "Sentry", "sntrys_ sntryu_", "sntry[su]_", "[A-Za-z0-9+/=_-]{60,}+"),
    _token(
        "jwt",
        "JSON Web Tokens, signed",
        "eyJ",
        "eyJ",
        r"[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]{20,}+",
        inside="A-Za-z0-9_-",
    ),
    # By where they stand. These come last: a shape of its own says more.
    Rule(
        "bearer-token",
        "`Bearer …`",
        ("earer ",),
        r"earer {1,4}(?=[A-Za-z._~+/-]*+[0-9])"
        rf"(?P<secret>[A-Za-z0-9._~+/-]{{16,}}+={{0,2}}){_END}",
        fingerprint=False,
        is_word=False,
    ),
    Rule(
        "basic-credentials",
        "`Authorization: Basic …`",
        ("asic ", "ASIC "),
        rf"[Aa](?:uthorization|UTHORIZATION){_ASSIGNED}(?:[Bb]asic|BASIC) {{1,4}}"
        r"(?P<secret>[A-Za-z0-9+/]{8,}+={0,2})",
        fingerprint=False,
        is_word=False,
    ),
    Rule(
        "api-key-header",
        "`X-Api-Key: …`",
        ("pi-key", "PI-KEY", "pi-Key", "PI-Key"),
        rf"[Xx]-(?:api-key|API-KEY|Api-Key|API-Key){_ASSIGNED}(?=[A-Za-z._~+/-]*+[0-9])"
        rf"(?P<secret>[A-Za-z0-9._~+/-]{{16,}}+={{0,2}}){_END}",
        fingerprint=False,
        is_word=False,
    ),
    Rule(
        "url-password",
        "`scheme://user:…@host`",
        ("://",),
        rf"://(?:{MASK}|[^{_IN_URL}@:\[\]])*+:"
        rf"(?!\$\{{|\$[A-Z_]+@|\{{|%[sr(]|(?:[Pp]ass|pw|pwd|[Pp]assword|PASSWORD|secret|[*x.]+)@)"
        rf"(?P<secret>[^{_IN_URL}]{{1,512}})@(?=[\w.\[-])",
        fingerprint=False,
        is_word=False,
    ),
    Rule(
        "env-secret",
        "`…_PASSWORD=`, `…_TOKEN=`, `…_SECRET=`, `…_API_KEY=` and their like, in capitals",
        ("PASSWORD", "PASSWD", "_PWD", "SECRET", "TOKEN", "API_KEY", "ACCESS_KEY", "_AUTH_KEY"),
        r"(?:PASSWORD|PASSWD|_PWD|SECRET(?:_KEY)?|TOKEN|API_KEY|ACCESS_KEY|_AUTH_KEY)"
        rf"(?:=|{_QUOTES} {{0,4}}[:=] {{0,4}}(?=[\"'\\])){_QUOTES}"
        rf"(?![/.~]|https?:)(?=[^{_ENDING}0-9]{{0,32}}+[0-9])(?P<secret>[^{_ENDING}]{{8,256}}+)"
        rf"{_END}",
        fingerprint=False,
        is_word=False,
    ),
)
"""Every rule, in the order in which they are applied."""

_IN_WORDS = [(keyword, rule) for rule in RULES if rule.is_word for keyword in rule.keywords]
_ANYWHERE = [(keyword, rule) for rule in RULES if not rule.is_word for keyword in rule.keywords]
