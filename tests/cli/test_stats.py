"""`segue stats`: how much is stored, by program, month and workspace."""

import re
from pathlib import Path
from typing import Any

import pytest

from segue.model.imports import ImportedEvent
from segue.model.records import NewFork, NewSession, Timestamp
from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import as_json, run, screen
from tests.factories import user_message

JULY, AUGUST = 1_783_000_000_000, 1_786_000_000_000
SIZE = len('{"content":"one"}')


@pytest.fixture
async def stored(database: Path) -> None:
    """Store three sessions in two workspaces, a fork, and one whose original was deleted."""
    time = JULY

    def clock() -> Timestamp:
        return Timestamp(time)

    service = await LocalSessionService.open(database, clock)
    tree: dict[str, Any] = {"git_root": "/tree", "git_common_dir": "/repo/.git"}
    main: dict[str, Any] = {"git_root": "/repo", "git_common_dir": "/repo/.git"}
    events = [user_message("one") for _ in range(2)]
    for new in (
        NewSession(id="a", directory="/repo/src", **main),
        NewSession(id="b", directory="/tree", **tree),
        NewSession(id="c", directory="/plain"),
    ):
        await service.create_session(new, events, invocation_id="i")
    time = AUGUST
    await service.fork_session("a", NewFork(id="fork of a"))
    await service.fork_session("b", NewFork(id="fork of b"))
    await service.delete("b")
    await service.archive("c")
    imported = NewSession(id="d", directory="/plain", source="codex")
    await service.import_session(imported, [ImportedEvent(user_message("one"), Timestamp(JULY))])
    await service.close()


def amount(sessions: int, events: int) -> dict[str, int]:
    return {"sessions": sessions, "events": events, "bytes": events * SIZE}


def test_each_event_counts_once_in_every_group(stored: None) -> None:
    report = as_json("stats")
    assert report.pop("fileBytes") > 0
    assert report == {
        **amount(5, 7),
        "bySource": [{"source": "segue", **amount(4, 6)}, {"source": "codex", **amount(1, 1)}],
        "byMonth": [{"month": "2026-07", **amount(3, 5)}, {"month": "2026-08", **amount(2, 2)}],
        "byWorkspace": [
            {"workspace": "/repo", **amount(3, 4)},
            {"workspace": "/plain", **amount(2, 3)},
        ],
    }


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_shows_bars(columns: int, stored: None) -> None:
    shown = screen(columns, "stats", NO_COLOR="1")
    assert "5 conversations, 7 events, 119 bytes\n" in shown
    width = columns // 5
    assert re.search(f"^segue +4 +6 +102  █{{{width}}}$", shown, re.M)
    assert re.search(f"^codex +1 +1 +17  █{{{width // 4}}}$", shown, re.M)
    assert all(len(line) <= columns for line in shown.splitlines())
    assert f"  {'#' * width}\n" in screen(columns, "stats", PYTHONIOENCODING="ascii")


def test_a_pipe_gets_no_bars(stored: None) -> None:
    assert "█" not in run("stats").stdout


def test_nothing_is_counted_where_nothing_is_stored(database: Path) -> None:
    done = run("stats")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No conversations yet.\n")
    assert as_json("stats")["sessions"] == 0
    assert not database.exists()
