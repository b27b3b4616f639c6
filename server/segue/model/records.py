"""The records of a store: sessions, stored events, pages of both, and the results of requests.

`protocol.methods` lists which record is the result of which request. In JSON the fields have the
same names in camelCase, unless a field's metadata has another name.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NewType

import attrs

from segue.model.events import Event
from segue.model.plain import plain
from segue.model.validation import Fault, InvalidInputError

PAGE = 200
"""How many records a page holds by default."""

MAX_PAGE = 1_000
"""How many records a page holds at most."""

HITS = 20
"""How many hits a page of a search has by default."""

MAX_HITS = 200
"""How many hits a page of a search has at most."""

MAX_BATCH = 10_000
"""How many events one append stores at most: other windows wait for it, about 0.1 s."""

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""A page of events ends here, in bytes of stored `data`; it always holds at least one event."""

Timestamp = NewType("Timestamp", int)
"""Milliseconds since 1970 UTC. In JSON: ISO 8601 UTC, `2026-08-01T12:00:00.000Z`."""

MAX_SKEW_MS = 60_000
"""How far in the future a time may be: clocks of one machine are set back, but seldom by more."""

MAX_TIMESTAMP = Timestamp(253_402_300_799_999)
"""The end of the year 9999: ISO 8601 has no later time."""

_EPOCH = datetime(1970, 1, 1)

Clock = Callable[[], Timestamp]
"""Returns the current time; `now`, unless a test injects another one."""

Mode = Literal["auto", "new", "resume"]
"""How `open` chooses: resume if something fits, else new; never resume; resume or fail."""

Order = Literal["updated", "lastPrompt"]
"""By which time a list of sessions is ordered, newest first: `updated_at`, or `last_prompt_at`, for
which `created_at` stands where there is none."""

ReasonCode = Literal[
    "named",
    "new",
    "empty",
    "reset",
    "forked",
    "newestInRepository",
    "newestInDirectory",
    "newestOnOtherMachine",
    "nothingFits",
    "neverByItself",
]
"""Why a session was opened or found, or none, for programs.

It was named by its id; a new one was asked for; it is open in this window and still empty; another
one was reset, or forked; it is the newest that fits, by its git root or its directory; none fits;
by the setting none ever does.
"""

LAST_SEEN: Any = object()
"""As a parent id: the head that this window last saw."""


def now() -> Timestamp:
    """Return the current time."""
    return Timestamp(time.time_ns() // 1_000_000)


def iso(time: int) -> str:
    """Return a Timestamp as ISO 8601 UTC with milliseconds: `2026-08-01T12:00:00.000Z`.

    A time before 1970 or after 9999 becomes the nearest one that is not.
    """
    limited = min(max(time, 0), MAX_TIMESTAMP)
    return (_EPOCH + timedelta(milliseconds=limited)).isoformat(timespec="milliseconds") + "Z"


@attrs.frozen
class Machine:
    """A machine that conversations are had on: a UUID, and the host's name for people."""

    id: str
    name: str


@attrs.frozen(kw_only=True)
class Session:
    """One conversation: its id, where it happened, and how many events it has.

    The head is the id of its last event.
    """

    id: str = attrs.field(metadata={"json": "sessionId"})
    title: str | None
    directory: str
    git_root: str | None
    server_session_id: str | None
    head: str | None
    event_count: int
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None
    forked_from: str | None = None
    """The id of the session that this one is a fork of, unless that was deleted."""
    fork_seq: int | None = attrs.field(default=None, metadata={"json": "forkedAt"})
    """Of a fork: the seq of the last event that it has in common with the original."""
    source: str | None = None
    """The program that the conversation was imported from, if it was: `claude-code`."""
    client: str | None = None
    """The name of the client that appended last."""
    agent: str | None = None
    """The agent or adapter that answered last."""
    model: str | None = None
    """The model that answered last."""
    last_prompt_at: Timestamp | None = None
    """The time of the last prompt, its last event `user_message`; of a fork, only of its own."""
    branch: str | None = None
    """The git branch that was checked out when it began, or was last opened and continued there."""
    repository: str | None = None
    """The name of the repository, alike on all machines: `github.com/org/repo`."""
    machine: str | None = None
    """The name of the machine that it was had on, if that is another one: its places are there."""
    shared_by: str | None = None
    """The user whose session it is, if that is another one, who lets this one read it."""

    @property
    def place(self) -> str:
        """Where it happened, for people: `/home/anna/project`, or `LAPTOP:/home/anna/project`."""
        return self.directory if self.machine is None else f"{self.machine}:{self.directory}"


@attrs.frozen(kw_only=True)
class Origin:
    """Who writes: the client of an invocation, the agent and model that it talks with, and where.

    `branch` is the git branch that is checked out there.
    """

    client_name: str | None = None
    client_version: str | None = None
    agent: str | None = None
    model: str | None = None
    branch: str | None = None


@attrs.frozen(kw_only=True)
class Invocation:
    """One opening of a session, and the client that made it."""

    id: str
    client_name: str | None
    client_version: str | None


@attrs.frozen(kw_only=True)
class NewSession:
    """What is known of a session before its first event is stored."""

    id: str
    directory: str
    git_root: str | None = None
    git_common_dir: str | None = None
    repository: str | None = None
    """The name of the repository, as `model.repository` makes it."""
    worktree: str | None = None
    """The name of the linked worktree; None: a main one, or no repository."""
    machine: Machine | None = None
    """The machine that it was had on, and that its places are on; None: this one."""
    server_session_id: str | None = None
    given_title: str | None = None
    source: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    created_at: Timestamp | None = None
    """Of an import: when it began; None: with its first event."""
    updated_at: Timestamp | None = None
    """Of an import: when it was updated last; None: with its last event."""
    archived_at: Timestamp | None = None

    def as_session(self, opened_at: Timestamp) -> Session:
        """Return the session as clients see it before its first event."""
        return Session(
            id=self.id,
            title=self.given_title,
            directory=self.directory,
            git_root=self.git_root,
            server_session_id=self.server_session_id,
            head=None,
            event_count=0,
            created_at=opened_at,
            updated_at=opened_at,
            archived_at=None,
            source=self.source,
            repository=self.repository,
            machine=None if self.machine is None else self.machine.name,
        )


RECORDED = "segue"
"""Stands for the source of the sessions that were imported from no other program."""

MIN_SHORT_ID = 8
"""How many characters of an id are shown at least, so that it stays unique for a while."""

MAX_IMPORT = 64
"""How many events one import stores at most: other windows wait for it, a few milliseconds."""


PROMPT = "prompt/"
"""What the id of a prompt begins with that a hook stored before its program had recorded it."""

ADDED_PROMPT = f"{PROMPT}added/"
"""The same, if the program called it by the id of an earlier prompt, to whose turn it was added."""

AGENTS = "acp.agents"
"""The key of a session's metadata that says what agents behind `segue acp` have of it: by their
families, objects with the `id` that they call it, and with the `former` ones."""

DECLINED_ROOTS = "relocation.declined"
"""The key of the metadata that lists the folders of which a person said that the checkout of the
session was not moved there."""

PROMPT_RECORDS = "prompts"
"""The key of the metadata that has the ids of such prompts by those of their records."""


@attrs.frozen(kw_only=True)
class NewFork:
    """A fork to be made: the id of the new session, and what differs from the original."""

    id: str
    at: str | None = None
    """The id of the last event that it has in common with the original; None: its last."""
    title: str | None = None
    """A title that a person gave; None: an automatic one."""
    directory: str | None = None
    """Where it happens, on this machine; None: where the original did, with all of its place."""
    git_root: str | None = None
    git_common_dir: str | None = None
    repository: str | None = None
    worktree: str | None = None
    archive_original: bool = False
    """Whether the original is archived in the same transaction: the fork takes its place."""


@attrs.frozen(kw_only=True)
class StoredEvent:
    """An event and what the store adds.

    If what is stored is not valid JSON, `data` is that string and `corrupt` is true.
    """

    id: str
    seq: int
    parent_id: str | None
    invocation_id: str
    created_at: Timestamp
    type: str
    data: Any
    corrupt: bool = attrs.field(default=False, metadata={"omit_if_default": True})


@plain
class EventPage:
    """Events in their order; `has_more` if there are others in the direction of reading.

    `invocations` are those of the events, in the order of their first event.
    """

    events: Sequence[StoredEvent]
    has_more: bool
    invocations: Sequence[Invocation] = ()


@plain
class Appended:
    """The next events of a session that is followed; `session` is None if it was deleted."""

    session_id: str
    session: Session | None
    events: Sequence[StoredEvent] = ()
    invocations: Sequence[Invocation] = ()


@plain
class ExportPage:
    """A page of an exported session; the pages joined are the file."""

    content: str
    next_cursor: str | None
    media_type: str
    file_name: str


@plain
class ResumeCommand:
    """How an imported session goes on in the program that it was had in."""

    command: Sequence[str] | None
    """The program and its arguments; None if the session goes on only in an editor."""
    directory: str
    """Where it is to run; it need not exist any more."""
    program: str | None
    """The program's name for people; None if Segue recorded the session itself."""


@plain
class SessionPage:
    """Sessions, newest first; `next_cursor` is None on the last page."""

    sessions: Sequence[Session]
    next_cursor: str | None
    open: Sequence[str] = ()
    """The ids of those that are open in some window, as far as that can be known."""


@attrs.frozen(kw_only=True)
class FoundEvent:
    """An event that a search has found."""

    id: str
    seq: int
    type: str
    created_at: Timestamp


@attrs.frozen
class Piece:
    """A part of an excerpt; `match` if it is what was looked for."""

    text: str
    match: bool


@attrs.frozen(kw_only=True)
class SearchHit:
    """An event, or the title of a session, that has everything that was looked for."""

    session: Session
    event: FoundEvent | None
    """None: it is the title."""
    excerpt: Sequence[Piece]
    """Of the text, on one line; joined it is what is shown."""


@plain
class SearchPage:
    """What a search has found, newest first; `next_cursor` is None on the last page.

    `complete` is false if the page ended because time was up, and not because it was full: what is
    older was not looked at yet.
    """

    hits: Sequence[SearchHit]
    next_cursor: str | None
    complete: bool


@attrs.frozen
class EventPosition:
    """The place of an event in its session."""

    id: str
    seq: int


@attrs.frozen(kw_only=True)
class AppendResult:
    """The result of an append. `duplicates` counts the events that were stored before."""

    head: str | None
    event_count: int
    events: Sequence[EventPosition]
    duplicates: int

    @property
    def wrote_any(self) -> bool:
        """Whether any event was new."""
        return self.duplicates < len(self.events)

    @property
    def includes_head(self) -> bool:
        """Whether the head is one of `events`; after a mere retry it may be another window's."""
        return any(event.id == self.head for event in reversed(self.events))

    def followed_by(self, later: "AppendResult") -> "AppendResult":
        """Return the result of both appends."""
        return AppendResult(
            head=later.head,
            event_count=later.event_count,
            events=[*self.events, *later.events],
            duplicates=self.duplicates + later.duplicates,
        )


@plain
class MovedCheckout:
    """A checkout that was moved, most likely: the folder that it was in is gone.

    Another one of the same repository is open. `session` is the newest of those that were had in
    `old_root`; `session/relocate` moves all of them to `new_root`.
    """

    old_root: str
    new_root: str
    session: Session


@attrs.frozen
class Reason:
    """Why a session was opened: a sentence for people, and a code for programs."""

    text: str
    code: ReasonCode


@attrs.frozen(kw_only=True)
class OpenResult:
    """An opened session, its last events, and the reason why it is this one."""

    session: Session
    invocation_id: str
    resumed: bool
    reason: str
    reason_code: ReasonCode
    boundary: Event | None
    events: Sequence[StoredEvent]
    has_more: bool
    last_event_at: Timestamp | None
    alternatives: Sequence[Session] = ()
    moved: MovedCheckout | None = None
    """To be asked about, if nothing fits here: whether this is where that checkout is now."""


@attrs.frozen(kw_only=True)
class Resumable:
    """The sessions that may be resumed at a place, newest first."""

    sessions: Sequence[Session]
    in_future: Session | None = None
    """One that would be among them if its time were not in the future."""


@attrs.frozen(kw_only=True)
class FindResult:
    """The session that a workspace would resume, if any, the reason, and what else fits."""

    session: Session | None
    reason: str
    reason_code: ReasonCode
    alternatives: Sequence[Session]
    moved: MovedCheckout | None = None
    """To be asked about, if nothing fits here: whether this is where that checkout is now."""


def check_batch(events: Sequence[object]) -> None:
    """Raise InvalidInputError if *events* are more than one append stores."""
    if len(events) > MAX_BATCH:
        fault = Fault("$.events", f"has {len(events):,} events; send at most {MAX_BATCH:,} at once")
        raise InvalidInputError(fault)
