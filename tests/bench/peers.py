"""The peers: installed on demand, in an environment of their own, each run in its own process."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tests.bench.measure import Row, Samples, Side

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv"
PROGRAMS = ENVIRONMENT / ("Scripts" if sys.platform == "win32" else "bin")
REQUIREMENTS = HERE / "requirements.txt"

APPENDING = {
    "openai-agents SQLiteSession": 100,
    "openai-agents AsyncSQLiteSession": 100,
    "openai-agents AdvancedSQLiteSession": 100,
    "google-adk SqliteSessionService": 30,
    "google-adk DatabaseSessionService": 20,
    "langgraph AsyncSqliteSaver": 50,
    "llm LogStore": 50,
}
"""Those that store conversations in SQLite, and how many appends of each are enough for a round."""


class Peer:
    """The process of one peer."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        folder = folder / name.replace(" ", "-")
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [PROGRAMS / "python", HERE / "peer_worker.py", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, session: str, **more: Any) -> Any:
        """Let the peer do something, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "session": session} | more) + "\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise RuntimeError(f"{self.name} failed: see above")
        return json.loads(answer)

    def appending(self, session: str, text: str, most: int, name: str = "") -> Side:
        """Return a side that appends to a session that was begun."""

        def measure(calls: int) -> Samples:
            done = self.ask("append", session, text=text, calls=min(calls, most))
            return {name or self.name: done}

        return measure

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


@contextlib.contextmanager
def running(folder: Path, *names: str) -> Iterator[dict[str, Peer]]:
    """Run the peers so named, none if they are not installed, until the block ends."""
    peers = {name: Peer(name, folder) for name in names if installed()}
    try:
        yield peers
    finally:
        for peer in peers.values():
            peer.end()


def installed() -> bool:
    """Tell whether there is something to compare with."""
    return (PROGRAMS / "ruff").exists() or (PROGRAMS / "ruff.exe").exists()


def absent(number: int, question: str, measured: str, name: str) -> Row:
    """Return the row of a peer that is not installed."""
    against = f"{name}, not installed: run `python tests/bench --install`"
    return Row(number=number, question=question, measured=measured, against=against)


def install() -> None:
    """Make the peers' environment."""
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    pip = [str(PROGRAMS / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)


def versions() -> str:
    """Return the names and versions of what was compared with."""
    names = {line.partition("==")[0].partition("[")[0] for line in _pinned()}
    found = distributions(path=[str(each) for each in ENVIRONMENT.glob("lib*/**/site-packages")])
    chosen = {f"{each.name} {each.version}" for each in found if each.name in names}
    return ", ".join(sorted(chosen, key=str.lower)) or "none"


def _pinned() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return [line for line in lines if "==" in line]
