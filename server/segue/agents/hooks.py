"""The agents that run a command of Segue at a prompt and at the end of a turn: their hooks.

They share one shape of what they write to the command: a JSON object with `session_id`,
`hook_event_name`, and mostly `cwd`, `transcript_path` and `prompt`.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from segue.agents.transcript import Places, derived_id, milliseconds, prompt_in_turn
from segue.model.records import ADDED_PROMPT, PROMPT, Timestamp

TIMEOUT_S = 30
"""When an agent ends the command, should the command not have ended itself long before."""

_MAX_ID = 100


@attrs.frozen(kw_only=True)
class HookAgent:
    """An agent with hooks: where they are written down, and how."""

    name: str
    """Its name in `segue hook`."""
    source: str
    """The name of its module: see `agents.load`."""
    title: str
    prompt_event: str
    end_events: tuple[str, ...]
    settings: Callable[[Places], Path]
    """The file that names the hooks. In its object `hooks`, each event has a list of them."""
    template: Mapping[str, Any] = attrs.field(factory=dict)
    """What that file has at least."""
    handler: Callable[[str, str, int, bool], dict[str, Any]]
    """Returns the hook that runs `PROGRAM hook NAME`, given both, when the agent ends it, in
    seconds, and whether the agent takes arguments apart from the program."""
    timeouts_s: Mapping[str, int] = attrs.field(factory=dict)
    """When it ends it at an event that allows less than TIMEOUT_S."""
    writes_within_s: float = 0
    """How long after it has run the hook it may take to write the end of a turn, in seconds."""
    notices: tuple[str, ...] = ()
    """How a prompt begins that no person wrote."""
    advice: str = ""
    """What a person has to do after they were installed."""

    @property
    def events(self) -> tuple[str, ...]:
        """The events that run the command: two in a turn, and the end of the session."""
        return (self.prompt_event, *self.end_events)

    def hooks(self, program: str, takes_arguments: bool) -> dict[str, dict[str, Any]]:
        """Return the hook for each event that runs *program*.

        With *takes_arguments* the agent is so new that no shell has to read the command.
        """
        return {
            event: self.handler(
                program, self.name, self.timeouts_s.get(event, TIMEOUT_S), takes_arguments
            )
            for event in self.events
        }


@attrs.frozen(kw_only=True)
class HookCall:
    """What an agent says when it runs the command."""

    event: str
    session_id: str
    """As the agent has it."""
    directory: str | None
    transcript: Path | None
    prompt: str | None
    prompt_id: str
    """The id of the prompt's event, the same for the same call."""
    added_id: str
    """Its id if the program gave that of the prompt to an earlier one, to which it was added."""
    time: Timestamp | None


def parse(text: bytes) -> HookCall:
    """Return the call that an agent wrote; raise ValueError, which names the reason."""
    try:
        value = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise ValueError(f"{len(text):,} bytes on the standard input are not JSON") from None
    match value:
        case {"session_id": str(session_id), "hook_event_name": str(event)} if session_id:
            pass
        case _:
            raise ValueError("the standard input has no session_id and hook_event_name")
    directory, transcript, prompt = (
        text if isinstance(text := value.get(key), str) and text else None
        for key in ("cwd", "transcript_path", "prompt")
    )
    match value:
        case {"prompt_id": str(given)} if 0 < len(given) <= _MAX_ID:
            pass
        case {"turn_id": str(turn)} if turn:
            given = prompt_in_turn(turn, prompt or "")
        case _:
            given = derived_id(session_id, value.get("timestamp"), prompt)
    path = None if transcript is None or "\0" in transcript else Path(transcript)
    return HookCall(
        event=event,
        session_id=session_id,
        directory=directory,
        transcript=path if path is not None and path.is_absolute() else None,
        prompt=prompt,
        prompt_id=PROMPT + given,
        added_id=ADDED_PROMPT + prompt_in_turn(given, prompt or ""),
        time=milliseconds(value.get("timestamp")),
    )


def shell_command(program: str, name: str) -> str:
    """Return the command for agents that give it to a shell."""
    import shlex  # only to install

    quoted = f'"{program}"' if sys.platform == "win32" else shlex.quote(program)
    return f"{quoted} hook {name}"


def is_ours(handler: object, name: str) -> bool:
    """Return whether a hook in a settings file runs `segue hook NAME`, wherever `segue` is."""
    return program_of(handler, name) is not None


def program_of(handler: object, name: str) -> str | None:
    """Return the program of a hook that is ours, None for one that is not."""
    if not isinstance(handler, dict):
        return None
    command = handler.get("command", handler.get("bash"))
    if not isinstance(command, str):
        return None
    if "args" in handler:
        program = command if handler["args"] == ["hook", name] else ""
    else:
        program = command.removesuffix(f" hook {name}") if command.endswith(f" hook {name}") else ""
        if len(words := _words(program)) == 1:
            program = words[0]
    return program if re.fullmatch(r"(.*[/\\])?segue(\.cmd|\.exe)?", program, re.DOTALL) else None


def _words(command: str) -> list[str]:
    if sys.platform == "win32":
        return [command.strip('"')]
    import shlex

    try:
        return shlex.split(command)
    except ValueError:
        return []


def _claude_code(program: str, name: str, timeout: int, takes_arguments: bool) -> dict[str, Any]:
    if takes_arguments:
        command: dict[str, Any] = {"command": program, "args": ["hook", name]}
    else:
        command = {"command": shell_command(program, name)}
    return {"hooks": [{"type": "command", **command, "timeout": timeout}]}


def _codex(program: str, name: str, timeout: int, takes_arguments: bool) -> dict[str, Any]:
    return _claude_code(program, name, timeout, False)


def _gemini(program: str, name: str, timeout: int, takes_arguments: bool) -> dict[str, Any]:
    command = shell_command(program, name)
    timeout *= 1_000
    return {"hooks": [{"name": "segue", "type": "command", "command": command, "timeout": timeout}]}


def _copilot(program: str, name: str, timeout: int, takes_arguments: bool) -> dict[str, Any]:
    quoted = program.replace("'", "''")
    return {
        "type": "command",
        "bash": shell_command(program, name),
        "powershell": f"& '{quoted}' hook {name}",
        "timeoutSec": timeout,
    }


HOOK_AGENTS = {
    agent.name: agent
    for agent in (
        HookAgent(
            name="claude-code",
            source="claude-code",
            title="Claude Code",
            prompt_event="UserPromptSubmit",
            end_events=("Stop", "SessionEnd"),
            settings=lambda places: places.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
            handler=_claude_code,
        ),
        HookAgent(
            name="codex",
            source="codex",
            title="Codex",
            prompt_event="UserPromptSubmit",
            end_events=("Stop", "SessionEnd"),
            settings=lambda places: places.folder("CODEX_HOME", ".codex") / "hooks.json",
            handler=_codex,
            timeouts_s={"SessionEnd": 3},  # with more it warns of it whenever it starts
            advice="start codex once and choose Trust: until then it does not run them",
        ),
        HookAgent(
            name="gemini",
            source="gemini-cli",
            title="Gemini CLI",
            prompt_event="BeforeAgent",
            end_events=("AfterAgent", "SessionEnd"),
            settings=lambda places: (
                places.folder("GEMINI_CLI_HOME", "") / ".gemini" / "settings.json"
            ),
            handler=_gemini,
        ),
        HookAgent(
            name="copilot",
            source="copilot-cli",
            title="Copilot CLI",
            prompt_event="UserPromptSubmit",
            end_events=("Stop", "SessionEnd"),
            settings=lambda places: (
                places.folder("COPILOT_HOME", ".copilot") / "hooks" / "segue.json"
            ),
            template={"version": 1},
            notices=("<system_notification>",),
            writes_within_s=0.3,
            handler=_copilot,
        ),
    )
}
