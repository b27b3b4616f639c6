"""Chats of codecompanion.nvim: with a fake of it, and with the real plugin if it is available."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from tests.editors.neovim import (
    Report,
    RunNeovim,
    StartNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
    stored_events,
    stored_sessions,
    wait_for_flag,
)
from tests.editors.plugins import checkout, needs_plugins

pytestmark = needs_neovim

REAL = {
    "codecompanion": checkout("codecompanion.nvim"),
    "plenary": checkout("plenary.nvim"),
}
real = needs_plugins("codecompanion.nvim", "plenary.nvim")

RunChat = Callable[..., Report]

TALK = [
    "first question",
    "first answer",
    "second question\n\nthird question",
    "second answer\n\n## Me\n\nthird question\n\nits end",
    "third question",
    "third answer",
]
"""Three turns, of which the second looks like several."""


@pytest.fixture(params=["fake", pytest.param("real", marks=real)])
def run_chat(request: pytest.FixtureRequest, run_neovim: RunNeovim) -> RunChat:
    """Run a function of `codecompanion.lua` in a Neovim with CodeCompanion; returns its report."""
    arguments = REAL if request.param == "real" else {}

    def run_with_codecompanion(spec: str, **more: Any) -> Report:
        return run_neovim(f"codecompanion.{spec}", **arguments, **more)

    return run_with_codecompanion


def event_contents(database: Path, session_id: str) -> list[tuple[str, Any]]:
    """Return type and data of every event; of data with nothing but `content`, the content."""
    return [
        (event.type, event.data["content"] if set(event.data) == {"content"} else event.data)
        for event in stored_events(database, session_id)
    ]


def is_archived(database: Path) -> list[bool]:
    """Return whether each session is archived, the oldest first."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT archived_at FROM sessions ORDER BY number").fetchall()
    connection.close()
    return [row[0] is not None for row in rows]


TOOL_ROUND: list[tuple[str, Any]] = [
    ("user_message", "Look at parser.py"),
    ("text", "Let me look."),
    (
        "tool_call",
        {
            "id": "call_A",
            "name": "inspect_file",
            "input": {"path": "parser.py", "deep": {"a": [1, None], "b": {}}},
        },
    ),
    ("tool_call", {"id": "call_B", "name": "inspect_file", "input": {"path": "lexer.py"}}),
    (
        "tool_result",
        {"tool_use_id": "call_A", "content": "contents of parser.py", "is_error": False},
    ),
    (
        "tool_result",
        {"tool_use_id": "call_B", "content": "contents of lexer.py", "is_error": False},
    ),
    ("text", "Found it."),
    ("user_message", "Thanks"),
    ("text", "You are welcome."),
]


def test_chat_with_tool_calls_is_recorded_exactly(run_chat: RunChat, database: Path) -> None:
    report = run_chat("tool_round")

    (session,) = session_ids(database)
    assert event_contents(database, session) == TOOL_ROUND
    assert report["status"] == f"segue {len(TOOL_ROUND)}"
    assert notices(report, 2) == []


def test_tool_calls_of_an_agent_are_recorded_in_their_order(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("agent_turn")

    def call(call_id: str, name: str, kind: str, call_input: Any) -> tuple[str, Any]:
        acp = {"title": "Read it", "kind": kind}
        return ("tool_call", {"id": call_id, "name": name, "input": call_input, "acp": acp})

    def result(call_id: str, content: str, is_error: bool) -> tuple[str, Any]:
        data = {"tool_use_id": call_id, "content": content, "is_error": is_error}
        return ("tool_result", data)

    (session,) = session_ids(database)
    assert event_contents(database, session) == [
        ("user_message", "Look at parser.py"),
        ("text", "Let me look."),
        call("1", "read", "read", {"path": "parser.py"}),
        result("1", "its content", False),
        ("text", "Now I run it."),
        call("2", "Bash", "execute", {}),
        result("2", '{"code":1}', True),
        call("3", "edit", "edit", {}),
        result("3", "--- /x/a.py\n@@ -1 +1 @@\n-a\n+b\n", False),
        ("text", "Done."),
        call("4", "fetch", "fetch", {"url": "u"}),
    ]
    assert report["status"] == "segue 11"
    assert notices(report, 2) == []


@pytest.mark.parametrize("command", ["clear", "new", "archive"])
def test_late_answer_is_recorded_with_its_question(
    run_chat: RunChat, database: Path, command: str
) -> None:
    report = run_chat("late_answer", command=command)

    late = ["the question", "the late answer"]
    following = ["the next question", "the next answer"]
    if command != "archive":
        first, second = session_ids(database)
        assert message_contents(database, first) == late
        assert message_contents(database, second) == following
        assert is_archived(database) == [True, False]
        assert report["current"] == second
    else:
        (session,) = session_ids(database)
        assert message_contents(database, session) == late + following
        assert is_archived(database) == [False], "it was continued"
        assert report["current"] == session


def test_chat_goes_on_after_its_conversation_was_deleted(run_chat: RunChat, database: Path) -> None:
    report = run_chat("deleted_while_live")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["two", "2"]
    assert report["current"] == session


def test_pieces_of_an_answer_are_the_answer(run_chat: RunChat, database: Path) -> None:
    lines = [f"line {number}\n" for number in range(8)]
    report = run_chat("streamed_answer", chunks=["\n", *lines, "the end\n\n"], pause_ms=500)

    (session,) = session_ids(database)
    question, *pieces = stored_events(database, session)
    assert question.data["content"] == "the question"
    assert len(pieces) > 1
    assert {piece.type for piece in pieces} == {"text"}
    assert len({piece.data["message"] for piece in pieces}) == 1
    assert "".join(piece.data["content"] for piece in pieces) == "".join(lines) + "the end"
    assert "the end" in report["text"]


@pytest.mark.parametrize("plugin", ["fake", pytest.param("real", marks=real)])
def test_streamed_part_of_an_answer_is_kept_when_neovim_is_killed(
    start_neovim: StartNeovim, database: Path, tmp_path: Path, plugin: str
) -> None:
    real_plugin = REAL if plugin == "real" else {}
    chunks = ["I begin\n", "and go on\nfor", " a while"]
    neovim = start_neovim(
        "codecompanion.streamed_answer", chunks=chunks, pause_ms=10, hangs=True, **real_plugin
    )
    wait_for_flag(tmp_path / "flags" / "in mid-answer", neovim)
    neovim.process.kill()
    neovim.process.communicate()

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["the question", "I begin\nand go on"]


def test_streamed_part_of_an_answer_is_kept_at_exit(run_chat: RunChat, database: Path) -> None:
    chunks = ["I begin\n", "and go on\nfor", " a while"]
    run_chat("streamed_answer", chunks=chunks, pause_ms=10, hangs=True, quits=True)

    (session,) = session_ids(database)
    pieces = message_contents(database, session)
    assert pieces == ["the question", "I begin\nand go on", "\nfor a while"]


def test_an_agent_is_recorded_in_pieces_that_split_no_secret(run_neovim: RunNeovim) -> None:
    told = run_neovim("codecompanion.agent_pieces")["told"]

    contents = [(event["type"], event["data"].get("content")) for event in told]
    assert contents == [
        ("text", "I look"),
        ("text", "\nat it."),
        ("tool_call", None),
        ("tool_result", ""),
        ("text", "It has"),
        ("text", "\n-----BEGIN KEY\nsecret\n-----END KEY\nand no more."),
    ]
    first, second, third, fourth = (
        event["data"]["message"] for event in told if event["type"] == "text"
    )
    assert first == second != third == fourth


def test_tool_result_is_recorded_once_it_is_complete(run_chat: RunChat, database: Path) -> None:
    run_chat("growing_tool_output")

    (session,) = session_ids(database)
    results = [
        event.data for event in stored_events(database, session) if event.type == "tool_result"
    ]
    assert [result["content"] for result in results] == ["first part\n\nsecond part"]


def test_equal_messages_are_all_recorded(run_chat: RunChat, database: Path) -> None:
    run_chat("equal_messages")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["Say yes", "yes", "Say yes", "yes"]


def test_messages_say_which_session_has_them(run_chat: RunChat, database: Path) -> None:
    report = run_chat("sessions_of_messages")

    first, second = session_ids(database)
    assert report["first"] == [["one", first], ["1", first]]
    assert report["second"] == [["two", second], ["2", second]]


def test_only_the_names_of_shared_files_are_recorded(run_chat: RunChat, database: Path) -> None:
    report = run_chat("shared_files")

    (session,) = session_ids(database)
    assert report["before"] == 0, "a shared file alone opens no session"
    assert event_contents(database, session) == [
        ("system_context", "[Shared with the model: <file>parser.py</file>]"),
        ("user_message", "What is in it?"),
        ("text", "A parser."),
    ]


def test_cleared_chat_starts_a_new_session(run_chat: RunChat, database: Path) -> None:
    report = run_chat("clear")

    first, second = session_ids(database)
    assert message_contents(database, first) == ["the first", "one"]
    assert message_contents(database, second) == ["the second", "two"]
    assert is_archived(database) == [True, False]
    assert report["resets"] == 1, "an empty chat is not reset"


def test_compaction_loses_nothing_and_its_summary_is_recorded_once(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("compaction")

    (session,) = session_ids(database)
    prefix = "Below is a summary of a previous conversation:\n\n"
    assert event_contents(database, session) == [
        ("system_context", "[Shared with the model: <file>parser.py</file>]"),
        ("user_message", "q1"),
        ("text", "a1"),
        ("user_message", "q2"),
        ("text", "a2"),
        ("system_context", prefix + "SUMMARY 1"),
        ("text", "after summary 1"),
        ("system_context", prefix + "SUMMARY 2"),
        ("text", "after summary 2"),
        ("user_message", "q3"),
        ("text", "a3"),
    ]
    assert report["left"] < 8, "the chat's own list was rewritten"


def test_restored_chat_shows_its_messages_and_continues_the_session(
    run_chat: RunChat, database: Path
) -> None:
    run_chat("tool_round")
    report = run_chat("restore")

    first, second = session_ids(database)
    assert report["session"] == first
    assert {session for _, session in report["noted"]} == {first}
    shown = report["shown"]
    parts = ["Look at parser.py", "Let me look.", "Found it.", "Thanks", "You are welcome."]
    assert [shown.count(part) for part in parts] == [1] * len(parts)
    assert [shown.index(part) for part in parts] == sorted(shown.index(part) for part in parts)
    assert "contents of parser.py" not in shown
    assert report["title"] == "Look at parser.py"
    assert report["cycle"] == 4
    assert report["again"].count("Look at parser.py") == 1

    roles = [role for role, _ in report["sent"]]
    assert roles == ["user", "user", "assistant", "user", "assistant", "user", "user"]
    contents = [content for _, content in report["sent"]]
    assert contents[0] == "Look at parser.py"
    for part in ("inspect_file", '"path":', "contents of parser.py", "contents of lexer.py"):
        assert part in contents[1], "the model gets the tool results"
    assert contents[2:5] == ["Let me look.\n\nFound it.", "Thanks", "You are welcome."]
    assert "invocation" in contents[5]
    assert contents[6] == "And the lexer?"

    events = event_contents(database, first)
    assert events[: len(TOOL_ROUND)] == TOOL_ROUND
    assert [kind for kind, _ in events[len(TOOL_ROUND) :]] == [
        "system_context",
        "user_message",
        "text",
    ]
    assert message_contents(database, first)[-2:] == ["And the lexer?", "It is fine."]
    assert report["chats"] == 1
    assert message_contents(database, second) == ["a new question", "yes"]
    assert is_archived(database) == [True, False]
    assert notices(report) == []


def test_unanswered_question_becomes_the_draft(run_chat: RunChat, database: Path) -> None:
    report = run_chat("restore_unanswered")

    assert report["cycle"] == 2
    assert report["sent"] == [["user", "Hello"], ["assistant", "Hi"], ["user", "Are you there?"]]
    (session,) = session_ids(database)
    assert message_contents(database, session)[2:] == ["Are you there?", "Are you there?", "Yes."]


def test_interrupted_answer_is_marked(run_chat: RunChat) -> None:
    report = run_chat("restore_interrupted")

    (first, tools, answer, last) = report["sent"]
    assert first == ["user", "Look"]
    assert "It failed:\nyyy" in tools[1]
    assert "20000 bytes in all" in tools[1]
    assert len(tools[1]) < 9000
    assert "interrupted" in answer[1]
    assert last == ["user", "Well?"]


def test_the_pieces_of_a_message_are_restored_as_one(run_chat: RunChat) -> None:
    report = run_chat("restore_pieces")

    assert report["sent"] == [
        ["user", "Look"],
        ["assistant", "I look.\n\n\nIt is here."],
        ["user", "Go on"],
    ]


def test_open_code_block_does_not_hide_the_prompt(run_chat: RunChat) -> None:
    report = run_chat("restore_open_fence")

    assert report["sent"] == [
        ["user", "Show me"],
        ["assistant", "````lua\n```\nprint('never closed')\n````"],
        ["user", "Go on"],
    ]


def test_newest_part_of_a_long_conversation_is_restored(run_chat: RunChat) -> None:
    report = run_chat("restore_long")

    assert int(report["first"]) > 1
    assert 150 <= report["answers"] == 250 - int(report["first"]) + 1
    assert any("newest part" in message for message in notices(report, 2))


def test_all_pages_are_restored_in_order(run_chat: RunChat) -> None:
    assert run_chat("restore_all_pages")["order"] == list(range(1, 451))


def test_agent_is_sent_the_restored_conversation_once(run_neovim: RunNeovim) -> None:
    report = run_neovim("codecompanion.restore_for_agent")

    ((content, visible),) = report["unsent"]
    assert visible is False
    assert content.count("Hello") == 1
    assert content.endswith("Assistant: Hi")
    assert "Called inspect_file" in content


def test_two_chats_are_two_sessions(run_chat: RunChat, database: Path) -> None:
    run_chat("two_chats")

    first, second = session_ids(database)
    assert message_contents(database, first) == [
        "in the first",
        "one",
        "in the first again",
        "three",
    ]
    assert message_contents(database, second) == [
        "in the second",
        "two",
        "in the second again",
        "four",
    ]


def test_forked_chat_is_recorded_completely(run_chat: RunChat, database: Path) -> None:
    run_chat("fork")

    first, fork = session_ids(database)
    assert message_contents(database, first) == ["one", "1", "in the first", "3"]
    assert message_contents(database, fork) == ["one", "1", "in the fork", "2"]


@pytest.mark.parametrize(
    ("at", "turns"),
    [("first answer", 1), ("second question", 2), ("second answer", 2), ("third", 2)],
)
def test_fork_of_a_chat_has_the_turns_up_to_the_cursor(
    run_chat: RunChat, database: Path, at: str, turns: int
) -> None:
    report = run_chat("fork_from_turn", at=at)

    sessions = stored_sessions(database)
    original, fork = report["id"], report["fork"]
    assert len(sessions) == 3
    assert sessions[fork].forked_from == original
    assert [sessions[id].archived_at for id in (original, fork)] == [None, None]
    assert report["title"] == sessions[fork].title == "copy of first question"
    assert ("second answer" in report["shown"]) == (turns == 2)
    assert "third answer" not in report["shown"]
    assert message_contents(database, original) == [*TALK, "in the original", "5"]
    assert message_contents(database, fork) == [*TALK[: 2 * turns], "in the fork", "4"]
    assert notices(report, 2) == ["segue: forked as “copy of first question”"]


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize(("at", "turns"), [("first answer", 1), ("its end", 2)])
def test_rewound_chat_shows_what_is_kept_and_undo_shows_all_again(
    run_chat: RunChat, database: Path, at: str, turns: int, restored: bool
) -> None:
    report = run_chat("rewind_and_undo", at=at, restored=restored)

    sessions = stored_sessions(database)
    original, fork = report["id"], report["fork"]
    assert set(sessions) == {original, fork}
    assert ("second answer" in report["shown"]) == (turns == 2)
    assert "third answer" not in report["shown"]
    contents = [content for _, content in report["sent"]]
    assert contents == [*TALK[: 2 * turns], "another question"], "the model sees what is kept"
    assert [part in report["again"] for part in ("first answer", "third answer")] == [True, True]
    assert "another question" not in report["again"]
    later = ["another question", "another answer"]
    assert message_contents(database, fork) == [*TALK[: 2 * turns], *later]
    assert message_contents(database, original) == [*TALK, "go on", "yes"]
    assert [sessions[id].archived_at is None for id in (original, fork)] == [True, False]
    assert report["names"] == ["first question"] * 2
    before, after = report["chats"]
    assert before == after, "each chat takes the place of the one before it"
    assert [text for text in notices(report, 2) if "resumed" not in text] == [
        "segue: nothing comes after this turn",
        "segue: nothing comes after this turn",
        "segue: went back to this turn; :Segue undo brings the rest back",
        "segue: undone: the whole conversation is back",
    ]


def test_rename_in_a_chat_is_about_that_chat(run_chat: RunChat, database: Path) -> None:
    report = run_chat("rename_chat")

    titles = [session.title for session in stored_sessions(database).values()]
    assert sorted(map(str, titles)) == ["The first", "two"]
    assert report.get("second") in (None, "two")


def test_chat_goes_on_in_a_fork_after_another_window_has_appended(
    start_neovim: StartNeovim, start: Callable[..., Client], database: Path, tmp_path: Path
) -> None:
    neovim = start_neovim("codecompanion.conflict")
    wait_for_flag(tmp_path / "flags" / "appended", neovim)
    (id,) = session_ids(database)
    other = start()
    other.request("session/open", {"sessionId": id})
    event = {"type": "user_message", "data": {"content": "elsewhere"}}
    other.request("session/append", {"sessionId": id, "events": [event]})
    other.kill()
    (tmp_path / "flags" / "appended elsewhere").touch()
    report = neovim.wait()

    fork = stored_sessions(database)[report["now"]]
    assert fork.forked_from == report["id"] == id
    assert message_contents(database, id) == ["one", "1", "elsewhere"]
    assert message_contents(database, fork.id) == ["one", "1", "two", "2"]
    assert report["title"] == fork.title == "copy of one"
    assert notices(report, 2) == ["segue: another window continued it too; you go on in a copy"]


def test_adapter_and_model_are_recorded_and_restored(run_chat: RunChat) -> None:
    recorded = run_chat("record_with", adapter="other", model="n")
    assert recorded["agent"] == "other"
    assert recorded["model"] == "n"

    restored = run_chat("restored_with")
    assert [restored["adapter"], restored["model"]] == ["other", "n"]
    assert [restored["agent"], restored["recorded_model"]] == ["other", "n"]
    assert notices(restored) == []


@pytest.mark.parametrize(
    ("without", "used", "missing"),
    [("adapter", ["fake", "m"], "other"), ("model", ["other", "m"], "n")],
)
def test_adapter_or_model_that_is_not_configured_is_replaced_and_said_once(
    run_chat: RunChat, without: str, used: list[str], missing: str
) -> None:
    run_chat("record_with", adapter="other", model="n")
    report = run_chat("restored_with", without=without)

    assert [report["adapter"], report["model"]] == used
    assert notices(report) == [
        f"segue: {missing} is not configured; this chat uses {used[0]} ({used[1]})"
    ]


def test_chat_of_an_agent_is_restored_with_it(run_chat: RunChat) -> None:
    run_chat("agent_turn")
    report = run_chat("restored_agent")

    assert report == report | {"adapter": "scripted", "type": "acp", "agent": "scripted"}
    assert notices(report) == []


def test_messages_are_recorded_whatever_becomes_of_the_adapter(
    run_neovim: RunNeovim, database: Path
) -> None:
    run_neovim("codecompanion.unreadable_adapter")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "1", "two", "2"]


def test_model_of_an_agent_is_restored(run_chat: RunChat) -> None:
    report = run_chat("agent_model")

    assert report["choice"]["params"] == {"adapter": "scripted"}
    assert report["origin"] == {"agent": "scripted", "model": "large"}
    assert "notice" not in report


def test_new_chat_offers_once_to_resume(run_chat: RunChat, database: Path) -> None:
    run_chat("record_one_turn")
    report = run_chat("offer")

    assert "“Fix the parser”, 2 events, just now." in report["offer"].replace("\n", " ")
    assert ":Segue resume" in report["offer"]
    assert report["hidden"] == ""
    assert "Segue" not in report["text"], "the offer is not part of the buffer"
    assert report["before_typing"] == report["offer"]
    assert report["after_typing"] == ""
    assert report["second"] == ""
    assert len(session_ids(database)) == 1
    assert notices(report, 2) == []


def test_no_offer_after_typing(run_chat: RunChat) -> None:
    run_chat("record_one_turn")

    assert run_chat("offer_after_typing")["offer"] == ""


def test_no_offer_without_a_session_to_resume(run_chat: RunChat) -> None:
    assert run_chat("offer_without_candidates")["offers"] == ["", ""]


def test_accepted_offer_replaces_the_empty_chat(run_chat: RunChat, database: Path) -> None:
    run_chat("record_one_turn")
    report = run_chat("offer_accepted")

    (session,) = session_ids(database)
    assert message_contents(database, session) == [
        "Fix the parser",
        "It is fixed.",
        "And now?",
        "Now it works.",
    ]
    assert [report["chats"], report["offer"]] == [1, ""]
    assert report["selects"] == 0, "what was offered is resumed without a question"


def test_offer_can_be_disabled(run_chat: RunChat, database: Path) -> None:
    run_chat("record_one_turn")
    report = run_chat("offer_disabled")

    assert report["offer"] == ""
    assert message_contents(database, session_ids(database)[-1]) == ["Hello", "Hi"]
    assert notices(report) == []


def test_disabled_integration_records_and_loads_nothing(run_chat: RunChat, database: Path) -> None:
    assert run_chat("disabled")["loaded"] is False
    assert not database.exists()


def test_messages_are_not_recorded_while_disabled(run_chat: RunChat, database: Path) -> None:
    run_chat("disabled_temporarily")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["before", "one", "after", "three"]


def test_server_killed_between_messages_loses_none(run_chat: RunChat, database: Path) -> None:
    report = run_chat("server_killed")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "1", "two", "2", "three", "3"]
    assert all("the server stopped" in message for message in notices(report))


def test_server_killed_before_it_opened_the_session_loses_none(
    run_chat: RunChat, database: Path
) -> None:
    run_chat("server_killed_while_opening")

    first, second = session_ids(database)
    assert message_contents(database, first) == ["one", "1"]
    assert message_contents(database, second) == ["two", "2"]


def test_integration_errors_are_shown_once_and_do_not_break_chats(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("integration_errors")

    assert [part in report["text"] for part in ("one", "1", "two", "2")] == [True] * 4
    messages = notices(report)
    assert len(messages) == 2
    for fault in ("a message could not be recorded", "second internal error"):
        assert any(fault in message for message in messages), fault
    (session,) = session_ids(database)
    said = message_contents(database, session)
    said = [content for content in said if content != "1"]  # kept if it was streamed
    assert said == ["one", "two", "2", "three", "3"]


def test_exit_right_after_the_first_answer_loses_nothing(run_chat: RunChat, database: Path) -> None:
    run_chat("exit_after_first_answer")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["my last words", "So be it."]


def test_chat_whose_buffer_is_wiped_out_is_recorded_completely(
    run_chat: RunChat, database: Path
) -> None:
    run_chat("buffer_wiped_out")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "1", "added before the wipeout"]


def test_chats_opened_before_the_plugin_was_loaded_are_recorded(
    run_chat: RunChat, database: Path
) -> None:
    run_chat("plugin_loaded_later")

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["before", "one", "after", "two"]


def test_call_formats_of_all_adapters_are_recorded(run_neovim: RunNeovim) -> None:
    report = run_neovim("codecompanion.adapter_call_formats")

    def inputs(name: str) -> list[Any]:
        return [event["data"].get("input") for event in report[name]]

    assert inputs("no_arguments") == [{}]
    assert inputs("no_json") == ["{oops"]
    assert [json.loads(text)["x"] for text in inputs("infinite")] == [float("inf")]
    for name in ("ollama", "responses"):
        call, result = (event["data"] for event in report[name])
        assert call["id"] == result["tool_use_id"], name
    assert inputs("ollama")[0] == {"x": 1}
    assert report["responses"][0]["data"]["id"] == "call_1"
