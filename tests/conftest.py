"""Fixtures of all tests: a repository, a path for the store, and real servers."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from segue.cli.client import Client
from segue.store.sqlite.service import LocalSessionService
from tests.editors import vscode_host

StartClient = Callable[..., Client]


def pytest_configure() -> None:
    # A shell starts its background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the processes of a test from the settings and sessions of this machine."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("SEGUE_CONTINUE_MINUTES", "SEGUE_LOG", "SEGUE_REDACT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEGUE_DATABASE", str(tmp_path / "data" / "sessions.db"))


@pytest.fixture(scope="session")
def vscode_tools() -> None:
    """Skip, or fail if VS Code is required, when this machine lacks a program that it needs."""
    if missing := vscode_host.missing_requirements():
        reason = "needs " + ", ".join(missing)
        if vscode_host.is_required():
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of the database of this test's servers and services."""
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with a subdirectory `src`."""
    root = Path(os.path.realpath(tmp_path)) / "repository"
    (root / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.fixture
def start(repository: Path) -> Iterator[StartClient]:
    """Return a function that starts a server and its initialized client, until the test ends."""
    clients: list[Client] = []

    def start_client(directory: Path = repository, **environment: str) -> Client:
        client = Client(directory, environment)
        clients.append(client)
        client.initialize(rootUri=directory.as_uri())
        return client

    yield start_client
    for client in clients:
        if client.process.poll() is None:
            client.kill()
        else:
            client.close_stdin()


@pytest.fixture
async def service(database: Path) -> AsyncIterator[LocalSessionService]:
    """Return a service on the file `database`."""
    opened = await LocalSessionService.open(database)
    yield opened
    await opened.close()
