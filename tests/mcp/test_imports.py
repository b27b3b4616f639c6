"""What `segue mcp` loads: an agent's first turn does not wait for a server that starts slowly."""

import subprocess
import sys
from pathlib import Path

from tests.mcp.client import start_raw

_SERVER = """
import atexit, sys
sys.argv[1:] = ["mcp"]
from segue.startup.compose import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


def test_neither_the_client_of_the_sdk_nor_its_web_servers_are_loaded(repository: Path) -> None:
    with start_raw(repository, command=(sys.executable, "-c", _SERVER)) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.close()
        loaded = set(process.stderr.read().decode().split())
    assert "mcp.server.lowlevel.server" in loaded
    assert "segue.redaction.engine" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {
        "starlette", "uvicorn", "httpx2", "cryptography", "jwt", "click", "rich", "pygls"
    }  # fmt: skip
    assert not loaded & {"mcp.client.session", "mcp.server.mcpserver", "segue.acp", "segue.lsp"}


def test_the_sdk_is_whole_for_who_imports_more_of_it_later() -> None:
    program = """
from segue.startup.lazy_imports import trim_imports, trim_mcp
assert trim_imports() + trim_mcp() == []
import mcp.client.stdio
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
assert isinstance(MCPServer("x"), MCPServer)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
