"""A damaged database of any schema version is recovered, migrated and used."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.model.errors import StorageCorrupt, StorageUnavailable
from segue.store.sqlite import driver, schema
from segue.store.sqlite.service import LocalSessionService
from tests.factories import all_events, append_to_head, execute, store_session, user_message
from tests.schema_versions import COLUMNS, MIGRATIONS, VERSIONS, store_at_version
from tests.store.sqlite.helpers import PAGE_BYTES, opened, quarantined

SESSIONS, EVENTS = 20, 40
STORED = SESSIONS * EVENTS


async def fill(database: Path) -> None:
    """Store sessions whose events are on many pages."""
    async with opened(database) as service:
        for number in range(SESSIONS):
            events = (user_message(f"payload {number}-{seq} {'x' * 300}") for seq in range(EVENTS))
            await store_session(service, *events, directory=f"/project/{number}")


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a filled database of the current version."""
    database = tmp_path_factory.mktemp("current") / "data" / "sessions.db"
    asyncio.run(fill(database))
    return database


async def read_all(service: LocalSessionService) -> int:
    """Return how many undamaged events all sessions have."""
    sessions = (await service.list_sessions(limit=1_000)).sessions
    events = [event for session in sessions for event in await all_events(service, session.id)]
    return sum(not event.corrupt for event in events)


def pages(content: bytes | bytearray, kind: int, marker: bytes = b"") -> list[int]:
    """Return the offsets of the b-tree pages of a *kind* that contain *marker*."""
    return [
        offset
        for offset in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[offset] == kind and marker in content[offset : offset + PAGE_BYTES]
    ]


def wipe(content: bytearray, offset: int) -> None:
    content[offset : offset + PAGE_BYTES] = b"\xff" * PAGE_BYTES


def wipe_leaf_pages(content: bytearray) -> None:
    """Wipe a page of events that were stored before the last migration, and one of later ones."""
    for marker in (b"payload 3-20 ", b"payload 15-20 "):
        wipe(content, pages(content, 0x0D, marker)[0])


def wipe_interior_page(content: bytearray) -> None:
    """Wipe the root page of the events."""
    wipe(content, max(pages(content, 0x05), key=lambda offset: content[offset + 3 : offset + 5]))


def damage_header(content: bytearray) -> None:
    content[0] ^= 0xFF


def wipe_first_page(content: bytearray) -> None:
    content[:PAGE_BYTES] = random.Random(7).randbytes(PAGE_BYTES)


def cut(content: bytearray) -> None:
    """Remove the last tenth of the file, and a part of a page."""
    del content[len(content) * 9 // 10 - 100 :]


DAMAGE: dict[str, tuple[Callable[[bytearray], None], int]] = {
    "leaf pages wiped": (wipe_leaf_pages, 2 * 12),
    "interior page wiped": (wipe_interior_page, 0),
    "header damaged": (damage_header, 0),
    "first page wiped": (wipe_first_page, 0),
    "cut": (cut, STORED // 5),
}
"""The damage, and the maximum number of events that it may lose."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_damaged_file_of_any_schema_version_is_recovered_and_migrated(
    database: Path, current: Path, monkeypatch: pytest.MonkeyPatch, version: int, kind: str
) -> None:
    monkeypatch.setattr(schema, "COLUMNS", COLUMNS)
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    store_at_version(current, database, version)
    damage, cost = DAMAGE[kind]
    content = bytearray(database.read_bytes())
    damage(content)
    database.write_bytes(content)

    errors = []
    for _ in range(2):
        try:
            async with opened(database) as service:
                await read_all(service)
        except StorageCorrupt as error:
            errors.append(str(error))

    assert len(errors) == 1
    (kept,) = quarantined(database)
    assert kept.read_bytes() == content
    assert execute(database, "PRAGMA user_version")[0][0] == len(MIGRATIONS)
    assert execute(database, "PRAGMA integrity_check")[0][0] == "ok"
    (added,) = execute(database, "SELECT DISTINCT added_text FROM sessions")
    assert added[0] == "default"
    async with opened(database) as service:
        assert await read_all(service) >= STORED - cost
        (newest, *_) = (await service.list_sessions()).sessions
        await append_to_head(service, newest.id, user_message("goes on"))


@pytest.mark.timeout(60)
async def test_an_error_that_is_not_damage_aborts_the_salvage_and_leaves_the_file(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    content = bytearray(database.read_bytes())
    wipe_interior_page(content)
    database.write_bytes(content)
    connect = driver.connect_to_read

    def authorize(action: int, table: str | None, column: str | None, *_: object) -> int:
        denied = (action, table, column) == (sqlite3.SQLITE_READ, "events", "data")
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    def connect_with_denial(where: str) -> driver.Connection:
        db = connect(where)
        db.set_authorizer(authorize)
        return db

    async with opened(database) as service:
        with monkeypatch.context() as patch:
            patch.setattr(driver, "connect_to_read", connect_with_denial)
            with pytest.raises(StorageUnavailable, match="prohibited"):
                await read_all(service)

    assert database.read_bytes() == content
    assert quarantined(database) == []
