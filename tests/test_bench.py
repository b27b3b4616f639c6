"""The benchmarks run to their end; what they measure is not asserted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUPS = ["append", "pipelined_append", "find_resumable", "open_session", "load_events"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", GROUPS)
def test_group_runs(group: str) -> None:
    result = run("tests/bench", "--quick", group)
    assert result.returncode == 0, result.stderr
    assert "Goals reached" in result.stdout


def test_unknown_group_is_rejected() -> None:
    result = run("tests/bench", "flying")
    assert (result.returncode, "unknown group: flying" in result.stderr) == (2, True)
