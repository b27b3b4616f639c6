"""A session server as one would first write it, for comparison: plain pygls, plain aiosqlite."""

import json
import os
from typing import Any

import aiosqlite
from lsprotocol import types
from pygls.lsp.server import LanguageServer


class NaiveServer(LanguageServer):
    """Opens its database when it is initialized."""

    db: aiosqlite.Connection


server = NaiveServer("naive", "1")


@server.feature(types.INITIALIZE)
async def initialize(ls: NaiveServer, params: types.InitializeParams) -> None:
    ls.db = await aiosqlite.connect(os.environ["SEGUE_DATABASE"])
    ls.db.row_factory = aiosqlite.Row


@server.feature("session/open")
async def session_open(ls: NaiveServer, params: Any) -> Any:
    async with ls.db.execute("SELECT * FROM sessions WHERE id = ?", (params.sessionId,)) as rows:
        session = await rows.fetchone()
    assert session is not None
    events = await ls.db.execute_fetchall(
        "SELECT seq, type, data FROM events WHERE session = ? ORDER BY key DESC LIMIT ?",
        (session["number"], params.tail),
    )
    found = [
        {"seq": event["seq"], "type": event["type"], "data": json.loads(event["data"])}
        for event in events
    ]
    return {"session": dict(session), "events": found[::-1]}


@server.feature(types.SHUTDOWN)
async def shutdown(ls: NaiveServer, params: None) -> None:
    await ls.db.close()


if __name__ == "__main__":
    server.start_io()
