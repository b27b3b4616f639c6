"""The `segue` command as a user runs it: in a process, with a terminal or without."""

import json
import os
import subprocess
import sys
from typing import Any


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
