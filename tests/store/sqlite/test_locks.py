"""Waiting for the write lock and for SQLite's own lock."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver
from segue.store.sqlite.locks import WriteLock
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, contents, store_session, user_message
from tests.store.sqlite.helpers import opened


async def test_a_database_lock_that_is_never_released_times_out_without_quarantine(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
        with closing(driver.connect(str(database))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="locked"):
                await append_to_head(service, id, user_message("two"))
            assert await contents(service, id) == ["one"]
        await append_to_head(service, id, user_message("three"))
        assert await contents(service, id) == ["one", "three"]
    assert not list(database.parent.glob("*.corrupt-*"))


async def test_a_write_lock_that_is_never_released_times_out_and_loses_nothing(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    id = await store_session(service, user_message("one"))
    held = WriteLock(str(database))
    assert held.acquire(0)
    with pytest.raises(StorageUnavailable, match="locked"):
        await append_to_head(service, id, user_message("two"))
    assert await contents(service, id) == ["one"]
    held.release()
    for thread in threading.enumerate():
        if thread.name == "write-lock":
            thread.join()
    assert held.acquire(0), "a wait that timed out does not keep the lock"
    held.release()
    await append_to_head(service, id, user_message("three"))
    held.close()
    assert await contents(service, id) == ["one", "three"]
