import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.editors.neovim import NEOVIM, SERVER, needs_neovim, wait_for_processes_to_exit

SCRIPT = Path(__file__).with_name("plain_client.lua")
COUNT = 150
"""Fewer than a Linux socket buffers (167): what Neovim could not write is lost when it exits."""

pytestmark = needs_neovim


def run_client(directory: Path, report_path: Path, events: int) -> dict[str, Any]:
    """Run Neovim in *directory* until it exits; return its report."""
    environment = {
        "SEGUE_COMMAND": json.dumps(SERVER),
        "SEGUE_REPORT": str(report_path),
        "SEGUE_EVENTS": str(events),
        "NVIM_LOG_FILE": os.devnull,
    }
    assert NEOVIM is not None
    process = subprocess.run(
        [NEOVIM, "--clean", "--headless", "-c", f"luafile {SCRIPT}"],
        cwd=directory,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report: dict[str, Any] = json.loads(report_path.read_text()) if report_path.exists() else {}
    assert process.returncode == 0, report.get("problem", process.stderr)
    return report


def test_next_neovim_resumes_every_appended_event(
    repository: Path, database: Path, tmp_path: Path
) -> None:
    # Neovim exits without waiting for any response.
    first = run_client(repository, tmp_path / "first.json", COUNT)
    assert not wait_for_processes_to_exit(database), "still running"

    second = run_client(repository / "src", tmp_path / "second.json", 0)
    assert not wait_for_processes_to_exit(database), "still running"

    assert first["contents"] == []
    assert first["resumed"] is False
    assert first["sync"]["openClose"] is False, "Neovim must not send buffers"
    assert second["session"] == first["session"]
    assert second["resumed"] is True
    assert second["contents"] == [f"event {number}" for number in range(1, COUNT + 1)]
