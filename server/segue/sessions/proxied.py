"""What `segue acp` has recorded of conversations that an agent keeps in files, too.

Such a file is read as any other, but what was said while the proxy was there is stored already,
with other ids: it is told by its time. What was said elsewhere, as in a terminal, is imported into
the session that the proxy has recorded.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import attrs

from segue.agents.families import family_of, sessions_of
from segue.model.records import AGENTS, Timestamp
from segue.sessions.pages import event_pages
from segue.store.service import SessionService

_BEFORE_MS = 1_000
_AFTER_MS = 5_000
"""An agent writes down what it said a little before or after the proxy has stored it."""


@attrs.frozen
class ProxiedSession:
    """A session that was recorded, and when: in milliseconds since 1970."""

    id: str
    periods: Sequence[tuple[Timestamp, Timestamp]]

    def has(self, time: Timestamp) -> bool:
        """Return whether what an agent said at *time* was recorded."""
        return any(begin - _BEFORE_MS <= time <= end + _AFTER_MS for begin, end in self.periods)


class ProxiedSessions:
    """The sessions of one source's agents that the proxy has recorded, by the agents' ids."""

    def __init__(self, service: SessionService, source: ModuleType) -> None:
        self._service = service
        self._source = source
        self._family = family_of(source.NAME)
        self._found: Mapping[str, tuple[str, Sequence[Any]]] | None = None

    async def session_id(self, own_id: str) -> str | None:
        """Return the id of the session that the conversation *own_id* was recorded into."""
        found = (await self._sessions()).get(own_id)
        return None if found is None else found[0]

    async def find(self, own_id: str) -> ProxiedSession | None:
        """Return what was recorded of the conversation that its agent calls *own_id*."""
        found = (await self._sessions()).get(own_id)
        if found is None:
            return None
        session_id, invocations = found[0], set(map(str, found[1]))
        is_imported = False
        periods: dict[str, tuple[Timestamp, Timestamp]] = {}
        async for page in event_pages(self._service.load_events, session_id):
            names = {each.id: each.client_name for each in page.invocations}
            for event in page.events:
                if event.invocation_id in invocations:
                    # Begun or taken in here, it is recorded from its beginning on.
                    first = event.created_at if periods or is_imported else Timestamp(0)
                    begin, _ = periods.get(event.invocation_id, (first, 0))
                    periods[event.invocation_id] = (begin, event.created_at)
                elif names.get(event.invocation_id) == self._source.TITLE:
                    is_imported = True
        return ProxiedSession(session_id, list(periods.values()))

    async def _sessions(self) -> Mapping[str, tuple[str, Sequence[Any]]]:
        if self._found is None:
            self._found = sessions_of(self._family, await self._service.find_metadata(AGENTS))
        return self._found
