"""What is known of one client and one agent while they talk: who they are, and of what."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import attrs

from segue.acp import messages
from segue.acp.capabilities import Agent
from segue.acp.conversation import Conversation
from segue.acp.holding import sessions_by_agents_ids
from segue.acp.lines import LineWriter
from segue.acp.messages import Message
from segue.acp.recording import STATE_UPDATES
from segue.acp.saving import Saver
from segue.model.errors import SegueError, SessionNotFound
from segue.model.records import Origin, Session
from segue.model.workspace import MAX_PATH, InvalidWorkspaceError, Workspace, locate_workspace
from segue.sessions.window import Window

T = TypeVar("T")

STORE_TIMEOUT_S = 1.0
"""How long anything that the client or the agent says waits for the store."""

_MAX_NAME = 100
_MAX_EARLY = 16 * 1024 * 1024
"""How many bytes are kept until it is known what they are of."""


@attrs.define(kw_only=True)
class Connection:
    """A client and an agent, and the proxy between them."""

    window: Window
    saver: Saver
    to_client: LineWriter
    to_agent: LineWriter
    wait_for_client: Callable[[], Any]
    """Returns what is awaited before much is written to the client at once."""
    history_chars: int
    """How many characters of a history an agent is given that does not have it."""
    agent: Agent = attrs.field(factory=Agent)
    client: Origin = attrs.field(factory=Origin)
    has_version_1: bool = False
    """Whether they have agreed on it: only there is known how conversations are listed and loaded.
    """
    by_client_id: dict[str, Conversation] = attrs.field(factory=dict)
    by_agent_id: dict[str, Conversation] = attrs.field(factory=dict)
    replays: dict[str, "Replay"] = attrs.field(factory=dict)
    """What the agent replays now, by its own ids of the sessions."""
    abandoned: set[str] = attrs.field(factory=set)
    """The agent's ids of conversations that it has not whole: another one goes on with each."""
    deliver: Callable[[Message], None] = attrs.field(default=lambda _: None)
    """Passes a message of the agent on to the client, as if it came now."""
    _loads: dict[str, asyncio.Lock] = attrs.field(factory=dict)
    _has_agent_ended: bool = False
    _beginning: int = 0
    _early: list[Message] = attrs.field(factory=list)
    _early_size: int = 0
    _asked: dict[str, "asyncio.Future[Message]"] = attrs.field(factory=dict)
    _tasks: set["asyncio.Task[None]"] = attrs.field(factory=set)
    _prefix: str = attrs.field(factory=lambda: f"segue-{uuid.uuid4().hex[:8]}-")
    _numbers: "itertools.count[int]" = attrs.field(factory=itertools.count)

    @property
    def is_asking(self) -> bool:
        """Whether the agent owes an answer to a request of our own."""
        return bool(self._asked)

    async def ask_agent(
        self, method: str, params: dict[str, Any], timeout_s: float | None = None
    ) -> Message:
        """Return the agent's answer to a request of our own, of which the client sees nothing.

        Raises TimeoutError, or ConnectionError if the agent ends before.
        """
        if self._has_agent_ended:
            raise ConnectionError("the agent has ended")
        id = f"{self._prefix}{next(self._numbers)}"
        future = self._asked[f'"{id}"'] = asyncio.get_running_loop().create_future()
        self.to_agent.insert(messages.request(id, method, params))
        try:
            return await asyncio.wait_for(future, timeout_s)
        finally:
            # A late answer is still ours, and not passed on.
            if future.done() and not future.cancelled():
                self._asked.pop(f'"{id}"', None)

    def take_answer(self, message: Message) -> bool:
        """Return whether *message* answers a request of our own, and hand it over then."""
        future = self._asked.pop(message.key, None) if message.key is not None else None
        if future is not None and not future.done():
            future.set_result(message)
        return future is not None

    def agent_ended(self) -> None:
        """Let what waits for an answer of the agent fail, now and later."""
        self._has_agent_ended = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ConnectionError("the agent has ended"))

    def spawn(self, work: Coroutine[Any, Any, None], request: Message | None = None) -> None:
        """Run *work* beside what else is said; if it fails, *request* is answered with that."""
        task = asyncio.ensure_future(self._run(work, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until nothing runs that `spawn` was given."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, work: Coroutine[Any, Any, None], request: Message | None) -> None:
        try:
            await work
        except Exception as error:  # of any kind: the client waits for an answer
            if request is not None:
                text = f"{type(error).__name__}: {error}"
                self.to_client.insert(messages.error(request, messages.INTERNAL_ERROR, text))

    def add(self, conversation: Conversation) -> None:
        """Make *conversation* known by its ids, and pass on what its agent has said of it early."""
        if (before := self.by_agent_id.get(conversation.agent_id)) is not None:
            conversation.commands = conversation.commands or before.commands
        self.by_client_id[conversation.client_id] = conversation
        self.by_agent_id[conversation.agent_id] = conversation
        early, self._early = self._early, []
        for message in early:
            if message.session_id == conversation.agent_id:
                self.deliver(message)
            else:
                self._early.append(message)

    def forget(self, conversation: Conversation) -> None:
        """Make *conversation* unknown."""
        self.by_client_id.pop(conversation.client_id, None)
        self.by_agent_id.pop(conversation.agent_id, None)

    @property
    def is_beginning(self) -> bool:
        """Whether a conversation of the agent is begun now whose id is not known yet."""
        return self._beginning > 0

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Keep what the agent says of conversations that are not known, while the block runs."""
        self._beginning += 1
        try:
            yield
        finally:
            self._beginning -= 1
            if not self._beginning:
                self._pass_on_early()

    def keep_early(self, message: Message) -> bool:
        """Return whether *message* is kept until its conversation is known."""
        if not self.is_beginning or message.session_id in self.by_agent_id:
            return False
        self._early.append(message)
        self._early_size += len(message.raw)
        if self._early_size > _MAX_EARLY:
            self._pass_on_early()
        return True

    def _pass_on_early(self) -> None:
        early, self._early, self._early_size = self._early, [], 0
        for message in early:
            if message.session_id not in self.abandoned:
                self.to_client.insert(message.raw)

    @property
    def has_renamed(self) -> bool:
        """Whether client and agent have different ids for a conversation."""
        return any(each.is_renamed for each in self.by_client_id.values())

    def origin(self, model: object = None) -> Origin:
        """Return who writes events: the client, with the agent and *model* that answer."""
        name = messages.text_in(model, _MAX_NAME)
        return attrs.evolve(self.client, agent=self.agent.title, model=name)

    async def workspace(self, directory: object) -> Workspace:
        """Return the workspace of a directory, as far as it is found in time."""
        path = messages.text_in(directory, MAX_PATH) or "/"
        path = path.replace("\0", "")
        located = self.window.locator.find(lambda touch: locate_workspace(path, touch), path)
        with contextlib.suppress(TimeoutError, InvalidWorkspaceError):
            return await asyncio.wait_for(asyncio.shield(located), STORE_TIMEOUT_S)
        return Workspace.recorded(path, None)

    async def stored(self, session_id: str) -> Session | None:
        """Return a session, None if there is none, or the store does not say so in time."""
        with contextlib.suppress(SegueError, TimeoutError):
            return await in_time(self.window.get(session_id), STORE_TIMEOUT_S)
        return None

    async def session_of(self, id: str) -> Session | None:
        """Return the session that the client means: by its id, or by what this agent calls it.

        Raises SegueError or TimeoutError if the store does not say it in time.
        """
        return await in_time(self._find_session(id), STORE_TIMEOUT_S)

    async def _find_session(self, id: str) -> Session | None:
        with contextlib.suppress(SessionNotFound):
            return await self.window.get(id)
        by_agents_ids = await sessions_by_agents_ids(self.window, self.agent.family)
        with contextlib.suppress(SessionNotFound):
            return await self.window.get(by_agents_ids[id]) if id in by_agents_ids else None
        return None

    def loading(self, id: str) -> asyncio.Lock:
        """Return what is held while the conversation *id* is loaded: once at a time."""
        return self._loads.setdefault(id, asyncio.Lock())


async def in_time(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Return the result of *work*; raise TimeoutError, and cancel it, if it takes longer.

    Unlike `asyncio.wait_for` this does not wait for the cancelled work to end: that of a store that
    is being opened may never do.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
        raise TimeoutError
    return task.result()


@attrs.define
class Replay:
    """What an agent replays of a conversation: held back until it is known whether it is all."""

    lines: list[Message] = attrs.field(factory=list)
    state: dict[str, Message] = attrs.field(factory=dict)
    """What tells of the session now, and says nothing: the last of each kind."""
    size: int = 0
    is_too_long: bool = False

    def add(self, message: Message, longest: int) -> None:
        """Take in a message, unless there are too many already."""
        update = message.params.get("update")
        kind = update.get("sessionUpdate") if isinstance(update, dict) else None
        if isinstance(kind, str) and kind in STATE_UPDATES:
            self.state[kind] = message
            return
        self.size += len(message.raw)
        self.is_too_long = self.is_too_long or self.size > longest
        if self.is_too_long:
            self.lines.clear()
        else:
            self.lines.append(message)

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The updates, in their order."""
        found = (each.params.get("update") for each in self.lines)
        return [each for each in found if isinstance(each, dict)]
