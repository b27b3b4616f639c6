"""The real Claude Code with the hooks installed, against a model on loopback."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.agents import claude_code
from segue.model.records import ImportedEvent
from tests.agents import fake_model
from tests.cli.helpers import as_json, run

CLAUDE = os.environ.get("SEGUE_CLAUDE_CODE", "")

pytestmark = pytest.mark.skipif(
    not CLAUDE,
    reason="SEGUE_CLAUDE_CODE does not name a `claude` (npm i @anthropic-ai/claude-code, 400 MB)",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("PATH", f"{Path(CLAUDE).parent}:{os.environ['PATH']}")
    for name in ("CLAUDE_CONFIG_DIR", "SEGUE_ACP", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_model.serve() as address:
        for name, value in {
            "ANTHROPIC_BASE_URL": address,
            "ANTHROPIC_API_KEY": "x",
            "ANTHROPIC_MODEL": "claude-sonnet-4-5",
            "NO_PROXY": "127.0.0.1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",  # as root it refuses to skip permissions elsewhere
        }.items():
            monkeypatch.setenv(name, value)
        yield path


def start(repository: Path, prompt: str, *options: str) -> "subprocess.Popen[bytes]":
    command = [CLAUDE, "-p", "--dangerously-skip-permissions", *options, prompt]
    return subprocess.Popen(
        command,
        cwd=repository,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[bytes]") -> bytes:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def stored(session_id: str) -> list[tuple[str, Any]]:
    shown = as_json("show", session_id)["events"]
    return [(each["type"], each["data"].get("content")) for each in shown]


def recorded(home: Path, session_id: str) -> list[tuple[str, Any]]:
    """Return what the transcript has, as an import would store it."""
    (path,) = (home / ".claude" / "projects").glob(f"*/{session_id}.jsonl")
    items = [item for each in claude_code.read(path, {}) for item in each.items]
    return [
        (item.event.type, item.event.data.get("content"))
        for item in items
        if isinstance(item, ImportedEvent)
    ]


def test_a_turn_with_a_tool_one_that_is_killed_and_a_resumed_one(
    home: Path, repository: Path, database: Path
) -> None:
    id = str(uuid.uuid4())
    assert run("hook", "install", "claude-code").returncode == 0
    handler = json.loads((home / ".claude" / "settings.json").read_bytes())["hooks"]["Stop"][0]
    assert handler["hooks"][0]["args"] == ["hook", "claude-code"]

    finish(start(repository, "RUN: echo from-the-shell", "--session-id", id))

    first = stored(id)
    assert first == recorded(home, id)
    assert [type for type, _ in first] == [
        "user_message", "text", "tool_call", "tool_result", "text"
    ]  # fmt: skip
    assert ("tool_result", "from-the-shell") in first

    killed = start(repository, "SLOW", "--resume", id)
    deadline = time.monotonic() + 40
    while stored(id)[-1] != ("user_message", "SLOW"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()

    finish(start(repository, "and now?", "--resume", id))

    # The agent writes down late that the killed turn had no answer: behind the next prompt.
    assert sorted(stored(id)) == sorted(recorded(home, id))
    assert [text for type, text in stored(id) if type == "user_message"] == [
        "RUN: echo from-the-shell", "SLOW", "and now?"
    ]  # fmt: skip
    assert stored(id)[-1] == ("text", "You said: and now?")
    assert as_json("import", "claude-code")[0]["events"] == 0
    assert [each["sessionId"] for each in as_json("list", "--archived")["sessions"]] == [id]
    log = (database.parent / "hook.log").read_text()
    assert "failed" not in log
    # A prompt, the end of a turn and that of a session: nothing for a tool.
    assert len(log.splitlines()) == 7
