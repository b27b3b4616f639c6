import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.model.workspace import (
    MAX_PATH,
    InvalidWorkspaceError,
    Workspace,
    locate_workspace,
    resolve_workspace,
)
from tests import fuse


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


# A folder that is not there, or cannot be looked at


def located(path: Path | str) -> str:
    return locate_workspace(str(path)).directory


def test_a_folder_that_never_was_is_located_where_it_would_be(tmp_path: Path) -> None:
    real = os.path.realpath(tmp_path)
    (tmp_path / "link").symlink_to("disk/project")
    assert located(tmp_path / "gone/b/../c/.//d") == f"{real}/gone/c/d"
    assert located(tmp_path / "link/src") == f"{real}/disk/project/src"


def test_a_folder_behind_one_that_may_not_be_passed_is_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = Path(os.path.realpath(tmp_path)) / "locked"
    lstat = os.lstat

    def refusing(path: str) -> os.stat_result:  # root may pass every folder
        if path.startswith(f"{locked}/"):
            raise PermissionError(13, "Permission denied")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", refusing)
    locked.mkdir()
    assert located(locked / "project" / "src") == f"{locked}/project/src"


@pytest.mark.parametrize("below", ["", "/below", "/below/more", "/.."])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidWorkspaceError, match="not a folder"):
        locate_workspace(f"{tmp_path}/file{below}")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspaceError, match="too long"):
        locate_workspace(f"{tmp_path}/{'x' * 256}/below")


@pytest.mark.parametrize("path", ["/c:/Users/me/A", "/C:", "/z:/"])
def test_a_path_of_windows_is_refused(path: str) -> None:
    with pytest.raises(InvalidWorkspaceError, match="path of Windows"):
        locate_workspace(path)


def test_a_long_chain_of_symlinks_is_refused_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for number in range(1, 60):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert located(tmp_path / "39") == os.path.realpath(tmp_path / "0")
    with pytest.raises(InvalidWorkspaceError, match="symbolic links"):
        locate_workspace(str(tmp_path / "59"))


# Bounds


@pytest.mark.parametrize(
    "path", ["/" + "a/" * 40_000_000, "/" + "ü" * MAX_PATH, "/" * (MAX_PATH + 1), "a" * 10**8]
)
def test_a_path_over_the_limit_is_refused_before_anything_else(path: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidWorkspaceError, match=f"at most {MAX_PATH:,} bytes"):
        locate_workspace(path)
    assert time.monotonic() - began < 0.2


def test_a_path_of_as_many_folders_as_there_can_be_is_located_quickly() -> None:
    began = time.monotonic()
    path = "/a" * (MAX_PATH // 2 - 1)
    assert located(path) == path
    assert time.monotonic() - began < 1


# Repositories


def test_a_home_that_is_a_repository_is_no_root_for_the_folders_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.path.realpath(tmp_path)) / "home"
    (home / ".git").mkdir(parents=True)
    (home / "notes").mkdir()
    (home / "project" / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    for named in (home, tmp_path / "link", f"{home}/"):
        monkeypatch.setenv("HOME", str(named))
        assert locate_workspace(str(home)).git_root == str(home)
        assert locate_workspace(str(home / "notes")).git_root is None
        assert locate_workspace(str(home / "project")).git_root == str(home / "project")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert locate_workspace(str(home / "notes")).git_root == str(home)


def test_a_dot_git_that_is_a_dangling_symlink_is_no_root(repository: Path) -> None:
    (repository / "src" / ".git").symlink_to("nowhere")
    assert locate_workspace(str(repository / "src")).git_root == str(repository)


@pytest.mark.parametrize("name", [".git", ".git/commondir"])
def test_a_fifo_is_not_waited_for(tmp_path: Path, name: str) -> None:
    fifo = tmp_path / name
    fifo.parent.mkdir(exist_ok=True)
    os.mkfifo(fifo)
    directory = os.path.realpath(tmp_path)
    assert locate_workspace(str(tmp_path)).git_common_dir == f"{directory}/.git"


def test_every_path_is_announced_before_it_is_looked_at(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[str] = []
    looked: list[str] = []
    for name in ("lstat", "stat", "open"):
        call = getattr(os, name)

        def recording(path: str, *given: object, call: object = call, **named: object) -> object:
            looked.append(os.fspath(path))
            assert callable(call)
            return call(path, *given, **named)

        monkeypatch.setattr(os, name, recording)
    resolve_workspace(str(repository / "src"), touched.append)
    assert looked
    assert set(looked) <= set(touched)


# Spelling


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """Return a file system that ignores case and Unicode form."""
    if (reason := fuse.unavailable()) is not None:
        pytest.skip(reason)
    folder = Path(os.path.realpath(tmp_path)) / "mount"
    folder.mkdir()
    paths = ("Users/Me/Projekt/.git", "Users/Me/Projekt/\u00dcber/src", "Hidden/Inner/Deep")
    try:
        with fuse.case_insensitive(folder, *paths, unlisted="Hidden"):
            yield folder
    except PermissionError as error:
        pytest.skip(str(error))


SPELLINGS = [
    "Users/Me/Projekt/\u00dcber/src",
    "users/me/projekt/\u00dcber/SRC",
    "USERS/ME/PROJEKT/U\u0308BER/src",
    "users/Me/Projekt/u\u0308ber/src",
    "Users/Me/Projekt/\u00fcber/src",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_all_spellings_of_a_folder_are_one_workspace(mount: Path, spelling: str) -> None:
    found = locate_workspace(str(mount / spelling))
    root = f"{mount}/Users/Me/Projekt"
    assert found == Workspace(
        directory=f"{root}/\u00dcber/src", git_root=root, git_common_dir=f"{root}/.git"
    )
    given = str(mount / spelling)
    above = os.path.dirname(os.path.dirname(given))
    assert found.aliases == (() if given == found.directory else (given, above))


def test_a_folder_that_cannot_be_listed_keeps_the_spelling_that_was_given(mount: Path) -> None:
    assert located(mount / "hidden/inner/DEEP") == f"{mount}/Hidden/inner/Deep"


def test_what_is_not_there_keeps_the_spelling_that_was_given(mount: Path) -> None:
    assert located(mount / "users/me/GONE/Inner") == f"{mount}/Users/Me/GONE/Inner"


def test_no_folder_is_listed_where_case_matters(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "Src").mkdir()
    (repository / "U\u0308").mkdir()
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail(f"{path} was listed"))
    for name in ("src", "Src", "U\u0308"):
        assert located(repository / name) == str(repository / name)
