"""The short sizes of three programmes, and each of them against a Segue that lacks one guard.

A promise that is known to be broken has a test of its own, marked with what the bug is: when it is
mended, that test says so by passing.
"""

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.faults import corruption
from tests.faults.corruption import PAGE, FindResult, Good
from tests.faults.runner import Guard, Report, run_programme, without, without_all

SEED = 7


def lacking(folder: Path, name: str, file: str, code: str, instead: str) -> Report:
    """Run a programme against a copy of the package that lacks a guard."""
    guard = Guard(file=file, code=code, instead=instead)
    return run_programme(name, seed=SEED, package=without(guard, folder))


# -- ending ------------------------------------------------------------------------------------


def test_every_end_comes_in_time_and_costs_nothing() -> None:
    report = run_programme("server_exit", seed=SEED)

    assert report.broken == []
    assert report.counts["ends"] == 7
    assert report.counts["stored"] >= report.counts["acknowledged"] > 400
    assert report.counts["idle servers"] == 1


@pytest.mark.parametrize(
    ("code", "instead", "promise"),
    [
        (
            "    drained = await protocol.drain(_PATIENCE_S)\n",
            "    os._exit(0)\n",
            "all that was sent before the end is stored",
        ),
        (
            "lambda process_id: watch_process(process_id, leave)",
            "lambda process_id: None",
            "gone in 5 s",
        ),
        (
            "    await protocol.stopped.wait()\n",
            "    while not protocol.stopped.is_set():\n        await asyncio.sleep(0)\n",
            "an idle server uses no processor",
        ),
    ],
    ids=["the end of the work", "the watch on the editor", "a wait that is none"],
)
def test_control_of_ending(tmp_path: Path, code: str, instead: str, promise: str) -> None:
    assert promise in lacking(tmp_path, "server_exit", "lsp/lifetime.py", code, instead).times


# -- migrations ---------------------------------------------------------------------------------


def test_a_migration_is_there_wholly_or_not_at_all() -> None:
    report = run_programme("migrations", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["statements of migration 1"] > 15
    assert counts[f"statements of migration {counts['real migrations'] + 1}"] > 10
    assert counts["found before it"] > 50
    assert counts["found after it"] > 10
    assert counts["interrupted"] > 60
    assert counts["aborted"] > 15
    assert counts["later versions refused"] == 4


@pytest.mark.parametrize(
    ("code", "instead", "promise"),
    [
        (
            "        with library.transaction(db):\n",
            "        if True:\n",
            "a migration is there wholly or not at all",
        ),
        (
            "    return row is not None and row[role] <= len(MIGRATIONS)\n",
            "    return True\n",
            "a later version is refused by name",
        ),
    ],
    ids=["transaction", "later version"],
)
def test_control_of_migrating(tmp_path: Path, code: str, instead: str, promise: str) -> None:
    assert promise in lacking(tmp_path, "migrations", "storage/schema.py", code, instead).times


# -- damage ------------------------------------------------------------------------------------

KEPT = corruption.kept_of_each(corruption.OUTSIDE, "set aside")


@pytest.fixture(scope="module")
def damaged() -> Report:
    return run_programme("corruption", seed=SEED)


def test_damage_is_met_and_what_is_none_is_not(damaged: Report) -> None:
    assert damaged.broken == []
    assert damaged.counts["damages"] == 60
    assert damaged.counts["aimed damages"] == 44
    assert damaged.counts["set aside"] > 15
    assert damaged.counts["not noticed"] > 5
    assert damaged.counts["rows outside, set aside"] > 10_000
    assert damaged.counts[f"{corruption.BEHIND}, set aside"] >= 6_000
    assert damaged.counts["servers that answered initialize"] == 3
    for trouble in ("busy", "I/O error", "permission denied", "full"):
        assert damaged.counts[f"no damage: {trouble}"].startswith("Storage")


def test_control_of_damage_trouble_that_is_none(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "corruption",
        "storage/library.py",
        "    return _code(error) in (_library.SQLITE_CORRUPT, _library.SQLITE_NOTADB)",
        "    return _code(error) != _library.SQLITE_CONSTRAINT",
    )
    assert "only damage sets a database aside" in report.times


def test_control_of_damage_what_lies_behind_it(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "corruption",
        "storage/salvage.py",
        "            start = _past_damage(db, table, key, start, at)",
        "            start = None",
    )
    assert report.times[KEPT] > 3


AIMED = {
    "a value emptied": Guard(
        file="storage/rows.py", code="row if is_whole else mended(row).values()", instead="row"
    ),
    "a key mislaid": Guard(
        file="storage/rows.py",
        code="seqs != list(expected[: len(seqs)]) or has_more != (len(seqs) < len(expected))",
        instead="False",
    ),
    "an id misspelt in the index": Guard(
        file="storage/rows.py",
        code='    if db.execute(sql, {"id": session_id}).fetchone() is not None:\n',
        instead="    if False:\n",
    ),
    "cut within the last page": Guard(
        file="storage/salvage.py",
        code="        return os.path.getsize(where) % leaves.PAGE != 0\n",
        instead="        return False\n",
    ),
    "the page above": Guard(
        file="storage/salvage.py",
        code="    return max(rebuilt, rescued, key=lambda attempt: attempt.rows)\n",
        instead="    return rescued\n",
    ),
    "format of the schema": Guard(
        file="storage/salvage.py",
        code='    return header[18:19] > b"\\2" or header[44:48] > b"\\0\\0\\0\\4"\n',
        instead="    return False\n",
    ),
    "whose it is": Guard(
        file="storage/salvage.py",
        code="        return mine or (presence.owns() and _has_our_tables(where))\n",
        instead="        return mine\n",
    ),
}
"""What of the package meets which aimed damage. None of them has to do with another's."""


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Report:
    package = without_all(AIMED.values(), tmp_path_factory.mktemp("unguarded"))
    return run_programme("corruption", seed=SEED, package=package)


@pytest.mark.parametrize("kind", AIMED)
def test_control_of_damage_that_is_aimed(unguarded: Report, kind: str) -> None:
    assert corruption.aimed(kind) in unguarded.times


@pytest.fixture
def good(tmp_path: Path) -> Good:
    return asyncio.run(corruption.make_good(tmp_path))


def salvaged(tmp_path: Path, content: bytes) -> FindResult:
    """Return what a window finds that opens a database of this content, which was a good one."""
    database = tmp_path / "data" / "sessions.db"
    database.parent.mkdir(mode=0o700)
    database.write_bytes(content)
    shutil.copy(tmp_path / "good" / "sessions.db-lock", database.parent)
    return corruption.read_apart(database)


def page_of(good: Good, name: str) -> int:
    """Return where the leaf begins that an event lies on."""
    key = next(key for says, key in good.events.items() if says.startswith(f"{name} "))
    return (min(good.layout.own[key]) - 1) * PAGE


def test_a_row_that_is_no_utf_8_does_not_end_the_salvage(good: Good, tmp_path: Path) -> None:
    content = bytearray(good.content)
    at = content.index(b"payload 3-3 ")
    content[at] = 0xFF
    wiped = page_of(good, "payload 20-20")
    content[wiped : wiped + PAGE] = b"\xff" * PAGE

    found = salvaged(tmp_path, bytes(content))

    assert found.crash == ""
    assert len(found.says) > 0.95 * len(good.events)


def test_what_is_left_of_a_file_that_was_cut_off_is_saved(good: Good, tmp_path: Path) -> None:
    kept = len(good.content) * 2 // 3
    found = salvaged(tmp_path, good.content[: kept - kept % PAGE])

    assert len(found.says) > 0.5 * len(good.events)


def test_keys_that_run_backwards_do_not_hold_the_salvage_for_ever(
    good: Good, tmp_path: Path
) -> None:
    content = bytearray(good.content)
    wiped = page_of(good, "payload 20-40")
    content[wiped : wiped + PAGE] = b"\xff" * PAGE
    behind = min(key for key, own in good.layout.own.items() if wiped // PAGE + 1 in own)
    leaf = (min(good.layout.own[behind - 1]) - 1) * PAGE
    # Not the last cell: a library that reads a row ahead never hands that one out.
    pointer = leaf + 8 + 2 * (int.from_bytes(content[leaf + 3 : leaf + 5], "big") - 2)
    cell = leaf + int.from_bytes(content[pointer : pointer + 2], "big")
    # Behind the two bytes of its size: the number of the session, now one of the first.
    content[cell + 2 : cell + 4] = b"\x80\x90"

    found = salvaged(tmp_path, bytes(content))

    assert found.crash == ""
    lost = {says for says, key in good.events.items() if wiped // PAGE + 1 in good.layout.own[key]}
    assert set(good.events) - set(found.says) == lost


def test_a_window_opens_a_session_though_the_first_page_is_spoiled(
    good: Good, tmp_path: Path
) -> None:
    content = Random(SEED).randbytes(PAGE) + good.content[PAGE:]

    found = salvaged(tmp_path, content)

    assert found.crash == ""
    (error,) = found.errors
    assert "was set aside" in str(error)
    assert sorted(found.says) == sorted(good.events)
