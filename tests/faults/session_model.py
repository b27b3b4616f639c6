"""A store of sessions in memory, for comparison: simple, and in nothing like a real one.

A fork shares the events of its original: the same objects are in the lists of both. So what a store
may hold are the events that some session has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import attrs

from segue.model.errors import EventConflict, EventNotFound, HeadMoved, SessionNotFound
from segue.model.events import Event, is_model_visible, title
from segue.model.maintenance import Pruned, PrunedSession
from segue.model.records import NewFork, NewSession, Order, Origin, Session, Timestamp
from segue.model.titles import shortened


@attrs.define
class Clock:
    """The clock of the service under test, in milliseconds."""

    now: int = 1_800_000_000_000


@attrs.frozen(eq=False)
class ModelEvent:
    """A stored event."""

    event: Event
    strand: int
    """The number of the session that it was appended to."""
    seq: int
    invocation: str
    created_at: int


@attrs.define(eq=False)
class ModelSession:
    """A stored session."""

    new: NewSession
    number: int
    """The order of creation, which decides between equal times."""
    created_at: int
    updated_at: int
    events: list[ModelEvent] = attrs.field(factory=list)
    forked_from: str | None = None
    fork_seq: int = 0
    first_title: str | None = None
    """The automatic title that a fork begins with."""
    given_title: str | None = None
    archived_at: int | None = None
    server_session_id: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    origin: Origin = attrs.field(factory=Origin)
    """The client that appended last, and the agent and model that were named last."""
    head_known_to: set[str] = attrs.field(factory=set)
    """The invocations that wrote the head or sent it again in the current group."""

    @property
    def head(self) -> str | None:
        return self.events[-1].event.id if self.events else None

    @property
    def automatic_title(self) -> str | None:
        return self.first_title or _first_title(self.events[self.fork_seq :])

    @property
    def last_prompt_at(self) -> Timestamp | None:
        own = self.events[self.fork_seq :]
        prompts = [each.created_at for each in own if each.event.type == "user_message"]
        return Timestamp(prompts[-1]) if prompts else None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The runs of events that it has in common with others: last seq, and whose they were."""
        shared = self.events[: self.fork_seq]
        runs = (list(run) for _, run in groupby(shared, key=lambda each: each.strand))
        return [(run[-1].seq, run[-1].strand) for run in runs]

    def seq(self, event_id: str) -> int | None:
        ids = [each.event.id for each in self.events]
        return ids.index(event_id) + 1 if event_id in ids else None

    def is_conversation(self) -> bool:
        return any(is_model_visible(each.event.type) for each in self.events)

    def record(self) -> Session:
        return Session(
            id=self.new.id,
            directory=self.new.directory,
            git_root=self.new.git_root,
            title=self.given_title or self.automatic_title,
            server_session_id=self.server_session_id,
            head=self.head,
            event_count=len(self.events),
            created_at=Timestamp(self.created_at),
            updated_at=Timestamp(self.updated_at),
            archived_at=None if self.archived_at is None else Timestamp(self.archived_at),
            forked_from=self.forked_from,
            fork_seq=self.fork_seq or None,
            client=self.origin.client_name,
            agent=self.origin.agent,
            model=self.origin.model,
            last_prompt_at=self.last_prompt_at,
            branch=self.origin.branch,
        )


def _first_title(events: Iterable[ModelEvent]) -> str | None:
    return next(filter(None, (title(each.event) for each in events)), None)


@attrs.frozen
class Append:
    """The arguments of one append."""

    events: Sequence[Event]
    parent_id: str | None
    invocation: str
    boundary: Event | None = None
    accept_own_head: bool = False
    origin: Origin | None = None


@attrs.frozen
class Stored:
    """What a store holds, of sessions that are shown and of what is left of deleted ones."""

    events: Sequence[str]
    """Their ids, sorted, as often as they are stored."""
    invocations: Sequence[str]
    metadata: Sequence[str]
    """The keys, sorted."""
    spans: Sequence[int]
    """The last seqs of the runs of events that one session has of another one, sorted."""
    stubs: Sequence[int]
    """How many events each deleted session had up to the last one that is kept, sorted."""


class Model:
    """The store. Its methods have the promises of `SessionService`."""

    def __init__(self, clock: Clock) -> None:
        self.sessions: dict[str, ModelSession] = {}
        self.clients: dict[tuple[int, str], tuple[str | None, str | None]] = {}
        """The clients of the invocations, by the session that each wrote to and its id."""
        self._clock = clock
        self._created = 0
        self._spans: dict[int, list[tuple[int, int]]] = {}
        """Of every session that there ever was."""

    def session(self, id: str) -> ModelSession:
        try:
            return self.sessions[id]
        except KeyError:
            raise SessionNotFound(id) from None

    def newest(self, order: Order = "updated") -> list[ModelSession]:
        """Return all sessions, the last one in this *order* first."""
        key = _update_order if order == "updated" else _prompt_order
        return sorted(self.sessions.values(), key=key)[::-1]

    # -- appending -------------------------------------------------------------------------------

    def create(self, new: NewSession, first: Append) -> tuple[int, list[str]]:
        if new.id not in self.sessions:
            self._add(ModelSession(new, *self._born(), metadata=dict(new.metadata)))
        return self.append(new.id, first)

    def _born(self) -> tuple[int, int, int]:
        self._created += 1
        return self._created, self._clock.now, self._clock.now

    def _add(self, session: ModelSession) -> None:
        self.sessions[session.new.id] = session
        self._spans[session.number] = session.spans

    def append(self, id: str, append: Append) -> tuple[int, list[str]]:
        """Return the number of duplicates and the ids of the given events."""
        session = self.session(id)
        new = _new_events(session, append.events)
        duplicates = len(append.events) - len(new)
        if new:
            _check_parent(session, append, new[0])
            self._store(session, append, _with_boundary(session, append.boundary, new))
        if new or session.head in [event.id for event in append.events]:
            session.head_known_to.add(append.invocation)
        return duplicates, [event.id for event in append.events]

    def _store(self, session: ModelSession, append: Append, new: Sequence[Event]) -> None:
        now, strand = self._clock.now, session.number
        for seq, event in enumerate(new, len(session.events) + 1):
            session.events.append(ModelEvent(event, strand, seq, append.invocation, now))
        session.updated_at = now
        session.head_known_to.clear()
        origin = append.origin or Origin()
        client = origin.client_name, origin.client_version
        self.clients.setdefault((strand, append.invocation), client)
        answers = origin if origin.agent or origin.model else session.origin
        session.origin = Origin(
            client_name=origin.client_name or session.origin.client_name,
            agent=answers.agent,
            model=answers.model,
            branch=origin.branch or session.origin.branch,
        )

    # -- forks and titles ------------------------------------------------------------------------

    def fork(self, id: str, fork: NewFork) -> Session:
        if fork.id not in self.sessions:
            self._fork(self.session(id), fork)
        return self.sessions[fork.id].record()

    def _fork(self, original: ModelSession, fork: NewFork) -> None:
        seq = len(original.events) if fork.at is None else original.seq(fork.at)
        if seq is None:
            raise EventNotFound(str(fork.at))
        shared = original.events[:seq]
        if fork.archive_original:
            has_title = seq == len(original.events) or _first_title(shared)
            first_title = original.automatic_title if has_title else None
            given_title = fork.title or original.given_title
        else:
            first_title, given_title = self._title_of_copy(original), fork.title
        place = original.new if fork.directory is None else fork
        branch = original.origin.branch if fork.directory is None else None
        origin = attrs.evolve(original.origin, branch=branch)
        new = NewSession(id=fork.id, directory=str(place.directory), git_root=place.git_root)
        self._add(
            ModelSession(
                new,
                *self._born(),
                events=shared,
                forked_from=original.new.id,
                fork_seq=seq,
                first_title=first_title,
                given_title=given_title,
                origin=origin,
            )
        )
        if fork.archive_original:
            self.archive(original.new.id)

    def _title_of_copy(self, original: ModelSession) -> str | None:
        name = original.record().title
        copies = [each for each in self.sessions.values() if each.forked_from == original.new.id]
        number = f" {len(copies) + 1}" if copies else ""
        return None if name is None else shortened(f"copy{number} of {name}")

    def set_title(self, id: str, given: str | None) -> Session:
        self.session(id).given_title = given
        return self.session(id).record()

    # -- archiving and deleting ------------------------------------------------------------------

    def archive(self, id: str) -> None:
        session = self.session(id)
        session.archived_at = session.archived_at or self._clock.now

    def unarchive(self, id: str) -> None:
        self.session(id).archived_at = None

    def delete(self, id: str) -> None:
        self.sessions.pop(id, None)
        for each in self.sessions.values():
            each.forked_from = None if each.forked_from == id else each.forked_from

    def prune(self, age: int, *, live: bool, dry_run: bool, held: Callable[[str], bool]) -> Pruned:
        """Delete sessions of this *age* in milliseconds, unless they are *held*."""
        until = self._clock.now - age

        def is_due(session: ModelSession) -> bool:
            if session.archived_at is not None:
                return session.archived_at <= until
            return live and session.updated_at <= until

        due = sorted(filter(is_due, self.sessions.values()), key=_update_order)
        every = self.sessions.values()
        old = [each for each in every if each.archived_at is None and each.updated_at <= until]
        used = [each for each in every if each.archived_at is None and each.updated_at > until]
        recent = [each for each in every if (each.archived_at or 0) > until]
        kept, origins = dict(self.sessions), {each: each.forked_from for each in every}
        before = {each: each.record() for each in due}
        taken = []
        for session in due:
            if not held(session.new.id):
                size = self._size_of_alone(session)
                taken.append(PrunedSession(before[session], size))
                self.delete(session.new.id)
        records = [before[each] for each in due if held(each.new.id)]
        if dry_run:
            self.sessions = kept
            for session, forked_from in origins.items():
                session.forked_from = forked_from
        return Pruned(
            taken=taken,
            held=records,
            live=0 if live else len(old),
            used=len(used),
            recent=len(recent),
        )

    def _size_of_alone(self, session: ModelSession) -> int:
        others = set(self._shown(each for each in self.sessions.values() if each is not session))
        return sum(len(each.event.json_text) for each in session.events if each not in others)

    # -- what is stored --------------------------------------------------------------------------

    def stored(self) -> Stored:
        """Return what must be stored, and nothing else, so that every session has its events."""
        sessions = self.sessions.values()
        shown = set(self._shown(sessions))
        strands = {each.number for each in sessions}
        stubs: dict[int, int] = {}
        for each in shown:
            if each.strand not in strands:
                stubs[each.strand] = max(each.seq, stubs.get(each.strand, 0))
        return Stored(
            events=sorted(each.event.id for each in shown),
            invocations=sorted(id for _, id in {(each.strand, each.invocation) for each in shown}),
            metadata=sorted(key for each in sessions for key in each.metadata),
            spans=sorted(
                last for number in strands | set(stubs) for last, _ in self._spans[number]
            ),
            stubs=sorted(stubs.values()),
        )

    @staticmethod
    def _shown(sessions: Iterable[ModelSession]) -> Iterator[ModelEvent]:
        for session in sessions:
            yield from session.events


def _update_order(session: ModelSession) -> tuple[int, int]:
    return session.updated_at, session.number


def _prompt_order(session: ModelSession) -> tuple[int, int]:
    prompted_at = session.last_prompt_at
    return session.created_at if prompted_at is None else prompted_at, session.number


def _new_events(session: ModelSession, events: Sequence[Event]) -> list[Event]:
    stored = {each.event.id: each.event for each in session.events}
    for event in events:
        if event.id in stored:
            _check_same(event, stored[event.id])
    new: dict[str, Event] = {}
    for event in events:
        if event.id not in stored:
            _check_same(event, new.setdefault(event.id, event))
    return list(new.values())


def _check_same(event: Event, stored: Event) -> None:
    if (event.type, event.data) != (stored.type, stored.data):
        raise EventConflict(event.id)


def _check_parent(session: ModelSession, append: Append, first: Event) -> None:
    index = append.events.index(first)
    parents = {append.parent_id} | ({append.events[index - 1].id} if index else set())
    if session.head in parents or (append.accept_own_head and _knows_head(session, append)):
        return
    raise HeadMoved(session.head, len(session.events))


def _knows_head(session: ModelSession, append: Append) -> bool:
    if append.invocation in session.head_known_to:
        return True
    if len(session.events) == session.fork_seq:  # an original's invocations are not the fork's
        return False
    return session.events[-1].invocation == append.invocation


def _with_boundary(session: ModelSession, boundary: Event | None, new: list[Event]) -> list[Event]:
    if boundary is None or boundary.id in [event.id for event in new]:
        return new
    if (seq := session.seq(boundary.id)) is None:
        return [boundary, *new]
    _check_same(boundary, session.events[seq - 1].event)
    return new
