"""Follower: tells a client what is added to the sessions that it follows, and when lists change."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from segue.model.errors import SessionNotFound, StorageError
from segue.model.records import Appended
from segue.store.service import SessionService

_AFTER_ERROR_S = 1.0
"""When the store is looked at again after it could not be read."""


class Client(Protocol):
    """Who follows, and is told."""

    def did_append(self, appended: Appended) -> None:
        """Tell of the next events of a session that is followed, in their order, each once."""

    def did_change_list(self) -> None:
        """Tell that a list of sessions may be another one now."""


class Follower:
    """Looks for changes of the store while anything is followed, and tells *client*.

    Each notification waits for *before_notification*, as a request waits before its effect.
    """

    def __init__(self, client: Client, before_notification: Callable[[], Awaitable[None]]) -> None:
        self._client = client
        self._before_notification = before_notification
        self._sessions: dict[str, int] = {}
        """Up to which seq the client knows each session that it follows."""
        self._follows_list = False
        self._mark: Any = None
        self._task: asyncio.Task[None] | None = None

    async def follow(self, service: SessionService, session_id: str, after: int | None) -> int:
        """Tell of the events of a session above *after*, or of those that are still to come.

        Returns above which seq. One that is followed already is followed anew. Raises
        SessionNotFound.
        """
        session = await service.get_session(session_id)
        self._sessions[session_id] = session.event_count if after is None else after
        await self._start(service)
        return self._sessions[session_id]

    async def follow_list(self, service: SessionService) -> None:
        """Tell of every change after this call that a list may show."""
        if not self._follows_list:
            self._mark = await service.wait_for_change()
            self._follows_list = True
        await self._start(service)

    async def unfollow(self, session_id: str | None) -> None:
        """Follow a session, or None: the list, no longer. One that is not followed succeeds."""
        if session_id is None:
            self._follows_list = False
        else:
            self._sessions.pop(session_id, None)
        if not self._sessions and not self._follows_list:
            await self.close()

    async def close(self) -> None:
        """Stop. Nothing is told afterwards."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _start(self, service: SessionService) -> None:
        # Anew: what is followed only now may have events that its client does not know.
        await self.close()
        self._task = asyncio.ensure_future(self._run(service))

    async def _run(self, service: SessionService) -> None:
        while True:
            try:
                for session_id in list(self._sessions):
                    await self._tell_events(service, session_id)
                mark = await service.wait_for_change(self._mark)
            except StorageError:
                await asyncio.sleep(_AFTER_ERROR_S)
                continue
            is_first, self._mark = self._mark is None, mark
            if self._follows_list and not is_first:
                await self._before_notification()
                self._client.did_change_list()

    async def _tell_events(self, service: SessionService, session_id: str) -> None:
        has_more = True
        while has_more and session_id in self._sessions:
            after = self._sessions[session_id]
            try:
                page = await service.load_events(session_id, after=after)
                session = await service.get_session(session_id) if page.events else None
            except SessionNotFound:
                page, session = None, None
            await self._before_notification()
            if self._sessions.get(session_id) != after:
                return
            if page is None:
                del self._sessions[session_id]
                self._client.did_append(Appended(session_id=session_id, session=None))
                return
            has_more = page.has_more
            if session is not None:
                self._sessions[session_id] = page.events[-1].seq
                self._client.did_append(
                    Appended(
                        session_id=session_id,
                        session=session,
                        events=page.events,
                        invocations=page.invocations,
                    )
                )
