"""`segue hook install|uninstall|status`: real settings files, of other programs."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.cli import json_edit
from tests.cli.helpers import as_json, run

SEGUE = str(Path(sys.executable).parent / "segue")

SETTINGS = {
    "claude-code": ".claude/settings.json",
    "codex": ".codex/hooks.json",
    "gemini": ".gemini/settings.json",
    "copilot": ".copilot/hooks/segue.json",
}

EVENTS = {
    "claude-code": ["UserPromptSubmit", "Stop", "SessionEnd"],
    "codex": ["UserPromptSubmit", "Stop", "SessionEnd"],
    "gemini": ["BeforeAgent", "AfterAgent", "SessionEnd"],
    "copilot": ["UserPromptSubmit", "Stop", "SessionEnd"],
}

FOREIGN = '{"type": "command", "command": "their own \\"thing\\" {[,]}"}'

TEXTS = {
    "nothing": "{}",
    "white space": "{ \n }\n\n",
    "other settings": '{"a": [1.0, 1e5, "\\u00e9 é"], "b" : {"c":null}}',
    "indented with four": '{\n    "a": 1,\n    "b": [\n        2\n    ]\n}\n',
    "tabs and CRLF": '{\r\n\t"a": 1,\r\n\t"b": {}\r\n}\r\n',
    "empty hooks": '{\n  "hooks": { }\n}',
    "empty events": '{"hooks": {"Stop": [\n], "SessionEnd": [ ], "AfterAgent":[]}, "z": 1}',
    "foreign hooks": '{\n  "hooks": {\n    "Stop": [\n      {"hooks": [THEIRS]}\n    ],\n'
    '    "PreToolUse": []\n  },\n  "z": "hooks"\n}',
    "foreign on one line": '{"hooks":{"SessionEnd":[{"matcher":"*","hooks":[THEIRS]}]}}',
}
TEXTS = {name: text.replace("THEIRS", FOREIGN) for name, text in TEXTS.items()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME", "GEMINI_CLI_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return path


@pytest.fixture(params=SETTINGS)
def agent(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(home: Path, agent: str, text: str) -> Path:
    path = home / SETTINGS[agent]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def ours(entry: Any) -> bool:
    return "segue hook" in json.dumps(entry)


def snapshot(home: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else None
        for path in home.rglob("*")
    }


@pytest.mark.parametrize("agent", ["claude-code", "copilot"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_uninstall_leaves_what_was_there(home: Path, agent: str, text: str) -> None:
    path = write(home, agent, text)
    before = json.loads(text)

    assert run("hook", "install", agent).returncode == 0
    installed = json.loads(path.read_bytes())
    first = path.read_bytes()
    assert run("hook", "install", agent).returncode == 0

    assert path.read_bytes() == first
    assert all(len([e for e in installed["hooks"][name] if ours(e)]) == 1 for name in EVENTS[agent])
    foreign = {
        name: [entry for entry in entries if not ours(entry)]
        for name, entries in installed["hooks"].items()
    }
    assert {k: v for k, v in foreign.items() if v or k in before.get("hooks", {})} == before.get(
        "hooks", {}
    )
    assert [key for key in installed if key in before] == list(before)
    assert run("hook", "uninstall", agent).returncode == 0
    assert path.read_bytes() == text.encode()
    assert run("hook", "uninstall", agent).returncode == 0
    assert path.read_bytes() == text.encode()


def test_uninstall_leaves_no_file_where_none_was(home: Path, agent: str) -> None:
    assert run("hook", "install", agent).returncode == 0
    assert stat.S_IMODE((home / SETTINGS[agent]).stat().st_mode) == 0o600

    assert run("hook", "uninstall", agent).returncode == 0

    assert snapshot(home) == {}


def test_uninstall_leaves_what_was_added_since(home: Path, agent: str) -> None:
    run("hook", "install", agent)
    path = home / SETTINGS[agent]
    value = json.loads(path.read_bytes())
    value["hooks"][EVENTS[agent][1]].insert(0, json.loads(FOREIGN))
    value["theirs"] = True
    path.write_text(json.dumps(value))

    assert run("hook", "uninstall", agent).returncode == 0

    rest = json.loads(path.read_bytes())
    assert rest.pop("theirs") is True
    assert rest.pop("hooks") == {EVENTS[agent][1]: [json.loads(FOREIGN)]}


def test_a_hook_of_ours_in_a_foreign_group_is_removed_alone(home: Path) -> None:
    mine = {"type": "command", "command": "/old/bin/segue hook claude-code"}
    group = {"matcher": "x", "hooks": [json.loads(FOREIGN), mine]}
    path = write(home, "claude-code", json.dumps({"hooks": {"Stop": [group]}}))

    run("hook", "uninstall", "claude-code")

    left = json.loads(path.read_bytes())["hooks"]["Stop"]
    assert left == [{"matcher": "x", "hooks": [json.loads(FOREIGN)]}]


def test_what_only_looks_like_ours_stays(home: Path) -> None:
    commands = ["segue hook codex", "not-segue hook claude-code", "segue hook claude-code | tee x"]
    entries = [{"hooks": [{"type": "command", "command": each}]} for each in commands]
    path = write(home, "claude-code", json.dumps({"hooks": {"Stop": entries}}))
    before = path.read_bytes()

    run("hook", "install", "claude-code")
    run("hook", "uninstall", "claude-code")

    assert path.read_bytes() == before


def test_a_command_that_has_moved_is_replaced(home: Path) -> None:
    entry = {"hooks": [{"type": "command", "command": "'/old place/segue' hook claude-code"}]}
    path = write(home, "claude-code", json.dumps({"hooks": {"Stop": [entry]}}))
    assert "is gone" in run("hook", "status", "claude-code").stdout

    run("hook", "install", "claude-code")

    (only,) = json.loads(path.read_bytes())["hooks"]["Stop"]
    assert only["hooks"][0]["command"] == f"{SEGUE} hook claude-code"
    assert run("hook", "status", "claude-code").returncode == 0


@pytest.mark.parametrize(("version", "is_exec"), [("2.1.139", True), ("2.1.99", False)])
def test_claude_code_gets_arguments_if_it_takes_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_exec: bool
) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    run("hook", "install", "claude-code")

    value = json.loads((home / SETTINGS["claude-code"]).read_bytes())
    (handler,) = value["hooks"]["Stop"][0]["hooks"]
    expected = (
        {"command": SEGUE, "args": ["hook", "claude-code"]}
        if is_exec
        else {"command": f"{SEGUE} hook claude-code"}
    )
    assert handler == {"type": "command", **expected, "timeout": 30}


def test_codex_is_not_given_more_time_than_it_allows(home: Path) -> None:
    run("hook", "install", "codex")

    value = json.loads((home / SETTINGS["codex"]).read_bytes())
    handlers = {event: entry["hooks"][0] for event, (entry,) in value["hooks"].items()}
    timeouts = {event: handler["timeout"] for event, handler in handlers.items()}
    assert timeouts == {"UserPromptSubmit": 30, "Stop": 30, "SessionEnd": 3}
    assert "already installed" in run("hook", "install", "codex").stdout


def test_the_command_in_the_settings_runs(home: Path, agent: str, database: Path) -> None:
    run("hook", "install", agent)
    value = json.loads((home / SETTINGS[agent]).read_bytes())
    entry = value["hooks"][EVENTS[agent][0]][0]
    handler = entry.get("hooks", [entry])[0]
    said = {"session_id": "s", "hook_event_name": EVENTS[agent][0], "prompt": "hello"}

    ended = subprocess.run(
        ["sh", "-c", handler.get("bash", handler.get("command"))],
        input=json.dumps(said).encode(),
        capture_output=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert f"{agent} {EVENTS[agent][0]} s" in (database.parent / "hook.log").read_text()
    assert as_json("hook", "status", agent)[0]["lastSpoke"] is not None


REFUSED = {
    "comments": ('{\n  // mine\n  "a": 1\n}', "line 2, column 3"),
    "a comma too many": ('{"a": 1,}', "not strict JSON"),
    "empty": ("", "not strict JSON"),
    "a byte order mark": ("\ufeff{}", "not strict JSON"),
    "doubled keys": ('{"hooks": {}, "hooks": {}}', "same key twice"),
    "NaN": ('{"a": NaN}', "NaN"),
    "nested deep": ("[" * 100_000, "not strict JSON"),
    "a list": ("[]", "`hooks`"),
    "hooks of another kind": ('{"hooks": []}', "`hooks`"),
    "an event of another kind": ('{"hooks": {"Stop": {}}}', "`hooks`"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_settings_that_are_not_understood_are_left_as_they_are(
    home: Path, text: str, reason: str
) -> None:
    path = write(home, "claude-code", text)

    ended = run("hook", "install", "claude-code")

    assert ended.returncode == 1
    assert f"{path} is left as it is" in ended.stderr
    assert reason in ended.stderr
    assert '"UserPromptSubmit": [' in ended.stderr  # what to add by hand
    assert path.read_bytes() == text.encode()
    assert run("hook", "status").returncode == 0


def test_a_file_that_is_open_in_an_editor_is_refused(home: Path) -> None:
    path = write(home, "claude-code", "{}")
    swap = path.parent / ".settings.json.swp"
    swap.touch()

    ended = run("hook", "install", "claude-code")

    assert "open in Vim" in ended.stderr
    assert path.read_text() == "{}"
    swap.unlink()
    (path.parent / ".#settings.json").symlink_to("me@here.1")
    assert "open in Emacs" in run("hook", "install", "claude-code").stderr


def test_a_read_only_file_is_refused(home: Path) -> None:
    path = write(home, "claude-code", "{}")
    path.chmod(0o444)

    assert "read-only" in run("hook", "install", "claude-code").stderr
    assert path.read_text() == "{}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(home: Path) -> None:
    path = write(home, "claude-code", "{}")
    os.chown(path, 12_345, 12_345)

    assert "another user" in run("hook", "install", "claude-code").stderr
    assert path.read_text() == "{}"


def test_mode_and_link_are_kept(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "claude.json"
    target.parent.mkdir()
    target.write_text("{}")
    target.chmod(0o640)
    link = home / SETTINGS["claude-code"]
    link.parent.mkdir()
    link.symlink_to(target)

    run("hook", "install", "claude-code")

    assert link.is_symlink()
    assert "UserPromptSubmit" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(each.name for each in target.parent.iterdir()) == ["claude.json"]
    run("hook", "uninstall", "claude-code")
    assert link.is_symlink()
    assert target.read_text() == "{}"


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link", "hard link", "not UTF-8"])
def test_what_is_no_plain_file_is_refused(home: Path, kind: str) -> None:
    path = write(home, "claude-code", "{}")
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to("nowhere")
        case "hard link":
            other = path.with_name("other")
            other.write_text("{}")
            path.hardlink_to(other)
        case _:
            path.write_bytes(b'{"a": "\xff"}')

    ended = run("hook", "install", "claude-code")

    assert ended.returncode == 1
    assert "is left as it is" in ended.stderr


def test_a_file_that_changes_meanwhile_is_left_as_it_is(home: Path) -> None:
    from segue.cli.settings_file import RefusedError, SettingsFile

    path = write(home, "claude-code", "{}")
    file = SettingsFile.read(path)
    path.write_text('{"theirs": 1}')

    with pytest.raises(RefusedError, match="just changed"):
        file.replace("{}")
    assert path.read_text() == '{"theirs": 1}'
    assert [each.name for each in path.parent.iterdir()] == ["settings.json"]


def test_all_means_those_that_are_here(home: Path) -> None:
    assert run("hook", "install", "all").returncode == 1
    (home / ".codex").mkdir()
    (home / ".copilot").mkdir()

    ended = run("hook", "install", "all")

    assert ended.returncode == 0
    assert "start codex once and choose Trust" in ended.stdout
    states = {each["agent"]: each["installed"] for each in as_json("hook", "status")}
    assert states == {"claude-code": False, "codex": True, "gemini": False, "copilot": True}
    doctor = run("doctor").stdout
    assert "codex: installed, last spoke: never" in doctor
    assert "gemini" not in doctor
    assert as_json("doctor")["hooks"][1]["installed"] is True
    run("hook", "uninstall", "all")
    assert sorted(snapshot(home)) == [".codex", ".copilot"]


def test_switched_off_hooks_are_said(home: Path) -> None:
    write(home, "claude-code", '{"disableAllHooks": true}')
    run("hook", "install", "claude-code")

    assert "disableAllHooks" in run("hook", "status", "claude-code").stdout


def test_a_lost_note_leaves_valid_settings(home: Path, database: Path) -> None:
    path = write(home, "gemini", '{"a": 1, "hooks": {}}')
    run("hook", "install", "gemini")
    (database.parent / "hooks.json").write_text("nonsense")

    assert run("hook", "uninstall", "gemini").returncode == 0

    assert json.loads(path.read_bytes()) == {"a": 1}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_json_edit_undoes_what_it_did(text: str) -> None:
    inside = json_edit.interior(text, ())

    longer = json_edit.append(text, (), "new key", {"a": [1, "é"]})

    assert json.loads(longer) == json.loads(text) | {"new key": {"a": [1, "é"]}}
    assert json_edit.remove(longer, ("new key",), inside) == text
