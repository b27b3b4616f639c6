"""What the proxy has recorded is not imported a second time; what was said elsewhere is."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acp.conftest import StartAcp
from tests.agents import claude
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient

CLAUDE = "--name=@agentclientprotocol/claude-agent-acp"


def said(session: str) -> list[str]:
    events = as_json("show", session)["events"]
    return [each["data"]["content"] for each in events if each["type"] in ("user_message", "text")]


def record(number: int, kind: str, text: str, when: float) -> Any:
    stamp = datetime.fromtimestamp(when, UTC).isoformat()
    make = claude.user if kind == "user" else claude.text
    return make(number, text, number - 1) | {"timestamp": stamp}


def transcript(home: Path, session: str, *records: Any) -> Path:
    return claude.transcript(home, claude.lines(*records), session)


@pytest.fixture
def recorded(start_acp: StartAcp) -> str:
    """Record a turn of Claude Code behind the proxy; return its session."""
    client = start_acp(CLAUDE)
    session = client.new()
    client.prompt(session, "one")
    client.end()
    return session


def test_what_was_recorded_is_not_imported_again(recorded: str, tmp_path: Path) -> None:
    now = time.time()
    its = [record(1, "user", "one", now), record(2, "text", "You said: one", now)]
    transcript(tmp_path, recorded, *its)
    for _ in range(2):
        (report,) = as_json("import", "claude-code")
        assert report["events"] == 0
    assert said(recorded) == ["one", "You said: one"]
    assert report["skipped"] in ({"recorded by segue acp": 2}, {})


def test_it_goes_on_in_the_program_of_its_agent(recorded: str) -> None:
    assert run("resume", recorded, "--print").stdout.endswith(f"claude --resume {recorded}\n")


def test_what_was_said_in_a_terminal_afterwards_is_imported(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    now, later = time.time(), time.time() + 60
    its = [record(1, "user", "one", now), record(2, "text", "You said: one", now)]
    more = [record(3, "user", "two", later), record(4, "text", "Two.", later)]
    transcript(tmp_path, recorded, *its, *more)
    (report,) = as_json("import", "claude-code")
    assert (report["events"], report["forks"]) == (2, 0)
    assert said(recorded) == ["one", "You said: one", "two", "Two."]
    last = record(5, "user", "three", later + 9)
    transcript(tmp_path, recorded, *its, *more, last)
    (report,) = as_json("import", "claude-code")
    assert report["events"] == 1
    assert said(recorded)[-1] == "three"


def test_a_revived_conversation_meets_its_agents_file(
    start_acp: StartAcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first = start_acp("--name=another")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    client = start_acp(CLAUDE)
    client.request("session/load", sessionId=session, cwd=str(client.cwd), mcpServers=[])
    heard = client.prompt(session, "two")
    client.end()
    own_id = as_json("show", session)["session"]["serverSessionId"]
    assert own_id != session
    now, later = time.time(), time.time() + 60
    its = [record(1, "user", heard.removeprefix("You said: "), now), record(2, "text", heard, now)]
    more = [record(3, "user", "three", later)]
    transcript(tmp_path, own_id, *its, *more)
    assert run("import", "claude-code").returncode == 0
    assert said(session)[-1] == "three"
    assert [each["sessionId"] for each in as_json("list", "--all")["sessions"]] == [session]


def test_a_history_that_an_agent_was_given_is_not_what_the_user_said(
    start_acp: StartAcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first = start_acp("--name=another")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    client = start_acp("--name=another")
    client.request("session/load", sessionId=session, cwd=str(client.cwd), mcpServers=[])
    heard = client.prompt(session, "two").removeprefix("You said: ")
    client.end()
    assert heard.startswith("[Note from Segue")
    transcript(tmp_path, claude.SESSION, record(1, "user", heard, time.time()))
    assert run("import", "claude-code").returncode == 0
    assert said(claude.SESSION) == ["two"]


def test_what_was_deleted_is_not_imported_from_the_agents_file(
    recorded: str, tmp_path: Path, start: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    transcript(tmp_path, recorded, record(1, "user", "one", time.time()))
    start().request("session/delete", {"sessionId": recorded})
    (report,) = as_json("import", "claude-code")
    assert (report["events"], report["deleted"]) == (0, 1)
    assert as_json("list", "--all")["sessions"] == []


def test_a_revived_conversation_that_was_deleted_stays_deleted(
    start_acp: StartAcp, tmp_path: Path, start: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ids = []
    client = start_acp("--name=another")
    session = client.new()
    client.prompt(session, "one")
    client.end()
    for _ in range(2):  # it keeps nothing: it is revived each time, under another id
        client = start_acp(CLAUDE)
        client.request("session/load", sessionId=session, cwd=str(client.cwd), mcpServers=[])
        client.prompt(session, "two")
        client.end()
        ids.append(as_json("show", session)["session"]["serverSessionId"])
    start().request("session/delete", {"sessionId": session})
    for id in ids:
        transcript(tmp_path, id, record(1, "user", "two", time.time()))
    (report,) = as_json("import", "claude-code")
    assert (report["events"], report["deleted"]) == (0, 2)


def test_what_was_recorded_under_a_former_id_is_not_imported_again(
    start_acp: StartAcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    now = time.time()
    client = start_acp(CLAUDE)  # it has lost the conversation, and goes on under another id
    assert client.load(recorded) == "revived"
    client.prompt(recorded, "two")
    client.end()
    its = [record(1, "user", "one", now), record(2, "text", "You said: one", now)]
    transcript(tmp_path, recorded, *its)
    (report,) = as_json("import", "claude-code")
    assert (report["events"], report["skipped"]) == (0, {"recorded by segue acp": 2})


def test_an_import_that_adds_nothing_changes_nothing(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (before,) = as_json("list", "--all")["sessions"]
    title = {"type": "ai-title", "aiTitle": "[Note from Segue: the user goes on with an earlier"}
    transcript(tmp_path, recorded, record(1, "user", "one", time.time()), title)
    (report,) = as_json("import", "claude-code")
    assert report["events"] == 0
    assert as_json("list", "--all")["sessions"] == [before]


def test_what_was_taken_in_is_not_imported_again(
    start_acp: StartAcp, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "kept" / claude.SESSION).write_text('"one"\n')
    then = time.time() - 3_600
    its = [record(1, "user", "one", then), record(2, "text", "You said: one", then)]
    transcript(tmp_path, claude.SESSION, *its)
    client = start_acp(CLAUDE, kept)
    assert client.load(claude.SESSION) == "taken in"
    client.prompt(claude.SESSION, "two")
    client.end()
    (report,) = as_json("import", "claude-code")
    assert report["events"] == 0
    assert said(claude.SESSION) == ["one", "You said: one", "two", "You said: two"]


def test_what_was_said_before_the_proxy_and_after_an_import_is_imported(
    start_acp: StartAcp, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "kept" / claude.SESSION).write_text('"one"\n"two"\n')
    then = time.time() - 3_600
    its = [record(1, "user", "one", then)]
    transcript(tmp_path, claude.SESSION, *its)
    assert as_json("import", "claude-code")[0]["events"] == 1
    client = start_acp(CLAUDE, kept)
    assert client.load(claude.SESSION) == "theirs"
    client.prompt(claude.SESSION, "three")
    client.end()
    transcript(tmp_path, claude.SESSION, *its, record(2, "user", "two", then + 60))
    assert as_json("import", "claude-code")[0]["events"] == 1
