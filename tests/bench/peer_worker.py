"""One peer in a process and an environment of its own, which appends when it is told to.

`python peer_worker.py PEER FOLDER` reads one command a line, as JSON, and answers each with a line.
`begin` makes a session of so many events, `append` answers the seconds of so many appends to it,
`load` those of so many loads of the whole of it, by new objects each time, `size` its file's bytes.
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

Texts = list[str]


class Peer:
    """A session of somebody else's, in a database of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> None:
        """Make or open the session."""
        raise NotImplementedError

    async def append(self, text: str) -> None:
        """Store one message of the person's, as the library does it."""
        raise NotImplementedError

    async def fill(self, texts: Texts) -> None:
        """Store many, in the fastest way that the library has."""
        for text in texts:
            await self.append(text)

    async def load(self) -> int:
        """Load the whole session; return how many messages it has."""
        raise NotImplementedError


class OpenAIAgents(Peer):
    module, name, options = "agents.memory.sqlite_session", "SQLiteSession", dict[str, Any]()

    async def open(self) -> None:
        session = getattr(importlib.import_module(self.module), self.name)
        self.session = session(session_id="session", db_path=self.path, **self.options)

    async def append(self, text: str) -> None:
        await self.fill([text])

    async def fill(self, texts: Texts) -> None:
        await self.session.add_items([{"role": "user", "content": text} for text in texts])

    async def load(self) -> int:
        return len(await self.session.get_items())


class OpenAIAgentsAsync(OpenAIAgents):
    module, name = "agents.extensions.memory.async_sqlite_session", "AsyncSQLiteSession"


class OpenAIAgentsAdvanced(OpenAIAgents):
    module, name = "agents.extensions.memory.advanced_sqlite_session", "AdvancedSQLiteSession"
    options = {"create_tables": True}  # noqa: RUF012


class GoogleADK(Peer):
    def service(self) -> Any:
        module = importlib.import_module("google.adk.sessions.sqlite_session_service")
        return module.SqliteSessionService(str(self.path))

    async def open(self) -> None:
        self.event = importlib.import_module("google.adk.events.event").Event
        self.types = importlib.import_module("google.genai.types")
        self.store = self.service()
        self.session = await self.store.create_session(
            app_name="bench", user_id="user", session_id="session"
        )

    async def append(self, text: str) -> None:
        content = self.types.Content(role="user", parts=[self.types.Part(text=text)])
        event = self.event(author="user", invocation_id="invocation", content=content)
        await self.store.append_event(self.session, event)


class GoogleADKDatabase(GoogleADK):
    def service(self) -> Any:
        module = importlib.import_module("google.adk.sessions.database_session_service")
        return module.DatabaseSessionService(f"sqlite+aiosqlite:///{self.path}")


class LangGraph(Peer):
    """A checkpoint holds all messages."""

    async def open(self) -> None:
        aiosqlite = importlib.import_module("aiosqlite")
        saver = importlib.import_module("langgraph.checkpoint.sqlite.aio").AsyncSqliteSaver
        self.base = importlib.import_module("langgraph.checkpoint.base")
        self.messages: list[Any] = []
        self.config: Any = {"configurable": {"thread_id": "session", "checkpoint_ns": ""}}
        self.saver = saver(await aiosqlite.connect(self.path))

    async def append(self, text: str) -> None:
        await self.fill([text])

    async def fill(self, texts: Texts) -> None:
        self.messages += [{"role": "user", "content": text} for text in texts]
        checkpoint = self.base.empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self.messages}
        metadata = {"source": "loop", "step": len(self.messages), "parents": {}}
        self.config = await self.saver.aput(self.config, checkpoint, metadata, {})


class LLM(Peer):
    async def open(self) -> None:
        utils = importlib.import_module("sqlite_utils")
        self.parts = importlib.import_module("llm.parts")
        self.store = importlib.import_module("llm.logs").LogStore(utils.Database(self.path))
        self.tip: Any = None

    async def append(self, text: str) -> None:
        self.tip = self.store.ensure_chain([self.parts.user(text)], parent=self.tip)


PEERS: dict[str, type[Peer]] = {
    "openai-agents SQLiteSession": OpenAIAgents,
    "openai-agents AsyncSQLiteSession": OpenAIAgentsAsync,
    "openai-agents AdvancedSQLiteSession": OpenAIAgentsAdvanced,
    "google-adk SqliteSessionService": GoogleADK,
    "google-adk DatabaseSessionService": GoogleADKDatabase,
    "langgraph AsyncSqliteSaver": LangGraph,
    "llm LogStore": LLM,
}


async def serve(kind: type[Peer], folder: Path) -> None:
    """Do what is asked until nothing more is."""
    sessions: dict[str, Peer] = {}
    answer: Any
    for line in sys.stdin:
        command = json.loads(line)
        name = command["session"]
        text = command.get("text", "")
        match command["do"]:
            case "begin":
                sessions[name] = peer = kind(folder / f"{name}.db")
                await peer.open()
                if command["count"]:
                    await peer.fill([text] * command["count"])
                answer = None
            case "append":
                append = functools.partial(sessions[name].append, text)
                answer = await _timed(append, command["calls"])
            case "load":
                load = functools.partial(_load, kind, folder / f"{name}.db")
                answer = await _timed(load, command["calls"])
            case _:
                answer = _size(folder / f"{name}.db")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _size(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


async def _load(kind: type[Peer], path: Path) -> None:
    peer = kind(path)
    await peer.open()
    await peer.load()


async def _timed(call: Callable[[], Awaitable[None]], calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        runner.run(serve(PEERS[sys.argv[1]], Path(sys.argv[2])))
        os._exit(0)  # some leave threads behind that would wait for ever
