"""A straightforward session server as a baseline: pygls and aiosqlite with their defaults."""

import asyncio
import json
import os
import time
from typing import Any

import aiosqlite
from lsprotocol import types
from pygls.lsp.server import LanguageServer


class NaiveServer(LanguageServer):
    """A server with one database, opened by `initialize`, and one lock for writes."""

    db: aiosqlite.Connection
    lock: asyncio.Lock


server = NaiveServer("naive", "1")


@server.feature(types.INITIALIZE)
async def initialize(ls: NaiveServer, params: types.InitializeParams) -> None:
    """Open the database that SEGUE_DATABASE names."""
    ls.db = await aiosqlite.connect(os.environ["SEGUE_DATABASE"])
    ls.db.row_factory = aiosqlite.Row
    ls.lock = asyncio.Lock()


@server.feature("session/open")
async def session_open(ls: NaiveServer, params: Any) -> Any:
    """Return the session's row and its last `tail` events, oldest first."""
    session = await _session(ls, params.sessionId)
    rows = await ls.db.execute_fetchall(
        "SELECT seq, type, data FROM events WHERE session = ? ORDER BY key DESC LIMIT ?",
        (session["number"], params.tail),
    )
    events = [
        {"seq": row["seq"], "type": row["type"], "data": json.loads(row["data"])} for row in rows
    ]
    return {"session": dict(session), "events": events[::-1]}


@server.feature("session/append")
async def session_append(ls: NaiveServer, params: Any) -> Any:
    """Append events in one transaction, on disk before the response."""
    async with ls.lock:
        session = await _session(ls, params.sessionId)
        count, now = session["event_count"], time.time_ns() // 1_000_000
        for event in params.events:
            count += 1
            key, data = (session["number"] << 32) + count, json.dumps(event.data._asdict())
            await ls.db.execute(
                "INSERT INTO events (key, id, invocation, created_at, type, data) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (key, event.id, 1, now, event.type, data),
            )
        await ls.db.execute(
            "UPDATE sessions SET event_count = ?, updated_at = ? WHERE number = ?",
            (count, now, session["number"]),
        )
        await ls.db.commit()
    return {"head": params.events[-1].id, "eventCount": count}


@server.feature("bench/echo")
async def echo(ls: NaiveServer, params: Any) -> Any:
    """Return *params*."""
    return params


@server.feature(types.SHUTDOWN)
async def shutdown(ls: NaiveServer, params: None) -> None:
    """Close the database."""
    await ls.db.close()


async def _session(ls: NaiveServer, session_id: str) -> Any:
    async with ls.db.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)) as rows:
        session = await rows.fetchone()
    assert session is not None
    return session


if __name__ == "__main__":
    server.start_io()
