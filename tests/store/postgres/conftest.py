"""Services on real PostgreSQL servers: each test runs on every version that is here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from segue.store.postgres.service import PostgresSessionService
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer


@pytest.fixture(params=list(postgres_server.find_programs()))
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return postgres_server.server(request.param)


@pytest.fixture
def role(server: PostgresServer, tmp_path: Path) -> str:
    """Return a role that only this test has."""
    return server.role_of(tmp_path)


@pytest.fixture
def url(server: PostgresServer, role: str) -> str:
    return server.url(role)


@pytest.fixture
async def service(url: str) -> AsyncIterator[PostgresSessionService]:
    opened = await PostgresSessionService.open(url, machine=postgres_server.MACHINE)
    yield opened
    await opened.close()
