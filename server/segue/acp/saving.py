"""Stores events in the order in which they were said; what cannot be stored now is kept.

Nothing waits for it but a prompt, for at most a second: a conversation goes on whatever the disk
does.
"""

import asyncio
import collections
import contextlib
from collections.abc import Callable

import attrs

from segue.acp.conversation import Conversation
from segue.acp.holding import Holding, holding_of, remember
from segue.model.errors import (
    EventConflict,
    HeadMoved,
    SegueError,
    SessionNotFound,
    SessionNotOpen,
    SessionReadOnly,
)
from segue.model.events import Event, new_id
from segue.model.records import MAX_BATCH
from segue.model.validation import InvalidInputError
from segue.sessions.window import Window

MAX_KEPT = 32 * 1024 * 1024
"""How much is kept that could not be stored, in bytes as it is stored."""

_RETRY_S = (0.2, 1.0, 5.0, 15.0)


@attrs.frozen
class _Unsaved:
    conversation: Conversation
    event: Event

    @property
    def size(self) -> int:
        return len(self.event.json_text)


class Saver:
    """Appends events to the sessions of conversations, in the background."""

    def __init__(self, window: Window, say: Callable[[str], None]) -> None:
        """*say* is called with a sentence for the person: at the first failure, and at its end."""
        self._window = window
        self._say = say
        self._unsaved: collections.deque[_Unsaved] = collections.deque()
        self._kept = 0
        self._failures = 0
        self._is_closing = False
        self.dropped = 0
        """How many events were given up: no memory was left for them, or they cannot be stored."""
        self._wanted = asyncio.Event()
        self._saved = asyncio.Event()
        self._saved.set()
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_failing(self) -> bool:
        """Whether the store could not be written when that was tried last."""
        return self._failures > 0

    @property
    def unsaved(self) -> int:
        """How many events are not stored yet."""
        return len(self._unsaved)

    def add(self, conversation: Conversation, events: list[Event]) -> None:
        """Store *events* of a conversation, behind those that were added before."""
        for event in events:
            self._unsaved.append(unsaved := _Unsaved(conversation, event))
            self._kept += unsaved.size
        while self._kept > MAX_KEPT and self._drop_oldest():
            pass
        if events:
            self._saved.clear()
            self._wanted.set()

    async def saved(self, timeout_s: float) -> bool:
        """Wait until everything that was added is stored; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._saved.wait()
        return not self._unsaved

    async def close(self, timeout_s: float) -> None:
        """Store what is left, for at most *timeout_s*."""
        self._is_closing = True
        self._wanted.set()
        await self.saved(timeout_s)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if lost := len(self._unsaved) + self.dropped:
            self._say(f"{lost} events of the conversation could not be stored.")

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._unsaved:
                try:
                    await self._save_first()
                except SegueError as error:
                    await self._wait_after(error)
                except Exception as error:  # of any kind: the others must not wait for ever
                    if self._failures < len(_RETRY_S):
                        await self._wait_after(error)
                    else:
                        self._give_up_first(error)
                else:
                    self._recovered()
            self._saved.set()

    async def _save_first(self) -> None:
        """Store the first events, as far as they are of one conversation."""
        conversation = self._unsaved[0].conversation
        batch: list[Event] = []
        for each in self._unsaved:
            if each.conversation is not conversation or len(batch) == MAX_BATCH:
                break
            batch.append(each.event)
        await self._open(conversation)
        try:
            await self._append(conversation, batch)
        except (InvalidInputError, EventConflict):
            # One of them can never be stored: the others must not wait for it.
            batch = batch[:1]
            try:
                await self._append(conversation, batch)
            except (InvalidInputError, EventConflict):
                self.dropped += 1
        for event in batch:
            # What was dropped meanwhile is not there any more.
            if self._unsaved and self._unsaved[0].event is event:
                self._kept -= self._unsaved.popleft().size

    async def _append(self, conversation: Conversation, batch: list[Event]) -> None:
        try:
            await self._window.append(conversation.session_id, batch, origin=conversation.origin)
        except (HeadMoved, SessionReadOnly):
            # Another window or agent went on with it, or it is another user's: what is said from
            # now on is a fork.
            original = await self._window.get(conversation.session_id)
            held = await holding_of(self._window, original, conversation.family)
            fork = await self._window.fork_as_seen(original.id)
            if original.shared_by is not None:
                # What it begins with was given to the agent as text.
                held = Holding(id=conversation.agent_id, since=fork.session.event_count)
                self._say(
                    f"The conversation is {original.shared_by}'s, who shares it to be read: "
                    "it goes on in a copy of your own."
                )
            conversation.mark_open(fork.session.id, fork.invocation_id)
            await remember(self._window, conversation, held)
            await self._window.append(conversation.session_id, batch, origin=conversation.origin)
        except (SessionNotFound, SessionNotOpen):
            # It was deleted elsewhere: what is said from now on is another session.
            conversation.session_id = new_id()
            conversation.is_open = False
            await self._open(conversation)
            await self._window.append(conversation.session_id, batch, origin=conversation.origin)

    async def _open(self, conversation: Conversation) -> None:
        if conversation.is_open:
            return
        opened, held = None, None
        if conversation.may_be_stored:
            with contextlib.suppress(SessionNotFound):
                opened = await self._window.open(
                    conversation.workspace, session_id=conversation.session_id, tail=0
                )
                held = await holding_of(self._window, opened.session, conversation.family)
        if opened is None:
            opened = await self._window.begin(
                conversation.workspace,
                conversation.session_id,
                server_session_id=conversation.agent_id,
            )
        conversation.invocation_id = opened.invocation_id
        await remember(self._window, conversation, held)
        conversation.is_open = True

    def _give_up_first(self, error: Exception) -> None:
        if not self.dropped:
            self._say(f"An event cannot be stored: {type(error).__name__}: {error}")
        self._kept -= self._unsaved.popleft().size
        self.dropped += 1

    async def _wait_after(self, error: Exception) -> None:
        if not self._failures:
            self._say(
                f"The conversation cannot be stored now, and goes on: {error} "
                "What is said is kept in memory and tried again."
            )
        pause = _RETRY_S[0 if self._is_closing else min(self._failures, len(_RETRY_S) - 1)]
        self._failures += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), pause)
        self._wanted.clear()

    def _recovered(self) -> None:
        if self._failures:
            self._failures = 0
            self._say("The conversation is stored again.")

    def _drop_oldest(self) -> bool:
        """Give up the oldest event, of an answer if there is one, but no prompt before it."""
        for number, each in enumerate(self._unsaved):
            if number and each.event.type != "user_message":
                del self._unsaved[number]
                self._kept -= each.size
                self.dropped += 1
                return True
        return False
