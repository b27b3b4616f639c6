"""Chats of codecompanion.nvim with agents behind `segue acp`, which records them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acp.client import ECHO, PROXY
from tests.editors.neovim import (
    Report,
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
    stored_sessions,
)
from tests.editors.test_neovim_codecompanion import REAL, real

pytestmark = needs_neovim

RunChat = Callable[..., Report]

OTHER = (*ECHO, "--name=other-agent")
BEHIND = {"first": [*PROXY, *ECHO], "second": [*PROXY, *OTHER]}
PLAIN = {"first": [*ECHO], "second": [*OTHER]}

TALK = [
    "the word is plum",
    "You said: the word is plum",
    "a second turn",
    "You said: a second turn",
]


@pytest.fixture(params=["fake", pytest.param("real", marks=real)])
def run_chat(request: pytest.FixtureRequest, run_neovim: RunNeovim) -> RunChat:
    """Run a function of `acp.lua` in a Neovim with CodeCompanion; returns its report."""
    plugins = REAL if request.param == "real" else {}

    def run(spec: str, **arguments: Any) -> Report:
        return run_neovim(f"acp.{spec}", **plugins, **arguments)

    return run


def test_a_chat_that_the_proxy_records_is_not_recorded_twice(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("talk", agents=BEHIND)
    (session,) = session_ids(database)
    assert message_contents(database, session) == TALK
    assert report["appended"] == 0
    assert session == report["id"] == report["agent_id"]
    assert report["status"] == "segue 6"
    assert set(report["noted"]) == {session}
    assert notices(report, 2) == []


def test_agents_are_wrapped_when_asked_and_once(run_chat: RunChat, database: Path) -> None:
    report = run_chat("wrap", agents={"first": [*ECHO], "second": BEHIND["second"]})
    server = [sys.executable, "-m", "segue"]
    assert report["command"] == [*server, "acp", "--", *ECHO]
    assert report["before"] == BEHIND["second"], "it was behind the proxy before"
    assert "first" in report["told"]
    assert "codecompanion = { acp = true }" in report["told"]
    (session,) = session_ids(database)
    assert message_contents(database, session) == TALK[:2]
    assert (report["status"], report["appended"]) == ("segue 3", 0)


def test_agents_are_wrapped_by_a_setting_in_the_first_chat_too(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("wrap_by_setting", agents=PLAIN)
    (session,) = session_ids(database)
    assert message_contents(database, session) == TALK[:2]
    assert (report["status"], report["appended"]) == ("segue 3", 0)
    assert notices(report, 2) == []


def test_no_agent_is_wrapped_unasked(run_chat: RunChat, database: Path) -> None:
    report = run_chat("not_wrapped", agents=PLAIN)
    assert report["command"] == PLAIN["first"]
    assert report["appended"] == 2
    (session,) = session_ids(database)
    assert message_contents(database, session) == TALK[:2]


def test_slash_resume_lists_the_conversations_of_all_agents(
    run_chat: RunChat, database: Path
) -> None:
    first = run_chat("talk", agents=BEHIND)
    report = run_chat("slash_resume", agents=BEHIND)
    assert any("the word is plum" in choice for choice in report["choices"])
    assert [text in report["restored"] for text in TALK] == [True] * 4
    assert report["id"] == first["id"]
    assert report["appended"] == 0
    (session,) = session_ids(database)
    *earlier, question, answer = message_contents(database, session)
    assert (earlier, question) == (TALK, "which word?")
    assert "the word is plum" in answer, "the agent got the first turn"
    assert stored_sessions(database)[session].agent == "other-agent"


@pytest.mark.parametrize("default", [None, "first", "second"])
def test_segue_resume_lets_an_agent_behind_the_proxy_load_the_conversation(
    run_chat: RunChat, database: Path, default: str | None
) -> None:
    first = run_chat("talk", agents=BEHIND)
    setting = {"default": default} if default else {}
    report = run_chat("segue_resume", agents=BEHIND, **setting)
    assert report["adapter"] == (default or "first"), "which adapter has its agent is known"
    assert [text in report["restored"] for text in TALK] == [True] * 4
    assert report["id"] == report["agent_id"] == first["id"]
    assert report["appended"] == 0
    (session,) = session_ids(database)
    *earlier, question, answer = message_contents(database, session)
    assert (earlier, question) == (TALK, "which word?")
    assert answer.count("the word is plum") == 2, "the agent got the first turn, once"
    assert report["shown"].count("a second turn") == report["restored"].count("a second turn") + 2
    told = ["segue: echo-agent is not configured; this chat uses second"]
    assert notices(report, 3) == (told if default == "second" else [])


def test_each_chat_has_the_session_of_its_agent(run_chat: RunChat, database: Path) -> None:
    report = run_chat("two_chats", agents=BEHIND)
    assert report["ids"] == report["agent_ids"] == session_ids(database)
    assert report["is_open"] == [True, True]


def test_fork_and_rename_work_in_a_chat_that_the_proxy_records(
    run_chat: RunChat, database: Path
) -> None:
    report = run_chat("fork", agents=BEHIND)
    sessions = stored_sessions(database)
    original, fork = report["id"], report["fork"]
    assert set(sessions) == {original, fork}
    assert sessions[original].title == "about plums"
    assert (sessions[fork].title, sessions[fork].forked_from) == ("in another way", original)
    assert "a second turn" not in report["shown"]
    assert message_contents(database, original) == TALK
    *earlier, question, answer = message_contents(database, fork)
    assert (earlier, question) == (TALK[:2], "which word?")
    assert "the word is plum" in answer
    assert report["appended"] == 0
    assert notices(report) == []


def test_an_agent_that_cannot_load_a_conversation_is_sent_it_once(
    run_chat: RunChat, database: Path
) -> None:
    slow = {"first": ["sh", "-c", 'sleep 1; exec "$@"', "sh", *ECHO]}
    agents = {name: [*PROXY, *command] for name, command in slow.items()}
    report = run_chat("deleted_before_load", agents=agents)
    (session,) = session_ids(database)
    assert session == report["now"] != report["id"]
    assert "You said: [An earlier conversation" in report["shown"]
    answer = message_contents(database, session)[-1]
    assert answer.count("the word is plum") == 1


@pytest.mark.parametrize("restored", [False, True])
def test_a_chat_that_is_cleared_goes_on_in_its_session(
    run_chat: RunChat, database: Path, restored: bool
) -> None:
    report = run_chat("clear", agents=BEHIND, restored=restored)
    (session,) = stored_sessions(database).values()
    assert (session.id, session.archived_at) == (report["id"], None)
    *earlier, question, answer = message_contents(database, session.id)
    assert (earlier, question) == (TALK[:2], TALK[2])
    assert TALK[2] in answer
    assert report["appended"] == 0


@real
def test_a_chat_that_changes_to_a_model_is_recorded_in_the_same_session(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("acp.change_adapter", **REAL, agents=BEHIND)
    (session,) = session_ids(database)
    assert session == report["id"]
    assert message_contents(database, session) == [*TALK[:2], "which word?", "plum"]
