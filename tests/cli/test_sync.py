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
from tests.cli.helpers import run
from tests.factories import append_to_head, contents, store_session, user_message


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stick" / "segue.db"
    path.parent.mkdir()
    monkeypatch.setenv("SEGUE_REMOTE", str(path))
    return path


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


def append(database: Path, id: str, text: str) -> None:
    async def append() -> None:
        service = await LocalSessionService.open(database)
        await append_to_head(service, id, user_message(text))
        await service.close()

    asyncio.run(append())


def said(database: Path, id: str) -> list[str]:
    async def read() -> list[str]:
        service = await LocalSessionService.open(database)
        try:
            return await contents(service, id)
        finally:
            await service.close()

    return asyncio.run(read())


def sync(*arguments: str, on: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {}
    if on is not None:
        environment = {"SEGUE_DATABASE": str(on), "XDG_DATA_HOME": str(on.parent)}
    return run("sync", *arguments, **environment)


def synced(*arguments: str, on: Path | None = None) -> Any:
    done = sync(*arguments, "--json", on=on)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def actions(report: Any) -> list[str]:
    return [step["action"] for step in report["steps"]]


def test_two_machines_are_brought_in_step(database: Path, desktop: Path, remote: Path) -> None:
    id = store(database, "one")
    first = sync("--create")
    assert first.returncode == 0
    assert first.stdout == f"In step with {remote}: 1 sent, of 1 conversation.\n"
    assert sync().stdout == f"1 conversation: in step with {remote}.\n"
    assert actions(synced(on=desktop)) == ["receive"]
    append(desktop, id, "on the desktop")
    append(database, id, "on the laptop")
    assert actions(synced()) == ["send"]
    assert actions(synced("status", on=desktop)) == ["fork"]
    forked = sync(on=desktop)
    assert "1 sent, 1 received, 1 forked" in forked.stdout
    assert "“one” went on here and elsewhere. Yours is the fork " in forked.stdout
    assert said(desktop, id) == ["one", "on the laptop"]
    run("delete", id, "--yes")
    append(desktop, id, "late")
    assert sorted(actions(synced())) == ["delete there", "receive"]
    late = synced(on=desktop)
    assert actions(late) == ["delete here", "send"]
    assert said(desktop, late["steps"][0]["forkId"]) == ["late"]
    assert synced("--dry-run", on=desktop)["steps"] == []


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
