"""Finds the workspace of a directory, without a git process.

So a repository of another owner, a leaked `GIT_DIR` and a missing git program make no difference.
The calls block for as long as the file system takes: `sessions.locator` runs them with a limit.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import attrs

MAX_PATH = 32_767 if os.name == "nt" else 4_096
"""The longest path that is looked at, in bytes (Windows: characters): no system has longer ones."""

_LONGEST_GIT_FILE = 64 * 1024
_LONGEST_CONFIG = 256 * 1024
_MAX_LINKS = 40
"""How many symlinks Linux follows in one path."""

_LONGEST_SHOWN = 200

Touch = Callable[[str], None]
"""Called with each path before the file system is asked about it. What it raises ends the look-up.
"""


class InvalidWorkspaceError(ValueError):
    """A path that cannot be a workspace; the message has the reason."""


@attrs.frozen(kw_only=True)
class Workspace:
    """The directory of an editor, and its git repository."""

    directory: str
    """Absolute, with symlinks resolved, and each component spelled as its parent lists it."""

    git_root: str | None
    """The nearest folder, at or above `directory`, with a `.git` in it."""

    git_common_dir: str | None
    """The git directory that all worktrees of the repository share."""

    repository: str | None = attrs.field(default=None, eq=False)
    """The name of the repository, `github.com/org/repo`, if its remote gives it one."""

    worktree: str | None = attrs.field(default=None, eq=False)
    """The name that git gives the linked worktree; None: a main one, or no repository."""

    aliases: tuple[str, ...] = attrs.field(default=(), eq=False)
    """`directory` and `git_root` in the spelling that was given, if it is another one.

    Sessions that were stored before spellings were unified have these.
    """

    @classmethod
    def recorded(cls, directory: str, git_root: str | None) -> "Workspace":
        """Return the workspace that a session was stored with; nothing is looked at."""
        common = None if git_root is None else os.path.join(git_root, ".git")
        return cls(directory=directory, git_root=git_root, git_common_dir=common)


def search_places(workspace: Workspace | None) -> dict[str, Any]:
    """Return where the sessions of a workspace are found, as a store takes it; None: everywhere."""
    if workspace is None:
        return {}
    return attrs.asdict(workspace, filter=lambda field, _: field.name != "worktree")


def resolve_workspace(path: str, touch: Touch = lambda path: None) -> Workspace:
    """Return the workspace of *path*.

    Raises InvalidWorkspaceError as `locate_workspace` does, and if *path* does not exist.
    """
    workspace = locate_workspace(path, touch)
    touch(workspace.directory)
    if not os.path.isdir(workspace.directory):
        raise InvalidWorkspaceError(f"the folder {shown(path)} does not exist")
    return workspace


def locate_workspace(path: str, touch: Touch = lambda path: None) -> Workspace:
    """Return the workspace of *path*, which need not exist any more or be reachable.

    Raises InvalidWorkspaceError if *path* is relative, longer than MAX_PATH, not UTF-8, has a NUL,
    a name that is too long or a loop of symlinks, leads to a file, or is a path of Windows and this
    is not Windows.
    """
    _check_form(path)
    directory, given = _resolve(path, touch)
    try:
        directory.encode()
    except UnicodeEncodeError:
        fault = "is not UTF-8, and such a path cannot be kept; give the folder another name"
        raise InvalidWorkspaceError(f"the path of {shown(path)} {fault}") from None
    root = _git_root(directory, touch)
    git_dir, common_dir = ("", None) if root is None else _git_dirs(root, touch)
    return Workspace(
        directory=directory,
        git_root=root,
        git_common_dir=common_dir,
        repository=None if common_dir is None else repository(common_dir, touch),
        worktree=_worktree(git_dir, common_dir),
        aliases=() if given == directory else _aliases(given, directory, root),
    )


def shown(path: str) -> str:
    """Return *path* for a message: not longer than a line or two, and valid Unicode."""
    cut = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…"
    return cut.encode(errors="backslashreplace").decode()


def _check_form(path: str) -> None:
    """Raise InvalidWorkspaceError for a path that no folder of this machine can have."""
    # First, because everything after it takes as long as the path is.
    if len(path) > MAX_PATH or (
        os.name != "nt" and len(path.encode(errors="surrogatepass")) > MAX_PATH
    ):
        raise InvalidWorkspaceError(f"a path may have at most {MAX_PATH:,} bytes")
    if not os.path.isabs(path):
        raise InvalidWorkspaceError(f'expected an absolute path, not "{shown(path)}"')
    if "\0" in path:
        raise InvalidWorkspaceError("a path cannot contain a NUL")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidWorkspaceError(f"the path {shown(path)} is not valid Unicode") from None


# -- the real path -----------------------------------------------------------------------------


def _resolve(path: str, touch: Touch) -> tuple[str, str]:
    """Return the real path of *path*, spelled as folders list it, and spelled as it was given.

    What does not exist, or cannot be reached, is kept as it was given.
    """
    if os.name == "nt":
        touch(path)
        try:
            real = os.path.realpath(path)
        except OSError as error:
            raise InvalidWorkspaceError(f"{shown(path)}: {error.strerror}") from None
        if os.path.isfile(real):
            raise _not_a_folder(path)
        return real, os.path.abspath(path)
    real = given = "/"
    names = path.split("/")[::-1]
    links = 0
    while names:
        name = names.pop()
        if name in ("", "."):
            continue
        if name == "..":
            real, given = os.path.dirname(real), os.path.dirname(given)
            continue
        below = os.path.join(real, name)
        found = _lstat(below, path, touch)
        if found is not None and stat.S_ISLNK(found.st_mode):
            links += 1
            target = _read_link(below)
            if links > _MAX_LINKS:
                raise InvalidWorkspaceError(f"{shown(path)} has too many levels of symbolic links")
            if target is not None:
                names += target.split("/")[::-1]
                if target.startswith("/"):
                    real = given = "/"
                continue
        elif found is not None:
            if not stat.S_ISDIR(found.st_mode):
                raise _not_a_folder(path)
            below = os.path.join(real, _spelling(real, name, found, touch))
        elif real == "/" and _is_drive(name):
            raise InvalidWorkspaceError(f"{shown(path)} is a path of Windows, not of this machine")
        real, given = below, os.path.join(given, name)
    return real, given


def _lstat(path: str, given: str, touch: Touch) -> os.stat_result | None:
    """Return what is at *path*, None if nothing is or it cannot be reached."""
    touch(path)
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            raise _not_a_folder(given) from None
        if error.errno == errno.ENAMETOOLONG:
            fault = "is too long for this system, or has a name that is"
            raise InvalidWorkspaceError(f"{shown(given)} {fault}") from None
        return None


def _not_a_folder(path: str) -> InvalidWorkspaceError:
    return InvalidWorkspaceError(f"{shown(path)} is not a folder: there is a file")


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _is_drive(name: str) -> bool:
    return len(name) == 2 and name[1] == ":" and name[0].isascii() and name[0].isalpha()


def _spelling(parent: str, name: str, found: os.stat_result, touch: Touch) -> str:
    """Return *name*, a folder in *parent*, as *parent* lists it.

    *parent* is only listed if another spelling leads to the same folder.
    """

    def is_same(other: str) -> bool:
        path = os.path.join(parent, other)
        touch(path)
        try:
            return os.path.samestat(os.lstat(path), found)
        except (OSError, ValueError):  # the locale may have no such letter
            return False

    if not any(map(is_same, _other_spellings(name))):
        return name
    try:
        listed = os.listdir(parent)
    except OSError:  # a folder may be passed without permission to list it
        return name
    if name in listed:
        return name
    folded = _fold(name)
    return next((each for each in listed if _fold(each) == folded and is_same(each)), name)


def _other_spellings(name: str) -> Iterator[str]:
    """Yield spellings of *name* that differ in case, and in Unicode form."""
    swapped = name.swapcase()
    if not name.isascii():
        import unicodedata  # half a megabyte that an ASCII path does not need

        swapped = "".join(c.swapcase() if len(c.swapcase()) == 1 else c for c in name)
        forms = {unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
        yield from forms - {name}
    if swapped != name:
        yield swapped


def _fold(name: str) -> str:
    """Return what all spellings of *name* have in common."""
    if name.isascii():
        return name.lower()
    import unicodedata

    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _aliases(given: str, directory: str, root: str | None) -> tuple[str, ...]:
    """Return *given*, and the part of it that is another spelling of *root*."""
    if root is None:
        return (given,)
    above = given
    for _ in range(directory.count(os.sep) - root.count(os.sep) if root != os.sep else 0):
        above = os.path.dirname(above)
    return (given, above)


# -- the repository ----------------------------------------------------------------------------


def _git_root(directory: str, touch: Touch) -> str | None:
    """Return the nearest folder, at or above *directory*, with a `.git` in it.

    A home directory that is a repository, of dotfiles, is no root for the projects below it.
    """
    folder = directory
    while True:
        if _has_git(folder, touch) and (folder == directory or not _is_home(folder, touch)):
            return folder
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _has_git(folder: str, touch: Touch) -> bool:
    path = os.path.join(folder, ".git")
    touch(path)
    return os.path.exists(path)


def _is_home(folder: str, touch: Touch) -> bool:
    home = os.path.expanduser("~")
    if folder == home:
        return True
    touch(home)
    try:
        return os.path.samefile(folder, home)
    except (OSError, ValueError):
        return False


def git_dirs(root: str, touch: Touch) -> tuple[str, str]:
    """Return the git directory of the folder *root*, and the one that all worktrees share.

    They differ only in a worktree. Raises InvalidWorkspaceError if its `.git` leads nowhere.
    """
    git_dir = os.path.join(root, ".git")
    if (pointer := _read(git_dir, touch, _LONGEST_GIT_FILE)) is not None:
        relative = pointer.removeprefix("gitdir:").strip()
        git_dir = _real_folder(os.path.join(root, relative), touch)
    common = _read(os.path.join(git_dir, "commondir"), touch, _LONGEST_GIT_FILE)
    shared = git_dir if common is None else os.path.join(git_dir, common.strip())
    return git_dir, _real_folder(shared, touch)


def repository(common_dir: str, touch: Touch = lambda path: None) -> str | None:
    """Return the name of the repository whose worktrees share *common_dir*; None if it has none.

    `model.repository` has the rules. A longer configuration than 256 KiB is not looked at.
    """
    config = _read(os.path.join(common_dir, "config"), touch, _LONGEST_CONFIG)
    if config is None or "[" not in config or len(config) == _LONGEST_CONFIG:
        return None
    # Not at the top: a folder without git does not need it.
    from segue.model.repository import repository_of

    return repository_of(config)


def _worktree(git_dir: str, common_dir: str | None) -> str | None:
    """Return the name of a linked worktree: its git directory is in the one that all share."""
    folder, name = os.path.split(git_dir)
    return name if common_dir and folder == os.path.join(common_dir, "worktrees") else None


def _git_dirs(root: str, touch: Touch) -> tuple[str, str]:
    """Do as `git_dirs`; where `.git` leads nowhere, it stands for both."""
    try:
        return git_dirs(root, touch)
    except InvalidWorkspaceError:
        return (os.path.join(root, ".git"),) * 2


def _real_folder(path: str, touch: Touch) -> str:
    _check_form(path)
    real, _ = _resolve(path, touch)
    try:
        real.encode()
    except UnicodeEncodeError:
        raise InvalidWorkspaceError("a path in .git is not UTF-8") from None
    return real


def _read(path: str, touch: Touch, limit: int) -> str | None:
    """Return the first *limit* bytes of a regular file; None if *path* is none or unreadable."""
    touch(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a device can change it
            return None
        # Should it be a FIFO by now, open would wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return None
    try:
        return os.fsdecode(os.read(descriptor, limit))
    except OSError:
        return None
    finally:
        os.close(descriptor)
