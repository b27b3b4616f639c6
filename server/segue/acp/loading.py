"""`session/load` and `session/resume` for every agent: its own conversation, or the stored one.

An agent that has the conversation whole shows it itself. One that has only a part of it, or
nothing, gets the rest as text with the next prompt, and the client is shown what the store has.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from segue.acp import commands, messages
from segue.acp.connection import STORE_TIMEOUT_S, Connection, Replay, in_time
from segue.acp.conversation import Conversation
from segue.acp.history import History
from segue.acp.holding import Answered, Holding, holding_of, last_held, remember, turns_held
from segue.acp.messages import Message
from segue.acp.recording import Recorder, read_replay
from segue.acp.replaying import Replayer
from segue.model.errors import SegueError
from segue.model.events import Event, is_model_visible
from segue.model.records import Session
from segue.sessions.pages import event_pages


async def load(connection: Connection, message: Message, id: str) -> None:
    """Answer `session/load` or `session/resume` of the conversation *id*."""
    known = None
    with contextlib.suppress(SegueError, TimeoutError):
        known = await connection.session_of(id)
    async with connection.loading(id if known is None else known.id):
        if (open_here := connection.by_client_id.get(id)) is not None:
            connection.saver.add(open_here, open_here.recorder.flush())
            await connection.saver.saved(STORE_TIMEOUT_S)
        lines = await _Loading(connection, message, id).run()
        connection.to_client.insert(*lines)


class _Loading:
    def __init__(self, connection: Connection, message: Message, id: str) -> None:
        self._is = connection
        self._message = message
        self._id = id
        self._shows = message.method == "session/load"

    async def run(self) -> list[bytes]:
        """Show the conversation, and return the lines that end the request."""
        open_here = self._is.by_client_id.get(self._id)
        if open_here is not None and open_here.recorder.is_prompted:
            return await self._show_again(open_here)
        try:
            session = await self._is.session_of(self._id)
        except (SegueError, TimeoutError):
            return await self._load_unknown(may_be_stored=True)
        if session is None:
            return await self._load_unknown(may_be_stored=False)
        held = await holding_of(self._is.window, session, self._is.agent.family)
        if held is not None and self._is.agent.has_conversations and not self._is_prompted(held):
            # What it says right after its answer is kept until the conversation is known.
            with self._is.beginning():
                answer, replay = await self._ask(held.id)
                if not answer.is_error and await self._is_complete(session, replay, held):
                    return await self._go_on(session, held, answer, replay)
                self._is.abandoned.add(held.id)
        return await self._revive(session)

    def _is_prompted(self, held: Holding) -> bool:
        """Return whether the agent answers now: then nobody could tell that from a replay."""
        conversation = self._is.by_agent_id.get(held.id)
        return conversation is not None and conversation.recorder.is_prompted

    async def _show_again(self, conversation: Conversation) -> list[bytes]:
        """Show what is stored of a conversation in which the agent answers now."""
        if self._shows:
            await show(self._is, conversation)
        return self._answered(conversation, {}, "theirs")

    async def _ask(self, agent_id: str) -> tuple[Message, Replay | None]:
        """Let the agent load its own conversation; return its answer, and what it replayed."""
        is_load = self._is.agent.loads
        replay = self._is.replays[agent_id] = Replay()
        try:
            answer = await self._is.ask_agent(
                "session/load" if is_load else "session/resume",
                self._message.params | {"sessionId": agent_id},
            )
        finally:
            del self._is.replays[agent_id]
        return answer, replay if is_load and not replay.is_too_long else None

    async def _is_complete(self, session: Session, replay: Replay | None, held: Holding) -> bool:
        """Return whether the agent has what it should have: some lose it, and say nothing."""
        if replay is None:
            return True
        answered = Answered()
        for type, data in read_replay(replay.updates):
            answered.add(type, data)
        return answered.count >= await turns_held(self._is.window, session.id, held)

    async def _load_unknown(self, *, may_be_stored: bool) -> list[bytes]:
        """Let the agent show a conversation that is not stored, and store what it shows.

        What may be stored already is not stored again.
        """
        if not self._is.agent.has_conversations:
            text = f"No conversation has the id {self._id}."
            return [messages.error(self._message, messages.RESOURCE_NOT_FOUND, text)]
        before = self._is.by_client_id.get(self._id)
        conversation = await self._conversation(self._id)
        conversation.recorder = Recorder(is_replay=True)
        conversation.may_be_stored = conversation.is_muted = may_be_stored
        self._is.add(conversation)
        if self._shows and self._is.agent.loads:
            answer = await self._is.ask_agent("session/load", self._message.params)
        else:
            answer, replay = await self._ask(self._id)
            if replay is not None and not may_be_stored:
                for update in replay.updates:
                    self._is.saver.add(conversation, conversation.recorder.update(update, 0.0))
        if answer.is_error:
            self._is.forget(conversation)
            if before is not None:
                self._is.add(before)
            return [messages.answer_as(self._message, answer)]
        if not may_be_stored:
            self._is.saver.add(conversation, conversation.recorder.flush())
        conversation.recorder, conversation.is_muted = Recorder(), False
        conversation.origin = self._is.origin(messages.model_in(answer.result))
        how = "theirs" if may_be_stored or not self._is.agent.loads else "taken in"
        return self._answered(conversation, answer.result, how)

    async def _go_on(
        self,
        session: Session,
        held: Holding,
        answer: Message,
        replay: Replay | None,
    ) -> list[bytes]:
        """Go on with the agent's own conversation, and have it told what it missed."""
        holds = await last_held(self._is.window, session.id, held)
        conversation = await self._resumed(held.id, answer, session)
        await remember(self._is.window, conversation, held)
        history = History(self._is.history_chars)
        missed = 0
        async for page in event_pages(self._is.window.events, session.id, holds):
            missed += sum(is_model_visible(each.type) for each in page.events)
            history.add(page.events)
        if missed:
            arm(conversation, history)
        if self._shows:
            if missed or held.since or replay is None:
                await show(self._is, conversation)
            else:
                self._pass_on(replay.lines)
        self._pass_on([] if replay is None else replay.state.values())
        return self._answered(conversation, answer.result, "caught up" if missed else "theirs")

    async def _revive(self, session: Session) -> list[bytes]:
        """Begin a conversation of the agent that goes on with the stored one."""
        params = {k: v for k, v in self._message.params.items() if k != "sessionId"}
        with self._is.beginning():
            answer = await self._is.ask_agent("session/new", params)
            agent_id = messages.session_id_in(answer.result)
            if answer.is_error or agent_id is None:
                return [messages.answer_as(self._message, answer)]
            conversation = await self._resumed(agent_id, answer, session)
        await _give_as_text(self._is, conversation, session)
        if self._shows:
            await show(self._is, conversation)
        return self._answered(conversation, answer.result, "revived")

    async def _conversation(self, agent_id: str) -> Conversation:
        return Conversation(
            client_id=self._id,
            agent_id=agent_id,
            session_id=self._id,
            family=self._is.agent.family,
            workspace=await self._is.workspace(self._message.params.get("cwd")),
            origin=self._is.origin(),
        )

    async def _resumed(self, agent_id: str, answer: Message, session: Session) -> Conversation:
        """Open a stored session, and make its conversation known."""
        conversation = await self._conversation(agent_id)
        conversation.origin = self._is.origin(messages.model_in(answer.result))
        await _open(self._is, conversation, session)
        self._is.add(conversation)
        # An imported one is the source's own, which goes on with it.
        if session.source is None and session.shared_by is None:
            await self._is.window.set_server_session_id(session.id, agent_id)
        return conversation

    def _pass_on(self, lines: Iterable[Message]) -> None:
        """Let the client see what the agent has replayed, which is stored already."""
        conversation = self._is.by_client_id[self._id]
        for line in map(messages.without_told_title, lines):
            if (offered := commands.commands_in(line)) is not None:
                conversation.commands = offered
                continue  # they are offered with the answer
            raw = messages.with_session_id(line.raw, conversation.agent_id, conversation.client_id)
            self._is.to_client.insert(raw)

    def _answered(
        self, conversation: Conversation, theirs: dict[str, Any], how: str
    ) -> list[bytes]:
        result = {k: v for k, v in theirs.items() if k != "sessionId"}
        meta = result.get("_meta")
        ours = {"segue": {"history": how}}
        result["_meta"] = {**meta, **ours} if isinstance(meta, dict) else ours
        return [messages.answer(self._message, result), commands.offer(conversation)]


async def switch(connection: Connection, conversation: Conversation, session: Session) -> None:
    """Go on with another stored session in a conversation that the client has begun.

    Raises TimeoutError if what was said before is not stored yet.
    """
    connection.saver.add(conversation, conversation.recorder.flush())
    if not await connection.saver.saved(STORE_TIMEOUT_S):
        raise TimeoutError("what was said before is not stored yet.")
    await _open(connection, conversation, session)
    await _give_as_text(connection, conversation, session)
    await show(connection, conversation)


async def fork(connection: Connection, original: Conversation, fork: Conversation) -> None:
    """Let *fork* be a fork of what is stored of *original*, as the agent has made one.

    If nothing is, or the store does not do it in time, the fork begins anew.
    """
    fork.may_be_stored = True
    with contextlib.suppress(SegueError, ValueError, TimeoutError):
        await in_time(_fork(connection, original, fork), STORE_TIMEOUT_S)


async def _fork(connection: Connection, original: Conversation, fork: Conversation) -> None:
    opened = await connection.window.fork(
        original.session_id, workspace=fork.workspace, new_session_id=fork.session_id
    )
    fork.mark_open(fork.session_id, opened.invocation_id)
    session = await connection.window.get(original.session_id)
    held = await holding_of(connection.window, session, original.family)
    if held is not None:
        held = attrs.evolve(held, id=fork.agent_id)
    await remember(connection.window, fork, held)


async def show(connection: Connection, conversation: Conversation) -> None:
    """Replay to the client what is stored of a conversation."""
    replayer = Replayer()
    async for page in event_pages(connection.window.events, conversation.session_id):
        _send(connection, conversation, replayer.updates(page.events))
        await connection.wait_for_client()
    _send(connection, conversation, replayer.end())


def _send(
    connection: Connection, conversation: Conversation, updates: Iterator[dict[str, Any]]
) -> None:
    for update in updates:
        connection.to_client.insert(messages.update(conversation.client_id, update))


async def _open(connection: Connection, conversation: Conversation, session: Session) -> None:
    """Let a stored session be the one of a conversation."""
    opened = await connection.window.open(conversation.workspace, session_id=session.id, tail=0)
    conversation.mark_open(session.id, opened.invocation_id)
    conversation.has_title = session.title is not None


async def _give_as_text(
    connection: Connection, conversation: Conversation, session: Session
) -> None:
    """Have the agent, which has nothing of *session*, be given all of it with the next prompt."""
    held = Holding(id=conversation.agent_id, since=session.event_count)
    await remember(connection.window, conversation, held)
    history = History(connection.history_chars)
    async for page in event_pages(connection.window.events, conversation.session_id):
        history.add(page.events)
    arm(conversation, history)


def arm(conversation: Conversation, history: History) -> None:
    """Have the agent be given *history* with the next prompt, if there is any."""
    found = history.text()
    conversation.preamble = found.text or None
    conversation.given = (found.given, found.total)


def with_preamble(connection: Connection, message: Message, conversation: Conversation) -> bytes:
    """Return a prompt with the history that the agent does not have before it.

    The person is told, and both are stored.
    """
    preamble, conversation.preamble = conversation.preamble, None
    conversation.given_preamble = preamble
    given, total = conversation.given
    name = connection.agent.title or "The agent"
    note = (
        f"[Note: {name} did not have this conversation. {given} of {total} exchanges were given to "
        "it as text.]"
    )
    connection.to_client.insert(
        messages.update(
            conversation.client_id,
            {"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": note}},
        )
    )
    events = [Event.new("system_context", {"content": note})]
    connection.saver.add(conversation, events)
    blocks = message.params.get("prompt")
    told: list[Any] = [{"type": "text", "text": preamble}]
    prompt = [*told, *blocks] if isinstance(blocks, list) else told
    body = message.body | {"params": message.params | {"prompt": prompt}}
    return messages.encode(body)
