"""`segue acp --print-config CLIENT -- AGENT`: what to paste so that a client uses the proxy."""

import json
from collections.abc import Callable, Sequence

from segue.agents.families import family_of
from segue.cli.client_config import find_client, json_settings, print_settings
from segue.cli.installation import installed_program

_AGENT_SHELL = {
    "claude": "agent-shell-anthropic-claude-acp-command",
    "codex": "agent-shell-openai-codex-acp-command",
    "copilot": "agent-shell-github-acp-command",
    "gemini": "agent-shell-google-gemini-acp-command",
    "opencode": "agent-shell-opencode-acp-command",
    "qwen": "agent-shell-qwen-acp-command",
}
_CODECOMPANION = {
    "claude": "claude_code",
    "codex": "codex",
    "copilot": "copilot_acp",
    "gemini": "gemini_cli",
    "opencode": "opencode",
}
_PROGRAMS = ("node", "npx", "bunx", "pnpm", "dlx", "uvx", "python", "python3", "env")
"""What stands before the name of an agent in a command."""


def print_config(client: str, agent: Sequence[str]) -> None:
    """Print the settings of *client* for the command of an agent; raise CommandError."""
    render = find_client(CLIENTS, client)
    command = [installed_program(), "acp", "--", *agent]
    print_settings(render(agent_name(agent), command))


def agent_name(command: Sequence[str]) -> str:
    """Return the name of the agent that a command runs: that of its program or its package."""
    words = [word for word in command if not word.startswith("-")]
    named = next((word for word in words if _short(word) not in _PROGRAMS), command[0])
    return family_of(_short(named))


def _short(word: str) -> str:
    name = word.replace("\\", "/").rpartition("/")[2]
    return name.partition("@")[0].removesuffix(".cmd").removesuffix(".js")


def _zed(name: str, command: Sequence[str]) -> str:
    agent = {"type": "custom", "command": command[0], "args": command[1:], "env": {}}
    return json_settings("Zed: settings.json", {"agent_servers": {f"{name} (Segue)": agent}})


def _jetbrains(name: str, command: Sequence[str]) -> str:
    agent = {"command": command[0], "args": command[1:], "env": {}}
    return json_settings(
        "JetBrains: ~/.jetbrains/acp.json", {"agent_servers": {f"{name} (Segue)": agent}}
    )


def _codecompanion(name: str, command: Sequence[str]) -> str:
    adapter = _CODECOMPANION.get(name, name)
    return f"""\
-- codecompanion.nvim: in its setup()
adapters = {{
  acp = {{
    ["{adapter}"] = function()
      return require("codecompanion.adapters").extend("{adapter}", {{
        commands = {{ default = {_lua(command)} }},
      }})
    end,
  }},
}},"""


def _acp_providers(plugin: str) -> Callable[[str, Sequence[str]], str]:
    def config(name: str, command: Sequence[str]) -> str:
        return f"""\
-- {plugin}: in its setup()
provider = "{name}-segue",
acp_providers = {{
  ["{name}-segue"] = {{ command = {_lua_text(command[0])}, args = {_lua(command[1:])} }},
}},"""

    return config


def _agent_shell(name: str, command: Sequence[str]) -> str:
    variable = _AGENT_SHELL.get(name, f"agent-shell-{name}-acp-command")
    words = " ".join(json.dumps(word, ensure_ascii=False) for word in command)
    return f";; agent-shell (Emacs)\n(setq {variable}\n      '({words}))"


def _lua(words: Sequence[str]) -> str:
    return "{ " + ", ".join(map(_lua_text, words)) + " }"


def _lua_text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'


CLIENTS: dict[str, Callable[[str, Sequence[str]], str]] = {
    "zed": _zed,
    "jetbrains": _jetbrains,
    "codecompanion": _codecompanion,
    "avante": _acp_providers("avante.nvim"),
    "agentic": _acp_providers("agentic.nvim"),
    "agent-shell": _agent_shell,
}
"""What to paste, by the clients' names."""
