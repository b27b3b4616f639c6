"""Rows with values that cannot be decoded or that the schema forbids."""

import contextlib
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import EventConflict, HeadMoved, StorageCorrupt
from segue.model.records import iso
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    INVOCATION,
    all_events,
    append_to_head,
    contents,
    execute,
    store_session,
    user_message,
)
from tests.store.sqlite.helpers import opened

# Values that cannot be decoded


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("data", b"not json", {"data": "not json", "corrupt": True}),
        ("data", b"", {"data": "", "corrupt": True}),
        ("data", b'{"content": "', {"data": '{"content": "', "corrupt": True}),
        ("data", b"\xff\xfe", {"data": "\udcff\udcfe", "corrupt": True}),
        ("data", b"[" * 100_000, {"data": "[" * 100_000, "corrupt": True}),
        ("data", b'{"content": 5}', {"data": {"content": 5}, "corrupt": False}),
        ("data", b"[1]", {"data": [1], "corrupt": False}),
        ("type", b"from/later", {"type": "from/later", "corrupt": False}),
        ("type", b"\xff", {"type": "\udcff", "corrupt": False}),
    ],
    ids=lambda value: str(value)[:14],
)
async def test_an_invalid_row_is_returned_and_does_not_fail_its_page(
    database: Path,
    service: LocalSessionService,
    column: str,
    value: bytes,
    shown: dict[str, Any],
) -> None:
    id = await store_session(
        service, user_message("one"), user_message("two"), user_message("three")
    )
    execute(database, f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = 2", value)
    one, bad, three = await all_events(service, id)
    assert {name: getattr(bad, name) for name in shown} == shown
    assert (one.data, three.data) == ({"content": "one"}, {"content": "three"})
    await append_to_head(service, id, user_message("four"))
    assert len(await all_events(service, id)) == 4


async def test_a_session_with_an_invalid_title_is_listed(
    database: Path, service: LocalSessionService
) -> None:
    id = await store_session(service)
    execute(database, "UPDATE sessions SET title = CAST(? AS TEXT)", b"\xff")
    page = await service.list_sessions()
    assert [(session.id, session.title) for session in page.sessions] == [(id, "\udcff")]


# Values that the schema forbids


def store_impossible_value(database: Path, table: str, column: str, value: Any, where: str) -> None:
    """Store a value that the schema forbids, like damage that SQLite does not notice."""
    with closing(driver.connect(str(database))) as db:
        db.execute("PRAGMA writable_schema = ON")
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        lax = re.sub(r"\bTEXT\b|\bINTEGER\b(?! PRIMARY)", "ANY", sql).replace("NOT NULL", "")
        lax = re.sub(r"CHECK \(\w+ IN \(0, 1\)\)", "", lax)
        for each in (lax, sql):
            db.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (each, table))
            db.execute("PRAGMA writable_schema = RESET")
            db.execute("PRAGMA writable_schema = ON")
            if each == lax:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))


IMPOSSIBLE: list[Any] = [None, 7, -7, 1 << 62, -(1 << 62), 1.5, float("inf"), b"", b"\xff\xfe", "x"]


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize("column", ["id", "invocation", "created_at", "type", "data"])
async def test_an_event_with_an_impossible_value_can_be_read(
    database: Path, column: str, value: Any
) -> None:
    async with opened(database) as service:
        id = await store_session(
            service, user_message("one"), user_message("two"), user_message("three")
        )
    store_impossible_value(database, "events", column, value, "seq = 2")
    async with opened(database) as service:
        one, bad, three = (await service.load_events(id)).events
        assert (one.data, three.data) == ({"content": "one"}, {"content": "three"})
        assert (type(bad.id), type(bad.type), type(bad.invocation_id)) == (str, str, str)
        assert iso(bad.created_at)
        assert bad.seq == 2
        assert bad.corrupt is (column == "data")
        for again in (bad.id, user_message().id):
            with contextlib.suppress(EventConflict, HeadMoved):
                await service.append_events(
                    id, [user_message("more", again)], parent_id=three.id, invocation_id=INVOCATION
                )


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize(
    "column",
    [
        "directory", "git_root", "title", "server_session_id", "forked_from", "event_count",
        "model_visible", "created_at", "updated_at", "archived_at",
    ],
)  # fmt: skip
async def test_a_session_with_an_impossible_value_can_be_read(
    database: Path, column: str, value: Any
) -> None:
    async with opened(database) as service:
        id, other = (
            await store_session(service, user_message("one")),
            await store_session(service, user_message("two")),
        )
    store_impossible_value(database, "sessions", column, value, "number = 1")
    async with opened(database) as service:
        session = await service.get_session(id)
        assert isinstance(session.directory, str)
        assert {type(session.title), type(session.git_root)} <= {str, type(None)}
        assert iso(session.created_at)
        assert iso(session.updated_at)
        cursor, listed = None, []
        for _ in range(3):
            page = await service.list_sessions(archived=True, limit=1, cursor=cursor)
            listed += [each.id for each in page.sessions]
            if (cursor := page.next_cursor) is None:
                break
        assert cursor is None
        assert other in listed
        for _ in range(2):  # a missing event is reported as damage once
            with contextlib.suppress(StorageCorrupt):
                assert await contents(service, id) == ["one"]
