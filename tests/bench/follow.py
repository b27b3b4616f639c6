"""How soon a window is told what another one appends, and what it costs to follow."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

from segue.cli.client import Client
from tests.bench.measure import Row, Sizes, at_most, format_seconds

_LOOK_S = 0.1
"""How often a store is looked at: the appends are not in step with that."""


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Append in one window, and wait for the notification in another one."""
    folder /= "follow"
    folder.mkdir()
    rng = random.Random(1)
    writer, reader = (_start(folder) for _ in range(2))
    opened = writer.request("session/open", {"workspace": str(folder), "mode": "new"})
    session = opened["session"]["sessionId"]
    event = {"type": "text", "data": {"content": "x"}}
    params = {"sessionId": session, "events": [event]}
    writer.request("session/append", params)
    reader.request("session/follow", {"sessionId": session})
    seconds = []
    for _ in range(min(sizes.calls, 100)):
        time.sleep(rng.uniform(0, _LOOK_S))
        writer.request("session/append", params)
        answered = time.perf_counter()
        reader.notification()
        seconds.append(time.perf_counter() - answered)
    for client in (writer, reader):
        client.shutdown()
    median = sorted(seconds)[len(seconds) // 2]
    yield Row(
        number=31,
        quantity="from an answered append to another window's notification",
        measured=format_seconds(median),
        baseline="",
        value=median * 1e3,
        unit=" ms",
        goal=at_most(150),
    )


def _start(folder: Path) -> Client:
    client = Client(folder, {"SEGUE_DATABASE": str(folder / "sessions.db")})
    client.initialize(rootUri=folder.as_uri())
    return client
