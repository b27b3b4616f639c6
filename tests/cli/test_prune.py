"""`segue prune` and `segue doctor --sizes`, on real files and beside real windows."""

import re
from pathlib import Path

import pytest

from tests.cli.helpers import as_json, at_terminal, run
from tests.cli.test_changes import contents, fork, store
from tests.conftest import StartClient
from tests.factories import execute, make_older

CANARY = "canary-5b0e77"
DAY = 24 * 60


def archive(database: Path, session_id: str, days: float = 0) -> None:
    """Archive a session, as if that was *days* ago."""
    assert run("archive", session_id).returncode == 0
    sql = "UPDATE sessions SET archived_at = archived_at - ? WHERE id = ?"
    execute(database, sql, int(days * DAY * 60_000), session_id)


def listed(*arguments: str) -> set[str]:
    return {
        each["sessionId"] for each in as_json("list", "--all", "--archived", *arguments)["sessions"]
    }


def files_with(text: str, folder: Path) -> list[str]:
    files = (each for each in folder.iterdir() if each.is_file())
    return sorted(each.name for each in files if text.encode() in each.read_bytes())


@pytest.fixture
def sessions(start: StartClient, database: Path) -> dict[str, str]:
    """Store a session of each kind that prune tells from the others; return their ids."""
    client = start()
    kinds = ("old", "recent", "unused", "used")
    ids = {kind: store(client, f"{kind} {CANARY}", "two") for kind in kinds}
    client.shutdown()
    archive(database, ids["old"], 91)
    archive(database, ids["recent"], 89)
    make_older(database, ids["unused"], 91 * DAY)
    return ids


def test_a_dry_run_says_what_would_be_deleted_and_why_the_rest_is_left(
    sessions: dict[str, str],
) -> None:
    for arguments, why in (
        (("--dry-run", "--yes"), "this is a dry run"),
        ((), "nobody can be asked here; add --yes to delete"),
    ):
        done = run("prune", "--older-than", "90d", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        header, row, *rest = done.stdout.splitlines()
        assert header.split() == ["SINCE", "EVENTS", "BYTES", "TITLE"]
        assert re.fullmatch(rf"archived 91 days ago +2 +\d+  old {CANARY}", row)
        size = row.split()[5]
        assert rest == [
            f"To be deleted: 1 conversations, {size} bytes.",
            "Left: 1 not archived, but updated more than 90 days ago (--live takes them)",
            "Left: 1 not archived, and updated less than 90 days ago",
            "Left: 1 archived less than 90 days ago",
            f"Nothing was deleted: {why}.",
        ]
    assert listed() == set(sessions.values())


def test_prune_deletes_what_it_showed_and_names_the_copies(
    sessions: dict[str, str], database: Path
) -> None:
    assert run("backup").returncode == 0
    done = run("prune", "--older-than", "90d", "--yes")
    assert done.returncode == 0
    assert "Deleted: 1 conversations" in done.stdout
    assert "the 1 beside it, which `segue doctor` lists" in done.stdout
    assert listed() == set(sessions.values()) - {sessions["old"]}
    assert files_with(f"old {CANARY}", database.parent) == []
    assert len(files_with(f"old {CANARY}", database.parent / "backups")) == 1
    again = run("prune", "--older-than", "90d", "--yes")
    assert again.stdout.startswith("No conversation was archived more than 90 days ago")


def test_prune_takes_the_live_ones_on_request(sessions: dict[str, str]) -> None:
    done = run("prune", "--older-than", "2160h", "--live", "--yes")
    assert "updated 91 days ago" in done.stdout
    assert listed() == {sessions["recent"], sessions["used"]}


def test_prune_asks_at_a_terminal(sessions: dict[str, str]) -> None:
    command = ("prune", "--older-than", "90d")
    assert at_terminal("Delete them?", "n", *command) == 1
    assert listed() == set(sessions.values())
    assert at_terminal("Delete them?", "y", *command) == 0
    assert listed() == set(sessions.values()) - {sessions["old"]}


def test_prune_as_json_is_a_dry_run_unless_it_is_confirmed(sessions: dict[str, str]) -> None:
    left = {"open": [], "notArchived": 1, "updatedSince": 1, "archivedSince": 1}
    shown = as_json("prune", "--older-than", "90d")
    assert (shown["dryRun"], shown["left"], shown["copies"]) == (True, left, [])
    (taken,) = shown["taken"]
    assert taken["session"]["sessionId"] == sessions["old"]
    assert taken["bytes"] > 0
    assert listed() == set(sessions.values())
    assert as_json("prune", "--older-than", "90d", "--yes") == shown | {"dryRun": False}
    assert listed() == set(sessions.values()) - {sessions["old"]}


@pytest.mark.parametrize("age", ["90", "d", "-1d", "1.5d", "3m", "90 d", "", "100000d", "٩d"])
def test_an_age_is_a_number_of_hours_days_or_weeks(age: str, sessions: dict[str, str]) -> None:
    done = run("prune", f"--older-than={age}", "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "such as 12h, 90d or 2w" in done.stderr
    assert listed() == set(sessions.values())


def test_an_age_of_0_empties_the_archive_only(sessions: dict[str, str]) -> None:
    refused = run("prune", "--older-than", "0h", "--live", "--yes")
    assert refused.returncode == 2
    assert "would delete every conversation" in refused.stderr
    assert run("prune", "--yes").returncode == 2
    assert listed() == set(sessions.values())
    assert run("prune", "--older-than", "0d", "--yes").returncode == 0
    assert listed() == {sessions["unused"], sessions["used"]}


def test_prune_of_a_store_that_does_not_exist_creates_none(database: Path) -> None:
    done = run("prune", "--older-than", "1w", "--yes")
    assert done.returncode == 0
    assert done.stdout.startswith("No conversation was archived more than 7 days ago")
    assert not database.parent.exists()


def test_prune_leaves_what_is_open_in_a_window_until_that_is_killed(
    sessions: dict[str, str], database: Path, start: StartClient
) -> None:
    window = start()
    opened = window.request("session/open", {"sessionId": sessions["old"]})["session"]
    new = store(window, "made in the window")
    for each in (new, sessions["recent"], sessions["unused"]):
        archive(database, each, 91)
    done = run("prune", "--older-than", "90d", "--yes")
    assert done.returncode == 0
    assert f'Left: 2 open in a window: "old {CANARY}" "made in the window"' in done.stdout
    assert listed() == {sessions["old"], new, sessions["used"]}
    assert contents(opened["sessionId"]) == [f"old {CANARY}", "two"]
    window.kill()
    assert run("prune", "--older-than", "90d", "--yes").returncode == 0
    assert listed() == {sessions["used"]}


def test_a_window_that_closed_a_session_does_not_keep_it(
    sessions: dict[str, str], start: StartClient
) -> None:
    window = start()
    window.request("session/open", {"sessionId": sessions["old"]})
    window.request("session/close", {"sessionId": sessions["old"]})
    assert run("prune", "--older-than", "90d", "--yes").returncode == 0
    assert sessions["old"] not in listed()


def test_pruned_text_is_in_no_file_but_what_forks_have(start: StartClient, database: Path) -> None:
    client = start()
    original = store(client, f"{CANARY} one", f"{CANARY} two", f"{CANARY} three", f"{CANARY} four")
    client.request("session/close", {"sessionId": original})
    kept = store(client, "kept")
    first, _ = fork(original, "--at", "2", "--title", "first")
    second, _ = fork(original, "--at", "3", "--title", "second")
    archive(database, original, 91)
    archive(database, second, 91)
    preview = as_json("prune", "--older-than", "90d")
    assert run("prune", "--older-than", "90d", "--yes").returncode == 0
    assert listed() == {first, kept}
    assert contents(first) == [f"{CANARY} one", f"{CANARY} two"]
    for gone in ("three", "four"):
        assert files_with(f"{CANARY} {gone}", database.parent) == []
    (sizes,) = (
        each for each in as_json("doctor", "--sizes")["sessions"] if each["title"] == "first"
    )
    assert (sizes["sessionId"], sizes["sharedBytes"]) == (first, 0)
    data = '{{"content":"{} {}"}}'
    assert sizes["bytes"] == sum(len(data.format(CANARY, each)) for each in ("one", "two"))
    freed = sum(len(data.format(CANARY, each)) for each in ("three", "four"))
    assert sum(each["bytes"] for each in preview["taken"]) == freed
    archive(database, first, 91)
    assert run("prune", "--older-than", "90d", "--yes").returncode == 0
    assert listed() == {kept}
    assert files_with(CANARY, database.parent) == []


# -- sizes ---------------------------------------------------------------------------------------


def test_sizes_are_listed_the_largest_first(start: StartClient, database: Path) -> None:
    client = start()
    small, large = store(client, "small"), store(client, "large " * 100, "more")
    forked, _ = fork(large)
    client.shutdown()
    report = as_json("doctor", "--sizes")
    assert [each["sessionId"] for each in report["sessions"]] == [large, small, forked]
    texts = ("large " * 100, "more", "small")
    sizes = [len(f'{{"content":"{text}"}}') for text in texts]
    assert [each["bytes"] for each in report["sessions"]] == [sum(sizes[:2]), sizes[2], 0]
    assert (report["bytes"], report["sharedBytes"]) == (sum(sizes), sum(sizes[:2]))
    assert report["fileBytes"] == database.stat().st_size
    lines = run("doctor", "--sizes").stdout.splitlines()
    assert lines[0].split() == ["BYTES", "EVENTS", "TITLE", "SESSION"]
    assert [line.split()[-1] for line in lines[1:4]] == [large, small, forked]
    assert lines[5] == f"3 sessions: {sum(sizes):,} bytes of events"
    assert lines[6] == f"of these {sum(sizes[:2]):,} bytes are shared by forks: they count once"


def test_sizes_say_what_is_free_in_the_file(start: StartClient) -> None:
    client = start()
    session_id = store(client, *(f"{number} {'x' * 9_000}" for number in range(100)))
    store(client, "kept")
    client.request("session/delete", {"sessionId": session_id})
    client.shutdown()
    report = as_json("doctor", "--sizes")
    assert 800_000 < report["freeBytes"] < report["fileBytes"]
    assert f"{report['freeBytes']:,} free" in run("doctor", "--sizes").stdout


def test_sizes_of_many_sessions_name_the_largest(start: StartClient) -> None:
    client = start()
    for number in range(53):
        store(client, "x" * (number + 1))
    client.shutdown()
    lines = run("doctor", "--sizes").stdout.splitlines()
    assert len(lines) == 1 + 50 + 1 + 3
    assert re.match(r"3 smaller ones: \d+ bytes", lines[52])
    assert len(as_json("doctor", "--sizes")["sessions"]) == 53


def test_sizes_of_a_store_that_cannot_be_read_are_an_error(database: Path) -> None:
    assert as_json("doctor", "--sizes")["sessions"] == []
    database.parent.mkdir()
    database.write_bytes(b"not a database\n" * 100)
    done = run("doctor", "--sizes")
    assert done.returncode == 1
    assert f"{database} is not a SQLite database" in done.stderr
    assert run("doctor", "--sizes", "--repair").returncode == 2
