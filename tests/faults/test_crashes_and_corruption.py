"""Fault programmes for exits, migrations and corruption, with their negative controls."""

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.faults import corruption, recovery_crash, server_exit
from tests.faults.corruption import PAGE, Good, ReadResult
from tests.faults.runner import Guard, Report, breaks, run_programme, run_without, without_all
from tests.schema_versions import VERSIONS

SEED = 7


# -- server_exit -------------------------------------------------------------------------------


def test_every_exit_is_in_time_and_loses_nothing() -> None:
    report = run_programme("server_exit", seed=SEED)

    assert report.broken == []
    assert report.counts["exits"] == 7
    assert report.counts["stored"] >= report.counts["acknowledged"] > 400
    assert report.counts["idle servers"] == 1


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="lsp/lifecycle.py",
                code="    drained = await protocol.drain(_until(deadline - _AFTER_READING_S))\n",
                replacement="    drained = __import__('os')._exit(0)\n",
            ),
            server_exit.ALL_STORED,
            id="no drain",
        ),
        pytest.param(
            Guard(
                file="lsp/transport.py",
                code="            self._watch_process(client.process_id)\n",
                replacement="            pass\n",
            ),
            server_exit.IN_TIME,
            id="no watch on the editor's process",
        ),
        pytest.param(
            Guard(
                file="lsp/lifecycle.py",
                code="    await protocol.stopped.wait()\n",
                replacement="    while not protocol.stopped.is_set():\n"
                "        await asyncio.sleep(0)\n",
            ),
            server_exit.IDLE,
            id="busy waiting",
        ),
    ],
)
def test_control_server_exit(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert breaks(promise, "server_exit", guard, tmp_path)


# -- migrations --------------------------------------------------------------------------------


def test_an_interrupted_migration_is_complete_or_absent() -> None:
    report = run_programme("migrations", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["statements of migration 1"] > 15
    assert counts["statements of migration 3"] > 25
    last = counts["real migrations"] + 1
    for version in (0, 1):
        assert counts[f"statements from version {version} to {last}"] > 40
    assert counts[f"statements of migration {last}"] > 10
    assert counts["found not migrated"] > 50
    assert counts["found migrated"] > 10
    assert counts["interrupted"] > 60
    assert counts["aborted"] > 15
    assert counts["later versions refused"] == 4


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="store/sqlite/schema.py",
                code="        with driver.transaction(db):\n",
                replacement="        if True:\n",
            ),
            "a migration is applied completely or not at all",
            id="no transaction",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/schema.py",
                code="    return row is not None and row[role] <= len(MIGRATIONS)\n",
                replacement="    return True\n",
            ),
            "a later version is refused by name",
            id="no check of the version",
        ),
    ],
)
def test_control_migrations(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "migrations", tmp_path, seed=SEED, until=[promise])
    assert promise in report.violations


# -- recovery_crash ----------------------------------------------------------------------------

TASKS = (
    "repair", "repair by a server", "restore", "restore of a damaged store", "first restore",
    "migration", "backup",
)  # fmt: skip


def test_a_task_that_is_killed_is_finished_or_undone() -> None:
    report = run_programme("recovery_crash")

    assert report.broken == []
    counts = report.counts
    assert all(counts[f"calls of {task}"] > 40 for task in TASKS)
    assert counts["killed"] > 70
    assert counts["replacements finished by the next"] > 10
    assert counts["next server killed"] > 5


FINISHED_BY_THE_NEXT = Guard(
    file="store/sqlite/files.py",
    code="        replacement.finish(path, open_lock)\n",
    replacement="        pass\n",
)
JOURNAL = Guard(
    file="store/sqlite/replacement.py",
    code="    _write_journal(path, kept_as)\n    _finish(path)\n",
    replacement="    _move(path, kept_as)\n    os.rename(_complete(path), path)\n",
)
OLD_LOG_MOVED = Guard(
    file="store/sqlite/replacement.py",
    code='        for suffix in (*disk.LOGS, ""):\n            _move(f"{path}',
    replacement='        for suffix in [""]:\n            _move(f"{path}',
)
DRAFTS_REMOVED = Guard(
    file="store/sqlite/drafts.py", code="_remove(draft):\n", replacement="False:\n"
)
PRIVATE_FILES = Guard(
    file="store/sqlite/disk.py",
    code="            os.fchmod(fd, 0o600)\n",
    replacement="            os.fchmod(fd, 0o644)\n",
)


@pytest.mark.parametrize(
    ("guards", "promises"),
    [
        pytest.param(
            [FINISHED_BY_THE_NEXT],
            {recovery_crash.MIXED, recovery_crash.LEFT_OVER},
            id="not finished by the next",
        ),
        pytest.param([JOURNAL], {recovery_crash.LOST, recovery_crash.MIXED}, id="no journal"),
        pytest.param(
            [OLD_LOG_MOVED, DRAFTS_REMOVED],  # each breaks a promise of its own
            {recovery_crash.MIXED, recovery_crash.LEFT_OVER},
            id="the old log stays, drafts stay",
        ),
        pytest.param([PRIVATE_FILES], {recovery_crash.READABLE}, id="files of any mode"),
    ],
)
def test_control_recovery_crash(guards: list[Guard], promises: set[str], tmp_path: Path) -> None:
    package = without_all(guards, tmp_path)
    report = run_programme("recovery_crash", seed=SEED, package=package, until=promises)
    assert promises <= report.violations.keys()


# -- corruption --------------------------------------------------------------------------------

KEPT = corruption.kept_of_each(corruption.OUTSIDE, "quarantined")


@pytest.fixture(scope="module")
def corrupted() -> Report:
    return run_programme("corruption", seed=SEED)


def test_corruption_is_repaired_and_nothing_else_is_taken_for_it(corrupted: Report) -> None:
    assert corrupted.broken == []
    assert corrupted.counts["random damages"] == 60
    assert corrupted.counts["targeted damages"] == 44
    assert corrupted.counts["quarantined"] > 15
    assert corrupted.counts["undetected"] > 5
    assert corrupted.counts[f"{corruption.OUTSIDE}, quarantined"] > 10_000
    assert corrupted.counts[f"{corruption.BEHIND}, quarantined"] >= 6_000
    assert corrupted.counts["servers that answered initialize"] == 3
    assert all(corrupted.counts[f"damages of schema version {each}"] > 20 for each in VERSIONS)
    for trouble in ("busy", "I/O error", "permission denied", "full"):
        assert corrupted.counts[f"no damage: {trouble}"].startswith("Storage")


def test_control_corruption_with_other_errors_taken_for_it(tmp_path: Path) -> None:
    guard = Guard(
        file="store/sqlite/driver.py",
        code="    return _code(error) in (_library.SQLITE_CORRUPT, _library.SQLITE_NOTADB)",
        replacement="    return _code(error) != _library.SQLITE_CONSTRAINT",
    )
    promise = corruption.ONLY_DAMAGE
    report = run_without(guard, "corruption", tmp_path, seed=SEED, until=[promise])
    assert promise in report.violations


HEADER = "store/sqlite/header.py"
POLICY = "store/sqlite/recovery/policy.py"
SALVAGE = "store/sqlite/recovery/salvage.py"


def test_control_corruption_without_a_search_past_damaged_pages(tmp_path: Path) -> None:
    guard = Guard(
        file=SALVAGE,
        code="                start = self._past_damage(start, key)\n",
        replacement="                start = None\n",
    )
    report = run_without(guard, "corruption", tmp_path, seed=SEED, until=[KEPT])
    assert KEPT in report.violations


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="store/sqlite/backup.py",
                code="        raise damage\n",
                replacement="        raise driver.translate(damage, path)\n",
            ),
            "a window opens a session, whatever is damaged",
            id="damage before a migration taken for a failed backup",
        ),
        pytest.param(
            Guard(
                file=SALVAGE,
                code="    versions = range(1, len(schema.MIGRATIONS) + 1)\n",
                replacement="    versions = (len(schema.MIGRATIONS),)\n",
            ),
            KEPT,
            id="rows of the newest version only",
        ),
    ],
)
def test_control_corruption_of_old_versions(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "corruption", tmp_path, seed=SEED, until=[promise])
    assert promise in report.violations


TARGETED = {
    "value removed": Guard(
        file="store/sqlite/queries.py",
        code="row if is_valid else coerced(row).values()",
        replacement="row",
    ),
    "key out of order": Guard(
        file="store/sqlite/queries.py",
        code="seqs != list(expected[: len(seqs)]) or has_more != (len(seqs) < len(expected))",
        replacement="False",
    ),
    "id changed in the index": Guard(
        file="store/sqlite/queries.py",
        code='    if db.execute(sql, {"id": session_id}).fetchone() is not None:\n',
        replacement="    if False:\n",
    ),
    "cut within the last page": Guard(
        file=HEADER,
        code="        return os.path.getsize(path) % PAGE != 0\n",
        replacement="        return False\n",
    ),
    "interior page": Guard(
        file=SALVAGE,
        code="    return rebuilt if direct is None or direct.rows < rebuilt.rows else direct\n",
        replacement="    return rebuilt if direct is None else direct\n",
    ),
    "schema format": Guard(
        file=HEADER,
        code='    return header[18:19] > b"\\2" or header[44:48] > b"\\0\\0\\0\\4"\n',
        replacement="    return False\n",
    ),
    "application id": Guard(
        file=POLICY,
        code="        return header.has_our_id(content) or "
        "(open_lock.has_mark() and _has_our_tables(path))\n",
        replacement="        return header.has_our_id(content)\n",
    ),
}
"""The guard against each kind of targeted damage. They are independent of each other."""


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Report:
    package = without_all(TARGETED.values(), tmp_path_factory.mktemp("unguarded"))
    until = [corruption.targeted(kind) for kind in TARGETED]
    return run_programme("corruption", seed=SEED, package=package, until=until)


@pytest.mark.parametrize("kind", TARGETED)
def test_control_targeted_corruption(unguarded: Report, kind: str) -> None:
    assert corruption.targeted(kind) in unguarded.violations


@pytest.fixture
def good(tmp_path: Path) -> Good:
    return asyncio.run(corruption.make_good(tmp_path))


def read_corrupted(tmp_path: Path, content: bytes) -> ReadResult:
    """Return what a window reads from a database whose file now has *content*."""
    database = tmp_path / "data" / "sessions.db"
    database.parent.mkdir(mode=0o700)
    database.write_bytes(content)
    shutil.copy(tmp_path / "good" / "sessions.db-lock", database.parent)
    return corruption.read_in_child(database)


def page_of(good: Good, name: str) -> int:
    """Return the offset of the leaf page that holds an event."""
    key = next(key for each, key in good.events.items() if each.startswith(f"{name} "))
    return (min(good.layout.own[key]) - 1) * PAGE


def test_a_row_that_is_not_utf_8_does_not_end_the_salvage(good: Good, tmp_path: Path) -> None:
    content = bytearray(good.content)
    content[content.index(b"payload 3-3 ")] = 0xFF
    wiped = page_of(good, "payload 20-20")
    content[wiped : wiped + PAGE] = b"\xff" * PAGE

    found = read_corrupted(tmp_path, bytes(content))

    assert found.crash == ""
    assert len(found.summaries) > 0.95 * len(good.events)


def test_the_rest_of_a_truncated_file_is_salvaged(good: Good, tmp_path: Path) -> None:
    kept = len(good.content) * 2 // 3
    found = read_corrupted(tmp_path, good.content[: kept - kept % PAGE])

    assert len(found.summaries) > 0.5 * len(good.events)


def test_descending_keys_do_not_make_the_salvage_loop(good: Good, tmp_path: Path) -> None:
    content = bytearray(good.content)
    wiped = page_of(good, "payload 20-40")
    content[wiped : wiped + PAGE] = b"\xff" * PAGE
    behind = min(key for key, own in good.layout.own.items() if wiped // PAGE + 1 in own)
    leaf = (min(good.layout.own[behind - 1]) - 1) * PAGE
    # Not the last cell: a library that reads one row ahead never returns that one.
    pointer = leaf + 8 + 2 * (int.from_bytes(content[leaf + 3 : leaf + 5], "big") - 2)
    cell = leaf + int.from_bytes(content[pointer : pointer + 2], "big")
    # After the two bytes of its size: the number of the session, now one of the first.
    content[cell + 2 : cell + 4] = b"\x80\x90"

    found = read_corrupted(tmp_path, bytes(content))

    assert found.crash == ""
    lost = {each for each, key in good.events.items() if wiped // PAGE + 1 in good.layout.own[key]}
    assert set(good.events) - set(found.summaries) == lost


def test_a_database_with_a_corrupt_first_page_is_salvaged(good: Good, tmp_path: Path) -> None:
    content = Random(SEED).randbytes(PAGE) + good.content[PAGE:]

    found = read_corrupted(tmp_path, content)

    assert found.crash == ""
    (error,) = found.errors
    assert "was quarantined" in str(error)
    assert set(found.summaries) == good.events.keys()
