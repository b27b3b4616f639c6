"""What `segue rescue` has written goes on in the real Claude Code."""

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import attrs
import pytest

from segue.agents import claude_code_writer
from segue.agents.transcript import Places
from tests.agents import claude
from tests.agents.real import offline
from tests.agents.real.agents import CLAUDE_CODE, Place, RealAgent
from tests.agents.real.running import finish, installed
from tests.cli.helpers import as_json, run

pytestmark = pytest.mark.timeout(300)  # the first test may have to install the agent


@pytest.fixture
def agent() -> RealAgent:
    return installed(CLAUDE_CODE)


def turn(place: Place, prompt: str, *options: str) -> str:
    return finish(place, [CLAUDE_CODE.command, *CLAUDE_CODE.turn, *options, prompt])


def fails(place: Place, prompt: str, *options: str) -> str:
    command = [*place.enter, CLAUDE_CODE.command, *CLAUDE_CODE.turn, *options, prompt]
    done = subprocess.run(command, cwd=place.directory, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def last_request(network: offline.Offline) -> list[Any]:
    """Return the messages that the model got last."""
    asked = (each["body"] for each in network.requests() if "/messages?" in f"{each['path']}?")
    bodies = [each for each in asked if "messages" in each]
    return list(bodies[-1]["messages"])


def stored(session_id: str) -> list[tuple[str, Any]]:
    shown = as_json("show", session_id)["events"]
    return [(each["type"], each["data"].get("content")) for each in shown]


def spoken(messages: list[Any]) -> list[tuple[str, Any]]:
    """Return what a request says, without what Claude Code tells the model of itself."""
    said = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            part = block.get("text") or block.get("thinking") or block.get("input")
            part = part or block.get("content")
            if not str(part).startswith("<system-reminder>"):
                said.append((f"{message['role']} {block['type']}", part))
    return said


def test_a_deleted_conversation_is_written_back_and_goes_on_with_all_that_was_said(
    place: Place, network: offline.Offline
) -> None:
    id = str(uuid.uuid4())
    turn(place, "RUN: echo from-the-shell", "--session-id", id)
    (path,) = (place.home / ".claude" / "projects").glob(f"*/{id}.jsonl")
    assert as_json("import", "claude-code")[0]["events"] == 5
    path.unlink()
    assert "No conversation found" in fails(place, "?", "--resume", id)

    assert run("rescue", id, "--write", "--yes").returncode == 0
    assert path.is_file()
    assert as_json("import", "claude-code")[0]["events"] == 0
    assert "You said: and now?" in turn(place, "and now?", "--resume", id)

    command = {"command": "echo from-the-shell", "description": "runs it"}
    assert spoken(last_request(network)) == [
        ("user text", "RUN: echo from-the-shell"),
        ("assistant text", "You said: RUN: echo from-the-shell"),
        ("assistant tool_use", command),
        ("user tool_result", "from-the-shell"),
        ("assistant text", "You said: RUN: echo from-the-shell"),
        ("user text", "and now?"),
    ]
    assert as_json("import", "claude-code")[0]["events"] == 2
    assert stored(id)[-2:] == [("user_message", "and now?"), ("text", "You said: and now?")]
    assert [each["sessionId"] for each in as_json("list", "--all", "--archived")["sessions"]] == [
        id
    ]


def test_the_model_gets_what_was_said_since_the_compaction_and_no_thinking(
    place: Place, network: offline.Offline
) -> None:
    def thought(number: int, parent: int) -> Any:
        block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
        return claude.record(number, "assistant", [block], parent)

    records = [
        claude.user(1, "Before"),
        claude.text(2, "Then.", 1),
        claude.record(3, "system", "", None, subtype="compact_boundary", message=None),
        claude.user(4, "The summary", 3, isCompactSummary=True),
        claude.user(5, "Context", 4, isMeta=True),
        claude.user(6, "Look", 5),
        thought(7, 6),
        claude.tool_use(8, "toolu_1", 7),
        claude.tool_use(9, "toolu_2", 8),
        claude.tool_result(10, "toolu_1", 8, "one"),
        claude.tool_result(11, "toolu_2", 9, "two"),
        thought(12, 11),
        claude.text(13, "Both.", 12),
        claude.record(14, "assistant", [{"type": "text", "text": "API Error"}], 13)
        | {"isApiErrorMessage": True},
    ]
    here = claude.lines(*(each | {"cwd": str(place.directory)} for each in records))
    path = claude_code_writer.place(Places(place.home, {}), str(place.directory), claude.SESSION)
    path.parent.mkdir(parents=True)
    path.write_bytes(here)
    assert as_json("import", "claude-code")[0]["events"] == 14
    path.unlink()

    assert run("rescue", claude.SESSION, "--write", "--yes").returncode == 0
    turn(place, "and now?", "--resume", claude.SESSION)

    said = [(kind, str(part).strip()) for kind, part in spoken(last_request(network))]
    assert said == [
        ("user text", "The summary"),
        ("user text", "Context"),
        ("user text", "Look"),
        ("assistant tool_use", "{'command': 'ls'}"),
        ("assistant tool_use", "{'command': 'ls'}"),
        ("user tool_result", "one"),
        ("user tool_result", "two"),
        ("assistant text", "Both."),
        ("user text", "and now?"),
    ]
    assert as_json("import", "claude-code")[0]["events"] == 2


@pytest.mark.parametrize(
    "name",
    ["my_project.git", "em\U0001f389ji \u65e5\u672c e\u0301", "long-\xe9-" * 16 + "/" + "x" * 150],
)
def test_a_transcript_is_where_it_would_be_written_to(
    place: Place, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    id = str(uuid.uuid4())
    turn(attrs.evolve(place, directory=folder), "hello", "--session-id", id)
    (path,) = (place.home / ".claude" / "projects").glob(f"*/{id}.jsonl")
    assert path == claude_code_writer.place(Places(place.home, {}), os.path.realpath(folder), id)
