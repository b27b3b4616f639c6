"""The contract suite of `wait_for_change`, which runs on every store of `stores.STORES`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from segue.model.records import NewFork
from segue.store.service import SessionService
from tests.factories import HERE, append_to_head, new_session, store_session, user_message
from tests.store.stores import STORES, FakeClock, StoreFactory

SOON_S = 5.0
"""Far more than the promise, which a busy machine cannot keep."""


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def services(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[SessionService, SessionService]]:
    """Yield the service that waits, and one that writes: the same, if the store has only one."""
    factory: StoreFactory = request.param
    waits = await factory.open_service(tmp_path / "data", FakeClock())
    is_shared = factory.make_admin is not None
    writes = await factory.open_service(tmp_path / "data", FakeClock()) if is_shared else waits
    yield waits, writes
    await waits.close()
    await writes.close()


async def changed(service: SessionService, seen: Any) -> Any:
    return await asyncio.wait_for(service.wait_for_change(seen), SOON_S)


async def test_every_kind_of_write_changes_the_mark(
    services: tuple[SessionService, SessionService],
) -> None:
    waits, writes = services
    mark = await changed(waits, None)
    session = await store_session(writes, user_message("one"))
    for write in (
        lambda: append_to_head(writes, session, user_message("two")),
        lambda: writes.set_title(session, "title"),
        lambda: writes.archive(session),
        lambda: writes.fork_session(session, NewFork(id="fork")),
        lambda: writes.set_metadata(session, "key", 1),
        lambda: writes.delete(session),
    ):
        mark = await changed(waits, mark)
        await write()
    assert await changed(waits, mark) != mark


async def test_a_wait_that_began_before_ends_with_the_write(
    services: tuple[SessionService, SessionService],
) -> None:
    waits, writes = services
    mark = await changed(waits, None)
    waiting = asyncio.ensure_future(waits.wait_for_change(mark))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await store_session(writes, user_message("one"))
    assert await asyncio.wait_for(waiting, SOON_S) != mark


async def test_reads_change_nothing(services: tuple[SessionService, SessionService]) -> None:
    waits, writes = services
    session = await store_session(writes, user_message("one"))
    mark = await changed(waits, None)
    await writes.list_sessions()
    await writes.load_events(session)
    await waits.get_session(session)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waits.wait_for_change(mark), 0.3)
    await waits.create_session(new_session(HERE), [user_message("x")], invocation_id="i")
    assert await changed(waits, mark) != mark
