"""Fault programmes for files and schemas that others prepared, with their negative controls."""

import os
import sys
from pathlib import Path

import pytest

from tests.faults import foreign_files, foreign_schema
from tests.faults.runner import PACKAGE, Guard, Report, run_programme, run_without, without_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and users")
SEED = 1054
"""With it, each kind of harm that a control must see is among those that are tried."""

OWN_FILES = Guard(
    file="store/sqlite/file_access.py",
    code="    if stat.S_ISLNK(status.st_mode):\n",
    replacement="    return\n    if stat.S_ISLNK(status.st_mode):\n",
)
OWN_FOLDERS = Guard(
    file="store/sqlite/file_access.py",
    code="    path = os.path.realpath(folder)\n",
    replacement="    return\n    path = os.path.realpath(folder)\n",
)
NO_LINKS = Guard(
    file="store/sqlite/file_access.py",
    code='("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY")',
    replacement='("O_CLOEXEC", "O_BINARY")',
)
PRIVATE_MODES = Guard(
    file="store/sqlite/file_access.py",
    code="        if not mode & _OTHERS:\n",
    replacement="        if True:\n",
)
EXACT_SCHEMA = Guard(
    file="store/sqlite/schema.py",
    code="        _check_definitions(rows, version, path)\n",
    replacement="        pass\n",
)
TIME_LIMIT = Guard(
    file="store/sqlite/driver.py",
    code="        return time.thread_time() > self.end\n",
    replacement="        return False\n",
)


def run_foreign_files(package: Path = PACKAGE) -> Report:
    report = run_programme("foreign_files", seed=SEED, package=package)
    if "skipped" in report.counts:
        pytest.skip(report.counts["skipped"])
    return report


def test_nobody_else_reads_or_changes_what_is_stored() -> None:
    report = run_foreign_files()

    assert report.broken == []
    assert report.counts["refused"] >= 15
    assert report.counts["kept private"] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_control_foreign_files(tmp_path: Path) -> None:
    guards = [OWN_FILES, OWN_FOLDERS, NO_LINKS, PRIVATE_MODES]
    report = run_foreign_files(without_all(guards, tmp_path))

    assert report.violations.keys() >= {
        foreign_files.READ, foreign_files.WRITTEN, foreign_files.IN_WORDS, foreign_files.PRIVATE,
    }  # fmt: skip


def test_a_foreign_schema_is_refused_in_time_and_left() -> None:
    report = run_programme("foreign_schema", seed=SEED)

    assert report.broken == []
    assert report.counts["databases"] == foreign_schema.TRIED["short"] + len(foreign_schema.LATER)


@pytest.mark.parametrize(
    ("guard", "promises"),
    [
        pytest.param(
            EXACT_SCHEMA,
            {foreign_schema.REFUSED, foreign_schema.KEPT, foreign_schema.UNCHANGED},
            id="any schema",
        ),
        pytest.param(TIME_LIMIT, {foreign_schema.IN_TIME}, id="no limit of time"),
    ],
)
def test_control_foreign_schema(guard: Guard, promises: set[str], tmp_path: Path) -> None:
    report = run_without(guard, "foreign_schema", tmp_path, seed=SEED)

    assert report.violations.keys() >= promises
