"""The command line of `segue acp`."""

import json
from pathlib import Path

import pytest

from segue.cli.acp_config import CLIENTS, agent_name
from tests.cli.helpers import run

CLAUDE = ("npx", "-y", "@agentclientprotocol/claude-agent-acp@0.101.0")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (CLAUDE, "claude"),
        (("gemini", "--acp"), "gemini"),
        (("/opt/node", "/opt/codex-acp.js"), "codex"),
        (("C:\\npm\\gemini.cmd", "--acp"), "gemini"),
        (("my-agent",), "my-agent"),
    ],
)
def test_an_agent_is_named_by_its_command(command: tuple[str, ...], name: str) -> None:
    assert agent_name(command) == name


@pytest.mark.parametrize("client", CLIENTS)
def test_the_settings_of_every_client_name_this_program_and_the_agent(client: str) -> None:
    done = run("acp", "--print-config", client, "--", *CLAUDE)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(Path("bin") / "segue") in done.stdout
    assert CLAUDE[-1] in done.stdout


@pytest.mark.parametrize("client", ["zed", "jetbrains"])
def test_settings_in_json_are_json(client: str) -> None:
    done = run("acp", "--print-config", client, "--", "gemini", "--acp")
    _, _, text = done.stdout.partition("\n")
    (agent,) = json.loads(text)["agent_servers"].values()
    assert agent["args"] == ["acp", "--", "gemini", "--acp"]


def test_a_client_that_is_not_known_is_said() -> None:
    done = run("acp", "--print-config", "ed", "--", "gemini")
    assert done.returncode == 1
    assert "ed is not a client that is known here. Known are zed, jetbrains" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("acp",), "the agent's command is missing"),
        (("acp", "--history-chars", "many", "--", "x"), "expected a number of characters from 0"),
        (("acp", "--redact", "some", "--", "x"), "invalid choice: 'some'"),
        (("--database", "x", "acp", "--", "y"), "options stand behind acp"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], told: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
