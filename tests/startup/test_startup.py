"""What a server has loaded when it gives its first answers: all that its start is spent on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from segue.store.sqlite import driver

FIRST_LIBRARIES = {
    "attr",
    "attrs",
    "cattrs",
    "lsprotocol",
    "platformdirs",
    "pygls",
    "segue",
    "typing_extensions",  # of cattrs
    "uuid6",
}
"""All that is not Python's own and is loaded before `initialize` is answered."""

FIRST_OF_PYGLS = {
    "pygls",
    "pygls.constants",
    "pygls.exceptions",
    "pygls.feature_manager",
    "pygls.io_",
    "pygls.protocol",
    "pygls.protocol.json_rpc",
    "pygls.server",
}

FIRST_OF_SEGUE = {
    "segue",
    "segue.events",
    "segue.lean",
    "segue.lsp",
    "segue.lsp.framing",
    "segue.lsp.lazy_types",
    "segue.lsp.lifetime",
    "segue.lsp.protocol",
    "segue.lsp.server",
    "segue.lsp.transport",
    "segue.manager",
    "segue.service",
    "segue.settings",
    "segue.strict",
    "segue.window",
    "segue.workspace",
}

SQLITE = driver.NAME

FIRST_OF_THE_STORE = {
    "segue.storage",
    "segue.storage.chain",
    "segue.storage.database",
    "segue.storage.library",
    "segue.storage.local",
    "segue.storage.presence",
    "segue.storage.rows",
    "segue.storage.schema",
    "segue.storage.turn",
}

SPARED = {
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
    "shutil",
    "ssl",
    "tempfile",
    "tomllib",
    "zipfile",
    "sqlite3" if SQLITE == "pysqlite3" else "pysqlite3",
}
"""What one of the libraries would load, or did once, and no start needs."""

MOST_MODULES = 250
"""Python's own counted in; their number differs by a few from version to version."""


WATCHED = """
import os, runpy, sys
trace, write = sys.argv[1], os.write
def watched(fd, data):
    if bytes(data).startswith(b"Content-Length"):
        with open(trace, "a") as file:
            print(*sys.modules, file=file)
    return write(fd, data)
os.write = watched
sys.argv[:] = ["segue", "lsp", "--stdio"]
runpy.run_module("segue", run_name="__main__", alter_sys=True)
"""
"""The server, which says what it has loaded before each answer that it writes."""


@pytest.fixture
def steps(tmp_path: Path) -> list[set[str]]:
    """Return what is loaded until `initialize` is answered, and from then to `session/open`.

    Without what this environment, or a tool that watches it, loads into every process.
    """
    trace = tmp_path / "trace"
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", WATCHED, str(trace)])
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


def spared(modules: set[str]) -> set[str]:
    """Return what of *modules* should not be there, parts of packages too."""
    return {name for name in modules if any(f"{name}.".startswith(f"{each}.") for each in SPARED)}


def test_initialize_is_answered_before_more_than_it_needs_is_loaded(
    steps: list[set[str]],
) -> None:
    first, _ = steps

    assert libraries(first) <= FIRST_LIBRARIES
    assert within(first, "segue") == FIRST_OF_SEGUE
    assert within(first, "pygls") == FIRST_OF_PYGLS
    assert spared(first) == set()
    assert len(first) < MOST_MODULES


def test_the_first_session_loads_its_store_and_nothing_else(steps: list[set[str]]) -> None:
    _, second = steps

    assert libraries(second) == {"aiosqlite", "segue", SQLITE} - {"sqlite3"}
    assert within(second, "segue") == FIRST_OF_THE_STORE
    assert spared(second) == set()


LATER = """
import json, sys
from segue.lean import import_aiosqlite_on_pysqlite3, trim_imports
from segue.lsp import lazy_types
lazy_types.install()
trim_imports()
import_aiosqlite_on_pysqlite3()
found = {}

import asyncio, hmac, importlib.metadata, ipaddress, secrets, sqlite3, ssl, tempfile, urllib.parse
import aiosqlite, platformdirs, uuid6
found["modules"] = [
    hasattr(module, "__file__") and module.__name__
    for module in (hmac, importlib.metadata, ipaddress, sqlite3, ssl, tempfile)
]
found["version"] = importlib.metadata.version("uuid6") != "uuid6"
found["digest"] = [secrets.compare_digest("a", "a"), secrets.compare_digest("a", "b")]
found["uuid"] = [uuid6.uuid7().version, uuid6.uuid7() != uuid6.uuid7()]
found["runtime"] = bool(platformdirs.user_runtime_path("segue"))
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


def test_what_was_left_out_is_there_for_whoever_asks_later() -> None:
    assert run(LATER) == {
        "modules": ["hmac", "importlib.metadata", "ipaddress", "sqlite3", "ssl", "tempfile"],
        "version": True,
        "digest": [True, False],
        "uuid": [7, True],
        "runtime": True,
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


AT_ONCE = """
import json, sys
from segue.lean import LazyModule, _import
_import("needy", {"tempfile": LazyModule("tempfile")})
found = ["needy" in sys.modules, "tempfile" in sys.modules]
import needy
json.dump([*found, needy.where == needy.tempfile.gettempdir()], sys.stdout)
"""


def test_a_library_that_uses_at_once_what_is_left_out_is_imported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import tempfile\nwhere = tempfile.gettempdir()\n")
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    assert run(AT_ONCE) == [False, False, True]


LOADED_BEFORE = """
import ssl, asyncio, hmac, importlib.metadata, ipaddress, sqlite3, tempfile
import pygls.lsp.server, uuid6, platformdirs, aiosqlite
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
        if name in ("uuid6", "pygls.protocol.json_rpc", "platformdirs.api") and name not in tried:
            tried.add(name)
            raise RuntimeError(name)
tried = set()
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("before", [LOADED_BEFORE, REFUSED, HALF_DONE])
def test_a_library_that_does_not_take_it_is_imported_as_it_is(tmp_path: Path, before: str) -> None:
    program = f"import sys\n{before}\nfrom segue.__main__ import serve\nsys.exit(serve([]))"
    client = Client(tmp_path, command=[sys.executable, "-P", "-c", program])

    assert "experimental" in client.initialize()["capabilities"]
    assert client.request("session/open")["session"]["eventCount"] == 0
    assert client.shutdown() == 0
