"""The contracts of a store: SessionService stores sessions, StoreAdmin maintains the store.

`server/DEVELOPMENT.md` lists what to change for a new store. `tests/store` tests all of them alike.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from segue.model.events import Event
from segue.model.records import (
    PAGE,
    AppendResult,
    EventPage,
    ImportedEvent,
    ImportResult,
    NewFork,
    NewSession,
    Origin,
    Pruned,
    Resumable,
    Session,
    SessionPage,
)

if TYPE_CHECKING:
    from segue.model.store_reports import (
        BackupResult,
        CheckReport,
        RestorePreview,
        RestoreResult,
        SizeReport,
        StoreCopy,
        StoreEngine,
        StoreSizes,
    )


class SessionService(Protocol):
    """A store of sessions.

    Every method may raise a StorageError; those that take a *session_id* raise SessionNotFound if
    no session has it, unless their docstring differs. Each call is atomic: it takes effect
    completely or not at all. A caller that is cancelled loses only the result. Reads never write.

    Calls take effect in the order in which they are made; a caller need not wait for one before it
    makes the next. A call that raises does not affect the others.
    """

    async def create_session(
        self,
        new: NewSession,
        events: Sequence[Event],
        *,
        invocation_id: str,
        origin: Origin | None = None,
        hold: bool = False,
    ) -> AppendResult:
        """Store *new* together with its first *events*: a session without events never exists.

        If the session exists already, this is `append_events` with a *parent_id* of None: a retry
        after a lost response writes nothing and returns the same positions. With *hold*, do as
        `hold` first.
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
        origin: Origin | None = None,
    ) -> AppendResult:
        """Append all *events*, or none, and advance the head: on disk when this returns.

        At most MAX_BATCH of them: InvalidInputError for more.

        Idempotent: an event whose id is stored with the same content counts as a duplicate and is
        not written again. The others are appended in their order, behind *boundary* if one is given
        and not stored yet. Without events, the head is returned.

        Raises HeadMoved unless the head is *parent_id* or the stored event that the first new one
        follows in *events*; with *accept_own_head* also a head that this invocation wrote to this
        session is accepted, so that a caller with appends in flight need not know their ids. Raises
        EventConflict for a stored id with other content. An archived session takes the events and
        stays archived: an answer is stored with its question.

        The client of *origin* is stored with the invocation's first event. With new events it and
        the agent and model, if *origin* names one of them, become those of the session.
        """

    async def fork_session(self, session_id: str, fork: NewFork) -> Session:
        """Store a new session that has the events of this one up to `fork.at`, and return it.

        Its events have the same seqs, ids, times and invocations. It costs one commit, however many
        they are, and neither session needs the other afterwards: each can be appended to and
        deleted. It is updated now; metadata and the server session id are not taken over. Its
        automatic title is `copy of …`, or the original's if that is archived.

        If the session `fork.id` exists already, it is returned: a retry makes no second fork.
        Raises EventNotFound if the session has no event `fork.at`.
        """

    async def import_session(
        self,
        new: NewSession,
        events: Sequence[ImportedEvent],
        *,
        after: str | None = None,
        title: str | None = None,
        origin: Origin | None = None,
        state: Any = None,
        revive: bool = False,
        dry_run: bool = False,
    ) -> ImportResult:
        """Store events of another program's conversation, at most MAX_IMPORT, with their times.

        Twice is once: an event whose id is stored in the session is left as it is there. *after* is
        the id of the event before the first one, None if that is not known. If the new events do
        not follow the session's last event, the past has changed there, or the conversation went on
        here: they become a fork at the last common event, always the same one, and the original is
        archived unless it has events that were not imported.

        An event whose id begins with PROMPT is stored ahead of what the program records: at the
        end, where it never counts as a changed past. The user message that records it, with the
        same `prompt_id` or else the same text, is that event from then on, under its id.

        The session is not resumed automatically until it is appended to. *title* is its automatic
        title, None: that of its first user message. *state* is stored with it, and listed by
        `import_states`. A session that was deleted here stays deleted unless *revive*. With
        *dry_run* nothing is stored, and `added` is how many of *events* are not stored.
        """

    async def import_states(self, source: str, session_id: str | None = None) -> dict[str, Any]:
        """Return the state of each session that was imported from *source*, by its id.

        With *session_id* only that of this session, if it has one.
        """

    async def set_title(self, session_id: str, title: str | None) -> Session:
        """Give the session a title, or with None its automatic one again, and return it.

        A given title stays whatever is appended. `updated_at` does not change.
        """

    async def find_resumable(
        self,
        directory: str,
        git_root: str | None,
        max_age: timedelta,
        *,
        aliases: Sequence[str] = (),
    ) -> Resumable:
        """Return the sessions that may be resumed in a directory and its repository, newest first.

        Not archived, with a model-visible event, updated less than *max_age* ago, and whose git
        root or directory is *directory*, *git_root* or one of *aliases*: so they are found before
        and after the directory becomes a repository. A time more than MAX_SKEW_MS in the future is
        not fresh: such a session is not among them. At most six; the time does not grow with the
        sessions.
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

    async def open_session(
        self, session_id: str, tail: int = PAGE, *, hold: bool = False
    ) -> tuple[Session, EventPage]:
        """Return the session, archived or not, and its last *tail* events, from one snapshot.

        With *hold*, do as `hold` first.
        """

    async def list_sessions(
        self,
        *,
        directory: str | None = None,
        git_root: str | None = None,
        git_common_dir: str | None = None,
        aliases: Sequence[str] = (),
        archived: bool = False,
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        """Return a page of sessions, newest first, the archived ones only if *archived*.

        With *directory*, those whose directory or git root is *directory*, *git_root* or one of
        *aliases*, and those of every worktree of *git_common_dir*. Of the archived ones, and those
        without a model-visible event, whose git root is a linked worktree, only those are found
        that share *git_common_dir*. Raises InvalidInputError for a cursor that is not one of its
        own.
        """

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Store the id that a remote model service gave the conversation."""

    async def archive(self, session_id: str) -> None:
        """Archive the session: it is listed on request only, and never resumed automatically."""

    async def unarchive(self, session_id: str) -> None:
        """Make an archived session a normal one again."""

    async def delete(self, session_id: str) -> None:
        """Delete the session and all that is stored with it, but for events that forks have.

        An event is deleted with the last session that has it. An unknown id succeeds.
        """

    async def hold(self, session_id: str) -> None:
        """Say that this service has the session open, until `release` or the process's end.

        The session need not exist. A store that cannot say it succeeds.
        """

    async def release(self, session_id: str) -> None:
        """End `hold`. A session that is not held succeeds."""

    async def prune(
        self,
        older_than: timedelta,
        *,
        live: bool = False,
        dry_run: bool = False,
        among: Collection[str] | None = None,
    ) -> Pruned:
        """Delete the sessions that were archived *older_than* ago or earlier; return which.

        With *live* also those that are not archived and were updated that long ago. One that any
        service holds is never deleted; where holding cannot be known, one that was updated in the
        last day counts as held. With *among*, only sessions with these ids are deleted. With
        *dry_run* nothing is deleted.
        """

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Return the JSON value under *key*, or None."""

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Store a JSON value under *key*; None removes it."""

    async def close(self) -> None:
        """Finish the calls that were made before, and release the store. Idempotent."""


class StoreAdmin(Protocol):
    """The maintenance of a store, which need not be open and may be in use by editors meanwhile.

    The calls block. Only `repair` and `restore` change the store, and only `restore` creates one.
    """

    @property
    def location(self) -> str:
        """The path or the address of the store, to be shown to its owner; without a password."""

    @property
    def engine(self) -> "StoreEngine":
        """The database software, and whether its version is safe."""

    def exists(self) -> bool:
        """Return whether the store has been created.

        Raises StorageUnavailable if it cannot be reached.
        """

    def sizes(self) -> "StoreSizes":
        """Return how much the store holds: zero bytes and no counts if it does not exist.

        Counts that cannot be read are None; `check` names the reason.
        """

    def session_sizes(self) -> "SizeReport":
        """Return how much each session holds: nothing if the store does not exist.

        Raises a StorageError if it cannot be read.
        """

    def check(self) -> "CheckReport":
        """Return who else can read the store, whether it is damaged, and how much it holds.

        A store that is damaged or belongs to another program is a problem in the report.
        """

    def repair(self) -> str:
        """Quarantine a damaged store, replace it by what can be read of it, and return a message.

        An undamaged store is left as it is. Raises a StorageError if there is no store, or if its
        damage cannot be repaired now; the store is left as it is then.
        """

    def back_up(self, target: str | None = None) -> "BackupResult":
        """Copy a snapshot of the store to the new file *target*, and verify the copy.

        Without *target* the store chooses a new path. The copy is readable only by its owner.
        Raises StorageUnavailable if there is no store or *target* exists, and a StorageError if the
        copy fails; *target* is left as it was then.
        """

    def restore(
        self, source: str, confirm: "Callable[[RestorePreview], bool]"
    ) -> "RestoreResult | None":
        """Replace the store by a copy of the backup *source*, if *confirm* returns True.

        The backup is verified first, and left as it is; the store need not exist. A store that is
        replaced is kept. Returns None if *confirm* returned False. Raises a StorageError if
        *source* is no backup of such a store, is damaged or of a later version, or if the store is
        open. The store is left as it is then.
        """

    def copies(self) -> "Sequence[StoreCopy]":
        """Return the copies of the store that are kept beside it, the oldest of each kind first.

        A deleted conversation may still be in them.
        """

    def sweep(self) -> Sequence[str]:
        """Remove the unfinished copies of backups that were killed; return their paths."""
