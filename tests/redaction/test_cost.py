"""The time of redaction grows with the length of the text, and its memory stays below twice that.

Times are compared with those of a plain search in the same text, on the same machine.
"""

import functools
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from segue.redaction.engine import mask
from tests.bench.redaction import HOSTILE, KEYWORDS, SIZE, cost, filled, finds
from tests.secret_samples import KINDS, Random, leaks, placed

LENGTH = 16_384
FULL_OF_SECRETS = [placed(Random(5), kind, "alone").text + " " for kind in KINDS[::20]]
EVENT = {"content": "Please rename this function, then run the tests."}

MEMORY = """
import json, resource, sys
from segue.redaction.engine import mask
from tests.redaction.test_cost import long_text
kind, length = sys.argv[1], int(sys.argv[2])
text = long_text(kind, length)
json_text = json.dumps(text)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
masked = mask(text, json_text)
print((peak() - before) / length, masked is text)
"""


def seconds(string: str) -> float:
    return min(cost(finds, string, calls=1) for _ in range(3))


@functools.cache
def code(length: int) -> str:
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return filled("\n".join(path.read_text("utf-8", "replace") for path in sources), length)


def long_text(kind: str, length: int) -> str:
    """Return *length* characters of code, of prose or of assignments of secrets."""
    sentence = "Whoever asks about a token, a key or a password gets no answer in version 2.5. "
    secret = f"export GITHUB_TOKEN=ghp_{'Ab3' * 12}\n"
    return code(length) if kind == "code" else filled({"prose": sentence}.get(kind, secret), length)


def plain_search(string: str) -> bool:
    return bool(re.findall(r"\w+", string))


@pytest.mark.parametrize(
    "unit", [*HOSTILE, *FULL_OF_SECRETS], ids=range(len(HOSTILE) + len(FULL_OF_SECRETS))
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """The benchmark of redaction measures 64 KiB; here, the growth is checked."""
    short, long = (seconds(filled(unit, LENGTH * times)) for times in (1, 2))
    assert long <= 2.6 * short + 0.005
    assert short < 0.1


@pytest.mark.parametrize("kind", ["code", "prose", "secrets"])
def test_long_text_takes_linear_time(kind: str) -> None:
    """Of texts that are searched by pieces."""
    short, long = (cost(finds, long_text(kind, SIZE * times)) for times in (4, 8))
    assert long <= 2.8 * short + 0.005


@pytest.mark.parametrize(
    ("string", "times"),
    [
        (code(SIZE), 6),
        ("\n".join(leak.text for leak in leaks(3, 600))[:SIZE], 13),
        (
            "\n".join(placed(Random(n), "Vault, older", "alone").text for n in range(3_000))[:SIZE],
            26,
        ),
        (filled("".join(KEYWORDS)), 24),
    ],
    ids=["code", "secrets in text", "only secrets", "every keyword"],
)
def test_redaction_costs_so_many_plain_searches(string: str, times: float) -> None:
    pairs = [
        (cost(finds, string, calls=1), cost(plain_search, code(SIZE), calls=1)) for _ in range(5)
    ]
    assert min(own for own, _ in pairs) <= times * min(plain for _, plain in pairs)


def test_a_short_event_costs_so_many_dumps_of_it() -> None:
    """Most events have no word that looks like a secret: it is paid for each of them."""
    text = json.dumps(EVENT)

    def mask_often(_: str) -> bool:
        return all(mask(EVENT, text) is EVENT for _ in range(200))

    def dump_often(_: str) -> bool:
        return all(json.dumps(EVENT) for _ in range(200))

    assert cost(mask_often, "") <= 6 * cost(dump_often, "")


@pytest.mark.parametrize(("kind", "mebibytes"), [("code", 8), ("prose", 8), ("secrets", 4)])
def test_long_text_takes_less_than_twice_its_memory(kind: str, mebibytes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, kind, str(mebibytes << 20)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    growth, is_same = done.stdout.split()
    assert float(growth) < (2 if kind == "secrets" else 1)
    assert is_same == str(kind != "secrets")
