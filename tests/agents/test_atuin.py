"""Conversations of Atuin AI, from a database that another program owns."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segue.agents import atuin, foreign_database
from segue.agents.transcript import Places
from segue.store.sqlite.service import LocalSessionService
from tests.agents.helpers import (
    assert_twice_is_once,
    conversations,
    once,
    run_import,
)
from tests.agents.samples import stored
from tests.cli.helpers import as_json, run

SOURCE = "atuin"
ID = "01999999-0000-7000-8000-00000000000b"
SECOND = 1_772_600_767

SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, head_id TEXT, server_session_id TEXT, directory TEXT, git_root TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, archived_at INTEGER
);
CREATE TABLE session_events (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, parent_id TEXT, invocation_id TEXT NOT NULL,
    event_type TEXT NOT NULL, event_data TEXT NOT NULL, created_at INTEGER NOT NULL,
    FOREIGN KEY (session_id) REFERENCES sessions (id)
);
CREATE INDEX idx_session_events_session_id ON session_events (session_id);
"""

EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("user_message", {"content": "List the files"}),
    ("text", {"content": "I look. \U0001f389"}),
    ("tool_call", {"id": "t1", "name": "sh", "input": {"command": "ls", "n": [1, None]}}),
    ("tool_result", {"tool_use_id": "t1", "content": "a.py", "is_error": False, "remote": True,
                     "content_length": 4}),
    ("out_of_band_output", {"name": "System", "command": None, "content": "help"}),
    ("system_context", {"content": "[Note]"}),
    ("skill_invocation", {"name": "review", "arguments": None, "content": "Review it"}),
    ("of_a_later_version", {"any": ["thing"]}),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "xdg_data_home" / "atuin" / "ai_sessions.db"
    file.parent.mkdir(parents=True)
    execute(file, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(file)) as db:
        db.executescript(SCHEMA)
    add_session(file)
    return file


def execute(file: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(sql, values)


def add_session(file: Path, id: str = ID, directory: Any = "/p") -> None:
    sql = "INSERT INTO sessions VALUES (?, NULL, NULL, ?, NULL, ?, ?, NULL)"
    execute(file, sql, id, directory, SECOND, SECOND)


def add(file: Path, id: Any, type: Any, data: Any, *, session: str = ID, second: Any = 0) -> None:
    text = json.dumps(data) if isinstance(data, dict) else data
    time = SECOND + second if isinstance(second, int) else second
    sql = "INSERT INTO session_events VALUES (?, ?, NULL, 'i', ?, ?, ?)"
    execute(file, sql, id, session, type, text, time)


def add_all(file: Path) -> Iterator[int]:
    for number, (type, data) in enumerate(EVENTS):
        add(file, f"e{number}", type, data, second=number // 3)
        yield number


async def test_events_are_kept_one_to_one(service: LocalSessionService, file: Path) -> None:
    list(add_all(file))
    report = await run_import(service, SOURCE, file)
    assert (report.new, report.events, report.skipped, report.broken) == (1, 8, {}, [])
    ((title, directory, _, _, events),) = (await stored(service)).values()
    assert (title, directory) == ("List the files", "/p")
    assert events == [
        (f"e{number}", type, data, (SECOND + number // 3) * 1_000)
        for number, (type, data) in enumerate(EVENTS)
    ]
    session = await service.get_session(ID)
    assert (session.source, session.client) == (SOURCE, "Atuin AI")
    await assert_twice_is_once(service, SOURCE, file)


def test_the_command_imports_what_it_finds(file: Path) -> None:
    list(add_all(file))
    add_session(file, "empty")
    reports = json.loads(run("import", "--json").stdout)
    report = next(each for each in reports if each["source"] == SOURCE)
    assert (report["new"], report["events"], report["broken"]) == (1, 8, [])
    assert [session["sessionId"] for session in as_json("list", "--all")["sessions"]] == [ID]
    assert run("import", str(file)).returncode == 0


def test_it_is_found_where_the_environment_says(file: Path, tmp_path: Path) -> None:
    named = {"ATUIN_AI__DB_PATH": str(file)}
    assert list(atuin.find(Places(tmp_path, named))) == [file]
    assert list(atuin.find(Places(tmp_path, {}))) == []
    home = Places(tmp_path, {"XDG_DATA_HOME": str(tmp_path / "xdg_data_home")})
    assert list(atuin.find(home)) == [file]


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, file: Path, tmp_path: Path
) -> None:
    for _ in add_all(file):
        await run_import(service, SOURCE, file)
    assert await stored(service) == await once(tmp_path, SOURCE, file)


async def test_the_order_is_that_of_time_as_in_atuin(
    service: LocalSessionService, file: Path
) -> None:
    """After a clock went back, what was imported is kept beside it."""
    said = [("a", 1), ("b", 2), ("c", 1)]
    for count, (text, second) in enumerate(said, 1):
        add(file, text, "text", {"content": text}, second=second)
        await run_import(service, SOURCE, file)
        if count < 3:
            assert len(await stored(service)) == 1
    texts = [[data["content"] for _, data in each] for each in await conversations(service)]
    assert texts == [["a", "c", "b"], ["a", "b"]]


async def test_bad_rows_are_reported_and_the_others_kept(
    service: LocalSessionService, file: Path
) -> None:
    add(file, "good", "text", {"content": "x"})
    for number, wrong in enumerate(["{", "[]", b"\xff", '{"content": 1}', "{}", None]):
        if wrong is not None:
            add(file, f"bad{number}", "text", wrong)
    add(file, "x" * 200, "text", {"content": "x"})
    add(file, "", "text", {"content": "x"})
    add(file, "deep", "text", '{"content":' + "[" * 100_000)
    add(file, "last", "text", {"content": "y"}, second="not a time")
    report = await run_import(service, SOURCE, file)
    assert len(report.broken) == 8
    ((_, _, _, _, events),) = (await stored(service)).values()
    assert [id for id, *_ in events] == ["good", "last"]


async def test_wrong_types_in_every_column_are_survived(
    service: LocalSessionService, file: Path
) -> None:
    for number, wrong in enumerate([1, -1.5, "", "a\0b", b"\xff\x00", 2**62]):
        id = f"s{number}"
        add_session(file, id, wrong)
        for at, row in enumerate(([0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0])):
            right = (f"e{number}-{at}", "text", json.dumps({"content": "x"}), SECOND)
            event, type, data, time = (v if ok else wrong for v, ok in zip(right, row, strict=True))
            sql = "INSERT OR IGNORE INTO session_events VALUES (?, ?, NULL, 'i', ?, ?, ?)"
            execute(file, sql, event, id, type, data, time)
    await run_import(service, SOURCE, file)
    assert len(await stored(service)) == 6


async def test_a_file_that_is_no_such_database_is_reported(
    service: LocalSessionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_database, "BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "ai_sessions.db"

    async def reason() -> str:
        (problem,) = (await run_import(service, SOURCE, path)).broken
        return problem.partition(": ")[2]

    assert await reason() == "No such file or directory"
    path.write_bytes(b"")
    assert await reason() == "a database without the table sessions"
    path.write_bytes(b"no database" * 1_000)
    assert await reason() == "not a SQLite database"
    path.unlink()
    path.mkdir()
    assert await reason() == "not a file"
    path.rmdir()
    os.mkfifo(path)
    assert await reason() == "not a file"
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in await reason()


async def test_a_locked_database_is_reported(
    service: LocalSessionService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_database, "BUSY_TIMEOUT_S", 0.1)
    list(add_all(file))
    execute(file, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(file)) as db:
        db.execute("BEGIN EXCLUSIVE")
        (problem,) = (await run_import(service, SOURCE, file)).broken
    assert problem == f"{file}: locked by another program; import it again later"
    await run_import(service, SOURCE, file)
    assert len((await conversations(service))[0]) == 8


async def test_a_database_in_use_is_read_with_its_log_and_left_as_it_is(
    service: LocalSessionService, file: Path
) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("SELECT * FROM sessions").fetchall()
        list(add_all(file))
        db.execute("BEGIN IMMEDIATE")
        before = file.read_bytes()
        assert b"I look" not in before
        report = await run_import(service, SOURCE, file)
        assert (report.events, report.broken) == (8, [])
        db.execute("COMMIT")
        assert file.read_bytes() == before
        opened = foreign_database.ForeignDatabase(file, ())
        with opened, pytest.raises(OSError, match="readonly"):
            opened.rows("DELETE FROM session_events")


async def test_a_damaged_page_costs_no_other_conversation(
    service: LocalSessionService, file: Path
) -> None:
    add(file, "big", "text", {"content": "x" * 20_000})
    add_session(file, "other")
    add(file, "good", "text", {"content": "fine"}, session="other")
    execute(file, "PRAGMA journal_mode = DELETE")
    content = bytearray(file.read_bytes())
    pages = range(0, len(content), 4_096)
    # Each page of a long value begins with the number of the next.
    start = next(at for at in pages if content[at + 4 : at + 104] == b"x" * 100)
    content[start : start + 4] = b"\xff" * 4
    file.write_bytes(content)
    for _ in range(2):
        report = await run_import(service, SOURCE, file)
        assert report.broken == [
            f"{file}, session {ID}: SQLite cannot read it: database disk image is malformed"
        ]
    assert [each[0][1]["content"] for each in await conversations(service)] == ["fine"]
