"""`segue list`, and how every command finds the conversation that is named."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from segue.model.events import Event
from segue.model.records import NewSession, Timestamp
from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import as_json, at_terminal, run, screen
from tests.conftest import StartClient
from tests.factories import append_to_head, note, user_message

PARSER = "01a218e0-1111-7000-8000-000000000001"
CHINESE = "01a218e0-1122-7000-8000-000000000002"
EMOJI = "01a218e0-2222-7000-8000-000000000003"
HEBREW = "b1a218e0-3333-7000-8000-000000000004"
LONG = "c1a218e0-4444-7000-8000-000000000005"
FAMILY, RAINBOW = "👩\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈"
TITLES = {
    PARSER: "Fix the parser",
    CHINESE: "重构解析器并为函数添加单元测试然后更新文档以及所有的示例",
    EMOJI: f"{FAMILY} family, {RAINBOW} and more emoji in one title",
    HEBREW: "תקן את הבאג בפונקציית החישוב של המערכת בבקשה",
    LONG: "Review src/components/very/long/path.tsx, please, all of it",
}
SHORT = {"01a218e0-111", "01a218e0-112", "01a218e0-2", "b1a218e0", "c1a218e0"}


@pytest.fixture
async def stored(database: Path, repository: Path) -> None:
    """Store a conversation of each title in the repository, and one elsewhere."""
    time = 1_700_000_000_000

    def clock() -> Timestamp:
        return Timestamp(time)

    service = await LocalSessionService.open(database, clock)
    for id, title in TITLES.items():
        time += 1_000
        new = NewSession(id=id, directory=str(repository), git_root=str(repository))
        await service.create_session(new, [user_message(title)], invocation_id="one")
    other = NewSession(id="elsewhere", directory="/elsewhere")
    await service.create_session(other, [user_message("Elsewhere")], invocation_id="one")
    await service.close()


def ids(*arguments: str) -> list[str]:
    return [each["sessionId"] for each in as_json("list", *arguments)["sessions"]]


@pytest.fixture
def here(stored: None, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of the repository the current directory."""
    monkeypatch.chdir(repository / "src")
    return repository


# Which


def test_the_list_is_that_of_the_workspace(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids() == list(TITLES)[::-1]
    assert ids("--all") == ["elsewhere", *list(TITLES)[::-1]]
    assert ids("--cwd", "/elsewhere") == ["elsewhere"]
    monkeypatch.chdir(here.parent)
    assert ids() == []


def test_outside_of_every_workspace_it_says_how_many_there_are(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)
    done = run("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        f"No conversations of this workspace ({here.parent}). Elsewhere: 6 (segue list --all).\n"
    )
    monkeypatch.chdir(here)
    assert run("archive", *TITLES).returncode == 0
    assert run("list").stderr == (
        f"No conversations of this workspace ({here}). Archived: 5 (--archived). "
        "Elsewhere: 1 (segue list --all).\n"
    )


def test_all_and_a_directory_contradict_each_other(here: Path) -> None:
    done = run("list", "--all", "--cwd", ".")
    assert done.returncode == 2
    assert "Give either --all or --cwd." in done.stderr


async def test_sources_can_be_chosen(stored: None, database: Path) -> None:
    service = await LocalSessionService.open(database)
    for number in range(3):
        new = NewSession(id=f"codex-{number}", directory="/elsewhere", source="codex")
        await service.create_session(new, [user_message()], invocation_id="one")
    await service.close()
    assert ids("--all", "--source", "codex") == ["codex-2", "codex-1", "codex-0"]
    assert ids("--all", "--source", "codex", "--limit", "2") == ["codex-2", "codex-1"]
    assert len(ids("--all", "--source", "codex", "--source", "segue")) == 9
    assert ids("--cwd", "/elsewhere", "--source", "segue") == ["elsewhere"]
    done = run("list", "--all", "--source", "atuin")
    assert (done.returncode, done.stderr) == (0, "No conversations of atuin here.\n")


def test_pages_follow_each_other(here: Path) -> None:
    first = run("list", "--limit", "3")
    assert len(first.stdout.splitlines()) == 4
    match = re.fullmatch(r"There are more: (--cursor) (\S+)\n", first.stderr)
    assert match is not None
    second = run("list", "--limit", "3", *match.groups())
    assert second.stderr == ""
    lines = [*first.stdout.splitlines()[1:], *second.stdout.splitlines()[1:]]
    assert [line.split()[0] for line in lines] == list(TITLES)[::-1]
    assert run("list", "--cursor", "x").returncode == 1


def test_what_is_open_or_archived_is_marked(here: Path, start: StartClient) -> None:
    assert "STATE" not in run("list").stdout
    start().request("session/open", {"sessionId": PARSER})
    assert run("archive", CHINESE).returncode == 0
    lines = {line.split()[0]: line for line in run("list", "--archived").stdout.splitlines()}
    assert "  archived  " in lines[CHINESE]
    assert ("  open  " in lines[PARSER]) is (sys.platform == "linux")
    assert "  open  " not in lines[LONG]


# On a terminal


def columns_of(line: str) -> int:
    """Return how many columns the line has on a terminal that does not join emoji."""
    return sum(cell_len(char) or char == "\ufe0f" for char in line)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_fits_the_terminal(columns: int, here: Path) -> None:
    header, *lines = screen(columns, "list", NO_COLOR="1").splitlines()
    assert header.split() == ["ID", "AGE", "EVENTS", "TITLE"]
    assert {line.split()[0] for line in lines} == SHORT
    assert all(columns_of(line) <= columns for line in lines)
    assert all(line.count("\u2068") == line.count("\u2069") for line in lines)
    titles = [line[header.index("TITLE") :] for line in lines][::-1]
    for shown, title in zip(titles, TITLES.values(), strict=True):
        plain = shown.strip("\u2068\u2069")
        room = columns - header.index("TITLE")
        assert plain == title or (plain.endswith("…") and title.startswith(plain[:-1]))
        assert (plain == title) is (columns_of(title) <= room)
        assert plain == title or columns_of(plain) >= room - 2


def test_a_pipe_gets_whole_ids_titles_and_directories(here: Path) -> None:
    header, *lines = run("list").stdout.splitlines()
    assert header.split() == ["ID", "AGE", "EVENTS", "DIRECTORY", "TITLE"]
    for line, (id, title) in zip(lines[::-1], TITLES.items(), strict=True):
        assert line.startswith(f"{id}  ")
        assert line.strip("\u2069").endswith(title)
        assert f"  {here}  " in line


def test_directories_are_shown_for_all_workspaces(here: Path) -> None:
    assert "DIRECTORY" not in screen(200, "list")
    shown = screen(200, "list", "--all", HOME=str(here.parent))
    assert "  ~/repository  " in shown
    assert "  /elsewhere  " in shown


@pytest.fixture
def pager(tmp_path: Path) -> Path:
    """Return a pager that says that it was used."""
    program = tmp_path / "a pager"
    program.write_text('#!/bin/sh\necho "LESS=$LESS $1"\ncat\n')
    program.chmod(0o700)
    return program


def test_a_pager_is_used_on_a_terminal(here: Path, pager: Path) -> None:
    command = f"'{pager}' --option"
    for arguments in (["list"], ["show", PARSER]):
        first, *others = screen(80, *arguments, PAGER=command, LESS="").splitlines()
        assert first == "LESS= --option"
        assert any("Fix the parser" in line for line in others)
        assert "LESS=" not in screen(80, *arguments, "--no-pager", PAGER=command)
        assert "LESS=" not in screen(80, *arguments, PAGER="/nowhere/pager")
        assert "LESS=" not in screen(80, *arguments, PAGER=command, TERM="dumb")
        assert "LESS=" not in run(*arguments, PAGER=command).stdout


def test_a_pager_that_is_left_is_no_error(here: Path, tmp_path: Path) -> None:
    shown = screen(80, "show", PARSER, PAGER="true")
    assert shown == ""


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not here")
def test_less_shows_right_to_left_titles_as_they_are(here: Path) -> None:
    shown = screen(80, "list", PAGER="less", LESS="FRX")
    assert f"\u2068{TITLES[HEBREW]}\u2069" in shown
    assert "<U+" not in shown


# Which one is named


@pytest.mark.parametrize(
    "command",
    [
        *("show ID", "export ID", "fork ID", "rename ID Title", "archive ID", "unarchive ID"),
        *("resume ID", "rescue ID", "delete --yes ID"),
    ],
)
def test_the_beginning_of_an_id_names_a_session(command: str, here: Path) -> None:
    def result(id: str) -> tuple[int, str]:
        done = run(*command.replace("ID", id).split())
        return done.returncode, done.stdout + done.stderr

    code, said = result("01a218e0-11")
    assert code == 1
    assert "Error: Several conversations have an id that begins with 01a218e0-11.\n" in said
    assert re.search(r"^01a218e0-111  \d+[dy] +Fix the parser$", said, re.M)
    assert "01a218e0-2" not in said
    code, said = result("01a218e1")
    assert code == 1
    assert "01a218e1" in said
    code, said = result("01a218e0-111")
    assert "Several" not in said
    assert PARSER in said or "Fix the parser" in said


def test_an_id_that_begins_another_one_is_still_an_id(start: StartClient) -> None:
    client = start()
    for id in ("one", "one-more"):
        opened = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
        event = {"type": "user_message", "data": {"content": id}}
        client.request("session/append", {"sessionId": opened, "events": [event]})
        client.request("session/fork", {"sessionId": opened, "newSessionId": id})
    assert as_json("show", "one")["session"]["sessionId"] == "one"
    assert as_json("show", "one-")["session"]["sessionId"] == "one-more"
    assert run("show", "").returncode == 1
    assert run("show", os.fsdecode(b"\xff")).returncode == 1


def test_a_dash_is_what_would_be_resumed_here(
    here: Path, start: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("show", "-")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: No session of this workspace was updated in the last 60 minutes. "
        "`segue list` lists the others.\n"
    )
    client = start()
    client.request("session/open", {"sessionId": PARSER})
    event = {"type": "user_message", "data": {"content": "again"}}
    client.request("session/append", {"sessionId": PARSER, "events": [event]})
    assert as_json("show", "-")["session"]["sessionId"] == PARSER
    assert run("show", "-", SEGUE_CONTINUE_MINUTES="0").returncode == 1
    monkeypatch.chdir(here.parent)
    assert run("show", "-").returncode == 1


# Deleting


def test_a_deletion_is_asked_for(here: Path) -> None:
    done = run("delete", PARSER)
    assert done.returncode == 1
    assert "Fix the parser" in done.stdout
    assert done.stderr == ("Nothing was deleted: nobody can be asked here; add --yes to delete.\n")
    assert at_terminal("Delete 1 conversation for good?", "n", "delete", PARSER) == 1
    assert PARSER in ids()
    assert at_terminal("Delete 2 conversations for good?", "y", "delete", PARSER, CHINESE) == 0
    assert ids() == list(TITLES)[:1:-1]


def test_several_are_deleted_or_none(here: Path) -> None:
    done = run("delete", "--yes", PARSER, "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert PARSER in ids()
    done = run("delete", "--yes", "--json", PARSER, PARSER[:12])
    deleted = json.loads(done.stdout)["deleted"]
    assert [each["sessionId"] for each in deleted] == [PARSER]
    assert PARSER not in ids()
    assert run("delete").returncode == 2


# Completion


def completed(shell: str, *words: str, incomplete: str = "") -> str:
    line = {
        "COMP_WORDS": " ".join(["segue", *words, incomplete]).strip(),
        "COMP_CWORD": incomplete if shell == "fish" else str(len(words) + 1),
    }
    return run(**line, _SEGUE_COMPLETE=f"{shell}_complete").stdout


def values(answer: str) -> Sequence[str]:
    return re.findall(r"^plain,([^\t\n]*)", answer, re.M)


@pytest.mark.parametrize("command", ["show", "delete", "archive", "resume", "rename"])
def test_ids_are_completed_with_their_titles(command: str, here: Path) -> None:
    answer = completed("fish", command)
    assert set(values(answer)) == SHORT
    assert re.search(r"\t\d+[dy] · Fix the parser$", answer, re.M)
    assert values(completed("bash", command, incomplete="01a218e0-2")) == ["01a218e0-2"]
    assert values(completed("bash", command, incomplete=LONG[:20])) == [LONG]
    assert values(completed("bash", command, incomplete="else")) == ["elsewher"]
    zsh = completed("zsh", command, incomplete="b").splitlines()
    assert zsh[:2] == ["plain", "b1a218e0"]


def test_nothing_is_completed_that_a_shell_would_run(here: Path, start: StartClient) -> None:
    fork = {"sessionId": PARSER, "newSessionId": "$(touch x)"}
    start().request("session/fork", fork)
    assert completed("bash", "show", incomplete="$(").strip() == ""


def test_a_completion_that_fails_says_nothing(database: Path) -> None:
    assert completed("bash", "show").strip() == ""
    assert not database.exists()
    database.parent.mkdir()
    database.write_text("no database")
    database.chmod(0o600)
    done = run(COMP_WORDS="segue show", COMP_CWORD="2", _SEGUE_COMPLETE="bash_complete")
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_completion_of_bash_works_in_bash(here: Path) -> None:
    bin = Path(sys.executable).parent
    script = (
        'eval "$(segue completion bash)"; COMP_WORDS=(segue show b1a); COMP_CWORD=2; '
        '_segue_completion segue; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("b1a218e0\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_SEGUE_COMPLETE={shell}_complete" in done.stdout
    assert run("completion", "tcsh").returncode == 2


@pytest.mark.parametrize("command", [["list"], ["search", "word"]])
def test_a_current_directory_that_was_removed_is_said(tmp_path: Path, command: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD" && exec "$0" -m segue "$@"'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, *command],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: The current directory was removed. Go to another one.\n"


# The order by the last prompt


async def answered(database: Path, id: str, event: Event, time: int) -> None:
    service = await LocalSessionService.open(database, lambda: Timestamp(time))
    await append_to_head(service, id, event)
    await service.close()


async def test_the_list_begins_with_the_last_prompt_on_request(here: Path, database: Path) -> None:
    newest_first = list(TITLES)[::-1]
    await answered(database, PARSER, note(), 1_700_000_100_000)
    await answered(database, CHINESE, user_message(), 1_700_000_050_000)
    assert ids() == [PARSER, CHINESE, *newest_first[:3]]
    assert ids("--order", "prompt") == [CHINESE, *newest_first[:3], PARSER]
    assert ids("--order", "updated") == ids()
    shown = as_json("list", "--order", "prompt", "--limit", "2")
    assert shown["sessions"][0]["lastPromptAt"] == "2023-11-14T22:14:10.000Z"
    rest = ids("--order", "prompt", "--cursor", shown["nextCursor"])
    assert rest == [*newest_first[1:3], PARSER]
    refused = run("list", "--cursor", shown["nextCursor"])
    assert refused.returncode == 1 or refused.returncode == 2
    assert "order" in refused.stderr
