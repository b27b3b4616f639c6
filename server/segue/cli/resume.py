"""`segue resume`: goes on with a conversation in the program that it was had in."""

import os
import re
import shlex
import shutil
import sys
from typing import NoReturn

from segue import agents
from segue.cli.application import CommandError
from segue.cli.printing import print_line
from segue.model.records import Session
from segue.store.service import SessionService

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


async def command_of(service: SessionService, session_id: str) -> tuple[list[str], str]:
    """Return the command that goes on with a session, and the directory in which it does.

    Raises CommandError if no program but an editor does.
    """
    session = await service.get_session(session_id)
    source = None if session.source is None else agents.load(session.source)
    if source is None or source.RESUME is None:
        raise CommandError(
            f"It goes on in an editor: `:Segue resume {session.id}` in Neovim, or the view "
            "Conversations in VS Code."
        )
    own_id = await _own_id(service, session)
    return [part.format(id=own_id) for part in source.RESUME], session.directory


async def _own_id(service: SessionService, session: Session) -> str:
    """Return what the program calls the conversation: a fork here is none there."""
    while session.forked_from is not None:
        session = await service.get_session(session.forked_from)
    id = session.server_session_id or session.id
    if not _SAFE.fullmatch(id):  # it stood in a file that anybody may have written
        raise CommandError(f"{id!r} is no id that could be passed to a program.")
    return id


def _pasteable(command: list[str], directory: str) -> str:
    return f"cd {shlex.quote(directory)} && {shlex.join(command)}"


def print_command(command: list[str], directory: str) -> None:
    """Print *command* so that it can be pasted into a shell."""
    print_line(_pasteable(command, directory))


def run(command: list[str], directory: str) -> NoReturn:
    """Replace this process by *command* in *directory*."""
    line = _pasteable(command, directory)
    if shutil.which(command[0]) is None:
        raise CommandError(f"{command[0]} is not on the PATH. This goes on: {line}")
    if not os.path.isdir(directory):
        raise CommandError(f"{directory} is no folder any more. This goes on: {line}")
    sys.stdout.flush()
    os.chdir(directory)
    os.execvp(command[0], command)  # noqa: S606  a fixed program, with an id as its argument
