"""Peer libraries as baselines: installed on demand in their own environment, a process for each."""

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

APPENDS_PER_ROUND = {
    "openai-agents SQLiteSession": 100,
    "openai-agents AsyncSQLiteSession": 100,
    "openai-agents AdvancedSQLiteSession": 100,
    "google-adk SqliteSessionService": 30,
    "google-adk DatabaseSessionService": 20,
    "langgraph AsyncSqliteSaver": 50,
    "llm LogStore": 50,
}
"""The peers that store conversations in SQLite, with the number of appends in a round."""


class Peer:
    """A process that runs `peer_worker.py` for one peer."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start the process; its databases are kept below *folder*."""
        self.name = name
        folder = folder / name.replace(" ", "-")
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [PROGRAMS / "python", HERE / "peer_worker.py", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def request(self, command: str, session: str, **params: Any) -> Any:
        """Run a command of `peer_worker.py` and return its result; RuntimeError if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"command": command, "session": session} | params) + "\n"
        )
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self.name} failed: its stderr says why")
        return json.loads(line)

    def append_side(self, session: str, content: str, limit: int, name: str = "") -> Side:
        """Return a side that makes at most *limit* appends a round to a session of `create`.

        *name* is the name of its figure, by default the peer's.
        """

        def measure(calls: int) -> Samples:
            calls = min(calls, limit)
            seconds = self.request("append", session, content=content, calls=calls)
            return {name or self.name: seconds}

        return measure

    def close(self) -> None:
        """Close the process's stdin and wait until it has ended."""
        self._process.communicate()


@contextlib.contextmanager
def start_peers(folder: Path, *names: str) -> Iterator[dict[str, Peer]]:
    """Run the peers of these names while the block runs; none if they are not installed."""
    peers = {name: Peer(name, folder) for name in names if is_installed()}
    try:
        yield peers
    finally:
        for peer in peers.values():
            peer.close()


def is_installed() -> bool:
    """Return whether the peers' environment exists."""
    return (PROGRAMS / "ruff").exists() or (PROGRAMS / "ruff.exe").exists()


def absent_row(number: int, quantity: str, measured: str, name: str) -> Row:
    """Return the row for a peer that is not installed, without a value."""
    baseline = f"{name}, not installed: run `python tests/bench --install`"
    return Row(number=number, quantity=quantity, measured=measured, baseline=baseline)


def install() -> None:
    """Create the peers' environment from `requirements.txt`."""
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    pip = [str(PROGRAMS / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)


def versions() -> str:
    """Return the names and versions of the installed peers, or `none`."""
    names = {line.partition("==")[0].partition("[")[0] for line in _pinned()}
    path = [str(folder) for folder in ENVIRONMENT.glob("lib*/**/site-packages")]
    installed = distributions(path=path)
    versions = {f"{each.name} {each.version}" for each in installed if each.name in names}
    return ", ".join(sorted(versions, key=str.lower)) or "none"


def _pinned() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return [line for line in lines if "==" in line]
