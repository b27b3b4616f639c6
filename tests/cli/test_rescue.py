"""`segue rescue`: what programs have lost is listed, and written back where that is honest."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.agents import claude, samples, test_atuin
from tests.agents.claude import SESSION, lines, text, tool_result, tool_use, user
from tests.agents.claude_transcripts import Transcript
from tests.agents.samples import ONE
from tests.cli.helpers import as_json, at_terminal, run
from tests.conftest import StartClient
from tests.factories import execute
from tests.sessions.test_hooks import hook

TALK = (
    user(1, "Fix the test"),
    text(2, "Let me look.", 1),
    tool_use(3, "toolu_1", 2),
    tool_result(4, "toolu_1", 3),
    text(5, "Done.", 4),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME", "GEMINI_CLI_HOME", "SEGUE_ACP"):
        monkeypatch.delenv(name, raising=False)
    return path


def imported(path: Path) -> Path:
    """Import what programs have here; return *path*, a file of theirs."""
    done = run("import")
    assert done.returncode == 0, done.stderr
    return path


def deleted(home: Path, *records: Any) -> Path:
    """Import a transcript of Claude Code, which then deletes it; return its path."""
    path = imported(claude.transcript(home, lines(*(records or TALK))))
    path.unlink()
    return path


def lost(*arguments: str) -> list[tuple[str, str, bool]]:
    found = as_json("rescue", *arguments)["lost"]
    return [(each["session"]["sessionId"], each["why"], each["canWrite"]) for each in found]


def events(id: str) -> list[tuple[Any, ...]]:
    shown = as_json("show", id)["events"]
    return [(each["id"], each["type"], each["data"], each["createdAt"]) for each in shown]


def added() -> int:
    """Import again; return how many events were new."""
    return sum(each["events"] for each in as_json("import"))


# What is lost


def test_what_is_there_or_only_grew_is_not_lost(home: Path) -> None:
    path = imported(claude.transcript(home, lines(*TALK)))
    assert lost() == []
    with path.open("ab") as file:
        file.write(lines(user(6, "More", 5)))
    done = run("rescue")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Other programs still have everything that was imported from them here.\n"
    done = run("rescue", SESSION)
    assert done.stdout == f"{SESSION} is not lost: Claude Code has it in {path}\n"


def test_a_deleted_transcript_is_listed(home: Path) -> None:
    deleted(home)
    assert lost() == lost("claude-code") == lost(SESSION) == [(SESSION, "file deleted", True)]
    assert lost("codex") == []
    done = run("rescue")
    assert (done.returncode, done.stderr) == (0, "")
    header, row, hint = done.stdout.splitlines()
    assert header.split() == ["SESSION", "LAST", "EVENTS", "SOURCE", "WHY", "WRITE", "TITLE"]
    assert row.split()[0] == SESSION
    assert row.split()[-8:] == ["5", "claude-code", "file", "deleted", "yes", "Fix", "the", "test"]
    assert hint.startswith("`segue rescue ID --write` writes one back.")


def test_listing_writes_nothing_into_the_folders_of_programs(home: Path) -> None:
    path = deleted(home)
    run("rescue")
    run("rescue", SESSION, "--write")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("kept", [lines(*TALK[:2]), lines(user(9, "Another one")), b""])
def test_a_transcript_that_was_cut_or_replaced_is_listed_and_left_as_it_is(
    home: Path, kept: bytes
) -> None:
    path = imported(claude.transcript(home, lines(*TALK)))
    path.write_bytes(kept)
    gone = 3 if TALK[0]["uuid"].encode() in kept else 5
    assert lost() == [(SESSION, f"file changed: {gone} events are not in it", False)]
    done = run("rescue", SESSION, "--write", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path} is there, and Segue changes no file of Claude Code" in done.stderr
    assert f"`segue export {SESSION}`" in done.stderr
    assert path.read_bytes() == kept
    assert "None of them can be written back" in run("rescue").stdout


def test_a_copy_with_all_events_is_not_lost(home: Path) -> None:
    path = imported(claude.transcript(home, lines(*TALK)))
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    os.replace(copy, path)
    assert lost() == []


def test_a_transcript_that_was_moved_is_not_lost(home: Path) -> None:
    path = imported(claude.transcript(home, lines(*TALK)))
    (path.parent.parent / "-elsewhere").mkdir()
    path.rename(path.parent.parent / "-elsewhere" / path.name)
    assert lost() == []


@pytest.mark.parametrize("name", ["archived_sessions/{}", "sessions/2026/03/04/{}.zst"])
def test_a_rollout_that_was_archived_or_compressed_is_not_lost(home: Path, name: str) -> None:
    path = imported(samples.codex().write(home))
    target = home / ".codex" / name.format(path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    assert lost() == []


@pytest.mark.parametrize("sample", [samples.codex(), samples.copilot_cli()])
def test_what_cannot_be_written_back_is_said(home: Path, sample: samples.Sample) -> None:
    imported(sample.write(home)).unlink()
    ((id, why, can_write),) = lost()
    assert (why, can_write) == ("file deleted", False)
    done = run("rescue", id, "--write", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Segue cannot write what C" in done.stderr
    assert f"`segue export {id}` writes a file of your own" in done.stderr


def test_a_conversation_that_left_a_database_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "xdg_data_home" / "atuin" / "ai_sessions.db"
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as db:
        db.executescript(test_atuin.SCHEMA)
    for id in ("a", "b"):
        test_atuin.add_session(file, id)
        test_atuin.add(file, f"{id}1", "user_message", {"content": id}, session=id)
    imported(file)
    assert lost() == []
    test_atuin.execute(file, "DELETE FROM session_events WHERE session_id = 'a'")
    test_atuin.execute(file, "DELETE FROM sessions WHERE id = 'a'")
    test_atuin.add(file, "b2", "text", {"content": "b"}, session="b")
    ((_, why, can_write),) = lost()
    assert (why, can_write) == ("not in the file any more", False)


def test_a_folder_that_is_not_here_is_no_loss(home: Path, tmp_path: Path) -> None:
    imported(claude.transcript(home, lines(*TALK)))
    (home / ".claude").rename(tmp_path / "unmounted")
    done = run("rescue")
    assert (done.returncode, done.stdout) == (0, "No losses were found.\n")
    assert f"{home / '.claude'} is not here, perhaps not mounted" in done.stderr
    assert as_json("rescue")["missingFolders"] == {str(home / ".claude"): 1}
    done = run("rescue", SESSION, "--write", "--yes")
    assert done.returncode == 1
    assert f"there is no {home / '.claude'}" in done.stderr
    assert not (home / ".claude").exists()


def test_what_segue_recorded_itself_is_no_loss_of_any_program(home: Path, database: Path) -> None:
    deleted(home)
    execute(database, "UPDATE sessions SET source = NULL")  # as `segue acp` does
    assert lost() == []
    assert as_json("rescue")["missingFolders"] == {}


def test_a_conversation_of_another_home_is_written_into_this_one_on_request(
    home: Path, tmp_path: Path
) -> None:
    deleted(home)
    shutil.rmtree(home / ".claude")
    other = tmp_path / "other"
    (other / ".claude").mkdir(parents=True)
    done = run("rescue", SESSION, "--write", "--yes", HOME=str(other))
    assert done.returncode == 0, done.stderr
    path = other / ".claude" / "projects" / "-work-project" / f"{SESSION}.jsonl"
    assert path.is_file()
    assert not (home / ".claude").exists()


def test_what_was_imported_from_a_copy_is_written_where_claude_code_looks(
    home: Path, tmp_path: Path
) -> None:
    copy = claude.transcript(tmp_path / "copy", lines(*TALK))
    run("import", str(copy))
    copy.unlink()
    (home / ".claude").mkdir()
    assert run("rescue", SESSION, "--write", "--yes").returncode == 0
    assert list((home / ".claude" / "projects").glob("*/*")) == [
        home / ".claude" / "projects" / "-work-project" / copy.name
    ]
    assert list(copy.parent.iterdir()) == []
    assert (lost(), added()) == ([], 0)


def test_a_file_that_cannot_be_read_is_said(home: Path) -> None:
    path = imported(claude.transcript(home, lines(*TALK)))
    path.unlink()
    path.mkdir()
    done = run("rescue")
    assert (done.returncode, done.stdout) == (1, "No losses were found.\n")
    assert f"claude-code: {path} cannot be read: not a file" in done.stderr
    assert run("rescue", SESSION, "--write", "--yes").returncode == 1


# What is written


def test_a_conversation_is_written_so_that_an_import_adds_nothing(home: Path) -> None:
    path = deleted(home)
    before = events(SESSION)

    done = run("rescue", SESSION, "--write", "--yes")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"Written: {path}\n" in done.stdout
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (lost(), added(), events(SESSION)) == ([], 0, before)


def records_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_what_follows_is_all_that_is_new(home: Path) -> None:
    path = deleted(home)
    run("rescue", SESSION, "--write", "--yes")
    with path.open("ab") as file:
        file.write(lines(user(6, "And now?", 5), text(7, "Now.", 6)))
    assert added() == 2
    assert [data.get("content") for _, _, data, _ in events(SESSION)][-2:] == ["And now?", "Now."]
    assert [each["sessionId"] for each in as_json("list", "--all", "--archived")["sessions"]] == [
        SESSION
    ]


def test_the_last_branch_of_a_conversation_is_written(home: Path) -> None:
    path = imported(samples.claude_code().write(home))
    path.unlink()
    ((fork, _, _),) = lost()
    assert fork != ONE
    before = events(fork)
    done = run("rescue", ONE, "--write", "--yes")
    assert done.returncode == 1
    assert f"{ONE} is a branch or a copy that Claude Code has no file of" in done.stderr
    assert run("rescue", fork, "--write", "--yes").returncode == 0
    assert {each.get("sessionId") for each in records_of(path)} == {ONE}
    assert records_of(path)[-1]["aiTitle"] == "Files"
    assert added() == 0
    assert (lost(), events(fork)) == ([], before)


def test_prompts_of_hooks_get_the_records_that_they_had(home: Path, repository: Path) -> None:
    transcript = Transcript(home, repository)
    hook(transcript.call("UserPromptSubmit", prompt="one", prompt_id="p1"))
    first = transcript.prompt("one", "p1")
    transcript.answer("half")
    hook(transcript.call("UserPromptSubmit", prompt="two", prompt_id="p2"))
    transcript.path.unlink()
    before = events(transcript.id)
    assert [id for id, *_ in before][::2] == ["prompt/p1", "prompt/p2"]

    assert run("rescue", transcript.id, "--write", "--yes").returncode == 0

    written = records_of(transcript.path)
    assert (written[0]["uuid"], written[0]["promptId"]) == (first, "p1")
    assert added() == 0
    assert events(transcript.id) == before


def test_what_was_said_in_an_editor_is_written_and_other_events_are_left_out(
    home: Path, start: StartClient
) -> None:
    path = deleted(home)
    client = start()
    opened = client.request("session/open", {"sessionId": SESSION})
    said = [
        {"type": "user_message", "data": {"content": "Here"}},
        {"type": "plan", "data": {"entries": []}},
        {"type": "user_message", "data": {"content": "[Request interrupted by user] I said"}},
        {"type": "tool_call", "data": {"id": "t", "name": "x", "input": [1]}},
        {"type": "text", "data": {"content": "There"}},
    ]
    head = opened["session"]["head"]
    client.request("session/append", {"sessionId": SESSION, "parentId": head, "events": said})
    client.shutdown()

    done = run("rescue", SESSION, "--write", "--yes")

    assert done.returncode == 0, done.stderr
    assert "left out, as Claude Code has no such thing: 1 plan 1 user_message 1 tool_call\n" in (
        done.stdout
    )
    assert [each["message"]["content"] for each in records_of(path)][-2:] == [
        "Here",
        [{"type": "text", "text": "There"}],
    ]
    assert added() == 0


def test_secrets_stay_masked(home: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    path = deleted(home, user(1, f"use {token}"), text(2, "Yes", 1))
    done = run("rescue", SESSION, "--write", "--yes")
    assert "Secrets stay masked" in done.stdout
    assert token.encode() not in path.read_bytes()


# Asking, and refusing


def test_it_asks_at_a_terminal(home: Path) -> None:
    path = deleted(home)
    command = ("rescue", SESSION, "--write")
    assert at_terminal("Write them?", "n", *command) == 1
    assert not path.exists()
    assert at_terminal("Write them?", "y", *command) == 0
    assert path.exists()


def test_where_nobody_can_be_asked_nothing_is_written(home: Path) -> None:
    path = deleted(home)
    done = run("rescue", SESSION, "--write")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  to {path}\n  5 events\n" in done.stdout
    assert "Claude Code does not get back: images" in done.stdout
    assert done.stdout.endswith(
        "Nothing was written: nobody can be asked here; add --yes to write.\n"
    )
    shown = as_json("rescue", SESSION, "--write")
    assert (shown["dryRun"], shown["written"], shown["planned"][0]["events"]) == (True, {}, 5)
    assert shown["planned"][0]["notKept"].startswith("images")
    assert not path.exists()
    shown = as_json("rescue", SESSION, "--write", "--yes")
    assert (shown["dryRun"], shown["written"]) == (False, {SESSION: str(path)})
    assert path.exists()


@pytest.mark.parametrize(
    "arguments", [("--yes",), ("--write",), ("claude-code", "--write"), ("--wrong",)]
)
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    done = run("rescue", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_id_of_nothing_that_was_imported_is_refused(start: StartClient) -> None:
    done = run("rescue", "nobody")
    assert (done.returncode, done.stderr) == (
        1, "Error: nobody is no source, and no session has this id.\n"
    )  # fmt: skip
    client = start()
    opened = client.request("session/open")
    said = [{"type": "user_message", "data": {"content": "Here"}}]
    id = opened["session"]["sessionId"]
    client.request("session/append", {"sessionId": id, "parentId": None, "events": said})
    client.shutdown()
    assert "was imported from no other program" in run("rescue", id).stderr


def test_a_session_of_a_program_that_only_a_later_version_knows_is_refused(
    home: Path, database: Path
) -> None:
    deleted(home)
    execute(database, "UPDATE sessions SET source = 'later'")
    done = run("rescue", SESSION)
    assert (done.returncode, done.stderr) == (
        1, f"Error: {SESSION} is from later, a program that this version does not know.\n"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["--resume", "agent-1", "..", "x" * 200])
def test_a_name_that_claude_code_would_not_resume_is_refused(home: Path, name: str) -> None:
    path = imported(claude.transcript(home, lines(*TALK), name))
    path.unlink()
    ((id, _, can_write),) = lost()
    assert not can_write
    done = run("rescue", id, "--write", "--yes")
    assert done.returncode == 1
    assert "Claude Code resumes only conversations whose file is named by a UUID" in done.stderr
    assert not path.exists()


def test_a_link_is_left_as_it_is(home: Path, tmp_path: Path) -> None:
    path = deleted(home)
    path.symlink_to(tmp_path / "nothing")
    assert lost() == [(SESSION, "a link to a file that is gone", False)]
    assert run("rescue", SESSION, "--write", "--yes").returncode == 1
    assert path.is_symlink()
    assert not (tmp_path / "nothing").exists()


def test_a_file_that_appears_while_it_asks_is_kept(home: Path) -> None:
    path = deleted(home)
    done = run_patched(
        f"import segue.cli.rescue as r; c = r.check\n"
        f"def check(*a):\n open({str(path)!r}, 'w').write('theirs')\n return c(*a)\n"
        "r.check = check",
        "rescue", SESSION, "--write", "--yes",
    )  # fmt: skip
    assert done.returncode == 1
    assert b"is there by now, and Segue changes no file of Claude Code" in done.stderr
    assert [each.read_text() for each in path.parent.iterdir()] == ["theirs"]


def test_a_folder_that_cannot_be_written_is_said(home: Path) -> None:
    path = deleted(home)
    path.parent.rmdir()
    path.parent.write_text("a file")
    done = run("rescue", SESSION, "--write", "--yes")
    assert done.returncode == 1
    assert (
        f"{SESSION} was not written: {path} cannot be written: {path.parent} is no folder"
        in done.stderr
    )
    assert path.parent.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said(home: Path) -> None:
    path = deleted(home)
    path.parent.chmod(0o500)
    done = run("rescue", SESSION, "--write", "--yes")
    path.parent.chmod(0o700)
    assert done.returncode == 1
    assert "cannot be written: Permission denied" in done.stderr


def test_a_folder_of_the_project_that_is_gone_is_made_for_its_owner_only(home: Path) -> None:
    path = deleted(home)
    shutil.rmtree(path.parent.parent)
    assert run("rescue", SESSION, "--write", "--yes").returncode == 0
    assert path.is_file()
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_workspace_that_is_gone_is_said(home: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    deleted(home, *(each | {"cwd": str(here)} for each in TALK))
    gone = f"goes on with it only in {here}, which is no folder any more"
    assert gone not in run("rescue", SESSION, "--write").stdout
    here.rmdir()
    assert gone in run("rescue", SESSION, "--write").stdout


def run_patched(patch: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    program = f"import sys, os, signal\n{patch}\nsys.argv[:] = ['segue', *sys.argv[1:]]\n"
    program += "from segue.startup.compose import main\nmain()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("call", ["os.fsync", "os.link", "segue.cli.rescue.check"])
def test_killed_in_the_middle_there_is_no_half_transcript(home: Path, call: str) -> None:
    path = deleted(home)
    module, _, name = call.rpartition(".")
    kill = "lambda *a: os.kill(os.getpid(), signal.SIGKILL)"
    patch = f"import {module}; sys.modules[{module!r}].{name} = {kill}"
    done = run_patched(patch, "rescue", SESSION, "--write", "--yes")
    assert done.returncode == -9
    assert not path.exists()
    assert lost() == [(SESSION, "file deleted", True)]
    assert run("rescue", SESSION, "--write", "--yes").returncode == 0
    assert (lost(), added()) == ([], 0)


def test_what_is_not_read_back_gets_no_name(home: Path) -> None:
    path = deleted(home)
    patch = (
        "from segue.agents import claude_code_writer as w\n"
        'w._line = lambda record: b\'{"type": "user"}\\n\''
    )
    done = run_patched(patch, "rescue", SESSION, "--write", "--yes")
    assert done.returncode == 1
    assert b"cannot be written: it is not read back as it was" in done.stderr
    assert list(path.parent.iterdir()) == []


def test_a_state_without_a_path_is_passed_over(home: Path, database: Path) -> None:
    deleted(home)
    execute(database, "UPDATE metadata SET value = '[1]' WHERE key = 'import'")
    assert lost() == []
