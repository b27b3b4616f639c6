from typing import Any

import pytest

from segue.acp.holding import Answered

ASKED: tuple[str, Any] = ("user_message", {"content": "q"})
SAID: tuple[str, Any] = ("text", {"content": "a"})


def end(reason: str) -> tuple[str, Any]:
    return ("turn_end", {"stop_reason": reason})


def answered(*events: tuple[str, Any], is_recorded: bool) -> int:
    answered = Answered()
    for type, data in events:
        answered.add(type, data, is_recorded=is_recorded)
    return answered.count


def test_the_messages_of_a_replay_that_have_an_answer_are_counted() -> None:
    called = ("tool_call", {"id": "t"})
    events = [ASKED, SAID, SAID, ASKED, ASKED, called, SAID, ASKED]
    assert answered(*events, is_recorded=False) == 2


@pytest.mark.parametrize(
    ("reason", "count"),
    [("end_turn", 1), ("max_tokens", 1), ("cancelled", 0), ("error", 0), ("refusal", 0)],
)
def test_a_recorded_turn_counts_if_it_was_finished(reason: str, count: int) -> None:
    assert answered(ASKED, SAID, end(reason), is_recorded=True) == count


def test_a_turn_that_was_killed_or_had_no_answer_does_not_count() -> None:
    assert answered(ASKED, SAID, ASKED, end("end_turn"), is_recorded=True) == 0


def test_a_command_of_the_agent_does_not_count() -> None:
    command = ("user_message", {"content": "/status"})
    for is_recorded in (True, False):
        assert answered(command, SAID, end("end_turn"), is_recorded=is_recorded) == 0
