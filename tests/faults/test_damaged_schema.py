"""A flipped bit in the SQL of the schema, while every row is intact."""

from pathlib import Path

import pytest

from segue.model.errors import StorageCorrupt
from segue.store.sqlite.service import LocalSessionService
from tests.factories import store_session, user_message


async def damage(database: Path, good: bytes, bad: bytes) -> str:
    """Store a session, close the store and flip a bit; return the session's id."""
    service = await LocalSessionService.open(database)
    session_id = await store_session(service, user_message("kept"))
    await service.close()
    content = database.read_bytes()
    assert content.count(good) == 1
    database.write_bytes(content.replace(good, bad))
    return session_id


async def test_an_error_message_that_is_not_unicode_means_damage(database: Path) -> None:
    await damage(database, b"CREATE TABLE sessions", b"CREATE T\xc1BLE sessions")

    with pytest.raises(StorageCorrupt):
        await LocalSessionService.open(database)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"CREATE VIEW session_records", b"CREATE VIEV session_records"),
        (b"CREATE TABLE sessions", b"CREATE TABLD sessions"),
    ],
)
async def test_rows_survive_damage_to_the_schema(database: Path, good: bytes, bad: bytes) -> None:
    session_id = await damage(database, good, bad)

    with pytest.raises(StorageCorrupt):
        await LocalSessionService.open(database)
    service = await LocalSessionService.open(database)
    try:
        page = await service.load_events(session_id)
    finally:
        await service.close()
    assert [event.data["content"] for event in page.events] == ["kept"]
