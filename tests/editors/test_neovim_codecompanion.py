"""The chats of codecompanion.nvim: with a stand-in, and with the real plugin where it is given."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim import (
    Live,
    Seen,
    messages,
    needs_neovim,
    said,
    sessions,
    stored,
)

pytestmark = needs_neovim

REAL = os.environ.get("SEGUE_CODECOMPANION")
PLENARY = os.environ.get("SEGUE_PLENARY")

real = pytest.mark.skipif(
    not (REAL and PLENARY),
    reason="needs SEGUE_CODECOMPANION and SEGUE_PLENARY, checkouts of these two plugins",
)

Chat = Callable[..., Seen]


@pytest.fixture(params=["stand-in", pytest.param("real", marks=real)])
def chat(request: pytest.FixtureRequest, live: Live) -> Chat:
    """Let a Neovim with CodeCompanion live: `chat("spec")`."""
    given: dict[str, Any] = {}
    if request.param == "real":
        given = {"codecompanion": REAL, "plenary": PLENARY}

    def live_with_chats(spec: str, **more: Any) -> Seen:
        return live(f"codecompanion.{spec}", **given, **more)

    return live_with_chats


def told(database: Path, session_id: str) -> list[tuple[str, Any]]:
    """Return every event of a session, texts by their content."""
    return [
        (event.type, event.data["content"] if set(event.data) == {"content"} else event.data)
        for event in stored(database, session_id)
    ]


def archived(database: Path) -> list[bool]:
    """Return which sessions are archived, the oldest first."""
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
            "name": "look",
            "input": {"path": "parser.py", "deep": {"a": [1, None], "b": {}}},
        },
    ),
    ("tool_call", {"id": "call_B", "name": "look", "input": {"path": "lexer.py"}}),
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


def test_a_chat_with_a_tool_round_is_recorded_exactly(chat: Chat, database: Path) -> None:
    seen = chat("tool_round")

    (session,) = sessions(database)
    assert told(database, session) == TOOL_ROUND
    assert seen["status"] == f"segue {len(TOOL_ROUND)}"
    assert messages(seen, 2) == []


def test_a_tool_result_is_recorded_when_it_grows_no_more(chat: Chat, database: Path) -> None:
    chat("output_that_grows")

    (session,) = sessions(database)
    results = [event.data for event in stored(database, session) if event.type == "tool_result"]
    assert [result["content"] for result in results] == ["first part\n\nsecond part"]


def test_what_is_said_twice_is_recorded_twice(chat: Chat, database: Path) -> None:
    chat("equal_messages")

    (session,) = sessions(database)
    assert said(database, session) == ["Say yes", "yes", "Say yes", "yes"]


def test_of_what_is_shared_only_the_name_is_recorded(chat: Chat, database: Path) -> None:
    seen = chat("shared_files")

    (session,) = sessions(database)
    assert seen["before"] == 0, "a shared file alone opens no session"
    assert told(database, session) == [
        ("system_context", "[Shared with the model: <file>parser.py</file>]"),
        ("user_message", "What is in it?"),
        ("text", "A parser."),
    ]


def test_a_cleared_chat_begins_a_new_session(chat: Chat, database: Path) -> None:
    seen = chat("clear")

    first, second = sessions(database)
    assert said(database, first) == ["the first", "one"]
    assert said(database, second) == ["the second", "two"]
    assert archived(database) == [True, False]
    assert seen["resets"] == 1, "there is nothing to reset in an empty chat"


def test_compaction_loses_nothing_and_its_summary_is_recorded_once(
    chat: Chat, database: Path
) -> None:
    seen = chat("compaction")

    (session,) = sessions(database)
    prefix = "Below is a summary of a previous conversation:\n\n"
    assert told(database, session) == [
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
    assert seen["left"] < 8, "the chat's own list was rewritten"


def test_a_restored_chat_shows_what_was_said_and_goes_on_with_it(
    chat: Chat, database: Path
) -> None:
    chat("tool_round")
    seen = chat("restore")

    first, second = sessions(database)
    assert seen["session"] == first
    shown = seen["shown"]
    parts = ["Look at parser.py", "Let me look.", "Found it.", "Thanks", "You are welcome."]
    assert [shown.count(part) for part in parts] == [1] * len(parts)
    assert [shown.index(part) for part in parts] == sorted(shown.index(part) for part in parts)
    assert "contents of parser.py" not in shown
    assert seen["title"] == "Look at parser.py"
    assert seen["cycle"] == 4
    assert seen["again"].count("Look at parser.py") == 1

    roles = [role for role, _ in seen["sent"]]
    assert roles == ["user", "user", "assistant", "user", "assistant", "user", "user"]
    contents = [content for _, content in seen["sent"]]
    assert contents[0] == "Look at parser.py"
    for part in ("look", '"path":', "contents of parser.py", "contents of lexer.py"):
        assert part in contents[1], "the model knows what its tools found"
    assert contents[2:5] == ["Let me look.\n\nFound it.", "Thanks", "You are welcome."]
    assert "invocation" in contents[5]
    assert contents[6] == "And the lexer?"

    events = told(database, first)
    assert events[: len(TOOL_ROUND)] == TOOL_ROUND
    assert [kind for kind, _ in events[len(TOOL_ROUND) :]] == [
        "system_context",
        "user_message",
        "text",
    ]
    assert said(database, first)[-2:] == ["And the lexer?", "It is fine."]
    assert seen["chats"] == 1
    assert said(database, second) == ["afresh", "yes"]
    assert archived(database) == [True, False]
    assert messages(seen) == []


def test_a_question_without_an_answer_is_ready_to_be_sent_again(chat: Chat, database: Path) -> None:
    seen = chat("restore_unanswered")

    assert seen["cycle"] == 2
    assert seen["sent"] == [["user", "Hello"], ["assistant", "Hi"], ["user", "Are you there?"]]
    (session,) = sessions(database)
    assert said(database, session)[2:] == ["Are you there?", "Are you there?", "Yes."]


def test_an_answer_that_was_interrupted_says_so(chat: Chat) -> None:
    seen = chat("restore_interrupted")

    (first, tools, answer, last) = seen["sent"]
    assert first == ["user", "Look"]
    assert "It failed:\nyyy" in tools[1]
    assert "20000 bytes in all" in tools[1]
    assert len(tools[1]) < 9000
    assert "interrupted" in answer[1]
    assert last == ["user", "Well?"]


def test_an_open_code_block_does_not_swallow_what_is_typed(chat: Chat) -> None:
    seen = chat("restore_open_fence")

    assert seen["sent"] == [
        ["user", "Show me"],
        ["assistant", "````lua\n```\nprint('never closed')\n````"],
        ["user", "Go on"],
    ]


def test_of_a_long_conversation_the_newest_part_is_restored(chat: Chat) -> None:
    seen = chat("restore_long")

    assert int(seen["first"]) > 1
    assert 150 <= seen["answers"] == 250 - int(seen["first"]) + 1
    assert any("newest part" in message for message in messages(seen, 2))


def test_every_page_of_a_conversation_is_restored_in_order(chat: Chat) -> None:
    assert chat("restore_all_pages")["order"] == list(range(1, 451))


def test_an_agent_is_sent_the_restored_conversation_once(live: Live) -> None:
    seen = live("codecompanion.agent")

    ((content, visible),) = seen["unsent"]
    assert visible is False
    assert content.count("Hello") == 1
    assert content.endswith("Assistant: Hi")
    assert "Called look" in content


def test_two_chats_are_two_sessions(chat: Chat, database: Path) -> None:
    chat("two_chats")

    first, second = sessions(database)
    assert said(database, first) == ["in the first", "one", "in the first again", "three"]
    assert said(database, second) == ["in the second", "two", "in the second again", "four"]


def test_a_forked_chat_is_a_whole_conversation_of_its_own(chat: Chat, database: Path) -> None:
    chat("fork")

    first, fork = sessions(database)
    assert said(database, first) == ["one", "1", "in the first", "3"]
    assert said(database, fork) == ["one", "1", "in the fork", "2"]


def test_a_new_chat_offers_once_what_may_be_resumed(chat: Chat, database: Path) -> None:
    chat("talk")
    seen = chat("offer")

    assert "“Fix the parser”, 2 events, just now" in seen["offer"]
    assert ":Segue resume" in seen["offer"]
    assert seen["hidden"] == ""
    assert "Segue" not in seen["text"], "it is no part of the text"
    assert seen["before_typing"] == seen["offer"]
    assert seen["after_typing"] == ""
    assert seen["second"] == ""
    assert len(sessions(database)) == 1
    assert messages(seen, 2) == []


def test_who_types_already_is_offered_nothing(chat: Chat) -> None:
    chat("talk")

    assert chat("offer_is_gone_when_typing_was_first")["offer"] == ""


def test_without_a_session_to_resume_nothing_is_offered(chat: Chat) -> None:
    assert chat("offer_nothing")["offers"] == ["", ""]


def test_an_offer_that_is_accepted_goes_on_in_one_chat(chat: Chat, database: Path) -> None:
    chat("talk")
    seen = chat("offer_accepted")

    (session,) = sessions(database)
    assert said(database, session) == [
        "Fix the parser",
        "It is fixed.",
        "And now?",
        "Now it works.",
    ]
    assert [seen["chats"], seen["offer"], seen["asked"]] == [1, "", 1]


def test_the_offer_alone_can_be_switched_off(chat: Chat, database: Path) -> None:
    chat("talk")
    seen = chat("offer_is_off")

    assert seen["offer"] == ""
    assert said(database, sessions(database)[-1]) == ["Hello", "Hi"]
    assert messages(seen) == []


def test_switched_off_nothing_is_recorded_or_loaded(chat: Chat, database: Path) -> None:
    assert chat("off")["loaded"] is False
    assert not database.exists()


def test_what_is_said_while_it_is_off_is_never_recorded(chat: Chat, database: Path) -> None:
    chat("off_for_a_while")

    (session,) = sessions(database)
    assert said(database, session) == ["before", "one", "after", "three"]


def test_a_server_killed_between_two_messages_loses_nothing(chat: Chat, database: Path) -> None:
    seen = chat("killed")

    (session,) = sessions(database)
    assert said(database, session) == ["one", "1", "two", "2", "three", "3"]
    assert all("the server stopped" in message for message in messages(seen))


def test_a_server_killed_before_it_opened_the_session_loses_nothing(
    chat: Chat, database: Path
) -> None:
    chat("killed_while_opening")

    first, second = sessions(database)
    assert said(database, first) == ["one", "1"]
    assert said(database, second) == ["two", "2"]


def test_faults_of_the_integration_are_told_once_and_break_no_chat(
    chat: Chat, database: Path
) -> None:
    seen = chat("fault")

    assert [part in seen["text"] for part in ("one", "1", "two", "2")] == [True] * 4
    notices = messages(seen)
    assert len(notices) == 2
    for fault in ("a message could not be recorded", "another fault of ours"):
        assert any(fault in notice for notice in notices), fault
    (session,) = sessions(database)
    assert said(database, session) == ["one", "two", "2", "three", "3"]


def test_quitting_right_after_the_first_answer_loses_nothing(chat: Chat, database: Path) -> None:
    chat("quit_at_once")

    (session,) = sessions(database)
    assert said(database, session) == ["my last words", "So be it."]


def test_a_chat_that_is_wiped_out_is_recorded_to_its_end(chat: Chat, database: Path) -> None:
    chat("wiped_out")

    (session,) = sessions(database)
    assert said(database, session) == ["one", "1", "said just before the end"]


def test_chats_from_before_the_plugin_was_loaded_are_recorded(chat: Chat, database: Path) -> None:
    chat("segue_comes_later")

    (session,) = sessions(database)
    assert said(database, session) == ["before", "one", "after", "two"]


def test_calls_of_every_adapter_are_recorded(live: Live) -> None:
    seen = live("codecompanion.odd_calls")

    def inputs(name: str) -> list[Any]:
        return [event["data"].get("input") for event in seen[name]]

    assert inputs("no_arguments") == [{}]
    assert inputs("no_json") == ["{oops"]
    assert [json.loads(text)["x"] for text in inputs("infinite")] == [float("inf")]
    for name in ("ollama", "responses"):
        call, result = (event["data"] for event in seen[name])
        assert call["id"] == result["tool_use_id"], name
    assert inputs("ollama")[0] == {"x": 1}
    assert seen["responses"][0]["data"]["id"] == "call_1"
