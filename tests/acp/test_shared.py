"""What another user of a PostgreSQL database shares, behind the proxy."""

from pathlib import Path

import pytest

from segue.store.postgres.service import PostgresSessionService
from tests.acp.conftest import StartAcp
from tests.factories import all_events, store_session, user_message
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer

pytestmark = pytest.mark.skipif(
    not postgres_server.find_programs(), reason="there is no PostgreSQL"
)


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    return postgres_server.server(next(iter(postgres_server.find_programs())))


async def test_it_is_loaded_and_goes_on_in_a_fork(
    start_acp: StartAcp, server: PostgresServer, repository: Path, tmp_path: Path
) -> None:
    who, reader = server.role_of(tmp_path), server.role_of(tmp_path / "reader")
    machine = postgres_server.MACHINE
    owner = await PostgresSessionService.open(server.url(who), machine=machine)
    reading = await PostgresSessionService.open(server.url(reader), machine=machine)
    try:
        id = await store_session(owner, user_message("the word is plum"))
        await owner.sharing.share(id, None, reader, revoked=False)
        client = start_acp(SEGUE_DATABASE=server.url(reader))
        (listed,) = client.request("session/list")["sessions"]
        assert (listed["sessionId"], listed["_meta"]["segue"]["sharedBy"]) == (id, who)
        assert client.load(id) == "revived"
        assert client.said("user_message_chunk") == "the word is plum"
        assert [each.id for each in (await reading.list_sessions()).sessions] == [id]
        assert "the word is plum" in client.prompt(id, "and mine?")
        client.prompt(id, "and then?")
        assert client.end() == 0
        assert f"{who}'s, who shares it to be read" in client.stderr()
        assert len(await all_events(owner, id)) == 1
        (fork,) = [
            each for each in (await reading.list_sessions()).sessions if each.shared_by is None
        ]
        assert (fork.forked_from, fork.fork_seq) == (id, 1)
        assert fork.directory == str(repository)
        said = [
            event.data["content"]
            for event in await all_events(reading, fork.id)
            if event.type == "user_message"
        ]
        assert said == ["the word is plum", "and mine?", "and then?"]
        again = start_acp(SEGUE_DATABASE=server.url(reader))
        again.load(fork.id)
        assert again.said("user_message_chunk") == "".join(said)
    finally:
        await owner.close()
        await reading.close()
