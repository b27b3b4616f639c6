"""The `segue` command as a user runs it: in a process, with a terminal or without."""

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, contents, user_message


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "segue", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def as_json(*arguments: str) -> Any:
    """Run a command with `--json` and return what it prints."""
    return json.loads(run(*arguments, "--json").stdout)


def screen(columns: int, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Return what a command writes to a terminal with so many columns, without a pager."""
    mine, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    done = subprocess.Popen(
        [sys.executable, "-m", "segue", *arguments],
        env={**os.environ, "PAGER": "", "TERM": "xterm", **environment},
        cwd=cwd,
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    with contextlib.suppress(OSError):  # the command has closed the terminal
        while data := os.read(mine, 65_536):
            written += data
    done.wait(60)
    os.close(mine)
    return written.decode().replace("\r\n", "\n")


def at_terminal(question: str, answer: str, *arguments: str) -> int:
    """Run a command at a terminal, answer its question, and return its exit code."""
    mine, its = os.openpty()
    command = [sys.executable, "-m", "segue", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        os.write(mine, f"{answer}\n".encode())
        shown = b""
        while process.poll() is None or b"?" not in shown:
            try:
                shown += os.read(mine, 4_096)
            except OSError:  # the command has closed the terminal
                break
        assert f"{question} [y/N]".encode() in shown
    os.close(mine)
    return process.returncode


def converse(dialogue: dict[str, str], *arguments: str, columns: int = 80) -> tuple[int, str]:
    """Run a command at a terminal, give each answer when its question is shown.

    Return its exit code, and all that the terminal showed.
    """
    mine, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "segue", *arguments]
    left = dict(dialogue)
    shown = ""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        with contextlib.suppress(OSError):  # the command has closed the terminal
            while data := os.read(mine, 4_096):
                shown += data.decode()
                for question in [each for each in left if each in shown]:
                    os.write(mine, f"{left.pop(question)}\n".encode())
    os.close(mine)
    assert not left, shown
    return process.returncode, shown.replace("\r\n", "\n")


def append_message(database: Path, id: str, text: str) -> None:
    """Append a message of the person to a session, as another window would."""

    async def append() -> None:
        service = await LocalSessionService.open(database)
        await append_to_head(service, id, user_message(text))
        await service.close()

    asyncio.run(append())


def contents_of(database: Path, id: str) -> list[str]:
    """Return what was said in a session."""

    async def read() -> list[str]:
        service = await LocalSessionService.open(database)
        try:
            return await contents(service, id)
        finally:
            await service.close()

    return asyncio.run(read())
