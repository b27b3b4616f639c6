"""A store and imports into it, and the homes of real agents."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segue import agents
from segue.redaction import engine
from segue.sessions.importing import Importer, SourceReport
from segue.store.sqlite.service import LocalSessionService
from tests.agents.real import offline
from tests.agents.real.agents import Place, RealAgent
from tests.agents.real.running import clear_environment
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


@pytest.fixture
def network(agent: RealAgent, tmp_path: Path) -> Iterator[offline.Offline]:
    """Return the network of a real agent, whose test module has the fixture `agent`."""
    with offline.offline(tmp_path) as network:
        yield network


@pytest.fixture
def place(
    agent: RealAgent,
    network: offline.Offline,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """Return a new home and workspace; agents and Segue have no variables but those for them."""
    home = tmp_path / "home"
    home.mkdir()
    place = Place(home, repository, network.address, network.enter)
    clear_environment(monkeypatch)
    programs = (agent.install(), Path(sys.executable).parent)
    path = os.pathsep.join((*map(str, programs), os.environ["PATH"]))
    for name, value in {"HOME": str(home), "PATH": path, **agent.environment(place)}.items():
        monkeypatch.setenv(name, value)
    agent.prepare(place)
    return place
