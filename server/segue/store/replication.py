"""Replication: brings two stores in step, one's own and another one that other machines use too.

Neither store waits for the other: each takes writes at any time, and an exchange compares all
versions and reconciles the sessions that differ. Nothing else is kept of an exchange: an answer
that was lost, or an exchange that was killed, is found by comparing again.

* A session that one store has more events of goes on there: they are appended to the other copy.
* If both copies have grown, the own one goes on as a linked fork, always the same one, and its
  place is taken by the other copy.
* A session that was deleted in one store is deleted in the other. Events that the deleted session
  did not have become a session of their own.
* Titles, archiving, metadata and the server session id: the later value of each wins.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import attrs

from segue.model.errors import EventNotFound, HeadMoved, SessionNotFound, StorageError
from segue.model.events import is_model_visible, title
from segue.model.imports import ImportedEvent
from segue.model.records import Machine
from segue.model.replicas import REMAINDER_OF, Replica, Tombstone, Version, fork_id
from segue.store.comparing import (
    PART,
    ChangedError,
    common_length,
    events_of,
    id_at,
    parts_of,
    versions_of,
)
from segue.store.service import SessionService

_ATTEMPTS = 4
"""So often is a session reconciled that is changed meanwhile, before the next exchange does it."""

_MAX_FAILURES = 3
"""After so many sessions one behind the other that a store failed with, it is not asked again."""

Copy = Replica | Tombstone | None

Action = Literal["send", "receive", "fork", "wait", "delete here", "delete there", "change"]
"""What was done, or is to be done, with a session.

Events, or all of it, go to the other store, or come from there; both have grown, and it was forked,
or waits for that until no window has it open; it was deleted in one of the stores, and so in the
other one; or a field was changed.
"""


@attrs.frozen(kw_only=True)
class Step:
    """What an exchange does with one session."""

    session_id: str
    action: Action
    events: int = 0
    """How many are copied."""
    fork_id: str | None = None
    """The id of the fork, or of the session that has what a deleted session did not have."""

    @property
    def follow_up(self) -> Sequence[str]:
        """The sessions that have to be reconciled after this."""
        if self.fork_id is None:
            return ()
        return (self.session_id, self.fork_id) if self.action == "fork" else (self.fork_id,)


@attrs.frozen(kw_only=True)
class ExchangeReport:
    """What an exchange did, or would do."""

    sessions: int
    """How many sessions the stores have together."""
    steps: Sequence[Step]
    unsettled: Sequence[str]
    """The ids of sessions that were changed all the time; the next exchange looks at them."""
    failures: Sequence[tuple[str, StorageError]]
    """The sessions that a store failed with."""


class Replication:
    """The exchange between one's own store and another one. At most one at a time for *local*."""

    def __init__(
        self,
        local: SessionService,
        remote: SessionService,
        machine: Machine,
        on_step: Callable[[Step, int], None] = lambda *_: None,
    ) -> None:
        """*machine* is that of *local*, by which others are told where a session was had.

        *on_step* is told each step, and how many sessions are still to be reconciled.
        """
        self._local = local
        self._remote = remote
        self._machine = machine
        self._on_step = on_step

    async def exchange(self, *, dry_run: bool = False) -> ExchangeReport:
        """Bring the stores in step, and return what was done; with *dry_run* only look.

        Raises a StorageError if the stores cannot be compared, or one fails again and again.
        What was done until then is kept.
        """
        here, there = await versions_of(self._local), await versions_of(self._remote)
        ids = here.keys() | there.keys()
        due = dict.fromkeys(sorted(id for id in ids if here.get(id) != there.get(id)))
        steps = list[Step]()
        unsettled, failures, in_a_row = list[str](), list[tuple[str, StorageError]](), 0
        while due:
            id = next(iter(due))
            try:
                id = await self._original_of(id, due)
                del due[id]
                done = await self._reconcile(id, dry_run=dry_run)
            except ChangedError:
                unsettled.append(id)
            except StorageError as error:
                due.pop(id, None)
                failures.append((id, error))
                in_a_row += 1
                if in_a_row == _MAX_FAILURES:
                    raise
            else:
                in_a_row = 0
                for step in done:
                    steps.append(step)
                    self._on_step(step, len(due))
                    if not dry_run:
                        due |= dict.fromkeys(step.follow_up)
        return ExchangeReport(
            sessions=len({id for id in ids if _is_live(here.get(id)) or _is_live(there.get(id))}),
            steps=steps,
            unsettled=unsettled,
            failures=failures,
        )

    async def _original_of(self, id: str, due: Collection[str]) -> str:
        """Return the session that *id* is a fork of, and so on, as long as that is *due*.

        A fork shares what its original has already in the store that it comes to.
        """
        seen = {id}
        while True:
            here, there = await self._local.read_replica(id), await self._remote.read_replica(id)
            copy = here if isinstance(here, Replica) else there
            origin = copy.forked_from if isinstance(copy, Replica) else None
            if origin is None or origin not in due or origin in seen:
                return id
            seen.add(origin)
            id = origin

    async def _reconcile(self, id: str, *, dry_run: bool) -> list[Step]:
        reconciling = _Reconciling(self._local, self._remote, self._machine, dry_run)
        for _ in range(_ATTEMPTS):
            here, there = await self._local.read_replica(id), await self._remote.read_replica(id)
            if isinstance(here, Replica) and here.machine is None:
                here = attrs.evolve(here, machine=self._machine)
            try:
                return await reconciling.run(here, there)
            except (HeadMoved, EventNotFound, SessionNotFound, ChangedError):
                continue
        raise ChangedError(id)


class _Reconciling:
    """Brings the copies of one session in step."""

    def __init__(
        self, local: SessionService, remote: SessionService, machine: Machine, dry_run: bool
    ) -> None:
        self._local = local
        self._remote = remote
        self._machine = machine
        self._dry_run = dry_run

    async def run(self, here: Copy, there: Copy) -> list[Step]:
        """Bring the copies in step, and return what was done.

        Raises HeadMoved, EventNotFound, SessionNotFound or ChangedError if one was changed.
        """
        if isinstance(here, Tombstone) and _is_later(here, there):
            return await self._delete(self._remote, there, here, "delete there")
        if isinstance(there, Tombstone) and _is_later(there, here):
            return await self._delete(self._local, here, there, "delete here")
        if isinstance(here, Replica) and isinstance(there, Replica):
            return await self._merge(here, there)
        if isinstance(here, Replica):
            return await self._copy(self._local, self._remote, here, "send")
        if isinstance(there, Replica):
            return await self._copy(self._remote, self._local, there, "receive")
        return []

    # -- both have it ----------------------------------------------------------------------------

    async def _merge(self, here: Replica, there: Replica) -> list[Step]:
        generation = max(here.generation, there.generation)
        here, there = (attrs.evolve(each, generation=generation) for each in (here, there))
        if here.head == there.head:
            return await self._exchange_fields(here, there)
        # The ids first: a push whose answer was lost is no divergence.
        if await id_at(self._local, here, there.event_count) == there.head:
            steps = await self._extend(self._local, self._remote, here, there, "send")
        elif await id_at(self._remote, there, here.event_count) == here.head:
            steps = await self._extend(self._remote, self._local, there, here, "receive")
        else:
            return await self._fork(here, there)
        await self._exchange_fields(here, there)
        return steps

    async def _exchange_fields(self, here: Replica, there: Replica) -> list[Step]:
        if here.revisions == there.revisions and not here.generation:
            return []
        if not self._dry_run:
            await self._write(self._remote, here, [], there.head)
            await self._write(self._local, there, [], here.head)
        return [Step(session_id=here.id, action="change")]

    async def _extend(
        self,
        source: SessionService,
        target: SessionService,
        longer: Replica,
        shorter: Replica,
        action: Action,
    ) -> list[Step]:
        added = longer.event_count - shorter.event_count
        await self._send(source, target, longer, shorter.event_count, shorter.head)
        return [Step(session_id=longer.id, action=action, events=added)]

    async def _fork(self, here: Replica, there: Replica) -> list[Step]:
        """Let the own copy go on as a fork of what both have; the other one's events come then."""
        common = await common_length(self._local, here, self._remote, there)
        at = await id_at(self._local, here, common)
        first = await id_at(self._local, here, common + 1)
        if first is None:
            raise ChangedError(here.id)
        fork = fork_id(here.id, at, first)
        while await self._local.read_replica(fork) is not None:
            fork = fork_id(fork, at, first)
        if not self._dry_run and not await self._local.set_aside(
            here.id, id=fork, at=at, head=here.head
        ):
            return [Step(session_id=here.id, action="wait")]
        return [Step(session_id=here.id, action="fork", fork_id=fork)]

    # -- one has it ------------------------------------------------------------------------------

    async def _copy(
        self, source: SessionService, target: SessionService, replica: Replica, action: Action
    ) -> list[Step]:
        if (grave := await self._grave_of(target, replica)) is not None:
            where: Action = "delete here" if source is self._local else "delete there"
            return await self._delete(source, replica, grave, where)
        step = Step(session_id=replica.id, action=action, events=replica.event_count)
        if replica.forked_from and replica.fork_seq:
            at = await id_at(source, replica, replica.fork_seq)
            try:
                await self._send(source, target, replica, replica.fork_seq, at)
            except EventNotFound:
                pass  # the original is not there, or does not have it: it is copied whole
            else:
                return [step]
        await self._send(source, target, replica, 0, None)
        return [step]

    async def _grave_of(self, target: SessionService, replica: Replica) -> Tombstone | None:
        """Return what deletes *replica* in *target*, which has deleted some of its events before.

        It has what a deleted session did not have, as far as another store knew.
        """
        for origin in _origins(replica):
            grave = await target.read_replica(origin)
            if isinstance(grave, Tombstone) and grave.has(
                await _first_id(self._other(target), replica)
            ):
                return attrs.evolve(grave, id=replica.id, generation=replica.generation + 1)
        return None

    def _other(self, store: SessionService) -> SessionService:
        return self._remote if store is self._local else self._local

    # -- one has deleted it ----------------------------------------------------------------------

    async def _delete(
        self, store: SessionService, copy: Copy, tombstone: Tombstone, action: Action
    ) -> list[Step]:
        """Delete the copy in *store*; events that were not deleted become a session there."""
        if not isinstance(copy, Replica):
            if not self._dry_run:
                await store.write_tombstone(tombstone, head=None)
            return []
        rest = None
        if not tombstone.has(copy.head) and copy.event_count > (copy.fork_seq or 0):
            rest = await self._keep_rest(store, copy, tombstone)
        if not self._dry_run:
            await store.write_tombstone(tombstone, head=copy.head)
        kept = 0 if rest is None else rest.event_count
        return [
            Step(
                session_id=copy.id,
                action=action,
                events=kept,
                fork_id=None if rest is None else rest.id,
            )
        ]

    async def _keep_rest(
        self, store: SessionService, copy: Replica, tombstone: Tombstone
    ) -> Replica | None:
        """Store the events of *copy* that were not deleted with *tombstone* under another id."""
        # Behind those that a fork has of its original: these are the same in every copy.
        events = [each async for each in events_of(store, copy, copy.fork_seq or 0)]
        rest, id = _behind(events, tombstone.has), copy.id
        while rest:
            id = fork_id(id, None, rest[0].event.id)
            known = await store.read_replica(id)
            if known is None:
                return await self._write_rest(store, copy, id, rest)
            if isinstance(known, Tombstone):
                rest = _behind(rest, known.has)
                continue
            ids = {each.event.id async for each in events_of(store, known, 0)}
            left = _behind(rest, ids.__contains__)
            if not left or known.head == rest[-len(left) - 1].event.id:
                return await self._write_rest(store, copy, id, rest)
            rest = left  # that one went on in another way
        return None

    async def _write_rest(
        self, store: SessionService, copy: Replica, id: str, rest: Sequence[ImportedEvent]
    ) -> Replica:
        replica = _rest(copy, id, rest)
        parent = None
        for first in range(0, len(rest), PART):
            part = rest[first : first + PART]
            if not self._dry_run:
                await self._write(store, replica, part, parent)
            parent = part[-1].event.id
        return replica

    # -- copying ---------------------------------------------------------------------------------

    async def _send(
        self,
        source: SessionService,
        target: SessionService,
        replica: Replica,
        after: int,
        parent_id: str | None,
    ) -> None:
        """Write the events of *replica* behind the seq *after*, and then its fields."""
        if self._dry_run:
            return
        async for part in parts_of(source, replica, after):
            await self._write(target, replica, part, parent_id)
            parent_id = part[-1].event.id
        if after == replica.event_count:
            await self._write(target, replica, [], parent_id)

    async def _write(
        self,
        store: SessionService,
        replica: Replica,
        events: Sequence[ImportedEvent],
        parent_id: str | None,
    ) -> None:
        if store is self._local and replica.machine and replica.machine.id == self._machine.id:
            replica = attrs.evolve(replica, machine=None)
        await store.write_replica(replica, events, parent_id=parent_id)


def _is_live(version: Version | None) -> bool:
    return version is not None and version.generation % 2 == 0


def _is_later(tombstone: Tombstone, other: Copy) -> bool:
    """Return whether a session was deleted after what the other store has of it."""
    return other is None or tombstone.generation > other.generation


def _rest(copy: Replica, id: str, events: Sequence[ImportedEvent]) -> Replica:
    """Return the replica of the session *id* that has the *events* of a deleted one."""
    return attrs.evolve(
        copy,
        id=id,
        generation=0,
        created_at=events[0].created_at,
        event_count=len(events),
        automatic_title=next(filter(None, (title(each.event) for each in events)), None),
        model_visible=any(is_model_visible(each.event.type) for each in events),
        forked_from=None,
        fork_seq=None,
        given_title=None,
        server_session_id=None,
        metadata={REMAINDER_OF: [copy.id, *_origins(copy)]},
        revisions={field: value for field, value in copy.revisions.items() if field == "archive"},
    )


def _origins(replica: Replica) -> list[str]:
    """Return the deleted sessions that a session has a remainder of."""
    found = replica.metadata.get(REMAINDER_OF)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


async def _first_id(store: SessionService, replica: Replica) -> str:
    id = await id_at(store, replica, 1)
    if id is None:
        raise ChangedError(replica.id)
    return id


def _behind(
    events: Sequence[ImportedEvent], is_known: Callable[[str], bool]
) -> Sequence[ImportedEvent]:
    """Return the events behind the last one that is known: those before that are known, too."""
    for index in range(len(events), 0, -1):
        if is_known(events[index - 1].event.id):
            return events[index:]
    return events
