"""Sessions whose events lie in what became a fork of them: they are shown, found and salvaged."""

from pathlib import Path

from segue.model.events import new_id
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.recovery.salvage import salvage
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, contents, store_session, user_message


async def set_aside(database: Path) -> tuple[str, str]:
    """Store a session, set it aside after its second event, and let it go on; return both ids."""
    service = await LocalSessionService.open(database)
    first, second = user_message("alpha"), user_message("beta")
    id = await store_session(service, first, second, user_message("gamma"))
    fork, head = new_id(), (await service.get_session(id)).head
    assert head is not None
    assert await service.set_aside(id, id=fork, at=second.id, head=head)
    await append_to_head(service, id, user_message("delta"))
    await append_to_head(service, fork, user_message("epsilon"))
    await service.close()
    return id, fork


async def test_both_have_what_they_have_in_common(database: Path) -> None:
    id, fork = await set_aside(database)
    service = await LocalSessionService.open(database)
    assert await contents(service, id) == ["alpha", "beta", "delta"]
    assert await contents(service, fork) == ["alpha", "beta", "gamma", "epsilon"]
    for words, where in (("alpha", fork), ("gamma", fork), ("delta", id)):
        (hit,) = (await service.search(words, types=["user_message"])).hits
        assert hit.session.id == where
    assert LocalStoreAdmin(database).check().problems == []
    await service.delete(fork)
    assert await contents(service, id) == ["alpha", "beta", "delta"]
    await service.delete(id)
    assert await service._connection.read(_rows) == (0, 0, 0)
    await service.close()


def _rows(db: Connection) -> tuple[int, ...]:
    tables = ("sessions", "events", "spans")
    return tuple(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


async def test_both_are_salvaged(database: Path, tmp_path: Path) -> None:
    id, fork = await set_aside(database)
    salvaged = salvage(str(database), str(tmp_path))
    service = await LocalSessionService.open(salvaged.path)
    assert await contents(service, id) == ["alpha", "beta", "delta"]
    assert await contents(service, fork) == ["alpha", "beta", "gamma", "epsilon"]
    session = await service.get_session(fork)
    assert (session.forked_from, session.fork_seq) == (id, 2)
    assert (await service.get_session(id)).fork_seq is None
    await service.close()
