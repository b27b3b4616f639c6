"""Conversations of other programs: how they are listed, and where they go on."""

import shutil
from pathlib import Path

import pytest

from tests.agents import claude
from tests.cli.helpers import run
from tests.editors.neovim import RunNeovim, needs_neovim, notices

pytestmark = needs_neovim

ID = claude.SESSION


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """Import a conversation that was had in a folder of the repository; return the folder."""
    folder = repository / "it's here"
    folder.mkdir()
    question = claude.user(1, "Fix the test") | {"cwd": str(folder)}
    claude.transcript(tmp_path, claude.lines(question, claude.text(2, "Done.", 1)))
    done = run("import", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `claude` on the PATH; return the file to which it writes its folder and arguments."""
    file = tmp_path / "ran"
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n{{ pwd; printf "%s\\n" "$@"; }} > "{file}.part"\n'
        f'mv "{file}.part" "{file}"\nexec cat\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return file


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every `claude` from the PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert shutil.which("claude") is None


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def test_imported_conversations_are_listed_with_their_program(
    run_neovim: RunNeovim, folder: Path
) -> None:
    report = run_neovim("imported.listed", id=ID)

    who = f"Claude Code ({claude.MODEL})"
    assert f"{ID}  Fix the test · " in report["list"]
    assert report["list"].endswith(f" · 2 events · {who}")
    assert report["picker"][0].endswith(f" · 2 events · {who}")
    assert report["header"].endswith(f", with {who}.*")
    assert report["opened"] == "claude-code"
    assert report["origin"] == "Claude Code, then openai (gpt-5)"


def test_a_list_that_is_not_complete_says_so(
    run_neovim: RunNeovim, repository: Path, tmp_path: Path
) -> None:
    for number in range(201):
        id = f"{ID[:-3]}{number:03}"
        question = claude.user(1, "Fix it") | {"cwd": str(repository), "sessionId": id}
        claude.transcript(tmp_path, claude.lines(question), id)
    assert run("import", HOME=str(tmp_path)).returncode == 0
    report = run_neovim("imported.long_list")

    assert report["last"] == "\n  and older ones"
    assert report["prompt"] == "Resume a conversation (the newest 200)"
    assert report["count"] == 200


def test_without_a_chat_plugin_the_program_goes_on_in_a_terminal(
    run_neovim: RunNeovim, folder: Path, ran: Path
) -> None:
    report = run_neovim("imported.run", id=ID, run=str(ran))

    assert report["argv"] == [str(folder), "--resume", ID]
    assert [select["prompt"] for select in report["selects"]] == ["Resume a conversation"]
    assert [report["buftype"], report["layout"]] == ["terminal", "row"]
    assert report["workspace"] == str(folder)
    assert "current" not in report, "it goes on there, not here"
    assert report["windows"] == 2
    assert report["ran_again"] is False, "while it runs, its terminal is shown"
    assert report["is_new"] is True
    assert notices(report, 2) == []


def test_a_program_that_is_not_here_leaves_its_command_in_a_register(
    run_neovim: RunNeovim, folder: Path, no_program: None
) -> None:
    report = run_neovim("imported.blocked", id=ID)

    command = f"cd {quoted(folder)} && claude --resume {ID}"
    assert report["register"] == command
    assert report["name"].startswith(f"segue://{ID}"), "it can be read"
    (notice,) = notices(report)
    assert notice.startswith("segue: claude is not on the PATH; its command is in the register ")
    assert notice.endswith(command)


def test_a_folder_that_is_gone_is_said(run_neovim: RunNeovim, folder: Path, ran: Path) -> None:
    folder.rmdir()
    report = run_neovim("imported.blocked", id=ID)

    assert report["register"].startswith(f"cd {quoted(folder)} && ")
    (notice,) = notices(report)
    assert notice.startswith("segue: its folder is gone; its command is in the register ")
    assert not ran.exists()


def test_a_program_of_the_repository_is_not_run(
    run_neovim: RunNeovim, folder: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ran.parent / "bin" / "claude", folder / "claude")
    monkeypatch.setenv("PATH", ".:/usr/bin:/bin")
    report = run_neovim("imported.blocked", folder, id=ID)

    assert "claude is not on the PATH" in notices(report)[0]
    assert not ran.exists()


def test_a_chat_is_the_first_choice_and_the_program_the_second(
    run_neovim: RunNeovim, folder: Path, ran: Path
) -> None:
    report = run_neovim("imported.chat_or_program", id=ID, choice=2, run=str(ran))

    assert report["asked"] == 2, "nothing is asked if a chat goes on with it"
    assert report["select"] == {
        "prompt": "Go on with “Fix the test”",
        "kind": "segue_resume",
        "items": ["In a chat", "In Claude Code, in a terminal"],
    }
    assert report["argv"] == [str(folder), "--resume", ID]


def test_a_program_that_is_not_here_is_never_the_first_choice(
    run_neovim: RunNeovim, folder: Path, no_program: None
) -> None:
    report = run_neovim("imported.chat_or_program", id=ID, choice=2)

    assert report["select"]["items"] == [
        "In a chat",
        "In Claude Code: yank its command (claude is not on the PATH)",
    ]
    assert report["register"].endswith(f"claude --resume {ID}")


def test_what_the_program_does_not_know_is_said(
    run_neovim: RunNeovim, folder: Path, ran: Path
) -> None:
    report = run_neovim("imported.went_on_here", id=ID, run=str(ran))

    assert report["client"] == "Neovim"
    (notice,) = notices(report)
    assert notice == "segue: Claude Code does not know what was said elsewhere since"
    assert report["items"] == ["In a chat", "In Claude Code, without what was said elsewhere since"]


@pytest.mark.parametrize("old_server", [True, False])
def test_what_no_program_goes_on_with_is_opened_as_before(
    run_neovim: RunNeovim, folder: Path, ran: Path, old_server: bool
) -> None:
    id = {"id": ID} if old_server else {}
    report = run_neovim("imported.as_before", old_server=old_server, **id)

    assert report["selects"] in ([], {})
    assert report["name"].startswith(f"segue://{report['id']}")
    assert not ran.exists()
    assert notices(report) == []
