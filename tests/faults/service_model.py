"""The SessionService contract compared with a model in memory, with cancellations and crashes.

Hypothesis generates the histories of calls. The state machine does not depend on SQLite: another
implementation is one more line in STORES.
"""

import asyncio
import collections
import contextlib
import itertools
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Protocol, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from segue.model.errors import SegueError, SessionNotFound
from segue.model.events import Event
from segue.model.maintenance import Pruned
from segue.model.records import (
    AppendResult,
    EventPage,
    NewFork,
    NewSession,
    Order,
    Origin,
    Session,
    Timestamp,
)
from segue.store.service import SessionService
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import unpack
from segue.store.sqlite.service import LocalSessionService
from tests.factories import queued_together
from tests.faults.runner import Report, main
from tests.faults.sandbox import make_folder, sandbox
from tests.faults.session_model import Append, Clock, Model, ModelSession, Stored

T = TypeVar("T")
SIZES = {"short": (40, 300), "long": (5_000, 50)}
CONTRACT = "the service behaves like its model"
CHECK_EVERY = 25
"""After so many steps it is compared what is stored, and all pages."""

_MAX_SHRINKING_S = 10
"""How long a failing history is made shorter: a minute's more would remove a few more steps."""

COUNTS: collections.Counter[str] = collections.Counter()


class Store(Protocol):
    """The storage of one implementation of the contract, empty at first."""

    async def open(self) -> SessionService:
        """Open a service on what is stored, as a new window does."""

    async def crash(self, services: Sequence[SessionService]) -> None:
        """Simulate the death of the processes of all services: nothing is closed or written."""

    async def stored(self, service: SessionService) -> Stored:
        """Return what is stored, also what no session shows."""

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

    async def crash(self, services: Sequence[SessionService]) -> None:
        before = self._folder
        self._crashes += 1
        self._folder = self._root / f"{self._crashes}"
        # The WAL's index and the locks do not survive the last process.
        not_surviving = shutil.ignore_patterns("*-shm", "*-lock", "*-write.lock")
        shutil.copytree(before, self._folder, ignore=not_surviving)
        for service in services:
            await service.close()
        shutil.rmtree(before)

    async def stored(self, service: SessionService) -> Stored:
        assert isinstance(service, LocalSessionService)
        return await service._connection.read(_stored)

    async def run_together(
        self, service: SessionService, calls: Sequence[Awaitable[Any]]
    ) -> list[Any]:
        assert isinstance(service, LocalSessionService)
        return await queued_together(service, *calls)

    def remove(self) -> None:
        shutil.rmtree(self._root)


def _stored(db: Connection) -> Stored:
    def values(sql: str) -> list[Any]:
        return [value for (value,) in db.execute(sql)]

    return Stored(
        events=sorted(map(unpack, values("SELECT id FROM events"))),
        invocations=sorted(values("SELECT id FROM invocations")),
        metadata=sorted(values("SELECT key FROM metadata")),
        spans=sorted(values("SELECT key & 4294967295 FROM spans")),
        stubs=sorted(values("SELECT event_count FROM sessions WHERE is_stub = 1")),
    )


STORES: dict[str, Callable[[Clock], Store]] = {"local": LocalStore}


IDS = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(5)]
DIRECTORIES = ["/a", "/a/b", "/c"]
ROOTS = [None, "/a", "/c"]
TYPES = ["user_message", "text", "system_context", "x_unknown"]
CONTENTS = ["", "Hello", "two\nlines", "\ud83d \x00"]
KEYS = ["one", "two"]
ORIGINS = [
    None,
    Origin(client_name="one", client_version="1.0", branch="topic"),
    Origin(client_name="two", agent="agent", model="model"),
    Origin(model="another", branch="main"),
]

ids: st.SearchStrategy[str] = st.runner().flatmap(
    lambda contract: st.sampled_from([*contract.model.sessions] * 4 + IDS)
)
"""Mostly those of sessions that exist."""
invocations = st.sampled_from(["window-1", "window-2"])
origins = st.sampled_from(ORIGINS)
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
        self.windows = [self.run(self.store.open()) for _ in range(2)]
        self.holds: list[set[str]] = [set(), set()]
        """The sessions that each window holds."""
        self.current = 0
        self.model = Model(self.clock)
        self.created = 0
        """How many events were created: the source of their ids."""
        self.steps = 0
        COUNTS["histories"] += 1

    def teardown(self) -> None:
        COUNTS["steps"] += self.steps
        with contextlib.closing(self.runner):
            try:
                if sys.exc_info()[0] is None:  # else it differs because a step failed
                    self.compare_all()
                    self.compare_stored()
            finally:
                for window in self.windows:
                    self.run(window.close())
                self.store.remove()

    @invariant()
    def after_each_step(self) -> None:
        self.steps += 1
        if self.steps % CHECK_EVERY == 0:
            self.compare_all()
            self.compare_stored()
            self.compare_pages()

    @property
    def service(self) -> SessionService:
        """The service of the window that makes the next call."""
        return self.windows[self.current]

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
            origin=append.origin,
        )

    def modelled_append(self, id: str, append: Append) -> Any:
        return self.result(id, *self.model.append(id, append))

    def result(self, id: str, duplicates: int, ids: Sequence[str]) -> Any:
        session = self.model.session(id)
        positions = [(each, session.seq(each)) for each in ids]
        return session.head, len(session.events), positions, duplicates

    def head(self, id: str) -> str | None:
        return self.model.sessions[id].head if id in self.model.sessions else None

    def events(self, id: str) -> list[Event]:
        session = self.model.sessions.get(id)
        return [] if session is None else [each.event for each in session.events]

    # -- the rules -------------------------------------------------------------------------------

    @initialize(given=few, more=few)
    def begin_with_two_sessions(self, given: Any, more: Any) -> None:
        self.create(IDS[0], DIRECTORIES[0], ROOTS[1], given, "window-1", {}, None)
        self.create(IDS[1], DIRECTORIES[1], ROOTS[1], more, "window-2", {}, ORIGINS[1])

    @rule(
        id=ids,
        directory=st.sampled_from(DIRECTORIES),
        git_root=st.sampled_from(ROOTS),
        given=few,
        invocation=invocations,
        metadata=st.dictionaries(st.sampled_from(KEYS), values.filter(lambda v: v is not None)),
        origin=origins,
    )
    def create(
        self,
        id: str,
        directory: str,
        git_root: str | None,
        given: Any,
        invocation: str,
        metadata: Any,
        origin: Origin | None,
    ) -> None:
        new = NewSession(id=id, directory=directory, git_root=git_root, metadata=metadata)
        first = Append(self.new_events(given), None, invocation, origin=origin)
        real = self.service.create_session(
            new, first.events, invocation_id=invocation, origin=origin
        )
        self.both(real, lambda: self.result(id, *self.model.create(new, first)))
        self.compare(id)

    @rule(id=ids, given=few, invocation=invocations, origin=origins)
    def append_to_the_head(self, id: str, given: Any, invocation: str, origin: Any) -> None:
        head = self.head(id)
        self.append(id, Append(self.new_events(given), head, invocation, origin=origin))

    @rule(id=ids, given=few, boundary=contents)
    def append_with_a_boundary(self, id: str, given: Any, boundary: Any) -> None:
        (note,) = self.new_events([boundary])
        self.append(id, Append(self.new_events(given), self.head(id), "window-2", note))

    @rule(id=ids, given=few, data=st.data())
    def append_to_another_parent(self, id: str, given: Any, data: st.DataObject) -> None:
        older = [event.id for event in self.events(id)[:-1]]
        parent = data.draw(st.sampled_from([None, "unknown", *older]))
        self.append(id, Append(self.new_events(given), parent, "window-1"))

    @rule(id=ids, data=st.data(), given=st.lists(contents, max_size=2))
    def retry_append(self, id: str, data: st.DataObject, given: Any) -> None:
        """Resend stored events, all or the last ones, and perhaps new ones after them."""
        stored = self.events(id)
        first = data.draw(st.integers(0, len(stored)))
        events = [*stored[first:], *self.new_events(given)]
        parent = data.draw(st.sampled_from([None, "unknown", self.head(id)]))
        self.append(id, Append(events, parent, "window-1"))

    @rule(id=ids, data=st.data(), content=contents, given=few)
    def append_a_mixture(self, id: str, data: st.DataObject, content: Any, given: Any) -> None:
        """Send stored and new events, perhaps repeated, or one whose content has changed."""
        stored = self.events(id)
        pool = [*stored[-3:], *self.new_events(given)]
        changed = Event.new(content[0], content[1], data.draw(st.sampled_from(pool)).id)
        events = data.draw(st.lists(st.sampled_from([*pool, changed]), min_size=1, max_size=5))
        self.append(id, Append(events, self.head(id), "window-2"))

    @rule(id=ids, data=st.data(), boundary=st.none() | contents)
    def append_together(self, id: str, data: st.DataObject, boundary: Any) -> None:
        """Have several appends in flight; each may repeat, clash or name a wrong parent."""
        stored = self.events(id)
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
        if id in self.model.sessions:
            self.model.sessions[id].head_known_to.clear()
        return [_outcome(partial(self.modelled_append, id, append)) for append in appends]

    @rule(id=ids, given=few, iterations=st.integers(0, 6))
    def append_and_cancel(self, id: str, given: Any, iterations: int) -> None:
        """Cancel an append: all of it is stored, or nothing. The event count shows which."""
        append = Append(self.new_events(given), self.head(id), "window-1")
        finished = self.run(self.cancelled_append(id, append, iterations))
        COUNTS["calls"] += 1
        if self.run(self.count(id)) > len(self.events(id)):
            COUNTS["cancelled, stored"] += not finished
            self.model.append(id, append)
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

    @rule(id=ids, given=few, data=st.data())
    def append_what_the_original_has(self, id: str, given: Any, data: st.DataObject) -> None:
        """Append events whose ids another session has: a fork may have them too, or not."""
        others = [*self.events(data.draw(ids))[-4:], *self.new_events(given)]
        events = data.draw(st.lists(st.sampled_from(others), min_size=1, max_size=3))
        self.append(id, Append(events, self.head(id), "window-1"))

    @rule(
        id=ids,
        title=st.sampled_from([None, None, "Given"]),
        directory=st.sampled_from([None, None, *DIRECTORIES]),
        archive_original=st.booleans(),
        calls=st.sampled_from([1, 1, 2]),
        data=st.data(),
    )
    def fork(
        self,
        id: str,
        title: str | None,
        directory: str | None,
        archive_original: bool,
        calls: int,
        data: st.DataObject,
    ) -> None:
        free = [id for id in IDS if id not in self.model.sessions]
        new_id = data.draw(st.sampled_from(free * 4 + IDS))
        known = [event.id for event in self.events(id)]
        fork = NewFork(
            id=new_id,
            at=data.draw(st.sampled_from([None, "unknown", *known])),
            title=title,
            directory=directory,
            git_root=directory,
            archive_original=archive_original,
        )
        COUNTS["forks"] += id in self.model.sessions and new_id not in self.model.sessions
        for _ in range(calls):  # the second is a retry
            self.both(self.service.fork_session(id, fork), lambda: self.model.fork(id, fork))
        self.compare(id)
        self.compare(new_id)

    @rule(id=ids, data=st.data())
    def rewind(self, id: str, data: st.DataObject) -> None:
        """Go on from an earlier event, in place of the original."""
        free = [each for each in IDS if each not in self.model.sessions]
        known = [event.id for event in self.events(id)]
        if free and known:
            fork = NewFork(id=free[0], at=data.draw(st.sampled_from(known)), archive_original=True)
            COUNTS["forks"] += 1
            self.both(self.service.fork_session(id, fork), partial(self.model.fork, id, fork))
            self.append(fork.id, Append(self.new_events(data.draw(few)), fork.at, "window-2"))
            self.compare(id)

    @rule(id=ids, data=st.data())
    def fork_and_append(self, id: str, data: st.DataObject) -> None:
        """Fork a session, go on in both, and have the fork deleted or forked again."""
        free = [each for each in IDS if each not in self.model.sessions]
        known = [event.id for event in self.events(id)]
        for new_id in free[: data.draw(st.integers(1, 2))]:
            at = data.draw(st.sampled_from([None, *known]))
            fork = NewFork(id=new_id, at=at)
            COUNTS["forks"] += id in self.model.sessions
            self.both(self.service.fork_session(id, fork), partial(self.model.fork, id, fork))
            for each in (id, new_id):
                events = self.new_events(data.draw(few))
                self.append(each, Append(events, self.head(each), "window-1"))
            id = new_id
            known = [event.id for event in self.events(id)]

    @rule(id=ids, title=st.sampled_from([None, "Given", "Given again"]))
    def set_title(self, id: str, title: str | None) -> None:
        self.both(self.service.set_title(id, title), lambda: self.model.set_title(id, title))

    @rule(id=ids)
    def archive(self, id: str) -> None:
        self.both(self.service.archive(id), lambda: self.model.archive(id))

    @rule(id=ids)
    def unarchive(self, id: str) -> None:
        self.both(self.service.unarchive(id), lambda: self.model.unarchive(id))

    @rule(id=ids, skip=st.integers(0, 2))
    def delete(self, id: str, skip: int) -> None:
        if not skip:
            COUNTS["deleted"] += id in self.model.sessions
            self.both(self.service.delete(id), lambda: self.model.delete(id))
            self.compare_stored()

    @rule(id=ids)
    def hold(self, id: str) -> None:
        self.run(self.service.hold(id))
        self.holds[self.current].add(id)

    @rule(id=ids)
    def release(self, id: str) -> None:
        self.run(self.service.release(id))
        self.holds[self.current].discard(id)

    @rule(
        milliseconds=st.sampled_from([0, 60_000, 3_600_000]),
        live=st.sampled_from([False, False, True]),
        dry_run=st.booleans(),
        skip=st.integers(0, 2),
    )
    def prune(self, milliseconds: int, live: bool, dry_run: bool, skip: int) -> None:
        if skip and not dry_run:
            return

        def prune() -> Pruned:
            pruned = self.model.prune(
                milliseconds,
                live=live,
                dry_run=dry_run,
                held=lambda id: any(id in holds for holds in self.holds),
            )
            COUNTS["pruned"] += 0 if dry_run else len(pruned.taken)
            COUNTS["held"] += len(pruned.held)
            return pruned

        age = timedelta(milliseconds=milliseconds)
        self.both(self.service.prune(age, live=live, dry_run=dry_run), prune)
        self.compare_stored()

    @rule(id=ids, value=st.text(max_size=3))
    def update_server_session_id(self, id: str, value: str) -> None:
        value = value.encode("utf-8", "replace").decode()
        self.both(
            self.service.update_server_session_id(id, value),
            lambda: setattr(self.model.session(id), "server_session_id", value),
        )

    @rule(id=ids, key=st.sampled_from(KEYS), value=values)
    def set_metadata(self, id: str, key: str, value: Any) -> None:
        def put() -> None:
            metadata = self.model.session(id).metadata
            metadata[key] = value
            if value is None:
                del metadata[key]

        self.both(self.service.set_metadata(id, key, value), put)
        self.both(
            self.service.get_metadata(id, key), lambda: self.model.session(id).metadata.get(key)
        )

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
            lambda: [each.record() for each in self.model.newest() if is_resumable(each)][:6],
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

        def modelled(order: Order) -> list[Session]:
            return [each.record() for each in self.model.newest(order) if is_listed(each)]

        orders: tuple[Order, ...] = ("updated", "lastPrompt")
        for order in orders:
            self.both(self.listed(directory, archived, order, limit), partial(modelled, order))

    async def listed(
        self, directory: str | None, archived: bool, order: Order, limit: int
    ) -> list[Session]:
        found: list[Session] = []
        cursor = None
        while True:
            page = await self.service.list_sessions(
                directory=directory, archived=archived, order=order, limit=limit, cursor=cursor
            )
            found += page.sessions
            if (cursor := page.next_cursor) is None:
                return found

    @rule(
        id=ids,
        side=st.sampled_from(["after", "before", ""]),
        seq=st.integers(0, 12),
        limit=st.integers(1, 5),
    )
    def load_events(self, id: str, side: str, seq: int, limit: int) -> None:
        bounds = {side: seq} if side else {}
        real = self.service.load_events(id, limit=limit, **bounds)
        self.both(real, lambda: self.modelled_page(id, limit, **bounds))

    def modelled_page(
        self, id: str, limit: int, after: int | None = None, before: int | None = None
    ) -> Any:
        session = self.model.session(id)
        low = 0 if after is None else after
        high = len(session.events) + 1 if before is None else before
        seqs = range(low + 1, max(low + 1, min(high, len(session.events) + 1)))
        part = seqs[-limit:] if after is None else seqs[:limit]
        events = [self.modelled_event(session, seq) for seq in part]
        writers = {
            (each.strand, each.invocation): None
            for each in (session.events[seq - 1] for seq in part)
        }
        invocations = [(writer[1], *self.model.clients[writer]) for writer in writers]
        return events, len(seqs) > limit, invocations

    @staticmethod
    def modelled_event(session: ModelSession, seq: int) -> Any:
        stored = session.events[seq - 1]
        parent = session.events[seq - 2].event.id if seq > 1 else None
        event, time = stored.event, stored.created_at
        return (event.id, seq, parent, stored.invocation, time, event.type, event.data, False)

    @rule(milliseconds=st.sampled_from([0, 1, 59_999, 60_000, 3_600_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.now += milliseconds

    @rule()
    def use_the_other_window(self) -> None:
        self.current = 1 - self.current

    @rule(skip=st.integers(0, 2))
    def reopen(self, skip: int) -> None:
        if not skip:
            self.run(self.service.close())
            self.windows[self.current] = self.run(self.store.open())
            self.holds[self.current].clear()
            COUNTS["reopened"] += 1
            self.compare_all()

    @rule(skip=st.integers(0, 2))
    def crash(self, skip: int) -> None:
        if not skip:
            self.run(self.store.crash(self.windows))
            self.windows = [self.run(self.store.open()) for _ in range(2)]
            self.holds = [set(), set()]
            COUNTS["crashed"] += 1
            self.compare_all()

    # -- comparisons -----------------------------------------------------------------------------

    def compare_all(self) -> None:
        """Compare all sessions and events of the service with the model's."""
        stored = self.run(self.listed(None, True, "updated", 100))
        got, expected = [each.id for each in stored], [each.new.id for each in self.model.newest()]
        assert got == expected, f"got {got}, not {expected}"
        for id in IDS:
            self.compare(id)

    def compare(self, id: str) -> None:
        """Compare a session and all its events."""
        record = _outcome(lambda: self.run(self.service.get_session(id)))
        expected = _outcome(lambda: self.model.session(id).record())
        assert _comparable(record) == _comparable(expected), f"got {record!r}, not {expected!r}"
        if id in self.model.sessions:
            page = self.run(self.service.load_events(id, after=0, limit=10_000))
            assert _comparable(page) == self.modelled_page(id, 10_000, after=0)

    def compare_stored(self) -> None:
        """Compare what is stored: no more and no less than what the sessions show."""
        stored, expected = self.run(self.store.stored(self.service)), self.model.stored()
        for name in attrs.fields_dict(Stored):
            got, shown = getattr(stored, name), getattr(expected, name)
            extra = list((collections.Counter(got) - collections.Counter(shown)).elements())
            lost = list((collections.Counter(shown) - collections.Counter(got)).elements())
            assert not extra, f"{name} stored, but shown by nobody: {extra}"
            assert not lost, f"{name} shown, but not stored: {lost}"

    def compare_pages(self) -> None:
        """Compare pages that begin and end near the ends of the runs of shared events."""
        for id, session in self.model.sessions.items():
            count = len(session.events)
            edges = {0, 1, count, count + 1}
            for last, _ in session.spans:
                edges |= {last - 1, last, last + 1, last + 2}
            for edge, side in itertools.product(sorted(edges), ("after", "before")):
                for limit in (2, 20):
                    bounds = {side: edge}
                    page = self.run(self.service.load_events(id, limit=limit, **bounds))
                    expected = self.modelled_page(id, limit, **bounds)
                    assert _comparable(page) == expected, f"{id}, {bounds}, limit {limit}"
                    COUNTS["pages"] += 1


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
            events = [attrs.astuple(event) for event in outcome.events]
            return events, outcome.has_more, [attrs.astuple(each) for each in outcome.invocations]
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
        phases=[Phase.generate] if report.is_control else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    engine.MAX_SHRINKING_SECONDS = _MAX_SHRINKING_S  # there is no setting for it
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
        report.expect(False, CONTRACT, f"{name}: {type(error).__name__}: {error}\n{steps}")


if __name__ == "__main__":
    main(run)
