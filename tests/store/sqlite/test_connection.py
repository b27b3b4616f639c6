"""The connection: durability, group commit, cancellation, checkpoints, processes."""

import asyncio
import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from segue.store.sqlite import driver
from segue.store.sqlite.locks import OpenLock
from segue.store.sqlite.service import LocalSessionService
from tests.factories import INVOCATION, add, chain, contents, execute, said, store
from tests.store.sqlite.helpers import CANARY, end, line, opened, pragma, start, workers


async def test_the_connection_keeps_the_promises_of_the_store(service: LocalSessionService) -> None:
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }
    assert {name: await pragma(service, name) for name in expected} == expected


# Checkpoints


async def test_what_is_deleted_while_another_process_reads_is_gone_with_the_next_write(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service, said(CANARY))
    other = await store(service)
    with closing(driver.connect(str(database))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        began = time.monotonic()
        await service.delete(id)
        assert time.monotonic() - began < driver.BUSY_TIMEOUT_S / 2
        assert CANARY.encode() in Path(f"{database}-wal").read_bytes()
    await add(service, other, said())
    holding = [path for path in database.parent.iterdir() if CANARY.encode() in path.read_bytes()]
    assert holding == []


# Cancellation


async def test_cancelled_appends_leave_no_open_transaction_and_no_half_batch(
    database: Path, service: LocalSessionService
) -> None:
    chance = random.Random(7)
    loop = asyncio.get_running_loop()
    id = await store(service, said("first"))
    answered: set[str] = set()
    cancelled = 0
    for number in range(300):
        batch = [said(f"{number}-{part}") for part in range(3)]
        head = (await service.get_session(id)).head
        task = asyncio.ensure_future(
            service.append_events(id, batch, parent_id=head, invocation_id=INVOCATION)
        )
        handle = loop.call_later(chance.random() * 0.003, task.cancel)
        if chance.random() < 0.2:
            task.cancel()
        try:
            await task
            answered |= {event.id for event in batch}
        except asyncio.CancelledError:
            cancelled += 1
        handle.cancel()
    execute(database, "BEGIN IMMEDIATE")
    words = await contents(service, id)
    assert answered <= {event.id for event in await chain(service, id)}
    batches = [words[at : at + 3] for at in range(1, len(words), 3)]
    assert batches == [[f"{one[0].split('-')[0]}-{part}" for part in range(3)] for one in batches]
    assert 0 < cancelled < 300


async def test_an_opening_that_is_cancelled_leaves_nothing_open(database: Path) -> None:
    for turns in range(6):
        task = asyncio.ensure_future(LocalSessionService.open(database))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for worker in workers():
            await asyncio.to_thread(worker.join, 10)
    assert workers() == []
    open_lock = OpenLock(str(database))
    open_lock.share()
    assert open_lock.try_exclusive()
    open_lock.close()
    async with opened(database) as service:
        assert await contents(service, await store(service, said("one"))) == ["one"]


# Processes


RIVAL = """
async def main(where, session_id):
    service = await LocalSessionService.open(where)
    head = (await service.get_session(session_id)).head
    for number in range(100):
        event = Event.new("text", {"content": f"{number}"})
        while True:
            try:
                appended = await service.append_events(
                    session_id, [event], parent_id=head, invocation_id=sys.argv[1])
            except HeadMoved as moved:
                head = moved.head
            else:
                head = appended.head
                break
        print(event.id)
    await service.close()
"""


async def test_processes_that_append_to_one_session_lose_nothing(
    database: Path, service: LocalSessionService
) -> None:
    id = await store(service)
    processes = [start(RIVAL, database, id) for _ in range(4)]
    written = [end(process) for process in processes]
    order = [event.id for event in (await chain(service, id))[1:]]
    assert len(order) == 400
    for ids in map(str.split, written):
        assert len(ids) == 100
        assert [one for one in order if one in set(ids)] == ids


WRITER = """
async def main(where, session_id):
    service = await LocalSessionService.open(where)
    head = (await service.get_session(session_id)).head
    while True:
        batch = [Event.new("text", {"content": "x" * 500}) for _ in range(3)]
        appended = await service.append_events(
            session_id, batch, parent_id=head, invocation_id="killed")
        head = appended.head
        print(head, flush=True)
"""


async def test_what_was_answered_survives_the_death_of_its_writer(database: Path) -> None:
    chance = random.Random(7)
    async with opened(database) as service:
        id = await store(service)
    answered: list[str] = []
    for _ in range(20):
        writer = start(WRITER, database, id)
        answered += [line(writer) for _ in range(chance.randrange(1, 20))]
        writer.kill()
        rest, _ = writer.communicate()
        answered += [head for head in rest.split("\n")[:-1] if head]
    async with opened(database) as service:
        ids = [event.id for event in await chain(service, id)]
        assert set(answered) <= set(ids)
        assert len(ids) % 3 == 1
        assert await pragma(service, "integrity_check") == "ok"
    assert len(answered) >= 20
