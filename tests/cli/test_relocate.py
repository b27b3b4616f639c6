"""`segue relocate`, and the hint of `segue list`, with real folders and a real server."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.model.records import Machine, NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import as_json, run
from tests.conftest import StartClient
from tests.factories import user_message

URL = "https://anna:secret@github.com/Org/Repo.git"


@pytest.fixture
def talked(start: StartClient, repository: Path) -> str:
    """Store a conversation of a checkout with a remote, and return its id."""
    subprocess.run(["git", "-C", repository, "remote", "add", "origin", URL], check=True)
    client = start()
    opened = client.request("session/open", {"workspace": str(repository / "src")})
    id: str = opened["session"]["sessionId"]
    event = {"type": "user_message", "data": {"content": "Hello"}}
    client.request("session/append", {"sessionId": id, "events": [event]})
    assert opened["session"]["repository"] == "github.com/org/repo"
    assert client.shutdown() == 0
    return id


@pytest.fixture
def moved(talked: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rename the checkout and make a folder of it the current directory."""
    new = repository.with_name("it's new")
    repository.rename(new)
    monkeypatch.chdir(new / "src")
    return new


def test_the_list_says_how_to_take_the_conversations_along(
    moved: Path, repository: Path, talked: str
) -> None:
    listed = run("list")
    assert listed.stdout == ""
    assert f"conversations of this repository in {repository}, which is gone" in listed.stderr
    hint = listed.stderr.partition("moved here: segue ")[2]
    assert run("list", "--json").stderr == ""
    assert run("list", "--all").stderr == ""

    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m segue {hint}', sys.executable],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"1 conversation moved to {moved}\n"

    (session,) = as_json("list")["sessions"]
    assert (session["sessionId"], session["directory"]) == (talked, f"{moved}/src")
    assert run("list").stderr == ""


def test_the_new_folder_is_the_current_repository(moved: Path, repository: Path) -> None:
    assert as_json("relocate", "../../repository") == {"moved": 1}
    assert as_json("relocate", str(repository)) == {"moved": 0}
    again = run("relocate", str(repository))
    assert (again.returncode, again.stderr) == (
        1, f"Error: No conversation was had in {repository}.\n",
    )  # fmt: skip


def test_a_wrong_folder_is_an_error(moved: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((str(tmp_path),), "is still a folder here"),
        (("/gone", "/gone/too"), "does not exist"),
        (("/gone\udcff",), "is no absolute path in UTF-8"),
    ):
        done = run("relocate", *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_window_is_asked_once(
    moved: Path, repository: Path, talked: str, start: StartClient
) -> None:
    def asked() -> Any:
        client = start(moved)
        found = client.request("session/findResumable", {"workspace": str(moved)})["moved"]
        opened = client.request("session/open", {"workspace": str(moved)})["moved"]
        assert client.shutdown() == 0
        assert found == opened
        return opened

    offer = asked()
    assert offer["session"]["sessionId"] == talked
    roots = {"oldRoot": str(repository), "newRoot": str(moved)}
    assert {name: offer[name] for name in roots} == roots
    client = start(moved)
    client.request("session/relocate", {**roots, "declined": True})
    assert asked() is None
    assert client.request("session/relocate", roots) == {"moved": 1}
    opened = client.request("session/open", {"workspace": str(moved)})
    assert opened["session"]["sessionId"] == talked


async def test_the_list_names_the_other_machine(
    database: Path, talked: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await LocalSessionService.open(database)
    laptop = Machine(id="1", name="LAPTOP")
    new = NewSession(
        id="there", directory="/there", repository="github.com/org/repo", machine=laptop
    )
    await service.create_session(new, [user_message("From there")], invocation_id="1")
    await service.close()
    monkeypatch.chdir(repository)
    assert "LAPTOP:/there" in run("list").stdout
    assert "LAPTOP:/there" in run("show", "there").stdout
    assert "LAPTOP:/there" in run("search", "From there").stdout
    printed = as_json("open", "there", "--editor", "nvim", "--print")
    assert printed["directory"] == str(repository)
