"""The contracts of a store: SessionService stores sessions, StoreAdmin maintains the store.

`server/DEVELOPMENT.md` lists what to change for a new store. `tests/store` tests all of them alike.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from segue.model.events import Event
from segue.model.records import (
    HITS,
    PAGE,
    AppendResult,
    EventPage,
    NewFork,
    NewSession,
    Order,
    Origin,
    Resumable,
    SearchPage,
    Session,
    SessionPage,
)

if TYPE_CHECKING:
    from segue.model.imports import ImportedEvent, ImportResult
    from segue.model.maintenance import IndexState, Pruned
    from segue.model.replicas import Replica, Tombstone, VersionPage
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

    In a store of several users, others may let one read sessions of theirs, which are marked with
    `Session.shared_by`. They are read, listed and found as one's own are, and are never resumable.
    A call that would change one raises SessionReadOnly; a fork of it is one's own. What is not
    shared any more is not found from then on. Of two sessions with one id, one's own is meant.
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

        A session of another machine, `new.machine`, has its places there: they are returned as they
        are, and no path of this machine finds it.
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
        the agent and model, if *origin* names one of them, become those of the session, and so does
        the branch. With a new event `user_message`, their time becomes its `last_prompt_at`.
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
        events: Sequence["ImportedEvent"],
        *,
        after: str | None = None,
        title: str | None = None,
        origin: Origin | None = None,
        state: Any = None,
        revive: bool = False,
        dry_run: bool = False,
    ) -> "ImportResult":
        """Store events of another program's conversation, at most MAX_IMPORT, with their times.

        Twice is once: an event whose id is stored in the session is left as it is there. *after* is
        the id of the event before the first one, None if that is not known. If the new events do
        not follow the session's last event, the past has changed there, or the conversation went on
        here: they become a fork at the last common event, always the same one, and the original is
        archived unless it has events that were not imported.

        An event whose id begins with PROMPT is stored ahead of what the program records: at the
        end, where it never counts as a changed past. The user message that records it, with the
        same `prompt_id` or else the same text, is that event from then on, under its id. If the
        last user message has the same text and no answer, it is the record, and nothing is stored.

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
        repository: str | None = None,
        worktree: str | None = None,
    ) -> Resumable:
        """Return the sessions that may be resumed in a directory and its repository, newest first.

        Not archived, with a model-visible event, updated less than *max_age* ago, and whose git
        root or directory is *directory*, *git_root* or one of *aliases*: so they are found before
        and after the directory becomes a repository. Of another machine, whose paths mean nothing
        here, those with the same *repository* and *worktree*, None for a main one: on this machine
        these decide nothing, two clones are two. A time more than MAX_SKEW_MS in the future is not
        fresh: such a session is not among them. At most six; the time does not grow with the
        sessions.
        """

    async def find_checkouts(self, repository: str) -> Sequence[Session]:
        """Return the newest session of each checkout of *repository* on this machine, newest first.

        Only of main worktrees, and only sessions that are not archived and have a model-visible
        event. At most about twenty; the time does not grow with the sessions.
        """

    async def move_sessions(self, old_root: str, new_root: str) -> int:
        """Say that the folder *old_root* of this machine is now *new_root*; return of how many.

        In the directories, git roots and common directories of all sessions, the archived ones too,
        that are that folder or below it. `updated_at` does not change. Idempotent: there are none
        any more the next time. Raises InvalidInputError if *new_root* is *old_root* or below it.
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

    async def find_sessions(self, prefix: str, *, limit: int = PAGE) -> Sequence[Session]:
        """Return the sessions whose ids begin with *prefix*, archived or not, by their ids.

        At most *limit*; the time does not grow with the sessions.
        """

    async def short_ids(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """Return for each id its shortest prefix with which no other session's id begins.

        None is shorter than MIN_SHORT_ID characters, but for an id that is.
        """

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
        repository: str | None = None,
        archived: bool = False,
        sources: Sequence[str] | None = None,
        order: Order = "updated",
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        """Return a page of sessions, newest first, the archived ones only if *archived*.

        *order* is by which time: `updated_at`, or `last_prompt_at`, for which `created_at` stands
        where it is None.

        With *directory*, those whose directory or git root is *directory*, *git_root* or one of
        *aliases*, and those of every worktree of *git_common_dir*; of another machine, those of
        *repository*. Of the archived ones, and those
        without a model-visible event, whose git root is a linked worktree, only those are found
        that share *git_common_dir*. With *sources*, only those that were imported from one of them,
        or for RECORDED from none; such a page may have fewer than *limit*, or none, though there
        are more. Raises InvalidInputError for a cursor that is not one of its
        own, or of another order.
        """

    async def search(
        self,
        query: str,
        *,
        directory: str | None = None,
        git_root: str | None = None,
        git_common_dir: str | None = None,
        aliases: Sequence[str] = (),
        repository: str | None = None,
        archived: bool = False,
        types: Collection[str] = (),
        sources: Collection[str] = (),
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int = HITS,
    ) -> SearchPage:
        """Return a page of the events and titles that have every word and phrase of *query*.

        `model.search_text` has the rules. What was stored by a call that returned before is found.
        The newest sessions come first, and those that others share last; in each its title and then
        its events from the last one back. An event that several sessions have is found once: in the
        one that wrote it if that is searched, else in the newest that is.

        The sessions are those of `list_sessions`; with *types* only events of these types are
        found, with *sources* only in sessions that were imported from these programs, and with
        *session_id* only in that one, archived or not. A page ends early, with a cursor, when time
        is up: about 0.1 s after the search began to look, or when another search begins.

        Other calls do not wait for it. Raises InvalidInputError for a *query* that
        `SearchQuery.parse` refuses, and for a cursor that is not one of its own.
        """

    async def update_index(
        self, *, at_most: timedelta | None = None, anew: bool = False
    ) -> "IndexState | None":
        """Index the events that a search would have to look through; a search does that as well.

        It ends after about *at_most*, or with the service. With *anew*, all are indexed anew.
        Returns None if the store has no index: then a search looks through everything.
        """

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Store the id that a remote model service gave the conversation."""

    async def archive(self, session_id: str) -> None:
        """Archive the session: it is listed on request only, and never resumed automatically."""

    async def unarchive(self, session_id: str) -> None:
        """Make an archived session a normal one again."""

    async def delete(self, session_id: str) -> None:
        """Delete the session and all that is stored with it, but for events that forks have.

        An event is deleted with the last session that has it. An unknown id succeeds. No file of
        the store has any of it when this returns, the index of searches included. What stays is
        the session's id, and digests of its events' ids: copies in other stores are deleted too.
        """

    async def hold(self, session_id: str) -> None:
        """Say that this service has the session open, until `release` or the process's end.

        The session need not exist. A store that cannot say it succeeds.
        """

    async def release(self, session_id: str) -> None:
        """End `hold`. A session that is not held succeeds."""

    async def held(self, session_ids: Collection[str]) -> Set[str]:
        """Return those of the sessions that any service holds: they are open in a window.

        None where that cannot be known.
        """

    async def prune(
        self,
        older_than: timedelta,
        *,
        live: bool = False,
        dry_run: bool = False,
        among: Collection[str] | None = None,
    ) -> "Pruned":
        """Delete the sessions that were archived *older_than* ago or earlier; return which.

        With *live* also those that are not archived and were updated that long ago. One that any
        service holds is never deleted; where holding cannot be known, one that was updated in the
        last day counts as held. With *among*, only sessions with these ids are deleted. With
        *dry_run* nothing is deleted.
        """

    async def list_versions(self, *, after: str | None = None, limit: int = PAGE) -> "VersionPage":
        """Return a page of the versions of all sessions and tombstones, by their ids.

        The first *limit* whose id is above *after*. Copies of a session in two stores are equal if
        their versions are.
        """

    async def read_replica(self, session_id: str) -> "Replica | Tombstone | None":
        """Return all that is stored of a session but its events, or what is left of a deleted one.

        None if no session ever had the id, as far as is known.
        """

    async def write_replica(
        self, replica: "Replica", events: Sequence["ImportedEvent"], *, parent_id: str | None
    ) -> None:
        """Bring the session closer to *replica*, a copy in another store; create it if need be.

        Append *events*, at most MAX_BATCH, with their times and invocations: as `append_events`,
        all or none, only behind *parent_id*, and those that are stored already are not written
        again. Then the fields that events change are those of *replica*, and each other field is,
        if its revision in *replica* is the later one.

        A session that does not exist is created with all fields of *replica*. Where *parent_id* is
        given then, it shares the events up to that one with the session that it is a fork of.

        Raises HeadMoved if the head is neither *parent_id* nor the one that the new events follow,
        SessionNotFound if the session was deleted here in the generation of *replica* or later, and
        EventNotFound if the original of a fork has no event *parent_id* at its `fork_seq`.
        """

    async def write_tombstone(self, tombstone: "Tombstone", *, head: str | None) -> None:
        """Do as `delete` if the session exists, and keep *tombstone* of it, if that is later.

        Raises HeadMoved if the head is not *head*, which is None if no such session exists.
        """

    async def set_aside(self, session_id: str, *, id: str, at: str | None, head: str) -> bool:
        """Let the session go on as *id*, a fork at the event *at*; return whether that was done.

        What is left under its own id are the events up to *at*: nothing, and no tombstone, if that
        is None. The fork has all that the session had. It costs one commit, however many events
        there are. Not done, and False, if any service holds the session. Raises HeadMoved if its
        head is not *head* or *id* exists, and EventNotFound if it has no event *at*.
        """

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Return the JSON value under *key*, or None."""

    async def find_metadata(self, key: str) -> dict[str, Any]:
        """Return the values that sessions have under *key*, by the sessions' ids."""

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Store a JSON value under *key*; None removes it."""

    async def wait_for_change(self, seen: Any = None) -> Any:
        """Return a mark of what the store holds, as soon as it is another one than *seen*.

        Whoever stores or deletes something, this service or another one, changes the mark before
        the call returns to its caller, or within 0.1 s after that, or a second where a database
        cannot tell of it. A mark may also change for no reason. While nobody waits, nothing is
        done.
        """

    async def close(self) -> None:
        """Finish the calls that were made before, and release the store. Idempotent."""


class ProcessLock(Protocol):
    """A lock of a store that at most one process holds, which does something for all.

    It protects nothing: it only saves the others the same work. It ends with its process, however
    that ends.
    """

    def acquire(self, *, waits: bool) -> bool:
        """Acquire the lock; return whether that was possible. With *waits* it blocks until it is.

        Where there are no such locks it always is. Raises a StorageError if the store's folder does
        not exist, or cannot be written.
        """

    def release(self) -> None:
        """Release the lock."""


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

    def watch_lock(self) -> ProcessLock:
        """Return the lock of `segue watch`, which is not acquired yet."""

    def sync_lock(self) -> ProcessLock:
        """Return the lock of `segue sync`, which is not acquired yet."""

    def sweep(self) -> Sequence[str]:
        """Remove the unfinished copies of backups that were killed; return their paths."""
