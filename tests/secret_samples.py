"""Generated secrets of every kind, embedded in typical text.

The formats are those that the providers publish, not the patterns of `segue.redaction`.
"""

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
URL64 = ALNUM + "-_"
STD64 = ALNUM + "+/"

Random = random.Random


class Leak(NamedTuple):
    """A secret, and a text that contains it."""

    kind: str
    secret: str
    text: str


def some(rng: Random, letters: str, count: int) -> str:
    """Return *count* random *letters*."""
    return "".join(rng.choices(letters, k=count))


def token(prefix: str, letters: str, count: int, suffix: str = "") -> Callable[[Random], str]:
    """Return a generator of *prefix*, *count* random *letters* and *suffix*."""
    return lambda rng: prefix + some(rng, letters, count) + suffix


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(rng: Random) -> str:
    head = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    body = {"sub": some(rng, string.digits, 10), "iat": rng.randrange(10**9, 2 * 10**9)}
    parts = [unpadded(json.dumps(part).encode()) for part in (head, body)]
    return ".".join([*parts, unpadded(rng.randbytes(rng.choice([32, 64, 256])))])


def gitlab_routable(rng: Random) -> str:
    return f"glpat-{some(rng, URL64, 27)}.{some(rng, LOWER, 2)}.{some(rng, LOWER, 9)}"


def fine_grained(rng: Random) -> str:
    return f"github_pat_{some(rng, ALNUM, 22)}_{some(rng, ALNUM, 59)}"


def openai_project(rng: Random) -> str:
    return f"sk-proj-{some(rng, URL64, 74)}T3BlbkFJ{some(rng, URL64, 74)}"


def slack_bot(rng: Random) -> str:
    numbers = some(rng, "123456789", 12), some(rng, "123456789", 13)
    return f"xoxb-{numbers[0]}-{numbers[1]}-{some(rng, ALNUM, 24)}"


def slack_app(rng: Random) -> str:
    middle = f"A{some(rng, UPPER, 10)}-{some(rng, '123456789', 13)}"
    return f"xapp-1-{middle}-{some(rng, HEX, 64)}"


def telegram(rng: Random) -> str:
    return f"{rng.randrange(10**8, 10**10)}:AA{some(rng, URL64, 33)}"


def discord(rng: Random) -> str:
    user = unpadded(str(rng.randrange(10**17, 10**19)).encode())
    return f"{user}.{some(rng, URL64, 6)}.{some(rng, URL64, 38)}"


def sendgrid(rng: Random) -> str:
    return f"SG.{some(rng, URL64, 22)}.{some(rng, URL64, 43)}"


def entra(rng: Random) -> str:
    return f"{some(rng, ALNUM, 3)}8Q~{some(rng, ALNUM + '-_.~', 34)}"


def terraform(rng: Random) -> str:
    return f"{some(rng, ALNUM, 14)}.atlasv1.{some(rng, ALNUM, 67)}"


def pem(kind: str, size: int) -> Callable[[Random], str]:
    """Return a generator of PEM private keys of *size* bytes."""

    def make(rng: Random) -> str:
        body = base64.b64encode(rng.randbytes(size)).decode()
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"])

    return make


def encrypted_pem(rng: Random) -> str:
    begin, *rest = pem("RSA PRIVATE KEY", 600)(rng).splitlines()
    info = f"DEK-Info: AES-128-CBC,{some(rng, '0123456789ABCDEF', 32)}"
    return "\n".join([begin, "Proc-Type: 4,ENCRYPTED", info, "", *rest])


def pgp(rng: Random) -> str:
    begin, *rest = pem("PGP PRIVATE KEY BLOCK", 900)(rng).splitlines()
    return "\n".join([begin, "Version: GnuPG v2.4", "", *rest])


TOKENS: dict[str, Callable[[Random], str]] = {
    "OpenAI": token("sk-", ALNUM, 48),
    "OpenAI project": openai_project,
    "OpenAI service account": token("sk-svcacct-", URL64, 120),
    "Anthropic": token("sk-ant-api03-", URL64, 93, "AA"),
    "Anthropic OAuth": token("sk-ant-oat01-", URL64, 93, "AA"),
    "OpenRouter": token("sk-or-v1-", HEX, 64),
    "DeepSeek": token("sk-", HEX, 32),
    "Google API": token("AIza", URL64, 35),
    "Google OAuth": token("ya29.", URL64, 120),
    "Google client": token("GOCSPX-", URL64, 28),
    "Hugging Face": token("hf_", string.ascii_letters, 34),
    "Groq": token("gsk_", ALNUM, 52),
    "xAI": token("xai-", ALNUM, 80),
    "Replicate": token("r8_", ALNUM, 37),
    "Perplexity": token("pplx-", ALNUM, 48),
    "NVIDIA": token("nvapi-", URL64, 64),
    "GitHub personal": token("ghp_", ALNUM, 36),
    "GitHub OAuth": token("gho_", ALNUM, 36),
    "GitHub server": token("ghs_", ALNUM, 36),
    "GitHub user": token("ghu_", ALNUM, 36),
    "GitHub refresh": token("ghr_", ALNUM, 76),
    "GitHub fine-grained": fine_grained,
    "GitLab": token("glpat-", URL64, 20),
    "GitLab routable": gitlab_routable,
    "npm": token("npm_", ALNUM, 36),
    "PyPI": token("pypi-AgEI", URL64, 160),
    "RubyGems": token("rubygems_", HEX, 48),
    "Docker Hub": token("dckr_pat_", URL64, 27),
    "AWS key id": token("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "AWS temporary key id": token("ASIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "Azure Entra": entra,
    "DigitalOcean": token("dop_v1_", HEX, 64),
    "Heroku": token("HRKU-AA", URL64, 58),
    "Databricks": token("dapi", HEX, 32),
    "Supabase": token("sbp_", HEX, 40),
    "PlanetScale": token("pscale_tkn_", URL64, 43),
    "Vault": token("hvs.", URL64, 90),
    "Terraform": terraform,
    "Slack bot": slack_bot,
    "Slack app": slack_app,
    "Discord": discord,
    "Telegram": telegram,
    "Stripe": token("sk_live_", ALNUM, 24),
    "Stripe long": token("sk_live_", ALNUM, 99),
    "Stripe restricted": token("rk_live_", ALNUM, 99),
    "Stripe webhook": token("whsec_", ALNUM, 32),
    "Square": token("sq0atp-", URL64, 22),
    "Shopify": token("shpat_", HEX, 32),
    "SendGrid": sendgrid,
    "Mailgun": token("key-", HEX, 32),
    "Twilio": token("SK", HEX, 32),
    "Linear": token("lin_api_", ALNUM, 40),
    "Notion": lambda rng: f"ntn_{some(rng, string.digits, 11)}{some(rng, ALNUM, 35)}",
    "Notion, older": token("secret_", ALNUM, 43),
    "Figma": token("figd_", URL64, 40),
    "Postman": lambda rng: f"PMAK-{some(rng, HEX, 24)}-{some(rng, HEX, 34)}",
    "Grafana": lambda rng: f"glsa_{some(rng, ALNUM, 32)}_{some(rng, HEX, 8)}",
    "New Relic": token("NRAK-", UPPER, 27),
    "JWT": jwt,
    "RSA key": pem("RSA PRIVATE KEY", 1190),
    "PKCS8 key": pem("PRIVATE KEY", 48),
    "EC key": pem("EC PRIVATE KEY", 121),
    "OpenSSH key": pem("OPENSSH PRIVATE KEY", 400),
    "encrypted key": encrypted_pem,
    "PGP key": pgp,
}
"""Generators of secrets that are recognised by their own format."""

AROUND: dict[str, tuple[Callable[[Random], str], str]] = {
    "AWS secret": (token("", STD64, 40), "AWS_SECRET_ACCESS_KEY={}"),
    "AWS secret in a profile": (token("", STD64, 40), "aws_secret_access_key = {}"),
    "AWS secret in JSON": (token("", STD64, 40), '"SecretAccessKey": "{}"'),
    "AWS session": (token("IQoJb3JpZ2lu", STD64, 300, "=="), "AWS_SESSION_TOKEN={}"),
    "Azure Storage": (token("", STD64, 86, "=="), "AccountName=a;AccountKey={};EndpointSuffix=b"),
    "Slack webhook": (
        lambda rng: f"T{some(rng, UPPER, 8)}/B{some(rng, UPPER, 8)}/{some(rng, ALNUM, 24)}",
        "https://hooks.slack.com/services/{}",
    ),
    "Discord webhook": (
        token("", URL64, 68),
        "https://discord.com/api/webhooks/1234567890123456789/{}",
    ),
    "bearer": (token("", URL64, 40, "7"), "Authorization: Bearer {}"),
    "bearer in lower case": (token("", HEX, 32, "7"), "authorization: bearer {}"),
    "basic": (
        lambda rng: base64.b64encode(f"user:{some(rng, ALNUM, 12)}".encode()).decode(),
        "Authorization: Basic {}",
    ),
    "API key header": (token("", ALNUM, 32, "7"), "x-api-key: {}"),
    "PostgreSQL": (token("", ALNUM + "!*-_", 12), "postgresql://app:{}@db.example.com:5432/app"),
    "MongoDB": (token("", ALNUM, 16), "mongodb+srv://app:{}@cluster0.example.net/?w=1"),
    "Redis": (token("", ALNUM, 24), "redis://:{}@localhost:6379/0"),
    "git remote": (token("", ALNUM, 20), "https://someone:{}@git.example.com/a/b.git"),
    "password variable": (token("", ALNUM + "!@#%^*", 15, "7"), "DB_PASSWORD={}"),
    "token variable": (token("", ALNUM, 31, "7"), "MY_SERVICE_TOKEN={}"),
    "secret in YAML": (token("", ALNUM, 31, "7"), 'CLIENT_SECRET: "{}"'),
}
"""Generators of secrets that are recognised by their context, and that context."""

KINDS = [*TOKENS, *AROUND]

CONTEXTS = (
    "{}",
    "{} is what it said",
    "The key that I use is {}",
    "Please use {}, and do not tell anyone.",
    "line one\nline two\n{}\nline four\n",
    "'{}'",
    'curl -H "{}" https://example.com/api',
    "`{}`",
    "export VALUE='{}'\n",
    "({})",
    "client = Client(key='{}', retries=3)",
    "| name | {} |",
    "2026-08-01T12:00:00Z INFO sent={} status=200",
    "<value>{}</value>",
    "größer als 日本語 🔑 {} 🔑",
    "\x1b[31m{}\x1b[0m",
)
NESTED = ("as it is", "JSON", "JSON in JSON")


def leaks(seed: int, count: int) -> Iterator[Leak]:
    """Yield *count* leaks, of all kinds in turn."""
    rng = Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        make, around = AROUND[kind] if kind in AROUND else (TOKENS[kind], "{}")
        yield _embedded(rng, kind, make(rng), around)


def _embedded(rng: Random, kind: str, secret: str, around: str) -> Leak:
    text = rng.choice(CONTEXTS).replace("{}", around.replace("{}", secret))
    for _ in range(NESTED.index(rng.choice(NESTED))):
        text = json.dumps({"before": 1, "output": f"\n{text}\n", "after": [None]})
        secret = json.dumps(secret)[1:-1]
    return Leak(kind, secret, text)


def is_hidden(leak: Leak, masked: str) -> bool:
    """Return whether the middle half of the secret is not in *masked*."""
    quarter = len(leak.secret) // 4
    return leak.secret[quarter:-quarter] not in masked
