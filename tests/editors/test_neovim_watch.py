"""`segue watch` as a child of Neovim: it imports, and never outlives it."""

import sys
from pathlib import Path

import pytest

from tests.agents import claude
from tests.editors.neovim import (
    RunNeovim,
    needs_neovim,
    notices,
    wait_for_processes_to_exit,
)

pytestmark = needs_neovim


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home in which Claude Code has one conversation."""
    path = tmp_path / "home"
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    claude.transcript(path, claude.lines(claude.user(1, "Mend the parser")))
    return path


def test_it_imports_while_the_setting_says_so_and_ends_with_neovim(
    run_neovim: RunNeovim, home: Path, database: Path
) -> None:
    report = run_neovim("watch.imports")

    assert report["titles"] == ["Mend the parser"]
    assert f"imports other programs' conversations, process {report['first']}" in report["health"]
    assert report["pid"] != report["first"]
    assert notices(report) == []
    assert wait_for_processes_to_exit(database) == []


def test_one_that_ends_is_not_taken_for_the_one_that_runs(
    run_neovim: RunNeovim, home: Path, database: Path
) -> None:
    report = run_neovim("watch.toggled")

    assert report["pid"] == report["second"] != report["first"]
    assert wait_for_processes_to_exit(database) == []


def test_it_starts_with_neovim_if_the_setting_is_there(
    run_neovim: RunNeovim, home: Path, database: Path
) -> None:
    assert run_neovim("watch.set_before_start")["pid"] > 0
    assert wait_for_processes_to_exit(database) == []


def test_it_is_started_again_when_it_is_killed(run_neovim: RunNeovim, home: Path) -> None:
    report = run_neovim("watch.killed")

    assert report["pid"] != report["first"]
    assert notices(report) == []


def test_a_command_that_cannot_run_is_said_once(run_neovim: RunNeovim, home: Path) -> None:
    program = "import sys; print('No such command', file=sys.stderr); sys.exit(2)"
    report = run_neovim("watch.wrong_command", cmd=[sys.executable, "-c", program, "lsp"])

    (notice,) = notices(report)
    assert "`segue watch` cannot run: No such command" in notice
    assert report["pid"] is None


def test_conversations_of_other_programs_are_pointed_out_once(
    run_neovim: RunNeovim, home: Path
) -> None:
    (notice,) = notices(run_neovim("watch.offer"), 2)

    assert "Claude Code: conversations are here" in notice
    assert ":help segue-watch" in notice


def test_nothing_is_pointed_out_where_nobody_sees_it(run_neovim: RunNeovim, home: Path) -> None:
    assert not any("watch" in each for each in notices(run_neovim("watch.headless"), 2))
