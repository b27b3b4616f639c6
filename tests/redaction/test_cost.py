"""The time of redaction grows with the length of the text, whatever it is made of."""

import sysconfig
from pathlib import Path

import pytest

from tests.bench.redaction import HOSTILE, cost, filled, finds
from tests.secret_samples import KINDS, Random, placed

FULL_OF_SECRETS = [placed(Random(5), kind, "alone").text + " " for kind in KINDS[::10]]


LENGTH = 16_384


def seconds(string: str) -> float:
    return min(cost(finds, string, calls=1) for _ in range(3))


@pytest.mark.parametrize(
    "unit", [*HOSTILE, *FULL_OF_SECRETS], ids=range(len(HOSTILE) + len(FULL_OF_SECRETS))
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """The benchmark of redaction measures 64 KiB; here, the growth is checked."""
    short, long = (seconds(filled(unit, LENGTH * times)) for times in (1, 2))
    assert long <= 2.6 * short + 0.005
    assert short < 0.1


def test_typical_text_takes_linear_time() -> None:
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:5]
    code = "\n".join(path.read_text("utf-8") for path in sources)
    assert seconds(code * 2) <= 2.6 * seconds(code) + 0.005
