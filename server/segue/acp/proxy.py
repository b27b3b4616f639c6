"""What the messages between a client and an agent mean, and what becomes of each."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from segue.acp import capabilities, commands, listing, loading, messages, slash
from segue.acp.capabilities import Agent
from segue.acp.connection import STORE_TIMEOUT_S, Connection
from segue.acp.conversation import Conversation
from segue.acp.messages import Message
from segue.acp.relay import Handled
from segue.model.events import new_id
from segue.model.records import Origin

_ADOPTED = re.compile(r"[A-Za-z0-9_-]{20,128}")
"""An agent's ids that are as good as ours. `1` may be another conversation's tomorrow."""

_RECORDED_ANSWERS = ("session/request_permission", "terminal/output")
_MAX_REPLAY = 16 * 1024 * 1024
_MAX_NAME = 100

Answered = Callable[[Message], Handled]
"""Returns what the client gets instead of an answer that it waits for."""


class RecordingProxy:
    """Records what is said, and brings back what was said before."""

    def __init__(self, connection: Connection) -> None:
        self._is = connection
        connection.deliver = self._deliver
        self._due: dict[str, Answered] = {}
        """The answers that are changed or waited for, by the ids of the client's requests."""
        self._loads: dict[str, asyncio.Event] = {}
        """The loads that have not ended, by the ids of their conversations."""
        self._turns: dict[str, Conversation] = {}
        """The turns that have not ended, by the ids of the client's requests."""
        self._asked: dict[str, tuple[Conversation, Message]] = {}
        """The requests of the agent whose answers are recorded, by their ids."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def must_look(self) -> bool:
        """Whether something that the agent says has to be handled before it goes on."""
        return bool(
            self._due or self._is.is_asking or self._is.is_beginning or self._is.has_renamed
        )

    # -- from the client -------------------------------------------------------------------------

    def from_client(self, message: Message) -> Handled:
        """Return what the agent gets instead of a message of the client."""
        method, id = message.method, message.session_id
        if method is None:
            self._client_answered(message)
            return message.raw
        conversation = self._is.by_client_id.get(id) if id is not None else None
        is_ours = message.key is not None and self._is.has_version_1
        match method:
            case "initialize":
                self._is.client = _origin(message.params.get("clientInfo"))
                self._expect(message, self._initialized)
            case "session/new":
                self._expect(message, partial(self._created, message.params))
            case "session/load" | "session/resume" if is_ours and id is not None:
                loaded = self._loads[id] = asyncio.Event()
                self._is.spawn(self._load(message, id, loaded), message)
                return None
            case "session/list" if is_ours:
                self._is.spawn(listing.list_sessions(self._is, message), message)
                return None
            case "session/delete" if is_ours and id is not None:
                self._is.spawn(listing.delete(self._is, message, id), message)
                return None
            case "session/fork" if conversation is not None:
                self._expect(message, partial(self._forked, conversation))
            case "session/prompt" if id in self._loads:
                self._is.spawn(self._prompt_when_loaded(message, self._loads[id]), message)
                return None
            case "session/prompt" if conversation is not None:
                words = commands.words_of(message.params)
                if is_ours and words is not None:
                    self._is.spawn(slash.run(self._is, message, conversation, words), message)
                    return None
                return self._prompt(message, conversation)
            case "session/set_model" if conversation is not None:
                conversation.origin = self._is.origin(message.params.get("modelId"))
        return _renamed(message, conversation, to_agent=True)

    def _expect(self, message: Message, handle: Answered) -> None:
        if message.key is not None:
            self._due[message.key] = handle

    async def _load(self, message: Message, id: str, loaded: asyncio.Event) -> None:
        try:
            await loading.load(self._is, message, id)
        finally:
            loaded.set()
            if self._loads.get(id) is loaded:
                del self._loads[id]

    async def _prompt_when_loaded(self, message: Message, loaded: asyncio.Event) -> None:
        await loaded.wait()
        handled = self.from_client(message)
        line = handled if isinstance(handled, bytes) or handled is None else await handled
        self._is.to_agent.insert(line or b"")

    async def _prompt(self, message: Message, conversation: Conversation) -> bytes:
        raw = message.raw
        if conversation.preamble is not None:
            raw = loading.with_preamble(self._is, message, conversation)
        self._save(conversation, conversation.recorder.prompt(message.params))
        if message.key is not None:
            self._turns[message.key] = conversation
        # It is on disk before the agent gets it, unless the disk takes too long.
        if not self._is.saver.is_failing:
            await self._is.saver.saved(STORE_TIMEOUT_S)
        return _renamed(attrs.evolve(message, raw=raw), conversation, to_agent=True)

    def _client_answered(self, message: Message) -> None:
        if message.key is None or message.key not in self._asked:
            return
        conversation, request = self._asked.pop(message.key)
        result = message.body.get("result")
        if request.method == "terminal/output":
            conversation.recorder.terminal_output(request.params, result)
        else:
            self._save(conversation, conversation.recorder.permission(request.params, result))

    def cancel_turns(self) -> None:
        """Tell the agent that nobody waits for its turns any more."""
        for conversation in self._turns.values():
            params = {"sessionId": conversation.agent_id}
            self._is.to_agent.insert(messages.notification("session/cancel", params))

    # -- from the agent --------------------------------------------------------------------------

    def from_agent(self, message: Message) -> Handled:
        """Return what the client gets instead of a message of the agent."""
        if message.method is None:
            if self._is.take_answer(message):
                return None
            if (due := self._due.pop(message.key or "", None)) is not None:
                return due(message)
        agent_id = message.session_id
        replay = self._is.replays.get(agent_id) if agent_id is not None else None
        if replay is not None and message.method == "session/update":
            replay.add(message, _MAX_REPLAY)
            return None
        if agent_id is not None and self._is.keep_early(message):
            return None
        if agent_id in self._is.abandoned and message.key is None:
            return None
        return self._pass_on(message, agent_id)

    def _deliver(self, message: Message) -> None:
        self._is.to_client.insert(self._pass_on(message, message.session_id))

    def _pass_on(self, message: Message, agent_id: str | None) -> bytes:
        message = messages.without_told_title(message)
        self.observe_agent(message)
        conversation = self._is.by_agent_id.get(agent_id) if agent_id is not None else None
        offered = commands.commands_in(message) if self._is.has_version_1 else None
        if conversation is not None and offered is not None:
            conversation.commands = offered
            return commands.offer(conversation)
        return _renamed(message, conversation, to_agent=False)

    def observe_agent(self, message: Message) -> None:
        """Take in a message of the agent that has gone on already."""
        if message.method is None:
            if (ended := self._turns.pop(message.key or "", None)) is not None:
                error = message.body.get("error")
                self._save(ended, ended.recorder.turn_end(message.body.get("result"), error))
                if message.is_error:  # it may have kept nothing of the prompt
                    ended.preamble = ended.preamble or ended.given_preamble
                ended.given_preamble = None
            return
        agent_id = message.session_id
        conversation = self._is.by_agent_id.get(agent_id) if agent_id is not None else None
        if conversation is None:
            return
        if message.method == "session/update":
            update = message.params.get("update")
            if isinstance(update, dict):
                recorder = conversation.recorder
                self._save(conversation, recorder.update(update, time.monotonic()))
                listing.keep_title(self._is, conversation)
        elif message.method in _RECORDED_ANSWERS and message.key is not None:
            self._asked[message.key] = (conversation, message)
            if message.method == "session/request_permission":
                self._save(conversation, conversation.recorder.permission_request(message.params))

    def _initialized(self, message: Message) -> bytes:
        if message.is_error or message.result.get("protocolVersion") != 1:
            return message.raw
        self._is.agent, self._is.has_version_1 = Agent.of(message.result), True
        return messages.encode(message.body | {"result": capabilities.with_ours(message.result)})

    async def _created(self, params: dict[str, Any], message: Message) -> bytes:
        agent_id = messages.session_id_in(message.result)
        if message.is_error or agent_id is None:
            return message.raw
        conversation = await self._begin(agent_id, params.get("cwd"), message.result)
        raw = messages.with_session_id(message.raw, agent_id, conversation.client_id)
        return raw + self._offer(conversation)

    async def _begin(self, agent_id: str, cwd: object, result: dict[str, Any]) -> Conversation:
        is_new = _ADOPTED.fullmatch(agent_id) and agent_id not in self._is.by_client_id
        adopted = is_new and await self._is.stored(agent_id) is None
        client_id = agent_id if adopted else new_id()
        conversation = Conversation(
            client_id=client_id,
            agent_id=agent_id,
            session_id=client_id,
            family=self._is.agent.family,
            workspace=await self._is.workspace(cwd),
            origin=self._is.origin(messages.model_in(result)),
        )
        self._is.add(conversation)
        return conversation

    async def _forked(self, original: Conversation, message: Message) -> bytes:
        agent_id = messages.session_id_in(message.result)
        if message.is_error or agent_id is None:
            return message.raw
        await self._is.saver.saved(STORE_TIMEOUT_S)
        fork = await self._begin(agent_id, original.workspace.directory, message.result)
        await loading.fork(self._is, original, fork)
        raw = messages.with_session_id(message.raw, agent_id, fork.client_id)
        return raw + self._offer(fork)

    def _offer(self, conversation: Conversation) -> bytes:
        return commands.offer(conversation) if self._is.has_version_1 else b""

    # -- recording -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Store what was said of answers that have not ended."""
        for conversation in self._is.by_client_id.values():
            self._save(conversation, conversation.recorder.flush())

    def _save(self, conversation: Conversation, events: list[Any]) -> None:
        if conversation.is_muted:
            return
        self._is.saver.add(conversation, events)
        due = conversation.recorder.next_due
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        # The clock of the loop is time.monotonic.
        self._timer = asyncio.get_running_loop().call_at(due, self._save_due)

    def _save_due(self) -> None:
        self._timer = None
        for conversation in self._is.by_client_id.values():
            self._save(conversation, conversation.recorder.due(time.monotonic()))


def _renamed(message: Message, conversation: Conversation | None, *, to_agent: bool) -> bytes:
    if conversation is None or not conversation.is_renamed:
        return message.raw
    old, new = conversation.agent_id, conversation.client_id
    if to_agent:
        old, new = new, old
    return messages.with_session_id(message.raw, old, new)


def _origin(client: object) -> Origin:
    if not isinstance(client, dict):
        return Origin(client_name="ACP")
    title, name, version = (
        messages.text_in(client.get(key), _MAX_NAME) for key in ("title", "name", "version")
    )
    return Origin(client_name=title or name or "ACP", client_version=version)
