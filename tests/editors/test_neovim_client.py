import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.editors.neovim import NEOVIM, SERVER, needs_neovim, wait_until_nobody_is_left

SCRIPT = Path(__file__).with_name("first_light.lua")
COUNT = 150
"""Fewer than a Linux socket holds of them (167): what Neovim could not write, it takes with it."""

pytestmark = needs_neovim


def live(directory: Path, report: Path, events: int) -> dict[str, Any]:
    """Let Neovim live in *directory* until it quits; return what it saw."""
    told = {
        "FIRST_LIGHT_COMMAND": json.dumps(SERVER),
        "FIRST_LIGHT_REPORT": str(report),
        "FIRST_LIGHT_EVENTS": str(events),
        "NVIM_LOG_FILE": os.devnull,
    }
    assert NEOVIM is not None
    ended = subprocess.run(
        [NEOVIM, "--clean", "--headless", "-c", f"luafile {SCRIPT}"],
        cwd=directory,
        env=os.environ | told,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    seen: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    assert ended.returncode == 0, seen.get("problem", ended.stderr)
    return seen


def test_a_conversation_goes_on_in_the_next_neovim(
    repository: Path, database: Path, tmp_path: Path
) -> None:
    # Neovim waits for no answer and quits in the middle of it all.
    first = live(repository, tmp_path / "first.json", COUNT)
    assert not wait_until_nobody_is_left(database), "left behind"

    second = live(repository / "src", tmp_path / "second.json", 0)
    assert not wait_until_nobody_is_left(database), "left behind"

    assert first["contents"] == []
    assert first["resumed"] is False
    assert first["sync"]["openClose"] is False, "Neovim has no buffer to send"
    assert second["session"] == first["session"]
    assert second["resumed"] is True
    assert second["contents"] == [f"event {number}" for number in range(1, COUNT + 1)]
