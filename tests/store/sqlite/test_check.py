"""Checks of a database file: they list its problems and do not change it."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segue.model.store_reports import StoreSizes
from segue.store.sqlite import driver, schema
from segue.store.sqlite.check import check_database, database_sizes
from segue.store.sqlite.service import LocalSessionService
from tests.factories import execute, store_session


@pytest.fixture
async def stored(database: Path) -> Path:
    """Return a closed database that holds one session with one event."""
    service = await LocalSessionService.open(database)
    await store_session(service)
    await service.close()
    return database


def test_an_intact_database_has_no_problems(stored: Path) -> None:
    report = check_database(str(stored))
    assert report.problems == []
    assert report.schema_version == len(schema.MIGRATIONS)
    assert report.sizes == database_sizes(str(stored))
    assert report.sizes == StoreSizes(bytes=stored.stat().st_size, sessions=1, archived=0, events=1)
    assert [path.name for path in stored.parent.glob("*-wal")] == []


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_modes_are_listed_and_a_file_that_others_can_read_is_a_problem(stored: Path) -> None:
    stored.chmod(0o640)
    report = check_database(str(stored))
    locks = {f"{stored}-lock": "600", f"{stored}-write.lock": "600"}
    assert report.modes == {str(stored.parent): "700", str(stored): "640"} | locks
    assert report.problems == [f"{stored} may be read by others (mode 640)"]


def test_damage_is_a_problem(stored: Path) -> None:
    (row,) = execute(
        stored, "SELECT rootpage FROM sqlite_master WHERE name = 'resumable_by_directory'"
    )
    with stored.open("r+b") as file:
        file.seek((row["rootpage"] - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    content = stored.read_bytes()
    report = check_database(str(stored))
    assert report.problems
    assert report.exists
    assert stored.read_bytes() == content


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"not a database\n" * 100)
    file.chmod(0o600)
    report = check_database(str(file))
    assert report.problems == [f"{file} is not a SQLite database. It was left as it is."]
    assert report.sizes == database_sizes(str(file)) == StoreSizes(bytes=file.stat().st_size)
    assert report.schema_version is None


def test_the_database_of_another_program_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with contextlib.closing(driver.connect(str(file))) as db:
        db.execute("CREATE TABLE theirs (x)")
    file.chmod(0o600)
    (problem,) = check_database(str(file)).problems
    assert "another program's database" in problem
    assert database_sizes(str(file)) == StoreSizes(bytes=file.stat().st_size)


def test_an_empty_file_has_no_tables_yet(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch(mode=0o600)
    report = check_database(str(file))
    assert (report.exists, report.schema_version, report.problems) == (True, 0, [])
    assert report.sizes == StoreSizes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows who holds a lock")
def test_a_lock_that_a_stopped_process_holds_is_a_problem(stored: Path) -> None:
    source = (
        "import os, signal, sys; from segue.store.sqlite.locks import WriteLock; "
        "WriteLock(sys.argv[1]).acquire(5); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    process = subprocess.Popen([sys.executable, "-c", source, str(stored)])
    try:
        os.waitpid(process.pid, os.WUNTRACED)
        problems = check_database(str(stored)).problems
    finally:
        process.send_signal(signal.SIGCONT)
        process.wait()
    assert [f"process {process.pid} " in each for each in problems] == [True], problems
    assert check_database(str(stored)).problems == []
