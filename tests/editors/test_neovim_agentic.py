"""Chats of agentic.nvim: with a fake of it, and with the real plugin if it is available."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim import (
    HERE,
    Report,
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
    stored_events,
    stored_sessions,
)
from tests.editors.plugins import checkout, needs_plugins

pytestmark = needs_neovim

REAL = checkout("agentic.nvim")
real = needs_plugins("agentic.nvim")

RunChat = Callable[..., Report]

SAID = ["Look at parser.py", "Let me look.", "Done."]


@pytest.fixture(params=["fake", pytest.param("real", marks=real)])
def plugin(request: pytest.FixtureRequest) -> str:
    """Return which agentic.nvim is used."""
    return str(request.param)


@pytest.fixture
def run_chat(plugin: str, run_neovim: RunNeovim) -> RunChat:
    """Run a function of `agentic.lua` in a Neovim with agentic.nvim; returns its report."""

    def run(spec: str, **arguments: Any) -> Report:
        if plugin == "real":
            arguments["agentic"] = REAL
        return run_neovim(f"agentic.{spec}", **arguments)

    return run


def said_in(database: Path, session: str) -> str:
    """Return what was said in a session, one line for each event that says anything."""
    return "".join(message_contents(database, session))


def test_a_chat_is_recorded_by_its_hooks(run_chat: RunChat, database: Path, plugin: str) -> None:
    report = run_chat("turn")

    (session,) = session_ids(database)
    events = stored_events(database, session)
    types = [event.type for event in events]
    tools = ["tool_call", "tool_result"]
    expected = ["user_message", "thinking", "text", *tools, "text", "plan"]
    if plugin == "real" and "tool_call" not in types:  # its hook is not given them
        expected = ["user_message", "thinking", "text", "plan"]
    assert types == expected
    assert said_in(database, session) == "".join(SAID)
    assert events[1].data["content"] == "Which file?"
    assert report["current"] == session
    assert report["agent"] == "Scripted"
    assert report["hooks"] == 1, "the hook of the user is called, too"
    assert stored_sessions(database)[session].server_session_id == "s"
    assert notices(report) == []


def test_a_recorded_chat_goes_on_in_the_agent(run_chat: RunChat, database: Path) -> None:
    run_chat("turn")
    (session,) = session_ids(database)
    shown = "This was said before."
    report = run_chat("resume", id=session, loads=True, shown=shown, agent_session_id="s")

    assert session_ids(database) == [session]
    asked_again = ["And now?", *SAID[1:]]
    assert said_in(database, session) == "".join([*SAID, *asked_again]), "the replay is no event"
    assert report["current"] == session
    assert notices(report) == []


def test_an_agent_that_cannot_load_leaves_the_transcript(run_chat: RunChat, database: Path) -> None:
    run_chat("turn")
    (session,) = session_ids(database)
    report = run_chat("cannot_load", id=session)

    assert notices(report) == ["segue: Scripted cannot load it; this is its transcript"]


def test_recording_can_be_disabled(run_chat: RunChat, database: Path) -> None:
    report = run_chat("disabled")

    assert report["hooks"] == 1
    assert not database.exists()


@real
def test_an_agent_behind_the_proxy_is_recorded_and_resumed_by_it(
    run_neovim: RunNeovim, database: Path
) -> None:
    agent = [sys.executable, "-m", "segue", "acp", "--", sys.executable, str(HERE / "agent.py")]
    run_neovim("agentic.turn", agentic=REAL, agent=agent)
    (session,) = session_ids(database)
    types = [event.type for event in stored_events(database, session)]
    assert types.count("user_message") == 1, "by the proxy alone"
    assert "tool_call" in types

    run_neovim(
        "agentic.resume",
        agentic=REAL,
        agent=agent,
        id=session,
        shown="Let me look.",
        agent_session_id=session,
    )
    assert session_ids(database) == [session]
    assert said_in(database, session).count("And now?") == 1
