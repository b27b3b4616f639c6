"""Question 3: whether opening a session costs the same however long it is."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import stores
from tests.bench.measuring import Row, Side, Sizes, one_cpu, shown, take_turns
from tests.bench.wire import Server

TAIL = 200


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare a long session with a short one, by id, the tail of both."""
    path = folder / "opening" / "sessions.db"
    with stores.made(path) as db:
        ids = {events: stores.add_session(db, events, events) for events in sizes.events}
    short, long = sizes.events
    with one_cpu():
        server = Server(path)
        server.initialize()
        sides = {f"{events}": _opening(server, id) for events, id in ids.items()}
        found = take_turns(sides, rounds=sizes.rounds, calls=max(5, sizes.calls // 10))
        server.end()
    yield Row(
        question=f"open a session of {long:,} events over stdio (its last {TAIL})",
        measured=shown(found[f"{long}"]),
        against=f"one of {short:,}, {shown(found[f'{short}'])}",
        ratio=found[f"{long}"] / found[f"{short}"],
        goal="<= 2x",
    )


def _opening(server: Server, session_id: str) -> Side:
    def measure(calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            opened = server.request("session/open", {"sessionId": session_id, "tail": TAIL})
            seconds.append(time.perf_counter() - begin)
            assert len(opened["events"]) == TAIL
            server.request("session/close", {"sessionId": session_id})
        return seconds

    return measure
