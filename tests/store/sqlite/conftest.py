"""Fixtures of the tests of the SQLite store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.sqlite.helpers import mounted, started


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        yield disk


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.communicate()
    started.clear()
