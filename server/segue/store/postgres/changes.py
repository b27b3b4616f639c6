"""Changes of an account's sessions: waits for them, without a statement while nothing happens."""

import asyncio
import contextlib
from typing import Any

from segue.model.errors import StorageError
from segue.store.postgres import codec
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.wire import Connection

LINGER_S = 5.0
"""How long the server goes on to tell of changes, in seconds, when nobody waits for them: who
follows waits again as soon as it has looked."""

LOOK_EVERY_S = 1.0
"""How often the server is asked, in seconds, where it cannot tell: through a pool, on Citus, and of
what other accounts share."""

REST_S = 0.1
"""How long changes count as one, in seconds."""

_FOLLOW = "SELECT segue_1.follow($1)"
_UNFOLLOW = "SELECT segue_1.unfollow($1)"
_MARK = "SELECT segue_1.change_mark()"
_SHARED_MARK = "SELECT segue_1.shared_mark($1)"


class Changes:
    """What is waited for, on the connection of a client, which makes its calls as before.

    The server tells of each commit of the account while this listens. What was written before it
    listened, or while the connection was lost, counts as a change. It does not tell of what others
    write: who is shared something with asks for that.
    """

    def __init__(self, client: PostgresClient) -> None:
        self._client = client
        self._connection: Connection | None = None
        """The one that listens."""
        self._begun = 0
        self._told = 0
        self._shared: str | None = None
        """The last mark of what others share; None: nothing."""
        self._changed = asyncio.Event()
        self._rests_until = 0.0
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Future[None] | None = None

    async def wait(self, seen: Any) -> Any:
        """Return a mark as soon as it is another one than *seen*. Raises a StorageError."""
        self._waiting += 1
        self._keep()
        try:
            while await self._listens():
                await self._look_at_shared()
                changed = self._changed
                if (self._begun, self._told) != seen:
                    await self._rest()
                    return self._begun, self._told
                look_after_s = None if self._shared is None else LOOK_EVERY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(look_after_s):
                        await changed.wait()
            while True:
                if (found := await self._client.run(_read_mark)) != seen:
                    return found
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._waiting -= 1
            if not self._waiting:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(LINGER_S, self._stop)

    async def _rest(self) -> None:
        """Let the changes of a busy account count as one."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._rests_until - loop.time())
        self._rests_until = loop.time() + REST_S

    def close(self) -> None:
        """Leave it to the end of the connection."""
        self._keep()

    async def _listens(self) -> bool:
        """Let the server tell of changes, if it does not yet; return whether it can."""
        if self._connection is not None and not self._connection.is_lost:
            return True
        return await self._client.run(self._listen)

    async def _listen(self, connection: Connection) -> bool:
        if connection is self._connection:
            return True
        if not self._client.can_hold:
            return False
        told = self._told
        connection.listen(self._hear)
        await connection.call(_FOLLOW, codec.int8(self._client.account))
        if self._told == told:
            await self._end(connection)
            return False
        self._connection = connection
        self._begun += 1
        return True

    async def _look_at_shared(self) -> None:
        async def read(connection: Connection) -> Any:
            ((mark,),) = await connection.call(_SHARED_MARK, codec.int8(self._client.account))
            return mark

        mark = await self._client.run(read)
        if mark != self._shared:
            self._shared = mark
            self._hear()

    def _hear(self) -> None:
        self._told += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop(self) -> None:
        if self._connection is not None and not self._connection.is_lost:
            self._stopping = asyncio.ensure_future(self._unlisten())

    async def _unlisten(self) -> None:
        async def unlisten(connection: Connection) -> None:
            if connection is self._connection and not self._waiting:
                self._connection = None
                await self._end(connection)

        with contextlib.suppress(StorageError):  # then the connection is lost
            await self._client.run(unlisten)

    async def _end(self, connection: Connection) -> None:
        connection.listen(None)
        await connection.call(_UNFOLLOW, codec.int8(self._client.account))


async def _read_mark(connection: Connection) -> Any:
    ((mark,),) = await connection.call(_MARK)
    return mark
