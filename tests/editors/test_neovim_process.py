"""Where the server runs, what its command prints, and what is shown when it does not run."""

import os
import sys
from pathlib import Path

from tests.editors.neovim import (
    HERE,
    SERVER,
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
)

pytestmark = needs_neovim


def test_environment_of_python_does_not_reach_the_server(
    run_neovim: RunNeovim, repository: Path, tmp_path: Path
) -> None:
    (repository / "attr.py").write_text("raise SystemExit(3)\n")
    hostile = {
        "PYTHONPATH": ".",
        "PYTHONHOME": "/nowhere",
        "PYTHONSTARTUP": "attr.py",
        "PYTHONINSPECT": "1",
        "__PYVENV_LAUNCHER__": "/nowhere",
    }
    report = run_neovim("process.environment", repository, environment=hostile)

    assert not set(hostile) & set(report["environment"])
    assert report["environment"]["PYTHONWARNINGS"] == "ignore", "what the user configures is kept"
    assert report["environment"]["SEGUE_OF_THE_USER"] == "1"
    assert report["environment"]["HOME"] == os.environ["HOME"]
    assert Path(report["cwd"]).is_relative_to(tmp_path / "report0.state")
    for name in ("PYTHONPATH", "PYTHONHOME"):
        assert f"WARNING {name} is set in Neovim's environment" in report["health"]
    assert f"the server's command: {sys.executable} -m segue lsp" in report["health"]


def test_program_is_not_taken_from_the_workspace(
    run_neovim: RunNeovim, repository: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "bin"
    installed.mkdir()
    for folder in (repository, installed):
        (folder / "segue").write_text("#!/bin/sh\n")
        (folder / "segue").chmod(0o755)
    report = run_neovim("process.program_in_path", repository, path=str(installed))

    assert report["command"] == [str(installed / "segue"), "lsp"]


def test_text_around_the_frames_is_skipped_and_shown_once(
    run_neovim: RunNeovim, database: Path
) -> None:
    noisy = [sys.executable, str(HERE / "noisy.py"), *SERVER]
    report = run_neovim("process.noisy_command", cmd=noisy)

    assert message_contents(database, report["session"]) == ["one", "two"]
    printed, crash = notices(report)
    assert "direnv: loading .envrc direnv: export +X no line break" in printed
    assert "the server stopped" in crash


def test_what_is_unsent_is_shown_with_its_reason(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("process.unsent")

    assert report["stopped"] == "segue 1 server stopped"
    assert report["status"].startswith("segue 1 +2 unsent since ")
    assert report["status"].endswith(", server stopped")
    assert "ERROR 2 events are not stored yet, since " in report["health"]
    assert "the server is not running" in report["health"]
    assert "ERROR the server of this Neovim:" in report["health"]
    assert report["after"] == "segue 4", "with the boundary of the new invocation"
    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "two", "three"]
