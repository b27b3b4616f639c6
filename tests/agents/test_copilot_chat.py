"""Conversations that CopilotChat.nvim has saved: lists of messages without times and folders."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from segue import agents
from segue.agents import copilot_chat
from segue.agents.transcript import Places, Recording
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

SOURCE = "copilot-chat"
SECONDS = 1_772_600_767

Record = dict[str, Any]


def message(role: str, content: Any, **fields: Any) -> Record:
    return {"role": role, "content": content, **fields}


def user(content: str) -> tuple[str, Any]:
    return ("user_message", {"content": content})


def text(content: str) -> tuple[str, Any]:
    return ("text", {"content": content})


TURN = [
    message("user", "\nList the files\n", id="m1"),
    message("assistant", "\nI look.\n", id="m2", reasoning="Look first.",
            tool_calls=[{"id": "c1", "index": 0, "name": "glob", "arguments": '{"pattern":"*"}'}]),
    message("tool", "\na.py\n", id="c1", tool_call_id="c1"),
    message("assistant", "\nOne.\n", id="m3"),
    message("user", "\n> #buffer\n\n", id="m4"),
]  # fmt: skip
TURN_EVENTS = [
    user("List the files"),
    ("thinking", {"content": "Look first."}),
    text("I look."),
    ("tool_call", {"id": "c1", "name": "glob", "input": {"pattern": "*"}}),
    ("tool_result", {"tool_use_id": "c1", "content": "a.py", "is_error": False}),
    text("One."),
]


def _without_times(shown: Any) -> list[Any]:
    """Return the events as `stored` gives them; their times are those of the imports' files."""
    return [event[:3] for event in shown[4]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/.local/share/nvim/copilotchat_history").mkdir(parents=True)
    return tmp_path / "home"


def write(home: Path, *messages: Any, name: str = "default") -> Path:
    path = home / f".local/share/nvim/copilotchat_history/{name}.json"
    path.write_text(json.dumps(messages or {}))
    os.utime(path, (SECONDS + len(messages), SECONDS + len(messages)))
    return path


async def test_a_conversation_is_kept(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN, name="My files")
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]
    (id,) = await stored(service)
    session = await service.get_session(id)
    assert (session.title, session.directory) == ("My files", "(unknown)")
    assert (session.client, session.source) == ("CopilotChat.nvim", SOURCE)
    assert session.created_at == session.updated_at == (SECONDS + 5) * 1_000
    assert (report.new, report.events, report.broken) == (1, 6, [])
    assert report.skipped == {"draft": 1}
    await assert_twice_is_once(service, SOURCE, path)


async def test_older_versions_have_nothing_but_texts(
    service: LocalSessionService, home: Path
) -> None:
    turn = [message("user", "Hi"), message("assistant", "Hello"), message("system", "Be brief.")]
    await run_import(service, SOURCE, write(home, *turn, message("user", "")))
    expected = [user("Hi"), text("Hello"), ("system_context", {"content": "Be brief."})]
    assert await conversations(service) == [expected]
    (id,) = await stored(service)
    assert (await service.get_session(id)).title == "Hi"
    report = await run_import(service, SOURCE, write(home, *turn, *turn[:2]))
    assert await conversations(service) == [[*expected, *expected[:2]]]
    assert (report.grown, report.forks) == (1, 0)


async def test_the_text_of_a_message_may_lose_its_line_breaks(
    service: LocalSessionService, home: Path
) -> None:
    await run_import(service, SOURCE, write(home, *TURN))
    again = [{**each, "content": each["content"].strip()} for each in TURN]
    answer = message("assistant", "No.", id="m5")
    report = await run_import(service, SOURCE, write(home, *again, answer))
    assert (report.events, report.forks) == (2, 0)


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    messages = [*TURN, message("assistant", "No.", id="m5"), *TURN[1:4]]
    for count in range(1, len(messages) + 1):
        path = write(home, *messages[:count])
        await run_import(service, SOURCE, path)
    grown, at_once = await stored(service), await once(tmp_path, SOURCE, path)
    assert list(map(_without_times, grown.values())) == list(map(_without_times, at_once.values()))
    assert grown.keys() == at_once.keys()
    assert len(await stored(service)) == 1
    await assert_twice_is_once(service, SOURCE, path)


async def test_another_first_prompt_under_the_same_name_is_another_conversation(
    service: LocalSessionService, home: Path
) -> None:
    for prompt in ("Explain it", "Fix it", "Explain it"):
        messages = [message("user", prompt, id="a"), message("assistant", "It adds.")]
        await run_import(service, SOURCE, write(home, *messages))
    found = await conversations(service)
    assert len(found) == len((await service.list_sessions()).sessions) == 2
    assert [user("Explain it"), text("It adds.")] in found
    assert [user("Fix it"), text("It adds.")] in found


async def test_the_same_first_prompt_under_the_same_name_is_the_same_conversation(
    service: LocalSessionService, home: Path
) -> None:
    for content in ("It adds.", "It subtracts."):
        messages = [message("user", "Explain it"), message("assistant", content)]
        await run_import(service, SOURCE, write(home, *messages))
    assert await conversations(service) == [
        [user("Explain it"), text("It subtracts.")],
        [user("Explain it"), text("It adds.")],
    ]
    assert len((await service.list_sessions()).sessions) == 1, "the first one is archived"


async def test_files_that_are_none_are_reported(service: LocalSessionService, home: Path) -> None:
    path = write(home, *TURN)
    whole = path.read_text()
    contents = ("", whole[: len(whole) // 2], '{"a": 1}', "null")
    await assert_none_is_reported(service, SOURCE, path, *contents)
    for messages in ([], [message("user", "a draft")], [message("system", "x")]):
        report = await run_import(service, SOURCE, write(home, *messages))
        assert (report.new, report.broken) == (0, [])
    assert await stored(service) == {}


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, home: Path
) -> None:
    for number, wrong in enumerate(wrong_values()):
        changes = [change for each in TURN for change in changes_of(each, wrong)]
        path = write(home, message("user", "Hi"), *changes, wrong, name=f"{number}")
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])


def test_the_command_imports_what_it_finds(home: Path) -> None:
    path = write(home, *TURN)
    write(home, *TURN, name="b c")
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home / ".local/share")}
    (report,) = json.loads(run("import", SOURCE, "--json", **environment).stdout)
    assert (report["new"], report["events"], report["broken"]) == (2, 12, [])
    assert {each["title"] for each in as_json("list", "--all")["sessions"]} == {
        "List the files",
        "b c",
    }
    sources = agents.load_all()
    assert next(each.NAME for each in sources if each.accepts(path)) == SOURCE
    assert list(copilot_chat.find(Places(Path("/nowhere"), {}))) == []


async def test_what_segue_recorded_itself_is_not_imported(
    service: LocalSessionService, home: Path
) -> None:
    noted = {"segue_recorded": True, "segue_session": "s"}
    said = [message("user", "\nHi\n", **noted), message("assistant", "\nHello\n", **noted)]
    path = write(home, *said, message("user", "a draft"))
    (transcript,) = copilot_chat.read(path, {})
    assert list(transcript.items)
    assert transcript.recording == Recording("Hi", "s")

    path = write(home, *said, message("user", "elsewhere"), message("assistant", "1"))
    (transcript,) = copilot_chat.read(path, {})
    assert list(transcript.items)
    assert transcript.recording is None, "it went on without Segue"
