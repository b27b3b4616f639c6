"""Reads what one store has, to be compared with what another one has."""

from collections.abc import AsyncIterator

from segue.model import json_text
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import MAX_PAGE, StoredEvent
from segue.model.replicas import Replica, Version
from segue.store.service import SessionService

PART = 500
"""How many events are copied at once: the windows of the other store wait for it."""


class ChangedError(Exception):
    """A copy is no longer what it was when it was read."""


async def versions_of(store: SessionService) -> dict[str, Version]:
    """Return the versions of all sessions and tombstones, by their ids."""
    found: dict[str, Version] = {}
    last: str | None = None
    while True:
        page = await store.list_versions(after=last, limit=MAX_PAGE)
        found |= {version.id: version for version in page.versions}
        if not page.has_more:
            return found
        last = page.versions[-1].id


async def id_at(store: SessionService, replica: Replica, seq: int) -> str | None:
    """Return the id of the event with the seq *seq*, or None if the replica has none."""
    if seq == replica.event_count:
        return replica.head
    if not 0 < seq < replica.event_count:
        return None
    page = await store.load_events(replica.id, after=seq - 1, limit=1)
    return page.events[0].id if page.events else None


async def common_length(
    one: SessionService, here: Replica, other: SessionService, there: Replica
) -> int:
    """Return how many events both copies begin with: behind the first that differs, all do."""
    low, high = 0, min(here.event_count, there.event_count)
    while low < high:
        middle = (low + high + 1) // 2
        if await id_at(one, here, middle) == await id_at(other, there, middle):
            low = middle
        else:
            high = middle - 1
    return low


async def parts_of(
    store: SessionService, replica: Replica, after: int
) -> AsyncIterator[list[ImportedEvent]]:
    """Yield the events of *replica* behind the seq *after*, some at a time, as they are stored."""
    while after < replica.event_count:
        limit = min(PART, replica.event_count - after)
        page = await store.load_events(replica.id, after=after, limit=limit)
        if not page.events:
            raise ChangedError(replica.id)
        invocations = {each.id: each for each in page.invocations}
        yield [
            ImportedEvent(
                event=_event(each),
                created_at=each.created_at,
                invocation=invocations[each.invocation_id],
            )
            for each in page.events
        ]
        after = page.events[-1].seq


async def events_of(
    store: SessionService, replica: Replica, after: int
) -> AsyncIterator[ImportedEvent]:
    """Yield the events of *replica* behind the seq *after*, one at a time."""
    async for part in parts_of(store, replica, after):
        for each in part:
            yield each


def _event(stored: StoredEvent) -> Event:
    """Return a stored event with the very text that is stored."""
    if stored.corrupt:
        return Event(id=stored.id, type=stored.type, data={}, json_text=str(stored.data))
    text = json_text.encode("$.data", stored.data)
    return Event(id=stored.id, type=stored.type, data=stored.data, json_text=text)
