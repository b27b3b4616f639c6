"""Clients of ACP with an agent behind the proxy, all of real processes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.acp.client import ECHO, PROXY, AcpClient

StartAcp = Callable[..., AcpClient]


@pytest.fixture
def start_acp(repository: Path, database: Path) -> Iterator[StartAcp]:
    """Start a client with the echo agent; options are the agent's, names are of the environment."""
    clients: list[AcpClient] = []

    def start(
        *options: str,
        agent: Sequence[str] = ECHO,
        is_initialized: bool = True,
        **environment: str,
    ) -> AcpClient:
        client = AcpClient((*PROXY, *agent, *options), repository, **environment)
        clients.append(client)
        if is_initialized:
            client.initialize()
        return client

    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """Return the option by which the agent keeps its conversations."""
    folder = tmp_path / "kept"
    folder.mkdir()
    return f"--keeps={folder}"
