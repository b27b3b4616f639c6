"""The real agents: how each is made to use the model of the tests, and how it is run.

They are told to send nothing to their makers, too; but what keeps them from it is their network
(`offline.py`).
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.agents.fake_model.protocol import Json
from tests.agents.real import installation

ANY_KEY = "none"


@attrs.frozen
class Place:
    """Where an agent runs: whose home, in which folder, with which model."""

    home: Path
    directory: Path
    model: str
    """Its address."""
    enter: list[str]
    """The beginning of a command that runs the rest in the agents' network."""


@attrs.frozen(kw_only=True)
class Program:
    """A program from the npm registry."""

    name: str
    """The name of its folder in `packages/`."""
    source: str | None
    """Its name in `segue import`, if that knows it."""
    command: str
    megabytes: int
    is_in_gate: bool = False
    after_install: tuple[str, ...] = ()
    environment: Callable[[Place], Mapping[str, str]]
    prepare: Callable[[Place], None] = lambda _: None
    """Makes its settings, as a person would have who has started it once."""

    def install(self) -> Path:
        """Return the folder that has the command. Raises RuntimeError."""
        return installation.install(self.name, self.command, list(self.after_install))


@attrs.frozen(kw_only=True)
class RealAgent(Program):
    """An agent with hooks; its name is that in `segue hook`, too."""

    source: str
    trust: Callable[[Place], None] = lambda _: None
    """Does what a person does after `segue hook install`."""
    turn: tuple[str, ...]
    """Its arguments for one turn without a person; the prompt is added."""
    resumed_turn: Callable[[list[str]], list[str]]
    """Returns a command for such a turn, but for its prompt, given that of `segue resume`."""
    at_terminal: tuple[str, ...]
    """What is added to the command of `segue resume` to give a prompt at once; it is added."""
    tells_what_is_added: bool = True
    """Whether it runs the hook of a prompt also for what is added to a turn that is running."""


def write(path: Path, value: Json | str) -> None:
    """Write a file of settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


# -- Claude Code -----------------------------------------------------------------------------------


def _claude_code_settings(place: Place) -> None:
    write(
        place.home / ".claude.json",
        {
            "hasCompletedOnboarding": True,
            "bypassPermissionsModeAccepted": True,
            "customApiKeyResponses": {"approved": [ANY_KEY]},
            "projects": {str(place.directory): {"hasTrustDialogAccepted": True}},
        },
    )


CLAUDE_CODE = RealAgent(
    name="claude-code",
    source="claude-code",
    command="claude",
    megabytes=384,
    is_in_gate=False,
    after_install=("node", "node_modules/@anthropic-ai/claude-code/install.cjs"),
    environment=lambda place: {
        "ANTHROPIC_BASE_URL": place.model,
        "ANTHROPIC_API_KEY": ANY_KEY,
        "ANTHROPIC_MODEL": "claude-sonnet-4-5",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",  # as root it refuses to skip permissions elsewhere
    },
    prepare=_claude_code_settings,
    turn=("--dangerously-skip-permissions", "--print"),
    resumed_turn=lambda command: [*command, "--dangerously-skip-permissions", "--print"],
    at_terminal=("--dangerously-skip-permissions",),
)


# -- Codex -----------------------------------------------------------------------------------------

_CODEX = """
model = "some-model"
model_provider = "tests"
check_for_update_on_startup = false

[model_providers.tests]
name = "tests"
base_url = "{model}/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"

[analytics]
enabled = false

[projects."{directory}"]
trust_level = "trusted"
"""
_CODEX_MODE = "--dangerously-bypass-approvals-and-sandbox"


def _codex_settings(place: Place) -> None:
    text = _CODEX.format(model=place.model, directory=place.directory)
    write(place.home / ".codex" / "config.toml", text)


def _trust_codex_hooks(place: Place) -> None:
    """Say that the hooks are trusted, through the server that Codex's own screen asks as well."""
    with subprocess.Popen(
        [*place.enter, "codex", "app-server"],
        cwd=place.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(method: str, **params: Any) -> Any:
            assert server.stdin is not None
            assert server.stdout is not None
            line = json.dumps({"id": method, "method": method, "params": params})
            server.stdin.write(f"{line}\n")
            server.stdin.flush()
            answers = map(json.loads, server.stdout)
            return next(each["result"] for each in answers if each.get("id") == method)

        ask("initialize", clientInfo={"name": "segue-tests", "version": "1"})
        (listed,) = ask("hooks/list", cwds=[str(place.directory)])["data"]
        trusted = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in listed["hooks"]}
        edit = {"keyPath": "hooks.state", "value": trusted, "mergeStrategy": "upsert"}
        ask("config/batchWrite", edits=[edit])
        server.stdin.close()


CODEX = RealAgent(
    name="codex",
    source="codex",
    command="codex",
    megabytes=404,
    is_in_gate=False,
    environment=lambda _: {"OPENAI_API_KEY": ANY_KEY},
    prepare=_codex_settings,
    trust=_trust_codex_hooks,
    turn=("exec", _CODEX_MODE),
    # `codex resume` is for a person; this does the same without one.
    resumed_turn=lambda command: [command[0], "exec", _CODEX_MODE, *command[1:]],
    at_terminal=(_CODEX_MODE,),
)


# -- Gemini CLI ------------------------------------------------------------------------------------


def _gemini_settings(place: Place) -> None:
    write(
        place.home / ".gemini" / "settings.json",
        {
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
            "privacy": {"usageStatisticsEnabled": False},
            "security": {
                "auth": {"selectedType": "gemini-api-key"},
                "folderTrust": {"enabled": False},
            },
            "telemetry": {"enabled": False},
        },
    )


GEMINI = RealAgent(
    name="gemini",
    source="gemini-cli",
    command="gemini",
    megabytes=100,
    is_in_gate=True,
    environment=lambda place: {
        "GEMINI_API_KEY": ANY_KEY,
        "GOOGLE_GEMINI_BASE_URL": place.model,
    },
    prepare=_gemini_settings,
    turn=("--yolo", "--prompt"),
    resumed_turn=lambda command: [*command, "--yolo", "--prompt"],
    at_terminal=("--yolo", "--prompt-interactive"),
)


# -- Copilot CLI -----------------------------------------------------------------------------------


COPILOT = RealAgent(
    name="copilot",
    source="copilot-cli",
    command="copilot",
    megabytes=189,
    is_in_gate=True,
    environment=lambda place: {
        "COPILOT_ALLOW_ALL": "true",
        "COPILOT_AUTO_UPDATE": "false",
        "COPILOT_MODEL": "some-model",
        "COPILOT_OFFLINE": "true",
        "COPILOT_PROVIDER_API_KEY": ANY_KEY,
        "COPILOT_PROVIDER_BASE_URL": f"{place.model}/v1",
        "COPILOT_PROVIDER_TYPE": "openai",
    },
    turn=("--prompt",),
    resumed_turn=lambda command: [*command, "--prompt"],
    at_terminal=("--interactive",),
    tells_what_is_added=False,
)

AGENTS = {agent.name: agent for agent in (GEMINI, COPILOT, CLAUDE_CODE, CODEX)}
