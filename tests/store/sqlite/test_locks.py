"""The locks that writers wait for."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver
from segue.store.sqlite.locks import WriteLock
from segue.store.sqlite.service import LocalSessionService
from tests.factories import add, contents, said, store
from tests.store.sqlite.helpers import opened


async def test_a_lock_that_is_never_given_back_is_told_and_sets_nothing_aside(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    async with opened(database) as service:
        id = await store(service, said("one"))
        with closing(driver.connect(str(database))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="locked"):
                await add(service, id, said("two"))
            assert await contents(service, id) == ["one"]
        await add(service, id, said("three"))
        assert await contents(service, id) == ["one", "three"]
    assert not list(database.parent.glob("*.corrupt-*"))


async def test_a_turn_that_is_never_given_back_is_told_and_loses_nothing(
    database: Path, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    id = await store(service, said("one"))
    stopped = WriteLock(str(database))
    assert stopped.acquire(0)
    with pytest.raises(StorageUnavailable, match="locked"):
        await add(service, id, said("two"))
    assert await contents(service, id) == ["one"]
    stopped.release()
    for thread in threading.enumerate():
        if thread.name == "turn":
            thread.join()
    assert stopped.acquire(0), "whoever gave up keeps nobody from it"
    stopped.release()
    await add(service, id, said("three"))
    stopped.close()
    assert await contents(service, id) == ["one", "three"]
