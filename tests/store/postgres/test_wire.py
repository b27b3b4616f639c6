"""What a connection that is lost leaves behind."""

import asyncio
import os
from pathlib import Path

import pytest

from segue.store.postgres.address import Address
from segue.store.postgres.errors import ConnectionLostError
from segue.store.postgres.wire import Connection
from tests.faults.postgres_proxy import Proxy
from tests.store.postgres_server import PostgresServer


async def take(number: int, source: int) -> None:
    """Copy the descriptor *source* until the copy has this number."""
    while True:
        copy = os.dup(source)
        if copy == number:
            return
        os.close(copy)
        await asyncio.sleep(0)


async def test_the_number_of_a_lost_socket_is_another_ones_at_once(
    server: PostgresServer, role: str, tmp_path: Path
) -> None:
    async with Proxy(server.folder, lost=1.0).listen(tmp_path):
        url = server.url(role).replace(str(server.folder), str(tmp_path))
        connection = await Connection.connect(Address.parse(url))
        number = connection._pgconn.socket
        readable, writable = os.pipe()
        woken = asyncio.Event()

        async def watch_other() -> None:
            await take(number, readable)
            asyncio.get_running_loop().add_reader(number, woken.set)

        watching = asyncio.ensure_future(watch_other())
        with pytest.raises(ConnectionLostError):
            await connection.call("SELECT 1")
        await watching
        os.write(writable, b".")
        async with asyncio.timeout(5):
            await woken.wait()
        asyncio.get_running_loop().remove_reader(number)
        for each in (number, readable, writable):
            os.close(each)
        connection.close()
