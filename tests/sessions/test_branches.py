"""The branch of a session: which one is checked out where a window has it."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from segue.model.events import Event
from segue.model.workspace import Workspace, locate_workspace
from segue.redaction import engine
from segue.sessions import window as window_module
from segue.sessions.branches import LONGEST, storable_branch
from segue.sessions.window import Window, no_redaction
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import note, user_message, workspace_at


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be unknown because the machine is busy."""
    monkeypatch.setattr(window_module, "_MEASURING_S", 60.0)
    monkeypatch.setattr(window_module, "_READING_BRANCH_S", 60.0)


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgSign=false")
    subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "checkout"
    (root / "src").mkdir(parents=True)
    git(root, "init", "--quiet", "-b", "main")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "first")
    return root


def here(folder: Path) -> Workspace:
    return locate_workspace(str(folder))


def window_on(service: LocalSessionService, redact: Any = None) -> Window:
    async def open_service() -> SessionService:
        return service

    return Window(open_service, 60, no_redaction if redact is None else lambda: redact)


async def append(window: Window, session_id: str, *events: Event) -> str | None:
    """Append, and return the branch that the session has then."""
    await window.append(session_id, events or [user_message()])
    return (await window.get(session_id)).branch


async def test_a_new_session_has_the_branch_of_its_first_prompt(
    service: LocalSessionService, checkout: Path
) -> None:
    window = window_on(service)
    opened = await window.open(here(checkout / "src"), mode="new")
    git(checkout, "checkout", "--quiet", "-b", "topic/one")
    assert opened.session.branch is None
    assert await append(window, opened.session.id) == "topic/one"


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_session_gets_the_branch_of_where_it_goes_on(
    service: LocalSessionService, checkout: Path, by_id: bool
) -> None:
    first = window_on(service)
    id = (await first.open(here(checkout), mode="new")).session.id
    assert await append(first, id) == "main"
    git(checkout, "checkout", "--quiet", "-b", "topic")
    second = window_on(service)
    opened = await second.open(here(checkout / "src"), session_id=id if by_id else None)
    assert (opened.session.id, opened.session.branch) == (id, "main"), "reading does not write"
    assert await append(second, id) == "topic"


async def test_on_a_detached_head_a_session_keeps_the_branch_that_it_had(
    service: LocalSessionService, checkout: Path
) -> None:
    first = window_on(service)
    id = (await first.open(here(checkout), mode="new")).session.id
    assert await append(first, id) == "main"
    git(checkout, "checkout", "--quiet", "--detach")
    second = window_on(service)
    await second.open(here(checkout), session_id=id)
    assert await append(second, id) == "main"
    new = (await second.open(here(checkout), mode="new")).session.id
    assert await append(second, new) is None


async def test_the_branch_of_another_folder_is_not_that_of_the_session(
    service: LocalSessionService, checkout: Path, tmp_path: Path
) -> None:
    window = window_on(service)
    id = (await window.open(here(tmp_path), mode="new")).session.id
    assert await append(window, id) is None, "there is no repository"
    other = window_on(service)
    await other.open(here(checkout), session_id=id)
    assert await append(other, id) is None
    fork = (await other.fork(id, workspace=here(checkout))).session.id
    assert await append(other, fork) == "main"


async def test_the_conversation_after_a_reset_has_the_branch_of_today(
    service: LocalSessionService, checkout: Path
) -> None:
    window = window_on(service)
    id = (await window.open(here(checkout), mode="new")).session.id
    await append(window, id)
    git(checkout, "checkout", "--quiet", "-b", "topic")
    after = (await window.reset(id)).session.id
    assert await append(window, after) == "topic"
    assert await append(window, id, note()) == "main"


async def test_a_repository_without_a_commit_has_a_branch(
    service: LocalSessionService, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet", "-b", "trunk")
    window = window_on(service)
    id = (await window.open(here(tmp_path), mode="new")).session.id
    assert await append(window, id) == "trunk"


async def test_an_append_does_not_wait_for_a_folder_that_does_not_answer(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "_READING_BRANCH_S", 0.02)
    monkeypatch.setattr("segue.model.git_changes.read_branch", lambda *_: time.sleep(0.5))
    window = window_on(service)
    id = (await window.open(workspace_at("/gone", "/gone"), mode="new")).session.id
    begun = time.monotonic()
    assert await append(window, id) is None
    assert time.monotonic() - begun < 0.4


async def test_a_secret_in_the_name_of_a_branch_is_masked(
    service: LocalSessionService, checkout: Path
) -> None:
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"[:36]
    git(checkout, "checkout", "--quiet", "-b", f"fix/{secret}")
    window = window_on(service, engine.mask)
    id = (await window.open(here(checkout), mode="new")).session.id
    branch = await append(window, id)
    assert branch is not None
    assert branch.startswith("fix/")
    assert secret not in branch


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (None, None),
        ("", None),
        ("\x07\n", None),
        ("main", "main"),
        ("a\x1b[31mb\nc", "a [31mb c"),
        ("\ud800", "?"),
        ("x" * (LONGEST + 1), "x" * (LONGEST - 1) + "…"),
    ],
)
def test_a_name_is_kept_as_one_short_line(name: str | None, kept: str | None) -> None:
    assert storable_branch(name, lambda value, json_text: value) == kept
