"""How many bytes sessions hold: what pruning would free, and what `segue doctor --sizes` sums."""

from datetime import timedelta
from pathlib import Path

import pytest

from segue.model.events import new_id
from segue.model.records import NewFork
from segue.store.sqlite import schema
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import all_events, append_to_head, contents, execute, store_session
from tests.factories import user_message as message
from tests.schema_versions import MIGRATIONS, VERSIONS, store_at_version

ALL = timedelta(0)


async def fork_of(service: LocalSessionService, session_id: str, seq: int) -> str:
    """Fork a session at its event *seq*; return the fork's id."""
    at = (await all_events(service, session_id))[seq - 1].id
    return (await service.fork_session(session_id, NewFork(id=new_id(), at=at))).id


async def family(service: LocalSessionService) -> list[str]:
    """Store a session, a fork of it, a fork of that, and another fork; return their ids."""
    first = await store_session(service, *(message(f"first {number}") for number in range(6)))
    second = await fork_of(service, first, 4)
    await append_to_head(service, second, *(message(f"second {number}" * 9) for number in range(6)))
    third = await fork_of(service, second, 7)
    await append_to_head(service, third, message("third" * 99))
    return [first, second, third, await fork_of(service, first, 2)]


def stored_bytes(database: Path) -> int:
    (row,) = execute(database, "SELECT total(length(data)) AS size FROM events")
    return int(row["size"])


@pytest.mark.parametrize("taken", [range(4), (0,), (1, 2), (0, 1), (0, 1, 3), (2, 3), (3, 2, 1)])
async def test_a_dry_run_says_what_is_freed(
    service: LocalSessionService, database: Path, taken: tuple[int, ...]
) -> None:
    ids = await family(service)
    for number in taken:
        await service.archive(ids[number])
    before = stored_bytes(database)
    shown = await service.prune(ALL, dry_run=True)
    assert stored_bytes(database) == before
    pruned = await service.prune(ALL)
    assert [each.session.id for each in pruned.taken] == [each.session.id for each in shown.taken]
    assert sum(each.size for each in pruned.taken) == before - stored_bytes(database)
    assert [each.size for each in pruned.taken] == [each.size for each in shown.taken]
    for number in set(range(4)) - set(taken):
        assert (await contents(service, ids[number]))[0] == "first 0"


async def test_prune_takes_only_those_that_were_chosen(service: LocalSessionService) -> None:
    ids = [await store_session(service) for _ in range(3)]
    for each in ids[:2]:
        await service.archive(each)
    pruned = await service.prune(ALL, among=ids[1:])
    assert [each.session.id for each in pruned.taken] == [ids[1]]
    assert (pruned.live, pruned.used, pruned.recent) == (1, 0, 0)


@pytest.mark.parametrize("deleted", [(), (0,), (0, 1), (1,), (0, 3), (0, 1, 2, 3)])
async def test_every_event_counts_once(
    service: LocalSessionService, database: Path, deleted: tuple[int, ...]
) -> None:
    ids = await family(service)
    for number in deleted:
        await service.delete(ids[number])
    report = LocalStoreAdmin(database).session_sizes()
    assert sum(each.bytes for each in report.sessions) == stored_bytes(database)
    assert {each.id for each in report.sessions} == {ids[n] for n in {0, 1, 2, 3} - set(deleted)}
    assert [each.bytes for each in report.sessions] == sorted(
        (each.bytes for each in report.sessions), reverse=True
    )
    assert all(0 <= each.shared <= each.bytes for each in report.sessions)
    assert report.file_bytes > report.free_bytes >= 0


async def test_what_several_sessions_have_is_said(
    service: LocalSessionService, database: Path
) -> None:
    first, second, third, fourth = await family(service)
    sizes = {each.id: each for each in LocalStoreAdmin(database).session_sizes().sessions}
    data = [len(f'{{"content":"first {number}"}}') for number in range(6)]
    assert (sizes[first].bytes, sizes[first].shared) == (sum(data), sum(data[:4]))
    assert sizes[second].shared == 3 * len(f'{{"content":"{"second 0" * 9}"}}')
    assert (sizes[third].shared, sizes[fourth].bytes) == (0, 0)
    for each in (first, second):
        await service.delete(each)
    sizes = {each.id: each for each in LocalStoreAdmin(database).session_sizes().sessions}
    assert sizes[third].shared == sum(data[:2])
    assert (sizes[fourth].bytes, sizes[fourth].shared) == (0, 0)
    assert sizes[third].events == 8


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_store_of_any_version_is_measured(
    service: LocalSessionService,
    database: Path,
    tmp_path: Path,
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [await store_session(service), await store_session(service, message(), message())]
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    older = tmp_path / "older" / "sessions.db"
    store_at_version(database, older, version)
    sizes = LocalStoreAdmin(older).session_sizes().sessions
    assert [(each.id, each.events) for each in sizes] == [(ids[1], 2), (ids[0], 1)]
    assert sum(each.bytes for each in sizes) == stored_bytes(database)
