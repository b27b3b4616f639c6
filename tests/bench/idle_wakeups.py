"""How often a server that nobody asks anything wakes up."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import stores
from tests.bench.measure import Row, Sizes, at_most
from tests.bench.wire import NAIVE, Server

_SETTLING_S = 1


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Count the times that its threads are woken, without and with a session open."""
    path = folder / "idling" / "sessions.db"
    with stores.made(path) as db:
        session_id = stores.add_session(db, 1, 100)
    ours, naive = Server(path), Server(path, NAIVE)
    for server in (ours, naive):
        server.initialize()
    before = _wakeups(sizes, ours, naive)
    for server in (ours, naive):
        server.request("session/open", {"sessionId": session_id, "tail": 50})
    after = _wakeups(sizes, ours, naive)
    for server in (ours, naive):
        server.end()
    for text, (own, other), goal, stretch in (
        ("without an open session", before, at_most(0), None),
        ("with one open", after, None, at_most(5)),
    ):
        yield Row(
            number=15,
            question=f"wake-ups a second {text}",
            measured=f"{own:g}",
            against=f"naive pygls, {other:g}",
            value=own,
            unit="/s",
            goal=goal,
            stretch=stretch,
        )


def _wakeups(sizes: Sizes, *servers: Server) -> tuple[float, ...]:
    time.sleep(_SETTLING_S)
    before = [server.wakeups() for server in servers]
    time.sleep(sizes.idle_s)
    after = [server.wakeups() for server in servers]
    return tuple((b - a) / sizes.idle_s for a, b in zip(before, after, strict=True))
