"""Transfer: copies all that a store has to another store, and compares the two.

Nothing is changed in the store that is copied from, and nothing is deleted in the other one: it may
have conversations already, of other machines or of a transfer that was ended before. What it has
is not written again, so a transfer is repeated to go on, or to bring later what came later.

* A session that the other store has fewer events of is continued there.
* If both have events that the other one has not, it goes there as a linked fork, always the same.
* A session that was deleted in the other store is left deleted.
* What is known of deleted sessions is copied, too: so no import brings them back.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import attrs

from segue.model.errors import EventNotFound, HeadMoved, SessionNotFound
from segue.model.imports import ImportedEvent
from segue.model.records import Machine
from segue.model.replicas import LOCAL_METADATA, Replica, Tombstone, Version, fork_id
from segue.store.comparing import (
    ChangedError,
    common_length,
    id_at,
    parts_of,
    versions_of,
)
from segue.store.service import SessionService

_ATTEMPTS = 4
"""So often is a session copied that is changed meanwhile."""

_FOLLOW_EVENTS = (
    "automatic_title", "model_visible", "client", "agent", "model", "branch", "updated_at",
    "last_prompt_at",
)  # fmt: skip
"""The fields that are equal where the events are."""

_REVISED: Mapping[str, Sequence[str]] = {
    "title": ("given_title",),
    "archive": ("archived_at",),
    "server": ("server_session_id",),
}
"""The fields that are equal where their revisions are."""

_FIXED = ("directory", "git_root", "repository", "worktree", "source", "created_at")


@attrs.define(kw_only=True)
class TransferReport:
    """What a transfer did, and what it found."""

    sessions: int = 0
    """How many sessions the store has."""
    events: int = 0
    """How many events they have, each counted in every session that has it."""
    copied: int = 0
    """How many sessions were created or continued in the other store."""
    forked: dict[str, str] = attrs.field(factory=dict)
    """The sessions that went on in both stores, and their forks in the other one."""
    deleted: list[str] = attrs.field(factory=list)
    """The sessions that were deleted in the other store, and so are not in it."""
    different: dict[str, str] = attrs.field(factory=dict)
    """The sessions whose copies differ from them after all, and in what; none is expected."""
    changed: list[str] = attrs.field(factory=list)
    """The sessions that were changed all the time: the next transfer copies the rest."""

    @property
    def is_complete(self) -> bool:
        """Whether the other store has all that the store had."""
        return not (self.different or self.changed)


@attrs.frozen(kw_only=True)
class _Place:
    """Where a session goes."""

    here: Replica
    goal: Replica
    """What it is to be in the other store: itself, or a fork."""
    copy: Replica | None
    """What the other store has of that."""
    known: int
    """How many events both have."""


class Transfer:
    """Copies from the store *source* to the store *target*, for the machine of both."""

    def __init__(
        self,
        source: SessionService,
        target: SessionService,
        machine: Machine,
        on_session: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """*on_session* is told how many sessions are done, of how many."""
        self._source = source
        self._target = target
        self._machine = machine
        self._on_session = on_session
        self._report = TransferReport()
        self._local: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}

    async def run(self) -> TransferReport:
        """Copy, and compare what was copied. Raises a StorageError if one of the stores fails.

        What was done until then is kept.
        """
        versions = await versions_of(self._source)
        for key in sorted(LOCAL_METADATA):
            there = await self._target.find_metadata(key)
            self._local[key] = await self._source.find_metadata(key), there
        live = [version for version in versions.values() if version.generation % 2 == 0]
        due = {version.id: version for version in live}
        while due:
            await self._copy(await self._next_of(due))
            self._on_session(len(live) - len(due), len(live))
        for version in versions.values():
            if version.generation % 2:
                await self._bury(version)
        self._report.sessions = len(live)
        return self._report

    async def _next_of(self, due: dict[str, Version]) -> str:
        """Remove a session from *due* and return it: a fork after what it is a fork of.

        It shares what its original has there already.
        """
        id, seen = next(iter(due)), set[str]()
        while id not in seen:
            seen.add(id)
            copy = await self._source.read_replica(id)
            origin = copy.forked_from if isinstance(copy, Replica) else None
            if origin is None or origin not in due:
                break
            id = origin
        del due[id]
        return id

    async def _bury(self, version: Version) -> None:
        """Tell the other store of a deleted session, unless that knows it."""
        grave = await self._source.read_replica(version.id)
        if isinstance(grave, Tombstone) and await self._target.read_replica(version.id) is None:
            # It may be created there at this moment: nothing is deleted.
            with contextlib.suppress(HeadMoved):
                await self._target.write_tombstone(grave, head=None)

    # -- one session -----------------------------------------------------------------------------

    async def _copy(self, id: str) -> None:
        for _ in range(_ATTEMPTS):
            here = await self._source.read_replica(id)
            if not isinstance(here, Replica):
                return  # it was deleted meanwhile
            try:
                place = await self._find_place(self._as_sent(here))
                if place is None:
                    self._report.deleted.append(id)
                    return
                await self._write(place)
                await self._compare(place)
            except (HeadMoved, EventNotFound, SessionNotFound, ChangedError):
                continue
            self._report.events += here.event_count
            return
        self._report.changed.append(id)

    def _as_sent(self, here: Replica) -> Replica:
        """Return the replica as it is written: what is of this machine is of the other store's."""
        if here.machine is not None and here.machine.id == self._machine.id:
            return attrs.evolve(here, machine=None)
        return here

    async def _find_place(self, here: Replica) -> _Place | None:
        """Return where *here* goes in the other store; None if it was deleted there."""
        goal = here
        while True:
            copy = await self._target.read_replica(goal.id)
            if isinstance(copy, Tombstone):
                if copy.generation >= goal.generation:
                    return None
                copy = None
            if copy is None:
                return _Place(here=here, goal=goal, copy=None, known=0)
            known = await self._known(here, copy)
            if known in (here.event_count, copy.event_count):
                return _Place(here=here, goal=goal, copy=copy, known=known)
            at = await id_at(self._source, here, known)
            first = await id_at(self._source, here, known + 1)
            if first is None:
                raise ChangedError(here.id)
            kept = {field: value for field, value in here.revisions.items() if field != "origin"}
            goal = attrs.evolve(
                here,
                id=fork_id(goal.id, at, first),
                generation=0,
                forked_from=goal.id if known else None,
                fork_seq=known or None,
                revisions=kept,
            )
            self._report.forked[here.id] = goal.id

    async def _known(self, here: Replica, copy: Replica) -> int:
        """Return how many events *here* and its copy have in common."""
        if await id_at(self._source, here, copy.event_count) == copy.head:
            return copy.event_count
        if await id_at(self._target, copy, here.event_count) == here.head:
            return here.event_count
        return await common_length(self._source, here, self._target, copy)

    async def _write(self, place: _Place) -> None:
        """Write the events that the copy has not, the fields, and the state of imports."""
        here, goal = place.here, place.goal
        if place.copy is None and goal.forked_from and goal.fork_seq:
            try:
                await self._append(here, goal, goal.fork_seq)
            except EventNotFound:  # the original is not there, or does not have it
                await self._append(here, goal, 0)
        elif place.copy is None or place.known < here.event_count or _is_later(goal, place.copy):
            await self._append(here, goal, place.known)
        self._report.copied += place.copy is None or place.known < here.event_count
        for key, (values, there) in self._local.items():
            if here.id in values and goal.id == here.id and values[here.id] != there.get(here.id):
                await self._target.set_metadata(here.id, key, values[here.id])

    async def _append(self, here: Replica, goal: Replica, after: int) -> None:
        parent = await id_at(self._source, here, after)
        async for part in parts_of(self._source, here, after):
            await self._target.write_replica(goal, part, parent_id=parent)
            parent = part[-1].event.id
        if after == here.event_count:
            await self._target.write_replica(goal, [], parent_id=parent)

    # -- comparing -------------------------------------------------------------------------------

    async def _compare(self, place: _Place) -> None:
        here, goal = place.here, place.goal
        there = await self._target.read_replica(goal.id)
        if not isinstance(there, Replica):
            raise ChangedError(here.id)
        found = _difference(goal, there, self._machine)
        if found is None and there.event_count < here.event_count:
            raise ChangedError(here.id)
        if found is None and not await self._has_events(here, there):
            found = "events"
        if found is None:
            self._report.different.pop(here.id, None)
        else:
            self._report.different[here.id] = found

    async def _has_events(self, here: Replica, there: Replica) -> bool:
        """Return whether the copy begins with the same events."""
        copied = aiter(self._of(self._target, attrs.evolve(there, event_count=here.event_count)))
        async for event in self._of(self._source, here):
            if await anext(copied, None) != event:
                return False
        return True

    async def _of(self, store: SessionService, replica: Replica) -> AsyncIterator[ImportedEvent]:
        async for part in parts_of(store, replica, 0):
            for each in part:
                yield each


def _is_later(here: Replica, there: Replica) -> bool:
    """Return whether *here* has a later value of a field."""
    return any(value > there.revisions.get(field, "") for field, value in here.revisions.items())


def _difference(here: Replica, there: Replica, machine: Machine) -> str | None:
    """Return the name of a field whose value was not copied, None if there is none.

    Where the other store has a later value, or more events, that is no difference.
    """
    names = list(_FIXED)
    if here.head == there.head:
        names += _FOLLOW_EVENTS
    for field, revised in _REVISED.items():
        mine, its = here.revisions.get(field, ""), there.revisions.get(field, "")
        if mine > its:
            return field
        names += revised if mine == its else ()
    if (here.machine or machine).id != (there.machine or machine).id:
        return "machine"
    for key, value in here.metadata.items():
        field = f"metadata/{key}"
        is_same = here.revisions.get(field) == there.revisions.get(field)
        if is_same and there.metadata.get(key) != value:
            return field
    return next((name for name in names if getattr(here, name) != getattr(there, name)), None)
