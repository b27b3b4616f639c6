"""Fault programmes for the store and its disk, with their negative controls."""

import sys
from pathlib import Path

import pytest

from tests.faults import contention, disk_full, io_errors, ledger, power_loss
from tests.faults.runner import PACKAGE, Guard, Report, breaks, run_programme, run_without, without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, mount and one library")

SYNCHRONOUS_FULL = "PRAGMA synchronous = FULL"
COMMIT_BEFORE_RESULT = Guard(
    file="store/sqlite/connection.py",
    code="        outcomes = self._run(connection._conn, writes, group.deadline)\n",
    replacement="""
        db = connection._conn
        db.execute("BEGIN IMMEDIATE")
        try:
            transaction = Transaction(db)
            outcomes = [
                transaction.run(each.work, shares_updates=each.shares_updates) for each in writes
            ]
        finally:
            db.execute("ROLLBACK")
        self._loop.call_soon_threadsafe(self._resolve, writes, outcomes)
        outcomes = self._run(db, writes, group.deadline)
""",
)
LOOKUP_OF_IDS = Guard(
    file="store/sqlite/append.py",
    code="seqs = self._stored_seqs(events)",
    replacement="seqs: dict[str, int] = {}",
)
CLIENT_IDS = Guard(
    file="model/events.py", code="id=envelope.id or new_id(),", replacement="id=new_id(),"
)
ONE_TRANSACTION = Guard(
    file="store/sqlite/commit.py",
    code="with driver.transaction(db, deadline):",
    replacement="with contextlib.nullcontext():",
)
SYNC_AT_COMMIT = Guard(
    file="store/sqlite/driver.py",
    code=SYNCHRONOUS_FULL,
    replacement="PRAGMA synchronous = NORMAL",
)
ANY_SYNC = Guard(
    file="store/sqlite/driver.py", code=SYNCHRONOUS_FULL, replacement="PRAGMA synchronous = OFF"
)
IS_TRUNCATED = "def is_cut_within_page(path: str) -> bool:\n"
IO_ERROR_IS_NO_CORRUPTION = Guard(
    file="store/sqlite/header.py",
    code=IS_TRUNCATED,
    replacement=f"{IS_TRUNCATED}    return True\n",
)
STORAGE_FULL = Guard(
    file="store/sqlite/driver.py",
    code="_library.SQLITE_FULL:\n            return StorageFull",
    replacement="-1:\n            return StorageFull",
)
STORAGE_FULL_BY_IO_ERROR = Guard(
    file="store/sqlite/driver.py",
    code="return int(_library.SQLITE_FULL) if _is_full(path, needed_bytes) else code",
    replacement="return code",
)
BEGIN_IMMEDIATE = Guard(
    file="store/sqlite/driver.py",
    code='db.execute("BEGIN IMMEDIATE")',
    replacement='db.execute("BEGIN")',
)
VERSION_READ_UNDER_LOCK = Guard(
    file="store/sqlite/schema.py",
    code="due = MIGRATIONS[version : version + 1] if version else MIGRATIONS",
    replacement="due = MIGRATIONS",
)
WAL_SIZE_LIMIT = Guard(
    file="store/sqlite/driver.py",
    code='"PRAGMA journal_size_limit = 16777216",',
    replacement="",
)


# -- server_crash and store_crash --------------------------------------------------------------


def test_server_crashes_lose_nothing() -> None:
    report = run_programme("server_crash")

    assert report.broken == []
    assert report.counts["kills"] == 20
    assert report.counts["kills with appends in flight"] > 5
    assert report.counts["duplicates on retry"] > 0
    assert report.counts["acknowledged"] > 500


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(COMMIT_BEFORE_RESULT, ledger.LOST, id="result before the commit"),
        pytest.param(LOOKUP_OF_IDS, ledger.RETRY_REFUSED, id="ids not looked up"),
        pytest.param(CLIENT_IDS, ledger.DUPLICATED, id="ids of the client ignored"),
    ],
)
def test_control_server_crash(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert breaks(promise, "server_crash", guard, tmp_path)


def test_store_crashes_lose_nothing() -> None:
    report = run_programme("store_crash")

    assert report.broken == []
    assert report.counts["kills"] == 200
    assert report.counts["duplicates on retry"] > 10
    assert report.counts["acknowledged"] > 500


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(COMMIT_BEFORE_RESULT, ledger.LOST, id="result before the commit"),
        pytest.param(LOOKUP_OF_IDS, ledger.RETRY_REFUSED, id="ids not looked up"),
        pytest.param(ONE_TRANSACTION, ledger.GAP, id="no transaction"),
    ],
)
def test_control_store_crash(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert breaks(promise, "store_crash", guard, tmp_path)


# -- power_loss, io_errors and disk_full -------------------------------------------------------


def test_power_losses_lose_nothing() -> None:
    report = run_programme("power_loss")

    assert report.broken == []
    assert report.counts["disk states"] >= power_loss.STATES["short"]
    assert report.counts["disk states with an acknowledged event"] > 1_000


def test_control_power_loss_without_a_sync_at_commit(tmp_path: Path) -> None:
    assert run_without(SYNC_AT_COMMIT, "power_loss", tmp_path).violations.keys() == {ledger.LOST}


def test_control_power_loss_without_any_sync(tmp_path: Path) -> None:
    report = run_without(ANY_SYNC, "power_loss", tmp_path, until=[ledger.CORRUPT])
    assert ledger.CORRUPT in report.violations


def test_io_errors_lose_nothing() -> None:
    report = run_programme("io_errors")

    assert report.broken == []
    assert report.counts["runs with an injected error"] > 400
    assert report.counts["errors raised"] > 400


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            IO_ERROR_IS_NO_CORRUPTION, io_errors.WRONG_ERROR, id="I/O errors taken for corruption"
        ),
        pytest.param(ONE_TRANSACTION, ledger.PARTIAL_BATCH, id="no transaction"),
    ],
)
def test_control_io_errors(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "io_errors", tmp_path, until=[promise])
    assert promise in report.violations


def run_disk_full(seed: int | None = None, package: Path = PACKAGE) -> Report:
    """Run `disk_full`, or skip the test where no small disk can be mounted."""
    report = run_programme("disk_full", seed=seed, package=package)
    if "skipped" in report.counts:
        pytest.skip(report.counts["skipped"])
    return report


def test_full_disks_lose_nothing() -> None:
    report = run_disk_full()

    assert report.broken == []
    assert report.counts["cycles"] == disk_full.CYCLES["short"]
    assert report.counts["errors on a full disk"] >= report.counts["cycles"]
    assert report.counts["acknowledged"] > 20


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param(STORAGE_FULL, id="SQLITE_FULL not translated"),
        pytest.param(STORAGE_FULL_BY_IO_ERROR, id="I/O error of the WAL's index not translated"),
    ],
)
def test_control_disk_full(guard: Guard, tmp_path: Path) -> None:
    # With this seed, the first server finds no space for the WAL's index.
    report = run_disk_full(seed=1, package=without(guard, tmp_path))

    assert disk_full.WRONG_ERROR in report.violations


# -- contention --------------------------------------------------------------------------------


def test_contention_is_never_shown_to_a_client() -> None:
    report = run_programme("contention")

    assert report.broken == []
    assert report.counts["acknowledged"] == 16 * 100
    assert report.counts["HeadMoved conflicts"] > 0
    assert report.counts["opens of a new database"] == 16 * 5
    counts = report.counts
    assert counts["WAL bytes during the read"] > counts["WAL bytes after the read"]


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(BEGIN_IMMEDIATE, contention.UNOPENED, id="BEGIN without IMMEDIATE"),
        pytest.param(VERSION_READ_UNDER_LOCK, contention.UNOPENED, id="migrated twice"),
        pytest.param(WAL_SIZE_LIMIT, contention.UNBOUNDED, id="no size limit of the WAL"),
    ],
)
def test_control_contention(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in run_without(guard, "contention", tmp_path).violations
