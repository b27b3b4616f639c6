"""Generated secrets of every kind, embedded in typical text.

The formats are those that the providers publish, not the patterns of `segue.redaction`.
"""

import base64
import json
import random
import re
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


Part = str | tuple[str, int] | Callable[[Random], str]


def joined(*parts: Part) -> Callable[[Random], str]:
    """Return a generator of parts: fixed text, letters and their count, or what one makes."""

    def make(rng: Random) -> str:
        return "".join(
            part
            if isinstance(part, str)
            else some(rng, *part)
            if isinstance(part, tuple)
            else part(rng)
            for part in parts
        )

    return make


def uuid(rng: Random) -> str:
    return "-".join(some(rng, HEX, size) for size in (8, 4, 4, 4, 12))


def of(text: str) -> Callable[[Random], str]:
    """Return a generator of a word of *text*: prefixes that a service has several of."""
    return lambda rng: rng.choice(text.split())


def base64_of(prefix: str, size: int, suffix: str = "") -> Callable[[Random], str]:
    return lambda rng: base64.b64encode(prefix.encode() + rng.randbytes(size)).decode() + suffix


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
    "Mailgun, older": token("key-", LOWER, 32),
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
    # Models and agents.
    "OpenAI admin": token("sk-admin-", URL64, 120),
    "Anthropic admin": token("sk-ant-admin01-", URL64, 93, "AA"),
    "Langfuse": joined("sk-lf-", uuid),
    "Gemini": token("AQ.Ab8RN6", URL64, 44),
    "Hugging Face organization": token("api_org_", string.ascii_letters, 34),
    "Cerebras": token("csk-", LOWER, 48),
    "Fireworks": token("fw_", ALNUM, 24),
    "Together": token("tgp_v1_", URL64, 43),
    "Voyage": token("pa-", URL64, 43),
    "Pinecone": joined("pcsk_", (ALNUM, 6), "_", (ALNUM, 63)),
    "Jina": token("jina_", ALNUM, 60),
    "Tavily": token("tvly-dev-", ALNUM, 32),
    "Firecrawl": token("fc-", HEX, 32),
    "E2B": token("e2b_", HEX, 40),
    "RunPod": token("rpa_", UPPER, 42),
    "Weights & Biases": token("wandb_v1_", ALNUM, 77),
    "LlamaIndex": token("llx-", ALNUM, 48),
    "ElevenLabs": token("sk_", HEX, 48),
    "Cursor": token("key_", HEX, 64),
    "Baidu": joined("bce-v3/ALTAK-", (ALNUM, 21), "/", (HEX, 40)),
    "LangSmith": joined("lsv2_", of("pt sk"), "_", (HEX, 32), "_", (HEX, 10)),
    "Apify": token("apify_api_", ALNUM, 36),
    "Browserbase": token("bb_live_", ALNUM + "-_", 27),
    "Sourcegraph": joined("sgp_", (HEX, 16), "_", (HEX, 40)),
    "Sourcegraph Cody": token("slk_", HEX, 64),
    # Forges and package registries.
    "GitLab trigger": token("glptt-", HEX, 40),
    "GitLab deploy": token("gldt-", URL64, 20),
    "GitLab runner": token("glrt-", URL64, 20),
    "GitLab runner, routable": joined("glrt-t1_", (URL64, 27), ".", (LOWER, 2), ".", (LOWER, 9)),
    "GitLab job": joined("glcbt-", (ALNUM, 2), "_", (URL64, 20)),
    "GitLab SCIM": token("glsoat-", URL64, 20),
    "GitLab OAuth": token("gloas-", HEX, 64),
    "GitLab mail": token("glimt-", LOWER, 25),
    "GitLab agent": token("glagent-", URL64, 50),
    "GitLab feed": token("glft-", URL64, 20),
    "GitLab feature flags": token("glffct-", URL64, 20),
    "GitLab runner registration": token("GR1348941", URL64, 20),
    "Bitbucket app": token("ATBB", ALNUM, 32),
    "Bitbucket repository": joined("ATCTT3xFfG", (URL64, 170), "=", ("0123456789ABCDEF", 8)),
    "Bitbucket Data Center": token("BBDC-", STD64, 44),
    "Atlassian": joined("ATATT3xFfGF0", (URL64, 172), "=", ("0123456789ABCDEF", 8)),
    "npm, older": joined("NpmToken.", uuid),
    "crates.io": token("cio", ALNUM, 32),
    "NuGet": token("oy2", LOWER, 43),
    "Clojars": token("CLOJARS_", HEX, 60),
    "Packagist": token("packagist_ack_", HEX, 64),
    "JFrog": token("AKCp", ALNUM, 69),
    "JFrog reference": token("cmVmdGtuOjAxOj", ALNUM, 50),
    "Docker Hub organization": token("dckr_oat_", URL64, 32),
    "Deno": token("ddp_", ALNUM, 36),
    # Builds and infrastructure as code.
    "CircleCI": joined("CCIPAT_", (ALNUM, 22), "_", (HEX, 40)),
    "CircleCI project": joined("CCIPRJ_", (ALNUM, 22), "_", (HEX, 40)),
    "Buildkite": token("bkua_", HEX, 40),
    "Sonar": joined(of("sqp_ sqa_ squ_"), (HEX, 40)),
    "SonarCloud": token("sqco_", ALNUM, 59),
    "Harness": joined(of("pat sat"), ".", (URL64, 22), ".", (HEX, 24), ".", (ALNUM, 20)),
    "Octopus": token("API-", UPPER, 26),
    "Jenkins": token("11", HEX, 32),
    "Percy": token("web_", HEX, 64),
    "SpectralOps": token("spu-", HEX, 32),
    "Infracost": token("ico-", ALNUM, 32),
    "Pulumi": token("pul-", HEX, 40),
    "Prefect": token("pnu_", ALNUM, 36),
    "dbt": token("dbtc_", URL64, 43),
    "Doppler": joined("dp.", of("pt ct sa scim audit"), ".", (ALNUM, 43)),
    "Doppler service": joined("dp.st.", of("dev prd stg_ci"), ".", (ALNUM, 43)),
    "Infisical": joined("st.", (HEX, 24), ".", (HEX, 32), ".", (HEX, 32)),
    "Rootly": token("rootly_", HEX, 64),
    "Trigger.dev": token("tr_prod_", ALNUM, 20),
    "Inngest": token("signkey-prod-", HEX, 64),
    # Clouds, databases and networks.
    "AWS other key ids": joined(of("ABIA ACCA"), ("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "AWS Bedrock": joined("ABSK", (STD64, 124), "=="),
    "AWS Bedrock, short-lived": token("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t", STD64, 300),
    "AWS AppSync": token("da2-", LOWER, 26),
    "Amazon MWS": joined("amzn.mws.", uuid),
    "Azure Storage, marked": joined((STD64, 76), "+ASt", (STD64, 5), of("A Q g w"), "=="),
    "Azure Cosmos DB": joined((STD64, 76), "ACDb", (STD64, 5), of("A Q g w"), "=="),
    "Azure Batch": joined((STD64, 76), "+ABa", (STD64, 5), of("A Q g w"), "=="),
    "Azure AI Search": joined((ALNUM, 42), "AzSe", ("ABCD", 1), (ALNUM, 5)),
    "Azure Functions": joined((URL64, 44), "AzFu", (URL64, 5), of("A Q g w"), "=="),
    "Azure Redis": joined(
        (ALNUM, 33), "AzCa", ("ABCDEFGHIJKLMNOP", 1), (STD64, 4), of("A E I M"), "="
    ),
    "Azure Container Registry": joined((STD64, 42), "+ACR", (ALNUM, 6)),
    "Azure DevOps": joined((ALNUM, 76), "AZDO", (ALNUM, 4)),
    "Azure DevOps, older": token("", "abcdefghijklmnopqrstuvwxyz234567", 52),
    "Azure annotated": joined((ALNUM, 52), "JQQJ99", (ALNUM, 26)),
    "Google refresh": token("1//0", URL64, 98),
    "Google Cloud HMAC": token("GOOG1E", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 55),
    "DigitalOcean OAuth": token("doo_v1_", HEX, 64),
    "Supabase secret": joined("sb_secret_", (URL64, 22), "_", (URL64, 8)),
    "Neon": token("napi_", LOWER, 64),
    "PlanetScale password": token("pscale_pw_", URL64, 43),
    "Fly": joined("fm2_", (STD64, 400), "=="),
    "Fly, first version": joined("fm1r_", (STD64, 300)),
    "Fly, older": token("fo1_", URL64, 43),
    "Fly header": joined("FlyV1 fm2_", (STD64, 500)),
    "Vercel Blob": joined("vercel_blob_rw_", (ALNUM, 16), "_", (ALNUM, 32)),
    "Vercel": token("vcp_", ALNUM, 56),
    "Netlify": token("nfp_", ALNUM, 36),
    "Render": token("rnd_", ALNUM, 28),
    "Cloudflare origin CA": joined("v1.0-", (HEX, 24), "-", (HEX, 146)),
    "Cloudflare": joined("cfut_", (ALNUM, 40), (HEX, 8)),
    "Alibaba": token("LTAI", ALNUM, 20),
    "Tencent": token("AKID", ALNUM, 32),
    "Scaleway": token("SCW", UPPER, 17),
    "Yandex": joined("t1.", (URL64, 60), ".", (URL64, 86)),
    "Yandex Cloud": token("AQVN", URL64, 36),
    "Yandex OAuth": token("y0_", URL64, 58),
    "Scalingo": token("tk-us-", URL64, 48),
    "Backblaze": token("K005", STD64, 27),
    "CockroachDB": joined("CCDB1_", (ALNUM, 22), "_", (ALNUM, 40)),
    "ClickHouse": token("4b1d", ALNUM, 38),
    "MongoDB Atlas": token("mdb_sa_sk_", URL64, 40),
    "Aiven": token("AVNS_", URL64, 19),
    "Vault batch": token("hvb.", URL64, 138),
    "Vault recovery": token("hvr.", URL64, 24),
    "Vault, older": token("s.", ALNUM, 24),
    "OpenShift": token("sha256~", URL64, 43),
    "Tailscale": joined("tskey-", of("api auth client"), "-", (ALNUM, 17), "-", (ALNUM, 32)),
    "ngrok": joined("2", (ALNUM, 26), "_", (string.digits, 1), (ALNUM, 20)),
    "1Password": token("ops_eyJ", STD64, 800),
    "1Password secret key": joined(
        "A3-",
        (UPPER, 6),
        "-",
        (UPPER, 6),
        "-",
        lambda rng: "-".join(some(rng, UPPER, 5) for _ in "1234"),
    ),
    "Bitwarden": joined("0.", uuid, ".", (ALNUM, 30), ":", (STD64, 22), "=="),
    "age": token("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    # Messages.
    "Slack user": joined(
        "xoxp-",
        (string.digits, 12),
        "-",
        (string.digits, 12),
        "-",
        (string.digits, 13),
        "-",
        (HEX, 32),
    ),
    "Slack configuration": token("xoxe.xoxp-1-", UPPER, 163),
    "Slack cookie": token("xoxd-", ALNUM + "%", 120),
    "Mailgun, newer": joined((HEX, 32), "-", (HEX, 8), "-", (HEX, 8)),
    "Mailchimp": joined((HEX, 32), "-us", of("1 6 12 21")),
    "Mandrill": token("md-", URL64, 22),
    "Brevo": joined("xkeysib-", (HEX, 64), "-", (ALNUM, 16)),
    "Brevo SMTP": joined("xsmtpsib-", (HEX, 64), "-", (ALNUM, 16)),
    "Resend": joined("re_", (ALNUM, 8), "_", (ALNUM, 24)),
    "MailerSend": token("mlsn.", HEX, 64),
    "Klaviyo": token("pk_", HEX, 34),
    "Intercom": lambda rng: base64.b64encode(
        f"tok:{uuid(rng).replace('-', '_')}:1:0".encode()
    ).decode(),
    "HubSpot": joined("pat-", of("na1 eu1"), "-", uuid),
    "PubNub": token("sec-c-", ALNUM, 48),
    "OneSignal": token("os_v2_app_", "abcdefghijklmnopqrstuvwxyz234567", 103),
    "Ably": joined((ALNUM, 6), ".", (ALNUM, 6), ":", (URL64, 43)),
    "Matrix": joined("syt_", (STD64, 12), "_", (string.ascii_letters, 20), "_", (ALNUM, 6)),
    "Facebook": token("EAAC", ALNUM, 180),
    "Facebook app": joined(("123456789", 15), "|", (URL64, 27)),
    "X": joined("A" * 21, (ALNUM, 30), "%2B", (ALNUM, 30), "%3D", (ALNUM, 25)),
    # Payments.
    "Stripe test": token("sk_test_", ALNUM, 24),
    "Square secret": token("sq0csp-", URL64, 43),
    "Square production": token("EAAA", URL64, 60),
    "Shopify secret": token("shpss_", HEX, 32),
    "Shopify apps": joined(of("shpca_ shppa_"), (HEX, 32)),
    "PayPal": joined("access_token$production$", (LOWER, 16), "$", (HEX, 32)),
    "Razorpay": token("rzp_live_", ALNUM, 14),
    "Flutterwave": token("FLWSECK-", HEX, 32, "-X"),
    "Plaid": joined("access-", of("sandbox production"), "-", uuid),
    "Mollie": token("live_", ALNUM, 30),
    "Shippo": token("shippo_live_", HEX, 40),
    "EasyPost": token("EZAK", ALNUM, 54),
    "Duffel": token("duffel_live_", URL64, 43),
    "Ramp": token("ramp_sec_", ALNUM, 48),
    "Paddle": joined("pdl_live_apikey_", (LOWER, 26), "_", (ALNUM, 22), "_", (ALNUM, 3)),
    "Polar": token("polar_oat_", ALNUM, 43),
    "Pagar.me": token("ak_live_", ALNUM, 30),
    "Bitcoin": token("xprv", "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", 107),
    "Robinhood": joined("rh-api-", uuid),
    "QuickNode": token("QN_", HEX, 32),
    "Blockfrost": token("mainnet", ALNUM, 32),
    "Brex": token("bxt_", ALNUM, 36),
    "Salesforce": joined("00D", (ALNUM, 12), "!", (ALNUM + "._", 96)),
    # Services for work.
    "Linear OAuth": token("lin_oauth_", HEX, 64),
    "Figma OAuth": token("figo_", URL64, 40),
    "Postman collection": token("PMAT-", UPPER, 26),
    "Grafana Cloud": joined("glc_", base64_of('{"o":"', 90)),
    "Grafana, older": base64_of('{"k":"', 70),
    "New Relic ingest": token("NRII-", URL64, 32),
    "New Relic license": token("", HEX, 36, "NRAL"),
    "Sentry": joined("sntrys_", base64_of('{"iat":1', 120), "_", (STD64, 43)),
    "Sentry user": token("sntryu_", HEX, 64),
    "Honeycomb": token("hcaik_01", LOWER, 56),
    "Dynatrace": joined("dt0c01.", (UPPER, 24), ".", (UPPER, 64)),
    "PostHog": token("phx_", ALNUM, 43),
    "Axiom": joined("xaat-", uuid),
    "Statsig": token("secret-", ALNUM, 43),
    "LaunchDarkly": joined(of("sdk- api- mob-"), uuid),
    "ConfigCat": joined("configcat-sdk-1/", (URL64, 22), "/", (URL64, 22)),
    "Airtable": joined("pat", (ALNUM, 14), ".", (HEX, 64)),
    "Asana": joined("1/", ("123456789", 16), ":", (HEX, 32)),
    "Asana personal": joined("2/", ("123456789", 16), "/", ("123456789", 16), ":", (HEX, 32)),
    "ClickUp": joined("pk_", ("123456789", 8), "_", (UPPER, 32)),
    "Trello": token("ATTA", HEX, 64),
    "Typeform": token("tfp_", ALNUM + "_", 59),
    "Dropbox": token("sl.", URL64, 140),
    "Dropbox, long-lived": joined((ALNUM, 11), "AAAAAAAAAA", (URL64, 43)),
    "Adobe": token("p8e-", URL64, 32),
    "42": token("s-s4t2ud-", HEX, 64),
    "Contentful": token("CFPAT-", URL64, 43),
    "ReadMe": token("rdme_", LOWER, 70),
    "Mapbox": joined("sk.eyJ", (ALNUM, 80), ".", (URL64, 22)),
    "MaxMind": joined((ALNUM, 6), "_", (ALNUM, 29), "_mmk"),
    "Adafruit": token("aio_", ALNUM, 28),
    "Frame.io": token("fio-u-", URL64, 64),
    "Zuplo": token("zpka_", HEX, 40),
    "Zoho": joined("1000.", (HEX, 32), ".", (HEX, 32)),
    "Voiceflow": joined("VF.DM.", (HEX, 24), ".", (ALNUM, 16)),
    "Ghost": joined((HEX, 24), ":", (HEX, 64)),
    "Flexport": token("shltm_", URL64, 40),
    "Settlemint": token("sm_pat_", ALNUM, 16),
    "Ubidots": token("BBFF-", ALNUM, 30),
    "Tableau": joined((STD64, 22), "==:", (ALNUM, 32)),
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
    "Mailgun": (token("key-", HEX, 32), "MAILGUN_API_KEY={}"),
    "Mailgun, basic": (token("key-", HEX, 32), "--user api:{}"),
    "npm config": (uuid, "//registry.example.com/:_authToken={}"),
    "npm password": (
        lambda rng: base64.b64encode(some(rng, ALNUM, 14).encode()).decode(),
        "//npm.example.com/:_password={}",
    ),
    "npm auth": (
        lambda rng: base64.b64encode(f"me:{some(rng, ALNUM, 14)}".encode()).decode(),
        "_auth={}",
    ),
    "Azure Service Bus": (
        token("", STD64, 43, "="),
        "Endpoint=sb://a.example.net/;SharedAccessKeyName=Root;SharedAccessKey={}",
    ),
    "Azure signature": (
        token("", ALNUM, 20, "%2BaB9%3D" + "x7Q2v9Lk3Z" * 2),
        "https://a.blob.example.net/c?sv=2024-01-01&sp=r&sig={}",
    ),
    "AWS secret in code": (token("", STD64, 40), 'aws_secret_key="{}"'),
    "GitLab session": (token("", HEX, 32), "Cookie: _gitlab_session={}"),
    "WireGuard": (lambda rng: base64.b64encode(rng.randbytes(32)).decode(), "PrivateKey = {}"),
    "Teams webhook": (
        joined((HEX, 32), "/", uuid),
        "https://a.webhook.office.com/webhookb2/12345678-1234-1234-1234-123456789012@12345678-1234-1234-1234-123456789012/IncomingWebhook/{}",
    ),
    "Zapier webhook": (
        joined(("123456789", 7), "/", (LOWER, 7)),
        "https://hooks.zapier.com/hooks/catch/{}",
    ),
    "Okta": (token("00", URL64, 40), "Authorization: SSWS {}"),
    "GitHub header": (token("", HEX, 40), "Authorization: token {}"),
    "basic, bare": (
        lambda rng: base64.b64encode(f"user:{some(rng, ALNUM, 12)}".encode()).decode(),
        "Basic {}",
    ),
    "Docker config": (
        lambda rng: base64.b64encode(f"user:{some(rng, ALNUM, 12)}".encode()).decode(),
        '{"auths": {"a": {"auth": "{}"}}}',
    ),
    "netrc": (token("", ALNUM, 12, "7x"), "machine git.example.com login me password {}"),
    "curl": (token("", ALNUM, 14, "7x"), "curl -u me:{} https://example.com"),
    "option": (token("", ALNUM, 30, "7x"), "tool --api-token {} run"),
    "URL parameter": (token("", ALNUM, 32, "7x"), "https://example.com/a?b=1&access_token={}&c=2"),
    "URL key": (token("", ALNUM, 32, "7x"), "https://example.com/a?key={}"),
    "URL signature": (
        token("", HEX, 64),
        "https://s3.example.com/a?X-Amz-Expires=60&X-Amz-Signature={}",
    ),
    "Datadog": (token("", HEX, 32), "DD_API_KEY={}"),
    "Algolia": (token("", HEX, 32), 'algolia_admin_key: "{}"'),
    "Heroku, older": (uuid, "HEROKU_API_KEY={}"),
    "Cloudflare, older": (token("", URL64, 40), "cloudflare_api_token = '{}'"),
    "Azure DevOps variable": (
        token("", "abcdefghijklmnopqrstuvwxyz234567", 52),
        "AZURE_DEVOPS_EXT_PAT={}",
    ),
    "Twilio token": (token("", HEX, 32), "TWILIO_AUTH_TOKEN={}"),
    "client secret in JSON": (token("", URL64, 40), '"client_secret": "{}"'),
    "SQL Server": (token("", ALNUM, 12, "7x!"), "Server=a;Database=b;User Id=c;Password={};"),
    "password in YAML": (token("", ALNUM, 12, "7x"), 'password: "{}"'),
    "private token header": (token("", ALNUM, 20), "PRIVATE-TOKEN: {}"),
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


WORDS = ("token", "key", "Value", "x", "see", "prefix")

PLACES: dict[str, Callable[[Random, str], str]] = {
    "alone": lambda rng, text: text,
    "in the environment": lambda rng, text: f"export SOME_VALUE={text}\nexport B=1",
    "in JSON": lambda rng, text: f'{{"a": "{text}", "b": 1}}',
    "in YAML": lambda rng, text: f"a:\n  b: {text}\n  c: 1",
    "in a URL": lambda rng, text: f"https://example.com/a?b=1&value={text}&c=2",
    "in code": lambda rng, text: f"client = Client('{text}', 3)",
    "after a word": lambda rng, text: f"{rng.choice(WORDS)}{text}",
    "before a word": lambda rng, text: f"{text}{rng.choice(WORDS)}",
    "between escapes": lambda rng, text: f"a\\u003d{text}\\u0022, {text}\\n",
    "quoted in JSON": lambda rng, text: f'{{\\"a\\": \\"{text}\\"}}',
    "with slashes escaped": lambda rng, text: text.replace("/", r"\/"),
    "with signs escaped": lambda rng, text: re.sub("[+=&<>]", escape_of, text),
    "coloured": lambda rng, text: f"\x1b[31;1m{text}\x1b[0m",
    "with a colour inside": lambda rng, text: split(rng, text, "\x1b[0m"),
    "with an encoded colour inside": lambda rng, text: split(rng, text, r"\u001b[1m"),
}
"""Where a secret stands: functions that put it there."""

WORDLESS = {
    *("Mailgun, older", "Jenkins", "Percy", "Azure DevOps, older", "Vault, older", "ngrok", "Ably"),
    *("Asana", "Asana personal", "Dropbox, long-lived", "Mollie", "DeepSeek", "Twilio", "Ghost"),
    *(
        "Blockfrost",
        "QuickNode",
        "Firecrawl",
        "Cursor",
        "Mailgun, newer",
        "Airtable",
        "Tableau",
        "LaunchDarkly",
    ),
}
"""Kinds that must begin a word: their prefix is part of words, or is missing."""


def escape_of(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def split(rng: Random, text: str, escape: str) -> str:
    """Return *text* with *escape* somewhere inside."""
    at = rng.randrange(1, len(text))
    return text[:at] + escape + text[at:]


def placed(rng: Random, kind: str, place: str) -> Leak:
    """Return a secret of *kind*, in its own context, at one of PLACES."""
    make, around = AROUND[kind] if kind in AROUND else (TOKENS[kind], "{}")
    secret = make(rng)
    if place.startswith("with "):
        hidden = PLACES[place](rng, secret)
        return Leak(kind, hidden, around.replace("{}", hidden))
    return Leak(kind, secret, PLACES[place](rng, around.replace("{}", secret)))


def suits(kind: str, place: str) -> bool:
    """Return whether a secret of *kind* can stand there and still be known."""
    if kind in AROUND:
        return "word" not in place and place not in {"in the environment", "in a URL", "in JSON"}
    return not (kind in WORDLESS and "word" in place)


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


# -- how tools print a file --------------------------------------------------------------------


def each_line(show: Callable[[int, str], str]) -> Callable[[list[str]], str]:
    return lambda lines: "\n".join(show(number, line) for number, line in enumerate(lines, 1))


PRINTED: dict[str, Callable[[list[str]], str]] = {
    "cat": each_line(lambda number, line: line),
    "cat -n": each_line(lambda number, line: f"{number:6}\t{line}"),
    "an arrow": each_line(lambda number, line: f"{number:6}→{line}"),
    "grep": each_line(lambda number, line: f"keys/id_rsa:{line}"),
    "grep -n": each_line(lambda number, line: f"keys/id_rsa:{number}:{line}"),
    "grep -A": each_line(lambda number, line: f"keys/id_rsa-{number}-{line}"),
    "a quotation": each_line(lambda number, line: f"> {line}"),
    "a nested quotation": each_line(lambda number, line: f">> > {line}"),
    "an added line": each_line(lambda number, line: f"+{line}"),
    "a removed line": each_line(lambda number, line: f"-{line}"),
    "an unchanged line": each_line(lambda number, line: f" {line}"),
    "bat": each_line(lambda number, line: f"{number:4} │ {line}"),
    "a table": each_line(lambda number, line: f"| {line} |"),
    "a remark": each_line(lambda number, line: f"  # {line}"),
    "colours": each_line(lambda number, line: f"\x1b[32m{line}\x1b[0m"),
    "a coloured diff": each_line(lambda number, line: f"\x1b[31m-{line}\x1b[m"),
    "coloured numbers": each_line(
        lambda number, line: f"\x1b[2m{number:4}\x1b[0m \x1b[37m{line}\x1b[0m"
    ),
    "a list in JSON": each_line(lambda number, line: f'    "{line}",'),
    "strings in code": each_line(lambda number, line: f'  "{line}\\n" +'),
    "one line": "\\n".join,
    "one line, twice escaped": "\\\\n".join,
    "spaces": " ".join,
    "JSON": lambda lines: json.dumps({"key": "\n".join(lines)}),
    "JSON in JSON": lambda lines: json.dumps(json.dumps({"key": "\n".join(lines)})),
    "CRLF": "\r\n".join,
    "YAML": each_line(lambda number, line: f"    {line}"),
}
"""Ways in which tools of agents show the lines of a file."""


def ppk(rng: Random) -> str:
    body = [some(rng, STD64, 64), some(rng, STD64, 64), some(rng, STD64, 30) + "=="]
    head = ["PuTTY-User-Key-File-3: ssh-ed25519", "Encryption: none", "Private-Lines: 3"]
    return "\n".join([*head, *body, f"Private-MAC: {some(rng, HEX, 64)}"])


KEY_FILES = {
    **{
        kind: TOKENS[kind]
        for kind in TOKENS
        if kind.endswith(" key") and "KEY" in TOKENS[kind](Random(1))
    },
    "SSH2 key": lambda rng: (
        pem("X", 300)(rng)
        .replace("-----BEGIN X-----", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")
        .replace("-----END X-----", "---- END SSH2 ENCRYPTED PRIVATE KEY ----")
    ),
    "PuTTY key": ppk,
}
"""Generators of files of several lines."""


# -- what only looks like a secret -------------------------------------------------------------

_PLAIN = ("vault", "token", "secret", "key", "service", "user", "name", "default", "value", "cache")
_PLAIN_PREFIXES = ("secret", "npm_config", "hf", "whsec", "sk_live", "live", "github_pat")


def _plain(rng: Random, count: int, separator: str = "-") -> str:
    return separator.join(rng.choices(_PLAIN, k=count))


def _base64(rng: Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size)).decode()


LOOKALIKES: tuple[Callable[[Random], str], ...] = (
    lambda rng: "Authorization: Basic authentication",
    lambda rng: (
        f"Basic {rng.choice(['authentication', 'credentials', 'auth12345678'])} is required"
    ),
    lambda rng: f"Authorization: Bearer {_plain(rng, 4)}",
    lambda rng: rng.choice(
        [
            "Bearer <token>",
            "Bearer ${TOKEN_1}",
            "Bearer {{ token1 }}",
            "Bearer xxxxxxxxxxxxxxxxxxxx1",
        ]
    ),
    lambda rng: f"key-{some(rng, HEX, rng.choice([32, 40, 64]))}",
    lambda rng: f"cache-key-{some(rng, HEX, 32)}",
    lambda rng: f"the cache key-{some(rng, HEX, 32)}",
    lambda rng: "xoxo-hugs-and-kisses-from-all-of-us",
    lambda rng: f"xox{rng.choice('bpo')}-{_plain(rng, 6)}",
    lambda rng: f"dp.{rng.choice(['st', 'pt'])}.{_plain(rng, 9, rng.choice('.-_'))}",
    lambda rng: f"hv{rng.choice('sb')}.{_plain(rng, 9, rng.choice('-_'))}",
    lambda rng: rng.choice(
        [
            "TOKEN===",
            "TOKEN === 'value12345'",
            "TOKEN==12345678",
            "API_KEY=~/abc12345/",
            "PASSWORD!=abc12345",
        ]
    ),
    uuid,
    lambda rng: f"token: {uuid(rng)}",
    lambda rng: f"commit {some(rng, HEX, 40)}",
    lambda rng: f"image@sha256:{some(rng, HEX, 64)}",
    lambda rng: f'"integrity": "sha{rng.choice(["256", "384", "512"])}-{_base64(rng, 64)}"',
    lambda rng: f"--hash=sha256:{some(rng, HEX, 64)}",
    lambda rng: f"data:image/png;base64,{_base64(rng, 3_000)}",
    lambda rng: _base64(rng, rng.randrange(30, 3_000)),
    lambda rng: rng.choice(
        ["YOUR_API_KEY", "API_KEY=YOUR_API_KEY_1", "token = '<token>'", "password=xxxxxxxx1"]
    ),
    lambda rng: rng.choice(
        ["TOKEN=$TOKEN_1", "TOKEN=${TOKEN_1:-default1}", "TOKEN: ${{ secrets.TOKEN_1 }}"]
    ),
    lambda rng: rng.choice(
        [
            'api_key = os.environ["API_KEY_1"]',
            "key = process.env.API_KEY_1;",
            "password = getpass.getpass()",
        ]
    ),
    lambda rng: rng.choice(["sk-ant-api03-", "ghp_", "glpat-", "AKIA", "xoxb-"]) + "x" * 95,
    lambda rng: (
        f"{rng.choice(['task', 'risk', 'disk'])}-{some(rng, HEX, rng.choice([32, 40, 64]))}"
    ),
    lambda rng: f"my-api-{uuid(rng)}",
    lambda rng: f"{rng.choice(_PLAIN_PREFIXES)}_{_plain(rng, 12, '_')}",
    lambda rng: f"{rng.choice(['glpat', 'sk-proj', 'nvapi', 'pat-na1', 'sdk'])}-{_plain(rng, 12)}",
    lambda rng: f"PublicKeyToken={some(rng, HEX, 16)}, processorArchitecture=x86",
    lambda rng: f"https://example.com/a?page=2&v={some(rng, HEX, 40)}&key={_plain(rng, 3)}",
    lambda rng: rng.choice(
        ["https://user:password@example.com", "postgres://<user>:<password>@host/db"]
    ),
    lambda rng: f'"nextPageToken": "{some(rng, URL64, 40)}", "primary_key": "{some(rng, HEX, 32)}"',
    lambda rng: f"-----BEGIN CERTIFICATE-----\n{_base64(rng, 300)}\n-----END CERTIFICATE-----",
    lambda rng: f"ssh-rsa AAAAB3NzaC1yc2E{some(rng, STD64, 350)} someone@host",
    lambda rng: (
        "max_tokens: 100000000, tokenizer = 'bert-base-uncased-v2-12345', --token-file=/run/token1"
    ),
)
"""Generators of lines without a secret."""
