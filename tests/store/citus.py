"""Builds Citus from a checkout of its source, against Debian's PostgreSQL, beside a copy of that.

    python -m tests.store.citus SOURCE FOLDER
    export SEGUE_TEST_POSTGRES_BIN=FOLDER/usr/lib/postgresql/15/bin
    python -m pytest tests/store -k postgres

It needs a compiler and, of Debian, postgresql-15, postgresql-server-dev-15, libssl-dev,
libkrb5-dev, liblz4-dev and libzstd-dev. SOURCE is a checkout of a release of
https://github.com/citusdata/citus for this version of PostgreSQL: of 13.0 for 15. Nothing is
installed outside of FOLDER, which must not exist. Citus has the licence AGPL-3.0 and is no part of
Segue, nor needed for its tests.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from segue.store.postgres.setup import TABLES

VERSION = "15"
SYSTEM = Path("/usr")
LIBRARY = Path("lib/postgresql") / VERSION
SHARED = Path("share/postgresql") / VERSION

_FUNCTIONS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'segue_1'::regnamespace AND p.proargnames[1] = 'a_owner'
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


def distribute(admin: "psycopg.Connection[Any]", socket: Path) -> None:
    """Distribute the tables and functions of a store by the account, on one node.

    *socket* is the folder of the socket by which the node calls itself.
    """
    admin.execute("CREATE EXTENSION citus")
    node = (str(socket), 5432)
    admin.execute("SELECT citus_set_coordinator_host(%s, %s)", node)
    admin.execute("SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', true)", node)
    admin.execute("SET citus.shard_count = 4")
    # Citus cannot plan for parameters that it does not know; it keeps its own plans of shards.
    admin.execute(f"ALTER DATABASE {admin.info.dbname} RESET plan_cache_mode".encode())
    admin.execute("ALTER ROLE segue_owner LOGIN")
    admin.execute("ALTER ROLE segue_reader LOGIN")
    for table in TABLES:
        admin.execute("SELECT create_distributed_table(%s, 'owner')", (f"segue.{table}",))
    for (function,) in admin.execute(_FUNCTIONS.encode()).fetchall():
        admin.execute(
            "SELECT create_distributed_function(%s::regprocedure, '$1', 'segue.sessions')",
            (function,),
        )


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))  # noqa: T201  a command
