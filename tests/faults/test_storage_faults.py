"""The programmes that harm the store, in their short size, and each without one of its guards."""

import sys
from pathlib import Path

import pytest

from tests.faults import contention, disk_full, io_errors, ledger, power_loss
from tests.faults.runner import PACKAGE, Guard, Report, run_programme, without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, mount and one library")

DURABLE = "PRAGMA synchronous = FULL"
COMMITTED_FIRST = Guard(
    file="storage/database.py",
    code="        done = await self.read(whole)\n",
    instead="""
        def foretold(db: Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                return work(db)
            finally:
                db.execute("ROLLBACK")

        answer = await self.read(foretold)
        self._writing = asyncio.ensure_future(self.read(whole))
        await asyncio.sleep(0)
        return answer
        done = await self.read(whole)
""",
)
LOOKED_UP_FIRST = Guard(
    file="storage/chain.py",
    code="seqs = self._stored_seqs(events)",
    instead="seqs: dict[str, int] = {}",
)
IDS_OF_THE_CLIENT = Guard(
    file="events.py", code="id=envelope.id or new_id(),", instead="id=new_id(),"
)
ONE_TRANSACTION = Guard(
    file="storage/database.py",
    code="with self._in_turn(), library.transaction(db):",
    instead="with self._in_turn():",
)
SYNCED_AT_COMMIT = Guard(
    file="storage/library.py", code=DURABLE, instead="PRAGMA synchronous = NORMAL"
)
SYNCED_AT_ALL = Guard(file="storage/library.py", code=DURABLE, instead="PRAGMA synchronous = OFF")
CUT_OFF = '    """Tell whether the file ends where no page does, and no log holds that page."""\n'
ONLY_DAMAGE_IS_DAMAGE = Guard(
    file="storage/salvage.py", code=CUT_OFF, instead=f"{CUT_OFF}    return True\n"
)
FULL_HAS_A_NAME = Guard(
    file="storage/library.py",
    code="_library.SQLITE_FULL:\n            return StorageFull",
    instead="-1:\n            return StorageFull",
)
FULL_UNDER_ITS_INDEX = Guard(
    file="storage/library.py",
    code="if code == _library.SQLITE_IOERR and _is_full(where):",
    instead="if False:",
)
LOCKED_BEFORE_READING = Guard(
    file="storage/library.py", code='db.execute("BEGIN IMMEDIATE")', instead='db.execute("BEGIN")'
)
MIGRATED_UNDER_THE_LOCK = Guard(
    file="storage/schema.py",
    code="due = MIGRATIONS[version : version + 1] if version else MIGRATIONS",
    instead="due = MIGRATIONS",
)
LIMITED_LOG = Guard(
    file="storage/library.py", code='"PRAGMA journal_size_limit = 16777216",', instead=""
)


def seen_broken(name: str, guard: Guard, folder: Path, seed: int | None = None) -> set[str]:
    """Return the promises that a Segue without *guard* is seen to break."""
    return set(run_programme(name, package=without(guard, folder), seed=seed).times)


def is_seen_broken(promise: str, name: str, guard: Guard, folder: Path) -> bool:
    """Tell whether a Segue without *guard* is seen to break *promise*; a kill needs some luck."""
    package = without(guard, folder)
    return any(promise in run_programme(name, package=package).times for _ in range(5))


# -- kill -9 -----------------------------------------------------------------------------------


def test_killing_servers_loses_nothing() -> None:
    report = run_programme("server_crash")

    assert report.broken == []
    assert report.counts["kills"] == 20
    assert report.counts["kills in the middle"] > 5
    assert report.counts["found stored at a retry"] > 0
    assert report.counts["acknowledged"] > 500


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(COMMITTED_FIRST, ledger.LOST, id="answered from memory"),
        pytest.param(LOOKED_UP_FIRST, ledger.REFUSED, id="ids not looked up"),
        pytest.param(IDS_OF_THE_CLIENT, ledger.TWICE, id="ids of the server's own"),
    ],
)
def test_control_of_killing_servers(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert is_seen_broken(promise, "server_crash", guard, tmp_path)


def test_killing_stores_loses_nothing() -> None:
    report = run_programme("store_crash")

    assert report.broken == []
    assert report.counts["kills"] == 200
    assert report.counts["found stored at a retry"] > 10
    assert report.counts["acknowledged"] > 500


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(COMMITTED_FIRST, ledger.LOST, id="answered from memory"),
        pytest.param(LOOKED_UP_FIRST, ledger.REFUSED, id="ids not looked up"),
        pytest.param(ONE_TRANSACTION, ledger.UNCHAINED, id="not one transaction"),
    ],
)
def test_control_of_killing_stores(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert is_seen_broken(promise, "store_crash", guard, tmp_path)


# -- power, errors and room of the disk --------------------------------------------------------


def test_losing_power_loses_nothing() -> None:
    report = run_programme("power_loss")

    assert report.broken == []
    assert report.counts["states"] >= power_loss.STATES["short"]
    assert report.counts["states that hold an acknowledged event"] > 1_000


def test_control_of_losing_power_without_a_sync_at_commit(tmp_path: Path) -> None:
    assert seen_broken("power_loss", SYNCED_AT_COMMIT, tmp_path) == {ledger.LOST}


def test_control_of_losing_power_without_a_sync(tmp_path: Path) -> None:
    assert ledger.DAMAGED in seen_broken("power_loss", SYNCED_AT_ALL, tmp_path)


def test_io_errors_break_nothing() -> None:
    report = run_programme("io_errors")

    assert report.broken == []
    assert report.counts["runs that met their trouble"] > 400
    assert report.counts["errors seen"] > 400


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(ONLY_DAMAGE_IS_DAMAGE, io_errors.ASIDE, id="taken for damage"),
        pytest.param(ONE_TRANSACTION, ledger.TORN, id="not one transaction"),
    ],
)
def test_control_of_io_errors(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in seen_broken("io_errors", guard, tmp_path)


def filled(seed: int | None = None, package: Path = PACKAGE) -> Report:
    """Fill disks, or skip the test where no small disk is to be had."""
    report = run_programme("disk_full", seed=seed, package=package)
    if "skipped" in report.counts:
        pytest.skip(report.counts["skipped"])
    return report


def test_filling_disks_loses_nothing() -> None:
    report = filled()

    assert report.broken == []
    assert report.counts["cycles"] == disk_full.CYCLES["short"]
    assert report.counts["times that it was full"] >= report.counts["cycles"]
    assert report.counts["acknowledged"] > 20


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param(FULL_HAS_A_NAME, id="full has no name"),
        pytest.param(FULL_UNDER_ITS_INDEX, id="full is an I/O error"),
    ],
)
def test_control_of_filling_disks(guard: Guard, tmp_path: Path) -> None:
    # With this seed, the first server finds no room for its log's index.
    report = filled(seed=1, package=without(guard, tmp_path))

    assert disk_full.UNTYPED in report.times


# -- many at once ------------------------------------------------------------------------------


def test_crowding_shows_nobody_a_busy_store() -> None:
    report = run_programme("contention")

    assert report.broken == []
    assert report.counts["acknowledged"] == 16 * 100
    assert report.counts["heads that had moved"] > 0
    assert report.counts["openings of a new database"] == 16 * 5
    assert report.counts["log while it was read"] > report.counts["log afterwards"]


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(LOCKED_BEFORE_READING, contention.UNOPENED, id="BEGIN without IMMEDIATE"),
        pytest.param(MIGRATED_UNDER_THE_LOCK, contention.UNOPENED, id="migrated twice"),
        pytest.param(LIMITED_LOG, contention.UNBOUNDED, id="no limit of the log"),
    ],
)
def test_control_of_crowding(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in seen_broken("contention", guard, tmp_path)
