"""`segue paths`: what is on this machine."""

import os
from pathlib import Path

import pytest

from tests.cli.helpers import as_json, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of the commands; nothing outside of it is looked at."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "SEGUE_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    return home


def places(*options: str) -> dict[str, str]:
    """Return what each path is, by its path, without the program itself."""
    found = as_json(*options, "paths")["places"]
    return {each["path"]: each["what"] for each in found if "program" not in each["what"]}


def test_before_the_first_conversation_only_the_program_is_here(home: Path) -> None:
    assert {*places().values()} == {"its Python environment"}
    assert not any(home.iterdir())


def test_every_file_in_the_data_folder_is_listed(home: Path, tmp_path: Path) -> None:
    source = home / ".claude/projects/-p/00000000-0000-4000-8000-000000000009.jsonl"
    source.parent.mkdir(parents=True)
    source.write_text(
        '{"type":"user","uuid":"00000000-0000-4000-8000-000000000001","parentUuid":null,'
        f'"sessionId":"00000000-0000-4000-8000-000000000009","cwd":"{tmp_path}",'
        '"timestamp":"2026-01-02T03:04:05Z","message":{"role":"user","content":"Hello"}}\n'
    )
    assert run("import", str(source)).returncode == 0
    assert run("search", "Hello", "--all").returncode == 0
    assert run("doctor", "--index").returncode == 0
    assert run("backup").returncode == 0
    folder = home / ".local" / "share" / "segue"
    (folder / "hook.log").write_text("a line\n")
    found = places()
    there = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    assert len(there) > 4
    assert {each for each in there if not each.endswith(("-wal", "-shm"))} <= found.keys()
    assert found[str(folder / "sessions.db")] == "database"
    assert found[str(folder / "sessions.db-search")] == "beside the database"
    assert "copy of the database, backup" in found.values()


def test_files_of_another_database_are_not_listed(home: Path, tmp_path: Path) -> None:
    for name in ("x.db", "x.db-wal", "x.db2", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = places("--database", str(tmp_path / "x.db"))
    assert {Path(each).name for each in found if each.startswith(str(tmp_path / "x"))} == {
        "x.db",
        "x.db-wal",
    }
    assert str(tmp_path / "notes.txt") not in found


def test_settings_hooks_and_editors_are_listed(home: Path) -> None:
    there = [
        (".config/segue/config.toml", "settings"),
        (".vscode/extensions/segue.segue-0.1.0", "VS Code extension"),
        (".vscode-server/extensions/segue.segue-0.1.0", "VS Code extension"),
        (".config/Code/User/globalStorage/segue.segue", "VS Code: private environments"),
        (".config/VSCodium/User/globalStorage/segue.segue", "VS Code: private environments"),
        (".vscode-server/data/User/globalStorage/segue.segue", "VS Code: private environments"),
        (".local/share/nvim/site/pack/segue/start/segue", "Neovim plugin"),
        (".local/state/nvim/segue-watch-offered", "Neovim plugin: was asked"),
    ]
    for name, what in there:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if what.startswith("VS Code"):
            path.mkdir()
            (path / "file").write_bytes(bytes(100))
        else:
            path.touch()
    (home / ".vscode" / "extensions" / "other.other-1.0").mkdir()
    (home / ".claude").mkdir()
    assert run("hook", "install", "claude-code").returncode == 0
    found = places()
    for name, what in there:
        assert found[str(home / name)] == what
    assert found[str(home / ".claude" / "settings.json")] == "hooks of claude-code"
    assert not any("other" in each for each in found)
    sizes = {each["path"]: each["bytes"] for each in as_json("paths")["places"]}
    assert sizes[str(home / there[1][0])] == 100
    text = run("paths").stdout
    assert str(home / ".config/segue/config.toml") in text
    assert "`segue hook uninstall all` removes the hooks" in text
