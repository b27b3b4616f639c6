"""The SessionService contract against a dictionary: cancelled, crashed and reopened on the way.

Hypothesis writes the histories. The machine knows nothing of SQLite: another implementation is one
more line in STORES.
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
    SessionArchived,
    SessionNotFound,
)
from segue.model.events import MODEL_VISIBLE, Event, title
from segue.model.records import LAST_SEEN, AppendResult, EventPage, NewSession, Session
from segue.store import service
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, main
from tests.faults.sandbox import make_folder, stage, turn_clock

T = TypeVar("T")
SIZES = {"short": (100, 30), "long": (5_000, 50)}
COUNTS: collections.Counter[str] = collections.Counter()


@attrs.define
class Clock:
    """The time that the service under test goes by."""

    now: int = 1_800_000_000_000


class Store(Protocol):
    """A place for one implementation of the contract, empty at first."""

    async def open(self) -> SessionService:
        """Open a service on what is stored, as a new window does."""

    async def crash(self, service: SessionService) -> None:
        """Let the process of *service* die: nothing of it is closed, nothing more is written."""

    def discard(self) -> None:
        """Remove what is left."""


class LocalStore:
    """The SQLite implementation. A crash leaves the files as they are at that moment."""

    def __init__(self, clock: Clock) -> None:
        self._folder = make_folder()
        self._life = self._folder / "life-0"
        self._lives = 0
        turn_clock(lambda: clock.now)

    async def open(self) -> SessionService:
        return await LocalSessionService.open(self._life / "sessions.db")

    async def crash(self, service: SessionService) -> None:
        dead = self._life
        self._lives += 1
        self._life = self._folder / f"life-{self._lives}"
        # The index of the log is memory that the dead process shared with nobody.
        shutil.copytree(
            dead, self._life, ignore=shutil.ignore_patterns("*-shm", "*-lock", "*-turn")
        )
        await service.close()
        shutil.rmtree(dead)

    def discard(self) -> None:
        shutil.rmtree(self._folder)


STORES: dict[str, Callable[[Clock], Store]] = {"local": LocalStore}


@attrs.define
class Stored:
    """What the model knows of an event."""

    event: Event
    invocation: str
    at: int


@attrs.define
class Chat:
    """What the model knows of a session."""

    new: NewSession
    born: int
    created_at: int
    updated_at: int
    events: list[Stored] = attrs.field(factory=list)
    archived_at: int | None = None
    server_session_id: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)

    @property
    def head(self) -> str | None:
        return self.events[-1].event.id if self.events else None

    def seq(self, event_id: str) -> int | None:
        ids = [stored.event.id for stored in self.events]
        return ids.index(event_id) + 1 if event_id in ids else None

    def is_conversation(self) -> bool:
        return any(stored.event.type in MODEL_VISIBLE for stored in self.events)

    def record(self) -> Session:
        titles = [title(stored.event) for stored in self.events]
        return Session(
            id=self.new.id,
            directory=self.new.directory,
            git_root=self.new.git_root,
            title=next(filter(None, titles), None),
            server_session_id=self.server_session_id,
            head=self.head,
            event_count=len(self.events),
            created_at=self.created_at,
            updated_at=self.updated_at,
            archived_at=self.archived_at,
        )


@attrs.frozen
class Batch:
    """One append: what, after what, by whom, and the boundary that goes before it."""

    events: Sequence[Event]
    parent_id: str | None
    invocation: str
    boundary: Event | None = None


def append_to(chat: Chat, batch: Batch, now: int) -> tuple[int, list[str]]:
    """Append to the model; return the duplicates and the placements' ids. Raises the contract's."""
    fresh = _fresh(chat, batch.events)
    duplicates = len(batch.events) - len(fresh)
    if fresh:
        if chat.archived_at is not None:
            raise SessionArchived(chat.new.id)
        _check_parent(chat, batch, fresh[0])
        fresh = _with_boundary(chat, batch.boundary, fresh)
        chat.events += [Stored(event, batch.invocation, now) for event in fresh]
        chat.updated_at = now
    return duplicates, [event.id for event in batch.events]


def _fresh(chat: Chat, events: Sequence[Event]) -> list[Event]:
    known = {stored.event.id: stored.event for stored in chat.events}
    for event in events:
        if event.id in known:
            _check_same(event, known[event.id])
    fresh: dict[str, Event] = {}
    for event in events:
        if event.id not in known:
            _check_same(event, fresh.setdefault(event.id, event))
    return list(fresh.values())


def _check_same(event: Event, known: Event) -> None:
    if (event.type, event.data) != (known.type, known.data):
        raise EventConflict(event.id)


def _check_parent(chat: Chat, batch: Batch, first: Event) -> None:
    place = batch.events.index(first)
    parents = {batch.parent_id} | ({batch.events[place - 1].id} if place else set())
    if chat.head not in parents:
        raise HeadMoved(chat.head, len(chat.events))


def _with_boundary(chat: Chat, boundary: Event | None, fresh: list[Event]) -> list[Event]:
    if boundary is None or boundary.id in [event.id for event in fresh]:
        return fresh
    if chat.seq(boundary.id) is None:
        return [boundary, *fresh]
    _check_same(boundary, chat.events[(chat.seq(boundary.id) or 0) - 1].event)
    return fresh


IDS = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(3)]
DIRECTORIES = ["/a", "/a/b", "/c"]
ROOTS = [None, "/a", "/c"]
TYPES = ["user_message", "text", "system_context", "x_unknown"]
WORDS = ["", "Hello", "two\nlines", "\ud83d \x00"]
KEYS = ["one", "two"]

chats = st.sampled_from(IDS)
invocations = st.sampled_from(["window-1", "window-2"])
contents = st.builds(
    lambda type, content: (type, {"content": content}),
    st.sampled_from(TYPES),
    st.sampled_from(WORDS),
)
few = st.lists(contents, min_size=1, max_size=4)
values: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just({"a": []})
)


def machine(make: Callable[[Clock], Store]) -> type[RuleBasedStateMachine]:
    """Return the state machine for the implementation that *make* makes a place for."""

    class Contract(SessionContract):
        make_store = staticmethod(make)

    return Contract


class SessionContract(RuleBasedStateMachine):
    """Every rule does one thing to the service and to the model, and compares what came of it."""

    make_store: Callable[[Clock], Store]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = type(self).make_store(self.clock)
        self.runner = asyncio.Runner()
        self.service = self.run(self.store.open())
        self.model: dict[str, Chat] = {}
        self.made = 0
        COUNTS["histories"] += 1

    def teardown(self) -> None:
        with contextlib.closing(self.runner):
            try:
                self.compare_all()
            finally:
                self.run(self.service.close())
                self.store.discard()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    # -- what each rule is made of ---------------------------------------------------------------

    def new_events(self, given: Sequence[tuple[str, Any]]) -> list[Event]:
        events = []
        for type, data in given:
            self.made += 1
            # Every other id is no UUID: the two are stored in different ways.
            id = f"{IDS[0][:24]}{self.made:012x}" if self.made % 2 else f"event {self.made}"
            events.append(Event.new(type, data, id))
        return events

    def chat(self, id: str) -> Chat:
        try:
            return self.model[id]
        except KeyError:
            raise SessionNotFound(id) from None

    def both(self, real: Awaitable[T], modelled: Callable[[], Any]) -> None:
        """Do the same to the service and to the model: the same result, or the same error."""
        COUNTS["calls"] += 1
        expected = _outcome(modelled)
        got = _outcome(lambda: self.run(real))
        if isinstance(got, SegueError):
            COUNTS[got.kind] += 1
        assert _comparable(got) == _comparable(expected), f"got {got!r}, not {expected!r}"

    def append(self, id: str, batch: Batch) -> None:
        real = self.service.append_events(
            id,
            batch.events,
            parent_id=batch.parent_id,
            invocation_id=batch.invocation,
            boundary=batch.boundary,
        )
        self.both(real, lambda: self.modelled_append(id, batch))
        self.compare(id)

    def modelled_append(self, id: str, batch: Batch) -> Any:
        chat = self.chat(id)
        duplicates, ids = append_to(chat, batch, self.clock.now)
        return chat.head, len(chat.events), [(each, chat.seq(each)) for each in ids], duplicates

    def head(self, id: str) -> str | None:
        return self.model[id].head if id in self.model else None

    # -- the rules -------------------------------------------------------------------------------

    @initialize(given=few, more=few)
    def begin_with_two_sessions(self, given: Any, more: Any) -> None:
        self.create(IDS[0], DIRECTORIES[0], ROOTS[1], given, "window-1", {})
        self.create(IDS[1], DIRECTORIES[1], ROOTS[1], more, "window-2", {})

    @rule(
        id=chats,
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
        batch = Batch(self.new_events(given), None, invocation)

        def create() -> Any:
            if id not in self.model:
                now = self.clock.now
                self.made += 1
                self.model[id] = Chat(new, self.made, now, now, metadata=dict(metadata))
            return self.modelled_append(id, batch)

        real = self.service.create_session(new, batch.events, invocation_id=invocation)
        self.both(real, create)
        self.compare(id)

    @rule(id=chats, given=few, invocation=invocations)
    def append_to_the_head(self, id: str, given: Any, invocation: str) -> None:
        self.append(id, Batch(self.new_events(given), self.head(id), invocation))

    @rule(id=chats, given=few, boundary=contents)
    def append_behind_a_boundary(self, id: str, given: Any, boundary: Any) -> None:
        (note,) = self.new_events([boundary])
        self.append(id, Batch(self.new_events(given), self.head(id), "window-2", note))

    @rule(id=chats, given=few, data=st.data())
    def append_to_another_parent(self, id: str, given: Any, data: st.DataObject) -> None:
        older = [each.event.id for each in self.model[id].events[:-1]] if id in self.model else []
        parent = data.draw(st.sampled_from([None, "nobody", *older]))
        self.append(id, Batch(self.new_events(given), parent, "window-1"))

    @rule(id=chats, data=st.data(), given=st.lists(contents, max_size=2))
    def append_again(self, id: str, data: st.DataObject, given: Any) -> None:
        """Try again, whole or in part, and perhaps with more behind it."""
        known = [each.event for each in self.model[id].events] if id in self.model else []
        first = data.draw(st.integers(0, len(known)))
        batch = [*known[first:], *self.new_events(given)]
        parent = data.draw(st.sampled_from([None, "nobody", self.head(id)]))
        self.append(id, Batch(batch, parent, "window-1"))

    @rule(id=chats, data=st.data(), content=contents, given=few)
    def append_a_mixture(self, id: str, data: st.DataObject, content: Any, given: Any) -> None:
        """Send stored and new events, twice perhaps, or one whose content is another now."""
        known = [each.event for each in self.model[id].events] if id in self.model else []
        pool = [*known[-3:], *self.new_events(given)]
        other = Event.new(content[0], content[1], data.draw(st.sampled_from(pool)).id)
        batch = data.draw(st.lists(st.sampled_from([*pool, other]), min_size=1, max_size=5))
        self.append(id, Batch(batch, self.head(id), "window-2"))

    @rule(id=chats, data=st.data(), boundary=st.none() | contents)
    def append_batches(self, id: str, data: st.DataObject, boundary: Any) -> None:
        """Append several batches in one commit; each may repeat, clash or name a wrong parent."""
        known = [each.event for each in self.model[id].events] if id in self.model else []
        note = self.new_events([boundary])[0] if boundary else None
        batches, pool = [], known[-2:]
        for given in data.draw(st.lists(few, min_size=1, max_size=4)):
            pool = [*pool, *self.new_events(given)]
            clash = Event.new("text", {"content": "clash"}, data.draw(st.sampled_from(pool)).id)
            events = data.draw(st.lists(st.sampled_from([*pool, clash]), min_size=1, max_size=4))
            parent = data.draw(st.sampled_from([LAST_SEEN, LAST_SEEN, None, "nobody"]))
            batches.append(service.Batch(events=events, parent_id=parent))
        seen = data.draw(st.sampled_from([self.head(id), self.head(id), None]))
        real = self.service.append_batches(
            id, batches, last_seen=seen, invocation_id="window-2", boundary=note
        )
        self.both(real, lambda: self.modelled_batches(id, batches, seen, note))
        self.compare(id)

    def modelled_batches(
        self, id: str, batches: Sequence[service.Batch], seen: str | None, boundary: Event | None
    ) -> list[Any]:
        self.chat(id)
        outcomes: list[Any] = []
        for batch in batches:
            parent = seen if batch.parent_id is LAST_SEEN else batch.parent_id
            one = Batch(batch.events, parent, "window-2", boundary)
            outcome = _outcome(partial(self.modelled_append, id, one))
            outcomes.append(outcome)
            if not isinstance(outcome, SegueError):
                head, _, _, duplicates = outcome
                if duplicates < len(batch.events) or head in [each.id for each in batch.events]:
                    seen = head
        return outcomes

    @rule(id=chats, given=few, turns=st.integers(0, 6))
    def append_and_cancel(self, id: str, given: Any, turns: int) -> None:
        """All or nothing; which of the two, the chain itself has to say."""
        batch = Batch(self.new_events(given), self.head(id), "window-1")
        finished = self.run(self.cancelled_append(id, batch, turns))
        COUNTS["calls"] += 1
        if self.run(self.count(id)) > len(self.model[id].events if id in self.model else ()):
            COUNTS["cancelled and kept"] += not finished
            append_to(self.model[id], batch, self.clock.now)
        else:
            assert not finished, "an append that was acknowledged is not there"
            COUNTS["cancelled and nothing"] += 1
        self.compare(id)

    async def cancelled_append(self, id: str, batch: Batch, turns: int) -> bool:
        """Begin an append, cancel it some turns of the loop later; tell whether it was finished."""
        real = self.service.append_events(
            id, batch.events, parent_id=batch.parent_id, invocation_id=batch.invocation
        )
        task = asyncio.ensure_future(real)
        for _ in range(turns):
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

    @rule(id=chats)
    def archive(self, id: str) -> None:
        def archive() -> None:
            chat = self.chat(id)
            chat.archived_at = chat.archived_at or self.clock.now

        self.both(self.service.archive(id), archive)

    @rule(id=chats)
    def unarchive(self, id: str) -> None:
        self.both(self.service.unarchive(id), lambda: setattr(self.chat(id), "archived_at", None))

    @rule(id=chats, sure=st.integers(0, 2))
    def delete(self, id: str, sure: int) -> None:
        if not sure:
            self.both(self.service.delete(id), lambda: self.model.pop(id, None) and None)

    @rule(id=chats, value=st.text(max_size=3))
    def update_server_session_id(self, id: str, value: str) -> None:
        value = value.encode("utf-8", "replace").decode()
        self.both(
            self.service.update_server_session_id(id, value),
            lambda: setattr(self.chat(id), "server_session_id", value),
        )

    @rule(id=chats, key=st.sampled_from(KEYS), value=values)
    def set_metadata(self, id: str, key: str, value: Any) -> None:
        def put() -> None:
            kept = self.chat(id).metadata
            kept[key] = value
            if value is None:
                del kept[key]

        self.both(self.service.set_metadata(id, key, value), put)
        self.both(self.service.get_metadata(id, key), lambda: self.chat(id).metadata.get(key))

    @rule(
        directory=st.sampled_from(DIRECTORIES),
        git_root=st.sampled_from(ROOTS),
        minutes=st.sampled_from([0, 1, 60]),
    )
    def find_resumable(self, directory: str, git_root: str | None, minutes: int) -> None:
        age = timedelta(minutes=minutes)

        def fits(chat: Chat) -> bool:
            here = chat.new.directory == directory or (
                git_root is not None and chat.new.git_root == git_root
            )
            young = self.clock.now - chat.updated_at < minutes * 60_000
            return here and young and chat.archived_at is None and chat.is_conversation()

        self.both(
            self.service.find_resumable(directory, git_root, age),
            lambda: [chat.record() for chat in self.newest() if fits(chat)][:6],
        )

    @rule(
        directory=st.sampled_from([None, *DIRECTORIES]),
        archived=st.booleans(),
        limit=st.integers(1, 3),
    )
    def list_sessions(self, directory: str | None, archived: bool, limit: int) -> None:
        def fits(chat: Chat) -> bool:
            here = directory is None or chat.new.directory == directory
            return here and (archived or chat.archived_at is None)

        self.both(
            self.listed(directory, archived, limit),
            lambda: [chat.record() for chat in self.newest() if fits(chat)],
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

    def newest(self) -> list[Chat]:
        return sorted(self.model.values(), key=lambda chat: (chat.updated_at, chat.born))[::-1]

    @rule(
        id=chats,
        side=st.sampled_from(["after", "before", ""]),
        at=st.integers(0, 12),
        limit=st.integers(1, 5),
    )
    def load_events(self, id: str, side: str, at: int, limit: int) -> None:
        bounds: Any = {side: at} if side else {}

        def page() -> Any:
            events = self.stored_events(id)
            low, high = bounds.get("after", 0), bounds.get("before", len(events) + 1)
            within = [event for event in events if low < event[1] < high]
            part = within[:limit] if side == "after" else within[-limit:]
            return part, len(within) > limit

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

    # -- what must be true -----------------------------------------------------------------------

    def compare_all(self) -> None:
        """Compare everything that the service holds with everything that the model holds."""
        stored = self.run(self.listed(None, True, 100))
        assert [each.id for each in stored] == [chat.new.id for chat in self.newest()]
        for id in IDS:
            self.compare(id)

    def compare(self, id: str) -> None:
        record = _outcome(lambda: self.run(self.service.get_session(id)))
        assert _comparable(record) == _comparable(_outcome(lambda: self.chat(id).record()))
        if id in self.model:
            page = self.run(self.service.load_events(id, after=0, limit=1_000))
            assert _comparable(page) == (self.stored_events(id), False)

    def stored_events(self, id: str) -> list[Any]:
        events: list[Any] = []
        for seq, stored in enumerate(self.chat(id).events, 1):
            parent = events[-1][0] if events else None
            event = stored.event
            events.append(
                (event.id, seq, parent, stored.invocation, stored.at, event.type, event.data, False)
            )
        return events


def _outcome(work: Callable[[], T]) -> T | SegueError:
    try:
        return work()
    except SegueError as error:
        return error


def _comparable(outcome: Any) -> Any:
    """Return what two outcomes are compared by: an error's kind and details, a record's fields."""
    match outcome:
        case SegueError():
            return outcome.kind, outcome.details()
        case AppendResult():
            placements = [(each.id, each.seq) for each in outcome.events]
            return outcome.head, outcome.event_count, placements, outcome.duplicates
        case EventPage():
            return [attrs.astuple(event) for event in outcome.events], outcome.has_more
        case list():
            return [_comparable(each) for each in outcome]
        case _:
            return outcome


def run(report: Report, chance: Random) -> None:
    """Write histories for every implementation until one breaks the contract."""
    examples, steps = SIZES[report.size]
    how = settings(
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
        with stage(), _told(report, name):
            run_state_machine_as_test(seed(report.seed)(machine(make)), settings=how)
    report.counts = dict(COUNTS)


@contextlib.contextmanager
def _told(report: Report, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        steps = "\n".join(getattr(error, "__notes__", ()))
        report.broken.append(f"{name}: {type(error).__name__}: {error}\n{steps}")


if __name__ == "__main__":
    main(run)
