"""Compares Segue's redaction rules with the library detect-secrets: detection and cost.

`python -m tests.bench.redaction` prints a table: the share of generated secrets that is found, the
false positives in lines without secrets, and the CPU time for 64 KiB, of real code and of the
slowest known input. The library is no dependency: install it with
`pip install --target DIR detect-secrets==1.5.0` and put DIR in PYTHONPATH.
"""

import base64
import contextlib
import hashlib
import importlib
import json
import os
import random
import subprocess
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from segue.redaction import engine
from segue.redaction.rules import RULES
from tests.bench.measure import format_seconds
from tests.bench.report import print_line
from tests.secret_samples import leaks

Detector = Callable[[str], bool]
"""Returns whether a string holds a secret."""

SIZE = 64 * 1024
"""Characters of each input whose cost is measured."""

_LEAKS = 5_000
_LINES = 100_000
_FOLDERS = (
    *("/usr/lib/node_modules", "/usr/share/nodejs", "/usr/include", "/usr/share/doc"),
    *(sysconfig.get_paths()["purelib"], sysconfig.get_paths()["stdlib"]),
)
_TEXTS = {
    ".c",
    ".css",
    ".h",
    ".html",
    ".js",
    ".json",
    ".md",
    ".py",
    ".rst",
    ".toml",
    ".txt",
    ".yaml",
}
_PER_FILE = 2_000
KEYWORDS = [keyword for rule in RULES for keyword in rule.keywords]

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
    *("-----BEGIN PRIVATE KEY-----\n" + ("A" * 64 + ',"""\n') * 4, "A" * 64 + '"""\n'),
    *(
        "A" * 64 + "\n-----END PRIVATE KEY-----\n",
        "Private-Lines: 1\n",
        "private key " + "x y\n" * 9,
    ),
    *(" ".join(KEYWORDS), "".join(KEYWORDS), "a" * 300 + "1 TOKEN=", "https://[redacted:a]:"),
    *(
        "\\",
        "\\n",
        "a\\n",
        "\\u0041",
        "\x1b[0m",
        "\x1b[",
        "\\x1b[0m token",
        "\x1b]8;",
        "é",
        "日本語 ",
    ),
    *(
        "=a1a1a1a1",
        "key=aA1bB2cC3dD4eE5fF6 ",
        "&key=aA1bB2cC3dD4eE5fF6",
        "--token ",
        "--a-",
        "-",
        "_",
    ),
    *("curl -u ", "-u a:b1c2d3e4 ", "machine a login b password c1d2e3 ", "Basic dXNlcjpwYXNz "),
    *("[redacted:", "[redacted:a:01234567]", "x.", "0.", "md-A", "flb_test_", "glpat-gldt-glrt-"),
    " ".join(KEYWORDS) + "🔑",
]
"""Units that make a string slow to search when it is full of them."""


def main() -> None:
    """Print the table."""
    lines = clean_lines()
    code = "\n".join(lines)[:SIZE]
    hostile = [filled(unit) for unit in HOSTILE]
    print_line("| | found | false positives in 1,000 lines | 64 KiB of code | slowest 64 KiB |")
    print_line("|---|--:|--:|--:|--:|")
    for name, detector, slow_inputs in _detectors(hostile):
        found = sum(detector(leak.text) for leak in leaks(1, _LEAKS)) / _LEAKS
        false = sum(map(detector, lines)) / len(lines) * 1_000
        typical = format_seconds(cost(detector, code))
        slowest = format_seconds(max(cost(detector, each) for each in slow_inputs))
        print_line(f"| {name} | {found:.1%} | {false:.2f} | {typical} | {slowest} |")


def _detectors(hostile: list[str]) -> Iterator[tuple[str, Detector, list[str]]]:
    yield "segue.redaction", finds, hostile
    # The library takes minutes for empty lines.
    without_empty_lines = [each for each in hostile if each.count("\n") < SIZE / 2]
    for name, named_only in (
        ("detect-secrets, plugins for named formats", True),
        ("detect-secrets, all plugins", False),
    ):
        with library(named_only) as detector:
            if detector is None:
                print_line(f"| {name}: not installed | | | | |")
            else:
                yield name, detector, without_empty_lines


def finds(string: str) -> bool:
    """Return whether `segue.redaction` masks anything in *string*."""
    return engine.mask(string, json.dumps(string)) is not string


@contextlib.contextmanager
def library(named_only: bool) -> Iterator[Detector | None]:
    """Yield a detector of detect-secrets, or None if the library is not installed.

    *named_only* leaves out its plugins that judge by entropy or by a keyword nearby.
    """
    try:
        scan: Any = importlib.import_module("detect_secrets.core.scan")
        settings: Any = importlib.import_module("detect_secrets.settings")
    except ImportError:
        yield None
        return
    with settings.default_settings() as enabled:
        if named_only:
            enabled.disable_plugins("Base64HighEntropyString", "HexHighEntropyString")
            enabled.disable_plugins("KeywordDetector")
        yield lambda string: any(any(scan.scan_line(line)) for line in string.splitlines())


def clean_lines(count: int = _LINES) -> list[str]:
    """Return *count* lines of code and prose, then random strings such as hashes and ids."""
    rng = random.Random(1)
    lines: list[str] = []
    for path in _files(rng):
        found = _read_lines(path)
        begin = rng.randrange(max(1, len(found) - _PER_FILE))
        lines += found[begin : begin + _PER_FILE]
        if len(lines) >= count:
            break
    return [*lines[:count], *_random_lines(rng)]


def _files(rng: random.Random) -> Iterable[Path]:
    root = Path(__file__).parents[2]
    own = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    paths = [root / name for name in own.stdout.splitlines() if "secret_samples" not in name]
    for folder in _FOLDERS:
        for parent, folders, names in os.walk(folder):
            folders.sort()
            paths += [Path(parent, name) for name in sorted(names)]
    rng.shuffle(paths)
    return (path for path in paths if path.suffix in _TEXTS)


def _read_lines(path: Path) -> list[str]:
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


def filled(unit: str, size: int = SIZE) -> str:
    """Return *unit* repeated to *size* characters."""
    return (unit * (size // len(unit) + 1))[:size]


def cost(detector: Detector, string: str, calls: int = 5) -> float:
    """Return the CPU seconds for one string: the best of *calls*, or of one second of calls."""
    seconds: list[float] = []
    while len(seconds) < calls and sum(seconds) < 1:
        begin = time.process_time()
        detector(string)
        seconds.append(time.process_time() - begin)
    return min(seconds)


if __name__ == "__main__":
    main()
