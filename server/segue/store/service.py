"""The contracts of a store: SessionService keeps sessions, StoreAdmin maintains the store."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from segue.model.events import Event
from segue.model.records import (
    PAGE,
    AppendResult,
    EventPage,
    NewSession,
    Session,
    SessionPage,
)

if TYPE_CHECKING:
    from segue.model.store_reports import BackupResult, CheckReport, StoreEngine, StoreSizes


class SessionService(Protocol):
    """A store of sessions.

    Every method may raise a StorageError; those that take a *session_id* raise SessionNotFound if
    no session has it, unless they say otherwise. Each call is atomic: it happens whole or not at
    all, also when the caller is cancelled, who only loses the result. Reading never writes.

    Calls take effect in the order in which they are made, also while earlier ones are still
    waiting: a caller may have many in flight. One that is refused changes nothing for the others.
    """

    async def create_session(
        self,
        new: NewSession,
        events: Sequence[Event],
        *,
        invocation_id: str,
    ) -> AppendResult:
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
        accept_own_head: bool = False,
        boundary: Event | None = None,
    ) -> AppendResult:
        """Append *events* and advance the head, all or nothing, and on disk when it returns.

        Idempotent: an event whose id is stored with the same content counts as a duplicate and is
        not written again. The others are appended in their order, behind *boundary* if one is given
        and not stored yet. Without events, the head is returned.

        Raises HeadMoved unless the head is *parent_id* or the stored event that the first new one
        follows in *events*; with *accept_own_head* also a head that this invocation wrote is
        accepted, so that a caller with appends in flight need not know their ids. Raises
        EventConflict for a stored id with other content, and SessionArchived.
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


class StoreAdmin(Protocol):
    """The maintenance of a store, which need not be open and may be in use by editors meanwhile.

    The calls block. None creates the store, and only `repair` changes it.
    """

    @property
    def location(self) -> str:
        """Where the store is, as its owner would recognize it; never with a password."""

    @property
    def engine(self) -> "StoreEngine":
        """Which database software is used, and whether its version is safe."""

    def exists(self) -> bool:
        """Return whether the store has been created."""

    def sizes(self) -> "StoreSizes":
        """Return how much the store holds: zero bytes and no counts if it does not exist.

        Counts that cannot be read are None; `check` names the reason.
        """

    def check(self) -> "CheckReport":
        """Return who else can read the store, whether it is damaged, and how much it holds.

        A store that is damaged or belongs to another program is a problem in the report.
        """

    def repair(self) -> str:
        """Quarantine a damaged store, replace it by what can be read of it, and say what was done.

        An undamaged store is left as it is. Raises a StorageError if there is no store, or if its
        damage cannot be repaired now; the store is left as it is then.
        """

    def back_up(self, target: str | None = None) -> "BackupResult":
        """Copy a snapshot of the store to the new file *target*, and verify the copy.

        Without *target* the store chooses a new path. The copy is readable only by its owner.
        Raises StorageUnavailable if there is no store or *target* exists, and a StorageError if the
        copy fails; *target* is left as it was then.
        """
