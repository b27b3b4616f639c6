"""Which conversations an agent is shown: those of its workspace, unless it asks for all."""

import os
from collections.abc import Mapping
from typing import Any

import attrs

from segue.mcp.arguments import ToolFault
from segue.model.records import MAX_PAGE, Session
from segue.model.workspace import InvalidWorkspaceError, locate_workspace, search_places
from segue.sessions.locator import WorkspaceLocator
from segue.sessions.pages import session_page
from segue.store.service import SessionService

_LOCATOR = WorkspaceLocator()


@attrs.frozen
class Scope:
    """The conversations that are shown; `places` is where the workspace's are, as a store takes it.

    With `everywhere` all are.
    """

    service: SessionService
    places: Mapping[str, Any]
    everywhere: bool

    @property
    def where(self) -> Mapping[str, Any]:
        """Where the conversations that are shown are found, as a store takes it."""
        return {} if self.everywhere else self.places

    async def ids_here(self) -> set[str]:
        """Return the ids of the workspace's conversations, the archived ones too."""
        ids: set[str] = set()
        cursor = None
        while True:
            page = await session_page(
                self.service, self.places, archived=True, cursor=cursor, limit=MAX_PAGE
            )
            ids.update(each.id for each in page.sessions)
            cursor = page.next_cursor
            if cursor is None:
                return ids

    async def shown(self, sessions: list[Session]) -> list[Session]:
        """Return those of *sessions* that are shown."""
        if self.everywhere or not sessions:
            return sessions
        ids = await self.ids_here()
        return [each for each in sessions if each.id in ids]


async def scope_of(service: SessionService, *, everywhere: bool) -> Scope:
    """Return the scope of the current directory. Raises ToolFault if it cannot be looked at."""
    try:
        directory = os.getcwd()
        workspace = await _LOCATOR.find(lambda touch: locate_workspace(directory, touch), directory)
    except FileNotFoundError:
        if everywhere:
            return Scope(service, {}, everywhere)
        raise ToolFault(
            "The folder in which this server was started does not exist any more. Ask with "
            "everywhere=true, or let the user restart the server in the workspace."
        ) from None
    except InvalidWorkspaceError as error:
        raise ToolFault(f"The workspace cannot be looked at: {error}.") from None
    return Scope(service, search_places(workspace), everywhere)
