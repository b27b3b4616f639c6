"""One connection to PostgreSQL, on which a call is one round trip, also the first.

psycopg connects; the calls are made by its wrapper of libpq and one reader, because its own wait
cannot be ended while a server is silent. A call that takes too long ends the connection.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq

from segue.store.postgres.address import CONNECT_S, Address
from segue.store.postgres.codec import Parameter, decode
from segue.store.postgres.errors import ConnectionLostError, ServerError

CALL_S = 5.0
"""How long a call may take, in seconds: more than the server's own limits, which say why."""

Rows = list[list[Any]]


class Connection:
    """A connection that was made by `connect`; `close` it. It makes one call at a time."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        # libpq closes its socket itself when the connection is lost, and forgets its number.
        self._fd = self._pgconn.socket
        self._results: list[pq.abc.PGresult] = []
        self._done: asyncio.Future[None] | None = None
        self._is_watched = False
        self.is_lost = False
        """Whether it was lost, or closed, as far as is known."""
        self._on_notice: Callable[[], None] | None = None
        self.ends_at = math.inf
        """When the next call has to have its answer, by the clock of the loop; then it is cleared.
        """

    @classmethod
    async def connect(cls, address: Address, ends_at: float = math.inf) -> "Connection":
        """Connect until *ends_at*, by the clock of the loop, or raise ConnectionLostError."""
        limit_s = min(CONNECT_S + 1, ends_at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(limit_s):
                connection = await psycopg.AsyncConnection.connect(
                    "", autocommit=True, prepare_threshold=None, **address.parameters
                )
        except (psycopg.Error, TimeoutError, OSError) as error:
            message = str(error) or f"no answer within {limit_s:.3g} s"
            raise ConnectionLostError(message) from None
        connected = cls(connection)
        connected.ends_at = ends_at
        return connected

    @property
    def process(self) -> int:
        """The number of the server's process, or what a pool between says that it is."""
        return self._pgconn.backend_pid

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction was begun on it that has not ended."""
        return self._pgconn.transaction_status != pq.TransactionStatus.IDLE

    async def call(self, sql: str, *parameters: Parameter) -> Rows:
        """Return the rows of one statement. Raises ServerError or ConnectionLostError."""
        loop = asyncio.get_running_loop()
        self._results = []
        self._done = loop.create_future()
        limit_s = max(min(CALL_S, self.ends_at - loop.time()), 0)
        timer = loop.call_later(limit_s, self._expire, limit_s)
        try:
            self._pgconn.send_query_params(
                sql.encode(),
                [each.data for each in parameters],
                param_types=[each.oid for each in parameters],
                param_formats=[pq.Format.BINARY] * len(parameters),
                result_format=pq.Format.BINARY,
            )
            self._is_watched = True
            loop.add_reader(self._fd, self._read)
            self._flush(loop)
            await self._done
        except psycopg.Error as error:
            raise ConnectionLostError(str(error)) from None
        finally:
            timer.cancel()
            self._forget(loop)
            self._watch_between_calls(loop)
        self.ends_at = math.inf
        return _rows(self._results)

    def listen(self, on_notice: Callable[[], None] | None) -> None:
        """Call *on_notice* when notifications arrive, or the connection is lost; None: no more."""
        loop = asyncio.get_running_loop()
        self._on_notice = on_notice
        self._forget(loop)
        self._watch_between_calls(loop)

    def close(self) -> None:
        """End the connection, whatever it is doing."""
        if self._on_notice is not None:
            self._forget(asyncio.get_running_loop())
        self._lose()
        with contextlib.suppress(psycopg.Error):
            self._pgconn.finish()

    def _watch_between_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._on_notice is None or self.is_lost:
            return
        if self._pgconn.status != pq.ConnStatus.OK:
            self._lose()  # its socket is closed, and the number may be another one's
            return
        self._is_watched = True
        loop.add_reader(self._fd, self._read_notices)

    def _read_notices(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.Error:
            self._forget(asyncio.get_running_loop())
            self._lose()
        else:
            self._take_notices()

    def _take_notices(self) -> None:
        if self._on_notice is None:
            return
        is_told = False
        while self._pgconn.notifies() is not None:
            is_told = True
        if is_told:
            self._on_notice()

    def _lose(self) -> None:
        on_notice, self._on_notice = self._on_notice, None
        self.is_lost = True
        if on_notice is not None:
            on_notice()

    def _expire(self, limit_s: float) -> None:
        self._fail(ConnectionLostError(f"no answer within {limit_s:.3g} s"))

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            self._flush(asyncio.get_running_loop())
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    self._take_notices()
                    self._succeed()
                    return
                self._results.append(result)
        except psycopg.Error as error:
            self._fail(ConnectionLostError(str(error)))

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pgconn.flush():
            loop.add_writer(self._fd, self._write)
        else:
            loop.remove_writer(self._fd)

    def _write(self) -> None:
        try:
            self._flush(asyncio.get_running_loop())
        except psycopg.Error as error:
            self._fail(ConnectionLostError(str(error)))

    def _succeed(self) -> None:
        # Also the result of a connection that was lost meanwhile, which has closed its socket.
        self._forget(asyncio.get_running_loop())
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: ConnectionLostError) -> None:
        self._forget(asyncio.get_running_loop())
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the socket no longer.

        In the callback that sees the loss, and once: after that, the number may be another one's.
        """
        if self._is_watched:
            self._is_watched = False
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)


def _rows(results: Sequence[pq.abc.PGresult]) -> Rows:
    """Return the rows of the results of one statement, or raise what one of them says."""
    rows: Rows = []
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
            if sqlstate is None:
                raise ConnectionLostError(result.get_error_message())
            raise ServerError(sqlstate.decode(), result.get_error_message())
        if result.status == pq.ExecStatus.TUPLES_OK:
            columns = range(result.nfields)
            oids = [result.ftype(column) for column in columns]
            value = result.get_value
            rows += (
                [decode(oids[column], value(row, column)) for column in columns]
                for row in range(result.ntuples)
            )
    return rows
