"""SessionManager: one open session, whatever store it is in."""

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from segue.model.errors import HeadMoved, SessionNotFound, StorageError
from segue.model.events import Event, new_id
from segue.model.json_text import encode
from segue.model.records import (
    LAST_SEEN,
    MAX_BATCH,
    PAGE,
    AppendResult,
    EventPage,
    NewSession,
    Origin,
    Session,
    Timestamp,
    now,
)
from segue.model.workspace import Workspace
from segue.sessions.boundary import make_boundary
from segue.store.service import SessionService


class SessionManager:
    """Creates, resumes, persists, archives and resets one session for one editor window.

    A new session's row is deferred: it is stored with its first event, in the same transaction.
    Calls take effect in the order in which they are made, and need not wait for one another.
    """

    session_id: str
    """The open session; a reset changes it."""

    invocation_id: str
    """This opening of the session; every event that is persisted here carries it."""

    boundary: Event | None
    """The note that an earlier invocation ends here; stored before the first append."""

    shared_by: str | None
    """The user whose session it is, if that is another one: only forks of it take events."""

    _head: str | None
    _opened_at: Timestamp
    _deferred: NewSession | None

    def __init__(
        self,
        service: SessionService,
        workspace: Workspace,
        stored: Session | None = None,
        boundary: Event | None = None,
        *,
        new_session_id: str | None = None,
    ) -> None:
        """Continue *stored*, as it was just read, behind *boundary*, or begin a new one."""
        self.workspace = workspace
        self._service = service
        self._lock = asyncio.Lock()
        self._just_read: tuple[Session, EventPage] | None = None
        if stored is None:
            self._begin(new_session_id)
        else:
            self._continue(stored, boundary or make_boundary(stored.updated_at))

    @classmethod
    def create_new(
        cls, service: SessionService, workspace: Workspace, session_id: str | None = None
    ) -> "SessionManager":
        """Return a manager of a new session; nothing is stored before its first event.

        *session_id* is an id that it has already where it was begun, and that is not stored yet.
        """
        return cls(service, workspace, new_session_id=session_id)

    @classmethod
    async def resume(
        cls,
        service: SessionService,
        session_id: str,
        workspace: Workspace | None,
        *,
        tail: int | None = None,
        describe_changes: Callable[[Session, Timestamp], Awaitable[str]] | None = None,
    ) -> "SessionManager":
        """Return a manager that continues a stored session, under a new invocation id.

        *workspace* is where the window is now: a reset begins there, not where the session was;
        None: where the session was. With *tail*, so many events are read as well, for the
        `snapshot` that follows. *describe_changes* returns sentences for the boundary, about what
        changed since the last event. Raises SessionNotFound.
        """
        if tail is None:
            await service.hold(session_id)
            session, read = await service.get_session(session_id), None
        else:
            session, page = await service.open_session(session_id, tail, hold=True)
            read = session, page
        here = workspace or Workspace.recorded(session.directory, session.git_root)
        last = last_event_at(session, None if read is None else read[1])
        changes = "" if describe_changes is None else await describe_changes(session, last)
        manager = cls(service, here, session, make_boundary(last, changes))
        manager._just_read = read
        return manager

    @property
    def last_seen(self) -> str | None:
        """The id of the last event of the session that was read or appended here."""
        return self._head

    @property
    def stored(self) -> bool:
        """Whether the session has a row, which it has from its first event on."""
        return self._deferred is None

    async def snapshot(self, tail: int = PAGE) -> tuple[Session, EventPage]:
        """Return the session as it is now, with its last *tail* events.

        Events that other windows appended count as seen from here on.
        """
        async with self._lock:
            if self._deferred is not None:
                return self._deferred.as_session(self._opened_at), EventPage(
                    events=(), has_more=False
                )
            read, self._just_read = self._just_read, None
            session, page = read or await self._service.open_session(self.session_id, tail)
            self._head, self._event_count = session.head, session.event_count
            return session, page

    async def persist_events(
        self,
        events: Sequence[Event],
        *,
        parent_id: str | None = LAST_SEEN,
        origin: Origin | None = None,
    ) -> AppendResult:
        """Store those of *events* that are not stored yet; they may be the whole conversation.

        Idempotent, and on disk when it returns. Up to MAX_BATCH events are stored all or not at
        all; more are stored in parts, between which other windows can write, and after a failure
        the next call continues from there. Raises what `SessionService.append_events` raises:
        HeadMoved, too, if another window has appended since this manager last read or appended.
        Without events, nothing is stored and the head is returned.
        """
        result = await self._persist(events[:MAX_BATCH], parent_id, origin)
        for start in range(MAX_BATCH, len(events), MAX_BATCH):
            batch = events[start : start + MAX_BATCH]
            later = await self._persist(batch, events[start - 1].id, origin)
            result = result.followed_by(later)
        return result

    async def _persist(
        self, events: Sequence[Event], parent_id: str | None, origin: Origin | None
    ) -> AppendResult:
        async with self._lock:
            if self._deferred is not None:
                return await self._create(self._deferred, events, parent_id, origin)
        # The lock is released early, so that appends share commits. The order holds: no other call
        # runs before this one waits, and then it is in the store's queue.
        session_id = self.session_id
        result = await self._service.append_events(
            session_id,
            events,
            parent_id=self._head if parent_id is LAST_SEEN else parent_id,
            accept_own_head=parent_id is LAST_SEEN,
            invocation_id=self.invocation_id,
            boundary=self.boundary,
            origin=origin,
        )
        if session_id == self.session_id:
            self._record(result)
        return result

    async def persist_server_session_id(self, server_session_id: str) -> None:
        """Store the remote service's id: now, or with the session's first event."""
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
        """Store a JSON value (None removes it): now, or with the session's first event."""
        async with self._lock:
            if self._deferred is None:
                await self._service.set_metadata(self.session_id, key, value)
                return
            encode("$.value", value)
            kept = {k: v for k, v in self._deferred.metadata.items() if k != key}
            added = {} if value is None else {key: value}
            self._deferred = attrs.evolve(self._deferred, metadata=kept | added)

    async def set_title(self, title: str | None) -> Session:
        """Give the session a title, or with None its automatic one; return the session."""
        async with self._lock:
            if self._deferred is None:
                return await self._service.set_title(self.session_id, title)
            self._deferred = attrs.evolve(self._deferred, given_title=title)
            return self._deferred.as_session(self._opened_at)

    async def release(self) -> None:
        """Say that the session is open here no more, if the store can be reached."""
        if self.stored:
            with contextlib.suppress(StorageError):
                await self._service.release(self.session_id)

    async def archive(self) -> None:
        """Archive the session; one that was never stored leaves nothing behind."""
        async with self._lock:
            await self._archive()

    def copy(self) -> "SessionManager":
        """Return a manager of the same session and invocation, which a reset does not affect."""
        return copy.copy(self)

    async def archive_and_reset(self) -> None:
        """Archive what was stored and begin a new session, with new ids and a deferred row.

        If archiving fails, nothing is reset. Another user's session stays as it is.
        """
        async with self._lock:
            if self.shared_by is None:
                await self._archive()
            self._begin()

    def _begin(self, session_id: str | None = None) -> None:
        self.session_id, self.invocation_id = session_id or new_id(), new_id()
        self.resumed = False
        self.boundary = None
        self.shared_by = None
        self._just_read = None
        self._head = None
        self._event_count = 0
        self._opened_at = now()
        self._deferred = NewSession(
            id=self.session_id,
            directory=self.workspace.directory,
            git_root=self.workspace.git_root,
            git_common_dir=self.workspace.git_common_dir,
            repository=self.workspace.repository,
            worktree=self.workspace.worktree,
        )

    def _continue(self, stored: Session, boundary: Event) -> None:
        self.session_id, self.invocation_id = stored.id, new_id()
        self.resumed = True
        self.boundary = boundary
        self.shared_by = stored.shared_by
        self._head, self._event_count = stored.head, stored.event_count
        self._deferred = None

    async def _create(
        self,
        new: NewSession,
        events: Sequence[Event],
        parent_id: str | None,
        origin: Origin | None,
    ) -> AppendResult:
        if not events:
            return AppendResult(head=None, event_count=0, events=(), duplicates=0)
        if parent_id is not LAST_SEEN and parent_id is not None:
            raise HeadMoved(None, 0)
        result = await self._service.create_session(
            new, events, invocation_id=self.invocation_id, origin=origin, hold=True
        )
        self._deferred = None
        self._record(result)
        return result

    def _record(self, result: AppendResult) -> None:
        self._just_read = None
        if result.wrote_any:
            self.boundary = None
        # Results are out of order if a snapshot was requested meanwhile: keep the newer head.
        if result.includes_head and result.event_count >= self._event_count:
            self._head, self._event_count = result.head, result.event_count

    async def _archive(self) -> None:
        if self.stored:
            with contextlib.suppress(SessionNotFound):  # deleted elsewhere: nothing to archive
                await self._service.archive(self.session_id)


def last_event_at(session: Session, page: EventPage | None) -> Timestamp:
    """Return the time of the last event of a stored session, whose newest events are *page*."""
    is_unchanged_fork = session.fork_seq == session.event_count
    if is_unchanged_fork and page is not None and page.events:
        return page.events[-1].created_at
    return session.updated_at
