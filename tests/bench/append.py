"""The latency of an append over stdio, beside the bare commit that it contains.

Each request appends one event of 500 bytes and is answered, with the event on disk, before the next
is sent. The peers' appends are calls in their own process: no process boundary, no JSON-RPC.
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
    alternate,
    at_most,
    cap_calls,
    format_seconds,
    pin_to_one_cpu,
    time_calls,
)
from tests.bench.wire import NAIVE, SEGUE, SEGUE_NORMAL, Server

EventRow = tuple[int, bytes, int, int, str, str]
"""The values of a row of `events`, in the order of INSERT."""

INSERT = "INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?,?,?,?,?,?)"
_UPDATE = """
UPDATE sessions SET
    event_count = event_count + ?, updated_at = ?, title = coalesce(title, ?),
    model_visible = max(model_visible, ?)
WHERE number = ?
"""
_NAIVE_PER_ROUND = 100
_FILES = ("JSONL with fsync", "JSONL without fsync, not durable")
_NAMES = {
    "bare": "raw sqlite3 commit",
    "naive": "naive pygls and aiosqlite over stdio",
    "atuin": "raw sqlite3 commit, atuin's schema",
}


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with all baselines on one CPU, then with the main ones on all CPUs."""
    folder /= "append"
    with (
        pin_to_one_cpu(),
        peers.start_peers(folder / "peers", *peers.APPENDS_PER_ROUND) as running,
    ):
        for peer in running.values():
            peer.request("create", "session", count=0)
        peer_sides = [
            peer.append_side("session", stores.DATA["content"], peers.APPENDS_PER_ROUND[name])
            for name, peer in running.items()
        ]
        pinned = _figures(sizes, folder / "pinned", peer_sides)
    yield from _pinned_rows(pinned)
    unpinned = _figures(sizes, folder / "unpinned", None)
    for name in ("bare", "naive"):
        yield Row(
            number=6,
            quantity="the same, on all CPUs",
            measured=format_seconds(unpinned["stdio"].p50),
            baseline=f"{_NAMES[name]}, {format_seconds(unpinned[name].p50)}",
            value=unpinned["stdio"].p50 / unpinned[name].p50,
        )


def _pinned_rows(figures: dict[str, Figure]) -> Iterator[Row]:
    segue = figures["stdio"].p50
    quantity = "durable append of one event over stdio, FULL, p50"

    def row(name: str, goal: float | None = None, stretch: float | None = None) -> Row:
        label = _NAMES.get(name, name)
        if calls := peers.APPENDS_PER_ROUND.get(name):
            label = f"{label} in its process ({calls} a round)"
        return Row(
            number=6,
            quantity=quantity,
            measured=format_seconds(segue),
            baseline=f"{label}, {format_seconds(figures[name].p50)}",
            value=segue / figures[name].p50,
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )

    yield row("bare", goal=2, stretch=1.6)
    yield row("naive")
    for name in peers.APPENDS_PER_ROUND:
        if name in figures:
            yield row(name, goal=1)
        else:
            yield peers.absent_row(6, quantity, format_seconds(segue), name)
    yield row("atuin")
    for name in _FILES:
        yield row(name)
    yield Row(
        number=7,
        quantity="append of one event over stdio, NORMAL, p50",
        measured=format_seconds(figures["stdio NORMAL"].p50),
        baseline=f"raw sqlite3 commit, {format_seconds(figures['bare NORMAL'].p50)}",
        value=figures["stdio NORMAL"].p50 / figures["bare NORMAL"].p50,
        goal=at_most(4),
        stretch=at_most(3),
    )


def _figures(sizes: Sizes, folder: Path, peer_sides: list[Side] | None) -> dict[str, Figure]:
    """Measure all sides; if *peer_sides* is None, only those that depend on the scheduler."""
    with contextlib.ExitStack() as stack:

        def server_side(name: str, command: tuple[str, ...] = SEGUE) -> Side:
            path = folder / name / "sessions.db"
            return time_calls(name, append_factory(*start_server(stack, path, command)))

        sides = [
            server_side("stdio"),
            time_calls("bare", _commit_factory(stack, folder / "bare")),
            cap_calls(server_side("naive", NAIVE), _NAIVE_PER_ROUND),
        ]
        if peer_sides is not None:
            normal = _commit_factory(stack, folder / "bare NORMAL", "NORMAL")
            sides += [
                server_side("stdio NORMAL", SEGUE_NORMAL),
                time_calls("bare NORMAL", normal),
                time_calls("atuin", _atuin_factory(stack, folder / "atuin")),
                time_calls(_FILES[0], _line_factory(folder / "synced.jsonl", sync=True)),
                time_calls(_FILES[1], _line_factory(folder / "unsynced.jsonl", sync=False)),
                *peer_sides,
            ]
        return alternate(sides, rounds=sizes.rounds, calls=sizes.calls)


def start_server(
    stack: contextlib.ExitStack, path: Path, command: tuple[str, ...] = SEGUE
) -> tuple[Server, str]:
    """Start a server on a new database; return it and the id of an open session without events.

    *stack* shuts it down.
    """
    with stores.create_database(path) as db:
        session_id = stores.add_session(db, 1, 0)
    server = Server(path, command)
    stack.callback(server.shut_down)
    server.initialize()
    server.request("session/open", {"sessionId": session_id, "tail": 1})
    return server, session_id


def append_frame(server: Server, session_id: str) -> bytes:
    """Return a request that appends one new event of 500 bytes."""
    event = {"id": new_id(), "type": "text", "data": stores.DATA}
    return server.frame("session/append", {"sessionId": session_id, "events": [event]})


def append_factory(server: Server, session_id: str) -> Callable[[], Callable[[], object]]:
    """Return a function for `time_calls` that prepares one append over stdio."""

    def prepare() -> Callable[[], object]:
        frame = append_frame(server, session_id)

        def append() -> None:
            response = server.exchange(frame)
            assert b'"error"' not in response, response

        return append

    return prepare


def connect_raw(stack: contextlib.ExitStack, folder: Path, synchronous: str = "FULL") -> Connection:
    """Return a connection to a new Segue database with one session, without events.

    *stack* closes it.
    """
    path = folder / "bare.db"
    with stores.create_database(path) as created:
        stores.add_session(created, 1, 0)
    db = driver.connect(str(path))
    stack.callback(db.close)
    db.execute(f"PRAGMA synchronous = {synchronous}")
    return db


def event_row(key: int) -> EventRow:
    """Return the row of an event of 500 bytes with a new id."""
    return (key, bytes.fromhex(new_id().replace("-", "")), 1, key, "text", stores.DATA_JSON)


def commit(db: Connection, rows: Sequence[EventRow]) -> None:
    """Insert events of one session and update its row, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, rows)
    key = rows[-1][0]
    db.execute(_UPDATE, (len(rows), key, None, 1, key >> 32))
    db.execute("COMMIT")


def _commit_factory(
    stack: contextlib.ExitStack, folder: Path, synchronous: str = "FULL"
) -> Callable[[], Callable[[], object]]:
    db = connect_raw(stack, folder, synchronous)
    key = 1 << 32

    def prepare() -> Callable[[], object]:
        nonlocal key
        key += 1
        row = event_row(key)
        return lambda: commit(db, [row])

    return prepare


def _atuin_factory(stack: contextlib.ExitStack, folder: Path) -> Callable[[], Callable[[], object]]:
    db = atuin.create_database(folder / "atuin.db")
    stack.callback(db.close)
    atuin.add_session(db, "session")
    parent: str | None = None

    def prepare() -> Callable[[], object]:
        nonlocal parent
        now, invocation = int(time.time()), "0190a0e0-0000-7000-8000-000000000000"
        event = (new_id(), "session", parent, invocation, "text", stores.DATA_JSON, now)
        parent = event[0]
        return lambda: atuin.append(db, event)

    return prepare


def _line_factory(path: Path, *, sync: bool) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        event = {"id": new_id(), "type": "text", "data": stores.DATA}
        return lambda: _write_line(path, event, sync=sync)

    return prepare


def _write_line(path: Path, event: object, *, sync: bool) -> None:
    # Opened and closed for each line, as programs that keep such files do.
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
        if sync:
            file.flush()
            os.fsync(file.fileno())
