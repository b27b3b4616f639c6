"""Which finds secrets better, and what it costs: our rules, or the library detect-secrets.

`python -m tests.bench.redaction` prints a table: the share of generated secrets that is found,
false hits in lines that hold none, and the processor's time for 64 KiB, of real code and of the
worst text known. The library comes by `pip install --target DIR detect-secrets==1.5.0`, and DIR in
PYTHONPATH; it is no dependency.
"""

import base64
import contextlib
import hashlib
import importlib
import json
import random
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from segue.redaction import engine
from tests.bench.measure import shown
from tests.secret_samples import leaks

Finds = Callable[[str], bool]
"""Tells whether a text holds a secret."""

SIZE = 64 * 1024
_LEAKS = 500
_LINES = 20_000
_OTHERS = ("/usr/lib/node_modules", "/usr/share/nodejs")
_SUFFIXES = {".py", ".md", ".txt", ".js", ".json"}
_KEYWORDS = [keyword for rule in engine.RULES for keyword in rule.keywords]

HOSTILE = [
    *(
        "a",
        " ",
        "\n",
        "1",
        "M",
        "sk-",
        "eyJ",
        "-eyJ",
        "eyJaaaaaaaaaaaa.",
        "://",
        "://a:",
        "://a:b@",
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----A:", "TOKEN=", "TOKEN    "),
    *("-----BEGIN PRIVATE KEY-----" + "A" * 24, "SECRET_ACCESS_KEY=", "Bearer ", "gl", "MDAw"),
    *(" ".join(_KEYWORDS), "".join(_KEYWORDS), "a" * 300 + "1 TOKEN=", "https://[redacted:a]:"),
    " ".join(_KEYWORDS) + "🔑",
]
"""What a text may be full of to make searching it slow."""


def main() -> None:
    """Print the table."""
    lines = clean_lines()
    code = "\n".join(lines)[:SIZE]
    worst = [filled(unit) for unit in HOSTILE]
    say("| | found | false hits in 1,000 lines | 64 KiB of code | at worst |")
    say("|---|--:|--:|--:|--:|")
    for name, finds, hostile in _sides(worst):
        found = sum(finds(leak.text) for leak in leaks(1, _LEAKS)) / _LEAKS
        false = sum(map(finds, lines)) / len(lines) * 1_000
        slowest = max(cost(finds, text) for text in hostile)
        say(f"| {name} | {found:.1%} | {false:.2f} | {ms(cost(finds, code))} | {ms(slowest)} |")


def _sides(worst: list[str]) -> Iterator[tuple[str, Finds, list[str]]]:
    yield "segue.redact", finds, worst
    few = [
        text for text in worst if text.count("\n") < SIZE / 2
    ]  # it takes minutes for empty lines
    for name, only_named in (("detect-secrets, named plugins", True), ("all of its", False)):
        with library(only_named) as theirs:
            if theirs is None:
                say(f"| {name}: not installed | | | | |")
            else:
                yield name, theirs, few


def finds(text: str) -> bool:
    """Tell whether `segue.redact` masks something."""
    return engine.mask(text, json.dumps(text)) is not text


@contextlib.contextmanager
def library(only_named: bool) -> Iterator[Finds | None]:
    """Give what detect-secrets finds, or None if it is not installed."""
    try:
        scan: Any = importlib.import_module("detect_secrets.core.scan")
        settings: Any = importlib.import_module("detect_secrets.settings")
    except ImportError:
        yield None
        return
    with settings.default_settings() as chosen:
        if only_named:
            chosen.disable_plugins("Base64HighEntropyString", "HexHighEntropyString")
            chosen.disable_plugins("KeywordDetector")
        yield lambda text: any(any(scan.scan_line(line)) for line in text.splitlines())


def clean_lines() -> list[str]:
    """Return lines that hold no secret: code, prose, and what looks random and is none."""
    rng = random.Random(1)
    lines = [line for path in _files(rng) for line in _lines_of(path)]
    return [*rng.sample(lines, min(_LINES, len(lines))), *_random_lines(rng)]


def _files(rng: random.Random) -> Iterable[Path]:
    yield from Path(sysconfig.get_paths()["stdlib"]).glob("*.py")
    root = Path(__file__).parents[2]
    yield from (
        path for path in (root / "server").rglob("*") if path.suffix in {".py", ".md", ".txt"}
    )
    for folder in _OTHERS:
        scripts = sorted(
            p for p in Path(folder).rglob("*.*") if p.suffix in {".js", ".json", ".md"}
        )
        yield from rng.sample(scripts, min(300, len(scripts)))


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _random_lines(rng: random.Random) -> Iterator[str]:
    for _ in range(300):
        yield f'"integrity": "sha512-{base64.b64encode(rng.randbytes(64)).decode()}"'
        yield base64.b64encode(rng.randbytes(300)).decode()
        yield base64.urlsafe_b64encode(rng.randbytes(300)).decode()
        yield f"id = {uuid.UUID(int=rng.getrandbits(128))}"
        yield f"commit {hashlib.sha1(rng.randbytes(8)).hexdigest()}"


def filled(unit: str) -> str:
    """Return 64 KiB of *unit*."""
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


def cost(finds: Finds, text: str) -> float:
    """Return the processor's seconds for a text: the best of five, fewer if they are long."""
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 1:
        begin = time.process_time()
        finds(text)
        seconds.append(time.process_time() - begin)
    return min(seconds)


def ms(seconds: float) -> str:
    """Return a time with its unit."""
    return shown(seconds) if seconds < 1 else f"{seconds:.1f} s"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
