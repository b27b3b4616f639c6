"""`segue mcp --print-config CLIENT`: what makes an agent start the MCP server."""

import json
import shlex
from collections.abc import Callable, Sequence

from segue.cli.client_config import find_client, json_settings, print_settings
from segue.cli.installation import installed_program


def print_config(client: str, database: str | None) -> None:
    """Print the settings of *client*, or the command that makes them; raise CommandError."""
    render = find_client(CLIENTS, client)
    options = [] if database is None else ["--database", database]
    print_settings(render([installed_program(), "mcp", *options]))


def _claude_code(command: Sequence[str]) -> str:
    added = shlex.join(["claude", "mcp", "add", "--scope", "user", "segue", "--", *command])
    return f"# Claude Code: in a shell\n{added}"


def _codex(command: Sequence[str]) -> str:
    program, *arguments = (json.dumps(word, ensure_ascii=False) for word in command)
    return f"""\
# Codex: ~/.codex/config.toml
[mcp_servers.segue]
command = {program}
args = [{", ".join(arguments)}]"""


def _gemini(command: Sequence[str]) -> str:
    server = {"command": command[0], "args": command[1:]}
    return json_settings("Gemini CLI: ~/.gemini/settings.json", {"mcpServers": {"segue": server}})


def _copilot(command: Sequence[str]) -> str:
    server = {"type": "local", "command": command[0], "args": command[1:], "tools": ["*"]}
    where = "Copilot CLI: ~/.copilot/mcp-config.json"
    return json_settings(where, {"mcpServers": {"segue": server}})


def _vscode(command: Sequence[str]) -> str:
    # Without `cwd`, a server of the user's own settings would start in the home directory.
    server = {
        "type": "stdio",
        "command": command[0],
        "args": command[1:],
        "cwd": "${workspaceFolder}",
    }
    where = "VS Code: `MCP: Open User Configuration`, or .vscode/mcp.json"
    return json_settings(where, {"servers": {"segue": server}})


CLIENTS: dict[str, Callable[[Sequence[str]], str]] = {
    "claude-code": _claude_code,
    "codex": _codex,
    "gemini": _gemini,
    "copilot": _copilot,
    "vscode": _vscode,
}
"""What to paste, by the clients' names."""
