"""An agent of the Python SDK, which has neither a list nor anything that it could load."""

import sys
from pathlib import Path

from tests.acp.conftest import StartAcp
from tests.cli.helpers import as_json

SDK_AGENT = (sys.executable, "-I", str(Path(__file__).with_name("sdk_agent.py")))


def test_an_agent_of_the_sdk_goes_on_in_another_process(start_acp: StartAcp) -> None:
    first = start_acp(agent=SDK_AGENT)
    session = first.new()
    assert first.prompt(session, "the word is plum") == "You said: the word is plum"
    assert first.end() == 0

    second = start_acp(agent=SDK_AGENT)
    (listed,) = second.request("session/list", cwd=str(second.cwd))["sessions"]
    assert (listed["sessionId"], listed["title"]) == (session, "the word is plum")
    second.request("session/load", sessionId=session, cwd=str(second.cwd), mcpServers=[])
    assert second.said("user_message_chunk") == "the word is plum"
    assert second.said("agent_message_chunk") == "You said: the word is plum"
    assert "the word is plum" in second.prompt(session, "which word?"), "it got the first turn"
    assert second.end() == 0

    events = as_json("show", session)["events"]
    said = [each["data"]["content"] for each in events if each["type"] == "user_message"]
    assert said == ["the word is plum", "which word?"]
    assert first.stderr() == second.stderr() == ""
