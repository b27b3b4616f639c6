"""The method table: for each request its params, its result, and how it may be repeated.

`server/schema.json`, the TypeScript and Lua clients and the blocks of PROTOCOL.md are generated
from it, or checked against it, by `tests/protocol`.

`server/DEVELOPMENT.md` lists what to change for a new request.
"""

from typing import Annotated, Any, Literal

import attrs

from segue.model.events import Event, Name
from segue.model.records import (
    HITS,
    LAST_SEEN,
    MAX_BATCH,
    MAX_HITS,
    MAX_PAGE,
    PAGE,
    Appended,
    AppendResult,
    EventPage,
    ExportPage,
    FindResult,
    Mode,
    OpenResult,
    Order,
    ResumeCommand,
    SearchPage,
    Session,
    SessionPage,
)
from segue.model.validation import IntRange, ItemCount, Line, StringLength
from segue.protocol.messages import message

ParentId = Annotated[Any, StringLength(128, or_null=True)]
Seq = Annotated[int, IntRange(0, 0xFFFFFFFF)]
Limit = Annotated[int, IntRange(1, MAX_PAGE)]
Tail = Annotated[int, IntRange(0, MAX_PAGE)]
Query = Annotated[str, StringLength(1_000)]
Names = Annotated[list[Name], ItemCount(100)]
HitLimit = Annotated[int, IntRange(1, MAX_HITS)]
RemoteId = Annotated[str, StringLength(1_024)]
Sources = Annotated[list[Name], ItemCount(64)]
TITLE = Line(200)
Title = Annotated[str, TITLE]
FolderPath = Annotated[str, StringLength(32_767)]
AgentName = Annotated[str, Line(200)]

VERSION = 1
"""The version of the wire protocol."""


@message
class OpenParams:
    """The params of `session/open`."""

    workspace: str | None = None
    session_id: Name | None = None
    mode: Mode = "auto"
    continue_minutes: float | None = None
    tail: Tail = PAGE


@message
class AppendParams:
    """The params of `session/append`. A `parentId` of null means an empty session."""

    session_id: Name
    parent_id: ParentId = LAST_SEEN
    events: Annotated[list[Event], ItemCount(MAX_BATCH)]
    agent: AgentName | None = None
    model: AgentName | None = None


@message
class EventsParams:
    """The params of `session/events`."""

    session_id: Name
    after: Seq | None = None
    before: Seq | None = None
    limit: Limit = PAGE


@message
class ListParams:
    """The params of `session/list`."""

    cwd: str | None = None
    archived: bool = False
    sources: Sources | None = None
    order: Order = "updated"
    cursor: str | None = None
    limit: Limit = PAGE


@message
class SearchParams:
    """The params of `session/search`."""

    query: Query
    cwd: str | None = None
    archived: bool = False
    types: Names | None = None
    sources: Names | None = None
    session_id: Name | None = None
    cursor: str | None = None
    limit: HitLimit = HITS


@message
class FindResumableParams:
    """The params of `session/findResumable`."""

    workspace: str | None = None
    continue_minutes: float | None = None


@message
class ForkParams:
    """The params of `session/fork`."""

    session_id: Name
    at: Name | None = None
    title: Title | None = None
    archive_original: bool = False
    workspace: str | None = None
    new_session_id: Name | None = None
    tail: Tail = PAGE


@message
class ExportParams:
    """The params of `session/export`."""

    session_id: Name
    format: Literal["markdown", "jsonl", "html"]
    cursor: str | None = None


@message
class FollowParams:
    """The params of `session/follow`. A `sessionId` of null is the lists of sessions."""

    session_id: Name | None = None
    after: Seq | None = None


@message
class FollowResult:
    """The result of `session/follow`: of which events the client is told, those above `after`."""

    after: int | None


@message
class UnfollowParams:
    """The params of `session/unfollow`. A `sessionId` of null is the lists of sessions."""

    session_id: Name | None = None


@message
class SetTitleParams:
    """The params of `session/setTitle`. A title of null is the automatic one."""

    session_id: Name
    title: Title | None


@message
class SessionResult:
    """The result of `session/setTitle`."""

    session: Session


@message
class RelocateParams:
    """The params of `session/relocate`."""

    old_root: FolderPath
    new_root: FolderPath
    declined: bool = False


@message
class RelocateResult:
    """The result of `session/relocate`."""

    moved: int


@message
class SessionParams:
    """The params of the requests that take only a session."""

    session_id: Name


@message
class SetServerSessionIdParams:
    """The params of `session/setServerSessionId`."""

    session_id: Name
    server_session_id: RemoteId


@message
class GetMetadataParams:
    """The params of `session/getMetadata`."""

    session_id: Name
    key: Name


@message
class GetMetadataResult:
    """The result of `session/getMetadata`."""

    value: Any


@message
class SetMetadataParams:
    """The params of `session/setMetadata`."""

    session_id: Name
    key: Name
    value: Any


@message
class Nothing:
    """An empty result."""


@attrs.frozen
class Method:
    """What a request takes and returns."""

    params: type
    result: type
    reads: bool = False
    """Whether it only reads: a server that shuts down may cancel it if the client reads nothing."""
    retriable: bool = False
    """Whether a client may resend it unchanged if the server ended without a response."""


METHODS = {
    "session/open": Method(OpenParams, OpenResult, retriable=True),
    "session/append": Method(AppendParams, AppendResult),
    "session/events": Method(EventsParams, EventPage, reads=True, retriable=True),
    "session/list": Method(ListParams, SessionPage, reads=True, retriable=True),
    "session/search": Method(SearchParams, SearchPage, reads=True, retriable=True),
    "session/follow": Method(FollowParams, FollowResult, reads=True, retriable=True),
    "session/unfollow": Method(UnfollowParams, Nothing, reads=True, retriable=True),
    "session/findResumable": Method(FindResumableParams, FindResult, reads=True, retriable=True),
    "session/fork": Method(ForkParams, OpenResult, retriable=True),
    "session/setTitle": Method(SetTitleParams, SessionResult, retriable=True),
    "session/export": Method(ExportParams, ExportPage, reads=True, retriable=True),
    "session/resumeCommand": Method(SessionParams, ResumeCommand, reads=True, retriable=True),
    "session/relocate": Method(RelocateParams, RelocateResult, retriable=True),
    "session/reset": Method(SessionParams, OpenResult),
    "session/archive": Method(SessionParams, Nothing, retriable=True),
    "session/unarchive": Method(SessionParams, Nothing, retriable=True),
    "session/delete": Method(SessionParams, Nothing, retriable=True),
    "session/close": Method(SessionParams, Nothing, retriable=True),
    "session/setServerSessionId": Method(SetServerSessionIdParams, Nothing),
    "session/getMetadata": Method(GetMetadataParams, GetMetadataResult, reads=True, retriable=True),
    "session/setMetadata": Method(SetMetadataParams, Nothing),
}

NOTIFICATIONS: dict[str, type] = {
    "session/didAppend": Appended,
    "session/didChangeList": Nothing,
}
"""What the server tells clients that follow something, and its params."""
