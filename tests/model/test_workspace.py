import os
import subprocess
from pathlib import Path

import pytest

from segue.model.workspace import (
    InvalidWorkspaceError,
    Workspace,
    locate_workspace,
    resolve_workspace,
)


def git(directory: Path, *arguments: str | Path) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", "-C", directory, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def committed(repository: Path) -> Path:
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "first")
    return repository


def test_a_folder_without_a_repository_is_its_own_workspace(tmp_path: Path) -> None:
    directory = os.path.realpath(tmp_path)
    assert resolve_workspace(str(tmp_path)) == Workspace(
        directory=directory, git_root=None, git_common_dir=None
    )


def test_the_git_root_is_the_nearest_folder_with_a_dot_git(repository: Path) -> None:
    deep = repository / "src" / "a" / "b"
    deep.mkdir(parents=True)
    for directory in (repository, repository / "src", deep):
        assert resolve_workspace(str(directory)) == Workspace(
            directory=str(directory),
            git_root=str(repository),
            git_common_dir=str(repository / ".git"),
        )


def test_a_nested_repository_is_its_own_root(repository: Path) -> None:
    inner = repository / "src" / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    assert resolve_workspace(str(inner)).git_root == str(inner)
    assert resolve_workspace(str(repository / "src")).git_root == str(repository)


def test_symlinks_and_dot_segments_are_resolved(repository: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(repository / "src")
    real = resolve_workspace(str(repository / "src"))
    for path in (f"{link}", f"{link}/", f"{repository}/src/../src/.", f"{repository}//src"):
        assert resolve_workspace(path) == real


def test_a_worktree_is_its_own_root_and_shares_the_repository(
    committed: Path, tmp_path: Path
) -> None:
    tree = Path(os.path.realpath(tmp_path)) / "tree"
    git(committed, "worktree", "add", "--quiet", tree)
    (tree / "src").mkdir()
    assert resolve_workspace(str(tree / "src")) == Workspace(
        directory=str(tree / "src"),
        git_root=str(tree),
        git_common_dir=str(committed / ".git"),
    )


def test_a_submodule_is_its_own_root_and_its_own_repository(
    committed: Path, tmp_path: Path
) -> None:
    outer = Path(os.path.realpath(tmp_path)) / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "submodule", "--quiet", "add", committed, "inner")
    assert resolve_workspace(str(outer / "inner")) == Workspace(
        directory=str(outer / "inner"),
        git_root=str(outer / "inner"),
        git_common_dir=str(outer / ".git" / "modules" / "inner"),
    )
    assert resolve_workspace(str(outer)).git_common_dir == str(outer / ".git")


@pytest.mark.parametrize(
    "content",
    [b"", b"not git's", b"gitdir: /no/such/place", b"gitdir: \0", b"gitdir: \xff", b"\xff"],
)
def test_an_invalid_git_file_still_marks_a_root(tmp_path: Path, content: bytes) -> None:
    directory = Path(os.path.realpath(tmp_path))
    (directory / ".git").write_bytes(content)
    workspace = resolve_workspace(str(directory))
    assert workspace.git_root == str(directory)
    assert workspace.git_common_dir is not None
    workspace.git_common_dir.encode()


def test_git_variables_and_a_missing_git_program_have_no_effect(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolve_workspace(str(repository / "src"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    assert resolve_workspace(str(repository / "src")) == before


@pytest.mark.parametrize("path", ["", ".", "src", "~", "~/src", "C:src"])
def test_a_relative_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidWorkspaceError, match="absolute"):
        resolve_workspace(path)


def test_a_missing_path_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidWorkspaceError, match="does not exist"):
        resolve_workspace(str(tmp_path / "missing"))
    for path in ("file", "file/below"):
        with pytest.raises(InvalidWorkspaceError):
            resolve_workspace(str(tmp_path / path))


@pytest.mark.parametrize("path", ["/a\0b", "/half \ud83d"])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidWorkspaceError):
        resolve_workspace(path)


def test_a_symlink_loop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidWorkspaceError):
        resolve_workspace(str(tmp_path / "loop"))


def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    try:
        os.mkdir(path)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InvalidWorkspaceError, match="UTF-8"):
        resolve_workspace(os.fsdecode(path))


def test_a_deleted_folder_can_be_located(repository: Path) -> None:
    gone = locate_workspace(str(repository / "gone"))
    assert (gone.directory, gone.git_root) == (str(repository / "gone"), str(repository))
