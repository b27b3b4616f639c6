import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.acp.recording import Recorder, read_replay
from segue.acp.replaying import MAX_CHUNK, replay
from segue.acp.tool_kinds import kind_of, title_of
from segue.model.events import Event
from segue.model.records import StoredEvent, Timestamp
from segue.redaction.engine import mask
from segue.store.sqlite.service import LocalSessionService
from tests.acp.agents import (
    AGENTS,
    CLAUDE,
    CLAUDE_REPLAY,
    CODEX,
    GEMINI,
    OPENCODE,
    Said,
    Update,
    as_content,
    chunk,
    more,
    prompt,
    replayed,
    said,
    shown,
    told,
    turn,
)
from tests.exporting.conversations import ORDINARY
from tests.factories import all_events, store_session

TOKEN = "ghp_1234567890abcdefghijABCDEFGHIJklmnop"

QUESTION = chunk("Do it", kind="user_message_chunk")


def test_our_replay_of_claude_is_that_of_claude() -> None:
    assert shown(replayed(turn(CLAUDE))) == shown(CLAUDE_REPLAY)


async def test_what_was_stored_is_replayed_with_its_secrets_masked(tmp_path: Path) -> None:
    live = [*CLAUDE, told("t", status="completed", title="x", rawOutput={"stdout": TOKEN})]
    service = await LocalSessionService.open(tmp_path / "sessions.db")
    masked = [Event.new(type, mask(data, json.dumps(data))) for type, data in turn(live)]
    id = await store_session(service, *masked)
    updates = [*replay(await all_events(service, id))]
    await service.close()
    assert TOKEN not in json.dumps(updates)
    *others, call = shown(updates)
    assert others == shown(CLAUDE_REPLAY)
    assert call["rawOutput"].keys() == {"stdout"}


@pytest.mark.parametrize("live", [OPENCODE, GEMINI], ids=["opencode", "gemini"])
def test_a_client_shows_of_a_replay_what_it_showed_when_it_was_said(live: list[Update]) -> None:
    assert shown(replayed(turn(live))) == shown([QUESTION, *live])


def test_a_terminal_is_shown_as_the_text_that_it_printed() -> None:
    entries = shown(replayed(turn(CODEX)))
    assert entries[2]["content"] == [as_content("one\ntwo\n")]
    assert (entries[2]["title"], entries[2]["kind"], entries[2]["status"]) == (
        "ls", "execute", "completed",
    )  # fmt: skip


@pytest.mark.parametrize("agent", AGENTS)
def test_a_replay_that_is_recorded_is_replayed_the_same(agent: str) -> None:
    once = read_replay(replayed(turn(AGENTS[agent])))
    assert read_replay(replayed(once)) == once
    assert shown(replayed(once)) == shown(replayed(turn(AGENTS[agent])))


def test_the_pieces_of_a_message_are_one_chunk() -> None:
    recorder = Recorder()
    events = []
    for number in range(9):
        events += recorder.update(chunk(f"line {number}\n"), number) + recorder.due(number)
    events += recorder.flush()
    assert len(events) == 3
    (update,) = replayed(said(events))
    assert update["content"]["text"] == "".join(f"line {number}\n" for number in range(9))


def test_messages_that_follow_each_other_have_ids_of_their_own() -> None:
    updates = replayed([("text", {"content": "a"}), ("text", {"content": "b"})])
    assert [each["messageId"] for each in updates] == ["e1", "e2"]


def test_images_and_links_of_a_prompt_are_shown_where_they_stood() -> None:
    image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
    events = said(Recorder().prompt(prompt("see ", image, link)))
    assert [each["content"] for each in replayed(events)] == [
        {"type": "text", "text": "see "}, image, link,
    ]  # fmt: skip
    events[0][1]["acp"]["prompt"][1]["data"] = "[REDACTED:key]"
    assert replayed(events)[1]["content"] == {"type": "text", "text": "[image image/png]"}


def test_an_image_of_the_agent_is_shown_inside_of_its_message() -> None:
    image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    live = [
        chunk("a", "m"),
        {"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": image},
        chunk("b", "m"),
    ]
    updates = replayed(turn(live))[1:]
    assert [each["content"] for each in updates] == [each["content"] for each in live]
    assert {each["messageId"] for each in updates} == {"m"}


def test_a_call_without_a_result_is_shown_as_failed() -> None:
    entries = shown(replayed(turn([told("t", title="x", status="in_progress"), chunk("y")])))
    assert entries[1]["status"] == "failed"


def test_a_result_without_its_call_is_a_call_of_its_own() -> None:
    result = {"tool_use_id": "t", "content": "out", "is_error": True}
    (update,) = replayed([("tool_result", result)])
    assert update == {
        "sessionUpdate": "tool_call",
        "toolCallId": "t",
        "title": "Result",
        "kind": "other",
        "status": "failed",
        "content": [as_content("out")],
    }


def test_the_events_of_editors_and_importers_are_shown_as_far_as_a_client_can() -> None:
    entries = shown(replayed(ORDINARY))
    assert [each if isinstance(each, list) else sorted(each) for each in entries] == [
        ["user_message_chunk", "# Why\n\nThe parser fails on `<b>` and <i>: [it](docs/a.md)."],
        ["agent_thought_chunk", "Let me look."],
        ["agent_message_chunk", "I **look** at it.\n\n```python\ndef f(): return 'x'  # s\n```"],
        ["content", "kind", "rawInput", "status", "title", "toolCallId"],
        ["content", "kind", "rawInput", "status", "title", "toolCallId"],
        ["entries"],
        [
            "agent_message_chunk",
            "Another\n===\n\n<https://example.org/?a=1&b=2> ![shot](http://x.y/z.png)",
        ],
        ["user_message_chunk", "Thanks!"],
        ["agent_thought_chunk", "make\n\nok"],
        ["user_message_chunk", "/review all"],
        ["agent_thought_chunk", "Review it."],
    ]
    bash, edit = entries[3], entries[4]
    assert (bash["title"], bash["kind"]) == ("Bash: git status", "execute")
    assert (bash["status"], edit["status"]) == ("completed", "failed")
    assert entries[5]["entries"][1] == {
        "content": "Test it", "priority": "medium", "status": "pending",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Bash", "execute"), ("run_shell_command", "execute"), ("exec_command", "execute"),
        ("Read", "read"), ("read_file", "read"), ("LS", "read"), ("list_directory", "read"),
        ("Edit", "edit"), ("apply_patch", "edit"), ("create_file", "edit"), ("writeFile", "edit"),
        ("Grep", "search"), ("codebase_search", "search"), ("glob", "search"),
        ("WebFetch", "fetch"), ("web_fetch", "fetch"), ("WebSearch", "fetch"),
        ("mcp__github__delete_file", "delete"), ("TodoWrite", "think"), ("Task", "think"),
        ("frobnicate", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_the_kind_of_a_tool_is_guessed_from_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_title_is_one_short_line() -> None:
    assert title_of("Bash", {"command": "a\n" * 200}) == f"Bash: {('a ' * 40)[:80]}…"
    assert title_of("Bash", None) == "Bash"


def many_events(count: int) -> Iterator[StoredEvent]:
    for seq in range(1, count + 1):
        number, step = divmod(seq - 1, 4)
        said: Said = (
            ("user_message", {"content": f"question {number}"}),
            ("tool_call", {"id": f"t{number}", "name": "Bash", "input": {"command": "x" * 200}}),
            ("text", {"content": "y" * 200, "message": "m"}),
            ("tool_result", {"tool_use_id": f"t{number}", "content": "z", "is_error": False}),
        )[step]
        yield StoredEvent(
            id=f"e{seq}",
            seq=seq,
            parent_id=None,
            invocation_id="i",
            created_at=Timestamp(seq),
            type=said[0],
            data=said[1],
        )


def test_a_long_conversation_is_replayed_in_little_memory() -> None:
    tracemalloc.start()
    try:
        assert sum(1 for _ in replay(many_events(20_000))) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_a_long_message_in_pieces_is_replayed_as_it_is_read() -> None:
    piece = {"content": "x" * 60_000, "message": "m"}
    updates = replayed([("text", piece)] * 100)
    assert "".join(each["content"]["text"] for each in updates) == 100 * piece["content"]
    assert max(len(each["content"]["text"]) for each in updates) < MAX_CHUNK + 60_001


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
ANY_OF = [*ORDINARY, *(event for live in AGENTS.values() for event in turn(live))]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_event_is_replayed_as_what_a_client_can_show(data: st.DataObject) -> None:
    events = []
    for _ in range(data.draw(st.integers(1, 6))):
        type, value = data.draw(st.sampled_from(ANY_OF))
        if isinstance(value, dict) and data.draw(st.booleans()):
            key = data.draw(st.sampled_from([*value, "acp", "message"]))
            value = value | {key: data.draw(json_values)}
        elif isinstance(value, dict) and isinstance(value.get("acp"), dict) and value["acp"]:
            key = data.draw(st.sampled_from([*value["acp"]]))
            value = value | {"acp": value["acp"] | {key: data.draw(json_values)}}
        events.append((type, value))
    updates = replayed(events)
    for update in updates:
        check(update)
    recorded = read_replay(replayed(read_replay(updates)))
    assert read_replay(replayed(recorded)) == recorded


def check(update: dict[str, Any]) -> None:
    match update["sessionUpdate"]:
        case "tool_call" | "tool_call_update" as kind:
            assert isinstance(update["toolCallId"], str)
            assert kind != "tool_call" or isinstance(update["title"], str)
            assert isinstance(update.get("kind", ""), str)
            for item in update.get("content", []):
                assert item["type"] in ("content", "diff")
                assert item["type"] == "content" or isinstance(item["newText"], str)
        case "plan":
            assert all(isinstance(entry["content"], str) for entry in update["entries"])
        case _:
            block = update["content"]
            assert block["type"] != "text" or isinstance(block["text"], str)
            assert isinstance(update["messageId"], str)


def test_what_follows_a_result_is_not_replayed() -> None:
    live = [told("t", title="x", status="completed"), more("t", rawOutput="late")]
    assert shown(replayed(turn(live))) == shown([QUESTION, live[0]])
