"""PostgresStoreAdmin: what a user of a PostgreSQL store can maintain, which is little."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, TypeVar

import psycopg

from segue.model.errors import StorageError, StorageUnavailable
from segue.model.records import Machine
from segue.model.store_reports import (
    BackupResult,
    CheckReport,
    RestorePreview,
    RestoreResult,
    SizeReport,
    StoreCopy,
    StoreEngine,
    StoreSizes,
)
from segue.store.postgres import codec, sizes
from segue.store.postgres.address import Address
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.errors import ConnectionLostError, translate
from segue.store.postgres.wire import Connection

T = TypeVar("T")

_SCHEMA_VERSION = 1
_POLL_INTERVAL_S = 0.5


class PostgresStoreAdmin:
    """The StoreAdmin of one account in the database of a `postgresql://` URL."""

    def __init__(self, url: str, *, machine: Machine) -> None:
        """Raise StorageUnavailable for a URL that is not understood, or is not safe."""
        self._address = Address.parse(url)
        self._machine = machine

    @property
    def location(self) -> str:
        """Return the URL without a password."""
        return self._address.url

    @property
    def engine(self) -> StoreEngine:
        """Ask the server for its version, and whether it keeps what it has answered.

        The version is `unknown` if it cannot be reached: `check` says why.
        """
        try:
            version, *settings = self._run(_engine)
        except StorageError:
            version, settings = "unknown", []
        off = [
            name
            for name, value in zip(("fsync", "full_page_writes"), settings, strict=False)
            if value == "off"
        ]
        warning = None
        if off:
            warning = (
                f"{self._address.location} has {' and '.join(off)} = off, so a crash there can "
                "lose or damage what was stored. Ask its administrator to set it to on"
            )
        return StoreEngine(
            name="PostgreSQL",
            library="psycopg",
            version=version,
            is_safe=not off,
            warning=warning,
        )

    def exists(self) -> bool:
        """Return True, or raise: an administrator makes such a store, before it is named."""
        self._run(_nothing)
        return True

    def sizes(self) -> StoreSizes:
        """Count the rows of the account and the bytes of all; no counts if that is impossible."""
        try:
            return self._run(sizes.store_sizes)
        except StorageError:
            return StoreSizes()

    def session_sizes(self) -> SizeReport:
        """Sum up the events of each session."""
        return self._run(partial(sizes.session_sizes, here=self._machine))

    def check(self) -> CheckReport:
        """Look for sessions of which events are missing."""
        try:
            damaged, found = self._run(_check)
        except StorageError as error:
            return CheckReport(exists=True, sizes=StoreSizes(), problems=[str(error)])
        return CheckReport(
            exists=True,
            sizes=found,
            schema_version=_SCHEMA_VERSION,
            problems=[f"events are missing from the session {id}" for id in damaged],
        )

    def repair(self) -> str:
        """Raise StorageUnavailable: that is the work of its administrator."""
        self._refuse("repaired", "Ask its administrator to restore a backup of pg_dump")

    def back_up(self, target: str | None = None) -> BackupResult:
        """Raise StorageUnavailable: pg_dump makes a copy."""
        self._refuse("copied", "Ask its administrator for a copy by pg_dump")

    def restore(
        self, source: str, confirm: Callable[[RestorePreview], bool]
    ) -> RestoreResult | None:
        """Raise StorageUnavailable: pg_restore restores a copy."""
        self._refuse("restored", "Ask its administrator to restore a copy of pg_dump")

    def copies(self) -> Sequence[StoreCopy]:
        """Return none: where copies are, its administrator knows."""
        return ()

    def watch_lock(self) -> "ProcessLock":
        """Return an advisory lock of this account and machine."""
        return ProcessLock(self._address, self._machine, "watch")

    def sync_lock(self) -> "ProcessLock":
        """Return an advisory lock of this account and machine."""
        return ProcessLock(self._address, self._machine, "sync")

    def sweep(self) -> Sequence[str]:
        """Return none: nothing is left over."""
        return ()

    def _refuse(self, done: str, instead: str) -> NoReturn:
        raise StorageUnavailable(f"{self.location} cannot be {done} by Segue. {instead}.")

    def _run(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Return the result of *work*, on a thread: there may be a loop on this one."""

        async def run() -> T:
            client = PostgresClient(self._address)
            try:
                return await client.run(lambda connection: work(connection, client.account))
            finally:
                await client.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()


class ProcessLock:
    """The lock of the one process of a machine that does something for an account."""

    def __init__(self, address: Address, machine: Machine, name: str) -> None:
        self._address = address
        self._machine = machine
        self._name = name
        self._connection: psycopg.Connection[Any] | None = None

    def acquire(self, *, waits: bool) -> bool:
        """Return whether the lock was acquired. With *waits* it is asked for twice a second."""
        try:
            connection = psycopg.connect("", autocommit=True, **self._address.parameters)
            self._connection = connection
            process, user = connection.execute("SELECT pg_backend_pid(), session_user").fetchone()  # type: ignore[misc]  # it has a row
            if process != connection.pgconn.backend_pid:
                return True  # a pool, whose connections keep no lock
            key = _key(self._name, user, self._machine.id)
            while True:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
                if (row is not None and row[0]) or not waits:
                    break
                time.sleep(_POLL_INTERVAL_S)
        except psycopg.Error as error:
            self.release()
            lost = ConnectionLostError(str(error))
            raise translate(lost, self._address.location) from error
        is_acquired = row is not None and bool(row[0])
        if not is_acquired:
            self.release()
        return is_acquired

    def release(self) -> None:
        """End the connection, and the lock with it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _key(name: str, user: str, machine_id: str) -> int:
    digest = hashlib.sha256(f"{name}\0{user}\0{machine_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def _nothing(connection: Connection, account: int) -> None:
    """Do no more than to be connected."""


async def _engine(connection: Connection, account: int) -> Sequence[str]:
    (found,) = await connection.call("SELECT * FROM segue_1.engine()")
    return found


async def _check(connection: Connection, account: int) -> tuple[list[str], StoreSizes]:
    found = await connection.call("SELECT * FROM segue_1.check($1)", codec.int8(account))
    return [codec.unpack(id) for (id,) in found], await sizes.store_sizes(connection, account)
