"""The SessionService contract compared with a model in memory, with cancellations and crashes.

Hypothesis generates the histories of calls. The state machine does not depend on SQLite: another
implementation is one more line in STORES.
"""

import asyncio
import collections
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Protocol, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from segue.model.errors import (
    EventConflict,
    HeadMoved,
    SegueError,
    SessionNotFound,
)
from segue.model.events import Event, is_model_visible, title
from segue.model.records import AppendResult, EventPage, NewSession, Session, Timestamp
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import queued_together
from tests.faults.runner import Report, main
from tests.faults.sandbox import make_folder, sandbox

T = TypeVar("T")
SIZES = {"short": (100, 30), "long": (5_000, 50)}
COUNTS: collections.Counter[str] = collections.Counter()


@attrs.define
class Clock:
    """The clock of the service under test, in milliseconds."""

    now: int = 1_800_000_000_000


class Store(Protocol):
    """The storage of one implementation of the contract, empty at first."""

    async def open(self) -> SessionService:
        """Open a service on what is stored, as a new window does."""

    async def crash(self, service: SessionService) -> None:
        """Simulate the death of the process of *service*: nothing is closed, nothing is written."""

    async def run_together(
        self, service: SessionService, calls: Sequence[Awaitable[Any]]
    ) -> list[Any]:
        """Run calls so that a store with group commit has them in one group, in their order.

        Return the results. A call that raises has its exception in its place.
        """

    def remove(self) -> None:
        """Remove everything that is stored."""


class LocalStore:
    """The SQLite implementation. A crash leaves the files as they are."""

    def __init__(self, clock: Clock) -> None:
        self._root = make_folder()
        self._crashes = 0
        self._folder = self._root / "0"
        self._clock = clock

    async def open(self) -> SessionService:
        return await LocalSessionService.open(
            self._folder / "sessions.db", clock=lambda: Timestamp(self._clock.now)
        )

    async def crash(self, service: SessionService) -> None:
        before = self._folder
        self._crashes += 1
        self._folder = self._root / f"{self._crashes}"
        # The WAL's index and the locks do not survive the last process.
        not_surviving = shutil.ignore_patterns("*-shm", "*-lock", "*-write.lock")
        shutil.copytree(before, self._folder, ignore=not_surviving)
        await service.close()
        shutil.rmtree(before)

    async def run_together(
        self, service: SessionService, calls: Sequence[Awaitable[Any]]
    ) -> list[Any]:
        assert isinstance(service, LocalSessionService)
        return await queued_together(service, *calls)

    def remove(self) -> None:
        shutil.rmtree(self._root)


STORES: dict[str, Callable[[Clock], Store]] = {"local": LocalStore}


@attrs.define
class ModelEvent:
    """A stored event in the model."""

    event: Event
    invocation: str
    created_at: int


@attrs.define
class ModelSession:
    """A stored session in the model."""

    new: NewSession
    number: int
    """The order of creation, which decides between equal times."""
    created_at: int
    updated_at: int
    events: list[ModelEvent] = attrs.field(factory=list)
    archived_at: int | None = None
    server_session_id: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    head_known_to: set[str] = attrs.field(factory=set)
    """The invocations that wrote the head or sent it again in the current group."""

    @property
    def head(self) -> str | None:
        return self.events[-1].event.id if self.events else None

    def seq(self, event_id: str) -> int | None:
        ids = [each.event.id for each in self.events]
        return ids.index(event_id) + 1 if event_id in ids else None

    def is_conversation(self) -> bool:
        return any(is_model_visible(each.event.type) for each in self.events)

    def record(self) -> Session:
        titles = [title(each.event) for each in self.events]
        return Session(
            id=self.new.id,
            directory=self.new.directory,
            git_root=self.new.git_root,
            title=next(filter(None, titles), None),
            server_session_id=self.server_session_id,
            head=self.head,
            event_count=len(self.events),
            created_at=Timestamp(self.created_at),
            updated_at=Timestamp(self.updated_at),
            archived_at=None if self.archived_at is None else Timestamp(self.archived_at),
        )


@attrs.frozen
class Append:
    """The arguments of one append."""

    events: Sequence[Event]
    parent_id: str | None
    invocation: str
    boundary: Event | None = None
    accept_own_head: bool = False


def append_to(session: ModelSession, append: Append, now: int) -> tuple[int, list[str]]:
    """Append in the model, with the contract's errors.

    Return the number of duplicates and the ids of the given events.
    """
    new = _new_events(session, append.events)
    duplicates = len(append.events) - len(new)
    if new:
        _check_parent(session, append, new[0])
        new = _with_boundary(session, append.boundary, new)
        session.events += [ModelEvent(event, append.invocation, now) for event in new]
        session.updated_at = now
        session.head_known_to.clear()
    if new or session.head in [event.id for event in append.events]:
        session.head_known_to.add(append.invocation)
    return duplicates, [event.id for event in append.events]


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
    wrote_head = bool(session.events) and session.events[-1].invocation == append.invocation
    return wrote_head or append.invocation in session.head_known_to


def _with_boundary(session: ModelSession, boundary: Event | None, new: list[Event]) -> list[Event]:
    if boundary is None or boundary.id in [event.id for event in new]:
        return new
    if (seq := session.seq(boundary.id)) is None:
        return [boundary, *new]
    _check_same(boundary, session.events[seq - 1].event)
    return new


IDS = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(3)]
DIRECTORIES = ["/a", "/a/b", "/c"]
ROOTS = [None, "/a", "/c"]
TYPES = ["user_message", "text", "system_context", "x_unknown"]
CONTENTS = ["", "Hello", "two\nlines", "\ud83d \x00"]
KEYS = ["one", "two"]

ids = st.sampled_from(IDS)
invocations = st.sampled_from(["window-1", "window-2"])
contents = st.builds(
    lambda type, content: (type, {"content": content}),
    st.sampled_from(TYPES),
    st.sampled_from(CONTENTS),
)
few = st.lists(contents, min_size=1, max_size=4)
values: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just({"a": []})
)


def machine(make: Callable[[Clock], Store]) -> type[RuleBasedStateMachine]:
    """Return the state machine for the implementation whose storage *make* creates."""

    class Contract(SessionContract):
        make_store = staticmethod(make)

    return Contract


class SessionContract(RuleBasedStateMachine):
    """Every rule does the same to the service and to the model, and compares the outcomes."""

    make_store: Callable[[Clock], Store]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = type(self).make_store(self.clock)
        self.runner = asyncio.Runner()
        self.service = self.run(self.store.open())
        self.model: dict[str, ModelSession] = {}
        self.created = 0
        """How many events and sessions were created: the source of their ids and numbers."""
        COUNTS["histories"] += 1

    def teardown(self) -> None:
        with contextlib.closing(self.runner):
            try:
                self.compare_all()
            finally:
                self.run(self.service.close())
                self.store.remove()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    # -- shared by the rules ---------------------------------------------------------------------

    def new_events(self, given: Sequence[tuple[str, Any]]) -> list[Event]:
        events = []
        for type, data in given:
            self.created += 1
            # Every other id is no UUID: UUIDs and other ids are stored differently.
            number = self.created
            id = f"{IDS[0][:24]}{number:012x}" if number % 2 else f"event {number}"
            events.append(Event.new(type, data, id))
        return events

    def session(self, id: str) -> ModelSession:
        try:
            return self.model[id]
        except KeyError:
            raise SessionNotFound(id) from None

    def both(self, real: Awaitable[T], modelled: Callable[[], Any]) -> None:
        """Call the service and the model: both must have the same result or the same error."""
        COUNTS["calls"] += 1
        expected = _outcome(modelled)
        got = _outcome(lambda: self.run(real))
        if isinstance(got, SegueError):
            COUNTS[got.kind] += 1
        assert _comparable(got) == _comparable(expected), f"got {got!r}, not {expected!r}"

    def append(self, id: str, append: Append) -> None:
        self.both(self.real_append(id, append), lambda: self.modelled_append(id, append))
        self.compare(id)

    def real_append(self, id: str, append: Append) -> Awaitable[AppendResult]:
        return self.service.append_events(
            id,
            append.events,
            parent_id=append.parent_id,
            invocation_id=append.invocation,
            boundary=append.boundary,
            accept_own_head=append.accept_own_head,
        )

    def modelled_append(self, id: str, append: Append) -> Any:
        session = self.session(id)
        duplicates, ids = append_to(session, append, self.clock.now)
        positions = [(each, session.seq(each)) for each in ids]
        return session.head, len(session.events), positions, duplicates

    def head(self, id: str) -> str | None:
        return self.model[id].head if id in self.model else None

    # -- the rules -------------------------------------------------------------------------------

    @initialize(given=few, more=few)
    def begin_with_two_sessions(self, given: Any, more: Any) -> None:
        self.create(IDS[0], DIRECTORIES[0], ROOTS[1], given, "window-1", {})
        self.create(IDS[1], DIRECTORIES[1], ROOTS[1], more, "window-2", {})

    @rule(
        id=ids,
        directory=st.sampled_from(DIRECTORIES),
        git_root=st.sampled_from(ROOTS),
        given=few,
        invocation=invocations,
        metadata=st.dictionaries(st.sampled_from(KEYS), values.filter(lambda v: v is not None)),
    )
    def create(
        self,
        id: str,
        directory: str,
        git_root: str | None,
        given: Any,
        invocation: str,
        metadata: Any,
    ) -> None:
        new = NewSession(id=id, directory=directory, git_root=git_root, metadata=metadata)
        first = Append(self.new_events(given), None, invocation)

        def create() -> Any:
            if id not in self.model:
                now = self.clock.now
                self.created += 1
                self.model[id] = ModelSession(new, self.created, now, now, metadata=dict(metadata))
            return self.modelled_append(id, first)

        real = self.service.create_session(new, first.events, invocation_id=invocation)
        self.both(real, create)
        self.compare(id)

    @rule(id=ids, given=few, invocation=invocations)
    def append_to_the_head(self, id: str, given: Any, invocation: str) -> None:
        self.append(id, Append(self.new_events(given), self.head(id), invocation))

    @rule(id=ids, given=few, boundary=contents)
    def append_with_a_boundary(self, id: str, given: Any, boundary: Any) -> None:
        (note,) = self.new_events([boundary])
        self.append(id, Append(self.new_events(given), self.head(id), "window-2", note))

    @rule(id=ids, given=few, data=st.data())
    def append_to_another_parent(self, id: str, given: Any, data: st.DataObject) -> None:
        older = [each.event.id for each in self.model[id].events[:-1]] if id in self.model else []
        parent = data.draw(st.sampled_from([None, "unknown", *older]))
        self.append(id, Append(self.new_events(given), parent, "window-1"))

    @rule(id=ids, data=st.data(), given=st.lists(contents, max_size=2))
    def retry_append(self, id: str, data: st.DataObject, given: Any) -> None:
        """Resend stored events, all or the last ones, and perhaps new ones after them."""
        stored = [each.event for each in self.model[id].events] if id in self.model else []
        first = data.draw(st.integers(0, len(stored)))
        events = [*stored[first:], *self.new_events(given)]
        parent = data.draw(st.sampled_from([None, "unknown", self.head(id)]))
        self.append(id, Append(events, parent, "window-1"))

    @rule(id=ids, data=st.data(), content=contents, given=few)
    def append_a_mixture(self, id: str, data: st.DataObject, content: Any, given: Any) -> None:
        """Send stored and new events, perhaps repeated, or one whose content has changed."""
        stored = [each.event for each in self.model[id].events] if id in self.model else []
        pool = [*stored[-3:], *self.new_events(given)]
        changed = Event.new(content[0], content[1], data.draw(st.sampled_from(pool)).id)
        events = data.draw(st.lists(st.sampled_from([*pool, changed]), min_size=1, max_size=5))
        self.append(id, Append(events, self.head(id), "window-2"))

    @rule(id=ids, data=st.data(), boundary=st.none() | contents)
    def append_together(self, id: str, data: st.DataObject, boundary: Any) -> None:
        """Have several appends in flight; each may repeat, clash or name a wrong parent."""
        stored = [each.event for each in self.model[id].events] if id in self.model else []
        note = self.new_events([boundary])[0] if boundary else None
        last_seen = data.draw(st.sampled_from([self.head(id), self.head(id), None]))
        appends, pool = [], stored[-2:]
        for given in data.draw(st.lists(few, min_size=1, max_size=4)):
            pool = [*pool, *self.new_events(given)]
            clash = Event.new("text", {"content": "clash"}, data.draw(st.sampled_from(pool)).id)
            events = data.draw(st.lists(st.sampled_from([*pool, clash]), min_size=1, max_size=4))
            invocation = data.draw(st.sampled_from(["window-2", "window-2", "window-1"]))
            parent = data.draw(st.sampled_from([last_seen, last_seen, None, "unknown"]))
            own = parent == last_seen
            appends.append(Append(events, parent, invocation, note, accept_own_head=own))
        calls = [self.real_append(id, append) for append in appends]
        self.both(
            self.store.run_together(self.service, calls),
            lambda: self.modelled_group(id, appends),
        )
        self.compare(id)

    def modelled_group(self, id: str, appends: Sequence[Append]) -> list[Any]:
        if id in self.model:
            self.model[id].head_known_to.clear()
        return [_outcome(partial(self.modelled_append, id, append)) for append in appends]

    @rule(id=ids, given=few, iterations=st.integers(0, 6))
    def append_and_cancel(self, id: str, given: Any, iterations: int) -> None:
        """Cancel an append: all of it is stored, or nothing. The event count shows which."""
        append = Append(self.new_events(given), self.head(id), "window-1")
        finished = self.run(self.cancelled_append(id, append, iterations))
        COUNTS["calls"] += 1
        if self.run(self.count(id)) > len(self.model[id].events if id in self.model else ()):
            COUNTS["cancelled, stored"] += not finished
            append_to(self.model[id], append, self.clock.now)
        else:
            assert not finished, "an acknowledged append is not stored"
            COUNTS["cancelled, not stored"] += 1
        self.compare(id)

    async def cancelled_append(self, id: str, append: Append, iterations: int) -> bool:
        """Cancel an append after some *iterations* of the loop; return whether it had finished."""
        task = asyncio.ensure_future(self.real_append(id, append))
        for _ in range(iterations):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, SegueError):
            return False
        return True

    async def count(self, id: str) -> int:
        try:
            return (await self.service.get_session(id)).event_count
        except SessionNotFound:
            return 0

    @rule(id=ids)
    def archive(self, id: str) -> None:
        def archive() -> None:
            session = self.session(id)
            session.archived_at = session.archived_at or self.clock.now

        self.both(self.service.archive(id), archive)

    @rule(id=ids)
    def unarchive(self, id: str) -> None:
        def unarchive() -> None:
            self.session(id).archived_at = None

        self.both(self.service.unarchive(id), unarchive)

    @rule(id=ids, skip=st.integers(0, 2))
    def delete(self, id: str, skip: int) -> None:
        if not skip:
            self.both(self.service.delete(id), lambda: self.model.pop(id, None) and None)

    @rule(id=ids, value=st.text(max_size=3))
    def update_server_session_id(self, id: str, value: str) -> None:
        value = value.encode("utf-8", "replace").decode()
        self.both(
            self.service.update_server_session_id(id, value),
            lambda: setattr(self.session(id), "server_session_id", value),
        )

    @rule(id=ids, key=st.sampled_from(KEYS), value=values)
    def set_metadata(self, id: str, key: str, value: Any) -> None:
        def put() -> None:
            metadata = self.session(id).metadata
            metadata[key] = value
            if value is None:
                del metadata[key]

        self.both(self.service.set_metadata(id, key, value), put)
        self.both(self.service.get_metadata(id, key), lambda: self.session(id).metadata.get(key))

    @rule(
        directory=st.sampled_from(DIRECTORIES),
        git_root=st.sampled_from(ROOTS),
        minutes=st.sampled_from([0, 1, 60]),
    )
    def find_resumable(self, directory: str, git_root: str | None, minutes: int) -> None:
        age = timedelta(minutes=minutes)

        def is_resumable(session: ModelSession) -> bool:
            places = {directory, git_root} - {None}
            here = bool({session.new.directory, session.new.git_root} & places)
            recent = self.clock.now - session.updated_at < minutes * 60_000
            return here and recent and session.archived_at is None and session.is_conversation()

        self.both(
            self.resumable(directory, git_root, age),
            lambda: [each.record() for each in self.newest() if is_resumable(each)][:6],
        )

    async def resumable(
        self, directory: str, git_root: str | None, age: timedelta
    ) -> Sequence[Session]:
        return (await self.service.find_resumable(directory, git_root, age)).sessions

    @rule(
        directory=st.sampled_from([None, *DIRECTORIES]),
        archived=st.booleans(),
        limit=st.integers(1, 3),
    )
    def list_sessions(self, directory: str | None, archived: bool, limit: int) -> None:
        def is_listed(session: ModelSession) -> bool:
            here = directory is None or session.new.directory == directory
            # The index of git roots has those that can be resumed.
            if session.archived_at is None and session.is_conversation():
                here = here or session.new.git_root == directory
            return here and (archived or session.archived_at is None)

        self.both(
            self.listed(directory, archived, limit),
            lambda: [each.record() for each in self.newest() if is_listed(each)],
        )

    async def listed(self, directory: str | None, archived: bool, limit: int) -> list[Session]:
        found: list[Session] = []
        cursor = None
        while True:
            page = await self.service.list_sessions(
                directory=directory, archived=archived, limit=limit, cursor=cursor
            )
            found += page.sessions
            if (cursor := page.next_cursor) is None:
                return found

    def newest(self) -> list[ModelSession]:
        return sorted(self.model.values(), key=lambda each: (each.updated_at, each.number))[::-1]

    @rule(
        id=ids,
        side=st.sampled_from(["after", "before", ""]),
        seq=st.integers(0, 12),
        limit=st.integers(1, 5),
    )
    def load_events(self, id: str, side: str, seq: int, limit: int) -> None:
        bounds: Any = {side: seq} if side else {}

        def page() -> Any:
            events = self.stored_events(id)
            low, high = bounds.get("after", 0), bounds.get("before", len(events) + 1)
            in_range = [event for event in events if low < event[1] < high]
            part = in_range[:limit] if side == "after" else in_range[-limit:]
            return part, len(in_range) > limit

        self.both(self.service.load_events(id, limit=limit, **bounds), page)

    @rule(milliseconds=st.sampled_from([0, 1, 59_999, 60_000, 3_600_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.now += milliseconds

    @rule()
    def reopen(self) -> None:
        self.run(self.service.close())
        self.service = self.run(self.store.open())
        COUNTS["reopened"] += 1
        self.compare_all()

    @rule()
    def crash(self) -> None:
        self.run(self.store.crash(self.service))
        self.service = self.run(self.store.open())
        COUNTS["crashed"] += 1
        self.compare_all()

    # -- comparisons -----------------------------------------------------------------------------

    def compare_all(self) -> None:
        """Compare all sessions and events of the service with the model's."""
        stored = self.run(self.listed(None, True, 100))
        assert [each.id for each in stored] == [each.new.id for each in self.newest()]
        for id in IDS:
            self.compare(id)

    def compare(self, id: str) -> None:
        record = _outcome(lambda: self.run(self.service.get_session(id)))
        assert _comparable(record) == _comparable(_outcome(lambda: self.session(id).record()))
        if id in self.model:
            page = self.run(self.service.load_events(id, after=0, limit=1_000))
            assert _comparable(page) == (self.stored_events(id), False)

    def stored_events(self, id: str) -> list[Any]:
        events: list[Any] = []
        for seq, stored in enumerate(self.session(id).events, 1):
            parent = events[-1][0] if events else None
            event, time = stored.event, stored.created_at
            events.append(
                (event.id, seq, parent, stored.invocation, time, event.type, event.data, False)
            )
        return events


def _outcome(work: Callable[[], T]) -> T | SegueError:
    try:
        return work()
    except SegueError as error:
        return error


def _comparable(outcome: Any) -> Any:
    """Return what is compared of an outcome: an error's kind and details, a record's fields."""
    match outcome:
        case SegueError():
            return outcome.kind, outcome.details()
        case AppendResult():
            positions = [(each.id, each.seq) for each in outcome.events]
            return outcome.head, outcome.event_count, positions, outcome.duplicates
        case EventPage():
            return [attrs.astuple(event) for event in outcome.events], outcome.has_more
        case list():
            return [_comparable(each) for each in outcome]
        case _:
            return outcome


def run(report: Report, chance: Random) -> None:
    """Generate histories for every implementation until one breaks the contract."""
    examples, steps = SIZES[report.size]
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    for name, make in STORES.items():
        with sandbox(), _failures_in(report, name):
            run_state_machine_as_test(seed(report.seed)(machine(make)), settings=options)
    report.counts = dict(COUNTS)


@contextlib.contextmanager
def _failures_in(report: Report, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        steps = "\n".join(getattr(error, "__notes__", ()))
        report.broken.append(f"{name}: {type(error).__name__}: {error}\n{steps}")


if __name__ == "__main__":
    main(run)
