"""The costs of requests, in counts that are the same on every machine instead of times.

The numbers of statements, thread hops, loop iterations and writes must not rise unnoticed. A count
that rises for a good reason is changed here, with the reason in the commit.
"""

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segue.lsp.framing.reader import FrameParser, FrameReader
from segue.lsp.framing.writer import FrameWriter
from segue.lsp.server import SessionServer
from segue.lsp.transport import SessionProtocol
from segue.model.events import Event, new_id
from segue.model.records import NewFork
from segue.sessions.window import Window
from segue.store.service import SessionService
from segue.store.sqlite import append as sqlite_append
from segue.store.sqlite import driver, queries, spans
from segue.store.sqlite import service as sqlite_service
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    append_to_head,
    queued_together,
    store_session,
    traced_statements,
    user_message,
    workspace_at,
)

ONE_APPEND = [
    "BEGIN IMMEDIATE",
    "SELECT number, event_count, head, ( SELECT invocations.number FROM invocations",
    "SELECT key, type, data FROM events",
    "INSERT INTO events",
    "INSERT INTO events",  # its trigger: SQLite traces it as the same statement
    "UPDATE sessions",
    "COMMIT",
]


@pytest.fixture
def window(service: LocalSessionService) -> Window:
    async def open_service() -> SessionService:
        return service

    return Window(open_service, 60)


class Hops:
    """Counts the thread hops: calls that are queued for the database's thread."""

    def __init__(self, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        connection: Any = service._connection
        enqueue = connection._enqueue

        def counting(*work: Any) -> None:
            self._count += 1
            enqueue(*work)

        monkeypatch.setattr(connection, "_enqueue", counting)

    async def of(self, request: Awaitable[Any]) -> int:
        """Return the number of hops that *request* takes."""
        before = self._count
        await request
        return self._count - before


@pytest.fixture
def hops(service: LocalSessionService, monkeypatch: pytest.MonkeyPatch) -> Hops:
    return Hops(service, monkeypatch)


# -- the store ---------------------------------------------------------------------------------


async def test_the_statements_of_an_append(service: LocalSessionService, window: Window) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message()])
    async with traced_statements(service) as statements:
        await window.append(id, [user_message()])
    assert statements == ONE_APPEND


async def test_the_statements_of_queued_appends(
    service: LocalSessionService, window: Window
) -> None:
    id = (await window.open(workspace_at())).session.id
    await window.append(id, [user_message()])
    async with traced_statements(service) as statements:
        await queued_together(service, *(window.append(id, [user_message()]) for _ in range(64)))
    begin, row, *append, update, commit = ONE_APPEND
    assert statements == [begin, row, *64 * append, update, commit]


async def test_the_title_is_computed_once(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    titled: list[Event] = []

    def title(event: Event) -> str | None:
        titled.append(event)
        return None if len(titled) == 1 else "title"

    monkeypatch.setattr(sqlite_append, "title", title)
    id = await store_session(service, user_message())
    for _ in range(5):
        await append_to_head(service, id, user_message())
    assert len(titled) == 2, "until there is one"


async def test_the_thread_hops_of_each_request(
    service: LocalSessionService, window: Window, hops: Hops
) -> None:
    id = await store_session(service, user_message())
    assert await hops.of(window.open(workspace_at(), session_id=id)) == 1
    assert await hops.of(window.append(id, [user_message()])) == 1
    assert await hops.of(window.events(id, after=0, before=None, limit=10)) == 1
    assert (
        await hops.of(window.list_sessions(workspace_at(), archived=False, cursor=None, limit=10))
        == 1
    )
    assert await hops.of(window.find_resumable(workspace_at())) == 1
    await window.close_session(id)
    assert await hops.of(window.open(workspace_at())) == 2, "one finds the session, one reads it"
    assert await hops.of(window.open(workspace_at(), mode="new")) == 0
    assert await hops.of(window.set_metadata(id, "key", 1)) == 1
    assert await hops.of(window.get_metadata(id, "key")) == 1


async def test_no_append_checkpoints(
    service: LocalSessionService, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await store_session(service, user_message())
    checkpoints: list[int] = []
    monkeypatch.setattr(
        driver, "checkpoint_passive", lambda db, longest: checkpoints.append(longest)
    )
    before = database.stat().st_mtime_ns
    for _ in range(300):
        await append_to_head(service, id, user_message("x" * 500))
    assert database.stat().st_mtime_ns == before, "a commit wrote to the database itself"
    await service.get_session(id)
    assert len(checkpoints) == 6, "the length of the log is checked every 50 appends"


async def test_a_long_log_is_checkpointed_between_two_appends(
    service: LocalSessionService, database: Path
) -> None:
    id = await store_session(service, user_message())
    for _ in range(50):
        await append_to_head(service, id, user_message("x" * 100_000))
    await service.get_session(id)
    assert database.stat().st_size > 4_000_000


async def plan(service: LocalSessionService, sql: str) -> list[str]:
    named = set(re.findall(r":(\w+)", sql))
    values: Any = dict.fromkeys(named, 1) if named else [1] * len(set(re.findall(r"\?\d+", sql)))
    values = values or [1] * sql.count("?")
    rows = await service._connection.read(
        lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    )
    return [row["detail"] for row in rows]


TABLES = ("sessions", "events", "invocations", "metadata", "spans")
STATEMENTS = {
    name: sql
    for module in (sqlite_append, sqlite_service, queries, spans)
    for name, sql in vars(module).items()
    if name.isupper() and isinstance(sql, str) and sql.lstrip().startswith(("SELECT", "UPDATE"))
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_statement_reads_a_whole_table_or_sorts(
    service: LocalSessionService, name: str
) -> None:
    details = await plan(service, STATEMENTS[name])
    # A scan in the order of an index is bounded by the LIMIT of the page.
    whole = [f"SCAN {table}" for table in TABLES]
    assert not [detail for detail in details if detail in whole], details
    if name != "_LIST_HERE":  # it sorts the sessions of one directory
        assert not [detail for detail in details if "TEMP B-TREE" in detail], details


class Costs:
    """The statements that a service runs, in full, and about how much SQLite computes for them."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.steps = 0
        """Units of ten instructions of SQLite's virtual machine."""

    def count(self) -> int:
        self.steps += 1
        return 0


async def costs_of(service: LocalSessionService, call: Awaitable[Any]) -> Costs:
    """Return what *call* costs."""
    costs = Costs()

    def begin(db: driver.Connection) -> None:
        db.set_trace_callback(costs.statements.append)
        db.set_progress_handler(costs.count, 10)

    def end(db: driver.Connection) -> None:
        db.set_trace_callback(None)
        db.set_progress_handler(None, 0)

    await service._connection.read(begin)
    await call
    await service._connection.read(end)
    return costs


async def a_session_of(service: LocalSessionService, length: int) -> str:
    return await store_session(service, *(user_message(str(number)) for number in range(length)))


async def forks_of(service: LocalSessionService, length: int) -> dict[str, Costs]:
    """Return what it costs to fork a session of this *length*, and to use and delete the fork."""
    events = [user_message(str(number)) for number in range(length)]
    id = await store_session(service, *events)
    fork, rewound, again = (new_id() for _ in range(3))
    late = user_message("late")

    async def append(session_id: str, event: Event, parent: Event) -> None:
        await service.append_events(
            session_id, [event], parent_id=parent.id, invocation_id="another"
        )

    calls = {
        "fork": service.fork_session(id, NewFork(id=fork)),
        "append": append(fork, late, events[-1]),
        "retry": append(fork, events[1], late),
        "page": service.load_events(fork, before=length, limit=5),
        "open": service.open_session(fork, 5),
        "fork of the fork": service.fork_session(fork, NewFork(id=again)),
        "rewind": service.fork_session(
            fork, NewFork(id=rewound, at=events[-2].id, archive_original=True)
        ),
        "title": service.set_title(fork, "Given"),
        "delete a fork": service.delete(rewound),
        "make a stub": service.delete(id),
        "make another stub": service.delete(fork),
    }
    return {name: await costs_of(service, call) for name, call in calls.items()}


def without_values(statements: Sequence[str]) -> list[str]:
    return [re.sub(r"'[^']*'|\b\d+\b", "?", statement) for statement in statements]


async def test_a_fork_costs_the_same_whatever_its_length(service: LocalSessionService) -> None:
    short, long = await forks_of(service, 10), await forks_of(service, 10_000)
    for name, costs in short.items():
        assert without_values(long[name].statements) == without_values(costs.statements), name
        if name == "make a stub":  # all that is kept is read: whose invocations are still needed?
            costs = await costs_of(service, service.delete(await a_session_of(service, 10_000)))
        assert long[name].steps <= 1.5 * costs.steps + 20, name
    inserts = [each for each in long["fork"].statements if each.lstrip().startswith("INSERT")]
    assert len(inserts) == 2, "its row and one span"


async def test_a_fork_costs_the_same_however_many_others_there_are(
    service: LocalSessionService,
) -> None:
    alone = await forks_of(service, 10)
    for _ in range(200):
        other = await store_session(service, user_message("1"), user_message("2"))
        await service.fork_session(other, NewFork(id=new_id()))
    for name, costs in (await forks_of(service, 10)).items():
        assert costs.steps <= 1.5 * alone[name].steps + 20, name


async def test_no_statement_of_a_fork_reads_a_whole_table(service: LocalSessionService) -> None:
    costs = await forks_of(service, 10)
    statements = {sql.strip() for each in costs.values() for sql in each.statements}
    kinds = ("SELECT", "INSERT INTO sessions", "UPDATE", "DELETE")
    plans = {sql: await plan(service, sql) for sql in statements if sql.startswith(kinds)}
    assert len(plans) > 20
    for sql, details in plans.items():
        scans = [detail for detail in details if detail.startswith("SCAN ")]
        bounded = {"SCAN CONSTANT ROW", "SCAN (subquery-1)"}  # the latter ends at a LIMIT
        assert [each for each in scans if each not in bounded] == [], sql
        assert "USE TEMP B-TREE" not in " ".join(details), sql


async def test_a_page_costs_the_same_however_many_sessions_a_place_has(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_service, "_LOOKED_AT", 1_000)
    place: dict[str, Any] = {"directory": "/repo/src", "git_root": "/repo"}
    id = await store_session(service, user_message(), **place)
    copy = """
    INSERT INTO sessions (id, directory, git_root, model_visible, created_at, updated_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT lower(hex(randomblob(16))), directory, git_root, model_visible, created_at,
        updated_at + i
    FROM sessions, n WHERE id = ?
    """
    costs = []
    for count in (2_000, 20_000):
        await service._connection.read(partial(_execute, sql=copy, values=(count, id)))
        each = await costs_of(service, service.list_sessions(**place, limit=50))
        costs.append(each.steps)
    assert costs[1] <= 1.1 * costs[0], costs
    costs = []
    for count in (4_000, 60_000):  # all of the place are older than what is looked at
        move = "UPDATE sessions SET directory = ?, updated_at = 1 WHERE directory = ?"
        values = ("/other", "/repo/src")
        await service._connection.read(partial(_execute, sql=move, values=values))
        newer = await store_session(service, user_message())
        await service._connection.read(partial(_execute, sql=copy, values=(count, newer)))
        each = await costs_of(service, service.list_sessions(directory="/other", limit=50))
        costs.append(each.steps)
    assert costs[1] <= 1.1 * costs[0], costs


def _execute(db: driver.Connection, sql: str, values: tuple[Any, ...]) -> None:
    db.execute(sql, values)


async def test_no_statement_is_prepared_twice(service: LocalSessionService) -> None:
    id = await store_session(service, user_message())
    prepared: list[str] = []

    def note(action: int, *names: str | None) -> int:
        prepared.append(" ".join(filter(None, names)))
        return 0

    async def everything() -> None:
        await append_to_head(service, id, user_message())
        await service.open_session(id, 10)
        await service.load_events(id, after=0, limit=10)
        await service.find_resumable(workspace_at().directory, None, timedelta(days=1))
        for directory in (None, workspace_at().directory):
            for archived in (False, True):
                await service.list_sessions(directory=directory, archived=archived, limit=10)
        await service.set_metadata(id, new_id(), 1)  # another one: to replace a value erases it
        await service.get_metadata(id, "key")
        fork = (await service.fork_session(id, NewFork(id=new_id()))).id
        await append_to_head(service, fork, user_message())
        await service.open_session(fork, 10)

    await service._connection.read(lambda db: db.set_authorizer(note))
    await everything()
    assert prepared, "SQLite calls the authorizer when it prepares a statement"
    prepared.clear()
    await everything()
    assert prepared == []


# -- the wire ----------------------------------------------------------------------------------


class Wire:
    """A server on two pipes in this process, and the loop iterations and writes of a response."""

    def __init__(self, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop: Any = asyncio.get_running_loop()
        stdin, self._requests = os.pipe()
        self._responses, stdout = os.pipe()
        self.iterations = 0
        self.writes = 0
        self._ids = iter(range(1_000_000))
        self.reader, self.writer = FrameReader(stdin), FrameWriter(stdout)
        server = SessionServer(
            window,
            lambda server: SessionProtocol(
                server,
                self.reader,
                self.writer,
                database=None,
                watch_process=lambda _: None,
            ),
        )
        self._count((stdout, self.writer._pipe), monkeypatch)
        server.protocol.start()
        self._descriptors = (stdin, self._requests, self._responses, stdout)

    def _count(self, stdout: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        run_once, write = self._loop._run_once, os.write

        def counting_iterations() -> None:
            self.iterations += 1
            run_once()

        def counting_writes(fd: int, data: bytes) -> int:
            self.writes += fd in stdout
            return write(fd, data)

        monkeypatch.setattr(self._loop, "_run_once", counting_iterations)
        monkeypatch.setattr(os, "write", counting_writes)

    def send(self, *requests: tuple[str, Any]) -> None:
        """Send requests in one write, and reset the counts."""
        frames = []
        for method, params in requests:
            message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
            body = json.dumps(message).encode()
            frames.append(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        os.write(self._requests, b"".join(frames))
        self.iterations = self.writes = 0

    async def receive(self, count: int) -> list[Any]:
        """Return *count* responses, read by a thread so that waiting takes no iteration."""
        return await asyncio.to_thread(self._read, count)

    def _read(self, count: int) -> list[Any]:
        parser = FrameParser()
        found: list[Any] = []
        while len(found) < count:
            found += parser.feed(os.read(self._responses, 1 << 20))
        return [json.loads(body) for body in found]

    def close(self) -> None:
        """Close both ends of the pipes."""
        self.reader.close()
        self.writer.close(1.0)
        for fd in self._descriptors:
            os.close(fd)


@pytest.fixture
async def wire(window: Window, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    if sys.platform != "linux":
        pytest.skip("elsewhere a thread writes to a pipe")
    made = Wire(window, monkeypatch)
    made.send(("initialize", {"capabilities": {}}))
    await made.receive(1)
    yield made
    made.close()


def append_request(session: str) -> tuple[str, Any]:
    event = {"type": "text", "data": {"content": "x" * 100}}
    return "session/append", {"sessionId": session, "events": [event]}


async def open_session(wire: Wire, tmp_path: Path) -> str:
    wire.send(("session/open", {"workspace": str(tmp_path), "mode": "new"}))
    (response,) = await wire.receive(1)
    session = str(response["result"]["session"]["sessionId"])
    wire.send(append_request(session))
    await wire.receive(1)
    return session


async def test_a_small_response_is_one_write_and_waits_for_no_thread(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await open_session(wire, tmp_path)
    queued: list[bytes] = []
    monkeypatch.setattr(wire.writer, "_queue", RecordingQueue(queued))
    wire.send(append_request(session))
    await wire.receive(1)
    assert (wire.writes, queued) == (1, [])


class RecordingQueue(list[bytes]):
    """Replaces the queue of the writer's thread."""

    def __init__(self, queued: list[bytes]) -> None:
        super().__init__()
        self._queued = queued

    def append(self, data: bytes) -> None:
        self._queued.append(data)


async def test_the_event_loop_iterations_of_an_append(wire: Wire, tmp_path: Path) -> None:
    session = await open_session(wire, tmp_path)
    iterations = []
    for _ in range(5):
        wire.send(append_request(session))
        await wire.receive(1)
        iterations.append(wire.iterations)
    # Read it, start its task, take the result of the database's thread, finish the task, respond
    # (in the done callback through which pygls sends every result). Two belong to this test.
    assert min(iterations) <= 7, iterations


async def test_many_responses_at_once_take_few_writes(wire: Wire, tmp_path: Path) -> None:
    session = await open_session(wire, tmp_path)
    wire.send(*64 * [append_request(session)])
    found = await wire.receive(64)
    assert [response["result"]["eventCount"] for response in found] == list(range(2, 66))
    size = sum(len(json.dumps(response)) for response in found)
    assert wire.writes <= 3 + size // 4_096, "one for the first, few for the others together"


LOOKS = ("stat", "lstat", "open", "listdir", "readlink", "getcwd")


async def test_no_folder_is_looked_at_on_the_event_loop(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that hangs would stop the whole server."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    session = await open_session(wire, tmp_path)
    on_loop: list[str] = []
    looked: list[str] = []
    loop_thread = threading.get_ident()

    def recording(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def record(*given: Any, **named: Any) -> Any:
            looked.append(name)
            if threading.get_ident() == loop_thread:
                on_loop.append(f"{name} {given}")
            return call(*given, **named)

        return record

    for name in LOOKS:
        monkeypatch.setattr(os, name, recording(name, getattr(os, name)))
    where = str(tmp_path / "repository")
    folder = {"uri": where, "name": "repository"}
    change = {"event": {"added": [folder], "removed": []}}
    requests: list[tuple[str, Any]] = [
        ("session/open", {}),
        ("session/open", {"workspace": where}),
        ("session/open", {"sessionId": session, "workspace": where}),
        ("session/findResumable", {"workspace": f"file://{where}"}),
        ("session/list", {"cwd": where}),
        ("session/reset", {"sessionId": session}),
    ]
    wire.send(*requests)
    await wire.receive(len(requests))
    wire.send(("workspace/didChangeWorkspaceFolders", change))
    wire.send(("session/open", {"mode": "new"}))
    await wire.receive(2)
    monkeypatch.undo()
    assert on_loop == []
    assert {"stat", "lstat", "getcwd"} <= set(looked)
