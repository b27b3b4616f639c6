"""One thin handler for each method: params in, one call, result out."""

import asyncio
import os
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from pygls.server import JsonRPCServer

from segue.events import Event
from segue.lsp import lifetime, protocol
from segue.lsp.protocol import (
    AppendParams,
    AppendResult,
    EventsParams,
    EventsResult,
    FindResumableParams,
    FindResumableResult,
    GetMetadataParams,
    GetMetadataResult,
    ListParams,
    ListResult,
    Nothing,
    OpenParams,
    OpenResult,
    Placement,
    SessionParams,
    SetMetadataParams,
    SetServerSessionIdParams,
)
from segue.lsp.transport import SessionProtocol
from segue.service import SessionService
from segue.strict import Fault, InvalidInputError
from segue.window import Opened, Redact, Window
from segue.workspace import (
    InvalidWorkspaceError,
    Workspace,
    locate_workspace,
    resolve_workspace,
)

OpenService = Callable[[], Awaitable[SessionService]]


class SessionServer(JsonRPCServer):
    """The server of one editor window."""

    protocol: SessionProtocol

    def __init__(self, window: Window, database: str | None) -> None:
        # Ours structures everything: lsprotocol's hooks would build every LSP type.
        super().__init__(SessionProtocol, converter_factory=lambda: protocol.wire)
        self.window = window
        self.protocol.database = database
        for method, handler in HANDLERS.items():
            self.feature(method)(self.protocol.answering(method, handler))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log nothing: who asked is told, and what went wrong may hold what people said."""


async def session_open(ls: SessionServer, params: OpenParams) -> OpenResult:
    opened = await ls.window.open(
        _workspace(ls, params.workspace),
        session_id=params.session_id,
        mode=params.mode,
        continue_minutes=params.continue_minutes,
        tail=params.tail,
    )
    return _open_result(opened)


async def session_append(ls: SessionServer, params: AppendParams) -> AppendResult:
    appended = await ls.window.append(params.session_id, _events(params), params.parent_id)
    return AppendResult(
        head=appended.head,
        event_count=appended.event_count,
        events=[Placement(id=event.id, seq=event.seq) for event in appended.events],
        duplicates=appended.duplicates,
    )


async def session_events(ls: SessionServer, params: EventsParams) -> EventsResult:
    if params.after is not None and params.before is not None:
        raise InvalidInputError(Fault("$.before", "cannot be given together with after"))
    page = await ls.window.events(
        params.session_id, after=params.after, before=params.before, limit=params.limit
    )
    events = [protocol.Event.of(event) for event in page.events]
    return EventsResult(events=events, has_more=page.has_more)


async def session_list(ls: SessionServer, params: ListParams) -> ListResult:
    where = None if params.cwd is None else _located(params.cwd, "$.cwd", locate_workspace)
    page = await ls.window.list_sessions(
        where, archived=params.archived, cursor=params.cursor, limit=params.limit
    )
    sessions = [protocol.Session.of(session) for session in page.sessions]
    return ListResult(sessions=sessions, next_cursor=page.next_cursor)


async def session_find_resumable(
    ls: SessionServer, params: FindResumableParams
) -> FindResumableResult:
    found = await ls.window.find_resumable(
        _workspace(ls, params.workspace), params.continue_minutes
    )
    return FindResumableResult(
        session=None if found.session is None else protocol.Session.of(found.session),
        reason=found.reason,
        alternatives=[protocol.Session.of(session) for session in found.alternatives],
    )


async def session_reset(ls: SessionServer, params: SessionParams) -> OpenResult:
    return _open_result(await ls.window.reset(params.session_id))


async def session_archive(ls: SessionServer, params: SessionParams) -> Nothing:
    await ls.window.archive(params.session_id)
    return Nothing()


async def session_unarchive(ls: SessionServer, params: SessionParams) -> Nothing:
    await ls.window.unarchive(params.session_id)
    return Nothing()


async def session_delete(ls: SessionServer, params: SessionParams) -> Nothing:
    await ls.window.delete(params.session_id)
    return Nothing()


async def session_close(ls: SessionServer, params: SessionParams) -> Nothing:
    await ls.window.close_session(params.session_id)
    return Nothing()


async def session_set_server_session_id(
    ls: SessionServer, params: SetServerSessionIdParams
) -> Nothing:
    await ls.window.set_server_session_id(params.session_id, params.server_session_id)
    return Nothing()


async def session_get_metadata(ls: SessionServer, params: GetMetadataParams) -> GetMetadataResult:
    return GetMetadataResult(value=await ls.window.get_metadata(params.session_id, params.key))


async def session_set_metadata(ls: SessionServer, params: SetMetadataParams) -> Nothing:
    await ls.window.set_metadata(params.session_id, params.key, params.value)
    return Nothing()


HANDLERS: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "session/open": session_open,
    "session/append": session_append,
    "session/events": session_events,
    "session/list": session_list,
    "session/findResumable": session_find_resumable,
    "session/reset": session_reset,
    "session/archive": session_archive,
    "session/unarchive": session_unarchive,
    "session/delete": session_delete,
    "session/close": session_close,
    "session/setServerSessionId": session_set_server_session_id,
    "session/getMetadata": session_get_metadata,
    "session/setMetadata": session_set_metadata,
}


def run(
    open_service: OpenService, continue_minutes: float, redact: Redact, database: str | None
) -> int:
    """Serve the client on stdio until its end; return the exit code.

    *database* is what the client is told of where the sessions are kept.
    """
    stdin, stdout = lifetime.claim_stdio()

    async def main() -> int:
        window = Window(open_service, continue_minutes, redact)
        server = SessionServer(window, database)
        return await lifetime.serve(server.protocol, window, stdin, stdout)

    return asyncio.run(main())


def _events(params: AppendParams) -> list[Event]:
    events: list[Event] = []
    faults: list[Fault] = []
    for place, event in enumerate(params.events):
        try:
            events.append(Event.parse(event))
        except InvalidInputError as error:
            faults += error.under(f"$.events[{place}]").faults
    if faults:
        raise InvalidInputError(*faults)
    return events


def _open_result(opened: Opened) -> OpenResult:
    boundary = opened.boundary
    return OpenResult(
        session=protocol.Session.of(opened.session),
        invocation_id=opened.invocation_id,
        resumed=opened.resumed,
        reason=opened.reason,
        boundary=None
        if boundary is None
        else protocol.Boundary(id=boundary.id, type=boundary.type, data=boundary.data),
        events=[protocol.Event.of(event) for event in opened.events],
        has_more=opened.has_more,
        last_event_at=protocol.iso_or_none(opened.last_event_at),
        alternatives=[protocol.Session.of(session) for session in opened.alternatives],
    )


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
    # pygls' own reading drops what follows a semicolon, which is legal in a folder's name.
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
