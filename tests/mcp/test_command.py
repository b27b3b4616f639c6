"""The command line of `segue mcp`, and the ends of its process."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from segue.cli.mcp_config import CLIENTS
from tests.builds import ROOT
from tests.cli.helpers import run
from tests.mcp.client import INITIALIZE, start_raw

_PROGRAM = str(Path("bin") / "segue")


def settings(client: str, *options: str) -> Any:
    """Return what is printed for a client: its comment, and what is below that."""
    done = run("mcp", *options, "--print-config", client)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.partition("\n")[2]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_settings_of_every_client_name_this_program(client: str) -> None:
    assert _PROGRAM in settings(client)


def test_the_settings_are_what_the_clients_read() -> None:
    words = shlex.split(settings("claude-code", "--database", "/a b/c.db"))
    assert words[:7] == ["claude", "mcp", "add", "--scope", "user", "segue", "--"]
    assert words[7].endswith(_PROGRAM)
    assert words[8:] == ["mcp", "--database", "/a b/c.db"]

    (codex,) = tomllib.loads(settings("codex", "--database", '/"ü.db'))["mcp_servers"].values()
    assert codex["args"] == ["mcp", "--database", '/"ü.db']

    for client, key in (("gemini", "mcpServers"), ("copilot", "mcpServers"), ("vscode", "servers")):
        server = json.loads(settings(client))[key]["segue"]
        assert server["command"].endswith(_PROGRAM)
        assert server["args"] == ["mcp"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("mcp", "--print-config", "ed"), 1, "Known are claude-code, codex, gemini"),
        (("mcp", "--nothing"), 2, "unrecognized arguments: --nothing"),
        (("--database", "x", "mcp"), 2, "options stand behind mcp"),
        (("mcp", "--database", ""), 2, "expected the path of a file"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], code: int, told: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr


def test_without_the_sdk_it_says_how_to_install_it(tmp_path: Path) -> None:
    """In a Python that has everything that is installed here but the SDK."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (site,) = (Path(each) for each in sys.path if each.endswith("site-packages"))
    for each in site.iterdir():
        if not each.name.startswith("mcp"):
            (libraries / each.name).symlink_to(each)
    program = f"""
import sys
sys.path += {[str(ROOT / "server"), str(libraries)]!r}
sys.argv[1:] = ["mcp"]
from segue.startup.compose import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "uv tool install 'segue[mcp]'" in line


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, None])
def test_a_signal_or_a_client_that_goes_away_ends_it_at_once(
    end: signal.Signals | None, repository: Path
) -> None:
    with start_raw(repository) as process:
        assert process.stdin is not None
        began = time.monotonic()
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 1
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_stdout_has_nothing_but_the_protocol(repository: Path) -> None:
    calls = [
        {
            "jsonrpc": "2.0",
            "id": id,
            "method": "tools/call",
            "params": {"name": "search_conversations", "arguments": {"query": f"walrus {id}"}},
        }
        for id in range(2, 300)
    ]
    with start_raw(repository) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        lines = [json.dumps(each).encode() for each in (initialized, *calls)]
        process.stdin.write(b"no JSON\n" + b"\n".join(lines) + b"\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in calls]
        process.stdin.close()
        assert process.wait(10) == 0
    assert all(each["jsonrpc"] == "2.0" for each in answers)
    assert {each["id"] for each in answers} - {None} >= set(range(2, 299))


def test_a_client_that_is_gone_before_it_is_answered_ends_it(repository: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with subprocess.Popen(
        [sys.executable, "-m", "segue", "mcp"],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=writes,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writes)
        assert process.stdin is not None
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()  # and is left open
        process.wait(10)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
