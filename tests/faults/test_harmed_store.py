"""Fault programmes for a store whose files and locks others have in hand, with their controls."""

import sys
from pathlib import Path

import pytest

from tests.faults import damaged_log, files_replaced, ledger, stopped_process
from tests.faults.runner import Guard, run_programme, run_without, without_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and locks of a file")

SHORT_TIMEOUT = Guard(
    file="store/sqlite/driver.py",
    code="BUSY_TIMEOUT_S = 10.0",
    replacement="BUSY_TIMEOUT_S = 2.0",
)
"""So that a test of what waits for the timeout takes seconds."""

LOG_IS_THE_NAMED_ONE = Guard(
    file="store/sqlite/open_files.py",
    code="if (id := self._ids[path]) is not None and file_id(path) != id:",
    replacement="if False:",
)
DATABASE_IS_THE_NAMED_ONE = Guard(
    file="store/sqlite/open_files.py",
    code="        if id_of(state) != self.database_id:\n",
    replacement="        if False:\n",
)
FILE_IS_AS_IT_WAS = Guard(
    file="store/sqlite/high_water.py",
    code="        if self._state in (None, FileState.from_stat(stat)):\n            return False\n",
    replacement="        return False\n",
)
MARKS = Guard(
    file="store/sqlite/high_water.py",
    code="if self._state is None or self.is_of_other_file():",
    replacement="if True:",
)
ONE_WAIT = Guard(
    file="store/sqlite/connection.py",
    code="self._run(connection._conn, writes, group.deadline)",
    replacement="self._run(connection._conn, writes, time.monotonic() + driver.BUSY_TIMEOUT_S)",
)
BOUNDED_SHARE = Guard(
    file="store/sqlite/locks.py",
    code="            if time.monotonic() > deadline:\n",
    replacement="            if time.monotonic() > deadline + 5:\n",
)
ONE_WAITER = Guard(
    file="store/sqlite/locks.py",
    code="if self._waiter is None or self._waiter.has_ended:",
    replacement="if True:",
)
NAMES_THE_STOPPED = Guard(
    file="store/sqlite/lock_holders.py", code='_STOPPED = "Tt"', replacement='_STOPPED = ""'
)


def test_what_is_acknowledged_is_in_the_files_that_the_path_names() -> None:
    report = run_programme("files_replaced")

    assert report.broken == []
    rounds = len(files_replaced.HARMS) + len(files_replaced.HARMLESS)
    assert sum(report.counts.values()) - report.counts["acknowledged"] == rounds + len(
        files_replaced.AFTER_KILL
    )
    assert report.counts["acknowledged"] > 200


def test_control_files_replaced_without_the_identity_of_the_log(tmp_path: Path) -> None:
    report = run_without(LOG_IS_THE_NAMED_ONE, "files_replaced", tmp_path)
    assert ledger.LOST in report.violations


def test_control_files_replaced_without_the_identity_of_the_database(tmp_path: Path) -> None:
    package = without_all([DATABASE_IS_THE_NAMED_ONE, FILE_IS_AS_IT_WAS], tmp_path)
    report = run_programme("files_replaced", package=package)
    assert {ledger.LOST, ledger.CORRUPT} & report.violations.keys()


def test_control_files_replaced_without_the_state_of_the_file(tmp_path: Path) -> None:
    package = without_all([FILE_IS_AS_IT_WAS], tmp_path)
    runs = (run_programme("files_replaced", package=package).broken for _ in range(5))
    assert any("overwritten" in each for broken in runs for each in broken)


def test_a_damaged_log_is_noticed() -> None:
    report = run_programme("damaged_log")

    assert report.broken == []
    assert report.counts["events missing, and reported"] > 20


def test_control_damaged_log_without_the_marks(tmp_path: Path) -> None:
    report = run_without(MARKS, "damaged_log", tmp_path)
    assert report.violations.keys() == {damaged_log.SILENT}


def test_a_stopped_process_keeps_nobody_longer_than_the_timeout(tmp_path: Path) -> None:
    package = without_all([SHORT_TIMEOUT], tmp_path)
    report = run_programme("stopped_process", package=package)

    assert report.broken == []
    assert report.counts["refused"] > 10


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(ONE_WAIT, stopped_process.TOO_LATE, id="one wait after the other"),
        pytest.param(BOUNDED_SHARE, stopped_process.TOO_LATE, id="waiting for a repair"),
        pytest.param(ONE_WAITER, stopped_process.GROWN, id="a thread for each wait"),
        pytest.param(NAMES_THE_STOPPED, stopped_process.UNNAMED, id="the process is not named"),
    ],
)
def test_control_stopped_process(guard: Guard, promise: str, tmp_path: Path) -> None:
    package = without_all([SHORT_TIMEOUT, guard], tmp_path)
    assert promise in run_programme("stopped_process", package=package).violations
