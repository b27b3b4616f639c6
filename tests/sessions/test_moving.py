"""A checkout that was moved on this machine: it is asked about once, and two clones stay two."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from segue.model.errors import NothingToResume
from segue.model.records import MovedCheckout
from segue.model.validation import InvalidInputError
from segue.model.workspace import Workspace, locate_workspace
from segue.sessions.moving import is_gone
from segue.sessions.window import Window
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import make_older, user_message

OpenWindow = Callable[[], Window]


@pytest.fixture
def open_window(service: LocalSessionService) -> OpenWindow:
    async def open_service() -> SessionService:
        return service

    return lambda: Window(open_service, 60)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path)) / "disk"


def clone(folder: Path, url: str = "git@github.com:org/repo.git") -> Path:
    (folder / "src").mkdir(parents=True)
    subprocess.run(["git", "-C", folder, "init", "--quiet"], check=True)
    subprocess.run(["git", "-C", folder, "remote", "add", "origin", url], check=True)
    return folder


async def talk(window: Window, folder: Path) -> str:
    opened = await window.open(locate_workspace(str(folder)), mode="new")
    await window.append(opened.session.id, [user_message()])
    return opened.session.id


async def moved(window: Window, folder: Path) -> MovedCheckout | None:
    return (await window.find_resumable(locate_workspace(str(folder)))).moved


async def test_a_moved_checkout_is_found_and_its_conversations_come_along(
    open_window: OpenWindow, disk: Path, database: Path
) -> None:
    old, new = clone(disk / "old"), disk / "new"
    id = await talk(open_window(), old / "src")
    make_older(database, id, 60 * 24 * 30)
    old.rename(new)
    window = open_window()

    opened = await window.open(locate_workspace(str(new / "src")))

    assert (opened.resumed, opened.reason_code) == (False, "nothingFits")
    assert opened.moved is not None
    assert (opened.moved.old_root, opened.moved.new_root) == (str(old), str(new))
    assert opened.moved.session.id == id
    assert await window.relocate(f"{old}/", locate_workspace(str(new))) == 1
    assert await window.relocate(f"{old}/", locate_workspace(str(new))) == 0
    assert await moved(window, new) is None
    session = await window.get(id)
    assert (session.directory, session.git_root) == (str(new / "src"), str(new))
    again = await open_window().open(locate_workspace(str(new)), continue_minutes=100_000)
    assert again.session.id == id
    assert again.moved is None


async def test_what_was_declined_is_not_asked_again(open_window: OpenWindow, disk: Path) -> None:
    old, new, third = clone(disk / "old"), clone(disk / "new"), clone(disk / "third")
    id = await talk(open_window(), old)
    shutil.rmtree(old)
    window = open_window()
    assert await moved(window, new) is not None

    assert await window.relocate(str(old), locate_workspace(str(new)), is_declined=True) == 0

    assert await moved(window, new) is None
    assert await moved(open_window(), new) is None
    assert (await window.get(id)).directory == str(old)
    assert await moved(window, third) is not None, "somewhere else it is another question"
    await window.relocate(str(old), locate_workspace(str(third)), is_declined=True)
    assert await moved(window, new) is None


async def test_two_clones_on_one_disk_stay_two(open_window: OpenWindow, disk: Path) -> None:
    one, two = clone(disk / "one"), clone(disk / "two")
    await talk(open_window(), one)
    window = open_window()
    assert await moved(window, two) is None
    assert (await window.open(locate_workspace(str(two)))).reason_code == "nothingFits"
    with pytest.raises(InvalidInputError):
        await window.relocate(str(one), locate_workspace(str(two)))
    with pytest.raises(NothingToResume):
        await window.open(locate_workspace(str(two)), mode="resume")


@pytest.mark.parametrize("kind", ["other remote", "no remote", "worktree", "something fits"])
async def test_it_is_not_asked_without_a_reason(
    open_window: OpenWindow, disk: Path, kind: str
) -> None:
    old = clone(disk / "old")
    await talk(open_window(), old)
    shutil.rmtree(old)
    new = clone(disk / "new", "git@github.com:org/other" if kind == "other remote" else "../old")
    if kind in ("worktree", "something fits"):
        url = "https://github.com/org/repo"
        subprocess.run(["git", "-C", new, "remote", "set-url", "origin", url], check=True)
    if kind == "worktree":
        identity = ("-c", "user.name=A", "-c", "user.email=a@b")
        commit = ("commit", "--quiet", "--allow-empty", "-m", "x")
        subprocess.run(["git", "-C", new, *identity, *commit], check=True)
        tree = ("worktree", "add", "--quiet", disk / "tree")
        subprocess.run(["git", "-C", new, *tree], check=True, capture_output=True)
        new = disk / "tree"
    if kind == "something fits":
        await talk(open_window(), new)
    assert await moved(open_window(), new) is None


async def test_a_removed_worktree_was_not_moved(open_window: OpenWindow, disk: Path) -> None:
    main = clone(disk / "main")
    identity = ("-c", "user.name=A", "-c", "user.email=a@b")
    for command in (
        (*identity, "commit", "--quiet", "--allow-empty", "-m", "x"),
        ("worktree", "add", "--quiet", disk / "tree"),
    ):
        subprocess.run(["git", "-C", main, *command], check=True, capture_output=True)
    await talk(open_window(), disk / "tree")
    shutil.rmtree(disk / "tree")
    assert await moved(open_window(), main) is None


async def test_a_link_in_the_old_place_is_no_checkout(open_window: OpenWindow, disk: Path) -> None:
    old, new = clone(disk / "old"), disk / "new"
    id = await talk(open_window(), old)
    old.rename(new)
    old.symlink_to(new)
    found = await moved(open_window(), old)
    assert found is not None
    assert (found.old_root, found.new_root, found.session.id) == (str(old), str(new), id)
    assert await open_window().relocate(str(old), locate_workspace(str(old))) == 1


@pytest.mark.parametrize("root", ["old", "", "{new}", "{new}/", "/", "/\udcff", "/a\0b"])
async def test_a_wrong_root_moves_nothing(
    open_window: OpenWindow, disk: Path, root: str, service: LocalSessionService
) -> None:
    new = clone(disk / "new")
    id = await talk(open_window(), new)
    with pytest.raises(InvalidInputError):
        await open_window().relocate(root.format(new=new), locate_workspace(str(new)))
    assert (await service.get_session(id)).directory == str(new)


def test_a_folder_is_gone_only_if_that_is_certain(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    assert not is_gone(str(tmp_path))
    assert not is_gone("\0")
    assert not is_gone(f"{tmp_path}/{'x' * 300}"), "the system did not look"
    for gone in ("nothing", "file", "file/below", "link"):
        assert is_gone(f"{tmp_path}/{gone}")


async def test_a_folder_that_does_not_answer_is_not_gone(
    open_window: OpenWindow, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = clone(disk / "old"), disk / "new"
    await talk(open_window(), old)
    old.rename(new)
    window = open_window()

    def never(look: Callable[..., object], folder: str) -> Awaitable[object]:
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(window.locator, "find", never)
    here: Workspace = locate_workspace(str(new))
    assert (await window.find_resumable(here)).moved is None
