"""`segue hook install|uninstall|status`: the commands in the settings of the agents."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from segue.agents.hooks import HOOK_AGENTS, HookAgent, is_ours, program_of
from segue.agents.transcript import Places
from segue.cli import json_edit
from segue.cli.installation import installed_program
from segue.cli.printing import Column, print_error, print_json, print_line, print_table
from segue.cli.settings_file import RefusedError, SettingsFile

ALL = "all"

LOG = "hook.log"
NOTES = "hooks.json"
"""What `install` made, by agent, so that `uninstall` leaves what was there: in the log's folder."""

_TAKES_ARGUMENTS = (2, 1, 139)
"""The version of Claude Code that runs a program with arguments without a shell."""

_VERSION_TIMEOUT_S = 10
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) ([a-z-]+) [A-Z]")


@attrs.frozen(kw_only=True)
class HookStatus:
    """Whether an agent runs `segue hook`."""

    agent: HookAgent
    settings: Path
    is_here: bool
    """Whether the agent has a folder here."""
    installed: Sequence[str]
    """The events that run it."""
    last_spoke: str | None
    """When, in ISO 8601."""
    problem: str | None

    @property
    def is_installed(self) -> bool:
        """Whether all events run it."""
        return set(self.installed) == set(self.agent.events)

    def __str__(self) -> str:
        if self.problem is not None:
            return self.problem
        if self.is_installed:
            return "installed"
        return f"only {', '.join(self.installed)}" if self.installed else "not installed"


@attrs.define
class _Note:
    """What was there before the hooks were installed, beside what still is."""

    existed: bool
    """Whether the file did."""
    folders: list[str] = attrs.field(factory=list)
    """The folders that were made for it, the deepest last."""
    empty: dict[str, str] = attrs.field(factory=dict)
    """The white space in what was empty, by its path: `hooks/Stop`."""


class HookSettings:
    """The hooks in the settings files of the agents."""

    def __init__(self, folder: str | None, environment: Mapping[str, str] = os.environ) -> None:
        """*folder* has the log of the hooks."""
        self._folder = None if folder is None else Path(folder)
        self._places = Places(Path.home(), environment)

    def install(self, agent: HookAgent) -> bool:
        """Add the hooks; return False if they are there. Raises RefusedError."""
        path = agent.settings(self._places)
        file = SettingsFile.read(path)
        installed = _installed(agent, _value(file.text))
        wanted = agent.hooks(installed_program(), _takes_arguments(agent))
        if installed == {event: [hook] for event, hook in wanted.items()}:
            return False
        file.check_writable()
        note = self._notes().get(agent.name) or _Note(file.text is not None)
        text = _without_ours(agent, file.text, note)
        if file.text is None or (not note.existed and text is None):
            note = _Note(False, folders=note.folders or _missing_folders(file.path.parent))
        else:
            note = _Note(note.existed, note.folders)
        start = f"{json.dumps(agent.template, indent=2)}\n"
        new = start if text is None else text
        for event, hook in wanted.items():
            new = _with_event(new, event, hook, note)
        self._save(agent, note)
        file.replace(new)
        return True

    def uninstall(self, agent: HookAgent) -> bool:
        """Remove the hooks; return False if there are none. Raises RefusedError."""
        file = SettingsFile.read(agent.settings(self._places))
        if file.text is None or not _installed(agent, _value(file.text)):
            self._save(agent, None)
            return False
        note = self._notes().get(agent.name) or _Note(existed=True)
        file.replace(_without_ours(agent, file.text, note))
        for folder in reversed(note.folders if not file.path.exists() else []):
            try:
                os.rmdir(folder)
            except OSError:
                break  # something else is in it
        self._save(agent, None)
        return True

    def status(self, agent: HookAgent) -> HookStatus:
        """Return whether the hooks are there, and when they last ran."""
        path = agent.settings(self._places)
        problem = None
        installed: Mapping[str, Sequence[Any]] = {}
        try:
            value = _value(SettingsFile.read(path).text)
            installed = _installed(agent, value)
            problem = _problem(agent, value, installed)
        except RefusedError as error:
            problem = f"not known: {error}"
        home = path.parent.parent if agent.name == "copilot" else path.parent
        return HookStatus(
            agent=agent,
            settings=path,
            is_here=home.is_dir(),
            installed=list(installed),
            last_spoke=self._last_spoke().get(agent.name),
            problem=problem,
        )

    def snippet(self, agent: HookAgent) -> str:
        """Return what a person adds to the settings by hand."""
        wanted = agent.hooks(installed_program(), _takes_arguments(agent))
        hooks = {event: [hook] for event, hook in wanted.items()}
        return json.dumps({**agent.template, "hooks": hooks}, indent=2)

    def _last_spoke(self) -> dict[str, str]:
        times: dict[str, str] = {}
        folder = self._folder or Path(os.devnull)
        for name in (f"{LOG}.1", LOG):
            try:
                with open(folder / name, encoding="ascii", errors="replace") as file:
                    matches = filter(None, map(_LINE.match, file))
                    times |= {match[2]: match[1] for match in matches}
            except OSError:
                continue  # no hook has ever run
        return times

    def _notes(self) -> dict[str, _Note]:
        try:
            with open(self._notes_path(), encoding="utf-8") as file:
                return {name: _Note(**note) for name, note in json.load(file).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _notes_path(self) -> Path:
        if self._folder is None:
            raise RefusedError("this user has no home directory")
        return self._folder / NOTES

    def _save(self, agent: HookAgent, note: _Note | None) -> None:
        notes = self._notes()
        if notes.get(agent.name) == note:
            return
        notes.pop(agent.name, None)
        if note is not None:
            notes[agent.name] = note
        path = self._notes_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        values = {name: attrs.asdict(each) for name, each in notes.items()}
        SettingsFile.read(path).replace(f"{json.dumps(values, indent=2)}\n")


# -- the text --------------------------------------------------------------------------------------


def _value(text: str | None) -> dict[str, Any]:
    """Return the settings; raise RefusedError if they are not what they should be."""
    if text is None:
        return {}
    try:
        value = json_edit.parse(text)
    except json_edit.NotJsonError as error:
        raise RefusedError(f"it is not strict JSON ({error})") from None
    hooks = value.get("hooks", {}) if isinstance(value, dict) else None
    if not isinstance(hooks, dict) or not all(
        isinstance(hooks.get(event, []), list)
        for agent in HOOK_AGENTS.values()
        for event in agent.events
    ):
        raise RefusedError("its `hooks` are not an object with a list for each event")
    return value  # type: ignore[no-any-return]  # an object: see above


def _paths(agent: HookAgent, value: Mapping[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """Yield the ways to our hooks."""
    for event, entries in value.get("hooks", {}).items():
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            if is_ours(entry, agent.name):
                yield "hooks", event, number
            inner = entry.get("hooks") if isinstance(entry, dict) else None
            for place, handler in enumerate(inner if isinstance(inner, list) else ()):
                if is_ours(handler, agent.name):
                    yield "hooks", event, number, "hooks", place


def _installed(agent: HookAgent, value: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the entries of ours for each event that has one."""
    found: dict[str, list[Any]] = {}
    for _, event, number, *_ in _paths(agent, value):
        found.setdefault(str(event), []).append(value["hooks"][event][number])
    return found


def _without_ours(agent: HookAgent, text: str | None, note: _Note) -> str | None:
    """Return the text without our hooks, and what was made for them; None for no file."""
    if text is None:
        return None
    while (path := next(_paths(agent, _value(text)), None)) is not None:
        while path:
            parent = path[:-1]
            name = "/".join(map(str, parent))
            text = json_edit.remove(text, path, note.empty.get(name, ""))
            is_empty = not json_edit.interior(text, parent).strip()
            if not is_empty or name in note.empty or not parent:
                break
            # An entry whose list of hooks is empty is nothing, whatever it matches.
            path = parent[:-1] if len(parent) == 4 else parent
    if not note.existed and _value(text) == agent.template:
        return None
    return text


def _with_event(text: str, event: str, handler: Mapping[str, Any], note: _Note) -> str:
    """Return the text with *handler* at the event; note which containers were empty."""
    value = _value(text)
    if "hooks" not in value:
        return _append(text, (), "hooks", {event: [handler]}, note)
    if event not in value["hooks"]:
        return _append(text, ("hooks",), event, [handler], note)
    return _append(text, ("hooks", event), None, handler, note)


def _append(text: str, path: Sequence[str], key: str | None, value: Any, note: _Note) -> str:
    if not (inside := json_edit.interior(text, path)).strip() and (path or note.existed):
        note.empty["/".join(path)] = inside
    return json_edit.append(text, path, key, value)


def _problem(
    agent: HookAgent, value: Mapping[str, Any], installed: Mapping[str, Sequence[Any]]
) -> str | None:
    for entry in (each for entries in installed.values() for each in entries):
        for handler in (entry, *(entry.get("hooks") or ())):
            program = program_of(handler, agent.name)
            if program is not None and not os.access(program, os.X_OK):
                return f"installed, but {program} is gone: segue hook install {agent.name}"
    if installed and value.get("disableAllHooks") is True:
        return "installed, but the settings say disableAllHooks"
    return None


def _missing_folders(folder: Path) -> list[str]:
    missing = []
    while not folder.exists():
        missing.append(str(folder))
        folder = folder.parent
    return missing[::-1]


# -- the programs ----------------------------------------------------------------------------------


def _takes_arguments(agent: HookAgent) -> bool:
    if agent.name != "claude-code" or (program := shutil.which("claude")) is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603  the agent that the user has
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return match is not None and tuple(map(int, match.groups())) >= _TAKES_ARGUMENTS


# -- the commands ----------------------------------------------------------------------------------


def _chosen(settings: HookSettings, name: str) -> list[HookAgent]:
    if name != ALL:
        return [HOOK_AGENTS[name]]
    return [agent for agent in HOOK_AGENTS.values() if settings.status(agent).is_here]


def install(folder: str | None, name: str) -> int:
    """Install the hooks of an agent, or of all that are here; return 1 if one is refused."""
    settings = HookSettings(folder)
    chosen = _chosen(settings, name)
    if not chosen:
        print_error("None of these agents is here: " + ", ".join(HOOK_AGENTS) + ".")
    refused = False
    for agent in chosen:
        status = settings.status(agent)
        try:
            is_new = settings.install(agent)
        except RefusedError as error:
            refused = True
            print_error(f"Error: {status.settings} is left as it is: {error}.")
            print_error("To install the hooks by hand, add this to it:")
            print_error(settings.snippet(agent))
            continue
        print_line(
            f"{agent.title}: {'installed in' if is_new else 'already installed in'} "
            f"{status.settings}"
        )
        if is_new and agent.advice:
            print_line(f"{agent.title}: {agent.advice}")
    return int(refused or not chosen)


def uninstall(folder: str | None, name: str) -> int:
    """Remove the hooks of an agent, or of all that have them; return 1 if one is refused."""
    settings = HookSettings(folder)
    refused = False
    for agent in _chosen(settings, name):
        path = settings.status(agent).settings
        try:
            was_there = settings.uninstall(agent)
        except RefusedError as error:
            refused = True
            print_error(f"Error: {path} is left as it is: {error}.")
            continue
        print_line(f"{agent.title}: {'removed from' if was_there else 'not in'} {path}")
    return int(refused)


def status(folder: str | None, name: str, *, as_json: bool) -> int:
    """Print the state of the hooks; return 1 if those of the named agent are not installed."""
    settings = HookSettings(folder)
    agents = list(HOOK_AGENTS.values()) if name == ALL else [HOOK_AGENTS[name]]
    found = [settings.status(agent) for agent in agents]
    if as_json:
        print_json([as_record(each) for each in found])
    else:
        columns = (Column("AGENT"), Column("HOOKS"), Column("LAST SPOKE"), Column("SETTINGS"))
        rows = ((each.agent.name, str(each), _spoke(each), str(each.settings)) for each in found)
        print_table(columns, rows)
    return 0 if name == ALL or found[0].is_installed else 1


def statuses(folder: str | None) -> list[HookStatus]:
    """Return the state of the hooks of each agent."""
    settings = HookSettings(folder)
    return [settings.status(agent) for agent in HOOK_AGENTS.values()]


def as_record(status: HookStatus) -> dict[str, Any]:
    """Return what `status --json` says of an agent."""
    return {
        "agent": status.agent.name,
        "settings": str(status.settings),
        "here": status.is_here,
        "installed": status.is_installed,
        "events": list(status.installed),
        "problem": status.problem,
        "lastSpoke": status.last_spoke,
    }


def summary(status: HookStatus) -> str:
    """Return one line for `segue doctor`."""
    return f"{status.agent.name}: {status}, last spoke: {_spoke(status)}"


def _spoke(status: HookStatus) -> str:
    if status.last_spoke is None:
        return "never"
    time = datetime.fromisoformat(status.last_spoke)
    return time.astimezone().strftime("%Y-%m-%d %H:%M")
