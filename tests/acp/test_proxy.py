"""`segue acp` between a client and an agent, which are real processes."""

import json
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acp.conftest import StartAcp
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient


def stored(session: str) -> list[tuple[str, Any]]:
    """Return the types and what was said of the events of a session."""
    events = as_json("show", session)["events"]
    return [(each["type"], each["data"].get("content")) for each in events]


def said(session: str) -> list[str]:
    """Return what the user and the agent said in a session."""
    return [text for type, text in stored(session) if type in ("user_message", "text")]


def sessions() -> list[dict[str, Any]]:
    return list(as_json("list", "--all")["sessions"])


def test_a_turn_is_recorded_with_its_client_and_agent(start_acp: StartAcp) -> None:
    client = start_acp()
    session = client.new()
    assert client.prompt(session, "hello") == "You said: hello"
    assert client.end() == 0
    assert stored(session) == [
        ("user_message", "hello"), ("text", "You said: hello"), ("turn_end", None)
    ]  # fmt: skip
    (listed,) = sessions()
    assert (listed["client"], listed["agent"]) == ("Test Client", "echo-agent")
    assert client.stderr() == ""


def test_what_is_not_known_of_the_protocol_goes_on_as_it_is(start_acp: StartAcp) -> None:
    client = start_acp()
    answer = client.wait_for(client.ask("_vendor/x", anything=[1.0, None]))
    assert answer["error"]["message"] == "no method _vendor/x"
    client.send(b"no JSON at all\n")
    assert client.line() == b"no JSON at all\n"


def test_an_agent_without_load_goes_on_with_a_conversation(start_acp: StartAcp) -> None:
    first = start_acp()
    session = first.new()
    first.prompt(session, "the word is plum")
    first.end()

    second = start_acp()
    loaded = second.request("session/load", sessionId=session, cwd=str(second.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "revived"}
    assert second.said("user_message_chunk") == "the word is plum"
    assert second.said("agent_message_chunk") == "You said: the word is plum"
    heard = second.prompt(session, "which word?")
    assert "User:\nthe word is plum" in heard
    assert heard.endswith("which word?")
    assert "1 of 1 exchanges were given" in second.said("agent_thought_chunk")
    assert second.prompt(session, "and now?") == "You said: and now?", "it is given once"
    second.end()
    assert [text for text in said(session) if not text.startswith("You said")] == [
        "the word is plum", "which word?", "and now?"
    ]  # fmt: skip


def test_an_agent_with_load_shows_its_own_conversation(start_acp: StartAcp, kept: str) -> None:
    first = start_acp(kept)
    session = first.new()
    first.prompt(session, "one")
    first.end()
    again = start_acp(kept)
    loaded = again.request("session/load", sessionId=session, cwd=str(again.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "theirs"}
    assert again.said("user_message_chunk") == "one"
    assert again.prompt(session, "two") == "You said: two"
    again.end()
    assert said(session) == ["one", "You said: one", "two", "You said: two"]


def test_an_agent_is_given_only_what_it_missed(start_acp: StartAcp, kept: str) -> None:
    first = start_acp(kept)
    session = first.new()
    first.prompt(session, "one")
    first.end()
    other = start_acp("--name=another")
    other.request("session/load", sessionId=session, cwd=str(other.cwd), mcpServers=[])
    other.prompt(session, "two")
    other.end()

    again = start_acp(kept)
    loaded = again.request("session/load", sessionId=session, cwd=str(again.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "caught up"}
    assert "two" in again.said("user_message_chunk")
    heard = again.prompt(session, "three")
    assert "User:\ntwo" in heard
    assert "User:\none" not in heard.partition("Assistant:")[0]
    again.end()
    last = start_acp(kept)
    loaded = last.request("session/load", sessionId=session, cwd=str(last.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "theirs"}, "it has all of it now"


def test_an_agent_that_lost_a_conversation_is_given_it(
    start_acp: StartAcp, kept: str, tmp_path: Path
) -> None:
    first = start_acp(kept)
    session = first.new()
    first.prompt(session, "one")
    first.end()
    (tmp_path / "kept" / session).write_text("")  # it loads, and says nothing of what it lost
    again = start_acp(kept)
    loaded = again.request("session/load", sessionId=session, cwd=str(again.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "revived"}
    assert again.said("user_message_chunk") == "one"
    assert "User:\none" in again.prompt(session, "two")
    again.end()
    last = start_acp(kept)
    loaded = last.request("session/load", sessionId=session, cwd=str(last.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "theirs"}, "it is not revived each time"
    assert last.said("user_message_chunk") == "onetwo"
    assert last.prompt(session, "three") == "You said: three"


def test_an_agent_that_leaves_out_a_cancelled_turn_has_the_conversation(
    start_acp: StartAcp, kept: str
) -> None:
    first = start_acp(kept)
    session = first.new()
    first.prompt(session, "one")
    turn = first.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}])
    while b"working" not in first.line():
        pass
    first.cancel(session)
    first.wait_for(turn)
    first.prompt(session, "two")
    first.end()
    again = start_acp(kept)
    assert again.load(session) == "theirs"
    assert again.said("user_message_chunk") == "oneWAITtwo", "without ids they are one message"


def test_what_an_agent_says_right_after_a_load_is_of_the_clients_conversation(
    start_acp: StartAcp, kept: str
) -> None:
    first = start_acp("--name=another")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    for how in ("revived", "theirs"):
        client = start_acp(kept, "--late")
        assert client.load(session) == how
        updates = [*client.updates]
        client.prompt(session, "two")
        updates += client.updates
        assert {each["sessionId"] for each in updates} == {session}
        client.end()
    offered = [each["update"] for each in updates if "availableCommands" in each["update"]]
    assert offered[-1]["availableCommands"][0] == {"name": "its"}


def test_an_agent_that_lost_a_conversation_says_nothing_more_of_it(
    start_acp: StartAcp, kept: str, tmp_path: Path
) -> None:
    first = start_acp("--name=another")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    second = start_acp(kept)
    second.load(session)
    second.prompt(session, "two")
    second.end()
    for file in (tmp_path / "kept").iterdir():
        file.write_text("")
    third = start_acp(kept, "--late")
    assert third.load(session) == "revived"
    assert {each["sessionId"] for each in third.updates} == {session}
    assert third.prompt(session, "three").endswith("three")
    assert {each["sessionId"] for each in third.updates} == {session}


@pytest.mark.parametrize("goes_on", ["load", "/segue"])
def test_a_title_that_is_made_of_a_history_is_not_used(start_acp: StartAcp, goes_on: str) -> None:
    first = start_acp()
    session = first.new()
    first.prompt(session, "one")
    first.end()
    client = start_acp("--titles", "--name=another")
    if goes_on == "load":
        id = session
        client.load(id)
    else:
        id = client.new()
        client.prompt(id, "/segue 1")
    assert client.prompt(id, "two").startswith("You said: [Note from Segue")
    assert [each["update"] for each in client.updates if "title" in each["update"]] == []
    client.end()
    assert sessions()[0]["title"] == "one"


def test_the_list_has_a_conversation_once_whatever_its_agents_call_it(
    start_acp: StartAcp, kept: str
) -> None:
    first = start_acp("--name=first")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    for name in ("second", "third"):
        client = start_acp(kept, f"--name={name}")
        client.load(session)
        client.prompt(session, name)
        client.end()
    client = start_acp(kept, "--lists", "--name=second")
    listed = client.request("session/list")["sessions"]
    assert [each["sessionId"] for each in listed] == [session]


def test_a_conversation_that_only_the_agent_has_is_taken_in(
    start_acp: StartAcp, kept: str, tmp_path: Path
) -> None:
    session = "0195f3a0-0000-7000-8000-00000000abcd"
    (tmp_path / "kept" / session).write_text('"old one"\n')
    client = start_acp(kept)
    loaded = client.request("session/load", sessionId=session, cwd=str(client.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "taken in"}
    client.prompt(session, "two")
    client.end()
    assert said(session) == ["old one", "You said: old one", "two", "You said: two"]


def test_a_conversation_that_nobody_has_is_not_found(start_acp: StartAcp, kept: str) -> None:
    for client in (start_acp(), start_acp(kept)):
        id = client.ask("session/load", sessionId="nobody", cwd=str(client.cwd), mcpServers=[])
        assert client.wait_for(id)["error"]["code"] == -32002


def test_ids_that_another_conversation_could_have_are_replaced(start_acp: StartAcp) -> None:
    client = start_acp("--short-ids")
    one, two = client.new(), client.new()
    assert len({one, two, "1", "2"}) == 4
    assert client.prompt(one, 'it is "sessionId": "1"') == 'You said: it is "sessionId": "1"'
    assert {each["sessionId"] for each in client.updates} <= {one, two}
    client.prompt(two, "second")
    client.end()
    assert said(two) == ["second", "You said: second"]


def test_the_list_has_both_the_agents_and_those_of_all_others(start_acp: StartAcp) -> None:
    first = start_acp()
    sessions = [first.new() for _ in range(3)]
    for session in sessions:
        first.prompt(session, f"in {session}")
    first.end()
    client = start_acp()
    listed = client.request("session/list", cwd=str(client.cwd))
    assert [each["sessionId"] for each in listed["sessions"]] == sessions[::-1]
    assert listed["sessions"][0]["title"] == f"in {sessions[2]}"
    assert "nextCursor" not in listed
    assert client.request("session/list", cwd="/")["sessions"] == []


def test_segue_lists_and_goes_on_in_any_client(start_acp: StartAcp) -> None:
    first = start_acp()
    session = first.new()
    first.prompt(session, "the word is plum")
    first.end()
    client = start_acp()
    mine = client.new()
    commands = client.prompt(mine, "/segue")
    assert commands.startswith("1. the word is plum (echo-agent, ")
    assert "no number 7" in client.prompt(mine, "/segue 7")
    assert "the word is plum" in client.prompt(mine, "/segue 1")
    assert "the word is plum" in client.prompt(mine, "which word?")
    client.end()
    assert said(session)[-2] == "which word?"
    assert [each["sessionId"] for each in sessions()] == [session]


def test_a_prompt_waits_for_the_load_before_it(start_acp: StartAcp) -> None:
    first = start_acp()
    session = first.new()
    first.prompt(session, "the word is plum")
    first.end()
    second = start_acp()
    second.ask("session/load", sessionId=session, cwd=str(second.cwd), mcpServers=[])
    assert "the word is plum" in second.prompt(session, "which word?")
    second.end()
    assert said(session)[-2] == "which word?"


def test_a_prompt_is_stored_before_the_agent_gets_it(start_acp: StartAcp) -> None:
    client = start_acp()
    session = client.new()
    client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}])
    while b"working" not in client.line():
        pass
    client.process.send_signal(signal.SIGKILL)
    client.process.wait()
    assert said(session) == ["WAIT"]


@pytest.mark.parametrize("end", ["stdin", "SIGTERM"])
def test_everything_that_was_said_is_stored_at_the_end(start_acp: StartAcp, end: str) -> None:
    client = start_acp()
    session = client.new()
    client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "WAIT"}])
    while b"working" not in client.line():
        pass
    if end == "SIGTERM":
        client.process.terminate()
        client.process.wait(20)
    else:
        client.end()
    assert said(session) == ["WAIT", "working\non it"]


def test_the_agents_end_is_the_clients(start_acp: StartAcp) -> None:
    client = start_acp()
    session = client.new()
    client.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "DIE"}])
    lines = []
    while line := client.line():
        lines.append(line)
    assert lines[-1] == b'{"jsonrpc": "2.0", "met', "half a line goes on"
    assert client.process.wait(20) == 7
    assert stored(session) == [("user_message", "DIE")]


def test_an_agent_that_cannot_be_started_is_said(repository: Path, database: Path) -> None:
    done = run("acp", "--", "/no/such/agent")
    assert done.returncode == 127
    assert done.stderr == (
        "segue: the agent '/no/such/agent' cannot be started: No such file or directory\n"
    )


def test_without_a_store_the_conversation_goes_on(start_acp: StartAcp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    client = start_acp(SEGUE_DATABASE=str(tmp_path / "file" / "sessions.db"))
    session = client.new()
    begin = time.monotonic()
    for number in range(5):
        assert client.prompt(session, f"{number}") == f"You said: {number}"
    assert time.monotonic() - begin < 5
    assert client.request("session/list")["sessions"] == []
    assert client.end() == 0
    told = client.stderr()
    assert told.count("cannot be stored now, and goes on") == 1
    assert "15 events of the conversation could not be stored" in told


def test_a_store_that_is_locked_for_a_time_loses_nothing(
    start_acp: StartAcp, database: Path
) -> None:
    client = start_acp()
    session = client.new()
    client.prompt(session, "one")
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        client.prompt(session, "two")
        other.execute("ROLLBACK")
    client.prompt(session, "three")
    client.end()
    texts = said(session)
    assert [each for each in texts if not each.startswith("You")] == ["one", "two", "three"]


def test_two_clients_of_one_conversation_part_in_a_fork(start_acp: StartAcp) -> None:
    first = start_acp()
    session = first.new()
    first.prompt(session, "one")
    second = start_acp()
    second.request("session/load", sessionId=session, cwd=str(second.cwd), mcpServers=[])
    second.prompt(session, "two")
    first.prompt(session, "three")
    first.prompt(session, "four")
    first.end()
    second.prompt(session, "five")
    second.end()
    (fork,) = [each for each in sessions() if each["forkedFrom"] == session]
    users = [text for type, text in stored(fork["sessionId"]) if type == "user_message"]
    assert users == ["one", "three", "four"]
    assert [text for type, text in stored(session) if type == "user_message"] == [
        "one", "two", "five"
    ]  # fmt: skip


def test_a_conversation_that_was_deleted_elsewhere_goes_on_in_a_new_one(
    start_acp: StartAcp, start: StartClient
) -> None:
    client = start_acp()
    session = client.new()
    client.prompt(session, "one")
    start().request("session/delete", {"sessionId": session})
    assert client.prompt(session, "two") == "You said: two"
    client.end()
    (listed,) = sessions()
    assert said(listed["sessionId"]) == ["two", "You said: two"]


def test_delete_removes_what_is_stored(start_acp: StartAcp) -> None:
    client = start_acp()
    session = client.new()
    client.prompt(session, "one")
    assert client.request("session/delete", sessionId=session) == {}
    client.end()
    assert sessions() == []


def test_secrets_are_masked_in_the_store_only(start_acp: StartAcp) -> None:
    secret = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3z5A"
    client = start_acp()
    session = client.new()
    assert client.prompt(session, f"use {secret}") == f"You said: use {secret}"
    client.end()
    assert secret not in json.dumps(stored(session))
    assert "[redacted:" in said(session)[0]


def test_hooks_of_the_agent_know_that_it_is_recorded(start_acp: StartAcp, tmp_path: Path) -> None:
    script = tmp_path / "agent.sh"
    script.write_text('echo "$SEGUE_ACP" > "$0.seen"; cat > /dev/null')
    client = start_acp(agent=("/bin/sh", str(script)), is_initialized=False)
    client.end()
    assert Path(f"{script}.seen").read_text().strip() == str(client.process.pid)


def test_a_revived_conversation_is_known_by_its_agents_id_too(
    start_acp: StartAcp, kept: str
) -> None:
    first = start_acp("--name=another")
    session = first.new()
    first.prompt(session, "one")
    first.end()
    client = start_acp(kept)
    client.request("session/load", sessionId=session, cwd=str(client.cwd), mcpServers=[])
    client.prompt(session, "two")
    client.end()
    own_id = as_json("show", session)["session"]["serverSessionId"]
    assert own_id != session

    again = start_acp(kept)
    loaded = again.request("session/load", sessionId=own_id, cwd=str(again.cwd), mcpServers=[])
    assert loaded["_meta"]["segue"] == {"history": "theirs"}
    assert again.said("user_message_chunk") == "onetwo"
    again.prompt(own_id, "three")
    again.end()
    assert said(session)[-1] == "You said: three"
    assert [each["sessionId"] for each in sessions()] == [session]


def test_segue_goes_on_with_what_it_has_listed(start_acp: StartAcp) -> None:
    first = start_acp()
    old = first.new()
    first.prompt(old, "the old one")
    client = start_acp()
    mine = client.new()
    assert "1. the old one" in client.prompt(mine, "/segue")
    newer = first.new()
    first.prompt(newer, "a newer one")
    assert "the old one" in client.prompt(mine, "/segue 1")


def test_what_a_client_says_at_the_same_time_is_answered(start_acp: StartAcp) -> None:
    client = start_acp()
    session = client.new()
    ids = [client.ask("session/list") for _ in range(5)]
    prompt = [{"type": "text", "text": "hello"}]
    ids.append(client.ask("session/prompt", sessionId=session, prompt=prompt))
    ids += [client.ask("session/list") for _ in range(5)]
    answered: set[int] = set()
    while len(answered) < len(ids):
        message = json.loads(client.line())
        if "method" not in message:
            answered.add(message["id"])
    assert answered == set(ids)
