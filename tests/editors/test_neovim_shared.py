"""What another user of a PostgreSQL database shares, in Neovim."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from segue.store.postgres.service import PostgresSessionService
from tests.editors.neovim import RunNeovim, needs_neovim, notices
from tests.factories import all_events, store_session, user_message
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer

pytestmark = [
    *needs_neovim,
    pytest.mark.skipif(not postgres_server.find_programs(), reason="there is no PostgreSQL"),
]


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    """Return a server that was started before a test has an environment of its own."""
    return postgres_server.server(next(iter(postgres_server.find_programs())))


@pytest.fixture
async def owner(server: PostgresServer, tmp_path: Path) -> AsyncIterator[PostgresSessionService]:
    url = server.url(server.role_of(tmp_path))
    service = await PostgresSessionService.open(url, machine=postgres_server.MACHINE)
    yield service
    await service.close()


async def test_it_is_listed_with_whose_it_is_and_goes_on_in_a_fork(
    server: PostgresServer,
    owner: PostgresSessionService,
    run_neovim: RunNeovim,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = server.role_of(tmp_path / "reader")
    who = server.role_of(tmp_path)
    config = repository / ".git" / "config"
    config.parent.mkdir(exist_ok=True)
    config.write_text('[remote "origin"]\n\turl = https://github.com/org/repo.git\n')
    first = user_message("hello")
    id = await store_session(owner, first, repository="github.com/org/repo")
    await owner.sharing.share(id, None, reader, revoked=False)
    monkeypatch.setenv("SEGUE_DATABASE", server.url(reader))
    report = run_neovim("forks.shared", shared=id)
    assert report["shared_by"] == who
    (row,) = report["rows"]
    assert row.startswith("hello · ")
    assert f"shared by {who}" in row
    assert notices(report, 3) == [
        f"segue: it is {who}'s, who shares it to be read; you go on in a copy"
    ]
    assert len(await all_events(owner, id)) == 1
    reading = await PostgresSessionService.open(server.url(reader), machine=postgres_server.MACHINE)
    try:
        fork = await reading.get_session(report["fork"])
        assert (fork.forked_from, fork.fork_seq, fork.shared_by) == (id, 1, None)
        assert fork.directory == str(repository)
        said = [event.data["content"] for event in await all_events(reading, fork.id)]
        assert [said[0], said[-1]] == ["hello", "and I"]
    finally:
        await reading.close()
