"""Durability, group commit, checkpoints and cancellation of one connection, and of several."""

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from segue.model.errors import StorageUnavailable
from segue.store.sqlite import driver
from segue.store.sqlite.commit import Transaction
from segue.store.sqlite.locks import OpenLock, WriteLock
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    INVOCATION,
    all_events,
    append_to_head,
    contents,
    execute,
    queued_together,
    store_session,
    traced_statements,
    user_message,
)
from tests.store.sqlite.helpers import (
    CANARY,
    connection_threads,
    opened,
    pragma,
    read_line,
    start_process,
    wait_for_exit,
)

TRANSACTION = {"BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"}


async def test_the_connection_has_the_pragmas_for_durability_and_privacy(
    service: LocalSessionService,
) -> None:
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }
    assert {name: await pragma(service, name) for name in expected} == expected


# Group commit


def insert(key: str) -> Callable[[Transaction], str]:
    """Return a write that stores *key*; run again after its commit, it raises an error."""

    def write(transaction: Transaction) -> str:
        sql = "INSERT INTO metadata (session, key, value) SELECT number, ?, 'null' FROM sessions"
        transaction.db.execute(sql, (key,))
        return key

    return write


def stored_keys(database: Path) -> list[str]:
    return [row["key"] for row in execute(database, "SELECT key FROM metadata ORDER BY key")]


def fail_in_sqlite(transaction: Transaction) -> None:
    insert("undone")(transaction)
    transaction.db.execute("SELECT zeroblob(2000000000)")


def end_transaction(transaction: Transaction) -> None:
    """Fail without a change of its own, and make SQLite roll the whole transaction back."""
    transaction.db.execute("INSERT OR ROLLBACK INTO metadata SELECT * FROM metadata")


def fail_in_python(transaction: Transaction) -> None:
    insert("undone")(transaction)
    raise ValueError("after a change")


def fail_at_commit(transaction: Transaction) -> None:
    transaction.db.execute("PRAGMA defer_foreign_keys = ON")
    transaction.db.execute("INSERT INTO metadata (session, key, value) VALUES (77, 'undone', '1')")


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (fail_in_sqlite, StorageUnavailable),
        (end_transaction, StorageUnavailable),
        (fail_in_python, ValueError),
        (fail_at_commit, StorageUnavailable),
    ],
)
async def test_a_group_rolled_back_for_one_write_stores_the_others(
    database: Path,
    service: LocalSessionService,
    fail: Callable[[Transaction], None],
    error: type[Exception],
) -> None:
    first, second = user_message("one"), user_message("two")
    id = await store_session(service, first)
    write = service._connection.write
    async with traced_statements(service) as statements:
        before, appended, failed, after = await queued_together(
            service,
            write(insert("before")),
            service.append_events(id, [second], parent_id=first.id, invocation_id=INVOCATION),
            write(fail),
            write(insert("later")),
        )
    assert (before, appended.head, after) == ("before", second.id, "later")
    assert type(failed) is error
    assert stored_keys(database) == ["before", "later"]
    assert await contents(service, id) == ["one", "two"]
    begun = statements.count("BEGIN IMMEDIATE")
    assert begun == 1 + 4, "one transaction for the group, then one for each write"


async def test_a_write_that_is_refused_before_a_change_leaves_one_commit(
    database: Path, service: LocalSessionService
) -> None:
    await store_session(service)

    def refuse(transaction: Transaction) -> None:
        raise ValueError("before a change")

    write = service._connection.write
    async with traced_statements(service) as statements:
        before, refused, after = await queued_together(
            service, write(insert("before")), write(refuse), write(insert("later"))
        )
    assert (before, after) == ("before", "later")
    assert type(refused) is ValueError
    assert stored_keys(database) == ["before", "later"]
    assert [each for each in statements if each in TRANSACTION] == ["BEGIN IMMEDIATE", "COMMIT"]


@pytest.mark.parametrize("holder", ["of the write lock", "of SQLite's lock"])
async def test_a_group_that_cannot_lock_is_refused_once(
    database: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.5)
    async with opened(database) as service:
        await store_session(service)
        write = service._connection.write
        with contextlib.ExitStack() as held:
            if holder == "of the write lock":
                lock = held.enter_context(closing(WriteLock(str(database))))
                assert lock.acquire(0)
            else:
                other = held.enter_context(closing(driver.connect(str(database))))
                other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            outcomes = await queued_together(service, *(write(insert(key)) for key in "abcdefgh"))
            elapsed_s = time.monotonic() - began
        assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 8
        assert elapsed_s < 2, "waiting once for each of the eight would take four seconds"
        assert stored_keys(database) == []
        assert await write(insert("later")) == "later"


async def deny_commits(service: LocalSessionService, count: int) -> None:
    """Make the next *count* commits fail."""
    left = count

    def authorize(action: int, operation: str | None, *_: object) -> int:
        nonlocal left
        if (action, operation) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") and left:
            left -= 1
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    await service._connection.read(lambda db: db.set_authorizer(authorize))


async def test_the_writes_of_a_group_whose_commit_fails_are_stored_one_by_one(
    database: Path, service: LocalSessionService
) -> None:
    await store_session(service)
    await deny_commits(service, 1)
    async with traced_statements(service) as statements:
        writes = (service._connection.write(insert(key)) for key in "abc")
        outcomes = await queued_together(service, *writes)
    assert outcomes == ["a", "b", "c"]
    assert stored_keys(database) == ["a", "b", "c"]
    rest = 3 * ["BEGIN IMMEDIATE", "COMMIT"]
    assert [each for each in statements if each in TRANSACTION] == [
        "BEGIN IMMEDIATE", "ROLLBACK", *rest,
    ]  # fmt: skip


async def test_commits_that_all_fail_store_nothing(
    database: Path, service: LocalSessionService
) -> None:
    await store_session(service)
    await deny_commits(service, 4)
    writes = (service._connection.write(insert(key)) for key in "abc")
    outcomes = await queued_together(service, *writes)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 3
    assert stored_keys(database) == []
    assert await service._connection.write(insert("later")) == "later"
    assert stored_keys(database) == ["later"]


# Checkpoints


async def test_a_truncation_that_a_reader_blocks_is_retried_after_the_next_write(
    database: Path, service: LocalSessionService
) -> None:
    id = await store_session(service, user_message(CANARY))
    other = await store_session(service)
    with closing(driver.connect(str(database))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        began = time.monotonic()
        await service.delete(id)
        assert time.monotonic() - began < driver.BUSY_TIMEOUT_S / 2
        assert CANARY.encode() in Path(f"{database}-wal").read_bytes()
    await append_to_head(service, other, user_message())
    holding = [path for path in database.parent.iterdir() if CANARY.encode() in path.read_bytes()]
    assert holding == []


# Cancellation


async def test_cancelled_appends_leave_no_open_transaction_and_no_partial_batch(
    database: Path, service: LocalSessionService
) -> None:
    rng = random.Random(7)
    loop = asyncio.get_running_loop()
    id = await store_session(service, user_message("first"))
    acknowledged: set[str] = set()
    cancelled = 0
    for number in range(300):
        batch = [user_message(f"{number}-{part}") for part in range(3)]
        head = (await service.get_session(id)).head
        task = asyncio.ensure_future(
            service.append_events(id, batch, parent_id=head, invocation_id=INVOCATION)
        )
        handle = loop.call_later(rng.random() * 0.003, task.cancel)
        if rng.random() < 0.2:
            task.cancel()
        try:
            await task
            acknowledged |= {event.id for event in batch}
        except asyncio.CancelledError:
            cancelled += 1
        handle.cancel()
    execute(database, "BEGIN IMMEDIATE")
    words = await contents(service, id)
    assert acknowledged <= {event.id for event in await all_events(service, id)}
    batches = [words[index : index + 3] for index in range(1, len(words), 3)]
    assert batches == [[f"{one[0].split('-')[0]}-{part}" for part in range(3)] for one in batches]
    assert 0 < cancelled < 300


async def test_a_cancelled_open_leaves_no_thread_and_no_lock(database: Path) -> None:
    async with opened(database):
        pass
    for delay_ms in (0, 0.1, 0.2, 0.5, 1, 2):
        task = asyncio.ensure_future(LocalSessionService.open(database))
        await asyncio.sleep(delay_ms / 1_000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close()  # it was as fast as that
        for worker in connection_threads():
            await asyncio.to_thread(worker.join, 10)
    assert connection_threads() == []
    open_lock = OpenLock(str(database))
    open_lock.share()
    assert open_lock.try_exclusive()
    open_lock.close()
    async with opened(database) as service:
        assert await contents(service, await store_session(service, user_message("one"))) == ["one"]


# Several processes


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


async def test_concurrent_processes_that_append_to_one_session_lose_nothing(
    database: Path, service: LocalSessionService
) -> None:
    id = await store_session(service)
    processes = [start_process(RIVAL, database, id) for _ in range(4)]
    written = [wait_for_exit(process) for process in processes]
    order = [event.id for event in (await all_events(service, id))[1:]]
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


async def test_acknowledged_events_survive_a_killed_writer(database: Path) -> None:
    rng = random.Random(7)
    async with opened(database) as service:
        id = await store_session(service)
    acknowledged: list[str] = []
    for _ in range(20):
        writer = start_process(WRITER, database, id)
        acknowledged += [read_line(writer) for _ in range(rng.randrange(1, 20))]
        writer.kill()
        rest, _ = writer.communicate()
        acknowledged += [head for head in rest.split("\n")[:-1] if head]
    async with opened(database) as service:
        ids = [event.id for event in await all_events(service, id)]
        assert set(acknowledged) <= set(ids)
        assert len(ids) % 3 == 1
        assert await pragma(service, "integrity_check") == "ok"
    assert len(acknowledged) >= 20
