"""Conversations of OpenCode: a database of its versions since 1.2, and the files before."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segue.agents import foreign_database, opencode
from segue.agents.transcript import Places, derived_id
from segue.store.sqlite.service import LocalSessionService
from tests.agents.helpers import (
    assert_twice_is_once,
    changes_of,
    conversations,
    once,
    run_import,
    wrong_values,
)
from tests.agents.samples import stored
from tests.cli.helpers import as_json, run

SOURCE = "opencode"
ID = "ses_1"
STORED_ID = derived_id(SOURCE, ID)
NOW = 1_772_600_767_000

SCHEMA = """
CREATE TABLE session (
    id text PRIMARY KEY, project_id text NOT NULL, parent_id text, directory text NOT NULL,
    title text NOT NULL, version text NOT NULL, revert text, time_created integer NOT NULL,
    time_updated integer NOT NULL
);
CREATE TABLE message (
    id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL,
    time_updated integer NOT NULL, data text NOT NULL
);
CREATE TABLE part (
    id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
    time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL
);
CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
CREATE INDEX part_message_id_id_idx ON part (message_id, id);
"""

Record = dict[str, Any]


class Store:
    """What OpenCode has stored, as a database or as files."""

    def __init__(self, home: Path, *, is_database: bool = True) -> None:
        self.folder = home / "opencode"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "opencode.db"
        self.time = NOW
        self.is_database = is_database
        if is_database:
            with closing(sqlite3.connect(self.path)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(SCHEMA)
        else:
            self.path = self.folder / "storage" / "session" / "global" / f"{ID}.json"

    def session(self, id: str = ID, **fields: Any) -> None:
        self.time += 1
        if not self.is_database:
            renamed = {"parentID": fields.pop("parent_id", None), "id": id, "version": "1.1"}
            values = {"directory": "/p", "title": "Files", **renamed, **fields}
            self._write(f"session/global/{id}", values)
            return
        values = {
            "id": id, "project_id": "global", "parent_id": None, "directory": "/p",
            "title": "Files", "version": "1.2", "revert": None, "time_created": NOW,
            "time_updated": self.time, **fields,
        }  # fmt: skip
        self._insert("session", values)

    def message(self, id: str, data: Any, *parts: Any, session: str = ID) -> None:
        """Add a message, or replace it and its parts."""
        self.time += 1
        if not self.is_database:
            self._write(f"message/{session}/{id}", {"id": id, "sessionID": session, **data})
            for number, part in enumerate(parts):
                own = {"id": f"{id}-{number}", "messageID": id, "sessionID": session}
                self._write(f"part/{id}/{id}-{number}", {**own, **part})
            return
        created = NOW + int("".join(filter(str.isdigit, id)) or 0)
        values = {"id": id, "session_id": session, "time_created": created,
                  "time_updated": self.time, "data": as_text(data)}  # fmt: skip
        self._insert("message", values)
        self.parts(id, *parts, session=session)

    def parts(self, message: str, *parts: Any, session: str = ID) -> None:
        """Replace the parts of a message, which does not change its row."""
        self.time += 1
        self.execute("DELETE FROM part WHERE message_id = ?", message)
        values = {"session_id": session, "time_created": NOW, "time_updated": self.time}
        for number, part in enumerate(parts):
            own = {"id": f"{message}-{number}", "message_id": message, "data": as_text(part)}
            self._insert("part", {**values, **own})

    def execute(self, sql: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(sql, values)

    def _insert(self, table: str, values: Record) -> None:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self.execute(f"REPLACE INTO {table} ({names}) VALUES ({marks})", *values.values())

    def _write(self, name: str, value: Any) -> None:
        path = self.folder / "storage" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2))


def as_text(data: Any) -> Any:
    return json.dumps(data) if isinstance(data, dict) else data


def asked(at: int = 1) -> Record:
    return {"role": "user", "time": {"created": NOW + at}, "agent": "build"}


def answered(at: int = 2, *, done: bool = True, **fields: Any) -> Record:
    time = {"created": NOW + at, **({"completed": NOW + at + 1} if done else {})}
    return {"role": "assistant", "time": time, "modelID": "model-x", **fields}


def text(content: str, *, done: bool = True, **fields: Any) -> Record:
    time = {"start": NOW + 5, **({"end": NOW + 6} if done else {})}
    return {"type": "text", "text": content, "time": time, **fields}


def thought(content: str) -> Record:
    return text(content) | {"type": "reasoning"}


def tool(call: str, status: str = "completed", **state: Any) -> Record:
    time = {"start": NOW + 7, "end": NOW + 8}
    state = {"status": status, "input": {"command": "ls"}, "time": time, **state}
    return {"type": "tool", "tool": "bash", "callID": call, "state": state}


def called(call: str) -> tuple[str, Any]:
    return ("tool_call", {"id": call, "name": "bash", "input": {"command": "ls"}})


def result(call: str, content: str, *, is_error: bool = False) -> tuple[str, Any]:
    return ("tool_result", {"tool_use_id": call, "content": content, "is_error": is_error})


def said(content: str, message: str) -> tuple[str, Any]:
    return ("text", {"content": content, "message": message})


def user(content: str) -> tuple[str, Any]:
    return ("user_message", {"content": content})


def context(content: str) -> tuple[str, Any]:
    return ("system_context", {"content": content})


IMAGE = {"type": "file", "mime": "image/png", "filename": "a.png", "url": "data:image/png;base64,"}
TURN: list[tuple[str, Record, list[Record]]] = [
    ("m1", asked(), [{"type": "text", "text": "List the files"}, IMAGE,
                     {"type": "text", "text": "Called Read", "synthetic": True}]),
    ("m2", answered(), [{"type": "step-start"}, thought("Look first."), text("I look."),
                        tool("c1", output="a.py", attachments=[IMAGE]),
                        tool("c2", "error", error="no"), {"type": "step-finish"}]),
    ("m3", answered(3), [text("One.")]),
]  # fmt: skip
TURN_EVENTS = [
    user("List the files\n[file a.png image/png]"),
    context("Called Read"),
    ("thinking", {"content": "Look first."}),
    said("I look.", "m2"),
    called("c1"),
    result("c1", "a.py\n[file a.png image/png]"),
    called("c2"),
    result("c2", "no", is_error=True),
    said("One.", "m3"),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "xdg_data_home")
    store.session()
    return store


def fill(store: Store) -> None:
    for id, data, parts in TURN:
        store.message(id, data, *parts)


@pytest.mark.parametrize("is_database", [True, False])
async def test_a_conversation_is_kept(
    service: LocalSessionService, tmp_path: Path, is_database: bool
) -> None:
    store = Store(tmp_path / "home", is_database=is_database)
    store.session()
    fill(store)
    report = await run_import(service, SOURCE, store.path)
    assert await conversations(service) == [TURN_EVENTS]
    assert (report.new, report.events, report.broken) == (1, 9, [])
    assert report.skipped == {"step-start": 1, "step-finish": 1}
    session = await service.get_session(STORED_ID)
    assert (session.title, session.directory, session.model) == ("Files", "/p", "model-x")
    assert (session.client, session.source, session.server_session_id) == ("OpenCode", SOURCE, ID)
    assert session.updated_at == NOW + 8
    await assert_twice_is_once(service, SOURCE, store.path)


async def test_the_database_has_what_the_files_had(
    service: LocalSessionService, tmp_path: Path
) -> None:
    """OpenCode 1.2 moves its files into the database: nothing is imported again."""
    for is_database in (False, True):
        store = Store(tmp_path / "home", is_database=is_database)
        store.session()
        fill(store)
        report = await run_import(service, SOURCE, store.path)
        assert report.events == (0 if is_database else 9)
    assert len(await stored(service)) == 1


def test_the_command_imports_what_it_finds(store: Store) -> None:
    fill(store)
    old = Store(store.folder.parent, is_database=False)
    old.session("ses_before")
    (report,) = json.loads(run("import", SOURCE, "--json").stdout)
    assert (report["new"], report["events"], report["broken"]) == (1, 9, [])
    assert [session["title"] for session in as_json("list", "--all")["sessions"]] == ["Files"]


def test_files_are_found_only_where_there_is_no_database(tmp_path: Path) -> None:
    old = Store(tmp_path / ".local" / "share", is_database=False)
    old.session()
    assert list(opencode.find(Places(tmp_path, {}))) == [old.path]
    assert opencode.accepts(old.path)
    new = Store(tmp_path / ".local" / "share")
    beta = new.path.with_name("opencode-dev.db")
    beta.touch()
    assert list(opencode.find(Places(tmp_path, {}))) == [beta, new.path]
    assert opencode.accepts(beta)
    named = new.path.with_name("mine.db")
    named.touch()
    assert named in list(opencode.find(Places(tmp_path, {"OPENCODE_DB": "mine.db"})))


async def test_subagents_and_empty_conversations_are_left_out(
    service: LocalSessionService, store: Store
) -> None:
    store.session("ses_sub", parent_id=ID)
    store.message("s1", asked(), text("Look"), session="ses_sub")
    report = await run_import(service, SOURCE, store.path)
    assert await stored(service) == {}
    assert report.skipped == {"subagent": 1}


async def test_compaction_errors_and_what_is_only_shown(
    service: LocalSessionService, store: Store
) -> None:
    aborted = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
    store.message("m1", asked(1), text("Hi"), {"type": "agent", "name": "x"})
    store.message("m2", answered(2, error=aborted), text("He"))
    store.message("m3", asked(3), {"type": "compaction", "auto": True})
    store.message("m4", answered(4, summary=True), text("So far"))
    store.message("m5", answered(5), text("Shown", ignored=True))
    store.message("m6", asked(6), {"type": "subtask", "prompt": "Review", "agent": "y"})
    store.message("m7", answered(7, error={"name": "APIError", "data": {"message": "Quota"}}))
    report = await run_import(service, SOURCE, store.path)
    assert await conversations(service) == [
        [
            user("Hi"),
            said("He", "m2"),
            ("turn_end", {"stop_reason": "cancelled"}),
            context("[Note: the conversation was compacted here.]"),
            context("So far"),
            ("out_of_band_output", {"name": "OpenCode", "content": "Shown"}),
            user("Review"),
            ("turn_end", {"stop_reason": "error", "error": "Quota"}),
        ]
    ]
    assert report.skipped == {"agent": 1}


def growing(store: Store) -> Iterator[None]:
    """Store an answer as it comes."""
    parts = [text("I look."), tool("c1", output="a"), tool("c2", output="b"), text("Done.")]
    open_ = answered(2, done=False)
    store.message("m1", asked(), text("Go"))
    yield
    store.message("m2", open_)
    yield
    store.parts("m2", text("I lo", done=False))
    yield
    store.parts("m2", parts[0], tool("c1", "pending", input={}))
    yield
    store.parts("m2", parts[0], tool("c1", "running"), tool("c2", "running"))
    yield
    store.parts("m2", parts[0], tool("c1", "running"), parts[2])
    yield
    store.parts("m2", *parts[:3])
    yield
    store.parts("m2", *parts[:3], text("Do", done=False))
    yield
    store.message("m2", answered(2), *parts)
    yield
    store.message("m3", asked(9), text("And?"))
    yield


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, store: Store, tmp_path: Path
) -> None:
    for _ in growing(store):
        report = await run_import(service, SOURCE, store.path)
        assert report.forks == 0
    assert await stored(service) == await once(tmp_path, SOURCE, store.path)
    await assert_twice_is_once(service, SOURCE, store.path)


async def test_an_answer_is_read_while_its_message_is_not_changed(
    service: LocalSessionService, store: Store
) -> None:
    store.message("m1", answered(2, done=False))
    for count in range(3):
        store.parts("m1", *(text(str(number)) for number in range(count)))
        assert (await run_import(service, SOURCE, store.path)).events == (count > 0)


async def test_an_answer_that_never_ended_is_kept_when_the_next_one_begins(
    service: LocalSessionService, store: Store
) -> None:
    store.message("m1", asked(), text("Go"))
    store.message("m2", answered(2, done=False), text("Half", done=False))
    report = await run_import(service, SOURCE, store.path)
    assert report.skipped == {"incomplete part": 1}
    store.message("m3", asked(3), text("Again"))
    await run_import(service, SOURCE, store.path)
    assert await conversations(service) == [[user("Go"), said("Half", "m2"), user("Again")]]


async def test_a_changed_past_becomes_a_fork(service: LocalSessionService, store: Store) -> None:
    for last in ("One.", "Two.", "Three."):
        fill(store)
        store.message("m3", answered(3), text(last))
        await run_import(service, SOURCE, store.path)
    assert await conversations(service) == [
        [*TURN_EVENTS[:-1], said(last, "m3")] for last in ("Three.", "Two.", "One.")
    ]
    store.message("m2", answered(), text("I looked."))
    await run_import(service, SOURCE, store.path)
    store.message("m3", answered(3), text("Four."))
    await run_import(service, SOURCE, store.path)
    (shown, *_) = await conversations(service)
    assert shown == [*TURN_EVENTS[:2], said("I looked.", "m2"), said("Four.", "m3")]
    assert len(await stored(service)) == 5
    store.message("m1", asked(), text("Other"))
    report = await run_import(service, SOURCE, store.path)
    assert (report.new, report.forks) == (1, 0)
    await assert_twice_is_once(service, SOURCE, store.path)
    store.message("m4", asked(4), text("More"))
    report = await run_import(service, SOURCE, store.path)
    assert (report.grown, report.events) == (1, 1)


async def test_what_follows_a_revert_is_a_fork(service: LocalSessionService, store: Store) -> None:
    fill(store)
    await run_import(service, SOURCE, store.path)
    revert = as_text({"messageID": "m3"})
    store.execute("UPDATE session SET revert = ?, time_updated = ?", revert, NOW * 2)
    report = await run_import(service, SOURCE, store.path)
    assert report.skipped["reverted message"] == 1
    store.execute("DELETE FROM message WHERE id = 'm3'")
    store.execute("UPDATE session SET revert = NULL")
    store.message("m4", asked(4), text("Instead"))
    await run_import(service, SOURCE, store.path)
    assert await conversations(service) == [[*TURN_EVENTS[:-1], user("Instead")], TURN_EVENTS]


@pytest.mark.parametrize(
    ("revert", "kept"),
    [({"messageID": "m3"}, 8), ({"messageID": "m2", "partID": "m2-3"}, 4), ("{", 9), (None, 9)],
)
async def test_what_was_reverted_is_left_out(
    service: LocalSessionService, store: Store, revert: Any, kept: int
) -> None:
    fill(store)
    store.execute("UPDATE session SET revert = ?", as_text(revert))
    await run_import(service, SOURCE, store.path)
    events = (await conversations(service))[0]
    if kept == 4:
        assert events == [*TURN_EVENTS[:4], TURN_EVENTS[-1]]
    else:
        assert events == TURN_EVENTS[:kept]


async def test_columns_of_other_versions_are_not_needed(
    service: LocalSessionService, tmp_path: Path
) -> None:
    path = tmp_path / "opencode.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(
            "CREATE TABLE session (id text PRIMARY KEY, created_at integer);"
            "CREATE TABLE message (id text PRIMARY KEY, session_id text, data text);"
            "CREATE TABLE part (id text PRIMARY KEY, message_id text, data text);"
        )
        db.execute("INSERT INTO session VALUES (?, 1)", (ID,))
        for id, data, parts in TURN:
            db.execute("INSERT INTO message VALUES (?, ?, ?)", (id, ID, as_text(data)))
            for number, part in enumerate(parts):
                values = (f"{id}-{number}", id, as_text(part))
                db.execute("INSERT INTO part VALUES (?, ?, ?)", values)
    for count in (9, 0):
        assert (await run_import(service, SOURCE, path)).events == count
    assert await conversations(service) == [TURN_EVENTS]


async def test_more_rows_than_a_page_holds(service: LocalSessionService, store: Store) -> None:
    count = 2 * opencode._ROWS + 1
    store.message("m0", asked(), *(text(f"{number:03}") for number in range(count)))
    for number in range(count):
        store.message(f"m{number + 1}", asked(number), text(f"message {number}"))
    await run_import(service, SOURCE, store.path)
    events = (await conversations(service))[0]
    assert sorted(events[0][1]["content"].split()) == [f"{number:03}" for number in range(count)]
    assert events[1:] == [user(f"message {number}") for number in range(count)]


async def test_a_value_that_is_too_long_is_reported(
    service: LocalSessionService, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_database, "MAX_VALUE", 1_000)
    store.message("m1", asked(), text("Hi"))
    store.message("m2", answered(), text("x" * 2_000), text("y"))
    report = await run_import(service, SOURCE, store.path)
    assert report.broken == [f"{store.path}, part m2-0: too long, or empty"]
    assert await conversations(service) == [[user("Hi"), said("y", "m2")]]


def wrong_turns() -> Iterator[list[Any]]:
    """Yield messages with their parts, with a value of another type in each place."""
    for wrong in wrong_values():
        for _, data, parts in TURN:
            yield from changes_of([data, *parts], wrong)


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, store: Store
) -> None:
    store.message("m0", asked(0), text("Hi"))
    with closing(sqlite3.connect(store.path)) as db, db:
        for number, (message, *parts) in enumerate(wrong_turns()):
            row: tuple[Any, ...] = (f"m{number}", ID, NOW, NOW, json.dumps(message))
            db.execute("REPLACE INTO message VALUES (?, ?, ?, ?, ?)", row)
            for at, part in enumerate(parts):
                row = (f"p{number}-{at}", f"m{number}", ID, NOW, NOW, json.dumps(part))
                db.execute("REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", row)
        for wrong in (1, 2**62, -1.5, "", "a\0b", b"\xff", float("inf")):
            row = (f"x{wrong!r}", ID, wrong, wrong, wrong)
            db.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
            row = (f"s{wrong!r}", *[wrong] * 8)
            db.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            row = (f"y{wrong!r}", f"s{wrong!r}", NOW, wrong, json.dumps(asked()))
            db.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
            row = (f"z{wrong!r}", f"y{wrong!r}", ID, NOW, wrong, json.dumps(text("Hi")))
            db.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", row)
    report = await run_import(service, SOURCE, store.path)
    assert report.new == 3  # the others have parents
    assert all("not a JSON object" in problem for problem in report.broken)


async def test_wrong_types_in_files_are_survived(
    service: LocalSessionService, tmp_path: Path
) -> None:
    store = Store(tmp_path, is_database=False)
    wrong: Any
    for wrong in (None, 1, "\ud800", [[]], {"a": []}):
        for number, turn in enumerate(changes_of([TURN[1][1], *TURN[1][2]], wrong)):
            message, *parts = (part if isinstance(part, dict) else {} for part in turn)
            store.message(f"m{number}", message, *parts)
        for session in changes_of({"directory": "/p", "title": "T", "parent_id": None}, wrong):
            store.session(**session)
            assert (await run_import(service, SOURCE, store.path)).broken == []


async def test_bad_files_are_reported_and_the_others_kept(
    service: LocalSessionService, tmp_path: Path
) -> None:
    store = Store(tmp_path, is_database=False)
    store.session()
    fill(store)
    parts = store.folder / "storage" / "part" / "m2"
    (parts / "m2-0.json").write_bytes(b"\x00")
    (parts / "m2-1.json").write_text("[]")
    report = await run_import(service, SOURCE, store.path)
    assert [problem.rpartition(", ")[2] for problem in report.broken] == [
        "m2-0.json: m2-0.json is not JSON",
        "m2-1.json: not a JSON object",
    ]
    assert await conversations(service) == [TURN_EVENTS[:2] + TURN_EVENTS[3:]]
    store.path.write_text("[]")
    report = await run_import(service, SOURCE, store.path)
    assert report.broken == [f"{store.path}: not a JSON object"]
