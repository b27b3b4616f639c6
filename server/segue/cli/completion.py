"""`segue completion`: the shell completes commands, options, and ids with their titles beside."""

import asyncio

import click
from click.shell_completion import CompletionItem, get_completion_class

from segue.cli.application import Application, current_directory
from segue.cli.ids import PLAIN_ID
from segue.cli.listing import workspace_page
from segue.cli.printing import age, print_text, visible
from segue.model.records import Session
from segue.store.service import SessionService

SHELLS = ("bash", "zsh", "fish")

_VARIABLE = "_SEGUE_COMPLETE"
_MAX_COMPLETED = 50


def print_script(shell: str, group: click.Command) -> None:
    """Print the script that makes *shell* complete the command."""
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  it is one of SHELLS
    print_text(completion(group, {}, "segue", _VARIABLE).source().strip("\n"))


def complete_ids(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the sessions whose ids begin with *incomplete*; for nothing the newest of here.

    Whatever fails, nothing is completed and nothing said: a message would be in the command line.
    """
    application = context.find_object(Application)
    if application is None:
        return []
    database = context.find_root().params.get("database")

    async def find() -> list[CompletionItem]:
        service = await application.load_store(database).open_existing()
        try:
            found = await _find(service, incomplete)
            short = await service.short_ids([each.id for each in found])
        finally:
            await service.close()
        return [_item(each, short[each.id], incomplete) for each in found]

    try:
        return asyncio.run(find())
    except Exception:
        return []


async def _find(service: SessionService, incomplete: str) -> list[Session]:
    if incomplete:
        found = list(await service.find_sessions(incomplete, limit=_MAX_COMPLETED))
        found.sort(key=lambda each: each.updated_at, reverse=True)
    else:
        for directory in (current_directory(), None):
            page = await workspace_page(service, directory, archived=False, limit=_MAX_COMPLETED)
            found = list(page.sessions)
            if found:
                break
    return [each for each in found if PLAIN_ID.fullmatch(each.id)]


def _item(session: Session, short: str, incomplete: str) -> CompletionItem:
    value = short if short.startswith(incomplete) else session.id
    title = visible(session.title or "(no title)")
    return CompletionItem(value, help=f"{age(session.updated_at)} · {title}")
