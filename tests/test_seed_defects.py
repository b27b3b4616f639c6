"""Regression tests for the defects of the system that Segue descends from.

A test's name states what Segue does, its docstring the defect.
"""

import subprocess
from pathlib import Path

import pytest

from segue.model import json_text
from segue.model.errors import HeadMoved
from segue.model.events import Event
from segue.model.records import Timestamp
from segue.model.workspace import resolve_workspace
from segue.sessions.manager import SessionManager
from segue.sessions.window import Window
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.factories import (
    HERE,
    all_events,
    append_to_head,
    contents,
    execute,
    note,
    store_session,
    user_message,
    workspace_at,
)


@pytest.fixture
def window(service: LocalSessionService) -> Window:
    async def open_service() -> SessionService:
        return service

    return Window(open_service, 60)


async def test_x1_the_first_message_after_only_notices_is_stored(
    window: Window, service: LocalSessionService
) -> None:
    """Session holding only out-of-band events: the first user message is never written."""
    notice = Event.new("out_of_band_output", {"name": "new", "content": "Started a new session."})
    noticed = await store_session(service, notice)
    opened = await window.open(workspace_at())
    assert opened.session.id != noticed
    await window.append(opened.session.id, [user_message("first")])
    assert await contents(service, opened.session.id) == ["first"]
    await window.open(workspace_at(), session_id=noticed)
    await window.append(noticed, [user_message("first here")])
    assert (await contents(service, noticed))[-1] == "first here"


@pytest.mark.parametrize(
    ("column", "value"), [("data", "not json"), ("data", "{}"), ("type", "from/later")]
)
async def test_x2_a_bad_or_unknown_event_never_blocks_a_resume(
    database: Path, window: Window, service: LocalSessionService, column: str, value: str
) -> None:
    """One bad or unknown event aborts start on every launch in the window."""
    id = await store_session(service, user_message("one"), user_message("two"))
    execute(database, f"UPDATE events SET {column} = ? WHERE seq = 1", value)
    opened = await window.open(workspace_at(), mode="resume")
    assert opened.session.id == id
    assert getattr(opened.events[0], column) in (value, {})
    assert opened.events[1].data == {"content": "two"}
    await window.append(id, [user_message("three")])
    assert (await all_events(service, id))[-1].data == {"content": "three"}


async def test_x3_the_invocation_in_the_result_is_the_one_that_is_stored(
    window: Window, service: LocalSessionService
) -> None:
    """The manager's invocation id is not the UI's; after /new the UI keeps the old one."""
    opened = await window.open(workspace_at())
    await window.append(opened.session.id, [user_message()])
    reset = await window.reset(opened.session.id)
    await window.append(reset.session.id, [user_message()])
    assert opened.invocation_id != reset.invocation_id
    for result in (opened, reset):
        (event,) = await all_events(service, result.session.id)
        assert event.invocation_id == result.invocation_id


async def test_x4_two_processes_never_fork_a_session(
    database: Path, service: LocalSessionService
) -> None:
    """Two processes resume one row: chain forks, load interleaves, head is last-write-wins."""
    id = await store_session(service, user_message("one"))
    other = await LocalSessionService.open(database)
    mine = await SessionManager.resume(service, id, workspace_at())
    theirs = await SessionManager.resume(other, id, workspace_at())
    await mine.persist_events([user_message("mine")])
    with pytest.raises(HeadMoved) as moved:
        await theirs.persist_events([user_message("theirs")])
    assert moved.value.head == (await service.get_session(id)).head
    await theirs.snapshot()
    await theirs.persist_events([user_message("theirs")])
    stored = await contents(service, id)
    assert [content for content in stored if "Note" not in content] == ["one", "mine", "theirs"]
    await other.close()


async def test_x5_a_clock_that_steps_back_reorders_nothing(
    database: Path,
) -> None:
    """One-second stamps or a clock step back reorder events."""
    now = 1_800_000_000_000
    service = await LocalSessionService.open(database, clock=lambda: Timestamp(now))
    id = await store_session(service, user_message("0"))
    for number in range(1, 10):
        now -= 3_600_000 * (number % 2)
        await append_to_head(service, id, user_message(str(number)))
    assert await contents(service, id) == [str(number) for number in range(10)]
    await service.close()


async def test_x6_a_reset_stores_the_new_session_in_the_current_directory(
    window: Window, service: LocalSessionService
) -> None:
    """/new after resume from a sibling dir stores the new session under the old directory."""
    old = await store_session(service, directory="/repo/docs", git_root="/repo")
    await window.open(workspace_at("/repo/src", "/repo"))
    new = (await window.reset(old)).session.id
    await window.append(new, [user_message()])
    assert (await service.get_session(new)).directory == "/repo/src"


async def test_x7_a_worktree_resumes_only_its_own_conversations(
    window: Window, repository: Path
) -> None:
    """Worktrees and submodules share git_root: another branch's conversation is resumed."""
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@b"]
    tree = repository.parent / "tree"
    for command in (
        ["commit", "--quiet", "--allow-empty", "-m", "first"],
        ["worktree", "add", "--quiet", str(tree)],
    ):
        subprocess.run([*git, *command], check=True, capture_output=True)
    main, branch = resolve_workspace(str(repository)), resolve_workspace(str(tree))
    opened = await window.open(main)
    await window.append(opened.session.id, [user_message("on main")])
    assert (await window.find_resumable(branch)).session is None
    assert (await window.find_resumable(main)).session is not None
    page = await window.list_sessions(branch, archived=False, cursor=None, limit=10)
    assert [session.id for session in page.sessions] == [opened.session.id]


async def test_x8_every_spelling_of_a_directory_finds_its_session(
    window: Window, tmp_path: Path
) -> None:
    """Raw path strings: a symlink or a trailing slash misses."""
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    opened = await window.open(resolve_workspace(f"{tmp_path}/project"))
    await window.append(opened.session.id, [user_message()])
    for spelling in ("link", "project/", "link/", "project/../link/.", "/project"):
        found = await window.find_resumable(resolve_workspace(f"{tmp_path}/{spelling}"))
        assert found.session is not None
        assert found.session.id == opened.session.id


async def test_x10_the_prompt_is_on_disk_before_the_model_is_asked(
    database: Path, window: Window
) -> None:
    """The prompt is not durable until the turn ends."""
    opened = await window.open(workspace_at())
    await window.append(opened.session.id, [user_message("the prompt")])
    (row,) = execute(database, "SELECT type, data FROM events")
    assert tuple(row) == ("user_message", '{"content":"the prompt"}')


async def test_x11_boundaries_do_not_accumulate_and_reading_updates_nothing(
    service: LocalSessionService,
) -> None:
    """Boundary notes pile up per invocation; a keystroke bumps updated_at."""

    async def open_service() -> SessionService:
        return service

    id = await store_session(service, user_message("one"))
    before = await service.get_session(id)
    for _ in range(10):
        await Window(open_service, 60).open(workspace_at())
    assert await service.get_session(id) == before
    last = Window(open_service, 60)
    boundary = (await last.open(workspace_at())).boundary
    assert boundary is not None
    await last.append(id, [user_message("two")])
    await last.append(id, [user_message("three")])
    assert await contents(service, id) == ["one", boundary.data["content"], "two", "three"]


async def test_x13_opening_a_long_session_reads_only_its_tail(
    window: Window, service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole session is loaded and cloned."""
    id = await store_session(service, *(user_message(str(number)) for number in range(5_000)))
    decoded = 0
    decode = json_text.decode

    def count(encoded: str) -> tuple[object, bool]:
        nonlocal decoded
        decoded += 1
        return decode(encoded)

    monkeypatch.setattr(json_text, "decode", count)
    opened = await window.open(workspace_at(HERE), session_id=id, tail=20)
    assert [event.seq for event in opened.events] == list(range(4_981, 5_001))
    assert decoded == 20
    await window.append(id, [user_message("next")])
    assert decoded == 20


async def test_x14_the_wal_is_as_private_as_the_database_and_deleted_data_is_gone(
    database: Path, service: LocalSessionService
) -> None:
    """-wal and -shm permissions, no secure delete."""
    id = await store_session(service, user_message("a secret " * 1_000), note("a note"))
    files = {path.name: path for path in database.parent.iterdir()}
    assert {"sessions.db-wal", "sessions.db-shm"} <= files.keys()
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert any(b"a secret" in path.read_bytes() for path in files.values())
    await service.delete(id)
    assert not any(b"a secret" in path.read_bytes() for path in files.values())
