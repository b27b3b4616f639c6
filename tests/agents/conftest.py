"""A store, and imports into it."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segue import agents
from segue.redaction import engine
from segue.sessions.importing import Importer, SourceReport
from segue.store.sqlite.service import LocalSessionService
from tests.factories import all_events

Shown = list[tuple[str, Any]]


class Imports:
    """A store that files are imported into, and what it shows."""

    def __init__(self, service: LocalSessionService) -> None:
        self.service = service

    async def run(self, source: str | ModuleType, *paths: Path, **options: Any) -> SourceReport:
        """Import files, as the command does."""
        module = agents.load(source) if isinstance(source, str) else source
        importer = Importer(self.service, engine.mask, **options)
        return await importer.run(module, paths, lambda _: None)

    async def shown(self) -> dict[str, Shown]:
        """Return the types and data of every session's events, archived or not."""
        page = await self.service.list_sessions(archived=True, limit=1_000)
        return {
            session.id: [
                (event.type, event.data) for event in await all_events(self.service, session.id)
            ]
            for session in page.sessions
        }


@pytest.fixture
async def imports(tmp_path: Path) -> AsyncIterator[Imports]:
    service = await LocalSessionService.open(tmp_path / "store" / "sessions.db")
    yield Imports(service)
    await service.close()
