"""`segue move`, as people run it: from a file to each kind of store, and back."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import append_message, contents_of, run
from tests.factories import HERE, store_session, user_message
from tests.store import postgres_server


@pytest.fixture(params=["file", *postgres_server.find_programs()])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the location of the other store."""
    if request.param == "file":
        return str(tmp_path / "other.db")
    server = postgres_server.server(request.param)
    return server.url(server.role_of(tmp_path))


def store(database: Path, *texts: str) -> list[str]:
    """Store a session for each text; return their ids."""

    async def store() -> list[str]:
        service = await LocalSessionService.open(database)
        ids = [await store_session(service, user_message(text)) for text in texts]
        await service.close()
        return ids

    return asyncio.run(store())


def moved(target: str, **environment: str) -> Any:
    done = run("move", "--to", target, "--json", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_store_is_moved_and_comes_back(database: Path, target: str, tmp_path: Path) -> None:
    ids = store(database, "one", "two")
    done = run("move", "--to", target)
    assert (done.returncode, done.stderr) == (0, "")
    first, compared, then = done.stdout.splitlines()
    assert first == f"Copied 2 of 2 conversations to {target}."
    assert compared == "Compared 2 events: they are equal in both."
    assert then.startswith(
        "Nothing was deleted here. To use the other store, name it by `database`"
    )
    assert run("move", "--to", target).stdout.splitlines()[0] == (
        f"2 conversations: {target} had all of it."
    )
    listed = run("list", "--json", "--cwd", HERE, SEGUE_DATABASE=target)
    assert {each["sessionId"] for each in json.loads(listed.stdout)["sessions"]} == {*ids}
    append_message(database, ids[0], "later")
    report = moved(target)
    assert (report["from"], report["to"]) == (str(database), target)
    assert (report["copied"], report["events"], report["complete"]) == (1, 3, True)
    back = tmp_path / "back.db"
    assert moved(str(back), SEGUE_DATABASE=target)["copied"] == 2
    assert contents_of(back, ids[0]) == ["one", "later"]
    assert contents_of(database, ids[0]) == ["one", "later"]


def test_what_cannot_be_moved_is_said_in_a_sentence(database: Path, tmp_path: Path) -> None:
    done = run("move", "--to", str(tmp_path / "other.db"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no store at {database}" in done.stderr
    assert not (tmp_path / "other.db").exists()
    store(database, "one")
    for target, code, words in (
        (str(database), 2, "is this store"),
        (":memory:", 2, "--to: expected the path of a file"),
        ("ftp://host/x", 2, "--to: URLs of the scheme 'ftp'"),
        ("postgresql://a@h/x?sslmode=prefer", 2, "The address of the database has sslmode=prefer"),
        (str(tmp_path / "absent" / "other.db"), 1, "does not exist"),
        (f"postgresql://a@/x?host={tmp_path}", 1, "the same command goes on from there"),
    ):
        done = run("move", "--to", target)
        assert (done.returncode, done.stdout) == (code, ""), target
        assert words in done.stderr
    assert run("move").returncode == 2


def test_one_that_went_on_there_is_named(database: Path, target: str, tmp_path: Path) -> None:
    (id,) = store(database, "one")
    moved(target)
    other = tmp_path / "machine" / "sessions.db"
    other.parent.mkdir()
    moved(str(other), SEGUE_DATABASE=target)
    append_message(other, id, "there")
    moved(target, SEGUE_DATABASE=str(other))
    append_message(database, id, "here")
    done = run("move", "--to", target)
    assert f"{id} went on in both stores: what was said here is " in done.stdout
    assert (done.returncode, contents_of(database, id)) == (0, ["one", "here"])
