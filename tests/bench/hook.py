"""The time of `segue hook` at a prompt and at the end of a turn, beside a server that only starts.

Both come from one installation and use one database with a session of many events.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.agents import claude
from tests.bench import stores
from tests.bench.measure import (
    Row,
    Side,
    Sizes,
    alternate,
    at_most,
    format_seconds,
    pin_to_one_cpu,
    time_calls,
)
from tests.bench.wire import CHECKOUT, SEGUE, environment

_HOOK = (sys.executable, "-P", "-m", "segue", "hook", "claude-code")
_EVENTS = 1_000


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare both calls with `segue lsp` from its start to the end of its standard input."""
    folder /= "hook"
    database = folder / "sessions.db"
    with stores.create_database(database) as db:
        stores.add_session(db, 1, _EVENTS)
    turn = _Turn(folder)
    with pin_to_one_cpu():
        figures = alternate(
            [
                time_calls("lsp", lambda: lambda: _run(folder, SEGUE, b"")),
                _side("prompt", turn, "UserPromptSubmit"),
                _side("end", turn, "Stop"),
            ],
            rounds=sizes.rounds,
            calls=sizes.starts,
        )
    lsp = figures["lsp"].p50
    for name, quantity in (("prompt", "at a prompt"), ("end", "at the end of a turn")):
        yield Row(
            number=26,
            quantity=f"`segue hook` {quantity}, from its start to its end",
            measured=format_seconds(figures[name].p50),
            baseline=f"`segue lsp` to the end of its input, {format_seconds(lsp)}",
            value=figures[name].p50 / lsp,
            goal=at_most(1.1),
        )


class _Turn:
    """A transcript that each call of a hook finds one turn longer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = claude.transcript(folder, b"")
        self._number = 0

    def grow(self, event: str) -> bytes:
        """Write a turn, and return what Claude Code says to the hook."""
        self._number += 2
        prompt = claude.user(self._number, "And now?", self._number - 1)
        answer = claude.text(self._number + 1, "This.", self._number)
        records = [each | {"timestamp": "2026-11-20T10:00:00.000Z"} for each in (prompt, answer)]
        with self._path.open("ab") as file:
            file.write(claude.lines(*records))
        call = {
            "session_id": claude.SESSION,
            "transcript_path": str(self._path),
            "cwd": str(self.folder),
            "hook_event_name": event,
        }
        if event == "UserPromptSubmit":
            call |= {"prompt": f"And then? {self._number}", "prompt_id": f"p{self._number}"}
        return json.dumps(call).encode()


def _side(name: str, turn: _Turn, event: str) -> Side:
    def prepare() -> Callable[[], None]:
        call = turn.grow(event)
        return lambda: _run(turn.folder, _HOOK, call)

    return time_calls(name, prepare)


def _run(folder: Path, command: Sequence[str], given: bytes) -> None:
    variables = {
        "SEGUE_DATABASE": str(folder / "sessions.db"),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    subprocess.run(
        command,
        input=given,
        env=environment(CHECKOUT) | variables,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # without LSP's `exit` the server ends with 1
    )
