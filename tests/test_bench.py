"""The benchmarks run to their end; what they measure is not asserted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUPS = [
    "append",
    "pipelined_append",
    "find_resumable",
    "open_session",
    "fork",
    "load_events",
    "import",
    "hook",
    "acp",
    "search",
    "follow",
    "postgres",
    "postgres_search",
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", GROUPS)
def test_group_runs(group: str) -> None:
    result = run("tests/bench", "--quick", group)
    assert result.returncode == 0, result.stderr
    assert "Goals reached" in result.stdout


def test_the_server_of_another_checkout_is_compared() -> None:
    result = run("tests/bench", "--quick", "idle_wakeups", "--against", str(ROOT))
    assert result.returncode == 0, result.stderr
    verdicts = [line for line in result.stdout.splitlines() if line.startswith(("* ok", "* MISS"))]
    assert sum(" of that of " in line for line in verdicts) == 3


def test_unknown_group_is_rejected() -> None:
    result = run("tests/bench", "flying")
    assert (result.returncode, "unknown group: flying" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "row", ["start", "append", "open", "find-resumable", "pipelined", "two-sessions", "contention"]
)
def test_compare_runs(row: str) -> None:
    options = ["--against", str(ROOT), "--rows", row, "--rounds", "2", "--quick"]
    result = run("tests/bench/compare.py", *options)
    assert result.returncode == 0, result.stderr
    assert f"| {row} | server CPU of each |" in result.stdout


def test_compare_with_a_folder_that_is_no_checkout_is_rejected(tmp_path: Path) -> None:
    result = run("tests/bench/compare.py", "--against", str(tmp_path))
    assert result.returncode == 1
    assert f"{tmp_path} has no package server/segue" in result.stderr
