"""`segue acp` with agents and clients that speak at odd moments, or in odd shapes."""

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.stdio.watchdog import is_running
from tests import fuse
from tests.acp.client import HERE, AcpClient
from tests.acp.conftest import StartAcp
from tests.acp.test_proxy import said, sessions, stored

ID = "scripted-agents-session"
ANSWER = {"id": "$id", "result": {}}
TURN_END = {"id": "$id", "result": {"stopReason": "end_turn"}}


def chunk(text: str, session: str = ID, kind: str = "agent_message_chunk") -> dict[str, Any]:
    content = {"type": "text", "text": text}
    params = {"sessionId": session, "update": {"sessionUpdate": kind, "content": content}}
    return {"method": "session/update", "params": params}


def offered(*names: str, session: str = ID) -> dict[str, Any]:
    commands = [{"name": name, "description": name} for name in names]
    update = {"sessionUpdate": "available_commands_update", "availableCommands": commands}
    return {"method": "session/update", "params": {"sessionId": session, "update": update}}


def initialized(version: int = 1, **capabilities: Any) -> dict[str, Any]:
    result = {"protocolVersion": version, "agentCapabilities": capabilities}
    return {"id": "$id", "result": result}


LOADS = initialized(loadSession=True)


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    """Return the file in which the agent writes down what it hears."""
    return tmp_path / "heard"


Script = Callable[..., AcpClient]


@pytest.fixture
def script(start_acp: StartAcp, heard: Path) -> Script:
    """Start a client with an agent that follows a script; see `scripted_agent`."""

    def start(steps: dict[str, list[Any]], **options: Any) -> AcpClient:
        command = (sys.executable, "-I", str(HERE / "scripted_agent.py"))
        return start_acp(agent=(*command, json.dumps(steps), str(heard)), **options)

    return start


def load(client: AcpClient, session: str, method: str = "session/load") -> int:
    client.updates.clear()
    return client.ask(method, sessionId=session, cwd=str(client.cwd), mcpServers=[])


def history(answer: dict[str, Any]) -> Any:
    return answer["result"]["_meta"]["segue"]["history"]


def commands(client: AcpClient) -> list[str]:
    """Return the names of the commands that the client was offered last."""
    updates = [each["update"] for each in client.updates]
    lists = [each["availableCommands"] for each in updates if "availableCommands" in each]
    return [each["name"] for each in lists[-1]] if lists else []


def test_two_loads_at_once_are_both_answered_and_nothing_is_stored_twice(
    start_acp: StartAcp, kept: str
) -> None:
    first = start_acp(kept)
    session = first.new()
    first.prompt(session, "one")
    first.end()
    client = start_acp(kept)
    asked = [load(client, session) for _ in range(3)]
    assert [history(client.wait_for(each)) for each in asked] == 3 * ["theirs"]
    assert client.said("user_message_chunk") == "oneoneone"
    client.prompt(session, "two")
    client.end()
    assert said(session) == ["one", "You said: one", "two", "You said: two"]


def test_two_loads_at_once_take_a_conversation_in_once(
    start_acp: StartAcp, kept: str, tmp_path: Path
) -> None:
    (tmp_path / "kept" / ID).write_text('"old one"\n')
    client = start_acp(kept)
    asked = [load(client, ID) for _ in range(2)]
    assert {history(client.wait_for(each)) for each in asked} == {"taken in", "theirs"}
    client.end()
    assert said(ID) == ["old one", "You said: old one"]


def test_a_load_while_a_turn_runs_loses_nothing_of_it(script: Script) -> None:
    client = script(
        {
            "initialize": [LOADS],
            "WAIT": [chunk("before ")],
            "session/load": [chunk("x", kind="user_message_chunk"), ANSWER],
            "session/cancel": [chunk("after"), {"id": 3, "result": {"stopReason": "cancelled"}}],
        }
    )
    session = client.new()
    prompt = client.ask(
        "session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}]
    )
    assert prompt == 3
    while b"before" not in client.line():
        pass
    assert "result" in client.wait_for(load(client, session))
    assert client.said("user_message_chunk") == "WAIT"
    client.send(
        b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"%s"}}\n'
        % session.encode()
    )
    assert client.wait_for(prompt)["result"] == {"stopReason": "cancelled"}
    client.end()
    assert stored(session) == [
        ("user_message", "WAIT"),
        ("text", "before "),
        ("text", "after"),
        ("turn_end", None),
    ]


@pytest.mark.parametrize("pause", [0, 0.01, 0.05])
def test_commands_that_follow_a_load_are_offered_with_segues(script: Script, pause: float) -> None:
    first = script({})
    session = first.new()
    first.prompt(session, "one")
    first.end()
    replay = [chunk("one", kind="user_message_chunk"), ANSWER, pause, offered("review")]
    client = script({"initialize": [LOADS], "session/load": replay})
    client.wait_for(load(client, session))
    client.request("session/list")
    client.wait_for(client.ask("session/prompt", sessionId=session, prompt=[]))
    assert commands(client) == ["review", "segue"]


@pytest.mark.parametrize("id", ['C:\\new\\1"', "a/é/1", "x" * 5_000, "", "\0"])
def test_ids_of_any_characters_are_replaced(script: Script, id: str) -> None:
    first = script(
        {
            "session/new": [{"id": "$id", "result": {"sessionId": id}}],
            "session/prompt": [chunk("I hear", id), TURN_END],
        }
    )
    session = first.new()
    assert first.prompt(session, "one") == "I hear"
    assert {each["sessionId"] for each in first.updates} == {session}
    begin = time.monotonic()
    assert first.prompt(session, "two") == "I hear"
    assert time.monotonic() - begin < 0.9
    assert first.end() == 0
    assert [text for text in said(session) if text != "I hear"] == ["one", "two"]


def test_an_id_that_cannot_be_stored_stops_nothing(script: Script) -> None:
    odd = "\ud800-and-what-else-an-id-has"
    steps = {"session/new": [{"id": "$id", "result": {"sessionId": odd}}]}
    client = script(steps | {"session/prompt": [chunk("I hear", odd), TURN_END]})
    begin = time.monotonic()
    for _ in range(3):
        assert client.prompt(client.new(), "one") == "I hear"
    assert time.monotonic() - begin < 2.5
    assert client.end() == 0
    assert client.stderr() == ""


def test_the_history_is_given_again_if_the_prompt_has_failed(script: Script, heard: Path) -> None:
    first = script({})
    session = first.new()
    first.prompt(session, "the word is plum")
    first.end()
    failed = {"id": "$id", "error": {"code": -32000, "message": "Authentication required"}}
    client = script({"session/new": [{"id": "$id", "result": {"sessionId": "1"}}], "no": [failed]})
    assert history(client.wait_for(load(client, session))) == "revived"
    asked = client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "no"}])
    assert "error" in client.wait_for(asked)
    heard.write_text("")
    client.prompt(session, "and now?")
    assert "the word is plum" in heard.read_text()
    heard.write_text("")
    client.prompt(session, "once more")
    assert "the word is plum" not in heard.read_text()


def test_segue_goes_on_with_another_one_only_between_turns(script: Script) -> None:
    first = script({})
    old = first.new()
    first.prompt(old, "the old one")
    first.end()
    client = script(
        {
            "session/new": [{"id": "$id", "result": {"sessionId": "another-scripted-session"}}],
            "WAIT": [chunk("said before", "another-scripted-session")],
        }
    )
    session = client.new()
    client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}])
    while b"said before" not in client.line():
        pass
    assert "the old one" in client.prompt(session, "/segue")
    assert "has not ended" in client.prompt(session, "/segue 1")
    client.end()
    assert said(old) == ["the old one"]
    assert said(session) == ["WAIT", "said before"]


def test_an_agent_that_only_resumes_is_asked_for_what_is_not_stored(script: Script) -> None:
    client = script(
        {
            "initialize": [initialized(sessionCapabilities={"resume": {}})],
            "session/resume": [ANSWER],
        }
    )
    assert "result" in client.wait_for(load(client, "theirs-alone", "session/resume"))
    client.prompt("theirs-alone", "two")
    client.end()
    assert said("theirs-alone") == ["two"]


def test_a_resumed_conversation_is_taken_in_and_not_shown(script: Script) -> None:
    old = chunk("old one", kind="user_message_chunk")
    client = script({"initialize": [LOADS], "session/load": [old, ANSWER]})
    assert history(client.wait_for(load(client, ID, "session/resume"))) == "taken in"
    assert client.said("user_message_chunk") == ""
    client.end()
    assert said(ID) == ["old one"]


def test_of_another_version_of_the_protocol_nothing_is_answered_here(script: Script) -> None:
    client = script(
        {
            "initialize": [initialized(version=2)],
            "session/list": [{"id": "$id", "result": {"sessions": [{"sessionId": "its own"}]}}],
            "session/resume": [{"id": "$id", "result": {"its": "own"}}],
        }
    )
    assert client.request("session/list") == {"sessions": [{"sessionId": "its own"}]}
    assert client.wait_for(load(client, "x", "session/resume"))["result"] == {"its": "own"}


def test_a_notification_is_not_answered(script: Script, heard: Path) -> None:
    client = script({})
    session = client.new()
    for method in ("session/list", "session/load", "session/delete"):
        body = {"jsonrpc": "2.0", "method": method, "params": {"sessionId": session}}
        client.send(json.dumps(body).encode() + b"\n")
    client.prompt(session, "one")
    assert "session/load" in heard.read_text()
    assert client.process.poll() is None


def test_an_error_that_is_null_is_none(script: Script) -> None:
    client = script(
        {"session/new": [{"id": "$id", "result": {"sessionId": ID}, "error": None}]},
    )
    client.request("session/new", cwd=str(client.cwd), mcpServers=[])
    client.prompt(ID, "one")
    client.end()
    assert said(ID) == ["one"]


def test_an_agent_that_does_not_end_is_ended_after_3_s(script: Script) -> None:
    client = script({"outlives": [], "session/new": [{"id": "$id", "result": {"sessionId": ID}}]})
    client.prompt(client.new(), "one")
    begin = time.monotonic()
    assert client.end() == 128 + 9
    assert 2.5 < time.monotonic() - begin < 5


def test_what_is_said_behind_a_prompt_that_waits_for_the_disk_all_arrives(
    script: Script, database: Path
) -> None:
    client = script({})
    session = client.new()
    client.prompt(session, "one")
    body = {"jsonrpc": "2.0", "method": "_vendor/x", "params": {"x": "x" * 1_000_000}}
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        client.ask("session/prompt", sessionId=session, prompt=[])
        flood = 20 * (json.dumps(body).encode() + b"\n")
        writing = threading.Thread(target=client.send, args=(flood,), daemon=True)
        writing.start()
        writing.join(20)
        assert not writing.is_alive()
        other.execute("ROLLBACK")
    client.prompt(session, "two")


def test_a_conversation_is_not_taken_in_while_the_store_cannot_be_read(
    start_acp: StartAcp, kept: str, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    place = str(folder / "sessions.db")
    first = start_acp(kept, SEGUE_DATABASE=place)
    session = first.new()
    first.prompt(session, "one")
    first.end()
    folder.rename(tmp_path / "away")
    folder.write_text("")
    client = start_acp(kept, SEGUE_DATABASE=place)
    assert "result" in client.wait_for(load(client, session))
    assert client.said("user_message_chunk") == "one"
    folder.unlink()
    (tmp_path / "away").rename(folder)
    client.prompt(session, "two")
    client.end()
    os.environ["SEGUE_DATABASE"] = place
    everything = [text for each in sessions() for text in said(each["sessionId"])]
    assert sorted(everything) == sorted(["one", "You said: one", "two", "You said: two"])


@pytest.mark.parametrize("where", ["agent", "client", "model", "cwd", "title", "call", "option"])
def test_names_that_cannot_be_stored_as_they_are_keep_nothing_from_being_stored(
    script: Script, where: str
) -> None:
    odd = "\ud800 and \0 more"
    agent = {"name": odd} if where == "agent" else {}
    new: dict[str, Any] = {"sessionId": ID}
    new |= {"models": {"currentModelId": odd}} if where == "model" else {}
    update: dict[str, Any] = {"sessionUpdate": "tool_call", "toolCallId": odd, "title": odd}
    if where == "title":
        update = {"sessionUpdate": "session_info_update", "title": odd}
    said_of_it = {"method": "session/update", "params": {"sessionId": ID, "update": update}}
    client = script(
        {
            "initialize": [{"id": "$id", "result": {"protocolVersion": 1, "agentInfo": agent}}],
            "session/new": [{"id": "$id", "result": new}],
            "session/prompt": [said_of_it, chunk("I hear"), TURN_END],
        },
        is_initialized=False,
    )
    info = {"name": odd if where == "client" else "test"}
    client.request("initialize", protocolVersion=1, clientInfo=info)
    cwd = odd if where == "cwd" else str(client.cwd)
    session = client.request("session/new", cwd=cwd, mcpServers=[])["sessionId"]
    assert client.prompt(session, "one") == "I hear"
    assert client.end() == 0
    assert client.stderr() == ""
    assert said(session) == ["one", "I hear"]


@pytest.mark.parametrize("failed", [{"error": {"code": 1, "message": "no"}},
                                    {"result": {"stopReason": "cancelled"}}])  # fmt: skip
def test_an_agent_need_not_have_a_prompt_that_failed(
    script: Script, failed: dict[str, Any]
) -> None:
    one = chunk("one", kind="user_message_chunk")
    steps = {"initialize": [LOADS], "session/load": [one, ANSWER], "no": [{"id": "$id", **failed}]}
    first = script(steps)
    session = first.new()
    first.prompt(session, "one")
    prompt = [{"type": "text", "text": "no"}]
    first.wait_for(first.ask("session/prompt", sessionId=session, prompt=prompt))
    first.end()
    client = script(steps)
    assert history(client.wait_for(load(client, session))) == "theirs"


def test_a_conversation_that_is_deleted_in_a_turn_stays_deleted(script: Script) -> None:
    client = script({"WAIT": [chunk("said "), 1, chunk("after"), TURN_END]})
    session = client.new()
    prompt = client.ask(
        "session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}]
    )
    while b"said " not in client.line():
        pass
    assert client.request("session/delete", sessionId=session) == {}
    client.wait_for(prompt)
    client.end()
    assert sessions() == []


def test_a_title_that_comes_last_is_stored(script: Script) -> None:
    update = {"sessionUpdate": "session_info_update", "title": "What it was about"}
    titled = {"method": "session/update", "params": {"sessionId": ID, "update": update}}
    client = script({"session/prompt": [TURN_END, titled]})
    client.prompt(client.new(), "one")
    client.end()
    assert [each["title"] for each in sessions()] == ["What it was about"]


def test_an_agent_forks_while_the_store_is_locked(script: Script, database: Path) -> None:
    forked = {"id": "$id", "result": {"sessionId": "the-fork-of-a-scripted-session"}}
    client = script({"session/fork": [forked]})
    session = client.new()
    client.prompt(session, "one")
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        fork = client.request("session/fork", sessionId=session, cwd=str(client.cwd))["sessionId"]
        assert time.monotonic() - begin < 4
        other.execute("ROLLBACK")
    client.prompt(fork, "two")
    client.end()
    assert said(fork)[-1] == "two"
    assert said(session) == ["one"]


def test_the_history_is_given_at_the_next_load_if_the_only_prompt_has_failed(
    script: Script, heard: Path
) -> None:
    first = script({})
    session = first.new()
    first.prompt(session, "the word is plum")
    first.end()
    failed = {"id": "$id", "error": {"code": -32000, "message": "Authentication required"}}
    steps = {
        "initialize": [LOADS],
        "session/new": [{"id": "$id", "result": {"sessionId": "its-own-id-of-the-same"}}],
        "no": [failed],
    }
    client = script(steps | {"session/load": [failed]})
    assert history(client.wait_for(load(client, session))) == "revived"
    client.wait_for(
        client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "no"}])
    )
    client.end()
    again = script(steps | {"session/load": [ANSWER]})
    assert history(again.wait_for(load(again, session))) == "caught up"
    heard.write_text("")
    again.prompt(session, "and now?")
    assert "the word is plum" in heard.read_text()


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """Return a folder that a file system can be mounted on that never answers."""
    if (reason := fuse.unavailable()) is not None:
        pytest.skip(reason)
    (tmp_path / "hanging").mkdir()
    return tmp_path / "hanging"


def test_a_disk_that_never_answers_does_not_hold_up_the_start(
    script: Script, hanging: Path
) -> None:
    with fuse.hanging(hanging):
        client = script({"session/prompt": [chunk("I hear"), TURN_END]},
                        SEGUE_DATABASE=str(hanging / "sessions.db"))  # fmt: skip
        assert client.prompt(client.new(), "one") == "I hear"
        assert client.end() == 0
    assert "nothing is recorded: the settings could not be read" in client.stderr()


def test_a_disk_that_answers_no_more_holds_nothing_up(script: Script, hanging: Path) -> None:
    steps = {"session/prompt": [chunk("I hear"), TURN_END], "outlives": []}
    client = script(steps, SEGUE_DATABASE=str(hanging / "sessions.db"))
    with fuse.hanging(hanging):
        begin = time.monotonic()
        session = client.new()
        assert client.prompt(session, "one") == "I hear"
        assert client.request("session/list")["sessions"] == []
        assert time.monotonic() - begin < 10
        agent = process_under(client.process.pid)
        begin = time.monotonic()
        client.end()
        assert time.monotonic() - begin < 9
        assert not is_running(agent)


def process_under(process: int) -> int:
    """Return the process that *process* has started."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
