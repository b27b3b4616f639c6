"""Params and results of every session/… request, and the method table.

These classes are the wire: their fields travel in camelCase. PROTOCOL.md describes them, and the
editors' clients mirror them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar, dataclass_transform

import attrs

from segue import events, service, strict
from segue.service import LAST_SEEN, MAX_PAGE, PAGE
from segue.strict import Between, Characters
from segue.window import Mode

VERSION = 1

T = TypeVar("T")

Name = events.Name
ParentId = Annotated[Any, Characters(128, or_null=True)]
Seq = Annotated[int, Between(0, 0xFFFFFFFF)]
Limit = Annotated[int, Between(1, MAX_PAGE)]
Tail = Annotated[int, Between(0, MAX_PAGE)]
RemoteId = Annotated[str, Characters(1_024)]

_EPOCH = datetime(1970, 1, 1)
_LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, the last that ISO 8601 has

wire = strict.make_converter(strict.camel_case)


@dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
def message(cls: type[T]) -> type[T]:
    """Make *cls* a part of the wire.

    Nobody compares one, prints it or changes it: code for that would be half of what the class, and
    each of a page's events, costs.
    """
    return attrs.define(cls, kw_only=True, eq=False, repr=False)


@message
class Session:
    """A session as the wire has it. Times are ISO 8601 UTC with milliseconds."""

    session_id: str
    title: str | None
    directory: str
    git_root: str | None
    server_session_id: str | None
    head: str | None
    event_count: int
    created_at: str
    updated_at: str
    archived_at: str | None
    forked_from: str | None

    @classmethod
    def of(cls, session: service.Session) -> "Session":
        """Return *session* for the wire."""
        return cls(
            session_id=session.id,
            title=session.title,
            directory=session.directory,
            git_root=session.git_root,
            server_session_id=session.server_session_id,
            head=session.head,
            event_count=session.event_count,
            created_at=iso(session.created_at),
            updated_at=iso(session.updated_at),
            archived_at=iso_or_none(session.archived_at),
            forked_from=session.forked_from,
        )


@message
class Event:
    """A stored event as the wire has it; `corrupt` stands only on one that is not even JSON."""

    id: str
    seq: int
    parent_id: str | None
    invocation_id: str
    created_at: str
    type: str
    data: Any
    corrupt: bool = attrs.field(default=False, metadata={"omit": True})

    @classmethod
    def of(cls, event: service.StoredEvent) -> "Event":
        """Return *event* for the wire."""
        return cls(
            id=event.id,
            seq=event.seq,
            parent_id=event.parent_id,
            invocation_id=event.invocation_id,
            created_at=iso(event.created_at),
            type=event.type,
            data=event.data,
            corrupt=event.corrupt,
        )


@message
class Boundary:
    """The event that tells the model where an earlier invocation ends; stored when one follows."""

    id: str
    type: str
    data: dict[str, Any]


@message
class Placement:
    """Where an event that was sent stands in its session."""

    id: str
    seq: int


@message
class NewEvent:
    """An event as a client sends it."""

    id: str | None = None
    type: str
    data: dict[str, Any]


# Left as it was sent: `events.Event.parse` names every fault of every event at once.
wire.register_structure_hook(NewEvent, lambda value, _: value)


@message
class OpenParams:
    """What `session/open` takes."""

    workspace: str | None = None
    session_id: Name | None = None
    mode: Mode = "auto"
    continue_minutes: float | None = None
    tail: Tail = PAGE


@message
class OpenResult:
    """What `session/open` and `session/reset` return."""

    session: Session
    invocation_id: str
    resumed: bool
    reason: str
    boundary: Boundary | None
    events: Sequence[Event]
    has_more: bool
    last_event_at: str | None
    alternatives: Sequence[Session]


@message
class AppendParams:
    """What `session/append` takes. A `parentId` of null says: the session is empty."""

    session_id: Name
    parent_id: ParentId = LAST_SEEN
    events: list[NewEvent]


@message
class AppendResult:
    """What `session/append` returns."""

    head: str | None
    event_count: int
    events: Sequence[Placement]
    duplicates: int


@message
class EventsParams:
    """What `session/events` takes."""

    session_id: Name
    after: Seq | None = None
    before: Seq | None = None
    limit: Limit = PAGE


@message
class EventsResult:
    """What `session/events` returns."""

    events: Sequence[Event]
    has_more: bool


@message
class ListParams:
    """What `session/list` takes."""

    cwd: str | None = None
    archived: bool = False
    cursor: str | None = None
    limit: Limit = PAGE


@message
class ListResult:
    """What `session/list` returns."""

    sessions: Sequence[Session]
    next_cursor: str | None


@message
class FindResumableParams:
    """What `session/findResumable` takes."""

    workspace: str | None = None
    continue_minutes: float | None = None


@message
class FindResumableResult:
    """What `session/findResumable` returns."""

    session: Session | None
    reason: str
    alternatives: Sequence[Session]


@message
class SessionParams:
    """What the requests take that name a session and no more."""

    session_id: Name


@message
class SetServerSessionIdParams:
    """What `session/setServerSessionId` takes."""

    session_id: Name
    server_session_id: RemoteId


@message
class GetMetadataParams:
    """What `session/getMetadata` takes."""

    session_id: Name
    key: Name


@message
class GetMetadataResult:
    """What `session/getMetadata` returns."""

    value: Any


@message
class SetMetadataParams:
    """What `session/setMetadata` takes."""

    session_id: Name
    key: Name
    value: Any


@attrs.frozen
class Nothing:
    """An empty result."""


@attrs.frozen
class Method:
    """What a request takes and returns."""

    params: type
    result: type


METHODS = {
    "session/open": Method(OpenParams, OpenResult),
    "session/append": Method(AppendParams, AppendResult),
    "session/events": Method(EventsParams, EventsResult),
    "session/list": Method(ListParams, ListResult),
    "session/findResumable": Method(FindResumableParams, FindResumableResult),
    "session/reset": Method(SessionParams, OpenResult),
    "session/archive": Method(SessionParams, Nothing),
    "session/unarchive": Method(SessionParams, Nothing),
    "session/delete": Method(SessionParams, Nothing),
    "session/close": Method(SessionParams, Nothing),
    "session/setServerSessionId": Method(SetServerSessionIdParams, Nothing),
    "session/getMetadata": Method(GetMetadataParams, GetMetadataResult),
    "session/setMetadata": Method(SetMetadataParams, Nothing),
}


@message
class WorkspaceFolder:
    """A folder that the editor has open."""

    uri: str


@message
class InitializeParams:
    """The part of LSP's `initialize` that Segue reads."""

    process_id: int | None = None
    root_path: str | None = None
    root_uri: str | None = None
    workspace_folders: list[WorkspaceFolder] | None = None


@message
class FoldersChange:
    """Which workspace folders came and went."""

    added: list[WorkspaceFolder]
    removed: list[WorkspaceFolder]


@message
class FoldersChangeParams:
    """The params of LSP's `workspace/didChangeWorkspaceFolders`."""

    event: FoldersChange


def iso(milliseconds: int) -> str:
    """Return a time of the store as the wire has it: `2026-08-01T12:00:00.000Z`."""
    at = _EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), _LAST_MILLISECOND))
    return at.isoformat(timespec="milliseconds") + "Z"


def iso_or_none(milliseconds: int | None) -> str | None:
    """Return a time of the store as the wire has it, if there is one."""
    return None if milliseconds is None else iso(milliseconds)
