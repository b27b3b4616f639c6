"""`segue resume`: an imported conversation goes on in its own program."""

import stat
from pathlib import Path

import pytest

from tests.agents import claude
from tests.cli.helpers import as_json, run


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Import a conversation that was had in a folder that exists; return the folder."""
    here = tmp_path / "it's here"
    here.mkdir()
    first = claude.user(1, "Fix the test") | {"cwd": str(here)}
    branch = [claude.text(2, "Done.", 1), claude.user(3, "A", 2), claude.user(4, "B", 2)]
    claude.transcript(tmp_path, claude.lines(first, *branch))
    done = run("import", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    return here


def test_the_command_is_printed_for_a_shell(imported: Path) -> None:
    done = run("resume", claude.SESSION, "--print")
    quoted = str(imported).replace("'", "'\"'\"'")
    assert done.stdout == f"cd '{quoted}' && claude --resume {claude.SESSION}\n"


def test_it_runs_in_the_folder_of_the_conversation(imported: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\npwd\necho "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = run("resume", claude.SESSION, PATH=f"{program.parent}:/usr/bin:/bin")
    assert done.stdout.splitlines() == [str(imported), f"--resume {claude.SESSION}"]


def test_a_fork_goes_on_in_its_original(imported: Path) -> None:
    sessions = as_json("list", "--archived")["sessions"]
    (fork,) = (each["sessionId"] for each in sessions if each["forkedFrom"])
    assert claude.SESSION in run("resume", fork, "--print").stdout


def test_what_cannot_go_on_is_said(imported: Path) -> None:
    done = run("resume", claude.SESSION, PATH="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "claude is not on the PATH" in done.stderr
    done = run("resume", "nobody")
    assert (done.returncode, done.stderr) == (1, "Error: No session has the id nobody.\n")
