"""`segue search`: find what was said in stored conversations."""

from collections.abc import Sequence
from datetime import timedelta

from segue.cli.printing import local_time, print_error, print_excerpt, print_json, print_line
from segue.model.records import SearchPage
from segue.model.workspace import locate_workspace, search_places
from segue.protocol import messages
from segue.sessions.pages import search_page
from segue.store.service import SessionService

_INDEXING = timedelta(seconds=1)
"""How long the command goes on after its answer, if not everything is indexed."""


async def search(
    service: SessionService,
    words: Sequence[str],
    directory: str | None,
    *,
    archived: bool,
    limit: int,
    as_json: bool,
) -> int:
    """Print what is found in the workspace of *directory*, None: in all; return 1 if nothing is."""
    where = search_places(None if directory is None else locate_workspace(directory))
    page = await search_page(service, query_of(words), where, archived=archived, limit=limit)
    if as_json:
        print_json(messages.wire.unstructure(page))
    elif not page.hits:
        here = "" if directory is None else " in this workspace; --all searches everywhere"
        print_error(f"Nothing found{here}.")
    else:
        _print(page)
    await service.update_index(at_most=_INDEXING)
    return 0 if page.hits else 1


def query_of(words: Sequence[str]) -> str:
    """Return the query of a command's arguments: one with a space in it is a phrase."""
    return " ".join(f'"{each}"' if " " in each and '"' not in each else each for each in words)


def _print(page: SearchPage) -> None:
    shown = None
    for hit in page.hits:
        session, event = hit.session, hit.event
        if session.id != shown:
            if shown is not None:
                print_line()
            shown = session.id
            archived = " (archived)" if session.archived_at is not None else ""
            by = "" if session.shared_by is None else f" (shared by {session.shared_by})"
            print_line((session.title or "(no title)") + archived + by, bold=True)
            print_line(session.id, "·", local_time(session.updated_at), "·", session.place)
        if event is not None:
            print_line(str(event.seq), event.type, "·", local_time(event.created_at), color="cyan")
            print_excerpt((piece.text, piece.match) for piece in hit.excerpt)
    if page.next_cursor is not None:
        print_error("There may be more; --limit N shows more.")
