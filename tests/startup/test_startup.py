"""The modules that a server has loaded at its first responses: they are most of its start time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from segue.store.sqlite import driver

LIBRARIES_AT_START = {
    "attr",
    "attrs",
    "cattrs",
    "lsprotocol",
    "pygls",
    "segue",
    "typing_extensions",  # of cattrs
    "uuid6",
}
"""The libraries that may be loaded before the response to `initialize`."""

PYGLS_AT_START = {
    "pygls",
    "pygls.constants",
    "pygls.exceptions",
    "pygls.feature_manager",
    "pygls.io_",
    "pygls.protocol",
    "pygls.protocol.json_rpc",
    "pygls.server",
}

SEGUE_AT_START = {
    "segue",
    "segue.lsp",
    "segue.lsp.framing",
    "segue.lsp.framing.reader",
    "segue.lsp.framing.writer",
    "segue.lsp.json_body",
    "segue.lsp.lifecycle",
    "segue.lsp.server",
    "segue.lsp.transport",
    "segue.lsp.uris",
    "segue.model",
    "segue.model.errors",
    "segue.model.events",
    "segue.model.json_text",
    "segue.model.plain",
    "segue.model.records",
    "segue.model.validation",
    "segue.model.workspace",
    "segue.protocol",
    "segue.protocol.messages",
    "segue.protocol.methods",
    "segue.sessions",
    "segue.sessions.boundary",
    "segue.sessions.locator",
    "segue.sessions.manager",
    "segue.sessions.resume",
    "segue.sessions.window",
    "segue.startup",
    "segue.startup.compose",
    "segue.startup.folders",
    "segue.startup.lazy_imports",
    "segue.startup.lazy_lsp_types",
    "segue.startup.log_stream",
    "segue.startup.process",
    "segue.startup.settings",
    "segue.stdio",
    "segue.stdio.descriptors",
    "segue.stdio.reader",
    "segue.stdio.watchdog",
    "segue.stdio.writer",
    "segue.store",
    "segue.store.service",
}

SQLITE = driver.NAME

STORE_MODULES = {
    "segue.store.sqlite",
    "segue.store.sqlite.append",
    "segue.store.sqlite.connection",
    "segue.store.sqlite.disk",
    "segue.store.sqlite.driver",
    "segue.store.sqlite.file_access",
    "segue.store.sqlite.files",
    "segue.store.sqlite.holds",
    "segue.store.sqlite.locks",
    "segue.store.sqlite.open_files",
    "segue.store.sqlite.high_water",
    "segue.store.sqlite.commit",
    "segue.store.sqlite.queries",
    "segue.store.sqlite.row_values",
    "segue.store.sqlite.schema",
    "segue.store.sqlite.spans",
    "segue.store.sqlite.service",
}

LEFT_OUT = {
    "_hashlib",
    "_ssl",
    "argparse",
    "bz2",
    "csv",
    "ctypes",
    "email",
    "gettext",
    "hashlib",
    "hmac",
    "http",
    "importlib.metadata",
    "importlib.resources",
    "ipaddress",
    "lsprotocol.converters",
    "lzma",
    "multiprocessing",
    "optparse",
    "platformdirs",
    "shutil",
    "ssl",
    "tempfile",
    "tomllib",
    "zipfile",
    "sqlite3" if SQLITE == "pysqlite3" else "pysqlite3",
}
"""Modules that a library would load, or used to load, and a start does not need."""

MAX_MODULES = 250
"""With those of Python, whose number differs by a few from version to version."""


TRACED_SERVER = """
import os, runpy, sys
trace, write = sys.argv[1], os.write
def traced_write(fd, data):
    if bytes(data).startswith(b"Content-Length"):
        with open(trace, "a") as file:
            print(*sys.modules, file=file)
    return write(fd, data)
os.write = traced_write
sys.argv[:] = ["segue", "lsp", "--stdio"]
runpy.run_module("segue", run_name="__main__", alter_sys=True)
"""
"""The server, which lists its loaded modules in a file before each response that it writes."""


@pytest.fixture
def steps(tmp_path: Path) -> list[set[str]]:
    """Return the modules loaded until `initialize` is answered, and then until `session/open` is.

    Those that this environment, or a tool that watches it, loads into every process are left out.
    """
    trace = tmp_path / "trace"
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", TRACED_SERVER, str(trace)])
    client.initialize()
    client.request("session/open")
    assert client.shutdown() == 0

    bare = set(run("import json, sys; json.dump(list(sys.modules), sys.stdout)")) - {"json"}
    first, second = (set(line.split()) for line in trace.read_text().splitlines()[:2])
    return [first - bare, second - first]


def libraries(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


def within(modules: set[str], package: str) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == package}


def left_out(modules: set[str]) -> set[str]:
    """Return those of *modules* that are in LEFT_OUT, with their submodules."""
    return {name for name in modules if any(f"{name}.".startswith(f"{each}.") for each in LEFT_OUT)}


def test_initialize_loads_only_what_it_needs(
    steps: list[set[str]],
) -> None:
    first, _ = steps

    assert libraries(first) <= LIBRARIES_AT_START
    assert within(first, "segue") == SEGUE_AT_START
    assert within(first, "pygls") == PYGLS_AT_START
    assert left_out(first) == set()
    assert len(first) < MAX_MODULES


def test_the_first_session_loads_only_its_store(steps: list[set[str]]) -> None:
    _, second = steps

    assert libraries(second) == {"aiosqlite", "segue", SQLITE} - {"sqlite3"}
    assert within(second, "segue") == STORE_MODULES
    assert left_out(second) == set()


IMPORTED_LATER = """
import json, sys
from segue.startup.lazy_imports import (
    import_aiosqlite_on_pysqlite3, trim_hashlib, trim_imports, trim_pygls,
)
from segue.startup import lazy_lsp_types
lazy_lsp_types.install()
trim_imports()
trim_pygls()
trim_hashlib()
import_aiosqlite_on_pysqlite3()
found = {}

import asyncio, hmac, importlib.metadata, ipaddress, secrets, sqlite3, ssl, tempfile, urllib.parse
import aiosqlite, uuid6
found["modules"] = [
    hasattr(module, "__file__") and module.__name__
    for module in (hmac, importlib.metadata, ipaddress, sqlite3, ssl, tempfile)
]
found["version"] = importlib.metadata.version("uuid6") != "uuid6"
import hashlib
found["hash"] = [hashlib.sha256(b"").hexdigest()[:8], hashlib.new("sha1").hexdigest()[:8]]
found["digest"] = [secrets.compare_digest("a", "a"), secrets.compare_digest("a", "b")]
found["uuid"] = [uuid6.uuid7().version, uuid6.uuid7() != uuid6.uuid7()]
found["host"] = urllib.parse.urlsplit("http://[::1]/").hostname
try:
    urllib.parse.urlsplit("http://[1.2.3.4]/")
except ValueError:
    found["no host"] = True

async def query():
    async with aiosqlite.connect(":memory:") as db:
        return (await db.execute_fetchall("SELECT 1"))[0][0]

found["query"] = asyncio.run(query())

from pygls.protocol import LanguageServerProtocol, lsp_method
class Protocol(LanguageServerProtocol):
    @lsp_method("a/method")
    def method(self, params):
        pass
from pygls.lsp.server import LanguageServer
from pygls.protocol.language_server import LanguageServerProtocol as Real
server = LanguageServer("name", "1", protocol_cls=Protocol)
found["pygls"] = [issubclass(Protocol, Real), "a/method" in server.protocol.fm.builtin_features]
json.dump(found, sys.stdout)
"""


def test_a_module_that_was_left_out_can_be_imported_later() -> None:
    assert run(IMPORTED_LATER) == {
        "modules": ["hmac", "importlib.metadata", "ipaddress", "sqlite3", "ssl", "tempfile"],
        "version": True,
        "hash": ["e3b0c442", "da39a3ee"],
        "digest": [True, False],
        "uuid": [7, True],
        "host": "::1",
        "no host": True,
        "query": 1,
        "pygls": [True, True],
    }


def run(program: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


NEEDED_AT_ONCE = """
import json, sys
from segue.startup.lazy_imports import LazyModule, _import
message = _import("needy", {"tempfile": LazyModule("tempfile")})
assert message.startswith("needy cannot be imported without tempfile: ImportError("), message
found = ["needy" in sys.modules, "tempfile" in sys.modules]
import needy
json.dump([*found, needy.where == needy.tempfile.gettempdir()], sys.stdout)
"""


def test_a_library_that_needs_a_left_out_module_at_once_is_imported_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import tempfile\nwhere = tempfile.gettempdir()\n")
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    assert run(NEEDED_AT_ONCE) == [False, False, True]


LOADED_BEFORE = """
import ssl, asyncio, hmac, importlib.metadata, ipaddress, sqlite3, tempfile
import pygls.lsp.server, uuid6, aiosqlite
"""

REFUSED = """
import importlib
def refuse(name, package=None):
    raise ImportError(name)
importlib.import_module = refuse
"""

HALF_DONE = """
import importlib.util, sys
find_spec = importlib.util.find_spec
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("uuid6", "pygls.protocol.json_rpc") and name not in tried:
            tried.add(name)
            raise RuntimeError(name)
tried = set()
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("before", [LOADED_BEFORE, REFUSED, HALF_DONE])
def test_a_library_that_cannot_be_trimmed_is_imported_whole(tmp_path: Path, before: str) -> None:
    program = f"import sys\n{before}\nfrom segue.startup.compose import serve\nsys.exit(serve([]))"
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", program])

    assert "experimental" in client.initialize()["capabilities"]
    assert client.request("session/open")["session"]["eventCount"] == 0
    assert client.shutdown() == 0


def test_a_library_that_cannot_be_trimmed_is_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = (
        f"import sys\n{HALF_DONE}\nfrom segue.startup.compose import serve\nsys.exit(serve([]))"
    )
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", program])
    client.initialize()
    assert client.shutdown() == 0

    logged = capfd.readouterr().err.splitlines()
    assert [line.partition(" cannot be imported without ")[0] for line in logged] == [
        "segue: WARNING: uuid6",
        "segue: WARNING: pygls.protocol",
    ]
