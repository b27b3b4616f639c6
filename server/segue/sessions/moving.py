"""Finds the checkout that was moved to where a window is: it is asked about once.

Two clones on one disk stay two: only a checkout whose folder is gone can have been moved.
"""

import os
import stat
from collections.abc import Awaitable, Callable, Sequence

from segue.model.records import DECLINED_ROOTS, MovedCheckout, Session
from segue.model.validation import Fault, InvalidInputError
from segue.model.workspace import Touch, Workspace
from segue.store.service import SessionService

Look = Callable[[Touch], Sequence[str]]


async def find_moved_checkout(
    service: SessionService,
    workspace: Workspace,
    look: Callable[[Look], Awaitable[Sequence[str]]],
) -> MovedCheckout | None:
    """Return the checkout that may be in *workspace* now, None if there is none to be asked about.

    *look* runs a look-up where it may block, and returns its result, or nothing in doubt.
    """
    here = workspace.git_root
    if workspace.repository is None or workspace.worktree is not None or here is None:
        return None
    known = {here, workspace.directory, *workspace.aliases}
    others = [
        (each.git_root, each)
        for each in await service.find_checkouts(workspace.repository)
        if each.git_root is not None and each.git_root not in known
    ]
    if not others:
        return None
    roots = [root for root, _ in others]
    gone = await look(lambda touch: [root for root in roots if is_gone(root, touch)])
    for root, session in others:
        if root in gone and here not in await _declined(service, session):
            return MovedCheckout(old_root=root, new_root=here, session=session)
    return None


async def decline(service: SessionService, old_root: str, new_root: str, repository: str) -> None:
    """Note that the checkout in *old_root* was not moved to *new_root*: it is not asked again."""
    for session in await service.find_checkouts(repository):
        if session.git_root == old_root:
            declined = {*await _declined(service, session), new_root}
            await service.set_metadata(session.id, DECLINED_ROOTS, sorted(declined))


def is_gone(folder: str, touch: Touch = lambda path: None) -> bool:
    """Return whether *folder* is certainly none any more; a link that it may be now is none."""
    touch(folder)
    try:
        return not stat.S_ISDIR(os.lstat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False


def checked_root(path: str) -> str:
    """Return *path* as the store has one; raise InvalidInputError if it cannot have it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        is_valid = False
    else:
        is_valid = os.path.isabs(path)
    if not is_valid:
        raise InvalidInputError(Fault("$.oldRoot", "is no absolute path in UTF-8"))
    return os.path.normpath(path)


async def _declined(service: SessionService, session: Session) -> list[str]:
    value = await service.get_metadata(session.id, DECLINED_ROOTS)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
