"""Reads pages of a store: the events of a session one by one, others until they are full."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from segue.model.records import (
    MAX_HITS,
    MAX_PAGE,
    EventPage,
    Order,
    SearchHit,
    SearchPage,
    Session,
    SessionPage,
)
from segue.store.service import SessionService


async def event_pages(
    load: Callable[..., Awaitable[EventPage]], session_id: str, after: int = 0
) -> AsyncIterator[EventPage]:
    """Yield the events of a session behind the seq *after*, oldest first; at least one page.

    *load* is `SessionService.load_events` or `Window.events`.
    """
    while True:
        page = await load(session_id, after=after, before=None, limit=MAX_PAGE)
        yield page
        if not page.has_more or not page.events:
            return
        after = page.events[-1].seq


async def session_page(
    service: SessionService,
    where: Mapping[str, Any],
    *,
    archived: bool,
    sources: Sequence[str] | None = None,
    order: Order = "updated",
    cursor: str | None = None,
    limit: int,
) -> SessionPage:
    """Return a page of *limit* sessions, or of all that there are, from *where* they are found.

    `model.workspace.search_places` returns *where*. One of some *sources* is put together of those
    that the service returns.
    """
    sessions: list[Session] = []
    held: set[str] = set()
    while True:
        page = await service.list_sessions(
            archived=archived,
            sources=sources,
            order=order,
            cursor=cursor,
            limit=limit - len(sessions),
            **where,
        )
        sessions += page.sessions
        held.update(page.open)
        cursor = page.next_cursor
        if cursor is None or len(sessions) == limit:
            return SessionPage(sessions=sessions, next_cursor=cursor, open=sorted(held))


async def search_page(
    service: SessionService,
    query: str,
    where: Mapping[str, Any],
    *,
    archived: bool,
    cursor: str | None = None,
    limit: int,
) -> SearchPage:
    """Return a page of *limit* hits; what one search has no time for, the next one looks at."""
    hits: list[SearchHit] = []
    while True:
        most = min(limit - len(hits), MAX_HITS)
        page = await service.search(query, archived=archived, cursor=cursor, limit=most, **where)
        hits += page.hits
        cursor = page.next_cursor
        if cursor is None or len(hits) == limit:
            return SearchPage(hits=hits, next_cursor=cursor, complete=page.complete)
