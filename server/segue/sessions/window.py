"""Window: the sessions of one editor window, and the order in which its requests take effect.

Secrets in events and metadata are redacted here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from segue.model.errors import NothingToResume, SessionNotFound, SessionNotOpen
from segue.model.events import Event, new_id
from segue.model.json_text import encode
from segue.model.records import (
    HITS,
    LAST_SEEN,
    PAGE,
    AppendResult,
    EventPage,
    ExportPage,
    FindResult,
    Mode,
    NewFork,
    OpenResult,
    Order,
    Origin,
    Reason,
    ResumeCommand,
    SearchPage,
    Session,
    SessionPage,
    Timestamp,
)
from segue.model.validation import Fault, InvalidInputError
from segue.model.workspace import Touch, Workspace, search_places
from segue.sessions import resume
from segue.sessions.boundary import ELSEWHERE, ON_OTHER_MACHINE, describe_changes
from segue.sessions.locator import WorkspaceLocator
from segue.sessions.manager import SessionManager, last_event_at
from segue.store.service import SessionService

if TYPE_CHECKING:
    from segue.model.git_changes import GitChanges
    from segue.model.records import MovedCheckout
    from segue.sessions.following import Client, Follower

Located = Workspace | asyncio.Future[Workspace]
"""A workspace, or one that is still being looked for."""

_KEEPS_ITS_TURN_S = 0.1
"""How long the requests behind it wait for a request whose workspace is still being looked for."""

_MEASURING_S = 0.1
"""How long the opening of a session waits for what changed since its last event."""

_READING_BRANCH_S = 0.02
"""How long the first append to a new session waits for the name of the branch."""

Redact = Callable[[Any, str], Any]
"""Takes a JSON value and its encoding; returns the value with its secrets masked."""


def no_redaction() -> Redact:
    """Return a function that masks nothing."""
    return lambda value, json_text: value


async def no_wait() -> None:
    """Return immediately."""


class RequestQueue:
    """Runs requests in arrival order: `async with` it, one at a time.

    The first in the queue waits for *before_request*, with the lock held: while the output buffer
    is full, no later request builds a response.
    """

    def __init__(self, before_request: Callable[[], Awaitable[None]]) -> None:
        self._before_request = before_request
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await self._before_request()
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class Window:
    """The sessions of one editor window, over a service.

    Requests take effect in the order in which they are made; only one whose workspace is not found
    within 0.1 s lets those behind it go first. Appends to stored sessions need not wait for one
    another: those that are queued together share a commit. Secrets are redacted here, before
    anything is stored, compared or used as a title.
    """

    def __init__(
        self,
        open_service: Callable[[], Awaitable[SessionService]],
        continue_minutes: float,
        load_redact: Callable[[], Redact] = no_redaction,
        before_request: Callable[[], Awaitable[None]] = no_wait,
    ) -> None:
        """Make a window without sessions. Each request awaits *before_request* before its effect.

        A request whose *before_request* raises has no effect, and raises the same. *open_service*
        and *load_redact* are called when the store and the redaction are first needed.
        """
        self._open_service = open_service
        self._continue_minutes = continue_minutes
        self._load_redact = load_redact
        self._redact: Redact | None = None
        self._service: SessionService | None = None
        self._managers: dict[str, SessionManager] = {}
        self._empty: dict[Workspace, dict[str, SessionManager]] = {}
        self._moving: dict[str, asyncio.Future[Workspace]] = {}
        self._branches: dict[str, str | None] = {}
        self._requests = RequestQueue(before_request)
        self._exports = RequestQueue(before_request)
        self._before_request = before_request
        self._follower: Follower | None = None
        self.locator = WorkspaceLocator()
        """Finds the workspaces that requests name, and measures what changed in them."""

    async def close(self) -> None:
        """Release the store, after the requests that were made before."""
        async with self._requests:
            if self._follower is not None:
                await self._follower.close()
            if self._service is not None:
                await self._service.close()

    async def open(
        self,
        workspace: Located,
        *,
        session_id: str | None = None,
        mode: Mode = "auto",
        continue_minutes: float | None = None,
        tail: int = PAGE,
    ) -> OpenResult:
        """Open a session: the one that is named, one that fits *workspace*, or a new one.

        A session that is open here is returned as it is. Raises SessionNotFound, NothingToResume
        for the mode `resume`, or what looking for *workspace* raises. A session that is named needs
        none: *workspace* is only where a reset of it begins, and if it is not found, that is where
        the session began.
        """
        if session_id is not None:
            async with self._requests:
                reason = Reason("It was asked for by its id.", "named")
                return await self._open(session_id, workspace, reason, tail)
        async with self._in_workspace(workspace) as here:
            if mode == "new":
                return await self._create(here, Reason("A new session was asked for.", "new"))
            if mode == "auto" and (empty := self._empty_session(here)) is not None:
                reason = Reason("It is open here and still empty.", "empty")
                return await self._result(empty, reason)
            found = await self._find_resumable(here, continue_minutes)
            reason = Reason(found.reason, found.reason_code)
            if found.session is not None:
                # Another window may delete it in between: then nothing fits any more.
                with contextlib.suppress(SessionNotFound):
                    opened = await self._open(found.session.id, here, reason, tail)
                    return attrs.evolve(opened, alternatives=found.alternatives, moved=found.moved)
            if mode == "resume":
                raise NothingToResume(found.reason)
            return attrs.evolve(await self._create(here, reason), moved=found.moved)

    async def begin(
        self, workspace: Workspace, session_id: str, *, server_session_id: str | None = None
    ) -> OpenResult:
        """Open a new session under the id that it has where it was begun.

        *server_session_id* is what the program that answers calls it. A session that is open here
        under that id is returned as it is. Nothing is stored before its first event.
        """
        async with self._requests:
            reason = Reason("A new session was asked for.", "new")
            manager = self._managers.get(session_id)
            if manager is None:
                service = await self._connected()
                manager = SessionManager.create_new(service, workspace, session_id)
                if server_session_id is not None:
                    await manager.persist_server_session_id(server_session_id)
                self._add_empty(manager)
            return await self._result(manager, reason)

    async def get(self, session_id: str) -> Session:
        """Return a session, open here or not. Raises SessionNotFound."""
        async with self._requests:
            if self._is_deferred(session_id):
                return (await self._managers[session_id].snapshot(0))[0]
            return await (await self._connected()).get_session(session_id)

    async def find_resumable(
        self, workspace: Located, continue_minutes: float | None = None
    ) -> FindResult:
        """Return the session that `open` would resume, and the reason. Opens nothing."""
        async with self._in_workspace(workspace) as here:
            return await self._find_resumable(here, continue_minutes)

    async def fork(
        self,
        session_id: str,
        *,
        at: str | None = None,
        title: str | None = None,
        archive_original: bool = False,
        workspace: Located | None = None,
        new_session_id: str | None = None,
        tail: int = PAGE,
        default_workspace: Callable[[], Located] | None = None,
    ) -> OpenResult:
        """Fork a session, open here or not, as `SessionService.fork_session` does; open the fork.

        A fork of a session that is open here has no boundary: nothing ended. One of another user's
        session happens, without *workspace*, where that was opened, or else in *default_workspace*,
        if that is found in time. Raises
        InvalidInputError for a session that is still empty.
        """
        given = None if title is None else self._masked(title, encode("$.title", title))
        fork = NewFork(
            id=new_session_id or new_id(), at=at, title=given, archive_original=archive_original
        )
        if workspace is None:
            async with self._requests:
                place = await self._place_of_fork(session_id, default_workspace)
                return await self._fork(session_id, fork, place, tail)
        async with self._in_workspace(workspace) as here:
            return await self._fork(session_id, fork, here, tail)

    async def fork_as_seen(self, session_id: str) -> OpenResult:
        """Fork a session that is open here at the last event that this window has seen; open that.

        For a session of which nothing was seen, it is a new one.
        """
        async with self._requests:
            manager = self._open_manager(session_id)
            at = manager.last_seen
        if at is None:
            return await self.begin(manager.workspace, new_id())
        return await self.fork(session_id, at=at, workspace=manager.workspace)

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        parent_id: str | None = LAST_SEEN,
        origin: Origin | None = None,
    ) -> AppendResult:
        """Append to a session that is open here, as `SessionManager.persist_events` promises.

        With the first events a session gets the branch that is checked out where it was opened.
        """
        redacted = [self._redacted(event) for event in events]
        async with self._requests:
            manager = self._open_manager(session_id)
            if not manager.stored:
                await self._read_branch(session_id, manager.workspace)
                origin = self._on_branch(session_id, origin)
                return await manager.persist_events(redacted, parent_id=parent_id, origin=origin)
            origin = self._on_branch(session_id, origin)
        # The lock is released early, so that appends share commits. The order holds: the next
        # request resumes only when this one waits, and then it is in the store's queue.
        return await manager.persist_events(redacted, parent_id=parent_id, origin=origin)

    async def events(
        self, session_id: str, *, after: int | None, before: int | None, limit: int
    ) -> EventPage:
        """Return a page of a session's events, open here or not."""
        async with self._requests:
            if self._is_deferred(session_id):
                return EventPage(events=(), has_more=False)
            service = await self._connected()
            return await service.load_events(session_id, after=after, before=before, limit=limit)

    async def follow(self, session_id: str, after: int | None, client: "Client") -> int:
        """Tell *client* of the events of a session, open here or not, as `Follower.follow` does.

        Raises SessionNotFound also for a session that is still empty.
        """
        async with self._requests:
            service = await self._connected()
            return await self._followed_by(client).follow(service, session_id, after)

    async def follow_list(self, client: "Client") -> None:
        """Tell *client* of changes that a list of sessions may show."""
        async with self._requests:
            service = await self._connected()
            await self._followed_by(client).follow_list(service)

    async def unfollow(self, session_id: str | None) -> None:
        """Follow a session, or None: the lists, no longer. One that is not followed succeeds."""
        async with self._requests:
            if self._follower is not None:
                await self._follower.unfollow(session_id)

    def _followed_by(self, client: "Client") -> "Follower":
        if self._follower is None:
            # Not at the top: the start does not need it.
            from segue.sessions.following import Follower

            self._follower = Follower(client, self._before_request)
        return self._follower

    async def export(self, session_id: str, format: str, cursor: str | None) -> ExportPage:
        """Return a page of a session, open here or not, in a format of `exporting.FORMATS`.

        It contains what was appended before the first page was asked for. Other requests wait for
        none of it; exports wait for each other. Raises InvalidInputError for a *cursor* that is not
        one of its own, and for a session that is still empty.
        """
        async with self._exports:
            async with self._requests:
                if self._is_deferred(session_id):
                    raise InvalidInputError(Fault("$.sessionId", "has no event yet"))
                service = await self._connected()
                session = await service.get_session(session_id)
            # Not at the top: few windows export.
            from segue.sessions.exporting import export_page

            return await export_page(service, session, format, cursor)

    async def resume_command(self, session_id: str) -> ResumeCommand:
        """Return the command that goes on with a session in the program that it was had in."""
        async with self._requests:
            if self._is_deferred(session_id):
                directory = self._managers[session_id].workspace.directory
                return ResumeCommand(command=None, directory=directory, program=None)
            # Not at the top: few windows ask.
            from segue.sessions.resume_command import resume_command

            return await resume_command(await self._connected(), session_id)

    async def list_sessions(
        self,
        workspace: Located | None,
        *,
        archived: bool,
        cursor: str | None,
        limit: int,
        sources: Sequence[str] | None = None,
        order: Order = "updated",
    ) -> SessionPage:
        """Return a page of the sessions of *workspace* and its worktrees, or of all."""
        turn = self._requests if workspace is None else self._in_workspace(workspace)
        async with turn as here:
            return await (await self._connected()).list_sessions(
                archived=archived,
                sources=sources,
                order=order,
                cursor=cursor,
                limit=limit,
                **search_places(here),
            )

    async def search(
        self,
        query: str,
        workspace: Located | None = None,
        *,
        archived: bool = False,
        types: Sequence[str] = (),
        sources: Sequence[str] = (),
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int = HITS,
    ) -> SearchPage:
        """Search as `SessionService.search` does, in the sessions of *workspace* or in all.

        Other requests wait for none of it, and it for none of them once the store is open: a
        session that is still empty here is not known.
        """
        await self._before_request()
        here = None if workspace is None else await _found(workspace)
        service = self._service
        if service is None:
            async with self._requests:
                service = await self._connected()
        return await service.search(
            query,
            archived=archived,
            types=types,
            sources=sources,
            session_id=session_id,
            cursor=cursor,
            limit=limit,
            **search_places(here),
        )

    async def reset(self, session_id: str) -> OpenResult:
        """Archive a session that is open here and begin a new one in its place.

        The archived one stays open: answers that are under way are stored with their questions.
        """
        turn_ends = _turn_ends()
        async with self._requests:
            manager = self._open_manager(session_id)
            if (workspace := self._moving.get(session_id)) is not None:
                await _wait_until(turn_ends, workspace)
                if workspace.done() and workspace.exception() is None:
                    manager.workspace = workspace.result()
            archived = manager.copy() if manager.stored else None
            await manager.archive_and_reset()
            self._forget(session_id)
            if archived is not None:
                self._managers[session_id] = archived
            self._add_empty(manager)
            state = "empty" if archived is None else "archived"
            reason = Reason(f"The session before it was {state}.", "reset")
            return await self._result(manager, reason)

    async def relocate(self, old_root: str, new_root: Located, *, is_declined: bool = False) -> int:
        """Move the sessions of the folder *old_root*, which is gone, to where it is now.

        Return how many they are. With *is_declined* nothing is moved, and it is not asked again.
        Raises InvalidInputError if *old_root* is still here, or no absolute path.
        """
        # Not at the top: few windows are in a moved checkout.
        from segue.sessions import moving

        old_root = moving.checked_root(old_root)
        async with self._in_workspace(new_root) as here:
            service = await self._connected()
            if is_declined:
                if here.repository is not None:
                    await moving.decline(service, old_root, here.directory, here.repository)
                return 0
            looked = self.locator.find(lambda touch: moving.is_gone(old_root, touch), old_root)
            if not await looked:
                raise InvalidInputError(Fault("$.oldRoot", "is still a folder here"))
            return await service.move_sessions(old_root, here.directory)

    async def archive(self, session_id: str) -> None:
        """Archive a session, open here or not. One that is still empty is only closed."""
        async with self._requests:
            if self._is_deferred(session_id):
                self._forget(session_id)
            else:
                await (await self._connected()).archive(session_id)

    async def unarchive(self, session_id: str) -> None:
        """Unarchive a session; for one that is still empty nothing is done."""
        async with self._requests:
            if not self._is_deferred(session_id):
                await (await self._connected()).unarchive(session_id)

    async def delete(self, session_id: str) -> None:
        """Delete a session permanently, and close it here. An unknown id succeeds."""
        async with self._requests:
            await (await self._connected()).delete(session_id)
            await self._release(session_id)

    async def close_session(self, session_id: str) -> None:
        """Close a session in this window. One that is not open succeeds."""
        async with self._requests:
            await self._release(session_id)

    async def set_title(self, session_id: str, title: str | None) -> Session:
        """Give a session, open here or not, a title, or with None its automatic one again."""
        async with self._requests:
            given = None if title is None else self._masked(title, encode("$.title", title))
            if (manager := self._managers.get(session_id)) is not None:
                return await manager.set_title(given)
            return await (await self._connected()).set_title(session_id, given)

    async def set_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Store the remote service's id of a session, open here or not."""
        async with self._requests:
            if (manager := self._managers.get(session_id)) is not None:
                await manager.persist_server_session_id(server_session_id)
            else:
                service = await self._connected()
                await service.update_server_session_id(session_id, server_session_id)

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Return the value that is stored with a session under *key*, or None."""
        async with self._requests:
            if (manager := self._managers.get(session_id)) is not None:
                return await manager.get_metadata(key)
            return await (await self._connected()).get_metadata(session_id, key)

    async def find_metadata(self, key: str) -> dict[str, Any]:
        """Return the values that stored sessions have under *key*, by the sessions' ids."""
        async with self._requests:
            return await (await self._connected()).find_metadata(key)

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Store a JSON value with a session, open here or not; None removes it."""
        async with self._requests:
            value = self._masked(value, encode("$.value", value))
            if (manager := self._managers.get(session_id)) is not None:
                await manager.set_metadata(key, value)
            else:
                await (await self._connected()).set_metadata(session_id, key, value)

    def _redacted(self, event: Event) -> Event:
        data = self._masked(event.data, event.json_text)
        return event if data is event.data else event.with_data(data)

    def _masked(self, value: Any, json_text: str) -> Any:
        if self._redact is None:
            self._redact = self._load_redact()
        return self._redact(value, json_text)

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

    @contextlib.asynccontextmanager
    async def _in_workspace(self, workspace: Located) -> AsyncIterator[Workspace]:
        """Yield the workspace in the request's turn, or after it if the workspace takes long."""
        if isinstance(workspace, Workspace):
            async with self._requests:
                yield workspace
            return
        turn_ends = _turn_ends()
        async with self._requests:
            await _wait_until(turn_ends, workspace)
            if workspace.done():
                yield workspace.result()
                return
        here = await workspace
        async with self._requests:
            yield here

    def _empty_session(self, workspace: Workspace) -> SessionManager | None:
        """Return the oldest session of *workspace* that is open here and not stored yet."""
        empty = self._empty.get(workspace, {})
        while empty:
            id, manager = next(iter(empty.items()))
            if not manager.stored:
                return manager
            self._drop_empty(id, workspace)
        return None

    def _add_empty(self, manager: SessionManager) -> None:
        self._managers[manager.session_id] = manager
        self._empty.setdefault(manager.workspace, {})[manager.session_id] = manager

    def _drop_empty(self, session_id: str, workspace: Workspace) -> None:
        empty = self._empty.get(workspace, {})
        empty.pop(session_id, None)
        if not empty:
            self._empty.pop(workspace, None)

    def _forget(self, session_id: str) -> None:
        self._moving.pop(session_id, None)
        self._branches.pop(session_id, None)
        if (manager := self._managers.pop(session_id, None)) is not None:
            self._drop_empty(session_id, manager.workspace)

    async def _release(self, session_id: str) -> None:
        if (manager := self._managers.get(session_id)) is not None:
            await manager.release()
        self._forget(session_id)

    async def _create(self, workspace: Workspace, reason: Reason) -> OpenResult:
        manager = SessionManager.create_new(await self._connected(), workspace)
        self._add_empty(manager)
        return await self._result(manager, reason)

    async def _open(
        self, session_id: str, workspace: Located, reason: Reason, tail: int
    ) -> OpenResult:
        manager = self._managers.get(session_id)
        if manager is None:
            service = await self._connected()
            here = workspace if isinstance(workspace, Workspace) else None
            manager = await SessionManager.resume(
                service,
                session_id,
                here,
                tail=tail,
                describe_changes=lambda session, since: self._describe_changes(
                    session, workspace, since
                ),
            )
            self._managers[session_id] = manager
            if not isinstance(workspace, Workspace):
                self._moving[session_id] = workspace
        return await self._result(manager, reason, tail)

    async def _place_of_fork(
        self, session_id: str, default: Callable[[], Located] | None
    ) -> Workspace | None:
        """Return where a fork happens if the session is another user's; None: where that did."""
        ends = _turn_ends()
        manager = self._managers.get(session_id)
        if manager is not None:
            if manager.shared_by is None:
                return None
            place: Located = self._moving.get(session_id, manager.workspace)
        else:
            if default is None:
                return None
            session = await (await self._connected()).get_session(session_id)
            if session.shared_by is None:
                return None
            place = default()
        if isinstance(place, Workspace):
            return place
        await _wait_until(ends, place)
        return place.result() if place.done() and place.exception() is None else None

    async def _fork(
        self, session_id: str, fork: NewFork, workspace: Workspace | None, tail: int
    ) -> OpenResult:
        if self._is_deferred(session_id):
            raise InvalidInputError(Fault("$.sessionId", "has no event yet that could be forked"))
        original = self._managers.get(session_id)
        if fork.id not in self._managers:
            service = await self._connected()
            if workspace is not None:
                fork = attrs.evolve(
                    fork,
                    directory=workspace.directory,
                    git_root=workspace.git_root,
                    git_common_dir=workspace.git_common_dir,
                    repository=workspace.repository,
                    worktree=workspace.worktree,
                )
            await service.fork_session(session_id, fork)
            manager = await SessionManager.resume(service, fork.id, workspace, tail=tail)
            if original is not None:
                # Of another user's session the boundary was told, but could not be stored.
                manager.boundary = None if original.shared_by is None else original.boundary
            self._managers[fork.id] = manager
            if workspace is not None:
                await self._read_branch(fork.id, workspace)
        reason = Reason("It was made now, as a fork of another session.", "forked")
        return await self._result(self._managers[fork.id], reason, tail)

    async def _describe_changes(
        self, session: Session, workspace: Located, since: Timestamp
    ) -> str:
        """Return what changed in *workspace*, where *session* was had, *since*, in sentences.

        Return an empty string if it is another folder, or that is not known in time.
        """
        ends = asyncio.get_running_loop().time() + _MEASURING_S
        if isinstance(workspace, Workspace):
            here = workspace
        else:
            await _wait_until(ends, workspace)
            if not workspace.done() or workspace.exception() is not None:
                return ""
            here = workspace.result()
        if session.machine is not None:
            return ON_OTHER_MACHINE
        if not _began_in(session, here):
            return ELSEWHERE
        root = here.git_root
        if root is None:
            return ""

        def measure(touch: Touch) -> "GitChanges | None":
            # Not at the top: a window that resumes nothing does not need it.
            from segue.model.git_changes import measure_changes

            return measure_changes(root, since, touch)

        measured = self.locator.find(measure, root)
        await _wait_until(ends, measured)
        if not measured.done() or measured.exception() is not None:
            measured.cancel()
            return ""
        changes = measured.result()
        if changes is None:
            return ""
        self._branches[session.id] = self._storable_branch(changes.now.branch)
        return describe_changes(changes, lambda name: str(self._masked(name, encode("$", name))))

    async def _read_branch(self, session_id: str, workspace: Workspace) -> None:
        """Read which branch is checked out in *workspace*, if that is known in time."""
        root = workspace.git_root
        if root is None:
            return

        def read(touch: Touch) -> str | None:
            # Not at the top: a window without git does not need it.
            from segue.model.git_changes import read_branch

            return read_branch(root, touch)

        found = self.locator.find(read, root)
        await _wait_until(asyncio.get_running_loop().time() + _READING_BRANCH_S, found)
        if found.done() and found.exception() is None:
            self._branches[session_id] = self._storable_branch(found.result())
        else:
            found.cancel()

    def _storable_branch(self, name: str | None) -> str | None:
        # Not at the top: the start does not need it.
        from segue.sessions.branches import storable_branch

        return storable_branch(name, self._masked)

    def _on_branch(self, session_id: str, origin: Origin | None) -> Origin | None:
        """Return *origin* with the branch of a session that is open here."""
        branch = self._branches.get(session_id)
        return origin if branch is None else attrs.evolve(origin or Origin(), branch=branch)

    async def _find_resumable(
        self, workspace: Workspace, continue_minutes: float | None
    ) -> FindResult:
        minutes = self._continue_minutes if continue_minutes is None else continue_minutes
        found = await resume.find_resumable(self._connected, workspace, minutes)
        fits_here = found.session is not None and found.session.machine is None
        if minutes <= 0 or fits_here or workspace.repository is None:
            return found
        return attrs.evolve(found, moved=await self._find_moved(workspace))

    async def _find_moved(self, workspace: Workspace) -> "MovedCheckout | None":
        """Return the checkout that may have been moved to *workspace*, if that is known in time."""
        # Not at the top: a window that resumes something does not need it.
        from segue.sessions.moving import find_moved_checkout

        async def look(find: Callable[[Touch], Sequence[str]]) -> Sequence[str]:
            found = self.locator.find(find, workspace.directory)
            await _wait_until(asyncio.get_running_loop().time() + _MEASURING_S, found)
            if found.done() and found.exception() is None:
                return found.result()
            found.cancel()
            return ()

        return await find_moved_checkout(await self._connected(), workspace, look)

    async def _result(self, manager: SessionManager, reason: Reason, tail: int = 0) -> OpenResult:
        session, page = await manager.snapshot(tail)
        return OpenResult(
            session=session,
            invocation_id=manager.invocation_id,
            resumed=manager.resumed,
            reason=reason.text,
            reason_code=reason.code,
            boundary=manager.boundary,
            events=page.events,
            has_more=page.has_more,
            last_event_at=last_event_at(session, page) if session.event_count else None,
        )


async def _found(workspace: Located) -> Workspace:
    return workspace if isinstance(workspace, Workspace) else await workspace


def _turn_ends() -> float:
    """Return until when a request that is made now keeps its turn, by the clock of the loop."""
    return asyncio.get_running_loop().time() + _KEEPS_ITS_TURN_S


async def _wait_until(time: float, found: "asyncio.Future[Any]") -> None:
    """Wait for *found*, but not longer than until *time* by the clock of the loop."""
    if not found.done():
        await asyncio.wait({found}, timeout=max(0, time - asyncio.get_running_loop().time()))


def _began_in(session: Session, workspace: Workspace) -> bool:
    """Return whether *session* began in this folder, or in the same checkout."""
    places = (workspace.directory, workspace.git_root, *workspace.aliases)
    return session.directory in places or (
        session.git_root is not None and session.git_root in places
    )
