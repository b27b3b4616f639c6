"""Machines whose stores are brought in step over a wire that loses answers, and that go offline.

Each machine appends, deletes, archives, renames and forks in its own store. Exchanges are ended at
any call, and other windows and machines write between their calls. In the end all are online: then
every event is in all stores or was deleted, behind the one that its author had seen, and the copies
are equal.
"""

import asyncio
import collections
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs

from segue.model import records as model
from segue.model.errors import SegueError, SessionNotFound, StorageUnavailable
from segue.model.events import Event
from segue.model.records import NewFork, NewSession, Origin
from segue.model.replicas import REMAINDER_OF, Replica
from segue.store.replication import ExchangeReport, Replication
from segue.store.service import SessionService
from tests.factories import all_events
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import make_folder
from tests.store.stores import STORES, FakeClock, StoreFactory

WORLDS: dict[Size, int] = {"short": 100, "long": 5_000}
MACHINES = 3
STEPS = 40
LOST = 0.15
"""How many requests, or their answers, are lost on the wire to the other store."""

INTERRUPTED = 0.05
"""How often something else happens between two calls of an exchange."""

MAX_ROUNDS = 12

AT_REST = "the stores come to rest"
NOWHERE = "every event that was not deleted is in every store"
INTERLEAVED = "every event is behind the one that its author had seen"
DIFFERENT = "all copies are equal"
BACK = "what was deleted does not come back"
NO_DIVERGENCE = "there is a fork only where both had grown"
LOST_CHANGE = "the last title, archiving and metadata win"

TYPES = ["user_message", "text", "system_context", "x_unknown"]


class CrashError(Exception):
    """The exchange was killed."""


@attrs.define
class Weather:
    """What happens to the calls of one exchange."""

    rng: Random
    interrupt: Callable[[str | None], Awaitable[None]]
    """Lets something else happen, to the session with this id."""
    loses: bool
    calls_left: int
    """After so many calls the exchange is killed."""
    rests: dict[str, str]
    """Is told the sessions that have what deleted ones did not have, and of which they have it."""
    is_interrupted: bool = False


class Wire:
    """A real store, as an exchange sees it: *loses* requests and answers if it is far away."""

    def __init__(self, store: SessionService, weather: Weather, *, is_far: bool) -> None:
        self._store = store
        self._weather = weather
        self._loses = is_far and weather.loses

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **named: Any) -> Any:
            written: Replica | None = args[0] if name == "write_replica" else None
            await self._before(None if written is None else written.id)
            if written is not None and REMAINDER_OF in written.metadata:
                self._weather.rests[written.id] = written.metadata[REMAINDER_OF][0]
            try:
                result = await method(*args, **named)
            finally:
                self._after()
            return result

        return call

    async def _before(self, session_id: str | None) -> None:
        weather = self._weather
        if weather.rng.random() < INTERRUPTED and not weather.is_interrupted:
            weather.is_interrupted = True
            await weather.interrupt(session_id)
            weather.is_interrupted = False
        if weather.calls_left == 0:
            raise CrashError
        weather.calls_left -= 1
        if self._loses and weather.rng.random() < LOST / 2:
            COUNTS["requests lost"] += 1
            raise StorageUnavailable("the request was lost")

    def _after(self) -> None:
        if self._loses and self._weather.rng.random() < LOST:
            COUNTS["answers lost"] += 1
            raise StorageUnavailable("the answer was lost")
        if self._weather.calls_left == 0:
            raise CrashError


COUNTS: collections.Counter[str] = collections.Counter()


@attrs.define
class Machine:
    """A machine with a store of its own."""

    number: int
    store: SessionService
    held: set[str] = attrs.field(factory=set)
    is_online: bool = True

    @property
    def identity(self) -> model.Machine:
        """What others know of it."""
        return model.Machine(id=f"machine {self.number}", name=f"HOST{self.number}")


class World:
    """Some machines, the store that all of them use, and what is known of every event."""

    def __init__(self, rng: Random, report: Report, folder: Path) -> None:
        self.rng = rng
        self.report = report
        self.folder = folder
        self.clock = FakeClock()
        self.machines: list[Machine] = []
        self.remote: SessionService
        self.name = ""
        self.parents: dict[str, str | None] = {}
        """The event that the author of each acknowledged event had seen before it."""
        self.deleted: dict[str, set[str]] = {}
        """The events that each deleted session had where it was deleted."""
        self.changes: dict[tuple[str, str], Any] = {}
        """The last value of each field of each session."""
        self.sessions: dict[str, str] = {}
        """The session that each event was appended to."""
        self.forked_from: dict[str, str] = {}
        """The sessions that windows forked, by their forks."""
        self.forks: list[tuple[str, str]] = []
        """The sessions that an exchange forked, and the forks."""
        self.rests: dict[str, str] = {}
        """Sessions that have the events that deleted ones did not have, and of which."""
        self.created = 0

    async def live(self, remote: StoreFactory, local: StoreFactory, name: str) -> None:
        """Run one history in new stores, and check what comes of it."""
        self.name = name
        self.remote = await remote.open_service(self._new_folder("remote"), self.clock)
        for number in range(MACHINES):
            store = await local.open_service(self._new_folder(f"machine{number}"), self.clock)
            self.machines.append(Machine(number, store))
        try:
            for _ in range(STEPS):
                await self.step()
            await self.settle()
            await self.check()
        finally:
            for store in (self.remote, *(machine.store for machine in self.machines)):
                await store.close()

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def new_events(self) -> list[Event]:
        events = []
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self.created += 1
            # Every other id is no UUID: UUIDs and other ids are stored differently.
            id = f"0198c0de-0000-7000-8000-{self.created:012x}"
            id = id if self.created % 2 else f"event {self.created}"
            data = {"content": self.rng.choice(("Hello", "two\nlines", "\ud83d \x00", ""))}
            events.append(Event.new(self.rng.choice(TYPES), data, id))
        return events

    def note_events(self, id: str, events: list[Event], parent: str | None) -> None:
        for event in events:
            self.sessions[event.id] = id
            self.parents[event.id] = parent
            parent = event.id

    # -- what happens ----------------------------------------------------------------------------

    async def step(self) -> None:
        """Let a machine do something, online or not."""
        self.clock.now += self.rng.randrange(1, 5_000)
        machine = self.rng.choice(self.machines)
        if self.rng.random() < 0.2:
            machine.is_online = self.rng.random() < 0.5
        if machine.is_online and self.rng.random() < 0.45:
            await self.exchange(machine, loses=True, is_interrupted=True)
        else:
            await self.act(machine)

    async def act(self, machine: Machine) -> None:
        """Let a window of a machine do something."""
        page = await machine.store.list_sessions(archived=True)
        if not page.sessions or self.rng.random() < 0.15:
            await self.create(machine)
            return
        session = self.rng.choice(page.sessions)
        action = self.rng.choices(
            (self.append, self.change, self.fork, self.hold, self.delete), (10, 3, 1, 1, 1)
        )[0]
        await action(machine, session.id)

    async def create(self, machine: Machine) -> None:
        self.created += 1
        events = self.new_events()
        new = NewSession(
            id=f"0198c0de-0000-7000-9000-{self.created:012x}",
            directory=f"/home/{machine.number}",
            git_root="/home" if self.created % 2 else None,
            git_common_dir="/home/.git" if self.created % 2 else None,
            repository="github.com/org/repo" if self.created % 2 else None,
            worktree="topic" if self.created % 4 == 1 else None,
            metadata={"begun": machine.number} if self.created % 3 == 0 else {},
        )
        await machine.store.create_session(
            new, events, invocation_id=f"window {machine.number}", origin=self.origin(machine)
        )
        self.note_events(new.id, events, None)
        COUNTS["sessions"] += 1

    def origin(self, machine: Machine) -> Origin:
        return Origin(client_name=f"editor {machine.number}", client_version="1", branch="main")

    async def append(self, machine: Machine, id: str) -> None:
        session, events = await machine.store.get_session(id), self.new_events()
        await machine.store.append_events(
            id,
            events,
            parent_id=session.head,
            invocation_id=f"window {machine.number}.{self.rng.randrange(2)}",
            origin=self.origin(machine),
        )
        self.note_events(id, events, session.head)
        COUNTS["appends"] += 1

    async def change(self, machine: Machine, id: str) -> None:
        field = self.rng.choice(("title", "archive", "server", "key"))
        value: Any = f"{field} {self.clock.now}"
        self.clock.now += 1
        if field == "title":
            value = self.rng.choice((value, None))
            await machine.store.set_title(id, value)
        elif field == "server":
            await machine.store.update_server_session_id(id, value)
        elif field == "key":
            value = self.rng.choice((value, None))
            await machine.store.set_metadata(id, "key", value)
        elif value := self.rng.random() < 0.6:
            await machine.store.archive(id)
        else:
            await machine.store.unarchive(id)
        self.changes[id, field] = value
        COUNTS["changes"] += 1

    async def fork(self, machine: Machine, id: str) -> None:
        self.created += 1
        events = await all_events(machine.store, id)
        fork = NewFork(
            id=f"0198c0de-0000-7000-a000-{self.created:012x}", at=self.rng.choice(events).id
        )
        await machine.store.fork_session(id, fork)
        self.forked_from[fork.id] = id
        COUNTS["forks"] += 1

    async def hold(self, machine: Machine, id: str) -> None:
        if machine.held and self.rng.random() < 0.6:
            id = machine.held.pop()
            await machine.store.release(id)
        else:
            machine.held.add(id)
            await machine.store.hold(id)

    async def delete(self, machine: Machine, id: str) -> None:
        events = await all_events(machine.store, id)
        self.deleted.setdefault(id, set()).update(event.id for event in events)
        await machine.store.delete(id)
        COUNTS["deleted"] += 1

    async def exchange(
        self, machine: Machine, *, loses: bool, is_interrupted: bool
    ) -> ExchangeReport | None:
        """Let a machine's store be brought in step; None if that failed."""
        others = [each for each in self.machines if each is not machine and each.is_online]

        async def interrupt(session_id: str | None) -> None:
            self.clock.now += 1
            COUNTS["interruptions"] += 1
            other = self.rng.choice(others) if others and self.rng.random() < 0.5 else None
            if session_id is None:
                await self.act(other or machine)
            else:
                with contextlib.suppress(SessionNotFound):
                    await self.append(other or machine, session_id)
            if other is not None:
                await self.exchange(other, loses=True, is_interrupted=False)

        calls = self.rng.randrange(1, 60) if loses and self.rng.random() < 0.2 else 1_000_000
        weather = Weather(
            self.rng, interrupt, loses, calls, self.rests, is_interrupted=not is_interrupted
        )
        local: Any = Wire(machine.store, weather, is_far=False)
        remote: Any = Wire(self.remote, weather, is_far=True)

        def note(step: Any, _: int) -> None:
            if step.action == "fork":
                self.forks.append((step.session_id, step.fork_id))
            COUNTS[step.action] += 1

        COUNTS["exchanges"] += 1
        try:
            return await Replication(local, remote, machine.identity, note).exchange()
        except CrashError:
            COUNTS["crashes"] += 1
        except StorageUnavailable:
            COUNTS["exchanges given up"] += 1
        return None

    async def settle(self) -> None:
        """Let all be online, and in peace, until nothing differs."""
        for machine in self.machines:
            for id in machine.held:
                await machine.store.release(id)
            machine.held.clear()
        left: list[Any] = []
        for _ in range(MAX_ROUNDS):
            left = []
            for machine in self.machines:
                done = await self.exchange(machine, loses=False, is_interrupted=False)
                assert done is not None
                left += [*done.steps, *done.unsettled, *done.failures]
            if not left:
                return
        self.report.expect(False, AT_REST, f"{self.name}: {left[:3]}")

    # -- what is promised ------------------------------------------------------------------------

    async def check(self) -> None:
        """Compare the copies, and look for every event."""
        copies = [await contents_of(self.remote, None)]
        copies += [await contents_of(each.store, each.identity) for each in self.machines]
        for number, copy in enumerate(copies[1:]):
            for id in copy.keys() | copies[0].keys():
                one, other = copies[0].get(id), copy.get(id)
                differ = [
                    pair for pair in zip(one or (), other or (), strict=False) if pair[0] != pair[1]
                ]
                example = f"{self.name}, machine {number}, {id}: {differ[:1] or (one, other)}"
                self.report.expect(one == other, DIFFERENT, example)
        for id in self.deleted:
            self.report.expect(id not in copies[0], BACK, f"{self.name}: {id}")
        sessions: dict[str, Any] = {
            id: copy for id, copy in copies[0].items() if isinstance(copy, tuple)
        }
        found = set[str]()
        for id, (replica, events, _) in sessions.items():
            is_rest = REMAINDER_OF in replica.metadata
            deleted = self.deleted_with(self.origins(id)) if is_rest else set[str]()
            parent: str | None = None
            for event in events:
                found.add(event.id)
                seen = self.parents.get(event.id, "nobody")
                in_order = seen == parent or (event is events[0] and self.begins_with_rest(id))
                self.report.expect(in_order, INTERLEAVED, f"{self.name}: {event.id} in {id}")
                self.report.expect(
                    event.id not in deleted, BACK, f"{self.name}: {event.id} in {id}"
                )
                parent = event.id
        for event_id in self.parents.keys() - found:
            was_deleted = event_id in self.deleted_with(self.heirs(self.sessions[event_id]))
            self.report.expect(was_deleted, NOWHERE, f"{self.name}: {event_id}")
        self.check_forks(sessions)
        self.check_changes(sessions)

    def begins_with_rest(self, id: str) -> bool:
        """Return whether a session has the rest of a deleted one, or is a fork of one that has."""
        origins = {fork: origin for origin, fork in self.forks} | self.forked_from
        while id in origins and id not in self.rests:
            id = origins[id]
        return id in self.rests

    def origins(self, id: str) -> set[str]:
        """Return the deleted sessions that a session has the rest of."""
        found = {id}
        while (id := self.rests.get(id, id)) not in found:
            found.add(id)
        return found

    def heirs(self, id: str) -> set[str]:
        """Return the sessions that the events of a session were moved to."""
        found = {id}
        moved = [*self.forks, *((origin, rest) for rest, origin in self.rests.items())]
        for _ in range(4):
            found |= {to for origin, to in moved if origin in found}
        return found

    def deleted_with(self, ids: set[str]) -> set[str]:
        """Return the events that were deleted with these sessions."""
        return {event for id in ids for event in self.deleted.get(id, ())}

    def check_forks(self, sessions: dict[str, Any]) -> None:
        for id, fork in self.forks:
            if id in sessions and fork in sessions:
                length = sessions[fork][0].fork_seq or 0
                both = [sessions[each][1][length:] for each in (id, fork)]
                grown = all(both) and both[0][0].id != both[1][0].id
                self.report.expect(grown, NO_DIVERGENCE, f"{self.name}: {fork} of {id}")

    def check_changes(self, sessions: dict[str, Any]) -> None:
        for (id, field), value in self.changes.items():
            if id in sessions:
                replica: Replica = sessions[id][0]
                is_value = {
                    "title": replica.given_title,
                    "archive": replica.archived_at is not None,
                    "server": replica.server_session_id,
                    "key": replica.metadata.get("key"),
                }[field]
                example = f"{self.name}: {field} of {id} is {is_value}, not {value}"
                self.report.expect(is_value == value, LOST_CHANGE, example)


async def contents_of(store: SessionService, machine: model.Machine | None) -> dict[str, Any]:
    """Return all that the store of *machine* has: replicas with their events and invocations."""
    found: dict[str, Any] = {}
    page = await store.list_versions(limit=1_000)
    for version in page.versions:
        copy = await store.read_replica(version.id)
        if isinstance(copy, Replica):
            events = await store.load_events(version.id, after=0, limit=1_000)
            copy = attrs.evolve(copy, machine=copy.machine or machine, git_common_dir=None)
            invocations = {each.id: each for each in events.invocations}
            found[version.id] = (copy, events.events, invocations)
    return found


def run(report: Report, rng: Random) -> None:
    """Run one history after the other, each with a seed of its own."""
    asyncio.run(_run(report, rng))
    report.counts |= COUNTS


async def _run(report: Report, rng: Random) -> None:
    for number in range(WORLDS[report.size]):
        seed = rng.randrange(1 << 32)
        # A store in memory is opened in less time, and the rules are the same.
        store = STORES["sqlite file" if number % 5 == 0 else "sqlite memory"]
        await live(report, seed, store, store)
        COUNTS["histories"] += 1
        if report.has_failed:
            return


async def live(report: Report, seed: int, remote: StoreFactory, local: StoreFactory) -> None:
    """Run the history of one seed with these kinds of stores."""
    folder = make_folder()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        world = World(Random(seed), report, folder)
        try:
            await world.live(remote, local, f"seed {seed}")
        except SegueError as error:
            report.expect(False, "no call fails otherwise", f"seed {seed}: {error!r}")


if __name__ == "__main__":
    main(run)
