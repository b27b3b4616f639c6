"""Conversations of Copilot CLI."""

import json
from pathlib import Path

import pytest

from tests.agents import samples
from tests.agents.conftest import Imports
from tests.agents.samples import ONE, events, kept
from tests.cli.helpers import run

KEPT = [
    ("user_message", {"content": "List the files"}),
    ("thinking", {"content": "Look first."}),
    ("tool_call", {"id": "c1", "name": "bash", "input": {"command": "ls"}}),
    ("tool_result", {"tool_use_id": "c1", "content": "a.py", "is_error": False}),
    ("text", {"content": "One.", "message": "m2"}),
    ("out_of_band_output", {"name": "command", "content": "clean", "command": "git status"}),
    ("system_context", {"content": "Go on"}),
    ("system_context", {"content": "So far"}),
    ("turn_end", {"stop_reason": "cancelled"}),
    ("user_message", {"content": "And docs?"}),
    ("turn_end", {"stop_reason": "error", "error": "No more"}),
]


@pytest.mark.parametrize("sample", [samples.copilot_cli(), samples.legacy_copilot_cli()])
async def test_a_conversation_is_kept(
    sample: samples.Sample, imports: Imports, tmp_path: Path
) -> None:
    report = await imports.run("copilot-cli", sample.write(tmp_path))
    assert await kept(imports.service) == KEPT
    assert report.skipped == {
        "encrypted reasoning": 1, "system prompt": 1, "session.model_change": 1
    }  # fmt: skip
    session = await imports.service.get_session(ONE)
    assert (session.title, session.directory) == ("List the files", "/p")
    assert (session.client, session.model) == ("Copilot CLI", "gpt-5")
    assert session.created_at == 1_772_600_762_000


@pytest.mark.parametrize("variable", ["HOME", "COPILOT_HOME"])
def test_the_command_imports_what_it_finds(variable: str, tmp_path: Path) -> None:
    samples.copilot_cli().write(tmp_path)
    environment = {"HOME": str(tmp_path)}
    if variable == "COPILOT_HOME":
        environment = {"HOME": "/nowhere", "COPILOT_HOME": str(tmp_path / ".copilot")}
    shown = run("import", "--json", **environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    counts = {each["source"]: (each["new"], each["events"]) for each in json.loads(shown.stdout)}
    assert counts["copilot-cli"] == (1, len(KEPT))
    path = next(tmp_path.rglob("events.jsonl"))
    (report,) = json.loads(run("import", "--json", str(path)).stdout)
    assert (report["source"], report["events"]) == ("copilot-cli", 0)


async def test_attachments_are_named(imports: Imports, tmp_path: Path) -> None:
    attachments = [
        {"type": "file", "path": "/p/a.py", "displayName": "a.py"},
        {"type": "selection", "filePath": "/p/b.py", "displayName": "b.py", "text": "x = 1"},
        {"type": "blob", "data": "iVBOR", "mimeType": "image/png"},
        {"type": "github_url", "url": "https://github.com/a/b"},
        {"type": "other"},
        5,
    ]
    log = events(("user.message", {"content": "See", "attachments": attachments}))
    await imports.run("copilot-cli", samples.copilot_cli(*log).write(tmp_path))
    (_, said), (_, named) = await kept(imports.service)
    assert said == {"content": "See"}
    assert named["content"].splitlines() == [
        "[file /p/a.py]", "[selection /p/b.py]", "x = 1", "[blob image/png]",
        "[github_url https://github.com/a/b]", "[other]",
    ]  # fmt: skip


async def test_what_a_person_did_not_say_is_context(imports: Imports, tmp_path: Path) -> None:
    log = events(
        ("user.message", {"content": "One", "source": "user"}),
        ("user.message", {"content": "Go on", "isAutopilotContinuation": True}),
        ("user.message", {"content": "Two", "source": "agent-x"}),
        ("system.notification", {"content": "A shell ended"}),
        ("system.message", {"role": "developer", "content": "Be kind"}),
        ("user.message", {"content": ""}),
    )
    report = await imports.run("copilot-cli", samples.copilot_cli(*log).write(tmp_path))
    assert [type for type, _ in await kept(imports.service)] == [
        "user_message",
        *["system_context"] * 4,
    ]
    assert report.skipped == {"message without text": 1}


async def test_subagents_are_left_out(imports: Imports, tmp_path: Path) -> None:
    log = events(
        ("user.message", {"content": "One"}),
        ("assistant.message", {"content": "Inner", "parentToolCallId": "c1"}),
        ("assistant.message", {"content": "Inner"}),
    )
    log[2]["agentId"] = "a1"
    report = await imports.run("copilot-cli", samples.copilot_cli(*log).write(tmp_path))
    assert await kept(imports.service) == [("user_message", {"content": "One"})]
    assert report.skipped == {"subagent": 2}


@pytest.mark.parametrize(
    ("data", "content", "is_error"),
    [
        ({"success": True, "result": {"content": "x"}}, "x", False),
        ({"success": True, "result": "x"}, "x", False),
        ({"success": False, "error": {"message": "denied"}}, "denied", True),
        (
            {"success": True, "result": {"content": "x"}, "shellExecution": {"exitCode": 3}},
            "x",
            True,
        ),
        (
            {"success": True, "result": {"content": "x"}, "shellExecution": {"exitCode": 0}},
            "x",
            False,
        ),
        ({"success": True, "result": {"content": 5}, "error": 5}, "", False),
    ],
)
async def test_a_result_says_whether_the_tool_failed(
    data: samples.Record,
    content: str,
    is_error: bool,
    imports: Imports,
    tmp_path: Path,
) -> None:
    log = events(
        ("tool.execution_start", {"toolCallId": "c", "toolName": "x", "arguments": None}),
        ("tool.execution_complete", {"toolCallId": "c", **data}),
    )
    await imports.run("copilot-cli", samples.copilot_cli(*log).write(tmp_path))
    call, result = await kept(imports.service)
    assert call == ("tool_call", {"id": "c", "name": "x", "input": None})
    assert result[1] == {"tool_use_id": "c", "content": content, "is_error": is_error}


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("name: 'It''s: mine'", "It's: mine"),
        ("name: Plain words", "Plain words"),
        ('summary: "Quoted"', "Quoted"),
        ("name: |-\n  Block", "Hello"),
        ("name:\nsummary_count: 0", "Hello"),
        ("\ufffe\0: [", "Hello"),
    ],
)
async def test_the_name_beside_the_log_is_the_title(
    written: str, title: str, imports: Imports, tmp_path: Path
) -> None:
    log = events(("user.message", {"content": "Hello"}))
    path = samples.copilot_cli(*log).write(tmp_path)
    (path.parent / "workspace.yaml").write_text(f"id: {ONE}\n{written}\ncwd: /p\n")
    await imports.run("copilot-cli", path)
    assert (await imports.service.get_session(ONE)).title == title


async def test_a_skill_is_kept(imports: Imports, tmp_path: Path) -> None:
    log = events(("skill.invoked", {"name": "pdf", "path": "/s", "content": "How to"}))
    await imports.run("copilot-cli", samples.copilot_cli(*log).write(tmp_path))
    assert await kept(imports.service) == [
        ("skill_invocation", {"name": "pdf", "content": "How to"})
    ]


@pytest.mark.parametrize("changes", [False, True])
async def test_the_branch_is_kept(imports: Imports, tmp_path: Path, changes: bool) -> None:
    start: samples.Record = {"sessionId": ONE, "context": {"cwd": "/p", "branch": "main"}}
    said: samples.Record = {"content": "Hello"}
    switch: tuple[str, samples.Record] = (
        "session.context_changed",
        {"cwd": "/p", "branch": "topic"},
    )
    records = [("session.start", start), ("user.message", said)]
    sample = samples.copilot_cli(*events(*records, *[switch] * changes))
    await imports.run("copilot-cli", sample.write(tmp_path))
    assert (await imports.service.get_session(ONE)).branch == ("topic" if changes else "main")
