"""The rules of redaction: each kind of secret, with the keywords and the pattern that find it.

`server/REDACTION.md` lists the rules. The shapes are those that the providers publish, and those of
the rules that scanners share.
"""

import re
from typing import NamedTuple


class Rule(NamedTuple):
    """One kind of secret: its name, and how it is found."""

    name: str
    about: str
    """The provider, or the context in which it is found."""

    keywords: tuple[str, ...]
    """Printable ASCII. Every match contains one of them: they are searched for first."""

    pattern: str
    """Its group `secret` is what is masked. Compiled with `re.ASCII`."""

    fingerprint: bool = True
    """Whether the mask carries a fingerprint; never for what a person may have chosen."""

    is_word: bool = True
    """Whether every match is one word of at least `LONG_WORD` characters."""


LONG_WORD = 20
"""As long as the shortest token, an AWS access key id. JSON's escapes only make words longer."""

MASK = r"\[redacted:[a-z0-9-]+(?::[0-9a-f]{8})?\]"
"""The pattern of every mask. No rule matches inside one, which makes masking idempotent."""


def _after(lead: str, inside: str) -> str:
    r"""Return the pattern of a *lead* that begins a word or follows an escape: `\n`, `%3D`, `[1m`.

    The lookbehind stands after the lead: a pattern that begins with letters is searched for fast.
    If *inside* has every character of the secret, no run of them is tried twice.
    """
    escaped = rf"(?<=\\[nrt]{lead})|(?<=%[0-9A-Fa-f]{{2}}{lead})|(?<=[0-9\[]m{lead})"
    return rf"{lead}(?:(?<![{inside}]{lead})|{escaped})"


def _token(
    name: str,
    about: str,
    keywords: str,
    rest: str,
    *,
    lead: str | None = None,
    inside: str = "A-Za-z0-9",
) -> Rule:
    """Return the rule of a token that is known by its shape: *lead*, then *rest*.

    *keywords* are separated by spaces. Without *lead* there is one, and it is the lead itself.
    """
    begin = _after(re.escape(keywords) if lead is None else lead, inside)
    pattern = rf"(?P<secret>{begin}{rest})(?![A-Za-z0-9])"
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
    # First, so that no other rule matches inside one.
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
    _token("age-key", "age", "AGE-SECRET-KEY-1", "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    # Model services.
    _token("anthropic-key", "Anthropic", "sk-ant-", r"[a-z0-9]{2,12}-[\w-]{40,}+"),
    _token("openrouter-key", "OpenRouter", "sk-or-v1-", "[0-9a-f]{64}"),
    _token(
        "openai-key",
        "OpenAI, and others with the same shape",
        "sk-",
        r"(?:(?:proj|svcacct|admin|None)-[\w-]{40,}+|[A-Za-z0-9]{32,}+)",
    ),
    _token("google-api-key", "Google", "AIza", r"[\w-]{35}(?![\w-])"),
    _token("huggingface-token", "Hugging Face", "hf_", "[A-Za-z0-9]{34,}+"),
    _token("groq-key", "Groq", "gsk_", "[A-Za-z0-9]{52}"),
    _token("xai-key", "xAI", "xai-", "[A-Za-z0-9]{80}"),
    _token("replicate-token", "Replicate", "r8_", "[A-Za-z0-9]{37}"),
    _token("perplexity-key", "Perplexity", "pplx-", "[A-Za-z0-9]{48}"),
    _token("nvidia-key", "NVIDIA", "nvapi-", r"[\w-]{60,}+"),
    _token("langsmith-key", "LangSmith", "lsv2_", "(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    # Forges and package registries.
    _token(
        "github-token", "GitHub", "ghp_ gho_ ghu_ ghs_ ghr_", "[A-Za-z0-9]{36,}+", lead="gh[pousr]_"
    ),
    _token("github-fine-grained-token", "GitHub", "github_pat_", "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _token(
        "gitlab-token",
        "GitLab",
        "glpat- gldt- glrt- glptt- glcbt- glsoat- gloas- glimt- glagent-",
        r"(?:pat|dt|rt|ptt|cbt|soat|oas|imt|agent)-[\w-]{20,}+(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?+",
        lead="gl",
    ),
    _token("npm-token", "npm", "npm_", "[A-Za-z0-9]{36}"),
    _token("pypi-token", "PyPI", "pypi-Ag", r"[\w-]{50,}+"),
    _token("rubygems-key", "RubyGems", "rubygems_", "[0-9a-f]{48}"),
    _token(
        "docker-token", "Docker Hub", "dckr_pat_ dckr_oat_", r"[\w-]{27,}+", lead="dckr_[po]at_"
    ),
    # Clouds.
    _token("aws-access-key-id", "AWS", "AKIA ASIA", "[A-Z2-7]{16}", lead="A[KS]IA"),
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
    _token("google-oauth-token", "Google", "ya29.", r"[\w-]{20,}+(?:\.[\w-]++)*+"),
    _token("google-oauth-secret", "Google", "GOCSPX-", r"[\w-]{28}(?![\w-])"),
    _token("digitalocean-token", "DigitalOcean", "_v1_", "[0-9a-f]{64}", lead="do[opr]_v1_"),
    _token("heroku-key", "Heroku", "HRKU-AA", r"[\w-]{58}"),
    _token("databricks-token", "Databricks", "dapi", "[0-9a-f]{32}(?:-[0-9])?+"),
    _token("supabase-token", "Supabase", "sbp_", "[0-9a-f]{40}"),
    _token("planetscale-token", "PlanetScale", "pscale_", r"(?:tkn|pw|oauth)_[\w.=-]{32,}+"),
    _token("vault-token", "HashiCorp Vault", "hvs. hvb.", r"[\w-]{24,}+", lead=r"hv[sb]\."),
    Rule(
        "terraform-token",
        "HCP Terraform: all but the id before the first dot",
        (".atlasv1.",),
        r"\.atlasv1\.(?<=[A-Za-z0-9]{14}\.atlasv1\.)(?P<secret>[\w-]{60,}+)",
    ),
    _token("pulumi-token", "Pulumi", "pul-", "[0-9a-f]{40}"),
    _token("tailscale-key", "Tailscale", "tskey-", r"[a-z]{3,10}-[\w-]{16,}+"),
    _token("doppler-token", "Doppler", "dp.", r"(?:pt|st|ct|sa)\.[\w.-]{40,}+"),
    # Services for messages, payments and work.
    _token(
        "slack-token",
        "Slack",
        "xox xapp-",
        r"(?:[a-z]-|p-[0-9]-|e\.xox[bp]-)[A-Za-z0-9%-]{20,}+",
        lead="x(?:ox|ap)",
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
        rf"(?:{_DIGITS}){{5}}[A-Za-z0-9]{{0,3}}\.[\w-]{{6}}\.[\w-]{{27,}}+",
        lead=_DIGITS,
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
    _token(
        "stripe-key", "Stripe", "_live_ _test_", "(?:live|test)_[A-Za-z0-9]{16,}+", lead="[sr]k_"
    ),
    _token("stripe-webhook-secret", "Stripe", "whsec_", "[A-Za-z0-9+/]{32,}+={0,2}"),
    _token("square-token", "Square", "sq0", r"(?:atp|csp)-[\w-]{22,}+"),
    _token(
        "shopify-token",
        "Shopify",
        "shpat_ shpca_ shppa_ shpss_",
        "[0-9a-fA-F]{32}",
        lead="shp[acps][ats]_",
    ),
    _token("sendgrid-key", "SendGrid", "SG.", r"[\w-]{22}\.[\w-]{43}(?![\w-])"),
    _token("mailgun-key", "Mailgun", "key-", "[0-9a-f]{32}"),
    _token("twilio-key", "Twilio", "SK", "[0-9a-f]{32}"),
    _token("linear-key", "Linear", "lin_", "(?:api|oauth)_[A-Za-z0-9]{40,}+"),
    _token("notion-token", "Notion", "ntn_", "[A-Za-z0-9]{40,}+"),
    _token("notion-secret", "Notion, before 2024", "secret_", "[A-Za-z0-9]{43}"),
    _token("figma-token", "Figma", "figd_", r"[\w-]{40,}+"),
    _token("atlassian-token", "Atlassian", "ATATT3", r"[\w-]{100,}+=?[0-9A-F]{0,8}"),
    _token("postman-key", "Postman", "PMAK-", "[0-9a-f]{24}-[0-9a-f]{34}"),
    _token("grafana-token", "Grafana", "glsa_", "[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    _token("newrelic-key", "New Relic", "NRAK-", "[A-Z0-9]{27}"),
    _token(
        "sentry-token", "Sentry", "sntrys_ sntryu_", "[A-Za-z0-9+/=_-]{60,}+", lead="sntry[su]_"
    ),
    _token(
        "jwt",
        "JSON Web Tokens, signed",
        "eyJ",
        r"[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]{20,}+",
        inside="A-Za-z0-9_-",
    ),
    # Secrets that are known by their context. Last, because a shape is more specific.
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
