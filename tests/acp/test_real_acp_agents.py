"""Real agents behind the proxy, against a model on loopback, in a network of their own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.agents.hooks import HOOK_AGENTS
from tests.acp.agents import Said, Update, replayed, shown
from tests.acp.real.agents import ACP_AGENTS, AcpAgent
from tests.acp.real.bed import Bed
from tests.acp.real.client import RealClient
from tests.agents.real import offline
from tests.agents.real.agents import Place
from tests.agents.real.running import clear_environment, installed
from tests.cli.helpers import as_json, run

pytestmark = pytest.mark.timeout(900)  # the first test may have to install agents

_COMMAND = "touch made; echo from-the-shell"
_ASKED = f"RUN: {_COMMAND}"


@pytest.fixture(params=ACP_AGENTS)
def agent(request: pytest.FixtureRequest) -> AcpAgent:
    return installed(ACP_AGENTS[request.param])


@pytest.fixture
def agents() -> list[AcpAgent]:
    """Return all agents that run here; those of the gate always do."""
    all_of_them = os.environ.get("SEGUE_ALL_AGENTS") == "1"
    return [installed(each) for each in ACP_AGENTS.values() if all_of_them or each.is_in_gate]


@pytest.fixture
def bed(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """Return a new home and workspace; a test that has no agent is skipped before."""
    clear_environment(monkeypatch)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    monkeypatch.setenv("PATH", path)
    with offline.offline(tmp_path) as network:
        bed = Bed(Place(home, repository, network.address, network.enter), network)
        yield bed
        bed.close()


def stored(session: str) -> list[Said]:
    """Return what Segue has of a conversation, without its own notes."""
    events = as_json("show", session)["events"]
    return [(each["type"], each["data"]) for each in events if each["type"] != "system_context"]


def texts(session: str) -> list[str]:
    return [data["content"] for type, data in stored(session) if type in ("user_message", "text")]


def questions(session: str) -> list[str]:
    return [data["content"] for type, data in stored(session) if type == "user_message"]


def listed() -> dict[str, Any]:
    """Return the only session."""
    (session,) = as_json("list", "--all", "--archived")["sessions"]
    return dict(session)


def assert_all_are_of(client: RealClient, session: str) -> None:
    """Assert that the client knows of which conversation each update is."""
    assert {each["sessionId"] for each in client.updates} == {session}


def assert_has(ours: Any, theirs: Any) -> None:
    """Assert that *ours* has all that *theirs* has; agents replay less than they have said."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            assert_has(ours.get(key), value)
    else:
        assert ours == theirs


def assert_same(ours: list[Update], theirs: list[Update], fields: tuple[str, ...]) -> None:
    """Assert that a client shows the same of both."""
    assert len(shown(ours)) == len(shown(theirs))
    for our, their in zip(shown(ours), shown(theirs), strict=True):
        if isinstance(their, dict):
            their = {field: their[field] for field in fields if field in their}
        assert_has(our, their)


def assert_nothing_to_import(agent: AcpAgent) -> None:
    """Assert that all that the agent has written down was recorded."""
    if agent.source is None:
        return
    before = listed()
    before.pop("title")  # it may be that which the agent has given it
    for _ in range(2):
        (report,) = as_json("import", agent.source)
        assert (report["events"], report["forks"], report["broken"]) == (0, 0, [])
    assert before.items() <= listed().items()


def test_a_real_agent_behind_the_proxy_is_recorded_once_and_goes_on(
    agent: AcpAgent, bed: Bed, database: Path
) -> None:
    bed.prepare(agent)
    hooks = next((each for each in HOOK_AGENTS.values() if each.source == agent.source), None)
    if hooks is not None:
        assert run("hook", "install", hooks.name).returncode == 0

    # A turn with a tool, for which the person is asked.
    client = bed.start(agent)
    session = client.new()
    answer = f"You said: {_ASKED}"
    assert client.prompt(session, _ASKED).endswith(2 * answer)
    assert_all_are_of(client, session)
    client.end()

    events = [each for each in stored(session) if each[1].get("content", "").find("Warning:") < 0]
    types = [type for type, _ in events]
    asked = len(client.permissions) * ["permission"]
    assert types == ["user_message", "text", "tool_call", *asked, "tool_result", "text", "turn_end"]
    assert bool(asked) == agent.asks
    result = dict(events)["tool_result"]
    assert "from-the-shell" in result["content"] or not agent.tells_results
    assert not result["is_error"]
    assert (listed()["client"], listed()["agent"]) == ("Test Client", agent.title)
    assert texts(session)[0] == _ASKED

    # A new process goes on with it; a turn is cancelled.
    bed.asked()
    client = bed.start(agent)
    assert client.load(session) in agent.loads
    assert_all_are_of(client, session)
    theirs = [each["update"] for each in client.updates]
    if agent.keeps and agent.replays_all:
        assert_same(replayed(stored(session)), theirs, agent.compared)
    assert client.prompt(session, "and now?").endswith("You said: and now?")
    assert_all_are_of(client, session)
    assert "from-the-shell" in bed.asked()
    turn = client.begin_endless(session)
    client.cancel(session)
    assert client.wait_for(turn)["result"]["stopReason"] == "cancelled"
    assert client.prompt(session, "and then?").endswith("You said: and then?")
    client.end()

    # What it has of the cancelled turn is enough; the next one is killed.
    client = bed.start(agent)
    assert client.load(session) in agent.loads
    assert "and then?" in str(client.updates)
    client.begin_endless(session)
    bed.kill(client)
    client = bed.start(agent)
    assert client.load(session) in agent.loads
    assert_all_are_of(client, session)
    bed.asked()
    assert client.prompt(session, "and at last?").endswith("You said: and at last?")
    assert "and then?" in bed.asked()
    client.end()

    assert questions(session) == [
        _ASKED, "and now?", "SLOW", "and then?", "SLOW", "and at last?"
    ]  # fmt: skip
    assert not str(listed()["title"]).startswith("[Note from Segue")
    assert_nothing_to_import(agent)
    log = database.parent / "hook.log"
    assert not log.exists(), log.read_text()


def test_every_real_agent_goes_on_with_what_every_other_has_begun(
    agents: list[AcpAgent], bed: Bed
) -> None:
    begun: dict[tuple[str, str], str] = {}
    for agent in agents:
        client = bed.start(agent)
        for other in agents:
            session = begun[agent.name, other.name] = client.new()
            client.prompt(session, f"plum of {agent.name} for {other.name}")
        client.end()

    went_on = {}
    for other in agents:
        client = bed.start(other)
        for agent in agents:
            session = begun[agent.name, other.name]
            how = client.load(session)
            first = f"plum of {agent.name} for {other.name}"
            assert first in client.said("user_message_chunk")
            bed.asked()
            heard = client.prompt(session, "and now?")
            assert_all_are_of(client, session)
            is_told = first in bed.asked()
            assert how in (agent.loads if agent is other else ("revived",))
            went_on[agent.name, other.name] = is_told and heard.endswith("You said: and now?")
            assert questions(session) == [first, "and now?"]
        entries = client.request("session/list", cwd=str(client.cwd))["sessions"]
        assert sorted(each["sessionId"] for each in entries) == sorted(begun.values())
        assert not [each for each in entries if "Segue" in each.get("title", "")]
        client.end()

    assert went_on == dict.fromkeys(begun, True)
    for agent in agents:
        if agent.source is not None:
            (report,) = as_json("import", agent.source)
            assert (report["events"], report["forks"], report["broken"]) == (0, 0, [])
    assert {each["sessionId"] for each in as_json("list", "--all", "--archived")["sessions"]} == {
        *begun.values()
    }
