"""What an append over stdio costs more than the bare commit that it cannot do without.

One event of 500 bytes a request, answered before the next is sent, on disk when it is answered.
The peers' appends are calls in their own process: no process boundary, no JSON-RPC.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segue.model.events import new_id
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from tests.bench import atuin, peers, stores
from tests.bench.measure import (
    Figure,
    Row,
    Side,
    Sizes,
    at_most,
    limited,
    one_cpu,
    shown,
    take_turns,
    timed,
)
from tests.bench.wire import NAIVE, NORMAL, SEGUE, Server

INSERT = "INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?,?,?,?,?,?)"
_UPDATE = """
UPDATE sessions SET
    event_count = event_count + ?, updated_at = ?, title = coalesce(title, ?),
    model_visible = max(model_visible, ?)
WHERE number = ?
"""
Stored = tuple[int, bytes, int, int, str, str]
_PER_ROUND = 100
_FILES = ("JSONL with fsync", "JSONL without fsync, which promises nothing")


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare on one CPU, with all that store conversations, then as the scheduler likes it."""
    with (
        one_cpu(),
        peers.running(folder / "appending" / "peers", *peers.APPENDING) as running,
    ):
        for peer in running.values():
            peer.ask("begin", "session", count=0)
        others = [
            peer.appending("session", stores.DATA["content"], peers.APPENDING[name])
            for name, peer in running.items()
        ]
        found = _found(sizes, folder / "appending" / "pinned", others)
    yield from _pinned(found)
    free = _found(sizes, folder / "appending" / "free", None)
    for other in ("bare", "naive"):
        yield Row(
            number=6,
            question="the same, as the scheduler likes it on all CPUs",
            measured=shown(free["stdio"].p50),
            against=f"{_NAMES[other]}, {shown(free[other].p50)}",
            value=free["stdio"].p50 / free[other].p50,
        )


_NAMES = {
    "bare": "raw sqlite3 commit",
    "naive": "naive pygls and aiosqlite over stdio",
    "atuin": "raw sqlite3 commit, atuin's schema",
}


def _pinned(found: dict[str, Figure]) -> Iterator[Row]:
    ours = found["stdio"]
    question = "durable append of one event over stdio, FULL, p50"

    def row(other: str, goal: float | None = None, stretch: float | None = None) -> Row:
        text = _NAMES.get(other, other)
        if calls := peers.APPENDING.get(other):
            text = f"{text} in its process ({calls} a round)"
        return Row(
            number=6,
            question=question,
            measured=shown(ours.p50),
            against=f"{text}, {shown(found[other].p50)}",
            value=ours.p50 / found[other].p50,
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )

    yield row("bare", goal=2, stretch=1.6)
    yield row("naive")
    for name in peers.APPENDING:
        if name in found:
            yield row(name, goal=1)
        else:
            yield peers.absent(6, question, shown(ours.p50), name)
    yield row("atuin")
    for name in _FILES:
        yield row(name)
    yield Row(
        number=7,
        question="append of one event over stdio, NORMAL, p50",
        measured=shown(found["stdio NORMAL"].p50),
        against=f"raw sqlite3 commit, {shown(found['bare NORMAL'].p50)}",
        value=found["stdio NORMAL"].p50 / found["bare NORMAL"].p50,
        goal=at_most(4),
        stretch=at_most(3),
    )


def _found(sizes: Sizes, folder: Path, others: list[Side] | None) -> dict[str, Figure]:
    """Let all take turns; without *others*, only those whose figure the scheduler changes."""
    with contextlib.ExitStack() as stack:

        def server(name: str, command: tuple[str, ...] = SEGUE) -> Side:
            path = folder / name / "sessions.db"
            return timed(name, appending(*begun(stack, path, command)))

        sides = [server("stdio"), timed("bare", committing(stack, folder / "bare"))]
        sides += [limited(server("naive", NAIVE), _PER_ROUND)]
        if others is not None:
            normal = committing(stack, folder / "bare NORMAL", "NORMAL")
            sides += [server("stdio NORMAL", NORMAL), timed("bare NORMAL", normal)]
            sides += [timed("atuin", _atuin(stack, folder / "atuin"))]
            sides += [timed(_FILES[0], _lines(folder / "synced.jsonl", sync=True))]
            sides += [timed(_FILES[1], _lines(folder / "plain.jsonl", sync=False))]
            sides += others
        return take_turns(sides, rounds=sizes.rounds, calls=sizes.calls)


def begun(
    stack: contextlib.ExitStack, path: Path, command: tuple[str, ...] = SEGUE
) -> tuple[Server, str]:
    """Return a server with one session open that has no event yet, and its id."""
    with stores.made(path) as db:
        session_id = stores.add_session(db, 1, 0)
    server = Server(path, command)
    stack.callback(server.end)
    server.initialize()
    server.request("session/open", {"sessionId": session_id, "tail": 1})
    return server, session_id


def append_frame(server: Server, session_id: str) -> bytes:
    """Return the request that appends one event of 500 bytes."""
    event = {"id": new_id(), "type": "text", "data": stores.DATA}
    return server.frame("session/append", {"sessionId": session_id, "events": [event]})


def appending(server: Server, session_id: str) -> Callable[[], Callable[[], object]]:
    """Return what prepares one append."""

    def prepare() -> Callable[[], object]:
        frame = append_frame(server, session_id)

        def append() -> None:
            answer = server.exchange(frame)
            assert b'"error"' not in answer, answer

        return append

    return prepare


def raw(stack: contextlib.ExitStack, folder: Path, synchronous: str = "FULL") -> Connection:
    """Return a connection to a database of ours with one session that has no event yet."""
    path = folder / "bare.db"
    with stores.made(path) as made:
        stores.add_session(made, 1, 0)
    db = driver.connect(str(path))
    stack.callback(db.close)
    db.execute(f"PRAGMA synchronous = {synchronous}")
    return db


def stored(key: int) -> Stored:
    """Return a row of the table of events."""
    return (key, bytes.fromhex(new_id().replace("-", "")), 1, key, "text", stores.STORED)


def commit(db: Connection, rows: Sequence[Stored]) -> None:
    """Store events of one session in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, rows)
    key = rows[-1][0]
    db.execute(_UPDATE, (len(rows), key, None, 1, key >> 32))
    db.execute("COMMIT")


def committing(
    stack: contextlib.ExitStack, folder: Path, synchronous: str = "FULL"
) -> Callable[[], Callable[[], object]]:
    """Return what prepares one commit of one event."""
    db = raw(stack, folder, synchronous)
    key = 1 << 32

    def prepare() -> Callable[[], object]:
        nonlocal key
        key += 1
        row = stored(key)
        return lambda: commit(db, [row])

    return prepare


def _atuin(stack: contextlib.ExitStack, folder: Path) -> Callable[[], Callable[[], object]]:
    db = atuin.made(folder / "atuin.db")
    stack.callback(db.close)
    atuin.add_session(db, "session")
    parent: str | None = None

    def prepare() -> Callable[[], object]:
        nonlocal parent
        now, invocation = int(time.time()), "0190a0e0-0000-7000-8000-000000000000"
        event = (new_id(), "session", parent, invocation, "text", stores.STORED, now)
        parent = event[0]
        return lambda: atuin.append(db, event)

    return prepare


def _lines(path: Path, *, sync: bool) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        event = {"id": new_id(), "type": "text", "data": stores.DATA}
        return lambda: write_line(path, event, sync=sync)

    return prepare


def write_line(path: Path, event: object, *, sync: bool) -> None:
    """Add one event to a file of lines, as those programs do: open, write, close."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
        if sync:
            file.flush()
            os.fsync(file.fileno())
