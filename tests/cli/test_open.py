"""`segue open`: a conversation is opened in the editor that is here."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import run
from tests.conftest import StartClient


@pytest.fixture
def recorded(start: StartClient) -> str:
    """Store a session of the folder `src` of the repository and return its id."""
    client = start()
    session_id: str = client.request("session/open")["session"]["sessionId"]
    event = {"type": "user_message", "data": {"content": "one"}}
    client.request("session/append", {"sessionId": session_id, "events": [event]})
    return session_id


@pytest.fixture
def editors(tmp_path: Path) -> Path:
    """Return a folder with editors that say where they run, and how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("nvim", "code"):
        program = folder / name
        program.write_text('#!/bin/sh\necho "$0"\npwd\nfor each; do echo "<$each>"; done\n')
        program.chmod(0o700)
    return folder


def opened(recorded: str, editors: Path, *options: str, **environment: str) -> list[str]:
    cleared = {"VISUAL": "", "EDITOR": "", "TERM_PROGRAM": "", "PATH": f"{editors}:/usr/bin:/bin"}
    done = run("open", recorded, *options, **(cleared | environment))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_neovim_resumes_it_in_its_folder(recorded: str, editors: Path, repository: Path) -> None:
    in_neovim = [str(editors / "nvim"), str(repository), f"<+Segue resume {recorded}>"]
    assert opened(recorded[:20], editors) == in_neovim
    assert opened(recorded, editors, EDITOR="/usr/bin/vi") == in_neovim
    assert opened(recorded, editors, EDITOR="code", VISUAL="nvim -u NONE") == in_neovim
    assert opened(recorded, editors, "--editor", "nvim", TERM_PROGRAM="vscode") == in_neovim


def test_vs_code_opens_its_folder(recorded: str, editors: Path, repository: Path) -> None:
    in_code = [str(editors / "code"), str(repository), f"<{repository}>"]
    assert opened(recorded, editors, TERM_PROGRAM="vscode", EDITOR="nvim") == in_code
    assert opened(recorded, editors, EDITOR="code --wait") == in_code
    (editors / "nvim").unlink()
    assert opened(recorded, editors) == in_code


def test_what_would_run_is_printed(recorded: str, editors: Path, repository: Path) -> None:
    line = f"cd {repository} && nvim '+Segue resume {recorded}'"
    assert opened(recorded, editors, "--print") == [line]
    command: Any = json.loads("\n".join(opened(recorded, editors, "--json")))
    assert command == {
        "command": ["nvim", f"+Segue resume {recorded}"],
        "directory": str(repository),
    }


def test_what_cannot_be_opened_is_said(recorded: str, start: StartClient) -> None:
    done = run("open", recorded, PATH="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Neither nvim nor code is on the PATH." in done.stderr
    hostile = "x|quit"
    start().request("session/fork", {"sessionId": recorded, "newSessionId": hostile})
    done = run("open", hostile, "--editor", "nvim")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot take the id x|quit" in done.stderr
    assert run("open", recorded, "--editor", "emacs").returncode == 2
