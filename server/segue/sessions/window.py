"""Window: what one editor window has open, and which session an opening goes on with."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import attrs

from segue.model.errors import NothingToResume, SessionNotFound, SessionNotOpen
from segue.model.events import Event
from segue.model.json_text import encode
from segue.model.records import (
    LAST_SEEN,
    PAGE,
    AppendResult,
    Batch,
    EventPage,
    FindResult,
    OpenResult,
    Session,
    SessionPage,
)
from segue.model.workspace import Workspace
from segue.protocol.messages import Mode
from segue.sessions.manager import SessionManager, ago
from segue.store.service import SessionService

Redact = Callable[[Any, str], Any]
"""Returns a JSON value, which the text holds as ASCII JSON, as it may be stored."""


def no_redaction(value: Any, text: str) -> Any:
    """Return *value*: nothing is redacted."""
    return value


async def no_wait() -> None:
    """Wait for nothing."""


_LONGEST_AGE_MINUTES = 1_000 * 365 * 24 * 60
_MOST_TOGETHER = 1_000
"""How many events' appends share a commit: as many as a page, so that nobody waits for long."""


class _Appends:
    """Appends to one session that stand in line behind each other: their turn is one."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.batches: list[Batch] = []
        self._events = 0
        self._answers: list[asyncio.Future[AppendResult]] = []

    def takes(self, session_id: str) -> bool:
        """Tell whether one more append, to that session, may join."""
        return session_id == self.session_id and self._events < _MOST_TOGETHER

    def join(self, batch: Batch) -> asyncio.Future[AppendResult]:
        """Put *batch* behind the others; return what will be its answer."""
        answer = asyncio.get_running_loop().create_future()
        self.batches.append(batch)
        self._events += len(batch.events)
        self._answers.append(answer)
        return answer

    def answer(self, outcomes: Sequence[AppendResult | Exception]) -> None:
        """Give each append its outcome."""
        for answer, outcome in zip(self._answers, outcomes, strict=True):
            if answer.cancelled():
                continue
            if isinstance(outcome, AppendResult):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)


class _Turn:
    """First in, first out: the first await of every request keeps the order of arrival.

    Whose turn it is waits until its answer can be taken: so only two are in the making at once.
    """

    def __init__(self, window: "Window", appends: _Appends | None) -> None:
        self._window = window
        self._appends = appends

    async def __aenter__(self) -> None:
        window = self._window
        window._last_in_line = self._appends
        try:
            await window._line.acquire()
            try:
                await window._before_request()
            except BaseException:
                window._line.release()
                raise
        finally:
            if window._last_in_line is self._appends:
                window._last_in_line = None  # what comes now is too late for this turn

    async def __aexit__(self, *_: object) -> None:
        self._window._line.release()


class Window:
    """The sessions of one editor window, over a service that is opened when it is first needed.

    Requests take effect one after the other, in the order in which they are made. What an editor
    says is redacted here, before anything is kept, compared or named after it.
    """

    def __init__(
        self,
        open_service: Callable[[], Awaitable[SessionService]],
        continue_minutes: float,
        redact: Redact = no_redaction,
        before_request: Callable[[], Awaitable[None]] = no_wait,
    ) -> None:
        self._open_service = open_service
        self._continue_minutes = continue_minutes
        self._redact = redact
        self._service: SessionService | None = None
        self._managers: dict[str, SessionManager] = {}
        # Awaited before each request takes effect.
        self._before_request = before_request
        self._line = asyncio.Lock()
        self._last_in_line: _Appends | None = None
        self._left_alone: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """Release the store, after what was begun."""
        async with self._turn():
            if self._service is not None:
                await self._service.close()

    async def open(
        self,
        workspace: Workspace,
        *,
        session_id: str | None = None,
        mode: Mode = "auto",
        continue_minutes: float | None = None,
        tail: int = PAGE,
    ) -> OpenResult:
        """Open a session: the one named, one that fits *workspace*, or a new one.

        What is open here already is given back as it is. Raises SessionNotFound, or
        NothingToResume for the mode `resume`.
        """
        async with self._turn():
            if session_id is not None:
                reason = "It was asked for by its id."
                return await self._open(session_id, workspace, reason, tail)
            if mode == "new":
                return await self._begin(workspace, "A new session was asked for.")
            if mode == "auto" and (empty := self._empty_one(workspace)) is not None:
                return await self._look(empty, "It is open here and still empty.")
            found = await self._find(workspace, continue_minutes)
            if found.session is not None:
                # It may be deleted by another window just now: then nothing fits any more.
                with contextlib.suppress(SessionNotFound):
                    opened = await self._open(found.session.id, workspace, found.reason, tail)
                    return attrs.evolve(opened, alternatives=found.alternatives)
            if mode == "resume":
                raise NothingToResume(found.reason)
            return await self._begin(workspace, found.reason)

    async def find_resumable(
        self, workspace: Workspace, continue_minutes: float | None = None
    ) -> FindResult:
        """Say which session `open` would go on with, and why. Opens nothing."""
        async with self._turn():
            return await self._find(workspace, continue_minutes)

    async def append(
        self, session_id: str, events: Sequence[Event], parent_id: str | None = LAST_SEEN
    ) -> AppendResult:
        """Append to a session that is open here, as `SessionManager.persist_events` promises.

        Appends to one session that wait behind each other are stored by one commit.
        """
        if not events:
            async with self._turn():
                return await self._open_manager(session_id).persist_events([])
        batch = Batch(events=[self._redacted(event) for event in events], parent_id=parent_id)
        appends = self._last_in_line
        if appends is not None and appends.takes(session_id):
            return await appends.join(batch)
        appends = _Appends(session_id)
        answer = appends.join(batch)
        await self._append(appends)
        return await answer

    async def _append(self, appends: _Appends) -> None:
        try:
            async with self._turn(appends):
                manager = self._open_manager(appends.session_id)
                outcomes = await manager.persist_batches(appends.batches)
        except asyncio.CancelledError:
            # Who came first gives up; those that joined do not. What is stored already is known.
            self._left_alone = asyncio.ensure_future(self._append(appends))
            raise
        except Exception as error:
            appends.answer([error] * len(appends.batches))
        else:
            appends.answer(outcomes)

    async def events(
        self, session_id: str, *, after: int | None, before: int | None, limit: int
    ) -> EventPage:
        """Return a page of a session's events, open here or not."""
        async with self._turn():
            if self._is_deferred(session_id):
                return EventPage(events=(), has_more=False)
            service = await self._connected()
            return await service.load_events(session_id, after=after, before=before, limit=limit)

    async def list_sessions(
        self, workspace: Workspace | None, *, archived: bool, cursor: str | None, limit: int
    ) -> SessionPage:
        """Return a page of the sessions of *workspace* and its worktrees, or of everywhere."""
        async with self._turn():
            service = await self._connected()
            return await service.list_sessions(
                directory=None if workspace is None else workspace.directory,
                git_common_dir=None if workspace is None else workspace.git_common_dir,
                archived=archived,
                cursor=cursor,
                limit=limit,
            )

    async def reset(self, session_id: str) -> OpenResult:
        """Archive a session that is open here and begin a new one in its place."""
        async with self._turn():
            manager = self._open_manager(session_id)
            was = "archived" if manager.stored else "empty"
            await manager.archive_and_reset()
            del self._managers[session_id]
            self._managers[manager.session_id] = manager
            return await self._look(manager, f"The session before it was {was}.")

    async def archive(self, session_id: str) -> None:
        """Put a session aside, open here or not. One that is still empty is just closed."""
        async with self._turn():
            if self._is_deferred(session_id):
                del self._managers[session_id]
            else:
                await (await self._connected()).archive(session_id)

    async def unarchive(self, session_id: str) -> None:
        """Bring an archived session back."""
        async with self._turn():
            if not self._is_deferred(session_id):
                await (await self._connected()).unarchive(session_id)

    async def delete(self, session_id: str) -> None:
        """Remove a session for good, and close it here. An unknown id succeeds."""
        async with self._turn():
            await (await self._connected()).delete(session_id)
            self._managers.pop(session_id, None)

    async def close_session(self, session_id: str) -> None:
        """Forget that a session is open here. One that is not succeeds."""
        async with self._turn():
            self._managers.pop(session_id, None)

    async def set_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Remember the remote service's id of a session, open here or not."""
        async with self._turn():
            if (manager := self._managers.get(session_id)) is not None:
                await manager.persist_server_session_id(server_session_id)
            else:
                service = await self._connected()
                await service.update_server_session_id(session_id, server_session_id)

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Return what is kept with a session under *key*, or None."""
        async with self._turn():
            if (manager := self._managers.get(session_id)) is not None:
                return await manager.get_metadata(key)
            return await (await self._connected()).get_metadata(session_id, key)

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Keep a JSON value with a session, open here or not; None removes it."""
        async with self._turn():
            value = self._redact(value, encode("$.value", value))
            if (manager := self._managers.get(session_id)) is not None:
                await manager.set_metadata(key, value)
            else:
                await (await self._connected()).set_metadata(session_id, key, value)

    def _turn(self, appends: _Appends | None = None) -> _Turn:
        return _Turn(self, appends)

    def _redacted(self, event: Event) -> Event:
        data = self._redact(event.data, event.json_text)
        return event if data is event.data else event.with_data(data)

    async def _connected(self) -> SessionService:
        if self._service is None:
            self._service = await self._open_service()
        return self._service

    def _open_manager(self, session_id: str) -> SessionManager:
        try:
            return self._managers[session_id]
        except KeyError:
            raise SessionNotOpen(session_id) from None

    def _is_deferred(self, session_id: str) -> bool:
        manager = self._managers.get(session_id)
        return manager is not None and not manager.stored

    def _empty_one(self, workspace: Workspace) -> SessionManager | None:
        return next(
            (
                manager
                for manager in self._managers.values()
                if not manager.stored and manager.workspace == workspace
            ),
            None,
        )

    async def _begin(self, workspace: Workspace, reason: str) -> OpenResult:
        manager = SessionManager.create_new(await self._connected(), workspace)
        self._managers[manager.session_id] = manager
        return await self._look(manager, reason)

    async def _open(
        self, session_id: str, workspace: Workspace, reason: str, tail: int
    ) -> OpenResult:
        if (manager := self._managers.get(session_id)) is not None:
            return await self._look(manager, reason, tail)
        service = await self._connected()
        session, page = await service.open_session(session_id, tail)
        manager = self._managers[session_id] = SessionManager(service, workspace, session)
        return _opened(manager, reason, session, page)

    async def _look(self, manager: SessionManager, reason: str, tail: int = 0) -> OpenResult:
        return _opened(manager, reason, *await manager.look(tail))

    async def _find(self, workspace: Workspace, continue_minutes: float | None) -> FindResult:
        minutes = self._continue_minutes if continue_minutes is None else continue_minutes
        if minutes <= 0:
            reason = "Sessions are not resumed by themselves here (continueMinutes is 0)."
            return FindResult(session=None, reason=reason, alternatives=())
        fitting = await (await self._connected()).find_resumable(
            workspace.directory,
            workspace.git_root,
            timedelta(minutes=min(minutes, _LONGEST_AGE_MINUTES)),
        )
        if not fitting:
            reason = f"No session of this workspace was updated in the last {minutes:g} minutes."
            return FindResult(session=None, reason=reason, alternatives=())
        session, *others = fitting
        return FindResult(session=session, reason=_why(session, workspace), alternatives=others)


def _opened(manager: SessionManager, reason: str, session: Session, page: EventPage) -> OpenResult:
    return OpenResult(
        session=session,
        invocation_id=manager.invocation_id,
        resumed=manager.resumed,
        reason=reason,
        boundary=manager.boundary,
        events=page.events,
        has_more=page.has_more,
        last_event_at=session.updated_at if session.event_count else None,
    )


def _why(session: Session, workspace: Workspace) -> str:
    if session.git_root is not None and session.git_root == workspace.git_root:
        where = f"git repository ({session.git_root})"
    else:
        where = f"directory ({session.directory})"
    return f"The newest session of this {where}, last updated {ago(session.updated_at)}."
