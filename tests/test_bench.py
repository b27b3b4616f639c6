"""The benchmark still runs: what it measures is no matter of a test."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "group", ["append", "pipelined_append", "find_resumable", "open_session", "load_events"]
)
def test_a_group_of_the_benchmark_runs(group: str) -> None:
    command = [sys.executable, "tests/bench", "--quick", group]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Goals reached" in done.stdout


def test_a_group_that_is_not_there_is_refused() -> None:
    command = [sys.executable, "tests/bench", "flying"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "there is no flying" in done.stderr) == (2, True)
