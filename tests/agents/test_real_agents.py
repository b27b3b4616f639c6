"""Real agents with the hooks installed, against a model on loopback, in a network of their own."""

import json
import os
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue import agents
from segue.agents.hooks import HOOK_AGENTS
from segue.agents.transcript import Places
from segue.model.imports import ImportedEvent
from tests.agents.real import offline
from tests.agents.real.agents import AGENTS, Place, RealAgent
from tests.agents.real.running import finish, installed
from tests.agents.real.terminal import Terminal
from tests.cli.helpers import as_json, run

pytestmark = pytest.mark.timeout(300)  # the first test may have to install an agent

_COMMAND = "echo from-the-shell"


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> RealAgent:
    return installed(AGENTS[request.param])


def wait_until(holds: Callable[[], bool], shown: Callable[[], str]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, shown()
        time.sleep(0.05)


def stored(session_id: str) -> list[tuple[str, Any]]:
    """Return what Segue has of a conversation, without what nobody said."""
    shown = as_json("show", session_id)["events"]
    return [(each["type"], each["data"]) for each in shown if each["type"] != "system_context"]


def transcripts(agent: RealAgent, place: Place) -> list[Path]:
    return list(agents.load(agent.source).find(Places(place.home, {})))


def recorded(agent: RealAgent, place: Place) -> list[tuple[str, Any]]:
    """Return what the agent has of its only conversation, read from the beginning."""
    read = agents.load(agent.source).read
    found = transcripts(agent, place)
    (items,) = [[*each.items] for path in found for each in read(path, {})]
    events = [item.event for item in items if isinstance(item, ImportedEvent)]
    return [(event.type, event.data) for event in events if event.type != "system_context"]


def said(events: list[tuple[str, Any]]) -> list[str]:
    """Return the messages of the person."""
    return [data["content"] for type, data in events if type == "user_message"]


def log(database: Path) -> list[list[str]]:
    """Return the event and the result of each hook that ran."""
    lines = (database.parent / "hook.log").read_text().splitlines()
    return [[line.split()[2], line.split(": ", 1)[1]] for line in lines]


def resume_command(session_id: str, directory: Path) -> list[str]:
    """Return the command that `segue resume` prints."""
    words = shlex.split(run("resume", session_id, "--print").stdout)
    assert words[:3] == ["cd", str(directory), "&&"]
    return words[3:]


def test_what_a_real_agent_shows_is_what_segue_has(
    agent: RealAgent, place: Place, network: offline.Offline, database: Path
) -> None:
    assert run("hook", "install", agent.name).returncode == 0
    agent.trust(place)

    # A turn with a tool.
    output = finish(place, [agent.command, *agent.turn, f"RUN: {_COMMAND}"])

    answer = f"You said: RUN: {_COMMAND}"
    assert answer in output
    # The hook at the end of the turn may still run: not every agent waits for it.
    wait_until(lambda: len(log(database)) == 3, lambda: str(log(database)))
    (session,) = as_json("list", "--all")["sessions"]
    id, first = session["sessionId"], stored(session["sessionId"])
    assert (session["source"], session["directory"]) == (agent.source, str(place.directory))
    assert first == recorded(agent, place)
    assert [type for type, _ in first] == [
        "user_message", "text", "tool_call", "tool_result", "text"
    ]  # fmt: skip
    assert first[0][1] == {"content": f"RUN: {_COMMAND}"}
    assert _COMMAND in first[2][1]["input"].values()
    assert "from-the-shell" in first[3][1]["content"]
    assert first[1][1]["content"] == first[4][1]["content"] == answer
    # At the end of the turn its transcript had the whole of it.
    assert tuple(event for event, _ in log(database)) == HOOK_AGENTS[agent.name].events
    assert log(database)[-1][1].startswith("0 events")

    # It is resumed as `segue resume` says, and killed while the model answers.
    command = resume_command(id, place.directory)
    asked = [*place.enter, *command, *agent.at_terminal, "SLOW"]
    with Terminal(asked, place.directory) as terminal:
        wait_until(
            lambda: any("SLOW" in json.dumps(each) for each in network.requests()),
            lambda: terminal.shown,
        )
        assert stored(id) == [*first, ("user_message", {"content": "SLOW"})]
        shown_before = ["".join(text.split()) for text in (f"RUN: {_COMMAND}", answer)]
        wait_until(
            lambda: all(text in terminal.shown for text in shown_before), lambda: terminal.shown
        )
    network.kill_all()

    # It is resumed again, and ended.
    before = len(network.requests())
    output = finish(place, [*agent.resumed_turn(command), "and now?"])

    assert "You said: and now?" in output
    sent = json.dumps(network.requests()[before:])
    assert all(text in sent for text in ("from-the-shell", "SLOW", "and now?"))
    shown = stored(id)
    assert shown == recorded(agent, place)
    assert shown[: len(first)] == first
    assert [(type, data["content"]) for type, data in shown[len(first) :]] == [
        ("user_message", "SLOW"),
        ("user_message", "and now?"),
        ("text", "You said: and now?"),
    ]

    # Imported again, also from the beginning, it adds nothing.
    for _ in range(2):
        (report,) = as_json("import", agent.source)
        assert (report["events"], report["forks"]) == (0, 0)
        for path in transcripts(agent, place):
            copy = shutil.copy(path, path.with_suffix(".copy"))
            os.replace(copy, path)
    assert [each["sessionId"] for each in as_json("list", "--all", "--archived")["sessions"]] == [
        id
    ]
    assert not [result for _, result in log(database) if "failed" in result]


def test_what_a_person_adds_while_a_real_agent_works_is_kept_once(
    agent: RealAgent, place: Place, network: offline.Offline, database: Path
) -> None:
    assert run("hook", "install", agent.name).returncode == 0
    agent.trust(place)
    begun = place.directory / "begun"
    asked = f"RUN: touch {begun.name}; sleep 4"
    command = [*place.enter, agent.command, *agent.at_terminal, asked]

    with Terminal(command, place.directory) as terminal:
        wait_until(begun.exists, lambda: terminal.shown)
        terminal.enter("and this")
        wait_until(lambda: "and this" in json.dumps(network.requests()), lambda: terminal.shown)
        wait_until(
            lambda: said(recorded(agent, place)) == [asked, "and this"], lambda: terminal.shown
        )
        (session,) = as_json("list", "--all")["sessions"]
        if agent.tells_what_is_added:
            assert said(stored(session["sessionId"])) == [asked, "and this"]
    network.kill_all()

    for _ in range(2):
        (report,) = as_json("import", agent.source)
        assert report["forks"] == 0
    assert report["events"] == 0
    assert said(stored(session["sessionId"])) == [asked, "and this"]


def test_what_a_person_types_while_a_turn_of_a_real_agent_ends_is_kept_once(
    agent: RealAgent, place: Place, network: offline.Offline, database: Path
) -> None:
    assert run("hook", "install", agent.name).returncode == 0
    agent.trust(place)
    texts = ["first", "second"]

    def there() -> list[tuple[str, Any]]:
        return recorded(agent, place) if transcripts(agent, place) else []

    command = [*place.enter, agent.command, *agent.at_terminal, texts[0]]
    with Terminal(command, place.directory) as terminal:
        wait_until(lambda: "first" in json.dumps(network.requests()), lambda: terminal.shown)
        terminal.press("second", "\r")
        wait_until(
            lambda: said(there()) == texts and there()[-1][0] == "text",
            lambda: f"{there()} {terminal.shown}",
        )
    network.kill_all()

    # What was typed too late has no hook of its own in every agent.
    (report,) = as_json("import", agent.source)
    assert report["forks"] == 0
    (session,) = as_json("list", "--all", "--archived")["sessions"]
    assert stored(session["sessionId"]) == recorded(agent, place)
    (report,) = as_json("import", agent.source)
    assert (report["events"], report["forks"]) == (0, 0)


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
@pytest.mark.parametrize(
    ("back", "kept"),
    [
        (1, ["first", "You said: first", "second, or rather", "You said: second, or rather"]),
        (2, [
            "first", "You said: first", "second", "You said: second", "first, or rather",
            "[Note: everything before the last prompt was taken back.]",
            "You said: first, or rather",
        ]),
    ],
    ids=["to the second prompt", "to the first prompt"],
)  # fmt: skip
def test_going_back_in_the_real_claude_code_is_told_apart(
    agent: RealAgent,
    place: Place,
    network: offline.Offline,
    database: Path,
    back: int,
    kept: list[str],
) -> None:
    assert run("hook", "install", agent.name).returncode == 0
    escape, up, enter = "\x1b", "\x1b[A", "\r"

    def said_last() -> str:
        (session,) = as_json("list", "--all")["sessions"]
        return str(stored(session["sessionId"])[-1][1].get("content"))

    command = [*place.enter, agent.command, *agent.at_terminal, "first"]
    with Terminal(command, place.directory) as terminal:
        wait_until(lambda: "Yousaid:first" in terminal.shown, lambda: terminal.shown)
        terminal.enter("second")
        wait_until(lambda: "Yousaid:second" in terminal.shown, lambda: terminal.shown)
        wait_until(lambda: said_last() == "You said: second", said_last)
        terminal.press(escape, escape)
        wait_until(lambda: "pointbefore" in terminal.shown, lambda: terminal.shown)
        terminal.press(*[up] * back, enter)
        wait_until(lambda: "thismessage" in terminal.shown, lambda: terminal.shown)
        terminal.press(enter)
        terminal.enter(", or rather")  # what was said is in the field again
        wait_until(lambda: ", or rather" in json.dumps(network.requests()), lambda: terminal.shown)
        wait_until(lambda: said_last().startswith("You said: "), said_last)
    network.kill_all()

    (session,) = as_json("list", "--all")["sessions"]  # the branch that was left is archived
    events = as_json("show", session["sessionId"])["events"]
    assert [each["data"]["content"] for each in events] == kept
    (report,) = as_json("import", agent.source)
    assert (report["events"], report["forks"]) == (0, 0)


def test_an_agent_can_reach_nothing_but_the_model(place: Place) -> None:
    interfaces = finish(place, ["cat", "/proc/net/dev"]).splitlines()[2:]

    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
