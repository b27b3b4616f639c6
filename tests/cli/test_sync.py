"""`segue sync`, as people run it: real processes, two machines and the store between them."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import append_message, contents_of, run
from tests.factories import HERE, store_session, user_message
from tests.store import postgres_server


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stick" / "segue.db"
    path.parent.mkdir()
    monkeypatch.setenv("SEGUE_REMOTE", str(path))
    return path


@pytest.fixture(params=["file", *postgres_server.find_programs()])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the location of a remote: a file, or a database on a server."""
    if request.param == "file":
        path = tmp_path / "stick" / "segue.db"
        path.parent.mkdir()
        location = str(path)
    else:
        server = postgres_server.server(request.param)
        location = server.url(server.role_of(tmp_path))
    monkeypatch.setenv("SEGUE_REMOTE", location)
    return location


@pytest.fixture
def desktop(tmp_path: Path) -> Path:
    return tmp_path / "desktop" / "sessions.db"


def store(database: Path, *texts: str) -> str:
    """Store a session in a database; return its id."""

    async def store() -> str:
        service = await LocalSessionService.open(database)
        try:
            return await store_session(service, *map(user_message, texts))
        finally:
            await service.close()

    return asyncio.run(store())


def sync(
    *arguments: str, on: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    if on is not None:
        environment |= {"SEGUE_DATABASE": str(on), "XDG_DATA_HOME": str(on.parent)}
    return run("sync", *arguments, **environment)


def synced(*arguments: str, on: Path | None = None) -> Any:
    done = sync(*arguments, "--json", on=on)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def actions(report: Any) -> list[str]:
    return [step["action"] for step in report["steps"]]


def test_two_machines_are_brought_in_step(database: Path, desktop: Path, shared: str) -> None:
    id = store(database, "one")
    first = sync("--create")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"In step with {shared}: 1 sent, of 1 conversation.\n"
    assert sync().stdout == f"1 conversation: in step with {shared}.\n"
    assert actions(synced(on=desktop)) == ["receive"]
    append_message(desktop, id, "on the desktop")
    append_message(database, id, "on the laptop")
    assert actions(synced()) == ["send"]
    assert actions(synced("status", on=desktop)) == ["fork"]
    forked = sync(on=desktop)
    assert "1 sent, 1 received, 1 forked" in forked.stdout
    assert "“one” went on here and elsewhere. Yours is the fork " in forked.stdout
    assert contents_of(desktop, id) == ["one", "on the laptop"]
    run("delete", id, "--yes")
    append_message(desktop, id, "late")
    assert sorted(actions(synced())) == ["delete there", "receive"]
    late = synced(on=desktop)
    assert actions(late) == ["delete here", "send"]
    assert contents_of(desktop, late["steps"][0]["forkId"]) == ["late"]
    assert synced("--dry-run", on=desktop)["steps"] == []


@pytest.mark.parametrize("version", postgres_server.find_programs())
def test_what_was_sent_to_a_server_is_used_there_as_well(
    database: Path, tmp_path: Path, version: str
) -> None:
    server = postgres_server.server(version)
    url = server.url(server.role_of(tmp_path))
    id = store(database, "one")
    assert sync(SEGUE_REMOTE=url).returncode == 0
    listed = run("list", "--json", "--cwd", HERE, SEGUE_DATABASE=url)
    (session,) = json.loads(listed.stdout)["sessions"]
    assert (session["sessionId"], session["directory"]) == (id, HERE)
    # And the other way round: the database is what all windows use, and the file is the copy.
    other = tmp_path / "copy" / "segue.db"
    other.parent.mkdir()
    copied = sync("--create", SEGUE_DATABASE=url, SEGUE_REMOTE=str(other))
    assert (copied.returncode, copied.stderr) == (0, "")
    assert contents_of(other, id) == ["one"]


@pytest.mark.parametrize("version", postgres_server.find_programs())
def test_a_server_that_is_away_is_said_once_and_then_used_again(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    server = postgres_server.server(version)
    role = server.role_of(tmp_path)
    monkeypatch.setenv("SEGUE_REMOTE", server.url(role))
    watch = Watch()
    try:
        assert watch.next()["steps"] == []
        server.admin.execute(f"ALTER ROLE {role} NOLOGIN".encode())
        id = store(database, "one")
        assert "is not permitted to log in" in watch.problem()
        server.admin.execute(f"ALTER ROLE {role} LOGIN".encode())
        assert watch.next()["steps"][0]["sessionId"] == id
    finally:
        assert watch.end() == 0


def test_a_remote_whose_address_is_wrong_is_an_error(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("postgresql://anna:secret@h/x?odd=1", "postgresql://h.example/x?sslmode=require"):
        done = sync(SEGUE_REMOTE=url)
        assert (done.returncode, done.stdout) == (2, "")
        assert "The address of the database" in done.stderr
        assert "secret" not in done.stderr
        assert run("list", SEGUE_REMOTE=url).returncode == 0


def test_looking_changes_nothing(database: Path, desktop: Path, remote: Path) -> None:
    store(database, "one")
    synced("--create")
    done = sync("status", on=desktop)
    assert done.stdout == (f"A sync with {remote}: would be 1 received, of 1 conversation.\n")
    assert not desktop.exists()


def test_a_remote_that_is_not_there_is_not_made_by_itself(
    database: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(database, "one")
    done = sync()
    assert done.returncode == 1
    assert f"there is no store at {remote}" in done.stderr
    assert "--create" in done.stderr
    assert list(remote.parent.iterdir()) == []
    remote.parent.rmdir()
    done = sync("--create")
    assert done.returncode == 1
    assert "Is its disk mounted?" in done.stderr
    assert not remote.parent.exists()


def test_a_wrong_setting_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(database, "one")
    done = sync()
    assert (done.returncode, "no other store is set" in done.stderr) == (2, True)
    monkeypatch.setenv("SEGUE_REMOTE", str(database))
    done = sync()
    assert (done.returncode, "own store" in done.stderr) == (2, True)
    assert sync("--watch", "status").returncode == 2


def test_a_damaged_remote_is_an_error_and_left_as_it_is(database: Path, remote: Path) -> None:
    store(database, "one")
    remote.write_text("this is no database, but as long as one's header " * 3)
    done = sync()
    assert (done.returncode, done.stdout) == (1, "")
    assert str(remote) in done.stderr


class Watch:
    """A `segue sync --watch --json` that looks often."""

    def __init__(self) -> None:
        program = (
            "import segue.cli.syncing as s; s.INTERVAL_S = 0.2; "
            "from segue.startup.compose import main; main()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, "sync", "--watch", "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def problem(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


def test_a_watch_goes_on_until_it_is_ended(database: Path, remote: Path, tmp_path: Path) -> None:
    store(database, "one")
    synced("--create")
    watch = Watch()
    try:
        assert watch.next()["steps"] == []
        id = store(database, "two")
        assert watch.next()["steps"][0]["sessionId"] == id
        second = sync()
        assert second.returncode == 1
        assert "another `segue sync` is at work" in second.stderr
        remote.parent.rename(tmp_path / "away")
        assert "Is its disk mounted?" in watch.problem()
        third = store(database, "three")
        (tmp_path / "away").rename(remote.parent)
        assert watch.next()["steps"][0]["sessionId"] == third
    finally:
        assert watch.end() == 0
    assert sync().returncode == 0
