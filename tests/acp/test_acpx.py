"""acpx, a client that others have made, with an agent behind the proxy."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acp.acpx import installation
from tests.acp.client import ECHO, PROXY
from tests.cli.helpers import as_json
from tests.editors.neovim import wait_for_processes_to_exit

pytestmark = pytest.mark.timeout(300)  # the first test may have to install it

Acpx = Callable[..., list[dict[str, Any]]]

KEPT_ALIVE_S = 1
"""How long acpx keeps an agent for the next prompt."""


@pytest.fixture
def acpx(repository: Path, database: Path, tmp_path: Path) -> Iterator[Acpx]:
    """Run acpx with the echo agent behind the proxy; returns the JSON objects that it prints."""
    refuse = pytest.fail if installation.is_required() else pytest.skip
    if missing := installation.missing_requirements():
        refuse(f"acpx needs {', '.join(missing)}")
    try:
        installation.install()
    except RuntimeError as error:
        refuse(f"acpx cannot be installed from the npm registry: {error}")
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join((str(installation.PROGRAMS), os.environ["PATH"]))
    environment = os.environ | {"HOME": str(home), "PATH": path}

    def run(*arguments: str, agent: tuple[str, ...] = ECHO) -> list[dict[str, Any]]:
        options = ["--agent", shlex.join([*PROXY, *agent]), f"--ttl={KEPT_ALIVE_S}"]
        done = subprocess.run(
            ["acpx", *options, "--format=json", *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    yield run
    assert not wait_for_processes_to_exit(database), "still running"


def test_acpx_records_lists_and_resumes_a_conversation(acpx: Acpx) -> None:
    acpx("exec", "the word is plum")
    (listed,) = acpx("sessions", "list")
    (entry,) = listed["sessions"]
    session, title = entry["sessionId"], entry["title"]
    assert title == "the word is plum"

    acpx("sessions", "new", "--resume-session", session, agent=(*ECHO, "--name=other-agent"))
    lines = acpx("prompt", "which word?", agent=(*ECHO, "--name=other-agent"))
    (answer,) = [
        update["content"]["text"]
        for line in lines
        if (update := line.get("params", {}).get("update", {})).get("sessionUpdate")
        == "agent_message_chunk"
    ]
    assert "the word is plum" in answer, "the agent got the first turn"

    (stored,) = as_json("list", "--all")["sessions"]
    assert (stored["sessionId"], stored["client"]) == (session, "acpx")
    assert stored["agent"] == "other-agent"
    events = as_json("show", session)["events"]
    said = [each["data"]["content"] for each in events if each["type"] == "user_message"]
    assert said == ["the word is plum", "which word?"]
