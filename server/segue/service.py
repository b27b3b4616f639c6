"""The SessionService contract: its records, its promises and its errors."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import attrs

from segue.events import Event

PAGE = 200
"""How many records a page holds when nobody says."""

MAX_PAGE = 1_000
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""A page of events stops here, in bytes of stored `data`; it always holds at least one event."""


@attrs.frozen(kw_only=True)
class Session:
    """One conversation: an id, where it happened, and how far its chain of events goes.

    Times are integers, milliseconds since 1970 UTC.
    """

    id: str
    directory: str
    git_root: str | None
    title: str | None
    server_session_id: str | None
    head: str | None
    event_count: int
    created_at: int
    updated_at: int
    archived_at: int | None
    forked_from: str | None = None


@attrs.frozen(kw_only=True)
class NewSession:
    """What is known of a session before its first event puts it in the store."""

    id: str
    directory: str
    git_root: str | None = None
    git_common_dir: str | None = None
    server_session_id: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class StoredEvent:
    """An event and what the store adds. `data` is its text, unchanged, if that is not even JSON."""

    id: str
    seq: int
    parent_id: str | None
    invocation_id: str
    created_at: int
    type: str
    data: Any
    corrupt: bool = False


@attrs.frozen(kw_only=True)
class EventPage:
    """Events in their order, and whether there are more on the side that was read towards."""

    events: Sequence[StoredEvent]
    has_more: bool


@attrs.frozen(kw_only=True)
class SessionPage:
    """Sessions, newest first; `next_cursor` is None on the last page."""

    sessions: Sequence[Session]
    next_cursor: str | None


LAST_SEEN: Any = object()
"""As a parent: the head that whoever appends last saw."""


@attrs.frozen(kw_only=True)
class Batch:
    """Events that are appended together behind *parent_id*, all or nothing."""

    events: Sequence[Event]
    parent_id: str | None = LAST_SEEN


@attrs.frozen
class Placement:
    """Where an event stands in its session."""

    id: str
    seq: int


@attrs.frozen(kw_only=True)
class Appended:
    """What an append came to. `duplicates` counts the events that were stored already."""

    head: str | None
    event_count: int
    events: Sequence[Placement]
    duplicates: int

    @property
    def wrote(self) -> bool:
        """Whether any event was new."""
        return self.duplicates < len(self.events)

    @property
    def shows_head(self) -> bool:
        """Whether who appended has seen the head: after a mere retry it may be another window's."""
        return self.wrote or any(event.id == self.head for event in self.events)


def now() -> int:
    """Return the time as the records have it: milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class SegueError(Exception):
    """The root of everything that can go wrong between a session and its store."""

    @property
    def kind(self) -> str:
        """The error's name, for programs."""
        return type(self).__name__

    def details(self) -> dict[str, Any]:
        """Return what a program needs to go on."""
        return {}


class SessionError(SegueError):
    """Something about one session, which *session_id* names."""

    message = ""

    def __init__(self, session_id: str) -> None:
        super().__init__(self.message.format(session_id))
        self.session_id = session_id


class SessionNotFound(SessionError):
    """No session has this id."""

    message = "No session has the id {}."


class SessionArchived(SessionError):
    """The session was put aside; it takes no more events until it is unarchived."""

    message = "Session {} is archived. Unarchive it, or open a new one."


class HeadMoved(SegueError):
    """Another window appended first. `head` and `event_count` are the real ones."""

    def __init__(self, head: str | None, event_count: int) -> None:
        super().__init__(
            "The session has grown in another window. "
            "Read the events that you have not seen, then append to the new head."
        )
        self.head = head
        self.event_count = event_count

    def details(self) -> dict[str, Any]:
        return {"head": self.head, "event_count": self.event_count}


class EventConflict(SegueError):
    """An event with this id and another content is stored already."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} is stored already, with another type or other data.")
        self.event_id = event_id

    def details(self) -> dict[str, Any]:
        return {"event_id": self.event_id}


class StorageError(SegueError):
    """The store could not do it. Nothing was half done: what was answered before is kept."""


class StorageFull(StorageError):
    """The disk, or a quota, is full."""


class StorageReadOnly(StorageError):
    """The store may be read but not written."""


class StorageCorrupt(StorageError):
    """The store is damaged, or is no Segue database."""


class StorageUnavailable(StorageError):
    """The store cannot be reached now, or is not for this version."""


class SessionService(Protocol):
    """Where sessions live.

    Every method may raise a StorageError; those that take a *session_id* raise SessionNotFound if
    no session has it, unless they say otherwise. Each call is one transaction: it happens whole or
    not at all, also when the caller is cancelled. Reading never writes.
    """

    async def create_session(
        self,
        new: NewSession,
        events: Sequence[Event],
        *,
        invocation_id: str,
    ) -> Appended:
        """Store *new* together with its first *events*: a session without events never exists.

        If the session exists already this is `append_events` to its empty beginning, so a retry
        after a lost answer writes nothing and returns the first result.
        """

    async def append_events(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        parent_id: str | None,
        invocation_id: str,
        boundary: Event | None = None,
    ) -> Appended:
        """Append *events* and advance the head, all or nothing, and on disk when it returns.

        An event whose id is stored with the same content counts as a duplicate and is not written
        again; the others are appended in their order, behind *boundary* if one is given. Raises
        EventConflict for a known id with other content; HeadMoved unless the head is *parent_id*
        or the stored event of this batch that the first new one follows; SessionArchived.
        """

    async def append_batches(
        self,
        session_id: str,
        batches: Sequence[Batch],
        *,
        last_seen: str | None,
        invocation_id: str,
        boundary: Event | None = None,
    ) -> Sequence[Appended | SegueError]:
        """Append each of *batches* as `append_events` would, in their order and in one commit.

        A batch that is refused is answered with its error, and the others are stored all the same.
        LAST_SEEN is the head *last_seen*, or the one that a batch before has shown since.
        """

    async def find_resumable(
        self, directory: str, git_root: str | None, max_age: timedelta
    ) -> Sequence[Session]:
        """Return the sessions that may be resumed here, newest first: one, and what else fits.

        Not archived, with a model-visible event, updated less than *max_age* ago, and of the same
        git root or the same directory. At most six; it costs the same with a million sessions.
        """

    async def load_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> EventPage:
        """Return a page of events, oldest first.

        The first *limit* whose seq is above *after*, or the last below *before*, or the newest.
        A page ends early at MAX_PAGE_BYTES. An event that cannot be decoded never fails the page.
        """

    async def get_session(self, session_id: str) -> Session:
        """Return the session, archived or not."""

    async def open_session(self, session_id: str, tail: int = PAGE) -> tuple[Session, EventPage]:
        """Return the session, archived or not, and its last *tail* events, as of one moment."""

    async def list_sessions(
        self,
        *,
        directory: str | None = None,
        git_common_dir: str | None = None,
        archived: bool = False,
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        """Return a page of sessions, newest first, the archived ones only if *archived*.

        With *directory*, those of that directory and of every worktree of *git_common_dir*.
        Raises InvalidInputError for a cursor that is not one of its own.
        """

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Remember the id that a remote model service gave the conversation."""

    async def archive(self, session_id: str) -> None:
        """Put the session aside: listed on request, never resumed by itself."""

    async def unarchive(self, session_id: str) -> None:
        """Bring an archived session back."""

    async def delete(self, session_id: str) -> None:
        """Remove the session and its text for good. An unknown id succeeds."""

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Return the JSON value under *key*, or None."""

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Keep a JSON value under *key*; None removes it."""

    async def close(self) -> None:
        """Finish what was begun and release the store. Closing twice is closing once."""
