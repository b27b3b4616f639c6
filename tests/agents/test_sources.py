"""Every source has what the package says of them."""

from pathlib import Path

import pytest

from segue import agents
from segue.agents.transcript import Places


@pytest.mark.parametrize("name", agents.SOURCES)
def test_a_source_has_what_the_package_lists(name: str, tmp_path: Path) -> None:
    source = agents.load(name)
    assert source.NAME.replace("-", "_") in (name, "segue")
    assert source.TITLE
    assert source.RESUME is None or "{id}" in "".join(source.RESUME)
    assert list(source.find(Places(tmp_path, {}))) == []
    assert not source.accepts(tmp_path / "notes.txt")
    assert callable(source.read)
    # A folder that is not there yet is watched, too; but exports may be anywhere.
    assert any(source.folders(Places(tmp_path, {}))) == (name != "segue_jsonl")


@pytest.mark.parametrize(
    ("name", "path", "folder"),
    [
        ("claude_code", ".claude/projects/-p/id.jsonl", ".claude"),
        ("codex", ".codex/sessions/2026/03/04/rollout-x.jsonl", ".codex"),
        ("copilot_cli", ".copilot/session-state/id/events.jsonl", ".copilot"),
        ("gemini_cli", ".gemini/tmp/p/chats/session-x.json", ".gemini"),
        ("vscode_chat", "User/workspaceStorage/h/chatSessions/x.jsonl", "User/workspaceStorage"),
        ("codecompanion_history", "codecompanion-history/chats/1.json", "codecompanion-history"),
        ("avante", "avante/projects/__p/history/0.json", "avante/projects"),
        ("copilot_chat", "copilotchat_history/default.json", "copilotchat_history"),
    ],
)
def test_a_file_lies_in_a_folder_of_its_program(name: str, path: str, folder: str) -> None:
    assert agents.load(name).folder_of(Path("/home") / path) == Path("/home") / folder


def test_a_source_of_a_later_version_is_not_found() -> None:
    assert agents.find("of-a-later-version") is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vscode_chat", ".config/Code/User/workspaceStorage/h/chatSessions/x.jsonl"),
        ("codecompanion_history", ".local/share/nvim/codecompanion-history/chats/1.json"),
        ("avante", ".local/state/other/avante/projects/__p/history/0.json"),
        ("copilot_chat", ".local/share/nvim/copilotchat_history/default.json"),
    ],
)
def test_what_is_found_lies_in_a_folder_that_is_watched(
    name: str, path: str, tmp_path: Path
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    source, places = agents.load(name), Places(tmp_path, {})
    assert list(source.find(places)) == [file]
    watched = [
        each.path in file.parents if each.is_deep else each.path == file.parent
        for each in source.folders(places)
    ]
    assert any(watched)
