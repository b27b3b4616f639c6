"""Runs one peer library in its own process and environment, driven by JSON lines on stdio.

`python peer_worker.py PEER FOLDER` reads one command a line and writes its result as a line.
`create` creates a session of `count` events; `append` returns the seconds of each of `calls`
appends to it; `load` returns those of each of `calls` loads of the whole session with new objects;
`size` returns the bytes of its file.
"""

import asyncio
import contextlib
import functools
import importlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


class Peer:
    """One session of a peer library, in a database of its own."""

    def __init__(self, path: Path) -> None:
        """Keep *path*; `open` creates the database there."""
        self.path = path

    async def open(self) -> None:
        """Create the session, or open it if the database has it."""
        raise NotImplementedError

    async def append(self, content: str) -> None:
        """Store one user message with the library's usual call."""
        raise NotImplementedError

    async def fill(self, contents: list[str]) -> None:
        """Store many user messages with the fastest call that the library has."""
        for content in contents:
            await self.append(content)

    async def load(self) -> int:
        """Load the whole session; return its number of messages."""
        raise NotImplementedError


class OpenAIAgents(Peer):
    """openai-agents' synchronous session, run on a thread by the library."""

    module, name, options = "agents.memory.sqlite_session", "SQLiteSession", dict[str, Any]()

    async def open(self) -> None:
        session = getattr(importlib.import_module(self.module), self.name)
        self.session = session(session_id="session", db_path=self.path, **self.options)

    async def append(self, content: str) -> None:
        await self.fill([content])

    async def fill(self, contents: list[str]) -> None:
        await self.session.add_items([{"role": "user", "content": each} for each in contents])

    async def load(self) -> int:
        return len(await self.session.get_items())


class OpenAIAgentsAsync(OpenAIAgents):
    """openai-agents' session on aiosqlite."""

    module, name = "agents.extensions.memory.async_sqlite_session", "AsyncSQLiteSession"


class OpenAIAgentsAdvanced(OpenAIAgents):
    """openai-agents' session with branches and usage."""

    module, name = "agents.extensions.memory.advanced_sqlite_session", "AdvancedSQLiteSession"
    options = {"create_tables": True}  # noqa: RUF012  # as `options` of its base: never changed


class OpenAIAgentsPostgres(OpenAIAgents):
    """openai-agents' session on SQLAlchemy and asyncpg; its database is in the environment."""

    async def open(self) -> None:
        module = importlib.import_module("agents.extensions.memory.sqlalchemy_session")
        self.session = module.SQLAlchemySession.from_url(
            "session", url=os.environ["SEGUE_BENCH_POSTGRES"], create_tables=True
        )


class GoogleADK(Peer):
    """google-adk's service on aiosqlite."""

    def service(self) -> Any:
        """Return a new service of the library on this database."""
        module = importlib.import_module("google.adk.sessions.sqlite_session_service")
        return module.SqliteSessionService(str(self.path))

    async def open(self) -> None:
        self.event = importlib.import_module("google.adk.events.event").Event
        self.types = importlib.import_module("google.genai.types")
        self.store = self.service()
        self.session = await self.store.create_session(
            app_name="bench", user_id="user", session_id="session"
        )

    async def append(self, content: str) -> None:
        message = self.types.Content(role="user", parts=[self.types.Part(text=content)])
        event = self.event(author="user", invocation_id="invocation", content=message)
        await self.store.append_event(self.session, event)


class GoogleADKDatabase(GoogleADK):
    """google-adk's service on SQLAlchemy."""

    def service(self) -> Any:
        module = importlib.import_module("google.adk.sessions.database_session_service")
        return module.DatabaseSessionService(f"sqlite+aiosqlite:///{self.path}")


class LangGraph(Peer):
    """langgraph's saver, where each checkpoint holds all messages."""

    async def open(self) -> None:
        aiosqlite = importlib.import_module("aiosqlite")
        saver = importlib.import_module("langgraph.checkpoint.sqlite.aio").AsyncSqliteSaver
        self.base = importlib.import_module("langgraph.checkpoint.base")
        self.messages: list[Any] = []
        self.config: Any = {"configurable": {"thread_id": "session", "checkpoint_ns": ""}}
        self.saver = saver(await aiosqlite.connect(self.path))

    async def append(self, content: str) -> None:
        await self.fill([content])

    async def fill(self, contents: list[str]) -> None:
        self.messages += [{"role": "user", "content": each} for each in contents]
        checkpoint = self.base.empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self.messages}
        metadata = {"source": "loop", "step": len(self.messages), "parents": {}}
        self.config = await self.saver.aput(self.config, checkpoint, metadata, {})


class LLM(Peer):
    """llm's log store, where each message names the one before it."""

    async def open(self) -> None:
        utils = importlib.import_module("sqlite_utils")
        self.parts = importlib.import_module("llm.parts")
        self.store = importlib.import_module("llm.logs").LogStore(utils.Database(self.path))
        self.tip: Any = None

    async def append(self, content: str) -> None:
        self.tip = self.store.ensure_chain([self.parts.user(content)], parent=self.tip)


PEERS: dict[str, type[Peer]] = {
    "openai-agents SQLiteSession": OpenAIAgents,
    "openai-agents AsyncSQLiteSession": OpenAIAgentsAsync,
    "openai-agents AdvancedSQLiteSession": OpenAIAgentsAdvanced,
    "openai-agents SQLAlchemySession": OpenAIAgentsPostgres,
    "google-adk SqliteSessionService": GoogleADK,
    "google-adk DatabaseSessionService": GoogleADKDatabase,
    "langgraph AsyncSqliteSaver": LangGraph,
    "llm LogStore": LLM,
}


async def serve(peer_class: type[Peer], folder: Path) -> None:
    """Run the commands on stdin until it ends."""
    sessions: dict[str, Peer] = {}
    result: Any
    for line in sys.stdin:
        request = json.loads(line)
        name = request["session"]
        content = request.get("content", "")
        match request["command"]:
            case "create":
                sessions[name] = peer = peer_class(folder / f"{name}.db")
                await peer.open()
                if request["count"]:
                    await peer.fill([content] * request["count"])
                result = None
            case "append":
                append = functools.partial(sessions[name].append, content)
                result = await _time_calls(append, request["calls"])
            case "load":
                load = functools.partial(_load, peer_class, folder / f"{name}.db")
                result = await _time_calls(load, request["calls"])
            case _:
                result = _size(folder / f"{name}.db")
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def _size(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


async def _load(peer_class: type[Peer], path: Path) -> None:
    peer = peer_class(path)
    await peer.open()
    await peer.load()


async def _time_calls(call: Callable[[], Awaitable[None]], calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        runner.run(serve(PEERS[sys.argv[1]], Path(sys.argv[2])))
        os._exit(0)  # some libraries leave threads that never end
