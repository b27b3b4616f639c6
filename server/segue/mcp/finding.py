"""The tools `list_conversations` and `search_conversations`."""

import json

from segue.exporting import shown_time
from segue.mcp.arguments import ListArguments, SearchArguments
from segue.mcp.marking import Cleaner, marked
from segue.mcp.reading import Message, line_of, message_at
from segue.mcp.scope import Scope
from segue.model.records import MAX_HITS, MAX_PAGE, FoundEvent, SearchHit
from segue.model.search_text import SearchQuery, searched_text
from segue.sessions.pages import search_page, session_page


async def list_conversations(scope: Scope, cleaner: Cleaner, arguments: ListArguments) -> str:
    """Return the newest conversations as marked text, and how many there are elsewhere."""
    sources = None if arguments.source is None else [arguments.source]
    page = await session_page(
        scope.service,
        scope.where,
        archived=arguments.archived,
        sources=sources,
        cursor=arguments.cursor,
        limit=arguments.limit,
    )
    more = "" if page.next_cursor is None else f"cursor={page.next_cursor} shows more"
    elsewhere = ""
    if not scope.everywhere:
        every = await session_page(
            scope.service, {}, archived=arguments.archived, sources=sources, limit=MAX_PAGE
        )
        others = {each.id for each in every.sessions} - await scope.ids_here()
        elsewhere = _elsewhere(len(others), is_more=every.next_cursor is not None)
    if page.sessions:
        lines = "\n\n".join(line_of(each, cleaner) for each in page.sessions)
        return marked(lines, more, elsewhere)
    return marked("", f"no conversations{'' if scope.everywhere else ' here'}", elsewhere)


async def search_conversations(scope: Scope, cleaner: Cleaner, arguments: SearchArguments) -> str:
    """Return what is found as marked text, and in how many conversations elsewhere something is."""
    query = SearchQuery.parse(arguments.query)
    page = await search_page(
        scope.service,
        arguments.query,
        scope.where,
        archived=arguments.archived,
        cursor=arguments.cursor,
        limit=arguments.limit,
    )
    more = "" if page.next_cursor is None else f"cursor={page.next_cursor} may show more"
    elsewhere = ""
    if not scope.everywhere:
        every = await scope.service.search(
            arguments.query, archived=arguments.archived, limit=MAX_HITS
        )
        others = {each.session.id for each in every.hits} - await scope.ids_here()
        elsewhere = _elsewhere(len(others), is_more=every.next_cursor is not None)
    if not page.hits:
        where = "" if scope.everywhere else " in this workspace"
        return marked("", f"nothing was found{where}; fewer words find more", elsewhere)
    lines: list[str] = []
    shown = None
    for hit in page.hits:
        if hit.session.id != shown:
            shown = hit.session.id
            lines += [*[""][: len(lines)], line_of(hit.session, cleaner)]
        if hit.event is not None:
            lines.append(await _found(scope, cleaner, query, hit, hit.event))
    how = "read_conversation with id and around, the number behind #, reads on"
    return marked("\n".join(lines), how, more, elsewhere)


async def _found(
    scope: Scope, cleaner: Cleaner, query: SearchQuery, hit: SearchHit, event: FoundEvent
) -> str:
    """Return an event that was found, with an excerpt that was made after masking.

    In the excerpt of the store a secret may be cut, which no rule would recognize then.
    """
    message = await message_at(scope.service, hit.session.id, event.seq)
    excerpt = "".join(piece.text for piece in query.excerpt(_searched(message, cleaner)))
    type = cleaner.line(event.type)
    return f"#{event.seq} {type} {shown_time(event.created_at)}: {cleaner.line(excerpt)}"


def _searched(message: Message, cleaner: Cleaner) -> str:
    masked = message.masked(cleaner)
    if masked.corrupt:
        return str(masked.data)
    if len(message.events) > 1:
        return str(masked.data["content"])
    return searched_text(masked.type, json.dumps(masked.data))


def _elsewhere(count: int, *, is_more: bool) -> str:
    if not count:
        return "there may be more in other workspaces; ask with everywhere=true" * is_more
    least = "at least " * is_more
    return f"{least}{count:,} more in other workspaces; ask with everywhere=true"
