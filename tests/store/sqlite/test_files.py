"""The files of a database: modes, the checks of the folder, and concurrent creation."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.model.errors import StorageError, StorageUnavailable
from segue.store.sqlite import driver, schema
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.service import LocalSessionService
from tests.factories import contents, execute, store_session, user_message
from tests.store.sqlite.helpers import (
    mode,
    modes,
    opened,
    read_line,
    schema_statements,
    send_line,
    start_process,
    wait_for_exit,
    write_file,
)

# Modes


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["000", "022", "077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_files_are_private_from_the_first_byte(database: Path) -> None:
    async with opened(database) as service:
        await store_session(service)
        assert modes(database.parent) == {
            "sessions.db": 0o600,
            "sessions.db-wal": 0o600,
            "sessions.db-shm": 0o600,
            "sessions.db-lock": 0o600,
            "sessions.db-write.lock": 0o600,
        }
        assert mode(database.parent) == 0o700


def make_dangling_symlink(path: Path, target: Path) -> None:
    for folder in (path.parent, target.parent):
        folder.mkdir()
    path.symlink_to(target)


async def test_a_dangling_symlink_creates_no_file_that_others_can_read(
    database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    make_dangling_symlink(database, folder / "sessions.db")
    with contextlib.suppress(StorageError):  # refusing is as private as a file of mode 600
        async with opened(database) as service:
            await store_session(service)
    assert set(modes(folder).values()) <= {0o600}


# The folder


async def test_a_folder_that_is_a_symlink_is_refused(database: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    database.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailable, match="is a link"):
        await LocalSessionService.open(database)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away"
)
async def test_a_folder_of_another_user_is_refused(database: Path) -> None:
    database.parent.mkdir()
    os.chown(database.parent, 12_345, 12_345)
    with pytest.raises(StorageUnavailable, match="belongs to another user"):
        await LocalSessionService.open(database)
    assert list(database.parent.iterdir()) == []


async def test_a_folder_at_the_path_of_the_database_is_refused(database: Path) -> None:
    write_file(database / "kept", b"kept")
    with pytest.raises(StorageUnavailable):
        await LocalSessionService.open(database)
    assert modes(database).keys() == {"kept"}


async def test_a_file_at_the_path_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("kept")
    with pytest.raises(StorageError):
        await LocalSessionService.open(tmp_path / "data" / "sessions.db")
    assert (tmp_path / "data").read_text() == "kept"


# Creation


async def test_a_new_database_is_opened_once(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens: list[str] = []
    connect = driver.connect

    def counting(path: str) -> Connection:
        opens.append(path)
        return connect(path)

    monkeypatch.setattr(driver, "connect", counting)
    async with opened(database) as service:
        await store_session(service)
        await store_session(service)
    assert opens == [str(database)]


async def test_an_empty_file_becomes_the_database(database: Path) -> None:
    write_file(database, b"")
    async with opened(database) as service:
        assert await contents(service, await store_session(service, user_message("one"))) == ["one"]


async def test_concurrent_connections_create_one_database(database: Path) -> None:
    services = await asyncio.gather(*(LocalSessionService.open(database) for _ in range(8)))
    ids = [await store_session(service) for service in services]
    assert {session.id for session in (await services[0].list_sessions()).sessions} == set(ids)
    await asyncio.gather(*(service.close() for service in services))
    (version,) = execute(database, "PRAGMA user_version")
    assert version[0] == len(schema.MIGRATIONS)


OPENER = """
async def main():
    for where in map(str.strip, sys.stdin):
        service = await LocalSessionService.open(where)
        print("opened", flush=True)
        await service.close()
"""


def test_concurrent_processes_that_create_a_database_all_succeed(tmp_path: Path) -> None:
    processes = [start_process(OPENER) for _ in range(8)]
    for number in range(20):
        database = tmp_path / f"{number}" / "sessions.db"
        for process in processes:
            send_line(process, str(database))
        assert [read_line(process) for process in processes] == ["opened"] * 8
        assert schema_statements(database)
    for process in processes:
        wait_for_exit(process)
