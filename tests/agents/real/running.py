"""Runs a real agent in a test."""

import os
import subprocess
import sys
from typing import TypeVar

import pytest

from tests.agents.real import installation, offline
from tests.agents.real.agents import Place, Program
from tests.builds import ROOT

_KEPT = ("LANG", "PATH", "TMPDIR")

_AnyProgram = TypeVar("_AnyProgram", bound=Program)


def installed(agent: _AnyProgram) -> _AnyProgram:
    """Return an agent, installed; skip the test, or fail if it is required, if it cannot be had."""
    if not agent.is_in_gate and os.environ.get("SEGUE_ALL_AGENTS") != "1":
        pytest.skip(f"{agent.megabytes} MB: see Real agents in DEVELOPMENT.md")
    refuse = pytest.fail if installation.is_required() else pytest.skip
    if missing := installation.missing_requirements() + offline.missing_requirements():
        refuse(f"{agent.name} needs {', '.join(missing)}")
    try:
        agent.install()
    except RuntimeError as error:
        refuse(f"{agent.name} cannot be installed from the npm registry: {error}")
    return agent


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what a person's environment may tell an agent."""
    for name in set(os.environ) - {*_KEPT}:
        if not name.startswith(("SEGUE_", "XDG_", "PYTEST_")):
            monkeypatch.delenv(name)


def run_everything(tests: str) -> int:
    """Run *tests* with all agents, and with the arguments of this process; return the exit code."""
    everything = {"SEGUE_ALL_AGENTS": "1", "SEGUE_REQUIRE_AGENTS": "1"}
    shared = {"SEGUE_AGENTS_CACHE": str(installation.SHARED_CACHE)}
    command = [sys.executable, "-m", "pytest", tests, *sys.argv[1:]]
    environment = shared | os.environ | everything
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def finish(place: Place, command: list[str]) -> str:
    """Run an agent to its end; return what it printed."""
    done = subprocess.run(
        [*place.enter, *command],
        cwd=place.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
