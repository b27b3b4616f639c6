"""`segue fork`, `rename`, `archive` and `unarchive`, and who spoke in `list` and `show`."""

from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient

SECRET = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


def said(text: str) -> dict[str, Any]:
    return {"type": "user_message", "data": {"content": text}}


def store(client: Client, *texts: str, **origin: str) -> str:
    """Store a session of a user's messages in a window and return its id."""
    session_id = str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])
    events = [said(text) for text in texts]
    client.request("session/append", {"sessionId": session_id, "events": events} | origin)
    return session_id


@pytest.fixture
def recorded(start: StartClient) -> str:
    """Store a session of three events and return its id."""
    client = start()
    session_id = store(client, "First line", "two", "three")
    client.shutdown()
    return session_id


def fork(*arguments: str) -> tuple[str, str]:
    """Run `segue fork` and return the id and the title that it prints."""
    done = run("fork", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    session_id, title = done.stdout.rstrip("\n").split(" ", 1)
    return session_id, title


def contents(session_id: str) -> list[str]:
    return [event["data"]["content"] for event in as_json("show", session_id)["events"]]


def test_a_fork_has_the_events_up_to_the_one_that_is_named(recorded: str) -> None:
    whole, title = fork(recorded)
    assert (contents(whole), title) == (["First line", "two", "three"], "copy of First line")
    by_number, title = fork(recorded, "--at", "2")
    assert (contents(by_number), title) == (["First line", "two"], "copy 2 of First line")
    event_id = as_json("show", recorded)["events"][0]["id"]
    by_id, title = fork(recorded, "--at", event_id, "--title", "mine")
    assert (contents(by_id), title) == (["First line"], "mine")
    listed = {each["sessionId"]: each for each in as_json("list", "--all")["sessions"]}
    assert len({each["title"] for each in listed.values()}) == 4
    assert (listed[by_id]["forkedFrom"], listed[by_id]["forkedAt"]) == (recorded, 1)


def test_a_fork_that_takes_the_originals_place_can_be_undone(recorded: str) -> None:
    session_id, title = fork(recorded, "--at", "1", "--archive-original")
    assert title == "First line"
    assert [each["sessionId"] for each in as_json("list", "--all")["sessions"]] == [session_id]
    assert run("unarchive", recorded).returncode == run("archive", session_id).returncode == 0
    assert [each["sessionId"] for each in as_json("list", "--all")["sessions"]] == [recorded]


@pytest.mark.parametrize("at", ["0", "4", "99999999999999999999"])
def test_a_number_that_no_event_has_is_an_error(recorded: str, at: str) -> None:
    done = run("fork", recorded, "--at", at)
    assert done.returncode == 1
    assert done.stderr == f"Error: The session has no event with the number {at}.\n"
    assert len(as_json("list", "--all")["sessions"]) == 1


def test_an_id_that_no_event_has_is_an_error(recorded: str) -> None:
    done = run("fork", recorded, "--at", "no-event")
    assert done.returncode == 1
    assert done.stderr == "Error: The session has no event with the id no-event.\n"


@pytest.mark.parametrize("command", ["fork ID", "rename ID x", "archive ID", "unarchive ID"])
def test_a_session_that_is_unknown_is_an_error(command: str, database: Path) -> None:
    done = run(*command.replace("ID", "nope").split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: No session has the id nope.\n"
    assert not database.parent.exists()


def test_a_title_stays_until_the_automatic_one_is_wanted(recorded: str, start: StartClient) -> None:
    assert run("rename", recorded, "Rename me").stdout == f"{recorded} Rename me\n"
    client = start()
    client.request("session/open", {"sessionId": recorded})
    client.request("session/append", {"sessionId": recorded, "events": [said("four")]})
    before = as_json("list", "--all")["sessions"][0]
    assert before["title"] == "Rename me"
    assert run("rename", recorded, "--automatic").stdout == f"{recorded} First line\n"
    assert as_json("list", "--all")["sessions"][0] == before | {"title": "First line"}


@pytest.mark.parametrize("title", ["", " ", "a\nb", "a\x1b[31m", 201 * "x"])
def test_a_title_is_one_line_of_1_to_200_characters(recorded: str, title: str) -> None:
    for command in (["rename", recorded, title], ["fork", recorded, "--title", title]):
        done = run(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "it must " in done.stderr.splitlines()[-1]
    (session,) = as_json("list", "--all")["sessions"]
    assert session["title"] == "First line"


def test_rename_wants_a_title_or_automatic(recorded: str) -> None:
    for arguments in ([], ["x", "--automatic"]):
        done = run("rename", recorded, *arguments)
        assert done.returncode == 2
        assert done.stderr.endswith("Error: Give either TITLE or --automatic.\n")


def test_a_secret_in_a_title_is_masked_as_in_a_window(recorded: str, database: Path) -> None:
    _, title = fork(recorded, "--title", f"with {SECRET}")
    assert "[redacted:github-token" in title
    assert "[redacted:github-token" in run("rename", recorded, f"with {SECRET}").stdout
    assert not any(SECRET.encode() in each.read_bytes() for each in database.parent.iterdir())
    assert SECRET in run("rename", recorded, f"with {SECRET}", SEGUE_REDACT="off").stdout


def test_an_archived_session_is_listed_on_request_only(recorded: str) -> None:
    assert run("archive", recorded).stdout == f"{recorded} First line\n"
    assert as_json("list", "--all")["sessions"] == []
    (archived,) = as_json("list", "--all", "--archived")["sessions"]
    assert run("archive", recorded).returncode == 0
    assert as_json("list", "--all", "--archived")["sessions"] == [archived]
    assert run("unarchive", recorded).stdout == f"{recorded} First line\n"
    assert as_json("list", "--all")["sessions"] == [archived | {"archivedAt": None}]


# -- who spoke -----------------------------------------------------------------------------------


def speak(repository: Path, session_id: str | None, **name: str) -> str:
    """Open a session, or a new one, in an editor of that name, append to it, and return its id."""
    client = Client(repository)
    client.initialize(rootUri=repository.as_uri(), clientInfo=name or None)
    params = {"mode": "new"} if session_id is None else {"sessionId": session_id}
    opened = client.request("session/open", params)["session"]["sessionId"]
    origin = {"agent": "claude-code", "model": "opus"} if name else {}
    client.request("session/append", {"sessionId": opened, "events": [said("hello")]} | origin)
    client.shutdown()
    return str(opened)


def test_show_says_who_spoke_and_where_that_changes(repository: Path) -> None:
    session_id = speak(repository, None)
    speak(repository, session_id, name="Neovim", version="0.11.2")
    speak(repository, session_id)
    speak(repository, session_id, name="Code\x1b[31m")
    lines = run("show", session_id).stdout.splitlines()
    assert lines[2] == "last with Code [31m · claude-code · opus"
    openings = [line for line in lines if line.startswith("opened")]
    assert openings == ["opened in Neovim 0.11.2", "opened again", "opened in Code [31m"]
    assert lines[lines.index("opened in Neovim 0.11.2") + 1].startswith("2 system_context · ")


def test_json_has_the_clients_of_the_events(repository: Path) -> None:
    session_id = speak(repository, None, name="Neovim", version="0.11.2")
    speak(repository, session_id)
    shown = as_json("show", session_id)
    assert [(each["clientName"], each["clientVersion"]) for each in shown["invocations"]] == [
        ("Neovim", "0.11.2"),
        (None, None),
    ]
    ids = [event["invocationId"] for event in shown["events"]]
    assert list(dict.fromkeys(ids)) == [each["id"] for each in shown["invocations"]]


def test_list_names_who_spoke_last_where_that_is_known(repository: Path) -> None:
    session_id = speak(repository, None)
    assert "WITH" not in run("list", "--all").stdout
    speak(repository, session_id, name="Neovim")
    header, line = run("list", "--all").stdout.splitlines()
    assert "WITH" in header
    assert "  claude-code  " in line


def test_show_says_what_a_fork_has_in_common(recorded: str, start: StartClient) -> None:
    session_id, _ = fork(recorded, "--at", "2")
    assert f"fork of {recorded}, the first 2 events are common" in run("show", session_id).stdout
    start().request("session/delete", {"sessionId": recorded})
    shown = run("show", session_id).stdout
    assert "fork of a conversation that was deleted, the first 2 events are common" in shown
    assert contents(session_id) == ["First line", "two"]
