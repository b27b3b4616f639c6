"""What sessions of other machines cost this machine's, and what is left of them after damage."""

from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import StorageCorrupt
from segue.model.records import Machine
from segue.store.sqlite import driver
from segue.store.sqlite import service as sqlite_service
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, execute, store_session, user_message
from tests.store.sqlite.helpers import PAGE_BYTES, opened

REPOSITORY = "github.com/org/repo"
LAPTOP = Machine(id="7d444840-9dc0-41d1-b245-5ffdce74fad2", name="LAPTOP")
HOUR = timedelta(hours=1)

COPY = """
INSERT INTO sessions (
    id, directory, machine_id, machine, remote_directory, repository, model_visible, created_at,
    updated_at
)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT lower(hex(randomblob(16))), directory, machine_id, machine, remote_directory, repository,
    model_visible, created_at, updated_at + i
FROM sessions, n WHERE id = ?
"""


def _execute(db: driver.Connection, values: tuple[int, str]) -> None:
    db.execute(COPY, values)


async def steps(service: LocalSessionService, call: Awaitable[Any]) -> int:
    """Return about how much SQLite computes for *call*."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    await service._connection.read(lambda db: db.set_progress_handler(tick, 10))
    await call
    await service._connection.read(lambda db: db.set_progress_handler(None, 0))
    return count


async def test_they_cost_the_same_however_many_they_are(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_service, "_LOOKED_AT", 1_000)
    id = await store_session(service, directory=HERE, repository=REPOSITORY, machine=LAPTOP)
    await store_session(service, directory=HERE, repository=REPOSITORY)
    costs: dict[str, list[int]] = {"find": [], "list": []}
    for count in (2_000, 20_000):
        await service._connection.read(partial(_execute, values=(count, id)))
        find = service.find_resumable(HERE, None, HOUR, repository=REPOSITORY)
        costs["find"].append(await steps(service, find))
        page = service.list_sessions(directory=HERE, repository=REPOSITORY, limit=50)
        costs["list"].append(await steps(service, page))
    for name, (few, many) in costs.items():
        assert many <= 1.1 * few + 5, (name, costs)


async def test_an_append_on_this_machine_updates_no_index_of_theirs(
    service: LocalSessionService, database: Path
) -> None:
    await store_session(service, repository=REPOSITORY)
    (there,) = execute(database, "SELECT sql FROM sqlite_master WHERE name = ?",
                       "resumable_by_repository")  # fmt: skip
    (all_of_it,) = execute(database, "SELECT sql FROM sqlite_master WHERE name = ?",
                           "sessions_by_repository")  # fmt: skip
    assert "machine_id IS NOT NULL" in there["sql"]
    assert "_at" not in all_of_it["sql"].replace("remote_at", "")


async def test_they_are_what_they_were_after_a_salvage(database: Path) -> None:
    async with opened(database) as service:
        events = [user_message("x" * 300) for _ in range(40)]
        there = await store_session(
            service, *events, directory="/there/src", git_root="/there",
            repository=REPOSITORY, worktree="topic", machine=LAPTOP,
        )  # fmt: skip
        own = await store_session(service, directory="/own", repository=REPOSITORY)
        before = {id: await service.get_session(id) for id in (there, own)}
    content = bytearray(database.read_bytes())
    content[:PAGE_BYTES] = b"\xff" * PAGE_BYTES
    database.write_bytes(content)
    with pytest.raises(StorageCorrupt):
        async with opened(database) as service:
            await service.get_session(there)
    async with opened(database) as service:
        assert {id: await service.get_session(id) for id in (there, own)} == before
        found = await service.find_resumable(
            HERE, None, HOUR, repository=REPOSITORY, worktree="topic"
        )
        assert [session.id for session in found.sessions] == [there]
