"""Conversations are written as transcripts of Claude Code, which are read back as they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from segue.agents import claude_code, claude_code_writer
from segue.agents.transcript import Places
from segue.sessions.rescue import check, convert, find_losses
from segue.store.sqlite.service import LocalSessionService
from tests.agents.claude import (
    SESSION,
    lines,
    record,
    text,
    tool_result,
    tool_use,
    transcript,
    user,
)
from tests.agents.conftest import Imports
from tests.agents.samples import stored

TALK = (
    user(1, "Fix the test"),
    text(2, "Let me look.", 1),
    tool_use(3, "toolu_1", 2),
    tool_result(4, "toolu_1", 3),
    text(5, "Done.", 4),
)


def parallel() -> tuple[Any, ...]:
    return (
        user(1, "Look"),
        tool_use(2, "toolu_1", 1),
        tool_use(3, "toolu_2", 2),
        tool_result(4, "toolu_2", 3, [{"type": "text", "text": "one"}, {"type": "image"}]),
        tool_result(5, "toolu_1", 2),
        text(6, "Both.", 5),
    )


def thinking(number: int, parent: int) -> Any:
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text"}]
    return record(number, "assistant", blocks, parent)


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
ERROR = record(2, "assistant", [{"type": "text", "text": "API Error: 500"}], 1)
CONVERSATIONS: dict[str, tuple[Any, ...]] = {
    "a turn with a tool": TALK,
    "parallel tools": parallel(),
    "thinking": (user(1, "Why"), thinking(2, 1), text(3, "So.", 2), user(4, "And"), thinking(5, 4)),
    "several blocks": (
        user(1, [{"type": "text", "text": "look"}, IMAGE]),
        record(2, "assistant", [{"type": "text", "text": str(n)} for n in range(3)], 1),
    ),
    "compaction": (
        *TALK,
        record(6, "system", "", None, subtype="compact_boundary", message=None),
        user(7, "Summary", 6, isCompactSummary=True),
        user(8, "Go on", 7),
    ),
    "context": (user(1, "<note>", isMeta=True), user(2, "Hello", 1)),
    "commands": (user(1, "<bash-stdout>x</bash-stdout>"), user(2, "Hello", 1)),
    "an interruption": (*TALK, user(6, "[Request interrupted by user for tool use]", 5)),
    "an error": (user(1, "Hello"), ERROR | {"isApiErrorMessage": True}),
    "a title": (*TALK, {"type": "custom-title", "customTitle": "Named"}),
    "odd text": (user(1, "\ud800 \0 \u202e \U0001f389 \r\n"), text(2, "", 1)),
    "no times and ids": tuple(each | {"timestamp": None, "uuid": None} for each in TALK),
    "no ids of messages": (user(1, "Hello"), text(2, "Hi", 1) | {"message": {"content": "Hi"}}),
    "a killed call": TALK[:3],
    "a result without its call": TALK[3:],
    "no folder": tuple(each | {"cwd": None} for each in TALK),
    "many": tuple(user(n, f"{n}", n - 1 or None) for n in range(1, 60)),
}


async def rescued(imports: Imports, home: Path, name: str) -> Path:
    """Import a transcript, delete it, and write it anew; return its path."""
    path = transcript(home, lines(*CONVERSATIONS[name]))
    await imports.run("claude-code", path)
    path.unlink()
    found = await find_losses(imports.service, claude_code, Places(home, {}))
    written = await convert(imports.service, claude_code, found.lost[0])
    assert written.left_out == {}
    path.write_bytes(b"".join(written.lines))
    check(claude_code, path, written)
    return path


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_an_import_of_what_was_written_adds_nothing_and_gives_the_same(
    imports: Imports, tmp_path: Path, name: str
) -> None:
    path = await rescued(imports, tmp_path, name)
    before = await stored(imports.service)
    assert list(before) == [SESSION]
    assert len(before[SESSION][-1]) >= 2

    report = await imports.run("claude-code", path)

    assert (report.events, report.forks, report.broken) == (0, 0, [])
    assert await stored(imports.service) == before
    service = await LocalSessionService.open(tmp_path / "new" / "sessions.db")
    await Imports(service).run("claude-code", path)
    assert await stored(service) == before
    await service.close()


def records_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_chain_from_the_last_record_has_all_but_the_thinking(
    imports: Imports, tmp_path: Path, name: str
) -> None:
    path = await rescued(imports, tmp_path, name)
    records = {each["uuid"]: each for each in records_of(path) if "uuid" in each}

    def is_thought(each: Any) -> bool:
        content = each.get("message", {}).get("content")
        return isinstance(content, list) and content[0]["type"] == "thinking"

    chain = []
    next_id = [id for id, each in records.items() if not is_thought(each)][-1]
    while next_id is not None:
        chain.append(next_id)
        each = records[next_id]
        next_id = each["parentUuid"] or each.get("logicalParentUuid")
    assert chain[::-1] == [id for id, each in records.items() if not is_thought(each)]


async def test_calls_of_one_answer_are_one_message_of_the_model(
    imports: Imports, tmp_path: Path
) -> None:
    path = await rescued(imports, tmp_path, "parallel tools")
    ids = [each["message"].get("id") for each in records_of(path) if each["type"] == "assistant"]
    assert ids[0] == ids[1] != ids[2]


async def test_a_compaction_begins_a_chain_with_its_summary(
    imports: Imports, tmp_path: Path
) -> None:
    records = records_of(await rescued(imports, tmp_path, "compaction"))
    boundary, summary, prompt = records[-3:]
    assert (boundary["subtype"], boundary["parentUuid"]) == ("compact_boundary", None)
    assert boundary["logicalParentUuid"] == records[-4]["uuid"]
    assert summary["isCompactSummary"] is True
    assert "isMeta" not in summary
    assert "isCompactSummary" not in prompt


async def test_the_output_of_a_command_is_shown(imports: Imports, tmp_path: Path) -> None:
    records = records_of(await rescued(imports, tmp_path, "a turn with a tool"))
    (result,) = (each["toolUseResult"] for each in records if "toolUseResult" in each)
    assert (result["stdout"], result["stderr"]) == ("a\nb", "")


# As Claude Code names its folders: these are names that it made.


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/work/my_project.git", "-work-my-project-git"),
        ("/tmp/d/em\U0001f389ji_日本", "-tmp-d-em--ji---"),
        ("/tmp/d/nfd-e\u0301", "-tmp-d-nfd-e-"),
        (
            "/tmp/rescue/play/d/" + "long-é-" * 20 + "/" + "x" * 150,
            "-tmp-rescue-play-d-" + "long---" * 20 + "-" + "x" * 40 + "-lybmg2",
        ),
    ],
)
def test_the_folder_is_named_as_claude_code_names_it(directory: str, name: str) -> None:
    places = Places(Path("/home/me"), {})
    path = claude_code_writer.place(places, directory, SESSION)
    assert path == Path("/home/me/.claude/projects") / name / f"{SESSION}.jsonl"
