"""A real server and real commands on a real PostgreSQL, chosen by the setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segue.cli.client import Client, RequestError
from tests.conftest import StartClient
from tests.store import postgres_server


@pytest.fixture(params=list(postgres_server.find_programs()))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    server = postgres_server.server(request.param)
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
