"""Salvage of forks: what is left of a session is left of its forks too, in order and whole."""

import random
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from segue.model.records import NewFork
from segue.store.sqlite import driver
from segue.store.sqlite.recovery.salvage import salvage
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    all_events,
    append_to_head,
    execute,
    store_session,
    user_message,
)
from tests.store.sqlite.helpers import PAGE_BYTES, opened

EVENTS = 300


def texts(name: str, count: int) -> list[str]:
    return [f"{name} {number} {'x' * 300}" for number in range(count)]


async def fork(service: LocalSessionService, original: str, seq: int, own: list[str]) -> str:
    """Fork *original* at *seq* and append *own*; return the fork's id."""
    page = await service.load_events(original, after=seq - 1, limit=1)
    id = f"fork of {original} at {seq}"
    await service.fork_session(original, NewFork(id=id, at=page.events[0].id))
    await append_to_head(service, id, *map(user_message, own))
    return id


async def fill(database: Path) -> dict[str, list[str]]:
    """Store a tree of forks, one of a session that is deleted; return what each shows."""
    async with opened(database) as service:
        shown = {}
        for name in ("first", "deleted"):
            root = await store_session(service, *map(user_message, texts(name, EVENTS)))
            shown[root] = texts(name, EVENTS)
            for seq in (EVENTS // 2, EVENTS):
                own = texts(f"{name} fork at {seq}", 60)
                child = await fork(service, root, seq, own)
                shown[child] = shown[root][:seq] + own
                for deeper in (seq - 40, seq + 20):
                    own = texts(f"{name} fork at {seq}, {deeper}", 40)
                    grandchild = await fork(service, child, deeper, own)
                    shown[grandchild] = shown[child][:deeper] + own
        await service.delete(root)
        del shown[root]
    return shown


def root_page(database: Path, table: str) -> int:
    """Return the offset of the root page of a table."""
    with closing(driver.connect_to_read(str(database))) as db:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = db.execute(sql, (table,)).fetchone()
    return (int(page) - 1) * PAGE_BYTES


def wipe(database: Path, *offsets: int) -> None:
    with database.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"\xff" * PAGE_BYTES)


async def salvaged(database: Path, folder: Path) -> dict[str, list[str]]:
    """Salvage a database; return what each session shows, and check that the result is sound."""
    folder.mkdir()
    path = salvage(str(database), str(folder)).path
    with closing(driver.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    async with opened(Path(path)) as service:
        sessions = (await service.list_sessions(archived=True, limit=1_000)).sessions
        shown = {}
        for session in sessions:
            events = await all_events(service, session.id)
            assert [event.seq for event in events] == list(range(1, session.event_count + 1))
            assert session.head == events[-1].id
            await append_to_head(service, session.id, user_message("goes on"))
            shown[session.id] = [event.data["content"] for event in events]
        for session in sessions:
            await service.delete(session.id)
    assert execute(Path(path), "SELECT count(*) FROM events")[0][0] == 0
    return shown


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "store" / "sessions.db"


async def test_an_undamaged_database_is_salvaged_as_it_is(database: Path, tmp_path: Path) -> None:
    shown = await fill(database)
    assert await salvaged(database, tmp_path / "work") == shown


async def test_a_salvaged_session_has_the_time_of_its_last_prompt(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as service:
        id = await store_session(service, user_message("one"))
        told = await service.get_session(id)
        lost = await store_session(service, user_message("two"))
        time = (await service.get_session(lost)).last_prompt_at
    execute(database, "UPDATE sessions SET branch = 'main'")
    execute(database, "UPDATE sessions SET last_prompt_at = 1 WHERE id = ?", lost)
    (tmp_path / "work").mkdir()
    path = salvage(str(database), str(tmp_path / "work")).path
    async with opened(Path(path)) as service:
        assert await service.get_session(id) == attrs.evolve(told, branch="main")
        assert (await service.get_session(lost)).last_prompt_at == time


@pytest.mark.parametrize("seed", range(6))
async def test_a_fork_loses_the_events_that_its_strand_has_lost(
    database: Path, tmp_path: Path, seed: int
) -> None:
    shown = await fill(database)
    content = database.read_bytes()
    leaves = [
        offset
        for offset in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[offset] == 0x0D and b"xxxxxxxx" in content[offset : offset + PAGE_BYTES]
    ]
    hit = random.Random(seed).sample(leaves, 4)
    lost = {
        text
        for each in shown.values()
        for text in each
        if any(f'"{text[:40]}'.encode() in content[at : at + PAGE_BYTES] for at in hit)
    }
    wipe(database, *hit)
    left = {id: [text for text in each if text not in lost] for id, each in shown.items()}
    assert 0 < len(lost) < 100
    assert await salvaged(database, tmp_path / "work") == left


async def test_lost_spans_are_found_by_the_originals(database: Path, tmp_path: Path) -> None:
    shown = await fill(database)
    wipe(database, root_page(database, "spans"))
    found = await salvaged(database, tmp_path / "work")
    alive = {id for id in shown if "deleted" not in shown[id][0]}
    assert {id: found[id] for id in alive} == {id: shown[id] for id in alive}
    everything = {text for each in shown.values() for text in each}
    assert {text for each in found.values() for text in each} == everything


async def test_lost_rows_of_sessions_lose_no_event(database: Path, tmp_path: Path) -> None:
    shown = await fill(database)
    wipe(database, root_page(database, "sessions"))
    found = await salvaged(database, tmp_path / "work")
    everything = {text for each in shown.values() for text in each}
    assert {text for each in found.values() for text in each} == everything
