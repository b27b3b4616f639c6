"""Question 1: what an append over stdio costs more than the bare commit that it cannot do without.

One event of 500 bytes a request, answered before the next is sent, on disk when it is answered.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from segue.events import new_id
from segue.storage import library
from segue.storage.library import Connection
from tests.bench import stores
from tests.bench.measuring import Row, Sizes, one_cpu, shown, take_turns, timed
from tests.bench.wire import Server

_INSERT = "INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?,?,?,?,?,?)"
_UPDATE = """
UPDATE sessions SET
    event_count = event_count + 1, updated_at = ?, title = coalesce(title, ?),
    model_visible = max(model_visible, ?)
WHERE number = ?
"""


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with everything on one CPU, and as the scheduler likes it."""
    for name, where in (("one CPU", one_cpu()), ("free", contextlib.nullcontext())):
        with where:
            found = _found(sizes, folder / name)
        yield Row(
            question=f"append one event over stdio, p50 ({name})",
            measured=shown(found["stdio"]),
            against=f"bare sqlite3 commit, {shown(found['bare'])}",
            ratio=found["stdio"] / found["bare"],
            goal="<= 3x (stretch 2x)" if name == "one CPU" else "",
        )


def _found(sizes: Sizes, folder: Path) -> dict[str, float]:
    path = folder / "bare.db"
    with stores.made(path) as db:
        stores.add_session(db, 1, 0)
    db = library.connect(str(path))
    db.execute("PRAGMA journal_mode = WAL")
    server = Server(folder / "stdio.db")
    server.initialize()
    opened = server.request("session/open", {"workspace": str(folder), "mode": "new"})
    sides = {
        "stdio": timed(_append(server, opened["session"]["sessionId"])),
        "bare": timed(_commit(db)),
    }
    try:
        return take_turns(sides, rounds=sizes.rounds, calls=sizes.calls)
    finally:
        server.end()
        db.close()


def _append(server: Server, session_id: str) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        event = {"id": new_id(), "type": "text", "data": stores.DATA}
        params = {"sessionId": session_id, "events": [event]}
        return lambda: server.request("session/append", params)

    return prepare


def _commit(db: Connection) -> Callable[[], Callable[[], object]]:
    key = 1 << 32

    def prepare() -> Callable[[], object]:
        nonlocal key
        key += 1
        row = (key, bytes.fromhex(new_id().replace("-", "")), 1, key, "text", stores.STORED)

        def commit() -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_INSERT, row)
            db.execute(_UPDATE, (key, None, 1, 1))
            db.execute("COMMIT")

        return commit

    return prepare
