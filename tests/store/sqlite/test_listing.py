"""The list of a place, which has two ways: one for few sessions, and one for many."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest

from segue.model.events import new_id
from segue.model.records import NewFork, Timestamp
from segue.store.sqlite import service as sqlite_service
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.service import LocalSessionService
from tests.factories import HERE, note, store_session, user_message


async def test_a_place_with_many_sessions_is_listed_as_one_with_few(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(16)
    time = 1_800_000_000_000
    service = await LocalSessionService.open(database, lambda: Timestamp(time))
    places: list[dict[str, Any]] = [
        {"directory": "/repo", "git_root": "/repo", "git_common_dir": "/repo/.git"},
        {"directory": "/repo/src", "git_root": "/repo", "git_common_dir": "/repo/.git"},
        {"directory": "/repo/src", "git_root": "/repo", "git_common_dir": None},
        {"directory": "/tree", "git_root": "/tree", "git_common_dir": "/repo/.git"},
        {"directory": "/repo"},
        {"directory": "/elsewhere"},
    ]
    for number in range(120):
        time += random.randrange(3)
        event = user_message() if random.random() < 0.7 else note()
        here = random.choice(places if number > 40 else places[5:])
        here = here | {"source": random.choice([None, "codex"])}
        id = await store_session(service, event, **here)
        if random.random() < 0.3:
            await service.archive(id)
        if random.random() < 0.1:
            fork = await service.fork_session(id, NewFork(id=new_id()))
            await service.delete(random.choice([id, fork.id]))

    async def listed(**filters: Any) -> list[str]:
        seen: list[str] = []
        cursor = None
        while cursor is not None or not seen:
            page = await service.list_sessions(**filters, cursor=cursor, limit=5)
            seen += [session.id for session in page.sessions]
            cursor = page.next_cursor
        return seen

    every_filter = [
        {"archived": archived, "sources": sources, **place, "aliases": aliases, "order": order}
        for order in ("updated", "lastPrompt")
        for archived in (False, True)
        for sources in (None, ["codex"])
        for place in places
        for aliases in ((), ("/tree", "/repo", "/repo/src"))
    ]
    few = [await listed(**filters) for filters in every_filter]
    assert len(set(map(len, few))) > 5
    for looked_at in (7, 50, 1_000):
        monkeypatch.setattr(sqlite_service, "_FEW", 2)
        monkeypatch.setattr(sqlite_service, "_LOOKED_AT", looked_at)
        assert [await listed(**filters) for filters in every_filter] == few
    await service.close()


STATEMENTS = {
    (name, order): sql
    for name, statements in vars(sqlite_service).items()
    if isinstance(statements, dict) and statements.keys() == {"updated", "lastPrompt"}
    for order, sql in statements.items()
    if isinstance(sql, str)
}


@pytest.mark.parametrize(("name", "order"), STATEMENTS)
async def test_a_page_is_read_along_an_index(
    database: Path, name: str, order: Literal["updated", "lastPrompt"]
) -> None:
    service = await LocalSessionService.open(database)
    sql = STATEMENTS[name, order]
    values = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    rows = await service._connection.read(
        lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    )
    await service.close()
    details = [row["detail"] for row in rows]
    index = {"updated": "sessions_by_update", "lastPrompt": "sessions_by_prompt"}[order]
    assert not [each for each in details if each.startswith("SCAN sessions")], details
    if name == "_LIST_HERE":  # it sorts the sessions of one directory
        assert not [each for each in details if index in each], details
    else:
        # From where the page begins, not from the newest one.
        assert [each for each in details if f"INDEX {index} (" in each and "<?" in each], details
        assert not [each for each in details if "TEMP B-TREE" in each], details


def _execute(db: Connection, sql: str, values: tuple[Any, ...]) -> None:
    db.execute(sql, values)


def _call_back(db: Connection, step: Callable[[], int] | None) -> None:
    db.set_progress_handler(step, 10)


@pytest.mark.parametrize("place", [{}, {"directory": HERE}], ids=["everywhere", "here"])
async def test_a_page_by_the_last_prompt_costs_the_same_however_many_sessions_there_are(
    database: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]
) -> None:
    monkeypatch.setattr(sqlite_service, "_LOOKED_AT", 1_000)
    service = await LocalSessionService.open(database)
    id = await store_session(service, user_message())
    copy = """
    INSERT INTO sessions (id, directory, model_visible, created_at, updated_at, last_prompt_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT lower(hex(randomblob(16))), directory, 1, created_at, updated_at,
        iif(i % 3, last_prompt_at + i, NULL)
    FROM sessions, n WHERE id = ?
    """
    costs: list[list[int]] = []
    for count in (2_000, 20_000):
        await service._connection.read(partial(_execute, sql=copy, values=(count, id)))
        cursor, each = None, []
        for _ in range(3):
            steps = 0

            def step() -> int:
                nonlocal steps
                steps += 1
                return 0

            await service._connection.read(partial(_call_back, step=step))
            page = await service.list_sessions(**place, order="lastPrompt", cursor=cursor, limit=50)
            await service._connection.read(partial(_call_back, step=None))
            assert len(page.sessions) == 50
            cursor = page.next_cursor
            each.append(steps)
        costs.append(each)
    await service.close()
    assert max(costs[1]) <= 1.1 * min(costs[0]), costs


async def test_a_page_of_a_source_ends_where_enough_sessions_were_looked_at(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await LocalSessionService.open(database, lambda: Timestamp(1_800_000_000_000))
    monkeypatch.setattr(sqlite_service, "_LOOKED_AT", 4)
    rare = [await store_session(service, source="codex") for _ in range(2)]
    for _ in range(10):
        await store_session(service)
    sizes, seen = [], []
    page = await service.list_sessions(sources=["codex"], limit=2)
    while True:
        sizes.append(len(page.sessions))
        seen += [each.id for each in page.sessions]
        if page.next_cursor is None:
            break
        page = await service.list_sessions(sources=["codex"], limit=2, cursor=page.next_cursor)
    assert seen == rare[::-1]
    assert sizes == [0, 0, 2]
    await service.close()
