"""How often an idle server wakes up."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import stores
from tests.bench.measure import Row, Sizes, at_most
from tests.bench.wire import NAIVE, Server

_SETTLE_S = 1
"""Time between the last response and the first count."""


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Count wake-ups of the server's threads, without and with an open session."""
    path = folder / "idle_wakeups" / "sessions.db"
    with stores.create_database(path) as db:
        session_id = stores.add_session(db, 1, 100)
    servers = segue, naive = Server(path), Server(path, NAIVE)
    for server in servers:
        server.initialize()
    without_session = _wakeup_rates(sizes, segue, naive)
    for server in servers:
        server.request("session/open", {"sessionId": session_id, "tail": 50})
    with_session = _wakeup_rates(sizes, segue, naive)
    for server in servers:
        server.shut_down()
    for condition, (rate, naive_rate), goal, stretch in (
        ("without an open session", without_session, at_most(0), None),
        ("with an open session", with_session, None, at_most(5)),
    ):
        yield Row(
            number=15,
            quantity=f"wake-ups a second {condition}",
            measured=f"{rate:g}",
            baseline=f"naive pygls, {naive_rate:g}",
            value=rate,
            unit="/s",
            goal=goal,
            stretch=stretch,
        )


def _wakeup_rates(sizes: Sizes, *servers: Server) -> tuple[float, ...]:
    time.sleep(_SETTLE_S)
    before = [server.wakeups() for server in servers]
    time.sleep(sizes.idle_s)
    after = [server.wakeups() for server in servers]
    return tuple((b - a) / sizes.idle_s for a, b in zip(before, after, strict=True))
