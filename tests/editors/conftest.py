"""Fixtures that run a real Neovim, and check that every process has exited."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim import (
    SERVER,
    NeovimProcess,
    Report,
    RunNeovim,
    StartNeovim,
    wait_for_processes_to_exit,
)


@pytest.fixture
def start_neovim(tmp_path: Path, repository: Path, database: Path) -> Iterator[StartNeovim]:
    """Start a Neovim: `start_neovim("file.function", directory, argument="value")`."""
    processes: list[NeovimProcess] = []

    def start(
        spec: str, directory: Path = repository, /, cmd: object = SERVER, **arguments: Any
    ) -> NeovimProcess:
        flags = tmp_path / "flags"
        flags.mkdir(exist_ok=True)
        report = tmp_path / f"report{len(processes)}.json"
        neovim = NeovimProcess(report, spec, directory, arguments | {"flags": str(flags)}, cmd)
        processes.append(neovim)
        return neovim

    yield start
    for neovim in processes:
        if neovim.process.poll() is None:
            neovim.process.kill()
            neovim.process.communicate()
    left = wait_for_processes_to_exit(database)
    assert not left, "still running"


@pytest.fixture
def run_neovim(start_neovim: StartNeovim) -> RunNeovim:
    """Run a Neovim until it exits; returns its report."""

    def run(*args: Any, **arguments: Any) -> Report:
        return start_neovim(*args, **arguments).wait()

    return run
