"""The bytes on disk for each event of 462 bytes."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.bench import atuin, peers
from tests.bench.measure import Row, Sizes, at_most

PAYLOAD = 462
"""Bytes of the JSON of each event's data."""

_PER_SESSION, _PER_BATCH = 1_000, 10
_DATA = {"content": "x" * (PAYLOAD - len('{"content":""}'))}
_DATA_JSON = json.dumps(_DATA, separators=(",", ":"))
_PEER = "openai-agents SQLiteSession"


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with atuin's tables and indexes, with a table of payloads, and with a peer."""
    folder /= "disk_size"
    folder.mkdir()
    events = sizes.events
    segue = asyncio.run(_segue_size(folder / "segue" / "sessions.db", events))
    baselines: dict[str, tuple[float, float | None, float | None]] = {
        "atuin's tables and indexes": (_atuin_size(folder / "atuin.db", events), 0.7, 0.61),
        "a table of only the payloads": (_payload_size(folder / "payloads.db", events), 1.15, 1.08),
    }
    with peers.start_peers(folder, _PEER) as running:
        for peer in running.values():
            content = "x" * (PAYLOAD - len('{"role": "user", "content": ""}'))
            peer.request("create", "session", count=events, content=content)
            baselines[_PEER] = peer.request("size", "session") / events, None, None
    quantity = f"bytes on disk for each event of {PAYLOAD} bytes"
    for name, (size, goal, stretch) in baselines.items():
        yield Row(
            number=14,
            quantity=quantity,
            measured=f"{segue:.0f}",
            baseline=f"{name}, {size:.0f}",
            value=segue / size,
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )
    if _PEER not in baselines:
        yield peers.absent_row(14, quantity, f"{segue:.0f}", _PEER)


async def _segue_size(path: Path, events: int) -> float:
    service = await LocalSessionService.open(path)
    for _ in range(events // _PER_SESSION):
        new, head = NewSession(id=new_id(), directory="/"), None
        for start in range(0, _PER_SESSION, _PER_BATCH):
            batch = [Event.new("text", _DATA) for _ in range(_PER_BATCH)]
            if start == 0:
                appended = await service.create_session(new, batch, invocation_id="invocation")
            else:
                appended = await service.append_events(
                    new.id, batch, parent_id=head, invocation_id="invocation"
                )
            head = appended.head
    await service.close()
    return _size_per_event(path, events)


def _atuin_size(path: Path, events: int) -> float:
    with contextlib.closing(atuin.create_database(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for _ in range(events // _PER_SESSION):
            session, invocation, parent = new_id(), new_id(), None
            atuin.add_session(db, session)
            for _ in range(_PER_SESSION):
                event = (new_id(), session, parent, invocation, "text", _DATA_JSON, 1_760_000_000)
                atuin.append(db, event)
                parent = event[0]
    return _size_per_event(path, events)


def _payload_size(path: Path, events: int) -> float:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute("CREATE TABLE payloads (id INTEGER PRIMARY KEY, data TEXT NOT NULL)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO payloads (data) VALUES (?)", [(_DATA_JSON,)] * events)
        db.execute("COMMIT")
    return _size_per_event(path, events)


def _size_per_event(path: Path, events: int) -> float:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path) / events
