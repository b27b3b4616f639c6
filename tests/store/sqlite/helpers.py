"""Helpers of the tests of the SQLite store: its files, disks and processes."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from segue.store.sqlite.service import LocalSessionService
from tests.factories import execute

PAGE_BYTES = 4_096
CANARY = "canary-7f3a9c"


@asynccontextmanager
async def opened(database: Path | str) -> AsyncIterator[LocalSessionService]:
    service = await LocalSessionService.open(database)
    try:
        yield service
    finally:
        await service.close()


async def pragma(service: LocalSessionService, name: str) -> Any:
    row = await service._connection.read(lambda db: db.execute(f"PRAGMA {name}").fetchone())
    return row[0]


def connection_threads() -> list[threading.Thread]:
    """Return the threads of open connections."""
    return [thread for thread in threading.enumerate() if "connection_worker" in thread.name]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def modes(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


def write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def quarantined(database: Path) -> list[Path]:
    found = database.parent.glob("*.corrupt-*")
    return sorted(
        path for path in found if not path.name.endswith(("-wal", "-shm", "-lock", "-write.lock"))
    )


def schema_statements(database: Path) -> list[tuple[str, str]]:
    rows = execute(database, "SELECT name, sql FROM sqlite_master ORDER BY name")
    return [(row["name"], row["sql"]) for row in rows]


def make_foreign(database: Path, *statements: str) -> None:
    for statement in statements:
        execute(database, statement)


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[Path]:
    where.mkdir(exist_ok=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    done = subprocess.run(["mount", *options, where], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)


def fill_disk(disk: Path, leave: int = 0) -> Path:
    """Fill *disk* up to *leave* free bytes; return the file that does."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (PAGE_BYTES, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    os.truncate(filler, filler.stat().st_size - leave)
    return filler


started_processes: list[subprocess.Popen[str]] = []


def start_process(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs `async def main(*arguments)` of *program*."""
    source = (
        "import asyncio, sys\n"
        "from segue.model.errors import HeadMoved, StorageError\n"
        "from segue.model.events import Event\n"
        "from segue.store.sqlite.service import LocalSessionService\n"
        f"{program}\n"
        "asyncio.run(main(*sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started_processes.append(process)
    return process


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def send_line(process: subprocess.Popen[str], content: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{content}\n")
    process.stdin.flush()


def wait_for_exit(process: subprocess.Popen[str]) -> str:
    """Wait for a process to exit with success, and return the rest of its output."""
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output
