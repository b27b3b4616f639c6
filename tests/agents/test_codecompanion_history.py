"""Chats of codecompanion.nvim that codecompanion-history.nvim has saved, in all their shapes."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from segue import agents
from segue.agents import codecompanion_history
from segue.agents.transcript import Places
from segue.store.sqlite.service import LocalSessionService
from tests.agents.conftest import Imports
from tests.agents.helpers import (
    assert_none_is_reported,
    assert_twice_is_once,
    changes_of,
    conversations,
    once,
    run_import,
    wrong_values,
)
from tests.agents.samples import stored
from tests.cli.helpers import as_json, run
from tests.factories import append_to_head, store_session, user_message

SOURCE = "codecompanion-history"
ID = "1772600760"
UPDATED = 1_772_600_767

Record = dict[str, Any]


def message(role: str, content: Any, *, visible: bool = True, **fields: Any) -> Record:
    return {"role": role, "content": content, "opts": {"visible": visible}, **fields}


def said(text: str, **meta: Any) -> Record:
    return message("user", text, _meta={"cycle": 1, "id": 1, **meta})


def answer(text: Any, **fields: Any) -> Record:
    return message("llm", text, **fields)


def call(id: str, arguments: Any = '{"command": "ls"}') -> Record:
    return {"id": id, "type": "function", "function": {"name": "shell", "arguments": arguments}}


def user(content: str) -> tuple[str, Any]:
    return ("user_message", {"content": content})


def text(content: str) -> tuple[str, Any]:
    return ("text", {"content": content})


def context(content: str) -> tuple[str, Any]:
    return ("system_context", {"content": content})


def called(id: str) -> tuple[str, Any]:
    return ("tool_call", {"id": id, "name": "shell", "input": {"command": "ls"}})


def result(id: str, content: str, *, is_error: bool = False) -> tuple[str, Any]:
    data = {"tool_use_id": id, "content": content, "is_error": is_error}
    return ("tool_result", data)


SYSTEM = message("system", "Be brief.", visible=False)

TURN = [
    SYSTEM,
    said("List the files"),
    answer("I look.", reasoning={"content": "Look first."}),
    answer(None, visible=False, tools={"calls": [call("c1"), call("c2")]}),
    message("tool", "a.py", tools={"call_id": "c1"}),
    message("tool", "no", tools={"call_id": "c2", "is_error": True}),
    answer("One."),
    message("user", ""),
]
TURN_EVENTS = [
    context("Be brief."),
    user("List the files"),
    ("thinking", {"content": "Look first."}),
    text("I look."),
    called("c1"),
    called("c2"),
    result("c1", "a.py"),
    result("c2", "no", is_error=True),
    text("One."),
]


def chat(*messages: Any, **fields: Any) -> Record:
    return {
        "save_id": ID, "messages": list(messages), "cwd": "/p/src", "project_root": "/p",
        "updated_at": UPDATED, "settings": {"model": "m"}, "adapter": "openai", "cycle": 2,
        "schemas": {}, "in_use": {}, "context_items": {}, "title_refresh_count": 0, **fields,
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home/.local/share/nvim/codecompanion-history"
    (folder / "chats").mkdir(parents=True)
    (folder / "index.json").write_text("{}")
    return tmp_path / "home"


def write(home: Path, *messages: Any, name: str = ID, **fields: Any) -> Path:
    path = home / f".local/share/nvim/codecompanion-history/chats/{name}.json"
    path.write_text(json.dumps(chat(*messages, **fields)))
    return path


async def imported(
    service: LocalSessionService, home: Path, *messages: Any
) -> list[list[tuple[str, Any]]]:
    await run_import(service, SOURCE, write(home, *messages))
    return await conversations(service)


async def test_a_chat_is_kept(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN, title="Files")
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]
    (id,) = await stored(service)
    session = await service.get_session(id)
    assert (session.title, session.directory, session.model) == ("Files", "/p/src", "m")
    assert (session.client, session.source) == ("codecompanion-history.nvim", SOURCE)
    assert session.created_at == session.updated_at == UPDATED * 1_000
    assert (report.new, report.events, report.skipped, report.broken) == (1, 9, {}, [])
    await assert_twice_is_once(service, SOURCE, path)


async def test_messages_of_older_versions_are_the_same_events(
    service: LocalSessionService, home: Path
) -> None:
    anthropic = {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True}
    older = [
        SYSTEM,
        {**message("user", "List the files"), "id": 7, "cycle": 1},
        answer("I look.", reasoning="Look first."),
        answer(None, tool_calls=[call("c1"), call("c2")]),
        message("tool", "a.py", tool_call_id="c1"),
        message("tool", anthropic, visible=False),
        answer("One."),
    ]
    await run_import(service, SOURCE, write(home, *older))
    assert await conversations(service) == [TURN_EVENTS]
    report = await run_import(service, SOURCE, write(home, *TURN, said("And?")))
    assert await conversations(service) == [[*TURN_EVENTS, user("And?")]]
    assert (report.grown, report.forks) == (1, 0)


async def test_what_no_person_wrote_is_context(service: LocalSessionService, home: Path) -> None:
    messages = [
        message("user", "x" * 99, visible=False, context={"id": "<file>a.py</file>"}),
        message("user", "y" * 99, opts={"visible": False, "context_id": "<buf>b.py</buf>"}),
        message("user", "z" * 99, opts={"visible": False, "reference": "<url>c</url>"}),
        message("user", "iVBORw0KGgo=", visible=False, _meta={"tag": "image"}),
        message("user", "iVBORw0KGgo=", opts={"visible": False, "tag": "image"}),
        message("user", "Go on with the tools.", visible=False),
        said("Hi"),
    ]  # fmt: skip
    assert await imported(service, home, *messages) == [
        [
            context("[Shared with the model: <file>a.py</file>]"),
            context("[Shared with the model: <buf>b.py</buf>]"),
            context("[Shared with the model: <url>c</url>]"),
            context("[image]"),
            context("[image]"),
            context("Go on with the tools."),
            user("Hi"),
        ]
    ]


async def test_calls_without_ids_have_their_results(
    service: LocalSessionService, home: Path
) -> None:
    def unnamed(name: str, arguments: Any) -> Record:
        return {"function": {"name": name, "arguments": arguments}}

    calls = [unnamed("a", {"x": 1}), unnamed("b", ""), unnamed("b", "no JSON")]
    messages = [
        said("Go"),
        answer("", tools={"calls": calls}),
        message("tool", ["1", {"type": "text", "text": "2"}], tools={"name": "b"}),
        message("tool", {"x": [1]}, tool_name="a"),
        message("tool", "3"),
        message("tool", "4"),
    ]
    ((_, *events),) = await imported(service, home, *messages)
    assert events == [
        ("tool_call", {"id": "call 1", "name": "a", "input": {"x": 1}}),
        ("tool_call", {"id": "call 2", "name": "b", "input": {}}),
        ("tool_call", {"id": "call 3", "name": "b", "input": "no JSON"}),
        result("call 2", "1\n2"),
        result("call 1", '{"x": [1]}'),
        result("call 3", "3"),
    ]


async def test_equal_messages_are_all_kept(service: LocalSessionService, home: Path) -> None:
    turn = [said("Say yes"), answer("yes")]
    assert await imported(service, home, *turn, *turn, *turn) == [
        [user("Say yes"), text("yes")] * 3
    ]


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    messages = [*TURN, said("Again"), *TURN[1:], said("Again"), answer("One.")]
    for count in range(1, len(messages) + 1):
        path = write(home, *messages[:count])
        await run_import(service, SOURCE, path)
    assert await stored(service) == await once(tmp_path, SOURCE, path)
    assert len(await stored(service)) == 1
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_new_system_prompt_is_no_changed_past(
    service: LocalSessionService, home: Path
) -> None:
    """CodeCompanion replaces it with the adapter, and inserts that of the tools."""
    await imported(service, home, *TURN)
    tools = message("system", "You have tools.", visible=False)
    changed = [message("system", "Be long."), tools, *TURN[1:], said("And?")]
    assert await imported(service, home, *changed) == [[*TURN_EVENTS, user("And?")]]


async def test_a_changed_past_is_a_fork_and_what_was_taken_out_stays(
    service: LocalSessionService, home: Path
) -> None:
    hi = said("Hi")
    await imported(service, home, hi, answer("Hello"), said("And?"), answer("No"))
    assert await imported(service, home, hi, answer("Hello"), said("Or?"), answer("Yes")) == [
        [user("Hi"), text("Hello"), user("Or?"), text("Yes")],
        [user("Hi"), text("Hello"), user("And?"), text("No")],
    ]
    shorter = [hi, said("Or?"), answer("Yes"), said("Why?")]
    assert (await imported(service, home, *shorter))[0] == [
        user("Hi"), text("Hello"), user("Or?"), text("Yes"), user("Why?")
    ]  # fmt: skip
    assert (await imported(service, home, hi, answer("Bye")))[0] == [user("Hi"), text("Bye")]
    page = await service.list_sessions()
    assert [session.event_count for session in page.sessions] == [2], "the others are archived"
    report = await run_import(service, SOURCE, write(home, hi))
    assert (report.unchanged, report.events, report.broken) == (1, 0, [])


async def test_what_was_said_before_a_compaction_stays(
    service: LocalSessionService, home: Path
) -> None:
    def summary(of: str) -> Record:
        return message("user", of, _meta={"tag": "compact_summary"})

    note = "[Note: the conversation was compacted here.]\n\n"
    shared = message("user", "x", visible=False, context={"id": "a.py"})
    await imported(service, home, SYSTEM, shared, *TURN[1:])
    before = [context("Be brief."), context("[Shared with the model: a.py]"), *TURN_EVENTS[1:]]
    for count in (1, 2):
        compacted = [SYSTEM, shared, summary(f"files {count}"), answer("Yes."), said("And?")]
        before += [context(f"{note}files {count}"), text("Yes."), user("And?")]
        if count == 2:  # said again, after the second summary
            before = before[:-2]
            compacted[3:] = [answer("No.")]
            before.append(text("No."))
        assert await imported(service, home, *compacted) == [before]


async def test_a_compacted_chat_is_kept_as_it_is_found(
    service: LocalSessionService, home: Path
) -> None:
    summary = message("user", "files", _meta={"tag": "compact_summary"})
    cleared = {"call_id": "c1"}
    edited = message("tool", "[cleared]", tools=cleared,
                     _meta={"context_management": {"edited": True}})  # fmt: skip
    path = write(home, SYSTEM, summary, answer("Yes.", tool_calls=[call("c1")]), edited)
    report = await run_import(service, SOURCE, path)
    note = "[Note: the conversation was compacted here.]\n\nfiles"
    expected = [context("Be brief."), context(note), text("Yes."), called("c1")]
    assert await conversations(service) == [expected]
    assert report.skipped == {"cleared tool result": 1}
    path = write(home, SYSTEM, summary, answer("Yes.", tool_calls=[call("c1")]), said("And?"))
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*expected, user("And?")]]


async def test_a_compacted_chat_that_went_on_here_is_a_fork(
    service: LocalSessionService, home: Path
) -> None:
    await imported(service, home, said("Hi"), answer("Hello"))
    (id,) = await stored(service)
    await append_to_head(service, id, user_message("And here?"))
    summary = message("user", "greetings", _meta={"tag": "compact_summary"})
    note = "[Note: the conversation was compacted here.]\n\ngreetings"
    found = await imported(service, home, summary, answer("Yes."))
    assert sorted(found, key=len) == [
        [user("Hi"), text("Hello"), user("And here?")],
        [user("Hi"), text("Hello"), context(note), text("Yes.")],
    ]


async def test_a_file_that_is_not_written_again_is_not_read(
    service: LocalSessionService, home: Path
) -> None:
    path = write(home, said("Hi"))
    await run_import(service, SOURCE, path)
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"Hi", b"Ho"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await run_import(service, SOURCE, path)).unchanged == 1
    assert await conversations(service) == [[user("Hi")]]


async def test_another_chat_under_the_same_id_is_another_session(
    service: LocalSessionService, home: Path
) -> None:
    """Two windows that begin a chat in the same second have one file."""
    await imported(service, home, said("One"), answer("1"))
    await imported(service, home, said("Two"), answer("2"))
    found = await conversations(service)
    assert len(found) == 2
    assert [user("One"), text("1")] in found
    assert [user("Two"), text("2")] in found


async def test_a_half_written_file_waits(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN)
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        report = await run_import(service, SOURCE, path)
        assert [problem.endswith("is not JSON") for problem in report.broken] == [True]
    assert await stored(service) == {}
    path.write_bytes(whole)
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]


async def test_files_that_are_none_are_reported(service: LocalSessionService, home: Path) -> None:
    contents = ("[]", "{}", "null", '"x"', '{"messages": 1}', "[" * 99_999, '{"a": NaN}')
    await assert_none_is_reported(service, SOURCE, write(home), *contents)


async def test_a_chat_in_which_nobody_said_anything_is_none(
    service: LocalSessionService, home: Path
) -> None:
    empty: list[Any] = [{}, [SYSTEM], [SYSTEM, message("user", "")]]
    for messages in empty:
        report = await run_import(service, SOURCE, write(home, messages=messages))
        assert (report.new, report.broken) == (0, [])
    assert await stored(service) == {}


async def test_every_string_is_kept(service: LocalSessionService, home: Path) -> None:
    strange = "a\0b \ud800 \U0001f600 \r\n"
    messages = [said(strange), answer(strange, tool_calls=[call("\ud800", strange)])]
    assert (await imported(service, home, *messages))[0][:2] == [user(strange), text(strange)]


@pytest.mark.parametrize("depth", [100, 400, 900, 990, 5_000])
async def test_a_deeply_nested_value_is_kept_or_reported(
    service: LocalSessionService, home: Path, depth: int
) -> None:
    path = write(home, said("Hi"), answer("@"), message("tool", "@", tools={"call_id": "1"}))
    deep = "[" * depth + "]" * depth
    path.write_text(path.read_text().replace('"@"', deep))
    report = await run_import(service, SOURCE, path)
    assert len(report.broken) + report.new == 1


async def test_hostile_names_leave_no_trace_outside(
    service: LocalSessionService, home: Path
) -> None:
    for number, id in enumerate(["../../x", "/etc/passwd", "\ud800", "a\0b", "x" * 9_999, ""]):
        fields = {"name": f"{number}", "save_id": id, "cwd": id, "title": id}
        noted = {"segue_id": "x", "segue_session": id}
        for meta in (noted, {"segue_id": "x"}, {}):
            path = write(home, said(f"Hi {id} {number}", **meta), **fields)
            report = await run_import(service, SOURCE, path)
            assert report.new + report.unchanged + report.deleted == 1
            assert report.broken == []
        await assert_twice_is_once(service, SOURCE, path)


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, home: Path
) -> None:
    rich = [*TURN, message("tool", {"type": "tool_result", "content": []}),
            message("user", "x", context={"id": "a"}, _meta={"tag": "t"})]  # fmt: skip
    for number, wrong in enumerate(wrong_values()):
        changes = [change for each in rich for change in changes_of(each, wrong)]
        name = f"wrong {number}"
        path = write(home, said("Hi"), *changes, wrong, name=name, save_id=name)
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])
        for at, change in enumerate(changes_of(chat(), wrong)):
            name = f"field {number} {at}"
            whole = {**change, "messages": [said(name)]}
            path = write(home, name=name, **whole)
            assert (await run_import(service, SOURCE, path)).broken == []


async def test_what_segue_recorded_itself_is_not_imported(imports: Imports, home: Path) -> None:
    service = imports.service
    session = await store_session(service, user_message("Hi"), directory="/p/src")
    noted = {"segue_id": "x", "segue_session": session}
    path = write(home, said("Hi", **noted), answer("Hello"), said("And?", segue_id="y"))
    for _ in range(2):
        report = await imports.run(SOURCE, path)
        assert report.skipped == {"recorded by Segue's plugin": 1}
        assert (report.new, report.deleted) == (0, 0)
    await service.delete(session)
    report = await imports.run(SOURCE, path)
    assert (report.new, report.deleted, report.skipped) == (0, 1, {})
    report = await imports.run(SOURCE, path, revive=True)
    assert (report.new, report.deleted, report.events) == (1, 0, 3)


async def test_a_recording_that_is_not_noted_is_found_by_its_first_message_and_folder(
    imports: Imports, home: Path
) -> None:
    """That of an older version of the plugin, or of a question that is not answered yet."""
    service = imports.service
    secret = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    await imports.run(SOURCE, write(home, said(f"Use {secret}"), answer("1"), name="1"))
    path = write(home, said(f"Use {secret}", segue_id="x"), name="2", save_id="2")
    (masked,) = [events[0][1]["content"] for events in (await imports.shown()).values()]
    assert secret not in masked
    await store_session(service, user_message(masked), directory="/elsewhere")
    await store_session(service, user_message("Use it"), directory="/p/src")
    assert (await imports.run(SOURCE, path, dry_run=True)).events == 1
    await store_session(service, user_message(masked), directory="/p/src")
    report = await imports.run(SOURCE, path, dry_run=True)
    assert (report.events, report.skipped) == (0, {"recorded by Segue's plugin": 1})


async def test_what_was_said_without_segue_is_imported(imports: Imports, home: Path) -> None:
    session = await store_session(imports.service, user_message("Hi"), directory="/p/src")
    noted = {"segue_id": "x", "segue_session": session}
    for messages in ([said("Hi")], [said("Hi", **noted), answer("Hello"), said("And?")]):
        report = await imports.run(SOURCE, write(home, *messages))
        assert report.events == len(messages) - (len(messages) > 1)


def test_the_command_imports_what_it_finds(home: Path) -> None:
    write(home, *TURN)
    other = home / ".local/share/nvim-other/codecompanion-history/chats"
    other.mkdir(parents=True)
    (other / "1.json").write_text(json.dumps(chat(said("Hi"), cwd=None, project_root="/q")))
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home / ".local/share")}
    (report,) = json.loads(run("import", SOURCE, "--json", **environment).stdout)
    assert (report["new"], report["events"], report["broken"]) == (2, 10, [])
    found = {(each["title"], each["directory"]) for each in as_json("list", "--all")["sessions"]}
    assert found == {("List the files", "/p/src"), ("Hi", "/q")}


def test_chats_are_found_where_neovim_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: str) -> Path:
        path = tmp_path / folder / "codecompanion-history/chats/1.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        return path

    def found(**environment: str) -> list[Path]:
        return list(codecompanion_history.find(Places(tmp_path, environment)))

    assert found() == []
    usual, nested = make(".local/share/nvim"), make(".local/share/my/own")
    given, windows = make("data/nvim"), make("AppData/Local/nvim-data")
    assert found() == found(XDG_DATA_HOME="relative") == [usual]
    assert found(NVIM_APPNAME="my/own") == [usual, nested]
    assert found(XDG_DATA_HOME=str(tmp_path / "data")) == [given]
    monkeypatch.setattr(sys, "platform", "win32")
    assert found() == found(LOCALAPPDATA=str(tmp_path / "AppData/Local")) == [windows]
    assert found(XDG_DATA_HOME=str(tmp_path / "data")) == [given]


def test_a_file_that_is_named_is_known_by_its_place(home: Path) -> None:
    path = write(home, *TURN)
    sources = agents.load_all()
    assert next(each.NAME for each in sources if each.accepts(path)) == SOURCE
    assert not codecompanion_history.accepts(path.parent.parent / "index.json")
    assert not codecompanion_history.accepts(home / "elsewhere/chats/1.json")


def test_chats_that_segues_plugin_recorded_are_not_discovered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "NVIM_APPNAME"):
        monkeypatch.delenv(name, raising=False)
    write(home, said("Hi", segue_id="x"), answer("Hello"), name="1")
    assert as_json("import", "--discover") == []
    write(home, said("Hi"), answer("Hello"), name="2")
    (found,) = as_json("import", "--discover")
    assert found["source"] == SOURCE
