"""Finds the workspace of a directory, without a git process.

So a repository of another owner, a leaked `GIT_DIR` and a missing git program make no difference.
"""

import os
from pathlib import Path

import attrs

_LONGEST_GIT_FILE = 64 * 1024


class InvalidWorkspaceError(ValueError):
    """A path that cannot be a workspace; the message has the reason."""


@attrs.frozen(kw_only=True)
class Workspace:
    """The directory of an editor, and its git repository."""

    directory: str
    """Absolute, with symlinks resolved."""

    git_root: str | None
    """The nearest folder, at or above `directory`, with a `.git` in it."""

    git_common_dir: str | None
    """The git directory that all worktrees of the repository share."""


def resolve_workspace(path: str) -> Workspace:
    """Return the workspace of *path*.

    Raises InvalidWorkspaceError as `locate_workspace` does, and if *path* is not a folder.
    """
    workspace = locate_workspace(path)
    if not os.path.isdir(workspace.directory):
        fault = "is not a folder" if os.path.exists(workspace.directory) else "does not exist"
        raise InvalidWorkspaceError(f"{path} {fault}")
    return workspace


def locate_workspace(path: str) -> Workspace:
    """Return the workspace of *path*, which need not exist any more.

    Raises InvalidWorkspaceError if *path* is relative, is not UTF-8 or cannot be resolved.
    """
    if not os.path.isabs(path):
        raise InvalidWorkspaceError("expected an absolute path")
    try:
        directory = Path(os.path.realpath(path))
        str(directory).encode()
    except UnicodeEncodeError:
        raise InvalidWorkspaceError("a folder whose path is not UTF-8 cannot be kept") from None
    except (OSError, ValueError) as error:
        raise InvalidWorkspaceError(f"not a usable path ({error})") from None
    folders = (directory, *directory.parents)
    root = next((folder for folder in folders if _has_git(folder)), None)
    return Workspace(
        directory=str(directory),
        git_root=None if root is None else str(root),
        git_common_dir=None if root is None else str(_common_dir(root / ".git")),
    )


def _has_git(directory: Path) -> bool:
    try:
        return (directory / ".git").exists()
    except OSError:
        return False


def _common_dir(dot_git: Path) -> Path:
    """Return the common directory of *dot_git*: itself, or the one that a worktree's file names."""
    try:
        git_dir = dot_git
        if dot_git.is_file():
            relative = _read(dot_git).removeprefix("gitdir:").strip()
            git_dir = Path(os.path.realpath(dot_git.parent / relative))
        common = git_dir / "commondir"
        if common.is_file():
            git_dir = git_dir / _read(common).strip()
        resolved = os.path.realpath(git_dir)
        resolved.encode()
    except (OSError, ValueError):
        return dot_git
    return Path(resolved)


def _read(file: Path) -> str:
    with file.open("rb") as content:
        return os.fsdecode(content.read(_LONGEST_GIT_FILE))
