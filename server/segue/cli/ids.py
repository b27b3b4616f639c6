"""Finds the session that a person names: by its id, by the beginning of it, or as `-`."""

import re
from collections.abc import Sequence

from segue.cli.application import CommandError, current_directory
from segue.cli.printing import Column, age, print_error, print_error_table
from segue.model.errors import SessionNotFound
from segue.model.records import MAX_HITS, Session
from segue.model.workspace import locate_workspace
from segue.sessions.resume import find_resumable
from segue.store.service import SessionService

RESUMABLE = "-"
"""Names the session that an editor would resume in the current directory."""

PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Ids that are nothing but an id to a shell and to Neovim: another program may have chosen them."""

_MAX_CANDIDATES = 10


async def find_id(service: SessionService, given: str, continue_minutes: float) -> str:
    """Return the id that *given* is, or that alone begins with it.

    Raises SessionNotFound, or CommandError if several begin with it, which are printed, and if
    nothing would be resumed here.
    """
    if given == RESUMABLE:
        return await _resumable(service, continue_minutes)
    try:
        given.encode()
    except UnicodeEncodeError:  # an argument that is no text
        raise SessionNotFound(given) from None
    found = await service.find_sessions(given, limit=_MAX_CANDIDATES + 1)
    if not found or not given:
        raise SessionNotFound(given)
    if len(found) > 1 and found[0].id != given:  # in their order the id itself is the first
        await _print_candidates(service, found)
        raise CommandError(f"Several conversations have an id that begins with {given}.")
    return found[0].id


async def find_id_or_said(service: SessionService, given: str, continue_minutes: float) -> str:
    """Return the id that *given* is, as `find_id` does, or of the one session in which it was said.

    Raises CommandError as well if it was said in several, which are printed.
    """
    try:
        return await find_id(service, given, continue_minutes)
    except SessionNotFound:
        found = await _said_in(service, given)
    if not found:
        raise CommandError(f"No conversation has the id {given}, and none has these words.")
    if len(found) > 1:
        await _print_candidates(service, found)
        raise CommandError("Several conversations have these words: name one by its id.")
    return found[0].id


async def _said_in(service: SessionService, query: str) -> list[Session]:
    """Return the sessions in which everything of *query* was said, up to one too many to show."""
    found: dict[str, Session] = {}
    cursor = None
    while True:
        page = await service.search(query, archived=True, cursor=cursor, limit=MAX_HITS)
        found |= {hit.session.id: hit.session for hit in page.hits}
        cursor = page.next_cursor
        if cursor is None or len(found) > _MAX_CANDIDATES:
            return list(found.values())


async def _resumable(service: SessionService, continue_minutes: float) -> str:
    async def connect() -> SessionService:
        return service

    found = await find_resumable(connect, locate_workspace(current_directory()), continue_minutes)
    if found.session is None:
        raise CommandError(f"{found.reason} `segue list` lists the others.")
    return found.session.id


async def _print_candidates(service: SessionService, found: Sequence[Session]) -> None:
    shown = sorted(found[:_MAX_CANDIDATES], key=lambda each: each.updated_at, reverse=True)
    short = await service.short_ids([each.id for each in shown])
    columns = (Column("ID"), Column("AGE"), Column("TITLE", is_flexible=True))
    rows = [(short[each.id], age(each.updated_at), each.title or "") for each in shown]
    print_error_table(columns, rows)
    if len(found) > _MAX_CANDIDATES:
        print_error("and others")
