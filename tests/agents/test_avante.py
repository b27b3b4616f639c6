"""Conversations of avante.nvim: numbered files, in the three formats that they have had."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue import agents
from segue.agents import avante
from segue.agents.transcript import Places
from segue.store.sqlite.service import LocalSessionService
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

SOURCE = "avante"
UUID = "c9d1a0b2-0000-4000-8000-000000000001"
"""Of the first message of every Neovim: its random numbers begin anew."""
TIME = "2026-03-04 05:06:{:02}"
SECONDS = 1_772_600_760_000

Record = dict[str, Any]


def message(role: str, content: Any, second: int = 7, **fields: Any) -> Record:
    return {
        "message": {"role": role, "content": content}, "uuid": UUID, "state": "generated",
        "timestamp": TIME.format(second), "visible": True, "is_user_submission": False, **fields,
    }  # fmt: skip


def said(text: str, second: int = 7, **fields: Any) -> Record:
    fields = {"is_user_submission": True, "model": "m", "provider": "claude", **fields}
    return message("user", text, second, **fields)


def answer(content: Any, second: int = 8, **fields: Any) -> Record:
    return message("assistant", content, second, **fields)


def call(id: str, **fields: Any) -> Record:
    block = {"type": "tool_use", "id": id, "name": "shell", "input": {"command": "ls"}}
    return answer([block], **fields)


def result(id: str, content: Any, **fields: Any) -> Record:
    return message("user", [{"type": "tool_result", "tool_use_id": id, "content": content,
                             "is_error": False, **fields}])  # fmt: skip


def user(content: str) -> tuple[str, Any]:
    return ("user_message", {"content": content})


def text(content: str) -> tuple[str, Any]:
    return ("text", {"content": content})


def context(content: str) -> tuple[str, Any]:
    return ("system_context", {"content": content})


def called(id: str, name: str = "shell", input: Any = None) -> tuple[str, Any]:
    return ("tool_call", {"id": id, "name": name, "input": input or {"command": "ls"}})


def returned(id: str, content: str, *, is_error: bool = False) -> tuple[str, Any]:
    return ("tool_result", {"tool_use_id": id, "content": content, "is_error": is_error})


TURN = [
    said("List the files", selected_filepaths=["/p/a.py"]),
    answer([{"type": "thinking", "thinking": "Look first.", "signature": "x"}]),
    answer("I look."),
    call("c1"),
    result("c1", "a.py"),
    call("c2", is_deleted=True),
    {**result("c2", "no", is_error=True), "is_deleted": True},
    message("user", "<system-reminder>", visible=False),
    answer("One.", 9, is_compacted=True),
]
TURN_EVENTS = [
    user("List the files"),
    context("[Shared with the model: /p/a.py]"),
    ("thinking", {"content": "Look first."}),
    text("I look."),
    called("c1"),
    returned("c1", "a.py"),
    called("c2"),
    returned("c2", "no", is_error=True),
    context("<system-reminder>"),
    text("One."),
]


@pytest.fixture(autouse=True)
def timezone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home/.local/state/nvim/avante/projects/__p/history"
    folder.mkdir(parents=True)
    metadata = {"project_root": "/p", "latest_filename": "0.json"}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return tmp_path / "home"


def write(home: Path, *messages: Any, name: str = "0", **fields: Any) -> Path:
    path = home / f".local/state/nvim/avante/projects/__p/history/{name}.json"
    history = {
        "title": "untitled", "timestamp": TIME.format(0), "messages": list(messages),
        "entries": {}, "todos": {}, "filename": f"{name}.json", **fields,
    }  # fmt: skip
    path.write_text(json.dumps(history))
    return path


async def imported(
    service: LocalSessionService, home: Path, *messages: Any, **fields: Any
) -> list[list[tuple[str, Any]]]:
    await run_import(service, SOURCE, write(home, *messages, **fields))
    return await conversations(service)


async def test_a_conversation_is_kept(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN, title="Files")
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]
    (id,) = await stored(service)
    session = await service.get_session(id)
    assert (session.title, session.directory, session.model) == ("Files", "/p", "m")
    assert (session.client, session.source) == ("avante.nvim", SOURCE)
    assert (session.created_at, session.updated_at) == (SECONDS + 7_000, SECONDS + 9_000)
    assert (report.new, report.events, report.skipped, report.broken) == (1, 10, {}, [])
    await assert_twice_is_once(service, SOURCE, path)


async def test_times_are_those_of_the_clock_here(
    service: LocalSessionService, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    await imported(service, home, said("Hi", timestamp="2026-07-01 08:00:00"))
    (id,) = await stored(service)
    assert (await service.get_session(id)).updated_at == 1_782_907_200_000, "12:00 UTC"


async def test_a_number_that_is_used_again_is_another_conversation(
    service: LocalSessionService, home: Path
) -> None:
    await imported(service, home, said("Hi", 1), answer("One"), title="Hi")
    await imported(service, home, said("Hi", 2), answer("Two"), title="Hi")
    path = write(home, said("Hi", 2), answer("Two"), said("And?"), title="Hi", name="1")
    report = await run_import(service, SOURCE, path)
    assert (report.new, report.grown, report.forks) == (0, 1, 0), "it has another number now"
    found = await conversations(service)
    assert len(found) == 2
    assert [user("Hi"), text("One")] in found
    assert [user("Hi"), text("Two"), user("And?")] in found
    page = await service.list_sessions()
    assert len(page.sessions) == 2, "neither is archived"


async def test_a_title_that_comes_later_makes_no_other_conversation(
    service: LocalSessionService, home: Path
) -> None:
    await imported(service, home, *TURN[:1])
    await imported(service, home, *TURN, title="Files")
    assert await conversations(service) == [TURN_EVENTS]
    ((_, session),) = [(id, await service.get_session(id)) for id in await stored(service)]
    assert session.title == "Files"


async def test_messages_in_the_making_wait(service: LocalSessionService, home: Path) -> None:
    hi = said("Hi")
    report = await run_import(service, SOURCE, write(home, hi, answer("He", state="generating")))
    assert (report.events, report.skipped) == (1, {"incomplete message": 1})
    running = call("c1", state="generating")
    pending = call("c2", acp_tool_call={"toolCallId": "c2", "status": "in_progress"})
    path = write(home, hi, answer("Hello"), running, pending)
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [[user("Hi"), text("Hello")]]
    # That Neovim crashed then is known when the conversation goes on.
    path = write(home, hi, answer("Hello"), running, said("And?"))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[user("Hi"), text("Hello"), called("c1"), user("And?")]]
    assert report.forks == 0


async def test_what_was_only_shown_is_kept_if_it_ends_a_turn(
    service: LocalSessionService, home: Path
) -> None:
    path = write(
        home,
        said("Go"),
        answer("\n*[Request cancelled by user.]*\n", just_for_display=True),
        said("Go on"),
        answer("\n\nError: Quota", just_for_display=True),
        answer("*[Rate limit reached. Retrying in 2 seconds]*", just_for_display=True),
        answer("Viewing file", is_dummy=True),
    )
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [
        [
            user("Go"),
            ("turn_end", {"stop_reason": "cancelled"}),
            user("Go on"),
            ("turn_end", {"stop_reason": "error", "error": "Quota"}),
        ]
    ]
    assert report.skipped == {"notice": 1, "synthetic message": 1}


async def test_tools_of_an_agent_have_their_output(
    service: LocalSessionService, home: Path
) -> None:
    read = {"toolCallId": "1", "kind": "read", "status": "completed", "rawInput": {"path": "a"},
            "content": [{"type": "content", "content": {"type": "text", "text": "its content"}},
                        {"type": "diff", "path": "/p/a", "newText": "x"},
                        {"type": "terminal", "terminalId": "t"}]}  # fmt: skip
    block = {"type": "tool_use", "id": "1", "name": "", "input": []}
    ended = {"type": "tool_result", "tool_use_id": "1", "is_error": False}
    messages = [said("Go"), answer([block], acp_tool_call=read), answer([ended])]
    assert await imported(service, home, *messages) == [
        [
            user("Go"),
            called("1", "read", {"path": "a"}),
            returned("1", "its content\n[diff /p/a]\n[terminal]"),
        ]
    ]


async def test_other_contents_are_named(service: LocalSessionService, home: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
    messages = [
        message("user", ["See", image, {"type": "text", "text": "it"}]),
        message("user", "notes", is_context=True),
        answer([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]),
        answer([{"type": "redacted_thinking", "data": "x"}]),
        answer([{"type": "text", "content": "A cat"}]),
    ]
    path = write(home, *messages, system_prompt="Be brief.")
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [
        [
            context("Be brief."),
            user("See"),
            user("[image image/png]"),
            user("it"),
            context("notes"),
            ("thinking", {"content": "Hm"}),
            text("A cat"),
        ]
    ]
    assert report.skipped == {"redacted_thinking": 1}


ENTRIES: list[Record] = [
    {"timestamp": TIME.format(1), "model": "m", "provider": "claude", "request": "Hi",
     "response": "shown", "original_response": "Hello"},
    {"timestamp": TIME.format(2), "request": "", "response": "", "original_response": "",
     "reset_memory": True},
    {"timestamp": TIME.format(3), "request": "And?", "response": "No", "visible": True},
]  # fmt: skip
ENTRIES_EVENTS = [user("Hi"), text("Hello"), user("And?"), text("No")]


async def test_older_entries_go_on_as_messages(service: LocalSessionService, home: Path) -> None:
    await imported(service, home, entries=ENTRIES[:1], messages={})
    assert await imported(service, home, entries=ENTRIES) == [ENTRIES_EVENTS]
    (id,) = await stored(service)
    assert (await service.get_session(id)).updated_at == SECONDS + 3_000
    converted = [said("Hi", 1), answer("Hello", 1), said("And?", 3), answer("No", 3)]
    later = await imported(service, home, *converted, said("Why?", 4), entries=ENTRIES)
    assert later == [[*ENTRIES_EVENTS, user("Why?")]]


async def test_the_first_files_have_a_whole_project_whose_name_may_be_its_folder(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    avante_folder = home / ".local/state/nvim/avante"
    known = tmp_path / "known"
    known.mkdir()
    ambiguous = tmp_path / "a-b"
    ambiguous.mkdir()
    (home / "elsewhere").mkdir()
    for number, folder in enumerate((known, ambiguous)):
        # As avante names it: other characters than letters, digits, `.` and `_` are lost.
        name = "".join(
            c if c.isalnum() or c in "._" else "_" for c in str(folder).replace("/", "__")
        )
        path = avante_folder / f"{name}.json"
        path.write_text(json.dumps([{**ENTRIES[0], "request": f"Hi {number}"}]))
        assert avante.accepts(path)
        await run_import(service, SOURCE, path)
    sessions = [await service.get_session(id) for id in await stored(service)]
    is_exact = "_" not in str(known) and "-" not in str(known)
    expected = str(known) if is_exact else "(unknown)"
    assert {each.title: each.directory for each in sessions} == {
        "Hi 0": expected,
        "Hi 1": "(unknown)",
    }


@pytest.mark.parametrize("name", ["__srv__app", "__srv__my_app"])
async def test_the_folder_of_a_project_without_metadata(
    service: LocalSessionService, home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(home, said("Hi"))
    path.with_name("metadata.json").unlink()
    project = path.parent.parent.rename(path.parent.parent.with_name(name))
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/srv/app" or "my" in path)
    await run_import(service, SOURCE, project / "history/0.json")
    (id,) = await stored(service)
    assert (await service.get_session(id)).directory == name.replace("__", "/")


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    messages = [*TURN, said("Again"), *TURN, said("Again"), answer("One.")]
    for count in range(1, len(messages) + 1):
        path = write(home, *messages[:count])
        await run_import(service, SOURCE, path)
    assert await stored(service) == await once(tmp_path, SOURCE, path)
    assert len(await stored(service)) == 1
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_changed_past_is_a_fork_and_a_cleared_file_keeps_what_was_said(
    service: LocalSessionService, home: Path
) -> None:
    hi = said("Hi")
    for last in ("Hel", "Hello", "Hello!"):
        await imported(service, home, hi, answer(last))
    assert (await conversations(service))[0] == [user("Hi"), text("Hello!")]
    page = await service.list_sessions()
    assert len(page.sessions) == 1, "the others are archived"
    report = await run_import(service, SOURCE, write(home, messages=[], entries=[]))
    assert (report.new, report.broken) == (0, [])
    assert len(await stored(service)) == 3


async def test_a_half_written_file_waits(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN)
    whole = path.read_bytes()
    for size in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        report = await run_import(service, SOURCE, path)
        assert [problem.endswith("is not JSON") for problem in report.broken] == [True]
    path.write_bytes(whole)
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]


async def test_files_that_are_none_are_reported(service: LocalSessionService, home: Path) -> None:
    await assert_none_is_reported(service, SOURCE, write(home), "null", '"x"', "1")


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, home: Path
) -> None:
    acp = {"toolCallId": "1", "status": "x", "content": [{"type": "content", "content": {}}]}
    rich = [*TURN, call("c3", acp_tool_call=acp), result("c3", None), said("Bye")]
    for number, wrong in enumerate(wrong_values()):
        changes = [change for each in rich for change in changes_of(each, wrong)]
        path = write(home, said(f"Hi {number}"), *changes, wrong, said("Bye"), name=f"{number}")
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])
        entries = [change for each in ENTRIES for change in changes_of(each, wrong)]
        path = write(home, entries=[{**ENTRIES[0], "request": f"Ho {number}"}, *entries, wrong])
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])
        history = json.loads(path.read_text())
        for field in history:
            path = write(home, **{**history, field: wrong})
            assert (await run_import(service, SOURCE, path)).broken == []
        metadata = json.dumps({"project_root": wrong})
        path.with_name("metadata.json").write_text(metadata if number % 2 else metadata[:-3])
        report = await run_import(service, SOURCE, write(home, said(f"No folder {number}")))
        assert (report.new, report.broken) == (1, [])


def test_the_command_imports_what_it_finds(home: Path) -> None:
    path = write(home, *TURN)
    write(home, said("Hi"), name="12")
    other = home / ".local/state/lazy/avante"
    other.mkdir(parents=True)
    (other / "__nowhere.json").write_text(json.dumps(ENTRIES))
    (other / "config.json").write_text("{}")
    environment = {"HOME": str(home), "XDG_STATE_HOME": ""}
    (report,) = json.loads(run("import", SOURCE, "--json", **environment).stdout)
    assert (report["new"], report["events"], report["broken"]) == (3, 15, [])
    directories = sorted(session["directory"] for session in as_json("list", "--all")["sessions"])
    assert directories == ["(unknown)", "/p", "/p"]
    sources = agents.load_all()
    assert next(each.NAME for each in sources if each.accepts(path)) == SOURCE
    assert not avante.accepts(path.with_name("metadata.json"))
    assert list(avante.find(Places(Path("/nowhere"), {}))) == []
