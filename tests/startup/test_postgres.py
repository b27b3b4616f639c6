"""A real server and real commands on a real PostgreSQL, chosen by the setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segue.cli.client import Client, RequestError
from tests.conftest import StartClient
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer


@pytest.fixture(params=list(postgres_server.find_programs()))
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return postgres_server.server(request.param)


@pytest.fixture
def url(server: PostgresServer, tmp_path: Path) -> str:
    return server.url(server.role_of(tmp_path))


def segue(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SEGUE_DATABASE": url}
    command = [sys.executable, "-P", "-m", "segue", *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def test_a_conversation_is_continued_by_another_window_and_shown_by_the_command(
    start: StartClient, url: str
) -> None:
    first: Client = start(SEGUE_DATABASE=url)
    session = first.request("session/open")["session"]["sessionId"]
    event = {"type": "user_message", "data": {"content": "Where were we?"}}
    first.request("session/append", {"sessionId": session, "events": [event]})
    second: Client = start(SEGUE_DATABASE=url)
    opened = second.request("session/open")
    assert (opened["resumed"], opened["session"]["sessionId"]) == (True, session)
    hits = second.request("session/search", {"query": "where WE"})["hits"]
    assert [hit["session"]["sessionId"] for hit in hits] == [session, session]
    assert first.shutdown() == second.shutdown() == 0
    assert "Where were we?" in segue("list", "--all", url=url).stdout
    assert "Where were we?" in segue("show", session, url=url).stdout


def test_a_window_goes_on_with_what_another_user_shares_in_a_fork(
    start: StartClient, server: PostgresServer, url: str, tmp_path: Path
) -> None:
    owner = server.role_of(tmp_path)
    theirs: Client = start(SEGUE_DATABASE=url)
    shared = theirs.request("session/open", {"workspace": str(tmp_path)})["session"]["sessionId"]
    said = {"id": "one", "type": "user_message", "data": {"content": "hello"}}
    theirs.request("session/append", {"sessionId": shared, "events": [said]})
    reader = server.role_of(tmp_path / "reader")
    assert segue("postgres", "share", shared, "--with", reader, url=url).returncode == 0
    here = tmp_path / "here"
    here.mkdir()
    client: Client = start(SEGUE_DATABASE=server.url(reader))
    opened = client.request("session/open", {"workspace": str(here)})
    assert not opened["resumed"]
    (listed,) = client.request("session/list")["sessions"]
    assert (listed["sessionId"], listed["sharedBy"]) == (shared, owner)
    opened = client.request("session/open", {"sessionId": shared, "workspace": str(here)})
    assert (opened["session"]["sharedBy"], len(opened["events"])) == (owner, 1)
    mine = {"id": "two", "type": "user_message", "data": {"content": "and I"}}
    events = {"parentId": "one", "events": [mine]}
    for change, more in (
        ("append", events),
        ("setTitle", {"title": "mine"}),
        ("archive", {}),
        ("delete", {}),
    ):
        with pytest.raises(RequestError) as error:
            client.request(f"session/{change}", {"sessionId": shared, **more})
        assert (error.value.kind, error.value.data["sharedBy"]) == ("SessionReadOnly", owner)
    fork = client.request("session/fork", {"sessionId": shared, "at": "one"})
    record = fork["session"]
    assert (record["forkedFrom"], record["forkedAt"], record["sharedBy"]) == (shared, 1, None)
    assert (record["directory"], fork["boundary"]) == (str(here), opened["boundary"])
    client.request("session/append", {"sessionId": record["sessionId"], **events})
    page = client.request("session/events", {"sessionId": record["sessionId"]})
    boundary = opened["boundary"]["id"]
    assert [event["id"] for event in page["events"]] == ["one", boundary, "two"]
    again = client.request("session/reset", {"sessionId": shared})
    assert again["session"]["sessionId"] != shared
    segue("postgres", "share", shared, "--with", reader, "--revoke", url=url)
    with pytest.raises(RequestError) as error:
        client.request("session/events", {"sessionId": shared})
    assert error.value.kind == "SessionNotFound"
    assert client.shutdown() == theirs.shutdown() == 0


def test_a_server_that_cannot_be_reached_is_an_error_of_the_request(start: StartClient) -> None:
    client = start(SEGUE_DATABASE="postgresql://anna:secret@/segue?host=/nowhere")
    with pytest.raises(RequestError) as error:
        client.request("session/open")
    assert error.value.kind == "StorageUnavailable"
    assert "cannot be reached" in str(error.value)
    assert "secret" not in str(error.value)
    assert client.shutdown() == 0


def test_the_doctor_names_the_database_without_its_password(url: str) -> None:
    said = segue("doctor", url=url.replace("@", ":secret@"))
    assert "PostgreSQL" in said.stdout
    assert "secret" not in said.stdout + said.stderr


def test_without_the_package_the_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nf = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'psycopg' else f(name, package)\n"
    )
    program = "import segue.startup.compose as c, sys; sys.argv = ['segue', 'list']; c.main()"
    environment = {
        **os.environ, "SEGUE_DATABASE": "postgresql://", "PYTHONPATH": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "uv tool install '.[postgres]'" in done.stderr
    assert "Traceback" not in done.stderr
