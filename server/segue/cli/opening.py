"""`segue open`: the command that opens a conversation in the editor that is here."""

import os
import shlex
import shutil
from collections.abc import Mapping

import attrs

from segue.cli.application import CommandError, current_directory
from segue.cli.ids import PLAIN_ID
from segue.cli.printing import print_error
from segue.store.service import SessionService

_EDITORS = ("nvim", "code")


async def command_of(
    service: SessionService, session_id: str, editor: str | None
) -> tuple[list[str], str]:
    """Return the command that opens a session, and the directory in which it does.

    Raises CommandError if there is no editor that could.
    """
    session = await service.get_session(session_id)
    if session.machine is not None:  # its directory is not here
        here = current_directory()
        session = attrs.evolve(session, directory=here, git_root=None)
    chosen = editor or _choose(os.environ)
    if chosen is None:
        raise CommandError(
            "Neither nvim nor code is on the PATH. Segue opens conversations in Neovim and VS Code."
        )
    if chosen == "code":
        print_error("In VS Code, the view Conversations resumes it.")
        return ["code", session.git_root or session.directory], session.directory
    # A `|` would begin another command.
    if not PLAIN_ID.fullmatch(session.id):
        raise CommandError(f"Neovim's command line cannot take the id {session.id}.")
    return ["nvim", f"+Segue resume {session.id}"], session.directory


def _choose(environment: Mapping[str, str]) -> str | None:
    """Return the editor that is here, or None."""
    wanted = ["code"] if environment.get("TERM_PROGRAM") == "vscode" else []
    for name in ("VISUAL", "EDITOR"):
        words = shlex.split(environment.get(name, "")) or [""]
        wanted.append(os.path.basename(words[0]).removesuffix(".exe"))
    for each in [*wanted, *_EDITORS]:
        if each in _EDITORS and shutil.which(each):
            return each
    return None
