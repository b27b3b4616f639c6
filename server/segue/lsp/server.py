"""The handlers of the methods: each calls one method of the window and returns its result."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import attrs
from pygls.server import JsonRPCServer

from segue.lsp.transport import SessionProtocol
from segue.lsp.uris import path_of
from segue.model.records import (
    Appended,
    AppendResult,
    EventPage,
    ExportPage,
    FindResult,
    OpenResult,
    ResumeCommand,
    SearchPage,
    SessionPage,
)
from segue.model.validation import Fault, InvalidInputError
from segue.model.workspace import (
    InvalidWorkspaceError,
    Touch,
    Workspace,
    locate_workspace,
    resolve_workspace,
)
from segue.protocol.messages import wire
from segue.protocol.methods import (
    AppendParams,
    EventsParams,
    ExportParams,
    FindResumableParams,
    FollowParams,
    FollowResult,
    ForkParams,
    GetMetadataParams,
    GetMetadataResult,
    ListParams,
    Nothing,
    OpenParams,
    RelocateParams,
    RelocateResult,
    SearchParams,
    SessionParams,
    SessionResult,
    SetMetadataParams,
    SetServerSessionIdParams,
    SetTitleParams,
    UnfollowParams,
)
from segue.sessions.window import Window

Handler = Callable[[Any, Any], Awaitable[Any]]

HANDLERS: dict[str, Handler] = {}
"""The handler of each method."""


def handles(method: str) -> Callable[[Handler], Handler]:
    """Return a decorator that makes a function the handler of *method*."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method] = handler
        return handler

    return register


class SessionServer(JsonRPCServer):
    """The server of one editor window: pygls with the session methods registered as features."""

    protocol: SessionProtocol

    def __init__(
        self, window: Window, make_protocol: Callable[["SessionServer"], SessionProtocol]
    ) -> None:
        # Our converter structures everything: lsprotocol's hooks would build every LSP type.
        super().__init__(lambda server, _: make_protocol(server), converter_factory=lambda: wire)  # type: ignore[arg-type]  # pygls asks for a class and calls it
        self.window = window
        for method, handler in HANDLERS.items():
            self.feature(method)(self.protocol.feature(method, handler))

    def did_append(self, appended: Appended) -> None:
        """Tell the client of the next events of a session that it follows."""
        self.protocol.tell("session/didAppend", appended)

    def did_change_list(self) -> None:
        """Tell the client that a list of sessions may be another one now."""
        self.protocol.tell("session/didChangeList", Nothing())

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log nothing: the client gets the error, and it may hold conversation text."""


@handles("session/open")
async def session_open(ls: SessionServer, params: OpenParams) -> OpenResult:
    """Open a session: the one that is named, one that fits, or a new one."""
    with _faults_of("$.workspace"):
        return await ls.window.open(
            _workspace(ls, params.workspace),
            session_id=params.session_id,
            mode=params.mode,
            continue_minutes=params.continue_minutes,
            tail=params.tail,
        )


@handles("session/append")
async def session_append(ls: SessionServer, params: AppendParams) -> AppendResult:
    """Append events to a session that is open in this window."""
    origin = attrs.evolve(ls.protocol.client, agent=params.agent, model=params.model)
    return await ls.window.append(params.session_id, params.events, params.parent_id, origin)


@handles("session/events")
async def session_events(ls: SessionServer, params: EventsParams) -> EventPage:
    """Return a page of a session's events."""
    if params.after is not None and params.before is not None:
        raise InvalidInputError(Fault("$.before", "cannot be given together with after"))
    return await ls.window.events(
        params.session_id, after=params.after, before=params.before, limit=params.limit
    )


@handles("session/list")
async def session_list(ls: SessionServer, params: ListParams) -> SessionPage:
    """Return a page of the sessions of a workspace, or of all."""
    workspace = None if params.cwd is None else _located(ls, params.cwd)
    with _faults_of("$.cwd"):
        return await ls.window.list_sessions(
            workspace,
            archived=params.archived,
            sources=params.sources,
            order=params.order,
            cursor=params.cursor,
            limit=params.limit,
        )


@handles("session/search")
async def session_search(ls: SessionServer, params: SearchParams) -> SearchPage:
    """Return a page of the events and titles that have all words of a query."""
    workspace = None if params.cwd is None else _located(ls, params.cwd)
    with _faults_of("$.cwd"):
        return await ls.window.search(
            params.query,
            workspace,
            archived=params.archived,
            types=params.types or (),
            sources=params.sources or (),
            session_id=params.session_id,
            cursor=params.cursor,
            limit=params.limit,
        )


@handles("session/follow")
async def session_follow(ls: SessionServer, params: FollowParams) -> FollowResult:
    """Tell the client what is added to a session from now on, or that the lists change."""
    if params.session_id is None:
        if params.after is not None:
            raise InvalidInputError(Fault("$.after", "needs a sessionId"))
        await ls.window.follow_list(ls)
        return FollowResult(after=None)
    return FollowResult(after=await ls.window.follow(params.session_id, params.after, ls))


@handles("session/unfollow")
async def session_unfollow(ls: SessionServer, params: UnfollowParams) -> Nothing:
    """Tell the client no longer what `session/follow` asked for."""
    await ls.window.unfollow(params.session_id)
    return Nothing()


@handles("session/findResumable")
async def session_find_resumable(ls: SessionServer, params: FindResumableParams) -> FindResult:
    """Return the session that `session/open` would resume."""
    workspace = _workspace(ls, params.workspace)
    with _faults_of("$.workspace"):
        return await ls.window.find_resumable(workspace, params.continue_minutes)


@handles("session/fork")
async def session_fork(ls: SessionServer, params: ForkParams) -> OpenResult:
    """Fork a session and open the fork."""
    workspace = None if params.workspace is None else _located(ls, params.workspace)
    with _faults_of("$.workspace"):
        return await ls.window.fork(
            params.session_id,
            at=params.at,
            title=params.title,
            archive_original=params.archive_original,
            workspace=workspace,
            new_session_id=params.new_session_id,
            tail=params.tail,
            default_workspace=lambda: _workspace(ls, None),
        )


@handles("session/setTitle")
async def session_set_title(ls: SessionServer, params: SetTitleParams) -> SessionResult:
    """Give a session a title."""
    return SessionResult(session=await ls.window.set_title(params.session_id, params.title))


@handles("session/export")
async def session_export(ls: SessionServer, params: ExportParams) -> ExportPage:
    """Return a page of a session as a file."""
    return await ls.window.export(params.session_id, params.format, params.cursor)


@handles("session/resumeCommand")
async def session_resume_command(ls: SessionServer, params: SessionParams) -> ResumeCommand:
    """Return the command that goes on with an imported session in its own program."""
    return await ls.window.resume_command(params.session_id)


@handles("session/relocate")
async def session_relocate(ls: SessionServer, params: RelocateParams) -> RelocateResult:
    """Move the sessions of a checkout that was moved, or note that it was not."""
    new_root = _located(ls, params.new_root)
    with _faults_of("$.newRoot"):
        moved = await ls.window.relocate(params.old_root, new_root, is_declined=params.declined)
    return RelocateResult(moved=moved)


@handles("session/reset")
async def session_reset(ls: SessionServer, params: SessionParams) -> OpenResult:
    """Archive an open session and begin a new one in its place."""
    return await ls.window.reset(params.session_id)


@handles("session/archive")
async def session_archive(ls: SessionServer, params: SessionParams) -> Nothing:
    """Archive a session."""
    await ls.window.archive(params.session_id)
    return Nothing()


@handles("session/unarchive")
async def session_unarchive(ls: SessionServer, params: SessionParams) -> Nothing:
    """Unarchive a session."""
    await ls.window.unarchive(params.session_id)
    return Nothing()


@handles("session/delete")
async def session_delete(ls: SessionServer, params: SessionParams) -> Nothing:
    """Delete a session permanently."""
    await ls.window.delete(params.session_id)
    return Nothing()


@handles("session/close")
async def session_close(ls: SessionServer, params: SessionParams) -> Nothing:
    """Close a session in this window."""
    await ls.window.close_session(params.session_id)
    return Nothing()


@handles("session/setServerSessionId")
async def session_set_server_session_id(
    ls: SessionServer, params: SetServerSessionIdParams
) -> Nothing:
    """Store the id that a remote model service gave the conversation."""
    await ls.window.set_server_session_id(params.session_id, params.server_session_id)
    return Nothing()


@handles("session/getMetadata")
async def session_get_metadata(ls: SessionServer, params: GetMetadataParams) -> GetMetadataResult:
    """Return the value that is stored with a session under a key."""
    return GetMetadataResult(value=await ls.window.get_metadata(params.session_id, params.key))


@handles("session/setMetadata")
async def session_set_metadata(ls: SessionServer, params: SetMetadataParams) -> Nothing:
    """Store a value with a session under a key."""
    await ls.window.set_metadata(params.session_id, params.key, params.value)
    return Nothing()


def _workspace(ls: SessionServer, given: str | None) -> "asyncio.Future[Workspace]":
    """Look for the workspace that was given, else the first folder's, else the process's own."""
    if given is not None:
        return _located(ls, given)
    roots = tuple(ls.protocol.folders)
    name = roots[0] if roots else "that the server runs in"
    return ls.window.locator.find(lambda touch: _root_workspace(roots, touch), name)


def _located(ls: SessionServer, given: str) -> "asyncio.Future[Workspace]":
    """Look for the workspace of a path or URI, which need not exist any more."""
    return ls.window.locator.find(lambda touch: locate_workspace(path_of(given), touch), given)


def _root_workspace(roots: Sequence[str], touch: Touch) -> Workspace:
    """Return the workspace of the first root that exists here.

    None is replaced by the process's own directory: that would be another project.
    """
    if not roots:
        return _own_workspace(touch)
    faults = []
    for root in roots:
        try:
            return resolve_workspace(path_of(root), touch)
        except InvalidWorkspaceError as error:
            faults.append(str(error))
    more = f", and {len(faults) - 1} other folders are not here either" if faults[1:] else ""
    raise InvalidWorkspaceError(f"{faults[0]}{more}; {_REMEDY}")


def _own_workspace(touch: Touch) -> Workspace:
    try:
        own = os.getcwd()
    except OSError:
        fault = f"is required: the server's own directory is gone; {_REMEDY}"
        raise InvalidWorkspaceError(fault) from None
    return locate_workspace(own, touch)


_REMEDY = "name a folder of this machine in `workspace`, or a session in `sessionId`"


@contextlib.contextmanager
def _faults_of(field: str) -> Iterator[None]:
    """Report a workspace that cannot be one as a fault of *field*."""
    try:
        yield
    except InvalidWorkspaceError as error:
        raise InvalidInputError(Fault(field, str(error))) from None
