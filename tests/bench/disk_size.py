"""How many bytes of the disk an event of 462 bytes takes."""

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
_PER_SESSION, _BATCH = 1_000, 10
_DATA = {"content": "x" * (PAYLOAD - len('{"content":""}'))}
_TEXT = json.dumps(_DATA, separators=(",", ":"))
_PEER = "openai-agents SQLiteSession"


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare with atuin's tables and indexes, with a table of payloads, and with a peer."""
    folder /= "storing"
    folder.mkdir()
    events = sizes.events
    ours = asyncio.run(_ours(folder / "ours" / "sessions.db", events))
    others = {
        "atuin's tables and indexes": (_atuin(folder / "atuin.db", events), 0.7, 0.61),
        "a table of the payloads alone": (_payloads(folder / "payloads.db", events), 1.15, 1.08),
    }
    with peers.running(folder, _PEER) as running:
        for peer in running.values():
            text = "x" * (PAYLOAD - len('{"role": "user", "content": ""}'))
            peer.ask("begin", "session", count=events, text=text)
            others[_PEER] = peer.ask("size", "session") / events, 0, 0
    question = f"bytes on disk for each event of {PAYLOAD} bytes"
    for name, (theirs, goal, stretch) in others.items():
        yield Row(
            number=14,
            question=question,
            measured=f"{ours:.0f}",
            against=f"{name}, {theirs:.0f}",
            value=ours / theirs,
            goal=at_most(goal) if goal else None,
            stretch=at_most(stretch) if stretch else None,
        )
    if _PEER not in others:
        yield peers.absent(14, question, f"{ours:.0f}", _PEER)


async def _ours(path: Path, events: int) -> float:
    service = await LocalSessionService.open(path)
    for _ in range(events // _PER_SESSION):
        new, head = NewSession(id=new_id(), directory="/"), None
        for place in range(0, _PER_SESSION, _BATCH):
            batch = [Event.new("text", _DATA) for _ in range(_BATCH)]
            if place == 0:
                appended = await service.create_session(new, batch, invocation_id="invocation")
            else:
                appended = await service.append_events(
                    new.id, batch, parent_id=head, invocation_id="invocation"
                )
            head = appended.head
    await service.close()
    return _size(path, events)


def _atuin(path: Path, events: int) -> float:
    with contextlib.closing(atuin.made(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for _ in range(events // _PER_SESSION):
            session, invocation, parent = new_id(), new_id(), None
            atuin.add_session(db, session)
            for _ in range(_PER_SESSION):
                event = (new_id(), session, parent, invocation, "text", _TEXT, 1_760_000_000)
                atuin.append(db, event)
                parent = event[0]
    return _size(path, events)


def _payloads(path: Path, events: int) -> float:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute("CREATE TABLE payloads (id INTEGER PRIMARY KEY, data TEXT NOT NULL)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO payloads (data) VALUES (?)", [(_TEXT,)] * events)
        db.execute("COMMIT")
    return _size(path, events)


def _size(path: Path, events: int) -> float:
    with contextlib.closing(driver.connect(str(path))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path) / events
