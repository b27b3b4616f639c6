"""SessionManager: the life of one open session, whatever store it lives in."""

import asyncio
import collections
import contextlib
from collections.abc import Sequence
from typing import Any

import attrs

from segue.model.errors import HeadMoved, SegueError, SessionNotFound
from segue.model.events import Event, SystemContext, new_id
from segue.model.json_text import encode
from segue.model.records import (
    LAST_SEEN,
    PAGE,
    AppendResult,
    Batch,
    EventPage,
    NewSession,
    Session,
    now,
)
from segue.model.workspace import Workspace
from segue.store.service import SessionService


class SessionManager:
    """Creates, resumes, persists, archives and resets one session for one editor window.

    A new session's row is deferred: it appears with its first event, in the same transaction.
    Calls take effect one after the other, in the order in which they are made.
    """

    session_id: str
    """The session that is open now; a reset changes it."""

    invocation_id: str
    """This opening of the session; every event that is persisted here carries it."""

    boundary: Event | None
    """What tells the model that an earlier invocation ends here; stored before the first append."""

    _head: str | None
    _deferred: NewSession | None

    def __init__(
        self, service: SessionService, workspace: Workspace, stored: Session | None = None
    ) -> None:
        """Go on with *stored*, as it was just read, under a new invocation id, or begin anew."""
        self.workspace = workspace
        self._service = service
        self._lock = asyncio.Lock()
        if stored is None:
            self._begin_anew()
        else:
            self._continue(stored)

    @classmethod
    def create_new(cls, service: SessionService, workspace: Workspace) -> "SessionManager":
        """Return a manager of a new session; nothing is stored before its first event."""
        return cls(service, workspace)

    @classmethod
    async def resume(
        cls, service: SessionService, session_id: str, workspace: Workspace
    ) -> "SessionManager":
        """Return a manager that goes on with a stored session, under a new invocation id.

        *workspace* is where the window is now: a reset begins there, not where the session was.
        """
        return cls(service, workspace, await service.get_session(session_id))

    @property
    def stored(self) -> bool:
        """Whether the session has a row, which it has from its first event on."""
        return self._deferred is None

    async def look(self, tail: int = PAGE) -> tuple[Session, EventPage]:
        """Return the session as it is now, with its last events.

        What other windows appended counts as seen from here.
        """
        async with self._lock:
            if self._deferred is not None:
                return self._not_stored(self._deferred), EventPage(events=(), has_more=False)
            session, page = await self._service.open_session(self.session_id, tail)
            self._head, self._event_count = session.head, session.event_count
            return session, page

    async def persist_events(
        self, events: Sequence[Event], *, parent_id: str | None = LAST_SEEN
    ) -> AppendResult:
        """Store those of *events* that are not stored yet; they may be the whole conversation.

        All or nothing, and on disk when it returns. Twice is once; after a failure the next call
        goes on from there. Raises what `SessionService.append_events` raises, its HeadMoved also
        if another window has appended since this manager last looked.
        """
        if not events:
            async with self._lock:
                return AppendResult(
                    head=self._head, event_count=self._event_count, events=(), duplicates=0
                )
        (outcome,) = await self.persist_batches([Batch(events=events, parent_id=parent_id)])
        if isinstance(outcome, SegueError):
            raise outcome
        return outcome

    async def persist_batches(
        self, batches: Sequence[Batch]
    ) -> Sequence[AppendResult | SegueError]:
        """Store each of *batches* as `persist_events` would, in their order and in one commit.

        One that is refused is answered with its error, and the others are stored all the same.
        Each has at least one event.
        """
        async with self._lock:
            outcomes: list[AppendResult | SegueError] = []
            waiting = collections.deque(batches)
            while waiting and self._deferred is not None:
                outcomes.append(await self._begin_with(waiting.popleft(), self._deferred))
            if waiting:
                outcomes += await self._go_on_with(list(waiting))
            return outcomes

    async def persist_server_session_id(self, server_session_id: str) -> None:
        """Remember the remote service's id: at once, or with the session's first event."""
        async with self._lock:
            if self._deferred is None:
                await self._service.update_server_session_id(self.session_id, server_session_id)
            else:
                self._deferred = attrs.evolve(self._deferred, server_session_id=server_session_id)

    async def get_metadata(self, key: str) -> Any:
        """Return the JSON value under *key*, or None."""
        if self._deferred is None:
            return await self._service.get_metadata(self.session_id, key)
        return self._deferred.metadata.get(key)

    async def set_metadata(self, key: str, value: Any) -> None:
        """Keep a JSON value (None removes it): at once, or with the session's first event."""
        async with self._lock:
            if self._deferred is None:
                await self._service.set_metadata(self.session_id, key, value)
                return
            encode("$.value", value)
            kept = {k: v for k, v in self._deferred.metadata.items() if k != key}
            added = {} if value is None else {key: value}
            self._deferred = attrs.evolve(self._deferred, metadata=kept | added)

    async def archive(self) -> None:
        """Put the session aside; one that was never stored leaves nothing behind."""
        async with self._lock:
            await self._archive()

    async def archive_and_reset(self) -> None:
        """Archive what was stored and begin afresh, with new ids and a deferred row.

        If archiving fails, nothing is reset.
        """
        async with self._lock:
            await self._archive()
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.session_id, self.invocation_id = new_id(), new_id()
        self.resumed = False
        self.boundary = None
        self._head = None
        self._event_count = 0
        self._opened_at = now()
        self._deferred = NewSession(
            id=self.session_id,
            directory=self.workspace.directory,
            git_root=self.workspace.git_root,
            git_common_dir=self.workspace.git_common_dir,
        )

    def _continue(self, stored: Session) -> None:
        self.session_id, self.invocation_id = stored.id, new_id()
        self.resumed = True
        self.boundary = Event.of(SystemContext(content=boundary_note(stored.updated_at)))
        self._head, self._event_count = stored.head, stored.event_count
        self._deferred = None

    async def _begin_with(self, batch: Batch, new: NewSession) -> AppendResult | SegueError:
        if batch.parent_id is not LAST_SEEN and batch.parent_id is not None:
            return HeadMoved(None, 0)
        try:
            appended = await self._service.create_session(
                new, batch.events, invocation_id=self.invocation_id
            )
        except SegueError as error:
            return error
        self._deferred = None
        self._note(appended)
        return appended

    async def _go_on_with(self, batches: Sequence[Batch]) -> Sequence[AppendResult | SegueError]:
        outcomes = await self._service.append_batches(
            self.session_id,
            batches,
            last_seen=self._head,
            invocation_id=self.invocation_id,
            boundary=self.boundary,
        )
        for outcome in outcomes:
            if isinstance(outcome, AppendResult):
                self._note(outcome)
        return outcomes

    def _note(self, appended: AppendResult) -> None:
        if appended.wrote_any:
            self.boundary = None
        if appended.caller_knows_head:
            self._head, self._event_count = appended.head, appended.event_count

    async def _archive(self) -> None:
        if self.stored:
            with contextlib.suppress(SessionNotFound):  # deleted elsewhere: nothing to put aside
                await self._service.archive(self.session_id)

    def _not_stored(self, new: NewSession) -> Session:
        return Session(
            id=new.id,
            directory=new.directory,
            git_root=new.git_root,
            title=None,
            server_session_id=new.server_session_id,
            head=None,
            event_count=0,
            created_at=self._opened_at,
            updated_at=self._opened_at,
            archived_at=None,
        )


def boundary_note(last_event_at: int) -> str:
    """Return what the model is told when a session goes on that had its last event then."""
    return (
        "[Note: a new invocation of the editor begins here. What came before is from an earlier "
        f"invocation; its last event was {ago(last_event_at)}.]"
    )


def ago(then: int) -> str:
    """Return how long ago *then* (milliseconds since 1970) is, in words: `2 hours ago`."""
    seconds = max(0, now() - then) // 1_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a second ago"
