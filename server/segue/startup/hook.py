"""`segue hook AGENT`: an agent runs it at a prompt and at the end of a turn, and waits for it.

Whatever happens it ends within TIME_LIMIT_S, with exit code 0, and writes nothing to the agent:
only to its log. What it could not store, the next one does.
"""

import contextlib
import gc
import os
import select
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from segue.agents.hooks import HookCall
    from segue.startup.settings import Settings

TIME_LIMIT_S = 10.0

LOG = "hook.log"
"""The name of the log. What was in it before is in `hook.log.1`."""

MAX_LOG = 256 * 1024
"""How long the log becomes, in bytes, before another one is begun."""

_MAX_LINE = 500
_MAX_INPUT = 64 * 1024 * 1024
_CHUNK = 64 * 1024


def is_for(agent: str) -> bool:
    """Return whether `segue hook AGENT` is run by an agent, not typed by a person.

    Of an agent that this version does not know as well: an error would end its turn.
    """
    if agent.startswith("-") or agent in ("install", "uninstall", "status"):
        return False
    return sys.stdin is None or not sys.stdin.isatty()


def run(agent: str) -> NoReturn:
    """Record what the agent says on the standard input, and end the process."""
    # The proxy between an editor and an agent records what both say: not to do it twice.
    if not os.environ.get("SEGUE_ACP"):
        log = _Log(agent)
        try:
            _silence()
            gc.disable()  # nothing that is imported becomes garbage
            limit = threading.Timer(TIME_LIMIT_S, _give_up, (log,))
            limit.daemon = True
            limit.start()
            log.write(_record(agent, log))
        except BaseException as error:  # of any kind: the agent must not see it
            log.write(f"failed: {type(error).__name__}: {error}")
    # Not by way of the interpreter's end, where a thread could still be waited for.
    os._exit(0)


def _silence() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _give_up(log: "_Log") -> None:
    log.write(f"failed: not done in {TIME_LIMIT_S:g} seconds")
    os._exit(0)


def _record(agent: str, log: "_Log") -> str:
    """Return what was done, for the log."""
    # Imported first: it decides how much of the other libraries is loaded.
    from segue.startup.lazy_imports import trim_hashlib, trim_imports

    trim_imports()
    trim_hashlib()
    from segue.startup.compose import hook_folder
    from segue.startup.settings import load_settings

    # The log of a settings file that is wrong is beside the database that is used without one.
    log.folder = hook_folder(None)
    settings = load_settings()
    log.folder = hook_folder(settings)

    from segue.agents.hooks import HOOK_AGENTS, parse

    if agent not in HOOK_AGENTS:
        raise ValueError("this version of Segue does not know this agent")
    call = parse(_read_input())
    log.subject += f" {call.event} {call.session_id}"
    if call.event not in HOOK_AGENTS[agent].events:
        return "nothing to do"

    import asyncio

    return asyncio.run(_store(agent, call, settings))


def _read_input() -> bytes:
    """Return the standard input to its end, or to the end of the object that it begins with.

    An agent may leave it open. Raises ValueError if it is too long.
    """
    text = b""
    while chunk := os.read(0, _CHUNK):
        text += chunk
        if len(text) > _MAX_INPUT:
            raise ValueError(f"more than {_MAX_INPUT // 2**20} MiB on the standard input")
        if text.rstrip().endswith(b"}") and not _has_more() and _is_json(text):
            break
    return text


def _has_more() -> bool:
    return bool(select.select([0], [], [], 0)[0]) if sys.platform != "win32" else False


def _is_json(text: bytes) -> bool:
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


async def _store(agent: str, call: "HookCall", settings: "Settings") -> str:
    from pathlib import Path

    from segue import agents
    from segue.agents.hooks import HOOK_AGENTS
    from segue.agents.transcript import Places
    from segue.sessions.hooks import HookRecorder
    from segue.startup import folders
    from segue.startup.compose import open_service, redaction_of

    hook_agent = HOOK_AGENTS[agent]
    places = Places(Path(folders.home_folder() or "/"), os.environ)
    service = await open_service(settings)
    try:
        recorder = HookRecorder(
            service,
            redaction_of(settings)(),
            hook_agent,
            agents.load(hook_agent.source),
            places,
        )
        return await recorder.record(call)
    finally:
        await service.close()


class _Log:
    """The log of all hooks: a line for each, without any text of a conversation."""

    def __init__(self, agent: str) -> None:
        self.folder: str | None = None
        self.subject = agent
        self._begun = time.monotonic()

    def write(self, message: str) -> None:
        """Append a line, if that is possible."""
        if self.folder is None:
            return
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        took = (time.monotonic() - self._begun) * 1_000
        line = f"{when} {self.subject}: {message} ({took:.0f} ms)"
        text = ascii(line[:_MAX_LINE])[1:-1].encode() + b"\n"
        with contextlib.suppress(OSError):  # nobody is told
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._append(os.path.join(self.folder, LOG), text)

    def _append(self, path: str, text: bytes) -> None:
        # Not to follow a link, nor to wait for the reader of a pipe.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        fd = os.open(path, flags, 0o600)
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                return
            if state.st_mode & 0o077:
                os.chmod(path, 0o600)
            os.write(fd, text)
        finally:
            os.close(fd)
        if state.st_size > MAX_LOG:
            os.replace(path, f"{path}.1")
