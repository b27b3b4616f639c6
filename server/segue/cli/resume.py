"""`segue resume`: goes on with a conversation in the program that it was had in."""

import os
import shlex
import shutil
import sys
from typing import NoReturn

from segue.cli.application import CommandError
from segue.cli.printing import print_json, print_line
from segue.sessions.resume_command import resume_command
from segue.store.service import SessionService


async def command_of(service: SessionService, session_id: str) -> tuple[list[str], str]:
    """Return the command that goes on with a session, and the directory in which it does.

    Raises CommandError if no program but an editor does.
    """
    found = await resume_command(service, session_id)
    if found.command is None:
        raise CommandError(
            f"It goes on in an editor: `segue open {session_id}`, `:Segue resume {session_id}` in "
            "Neovim, or the view Conversations in VS Code."
        )
    return list(found.command), found.directory


def _pasteable(command: list[str], directory: str) -> str:
    return f"cd {shlex.quote(directory)} && {shlex.join(command)}"


def print_command(command: list[str], directory: str, *, as_json: bool = False) -> None:
    """Print *command* so that it can be pasted into a shell, or as JSON."""
    if as_json:
        print_json({"command": command, "directory": directory})
    else:
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
