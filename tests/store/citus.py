"""Builds Citus from a checkout of its source, against Debian's PostgreSQL, beside a copy of that.

    python -m tests.store.citus SOURCE FOLDER
    export SEGUE_TEST_POSTGRES_BIN=FOLDER/usr/lib/postgresql/15/bin
    python -m pytest tests/store/test_service.py -k postgres

With SEGUE_TEST_CITUS_WORKERS=1 the tests start another node, and half of the accounts are there.

It needs a compiler and, of Debian, postgresql-15, postgresql-server-dev-15, libssl-dev,
libkrb5-dev, liblz4-dev and libzstd-dev. SOURCE is a checkout of a release of
https://github.com/citusdata/citus for this version of PostgreSQL: of 13.0 for 15. Nothing is
installed outside of FOLDER, which must not exist. Citus has the licence AGPL-3.0 and is no part of
Segue, nor needed for its tests.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from segue.store.postgres import setup

VERSION = "15"
SYSTEM = Path("/usr")
LIBRARY = Path("lib/postgresql") / VERSION
SHARED = Path("share/postgresql") / VERSION

_FUNCTIONS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'segue_1'::regnamespace AND p.proargnames[1] = 'a_owner'
"""

_HELPERS = """
SELECT pg_get_functiondef(p.oid), p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'segue'::regnamespace AND p.proname = ANY (%s)
"""


def build(source: Path, folder: Path) -> Path:
    """Build Citus in *source*, install it into *folder*, and return the folder of the programs."""
    for each in (LIBRARY, SHARED):
        shutil.copytree(SYSTEM / each, folder / "usr" / each, symlinks=True, dirs_exist_ok=True)
    config = SYSTEM / LIBRARY / "bin" / "pg_config"
    without = [f"--without-{each}" for each in ("libcurl", "lz4", "zstd")]
    jobs = f"-j{os.cpu_count()}"
    for command in (
        ["./configure", f"PG_CONFIG={config}", "CFLAGS=-O2 -w", *without],
        ["make", jobs, "with_llvm=no", "extension"],
        ["make", "with_llvm=no", f"DESTDIR={folder}", "install-extension"],
    ):
        subprocess.run(command, cwd=source, check=True)
    return folder / "usr" / LIBRARY / "bin"


def is_in(programs: Path) -> bool:
    """Return whether the server of these programs has Citus."""
    return (programs.parents[3] / SHARED / "extension" / "citus.control").exists()


def distribute(
    admin: "psycopg.Connection[Any]",
    socket: Path,
    workers: Mapping[Path, "psycopg.Connection[Any]"],
) -> None:
    """Distribute the tables and functions of a store by the account, over its node and *workers*.

    *socket* is the folder of the socket by which the node is called, as those of the workers are.
    """
    # Citus cannot plan for parameters that it does not know; it keeps its own plans of shards.
    admin.execute(f"ALTER DATABASE {admin.info.dbname} RESET plan_cache_mode".encode())
    # Nodes connect to each other as who asks: these are the owners of functions.
    for role in ("segue_owner", "segue_reader"):
        admin.execute(f"ALTER ROLE {role} LOGIN".encode())
        admin.execute(f"GRANT CONNECT ON DATABASE {admin.info.dbname} TO {role}".encode())
    admin.execute("CREATE EXTENSION citus")
    node = (str(socket), 5432)
    admin.execute("SELECT citus_set_coordinator_host(%s, %s)", node)
    admin.execute("SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', true)", node)
    for other, worker in workers.items():
        worker.execute("CREATE EXTENSION citus")
        admin.execute("SELECT citus_add_node(%s, %s)", (str(other), 5432))
    admin.execute("SET citus.shard_count = 4")
    for table in setup.TABLES:
        admin.execute("SELECT create_distributed_table(%s, 'owner')", (f"segue.{table}",))
    for worker in workers.values():
        _create_functions(admin, worker)
    # Forced, or calls within a transaction would run here, and ask other nodes as segue_owner.
    for (function,) in admin.execute(_FUNCTIONS.encode()).fetchall():
        admin.execute(
            "SELECT create_distributed_function(%s::regprocedure, '$1', 'segue.sessions', true)",
            (function,),
        )


def _create_functions(admin: "psycopg.Connection[Any]", worker: "psycopg.Connection[Any]") -> None:
    """Create the functions: Citus creates those that are distributed, not those that they call."""
    worker.execute("SET citus.enable_ddl_propagation = off")
    worker.execute("SET check_function_bodies = off")
    worker.execute("DROP SCHEMA IF EXISTS segue_1 CASCADE")
    names = re.findall(r"CREATE FUNCTION segue\.(\w+)", setup._text("schema.sql"))
    for definition, function in admin.execute(_HELPERS, (names,)).fetchall():
        worker.execute(definition.encode())
        worker.execute(f"ALTER FUNCTION {function} OWNER TO segue_owner".encode())
    for file in setup._CALLS:
        worker.execute(setup._text(file).encode())


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))  # noqa: T201  a command
