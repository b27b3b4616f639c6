"""Whatever can be wrong with a PostgreSQL store: each is one error that says what to do about it.

Two servers: one that lets roles in by password or over TLS, and one with few connections and a
damaged page. A call must fail with the error that is meant, in one line, without what was stored or
a password in it; nothing may be done in part; and the store goes on when the cause is gone.
"""

import asyncio
import contextlib
import random
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from segue.model.database_reports import DatabaseSetupError
from segue.model.errors import (
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnavailable,
)
from segue.model.events import Event
from segue.store.postgres import setup
from segue.store.postgres.service import PostgresSessionService
from tests.factories import INVOCATION, user_message
from tests.faults import postgres_store
from tests.faults.ledger import Ledger
from tests.faults.runner import Report, main
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer

SECRET = "correct-horse"
CONNECTIONS = 8
DISK_MIB = 24
LARGE = 60_000
AT_ONCE_S = 4.0
"""What no retry mends is told before the patience ends, in seconds, also on a busy machine."""

NAME = "store.example"
"""The host that the certificate is for."""

LONGEST_MESSAGE = 400

WRONG_ERROR = "the error is another one than is meant"
NO_ERROR = "there is no error"
UNFIT = "the message is no single line that says what to do"
TELLS = "the message has a password, or what was stored"
SLOW = "an error that no retry mends is told late"
NOT_RECOVERED = "the store does not go on when the cause is gone"

PRIVATE = "a private conversation"

Call = Callable[[], Awaitable[Any]]


class Window:
    """A service with one session."""

    def __init__(self, report: Report, service: PostgresSessionService, session: str) -> None:
        self._report = report
        self._service = service
        self.session = session
        self.ledger = Ledger(session)
        self._head: str | None = None
        self._events: list[Event] = []

    async def begin(self) -> None:
        """Store the session."""
        first = await postgres_store.begin(self._service, self.session)
        self._head = first.batches[0][0]
        await self.append()

    async def append(self, size: int = 0) -> None:
        """Append two events, or those that were not acknowledged before."""
        if not self.ledger.unacknowledged():
            # What is no hexadecimal number would be compressed.
            rest = secrets.token_hex(size // 2)
            names = self.ledger.send(2)
            self._events = [user_message(f"{name}.{PRIVATE}.{rest}", id=name) for name in names]
        appended = await self._service.append_events(
            self.session,
            self._events,
            parent_id=self._head,
            invocation_id=INVOCATION,
        )
        self.ledger.acknowledge((event.id, event.seq) for event in appended.events)
        self._head = appended.head

    async def fill(self) -> None:
        """Append large events until that fails."""
        for _ in range(DISK_MIB * (1 << 20) // LARGE):
            await self.append(LARGE)

    async def read(self) -> None:
        """Read the session."""
        await self._service.load_events(self.session)

    def check(self, admin: "psycopg.Connection[Any]") -> None:
        """Report what is stored otherwise than it was acknowledged."""
        stored = postgres_store.read_session(admin, self.session)
        stored.check(self._report, self.session)
        self.ledger.check(self._report, stored, self.session)


class Situations:
    """Makes each situation on databases and roles of its own."""

    def __init__(
        self,
        report: Report,
        servers: tuple[PostgresServer, PostgresServer],
        folder: Path,
        host: str,
    ) -> None:
        self._report = report
        self._server, self._small = servers
        self._folder = folder
        self._host = host
        self._number = 0

    async def run(self) -> None:
        """Make all of them at once: many take as long as the patience."""
        async with asyncio.TaskGroup() as tasks:
            for situation in (
                self._wrong_password,
                self._no_database,
                self._wrong_encoding,
                self._no_schema,
                self._older_api,
                self._later_api,
                self._read_only,
                self._no_user,
                self._dropped_role,
                self._locked,
                self._too_long,
                self._full_table_space,
                self._certificates,
                self._small_server,
            ):
                tasks.create_task(self._safely(situation))

    async def _safely(self, situation: Call) -> None:
        try:
            await situation()
        except (StorageError, psycopg.Error) as error:
            self._report.expect(False, NOT_RECOVERED, f"{situation}: {error!r}")

    # -- who, and where ----------------------------------------------------------------------------

    async def _wrong_password(self) -> None:
        role = await self._role(password=SECRET)
        with (self._server.folder / "data" / "pg_hba.conf").open("r+") as file:
            before = file.read()
            file.seek(0)
            file.write(f"local all {role} scram-sha-256\n{before}")
        self._server.control("reload")
        url = self._server.url(role)
        for given, says in (
            (f"{role}:wrong", "password authentication failed"),
            (role, "no password supplied"),
        ):
            opening = self._opens(url.replace(role, given, 1))
            await self._fails(opening, StorageUnavailable, says, at_once=True)
        await (await postgres_store.open_service(url.replace(role, f"{role}:{SECRET}", 1))).close()

    async def _no_database(self) -> None:
        url = self._server.url(await self._role(), "nowhere")
        says = 'database "nowhere" does not exist'
        await self._fails(self._opens(url), StorageUnavailable, says, at_once=True)

    async def _no_user(self) -> None:
        opening = self._opens(self._server.url("somebody"))
        await self._fails(opening, StorageUnavailable, 'role "somebody"', at_once=True)
        role = await self._role()
        self._execute(
            f"REVOKE segue_user FROM {role}", f"GRANT CONNECT ON DATABASE segue TO {role}"
        )
        opening = self._opens(self._server.url(role))
        await self._fails(opening, StorageReadOnly, "add it as a user of Segue", at_once=True)
        self._execute(f"REVOKE CONNECT ON DATABASE segue FROM {role}")
        await self._fails(
            opening, StorageUnavailable, "Ask its administrator to add this user", at_once=True
        )

    async def _dropped_role(self) -> None:
        role = await self._role()
        async with self._window(role) as window:
            self._execute(f"DROP ROLE {role}")
            await self._fails(window.append, StorageReadOnly, "add it as a user", at_once=True)

    async def _certificates(self) -> None:
        if "certificates skipped" in self._report.counts:
            return
        role = await self._role()
        own, other = self._folder / "own.crt", self._folder / "other.crt"
        url = f"postgresql://{role}@/segue?hostaddr={self._host}&sslmode=verify-full"
        await (await postgres_store.open_service(f"{url}&host={NAME}&sslrootcert={own}")).close()
        for rest, says in (
            (f"host={NAME}&sslrootcert={other}", "certificate verify failed"),
            (f"host=db.example&sslrootcert={own}", "does not match host name"),
            (f"host={NAME}&sslrootcert=/nowhere.crt", "/nowhere.crt"),
        ):
            opening = self._opens(f"{url}&{rest}")
            await self._fails(opening, StorageUnavailable, says, at_once=True)

    # -- what is in the database -------------------------------------------------------------------

    async def _wrong_encoding(self) -> None:
        options = "TEMPLATE template0 ENCODING 'LATIN1'"
        database = await self._database(options, has_store=False)
        url = self._server.url(database=database)
        said = ""
        try:
            await asyncio.to_thread(setup.create_store, url)
        except DatabaseSetupError as error:
            said = str(error)
        self._report.expect("has the encoding LATIN1" in said, WRONG_ERROR, said)
        self._report.count("situations")

    async def _no_schema(self) -> None:
        database = await self._database("", has_store=False)
        role = await self._role()
        self._execute(f"GRANT CONNECT ON DATABASE {database} TO {role}")
        opening = self._opens(self._server.url(role, database))
        await self._fails(opening, StorageUnavailable, "run `segue postgres init`", at_once=True)

    async def _older_api(self) -> None:
        role = await self._role(await self._database())
        async with self._window(role, f"d_{role}") as window:
            drop = "DROP FUNCTION segue_1.page CASCADE"
            self._execute(drop, database=f"d_{role}")
            says = "run `segue postgres init`"
            await self._fails(window.read, StorageUnavailable, says, at_once=True)
            await window.append()

    async def _later_api(self) -> None:
        role = await self._role(await self._database())
        self._execute("CREATE SCHEMA segue_2", "DROP SCHEMA segue_1 CASCADE", database=f"d_{role}")
        opening = self._opens(self._server.url(role, f"d_{role}"))
        await self._fails(opening, StorageUnavailable, "Update Segue", at_once=True)

    # -- what the server does ----------------------------------------------------------------------

    async def _read_only(self) -> None:
        role = await self._role()
        async with self._window(role) as window:
            self._execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
            self._end_connections(role)
            await self._fails(window.append, StorageReadOnly, "read-only now")
            await window.read()
            self._execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
            self._end_connections(role)
            await self._goes_on(window)

    async def _locked(self) -> None:
        role = await self._role()
        async with self._window(role) as window:
            with psycopg.connect(self._server.url()) as admin:
                lock = "SELECT 1 FROM segue.sessions WHERE id = %s FOR UPDATE"
                admin.execute(lock, (postgres_store.packed(window.session),))
                await self._fails(window.append, StorageUnavailable, "keeps it locked")
                await window.read()
            await self._goes_on(window)

    async def _too_long(self) -> None:
        role = await self._role()
        async with self._window(role) as window:
            self._execute(f"ALTER ROLE {role} SET statement_timeout = '300ms'")
            self._end_connections(role)
            with psycopg.connect(self._server.url()) as admin:
                lock = "SELECT 1 FROM segue.sessions WHERE id = %s FOR UPDATE"
                admin.execute(lock, (postgres_store.packed(window.session),))
                await self._fails(window.append, StorageUnavailable, "too long there", at_once=True)
            await self._goes_on(window)

    async def _full_table_space(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                disk = stack.enter_context(_small_disk(self._server))
            except OSError as error:
                self._report.counts["full table space skipped"] = str(error)
                return
            role = await self._role(await self._database())
            self._execute(f"CREATE TABLESPACE small LOCATION '{disk}'", database=f"d_{role}")
            move = "ALTER TABLE segue.events SET TABLESPACE small"
            self._execute(move, database=f"d_{role}")
            async with self._window(role, f"d_{role}") as window:
                await self._fails(window.fill, StorageFull, "make room")
                self._report.count(
                    "acknowledged before it was full", len(window.ledger.acknowledged)
                )
                await window.read()
                command = ["mount", "-o", f"remount,size={2 * DISK_MIB}m", str(disk)]
                subprocess.run(command, check=True)
                await self._goes_on(window)
            self._execute(f"DROP DATABASE d_{role} WITH (FORCE)", "DROP TABLESPACE small")

    async def _small_server(self) -> None:
        """Damage a page, then take all connections."""
        server, role = self._small, f"small_{self._number}"
        self._number += 1
        await asyncio.to_thread(setup.add_user, server.url(), role)
        async with self._window(role, server=server) as window:
            await asyncio.to_thread(damage, server)
            await self._fails(window.read, StorageCorrupt, "restore a backup")
        role = f"{role}_more"
        await asyncio.to_thread(setup.add_user, server.url(), role)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(CONNECTIONS):
                    stack.enter_context(psycopg.connect(server.url(role)))
            opening = self._opens(server.url(role))
            await self._fails(opening, StorageUnavailable, "max_connections")
        await (await postgres_store.open_service(server.url(role))).close()

    # -- helpers -----------------------------------------------------------------------------------

    async def _role(self, database: str | None = None, password: str | None = None) -> str:
        """Return a new role; with a database, whose name is made of the role's."""
        if database is not None:
            role = database.removeprefix("d_")
        else:
            self._number += 1
            role = f"role_{self._number}"
        url = self._server.url(database=database or postgres_server.DATABASE)
        await asyncio.to_thread(setup.add_user, url, role, password)
        return role

    async def _database(self, options: str = "", *, has_store: bool = True) -> str:
        self._number += 1
        name = f"d_role_{self._number}"
        await asyncio.to_thread(self._execute, f"CREATE DATABASE {name} {options}")
        if has_store:
            await asyncio.to_thread(setup.create_store, self._server.url(database=name))
        return name

    def _execute(self, *statements: str, database: str = postgres_server.DATABASE) -> None:
        with psycopg.connect(self._server.url(database=database), autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    def _end_connections(self, role: str) -> None:
        self._execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )

    @contextlib.asynccontextmanager
    async def _window(
        self,
        role: str,
        database: str = postgres_server.DATABASE,
        server: PostgresServer | None = None,
    ) -> AsyncIterator[Window]:
        """Yield a window, and check in the end what is stored."""
        server = server or self._server
        service = await postgres_store.open_service(server.url(role, database))
        window = Window(self._report, service, role)
        await window.begin()
        yield window
        await service.close()
        if server is self._server:
            with psycopg.connect(server.url(database=database)) as admin:
                window.check(admin)

    def _opens(self, url: str) -> Call:
        async def opened() -> None:
            await (await postgres_store.open_service(url)).close()

        return opened

    async def _fails(
        self,
        call: Call,
        kind: type[StorageError],
        says: str,
        *,
        at_once: bool = False,
    ) -> None:
        """Make a call and compare its error with what is meant."""
        began = time.monotonic()
        self._report.count("situations")
        try:
            await call()
        except StorageError as error:
            message = str(error)
            fits = type(error) is kind and re.search(re.escape(says), message) is not None
            self._report.expect(
                fits, WRONG_ERROR, f"{error.kind}, not {kind.__name__} with {says!r}: {message}"
            )
            is_line = (
                len(message) < LONGEST_MESSAGE and message.endswith(".") and "\n" not in message
            )
            self._report.expect(is_line, UNFIT, message)
            tells = SECRET in message or "wrong@" in message or PRIVATE in message
            self._report.expect(not tells, TELLS, message)
        except Exception as error:
            self._report.expect(False, WRONG_ERROR, f"{says}: {error!r}")
        else:
            self._report.expect(False, NO_ERROR, says)
        seconds = time.monotonic() - began
        self._report.expect(not at_once or seconds < AT_ONCE_S, SLOW, f"{says}: {seconds:.1f} s")

    async def _goes_on(self, window: Window) -> None:
        try:
            await window.append()
            await window.append()
            await window.read()
        except StorageError as error:
            self._report.expect(False, NOT_RECOVERED, f"{error.kind}: {error}")


@contextlib.contextmanager
def _small_disk(server: PostgresServer) -> Iterator[Path]:
    """Yield a small disk of the server's user. Raises OSError where none can be mounted."""
    disk = server.folder / "small"
    disk.mkdir()
    owner = server.folder.stat()
    options = f"size={DISK_MIB}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    command = ["mount", "-t", "tmpfs", "-o", options, "segue-faults", str(disk)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise OSError(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def damage(server: PostgresServer) -> None:
    """Overwrite the header of the first page of the events, and restart the server."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        row = admin.execute("SELECT pg_relation_filepath('segue.events')").fetchone()
        admin.execute("CHECKPOINT")
    assert row is not None
    with (server.folder / "data" / row[0]).open("r+b") as file:
        file.write(b"\xff" * 24)
    # What is in its memory is forgotten, and not written.
    server.control("restart", "-m", "immediate", "-l", str(server.folder / "log"))


def certify(folder: Path) -> None:
    """Write two self-made authorities, which are their own certificates, into *folder*."""
    for name in ("own", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{NAME}"]
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
        subprocess.run([*command, *names, *files], check=True, capture_output=True)


def listen(server: PostgresServer, folder: Path) -> None:
    """Let *server* use TLS, with the own certificate in *folder*, and let in who comes by it."""
    data = server.folder / "data"
    owner = data.stat()
    for name in ("own.crt", "own.key"):
        shutil.copy(folder / name, data / name)
        (data / name).chmod(0o600)
        shutil.chown(data / name, owner.st_uid, owner.st_gid)
    with (data / "pg_hba.conf").open("a") as file:
        file.write("hostssl all all 127.0.0.0/8 trust\n")
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for setting in ("ssl_cert_file = 'own.crt'", "ssl_key_file = 'own.key'", "ssl = on"):
            admin.execute(f"ALTER SYSTEM SET {setting}".encode())
    server.control("reload")


def run(report: Report, rng: random.Random) -> None:
    """Make all situations."""
    host = f"127.{rng.randint(1, 254)}.{rng.randint(1, 254)}.{rng.randint(1, 254)}"
    # That of the system: the one of the tests is built without TLS.
    server = postgres_store.start(report, is_oldest=True, listen_addresses=host)
    small = postgres_store.start(report, max_connections=str(CONNECTIONS))
    with tempfile.TemporaryDirectory(prefix="segue-pg-") as folder:
        try:
            certify(Path(folder))
            listen(server, Path(folder))
        except (OSError, psycopg.errors.InvalidParameterValue) as error:
            report.counts["certificates skipped"] = str(error)
        asyncio.run(Situations(report, (server, small), Path(folder), host).run())


if __name__ == "__main__":
    main(run)
