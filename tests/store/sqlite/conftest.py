"""Fixtures of the tests of the SQLite store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.sqlite.helpers import mounted, started_processes


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        yield disk


@pytest.fixture(autouse=True)
def kill_processes() -> Iterator[None]:
    yield
    for process in started_processes:
        process.kill()
        process.communicate()
    started_processes.clear()
