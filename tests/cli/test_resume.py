"""`segue resume`: an imported conversation goes on in its own program."""

import stat
from pathlib import Path

import pytest

from segue.model.imports import ImportedEvent
from segue.model.records import NewSession, Timestamp
from segue.store.sqlite.service import LocalSessionService
from tests.agents import claude
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient
from tests.factories import user_message


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


@pytest.fixture
def claude_program(tmp_path: Path) -> Path:
    """Return a `claude` that says where it runs, and how it was called."""
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\npwd\necho "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_the_command_is_printed_for_a_shell(imported: Path) -> None:
    done = run("resume", claude.SESSION, "--print")
    quoted = str(imported).replace("'", "'\"'\"'")
    assert done.stdout == f"cd '{quoted}' && claude --resume {claude.SESSION}\n"


def test_a_fork_goes_on_in_its_original(imported: Path) -> None:
    sessions = as_json("list", "--all", "--archived")["sessions"]
    (fork,) = (each["sessionId"] for each in sessions if each["forkedFrom"])
    assert claude.SESSION in run("resume", fork, "--print").stdout


def test_an_editor_is_told_the_command(imported: Path, start: StartClient) -> None:
    client = start()
    found = client.request("session/resumeCommand", {"sessionId": claude.SESSION})
    assert found == {
        "command": ["claude", "--resume", claude.SESSION],
        "directory": str(imported),
        "program": "Claude Code",
    }


def test_a_session_of_an_editor_has_no_command(start: StartClient, tmp_path: Path) -> None:
    client = start()
    opened = client.request("session/open", {"workspace": str(tmp_path), "mode": "new"})
    session_id = opened["session"]["sessionId"]
    nothing = {"command": None, "directory": str(tmp_path), "program": None}
    assert client.request("session/resumeCommand", {"sessionId": session_id}) == nothing
    event = {"type": "user_message", "data": {"content": "one"}}
    client.request("session/append", {"sessionId": session_id, "events": [event]})
    assert client.request("session/resumeCommand", {"sessionId": session_id}) == nothing


def test_a_fork_whose_original_was_deleted_has_no_command(
    imported: Path, start: StartClient
) -> None:
    client = start()
    fork = client.request("session/fork", {"sessionId": claude.SESSION})["session"]["sessionId"]
    assert client.request("session/resumeCommand", {"sessionId": fork})["command"] is not None
    client.request("session/delete", {"sessionId": claude.SESSION})
    found = client.request("session/resumeCommand", {"sessionId": fork})
    assert (found["command"], found["program"]) == (None, "Claude Code")


async def test_a_session_of_a_program_that_is_not_known_has_no_command(
    database: Path, start: StartClient
) -> None:
    service = await LocalSessionService.open(database)
    new = NewSession(id="a", directory="/", source="of-a-later-version")
    await service.import_session(new, [ImportedEvent(user_message("one"), Timestamp(1))])
    await service.close()
    found = start().request("session/resumeCommand", {"sessionId": "a"})
    assert found == {"command": None, "directory": "/", "program": None}


def test_what_cannot_go_on_is_said(imported: Path) -> None:
    done = run("resume", claude.SESSION, PATH="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "claude is not on the PATH" in done.stderr
    done = run("resume", "nobody")
    assert (done.returncode, done.stderr) == (1, "Error: No session has the id nobody.\n")


def test_it_runs_in_the_folder_of_the_conversation(imported: Path, claude_program: Path) -> None:
    done = run("resume", claude.SESSION, PATH=f"{claude_program.parent}:/usr/bin:/bin")
    assert done.stdout.splitlines() == [str(imported), f"--resume {claude.SESSION}"]


def test_a_folder_that_is_gone_is_said(imported: Path, claude_program: Path) -> None:
    imported.rmdir()
    done = run("resume", claude.SESSION, PATH=f"{claude_program.parent}:/usr/bin:/bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{imported} is no folder any more" in done.stderr


async def test_an_id_that_a_program_would_misread_is_refused(database: Path) -> None:
    service = await LocalSessionService.open(database)
    new = NewSession(id="a", directory="/", source="opencode", server_session_id="--eval=x")
    event = ImportedEvent(user_message("one"), Timestamp(1))
    await service.import_session(new, [event])
    await service.close()
    done = run("resume", "a", "--print")
    assert (done.returncode, done.stdout) == (1, "")
    assert "It goes on in an editor" in done.stderr
