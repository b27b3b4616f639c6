"""From a directory to the workspace it belongs to: pure path work, no git process.

Walking up works where git does not: a foreign-owned repository, a leaked `GIT_DIR`, no git at all.
"""

import os
from pathlib import Path

import attrs

_LONGEST_GIT_FILE = 64 * 1024


class InvalidWorkspaceError(ValueError):
    """The folder that was given cannot be a workspace; the message says why."""


@attrs.frozen(kw_only=True)
class Workspace:
    """Where an editor is: a real directory, its git root, and the `.git` its worktrees share."""

    directory: str
    git_root: str | None
    git_common_dir: str | None


def resolve_workspace(path: str) -> Workspace:
    """Return the workspace of an existing folder, or raise InvalidWorkspaceError."""
    workspace = locate_workspace(path)
    if not os.path.isdir(workspace.directory):
        what = "is not a folder" if os.path.exists(workspace.directory) else "does not exist"
        raise InvalidWorkspaceError(f"{path} {what}")
    return workspace


def locate_workspace(path: str) -> Workspace:
    """Return the workspace that *path* is in, or was: the folder may be gone."""
    if not os.path.isabs(path):
        raise InvalidWorkspaceError("expected an absolute path")
    try:
        directory = Path(os.path.realpath(path))
        str(directory).encode()
    except UnicodeEncodeError:
        raise InvalidWorkspaceError("a folder whose path is not UTF-8 cannot be kept") from None
    except (OSError, ValueError) as error:
        raise InvalidWorkspaceError(f"not a usable path ({error})") from None
    root = next((at for at in (directory, *directory.parents) if _holds_git(at)), None)
    return Workspace(
        directory=str(directory),
        git_root=None if root is None else str(root),
        git_common_dir=None if root is None else str(_common_dir(root / ".git")),
    )


def _holds_git(directory: Path) -> bool:
    try:
        return (directory / ".git").exists()
    except OSError:
        return False


def _common_dir(dot_git: Path) -> Path:
    """Return the repository that *dot_git* belongs to: itself, or what a worktree's file names."""
    try:
        git_dir = dot_git
        if dot_git.is_file():
            named = _read(dot_git).removeprefix("gitdir:").strip()
            git_dir = Path(os.path.realpath(dot_git.parent / named))
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
