"""The handlers of the methods: each calls one method of the window and returns its result."""

import os
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from pygls.server import JsonRPCServer

from segue.lsp.transport import SessionProtocol
from segue.model.records import (
    AppendResult,
    EventPage,
    FindResult,
    OpenResult,
    SessionPage,
    check_batch,
)
from segue.model.validation import Fault, InvalidInputError
from segue.model.workspace import (
    InvalidWorkspaceError,
    Workspace,
    locate_workspace,
    resolve_workspace,
)
from segue.protocol.messages import wire
from segue.protocol.methods import (
    AppendParams,
    EventsParams,
    FindResumableParams,
    GetMetadataParams,
    GetMetadataResult,
    ListParams,
    Nothing,
    OpenParams,
    SessionParams,
    SetMetadataParams,
    SetServerSessionIdParams,
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

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log nothing: the client gets the error, and it may hold conversation text."""


@handles("session/open")
async def session_open(ls: SessionServer, params: OpenParams) -> OpenResult:
    """Open a session: the one that is named, one that fits, or a new one."""
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
    check_batch(params.events)
    return await ls.window.append(params.session_id, params.events, params.parent_id)


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
    workspace = None if params.cwd is None else _located(params.cwd, "$.cwd", locate_workspace)
    return await ls.window.list_sessions(
        workspace, archived=params.archived, cursor=params.cursor, limit=params.limit
    )


@handles("session/findResumable")
async def session_find_resumable(ls: SessionServer, params: FindResumableParams) -> FindResult:
    """Return the session that `session/open` would resume."""
    return await ls.window.find_resumable(_workspace(ls, params.workspace), params.continue_minutes)


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


def _workspace(ls: SessionServer, given: str | None) -> Workspace:
    """Return the workspace that was given, else the first folder's, else the process's own."""
    if given is not None:
        return _located(given, "$.workspace", resolve_workspace)
    for folder in ls.protocol.folders:
        if (path := _path(folder)) is not None and os.path.isdir(path):
            return _located(path, "$.workspace", resolve_workspace)
    try:
        return _located(os.getcwd(), "$.workspace", resolve_workspace)
    except FileNotFoundError:
        fault = Fault("$.workspace", "is required: the server's own directory is gone")
        raise InvalidInputError(fault) from None


def _located(given: str, field: str, locate: Callable[[str], Workspace]) -> Workspace:
    path = _path(given)
    if path is None:
        raise InvalidInputError(Fault(field, "expected an absolute path or a file: URI"))
    try:
        return locate(path)
    except InvalidWorkspaceError as error:
        raise InvalidInputError(Fault(field, str(error))) from None


def _path(given: str) -> str | None:
    """Return the path that a URI or a path names, or None: `untitled:` and others have none."""
    if os.path.isabs(given):
        return given
    # pygls' own conversion drops what follows a semicolon, which is legal in a folder's name.
    try:
        uri = urllib.parse.urlsplit(given)
        path = urllib.parse.unquote(uri.path, errors="strict")
    except ValueError:
        return None
    if uri.scheme != "file":
        return None
    if uri.netloc not in ("", "localhost"):
        path = f"//{uri.netloc}{path}"
    elif os.name == "nt":
        path = path.removeprefix("/")
    return os.path.normpath(path) if os.path.isabs(path) else None
