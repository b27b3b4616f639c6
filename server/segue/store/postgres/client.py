"""Calls in their order, on one connection that is made again when it is lost."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from segue.model.errors import SegueError, StorageUnavailable
from segue.store.postgres import codec
from segue.store.postgres.address import Address
from segue.store.postgres.errors import NO_SCHEMA, ConnectionLostError, ServerError, translate
from segue.store.postgres.wire import Connection

T = TypeVar("T")

PATIENCE_S = 8.0
"""How long a call is tried again, in seconds, while the server cannot be reached or is busy."""

_OTHER_API = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname ~ '^segue_[0-9]+$'"

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class PostgresClient:
    """Runs work on a connection, one after the other, each until it has succeeded or been refused.

    What is run may be run again after it has succeeded: a connection can be lost with the answer.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._order = asyncio.Lock()
        self._is_closed = False
        self._failure: ConnectionLostError | ServerError | None = None
        self.account = 0
        """The number of the role's account; known after the first call."""
        self.can_hold = True
        """Whether sessions can be held: not through a pool, whose connections change."""
        self.held: dict[str, int] = {}
        """The sessions that this client holds, and the keys of their locks."""

    def another(self) -> "PostgresClient":
        """Return a client of the same database with a connection of its own."""
        return PostgresClient(self._address)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the result of *work*; who is cancelled meanwhile loses only that.

        Raises what *work* raises, or a StorageError; `PATIENCE_S` counts from this call.
        """
        give_up_at = time.monotonic() + PATIENCE_S
        return await asyncio.shield(asyncio.ensure_future(self._run(work, give_up_at)))

    async def close(self) -> None:
        """Finish the work that was begun before, and end the connection."""
        async with self._order:
            self._is_closed = True
            self._drop()

    async def _run(self, work: Callable[[Connection], Awaitable[T]], give_up_at: float) -> T:
        async with self._order:
            pause = _FIRST_PAUSE_S
            while True:
                if self._failure is not None and time.monotonic() > give_up_at:
                    # Those before it have just tried for as long.
                    raise translate(self._failure, self._address.location) from self._failure
                ends_at = math.inf if self._failure is None else give_up_at
                try:
                    result = await self._try(work, ends_at)
                except (ConnectionLostError, ServerError) as error:
                    if not error.may_be_retried:
                        self._failure = None
                        raise translate(error, self._address.location) from error
                    now = time.monotonic()
                    if self._failure is None or now < give_up_at:
                        self._failure = error  # else it is only that no time was left
                    if now + pause > give_up_at:
                        raise translate(self._failure, self._address.location) from error
                except SegueError:
                    self._failure = None
                    raise
                else:
                    self._failure = None
                    return result
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _try(self, work: Callable[[Connection], Awaitable[T]], ends_at: float) -> T:
        if self._is_closed:
            raise StorageUnavailable(f"{self._address.location} is closed.")
        if self._connection is not None and self._connection.is_lost:
            self._drop()
        connection = self._connection or await self._connect(ends_at)
        connection.ends_at = ends_at
        try:
            return await work(connection)
        except ServerError as error:
            # After a lock that was waited for in vain it is not known which locks are held.
            if error.sqlstate.startswith(("08", "57P", "55P03")):
                self._drop()
            raise
        except ConnectionLostError:
            self._drop()
            raise
        finally:
            if self._connection is not None and connection.is_in_transaction:
                await self._roll_back(connection)

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await connection.call("ROLLBACK")
        except (ConnectionLostError, ServerError):
            self._drop()

    async def _connect(self, ends_at: float) -> Connection:
        connection = await Connection.connect(self._address, ends_at)
        try:
            account, process, encoding = await self._greet(connection)
        except BaseException:
            connection.close()
            raise
        if encoding != "UTF8":
            connection.close()
            raise StorageUnavailable(
                f"{self._address.location} has the encoding {encoding}. Segue needs a database "
                "that was created with the encoding UTF8."
            )
        self.account = account
        self.can_hold = process == connection.process
        self._connection = connection
        return connection

    async def _greet(self, connection: Connection) -> tuple[int, int, str]:
        """Return the account, the server's process and the encoding; take the locks again."""
        keys = list(self.held.values()) if self.can_hold else []
        try:
            ((account, process, _, encoding),) = await connection.call(
                "SELECT * FROM segue_1.hello($1)", codec.int8s(keys)
            )
        except ServerError as error:
            if error.sqlstate == NO_SCHEMA and await connection.call(_OTHER_API):
                raise StorageUnavailable(
                    f"{self._address.location} has the store of a later version. Update Segue."
                ) from None
            raise
        return account, process, encoding

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
