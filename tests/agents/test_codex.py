"""Conversations of Codex, in the formats of all its versions."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from segue.agents import codex
from segue.agents.transcript import Places
from tests.agents import samples
from tests.agents.conftest import Imports
from tests.agents.samples import (
    ONE,
    TWO,
    completed,
    heard,
    item,
    kept,
    line,
    message,
    meta,
    stored,
)
from tests.cli.helpers import as_json, run


async def imported(imports: Imports, home: Path, *records: samples.Record) -> list[tuple[str, Any]]:
    """Import a rollout and return what is kept of it."""
    await imports.run("codex", samples.codex(*records).write(home))
    return await kept(imports.service)


async def test_a_conversation_is_kept(imports: Imports, tmp_path: Path) -> None:
    report = await imports.run("codex", samples.codex().write(tmp_path))
    assert (report.new, report.forks) == (1, 1)
    command = {"command": ["ls"]}
    begin = [
        ("system_context", {"content": "<permissions instructions>"}),
        ("system_context", {"content": "<environment_context>\n  <cwd>/p</cwd>"}),
        ("user_message", {"content": "List the files"}),
        ("thinking", {"content": "Look first."}),
        ("tool_call", {"id": "c1", "name": "shell", "input": command}),
        ("tool_call", {"id": "c2", "name": "shell", "input": command}),
        ("tool_result", {"tool_use_id": "c2", "content": "Exit code: 1\nOutput:\nno",
                         "is_error": True}),
        ("tool_result", {"tool_use_id": "c1", "content": "Exit code: 0\nOutput:\na.py",
                         "is_error": False}),
        ("text", {"content": "One."}),
    ]  # fmt: skip
    assert await kept(imports.service) == [
        *begin, ("user_message", {"content": "And tests?"}), ("text", {"content": "None."})
    ]  # fmt: skip
    (fork,) = (id for id in await stored(imports.service) if id != ONE)
    assert await kept(imports.service, fork) == [
        *begin,
        ("user_message", {"content": "And docs?"}),
        ("user_message", {"content": "[image image/png]"}),
        ("text", {"content": "None either."}),
        ("system_context", {"content": "[Note: the conversation was compacted here.]"}),
        ("system_context", {"content": "<turn_aborted>\n"}),
        ("turn_end", {"stop_reason": "cancelled"}),
    ]
    assert report.skipped == {"encrypted reasoning": 1, "token_count": 1}
    session = await imports.service.get_session(ONE)
    assert (session.title, session.directory) == ("List the files", "/p")
    assert (session.client, session.model, session.source) == ("Codex", "gpt-5", "codex")
    assert session.created_at == 1_772_600_761_000


async def test_the_command_imports_what_it_finds(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    sample = samples.codex().write(tmp_path / "home")
    archived = home / "archived_sessions" / sample.name
    archived.parent.mkdir(parents=True)
    sample.replace(archived)
    environment = {"HOME": str(tmp_path), "CODEX_HOME": str(home)}
    shown = run("import", **environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "codex: not kept: 1 encrypted reasoning, 1 token_count" in shown.stdout
    assert {each["source"] for each in as_json("list", "--all", "--archived")["sessions"]} == {
        "codex"
    }
    (report,) = json.loads(run("import", "codex", "--json", **environment).stdout)
    assert (report["new"], report["events"], report["unchanged"]) == (0, 0, 1)


async def test_a_person_said_only_what_is_repeated(imports: Imports, tmp_path: Path) -> None:
    assert await imported(
        imports, tmp_path, meta(),
        heard("<environment_context>", kind="environment_context"),
        message("user", "# AGENTS.md instructions for /p\nBe kind"),
        message("user", "Injected by a skill"),
        message("user", "Look at", "<image name=[Image #1]>", "this"),
        heard("Look at", local_images=["/p/a.png"]),
        message("assistant", "Done."),
        message("user", "Notice: a process ended"),
        message("assistant", "Noted."),
    ) == [
        ("system_context", {"content": "# AGENTS.md instructions for /p\nBe kind"}),
        ("system_context", {"content": "Injected by a skill"}),
        ("user_message", {"content": "Look at"}),
        ("user_message", {"content": "[image /p/a.png]"}),
        ("text", {"content": "Done."}),
        ("system_context", {"content": "Notice: a process ended"}),
        ("text", {"content": "Noted."}),
    ]  # fmt: skip


async def test_what_is_not_decided_yet_waits(imports: Imports, tmp_path: Path) -> None:
    records = [meta(), message("user", "Hello")]
    path = samples.codex(*records).write(tmp_path)
    assert (await imports.run("codex", path)).events == 0
    with path.open("ab") as file:
        file.write(samples.as_lines([heard("Hello")]))
    await imports.run("codex", path)
    assert await kept(imports.service) == [("user_message", {"content": "Hello"})]


async def test_paginated_history_says_it_otherwise(imports: Imports, tmp_path: Path) -> None:
    image = {"type": "image", "image_url": samples.IMAGE}
    assert await imported(
        imports, tmp_path, meta(history_mode="paginated"),
        message("user", "<environment_context>"),
        message("user", "Look"),
        completed({"type": "text", "text": "Look"}, image),
        line("event_msg", {"type": "item_completed", "item": {"type": "AgentMessage"}}),
        message("assistant", "A dot."),
    ) == [
        ("system_context", {"content": "<environment_context>"}),
        ("user_message", {"content": "Look"}),
        ("user_message", {"content": "[image image/png]"}),
        ("text", {"content": "A dot."}),
    ]  # fmt: skip


async def test_a_fork_of_paginated_history_has_its_beginning(
    imports: Imports, tmp_path: Path
) -> None:
    def numbered(*records: samples.Record) -> list[samples.Record]:
        return [{**record, "ordinal": number} for number, record in enumerate(records)]

    base = numbered(
        meta(), message("user", "One"), heard("One"), message("assistant", "1"),
        message("user", "Two"), heard("Two"),
    )  # fmt: skip
    start = meta(TWO, history_base={"thread_id": ONE, "end_ordinal_exclusive": 4}, cwd="/fork")
    fork = [start, message("user", "Three"), heard("Three")]
    paths = [
        samples.codex(*base).write(tmp_path),
        samples.codex(*fork, id=TWO).write(tmp_path),
    ]
    await imports.run("codex", *paths)
    expected = ["One", "1", "Three"]
    assert [data["content"] for _, data in await kept(imports.service, TWO)] == expected
    assert (await imports.service.get_session(TWO)).directory == "/fork"

    paths[0].unlink()
    await imports.service.delete(TWO)
    lost = paths[1].with_name(paths[1].name.replace(TWO, ONE.replace("1", "3")))
    paths[1].replace(lost)
    report = await imports.run("codex", lost)
    assert report.skipped == {"beginning of a fork": 1}
    (note, said) = await kept(imports.service, ONE.replace("1", "3"))
    assert note == ("system_context", {"content": codex._NO_BASE})
    assert said == ("user_message", {"content": "Three"})


async def test_a_copied_fork_is_itself(imports: Imports, tmp_path: Path) -> None:
    await imported(
        imports, tmp_path, meta(cwd="/fork", forked_from_id=TWO),
        meta(TWO, cwd="/original", source={"subagent": "review"}),
        message("user", "One"), heard("One"),
    )  # fmt: skip
    session = await imports.service.get_session(ONE)
    assert (session.directory, session.event_count) == ("/fork", 1)


async def test_subagents_are_left_out(imports: Imports, tmp_path: Path) -> None:
    path = samples.codex(meta(source={"subagent": "review"}), heard("One")).write(tmp_path)
    report = await imports.run("codex", path)
    assert (report.events, report.skipped) == (0, {"subagent": 1})


@pytest.mark.parametrize(
    ("count", "kept_of_it", "skipped"),
    [
        (1, ["<context>", "One", "Two"], {}),
        (2, ["<context>", "One"], {}),
        (9, ["<context>"], {}),
        (0, ["<context>", "One", "Two", "Three"], {}),
        (-1, ["<context>", "One", "Two", "Three"], {}),
    ],
)
async def test_a_rewind_drops_turns(
    count: int,
    kept_of_it: list[str],
    skipped: dict[str, int],
    imports: Imports,
    tmp_path: Path,
) -> None:
    records = [meta(), message("developer", "<context>")]
    for text in ("One", "Two", "Three"):
        records += [message("user", text), heard(text)]
    rewind = line("event_msg", {"type": "thread_rolled_back", "num_turns": count})
    path = samples.codex(*records, rewind, message("user", "New"), heard("New")).write(tmp_path)
    report = await imports.run("codex", path)
    found = [
        [event[2]["content"] for event in each[-1]]
        for each in (await stored(imports.service)).values()
    ]
    assert [*kept_of_it, "New"] in found
    assert len(found) == 1 + (count > 0)
    assert report.skipped == skipped


async def test_a_rewind_of_all_turns_without_anything_before_them_is_counted(
    imports: Imports, tmp_path: Path
) -> None:
    rewind = line("event_msg", {"type": "thread_rolled_back", "num_turns": 1})
    path = samples.codex(meta(), heard("One"), rewind, heard("Two")).write(tmp_path)
    report = await imports.run("codex", path)
    assert report.skipped == {"rewind to the beginning": 1}
    assert [data["content"] for _, data in await kept(imports.service)] == ["One", "Two"]


async def test_every_tool_is_kept(imports: Imports, tmp_path: Path) -> None:
    failed = json.dumps({"output": "no", "metadata": {"exit_code": 2}})
    search = {"type": "search", "query": "q"}
    found = await imported(
        imports, tmp_path, meta(),
        item("local_shell_call", call_id="c1", action={"command": ["ls"]}),
        item("function_call_output", call_id="c1", output=failed),
        item("custom_tool_call", call_id="c2", name="apply_patch", input="*** Begin"),
        item("custom_tool_call_output", call_id="c2", output={"content": "x", "success": False}),
        item("web_search_call", id="ws", action=search),
        item("function_call", call_id="c3", name="view", arguments="{not JSON"),
        item("function_call_output", call_id="c3", output=[
            {"type": "input_text", "text": "See"},
            {"type": "input_image", "image_url": samples.IMAGE},
        ]),
        item("image_generation_call", id="ig", revised_prompt="A cat", result="iVBOR"),
        item("tool_search_call", call_id="c4", arguments={"query": "q"}),
        item("tool_search_output", call_id="c4", tools=[]),
        item("function_call_output", call_id="c5", output="Process exited with code 0\nfine"),
    )  # fmt: skip
    assert [data for type, data in found if type == "tool_call"] == [
        {"id": "c1", "name": "local_shell", "input": {"command": ["ls"]}},
        {"id": "c2", "name": "apply_patch", "input": "*** Begin"},
        {"id": "ws", "name": "web_search", "input": search},
        {"id": "c3", "name": "view", "input": "{not JSON"},
        {"id": "ig", "name": "image_generation", "input": "A cat"},
        {"id": "c4", "name": "tool_search", "input": {"query": "q"}},
    ]
    results = [
        (d["tool_use_id"], d["content"], d["is_error"]) for t, d in found if t == "tool_result"
    ]
    assert results == [
        ("c1", failed, True),
        ("c2", "x", True),
        ("c3", "See\n[image image/png]", False),
        ("c4", "[]", False),
        ("c5", "Process exited with code 0\nfine", False),
    ]


async def test_a_given_name_is_the_title(imports: Imports, tmp_path: Path) -> None:
    index = tmp_path / ".codex" / "session_index.jsonl"
    index.parent.mkdir()
    names = [{"id": TWO, "thread_name": "Other"}, {"id": ONE, "thread_name": "Old"},
             {"id": ONE, "thread_name": "Mine"}]  # fmt: skip
    index.write_bytes(samples.as_lines(names) + b"{torn")
    await imported(imports, tmp_path, meta(), heard("One"))
    assert (await imports.service.get_session(ONE)).title == "Mine"


def flat() -> list[samples.Record]:
    return [
        each["payload"]
        for each in (
            message("user", "<environment_context>"), message("user", "One"),
            item("reasoning", id="rs_1", summary=[]), message("assistant", "1"),
        )
    ]  # fmt: skip


async def test_the_first_version_had_no_envelopes(imports: Imports, tmp_path: Path) -> None:
    start = {"id": ONE, "timestamp": samples.TIME.format(9), "instructions": None}
    found = await imported(imports, tmp_path, start, {"record_type": "state"}, *flat())
    assert [(type, data["content"]) for type, data in found] == [
        ("system_context", "<environment_context>"), ("user_message", "One"), ("text", "1")
    ]  # fmt: skip
    assert (await imports.service.get_session(ONE)).created_at == 1_772_600_769_000


async def test_files_of_one_conversation_in_the_oldest_format_are_one_session(
    imports: Imports, tmp_path: Path
) -> None:
    paths = []
    for id, items in ((TWO, flat()), (ONE, flat()[:4]), (ONE[:-1] + "3", [*flat(), *flat()[1:2]])):
        session = {"timestamp": samples.TIME.format(9), "id": id, "instructions": ""}
        paths.append(tmp_path / f"rollout-2025-04-20-{id}.json")
        paths[-1].write_text(json.dumps({"session": session, "items": items}))
    report = await imports.run("codex", *paths)
    assert (report.new, report.events, report.forks) == (1, 4, 0)
    (session,) = (await stored(imports.service)).values()
    assert [event[2]["content"] for event in session[-1]] == [
        "<environment_context>",
        "One",
        "1",
        "One",
    ]
    assert (await imports.run("codex", *paths)).events == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object with items"),
        (b'{"session": 5, "items": {}}', "not a JSON object with items"),
        (b'\xef\xbb\xbf{"session": [], "items": [1, null, {"type": 5}, {"role": {}}]}', None),
    ],
)
async def test_a_bad_file_in_the_oldest_format_is_said(
    content: bytes, reason: str | None, imports: Imports, tmp_path: Path
) -> None:
    path = tmp_path / f"rollout-2025-04-20-{ONE}.json"
    path.write_bytes(content)
    report = await imports.run("codex", path)
    assert report.broken == ([f"{path}: {reason}"] if reason else [])
    path.unlink()
    os.mkfifo(path)
    assert (await imports.run("codex", path)).broken == [f"{path}: not a file"]


async def test_a_compressed_file_is_said_unless_it_was_imported(
    imports: Imports, tmp_path: Path
) -> None:
    path = samples.codex().write(tmp_path)
    packed = path.with_name(f"{path.name}.zst")
    packed.write_bytes(b"\x28\xb5\x2f\xfd")
    places = Places(tmp_path, {})
    assert list(codex.find(places)) == [path]
    report = await imports.run("codex", packed)
    assert report.broken == [f"{packed}: compressed: unpack it with `zstd -d`"]
    await imports.run("codex", path)
    path.unlink()
    assert list(codex.find(places)) == [packed]
    report = await imports.run("codex", packed)
    assert (report.broken, report.unchanged) == ([], 1)


@pytest.mark.parametrize(
    ("git", "kept"),
    [({"branch": "topic", "commit_hash": "1a2b"}, "topic"), ({"branch": None}, None), (None, None)],
)
async def test_the_branch_is_kept(
    imports: Imports, tmp_path: Path, git: object, kept: str | None
) -> None:
    await imported(imports, tmp_path, meta(git=git), heard("Hello"), message("user", "Hello"))
    assert (await imports.service.get_session(ONE)).branch == kept
