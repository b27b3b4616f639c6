"""The method table: for each request its params, its result, and how it may be repeated.

`server/schema.json`, the TypeScript and Lua clients and the blocks of PROTOCOL.md are generated
from it, or checked against it, by `tests/protocol`.
"""

import attrs

from segue.model.records import AppendResult, EventPage, FindResult, OpenResult, SessionPage
from segue.protocol.messages import (
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

VERSION = 1
"""The version of the wire protocol."""


@attrs.frozen
class Method:
    """What a request takes and returns."""

    params: type
    result: type
    reads: bool = False
    """Whether it only reads: a server that shuts down may drop it when its answer goes unread."""
    retriable: bool = False
    """Whether a client may send it again, unchanged, after its answer was lost with the server."""


METHODS = {
    "session/open": Method(OpenParams, OpenResult, retriable=True),
    "session/append": Method(AppendParams, AppendResult),
    "session/events": Method(EventsParams, EventPage, reads=True, retriable=True),
    "session/list": Method(ListParams, SessionPage, reads=True, retriable=True),
    "session/findResumable": Method(FindResumableParams, FindResult, reads=True, retriable=True),
    "session/reset": Method(SessionParams, OpenResult),
    "session/archive": Method(SessionParams, Nothing, retriable=True),
    "session/unarchive": Method(SessionParams, Nothing, retriable=True),
    "session/delete": Method(SessionParams, Nothing, retriable=True),
    "session/close": Method(SessionParams, Nothing, retriable=True),
    "session/setServerSessionId": Method(SetServerSessionIdParams, Nothing),
    "session/getMetadata": Method(GetMetadataParams, GetMetadataResult, reads=True, retriable=True),
    "session/setMetadata": Method(SetMetadataParams, Nothing),
}
