"""The list of `:Segue`: what it shows at any length and width, and what its keys do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.cli.client import Client
from tests.editors.neovim import (
    RunNeovim,
    StartNeovim,
    needs_neovim,
    stored_sessions,
    wait_for_flag,
)
from tests.factories import make_older

pytestmark = needs_neovim

DAY_MINUTES = 24 * 60
LONG = "Please explain why the long title of this conversation is shown whole"


def converse(client: Client, number: int | str, title: str | None = None) -> str:
    """Store a conversation of one turn; return its id."""
    session = client.request("session/open", {"mode": "new", "workspace": None})["session"]
    question = title or f"question {number}"
    events = [
        {"type": "user_message", "data": {"content": question}},
        {"type": "text", "data": {"content": f"answer {number}"}},
    ]
    id: str = session["sessionId"]
    client.request("session/append", {"sessionId": id, "events": events, "agent": "openai"})
    return id


def test_three_hundred_conversations_are_listed_by_day(
    run_neovim: RunNeovim, start: Callable[[], Client], database: Path
) -> None:
    client = start()
    ids = [converse(client, number) for number in range(299)]
    ids.append(converse(client, "", LONG))
    client.kill()
    ages = [400, 60, *[3] * 295, 1, 0, 0]
    for id, days in zip(ids, ages, strict=True):
        make_older(database, id, days * DAY_MINUTES)

    report = run_neovim("list.screens", columns=60, lines=40, expected="Previous 7 days")

    assert report["name"].startswith("segue-list:///")
    headings = [line for line in report["all"] if re.fullmatch(r"[A-Z][\w ]+", line)]
    assert headings[:3] == ["Today", "Yesterday", "Previous 7 days"]
    assert [bool(re.fullmatch(r"[A-Z][a-z]+ 20\d\d", line)) for line in headings[3:]] == [True] * 2
    rows = [line for line in report["all"] if " · openai" in line]
    assert len(rows) == 300, "all pages"
    assert len(set(rows)) == 300
    assert len([line for line in report["first"] if " · openai" in line]) == 100, "one page"
    assert report["first"][-1] == "Older ones are loaded when you scroll down."
    assert report["all"][-1] == rows[-1], "the oldest is the end"
    assert re.fullmatch(rf"\d\d:\d\d {{7}}{LONG} · openai", report["first"][4])
    assert report["cursor"] == 5, "on the newest"
    screen = " ".join(report["screen"].split())
    assert LONG in screen, "whole at 60 columns"
    assert re.search(r"^ {12}\S", report["screen"], re.MULTILINE), "below itself"
    assert report["said"] in ([], {})


@pytest.mark.parametrize(
    ("before", "chats"),
    [
        ("", "Chats of codecompanion.nvim and others are recorded."),
        (
            "command CodeCompanionChat echo",
            ":CodeCompanionChat opens a chat, which is recorded.",
        ),
    ],
)
def test_an_empty_list_says_what_to_do(run_neovim: RunNeovim, before: str, chats: str) -> None:
    expected = "no conversation in this workspace"
    report = run_neovim("list.screens", columns=60, expected=expected, before=before)

    for line in (
        chats,
        ":Segue! lists those of all workspaces.",
        "`segue import` stores those of Claude Code, Codex …",
    ):
        assert line in report["screen"]
    assert report["said"] in ([], {})


def test_all_workspaces_are_listed_with_their_folders(
    run_neovim: RunNeovim, start: Callable[..., Client], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    client = start(other)
    converse(client, 7)
    client.kill()

    report = run_neovim("list.screens", columns=200, expected="question 7", bang=True)

    assert any(line.endswith(f"question 7 · openai · {other}") for line in report["all"])
    assert report["name"] == "segue-list://all"


def test_keys_act_on_the_conversation_under_the_cursor(
    run_neovim: RunNeovim, start: Callable[[], Client], database: Path
) -> None:
    client = start()
    first, second, third = (converse(client, number) for number in (1, 2, 3))
    client.kill()

    report = run_neovim("list.keys")

    sessions = stored_sessions(database)
    assert third not in sessions
    assert report["kept"] is True
    assert sessions[second].title == "A better title"
    assert "A better title" in report["line_after_rename"], "the cursor stays on its row"
    assert sessions[report["fork"]].forked_from == second
    assert sessions[first].archived_at is None, "archived, and brought back"
    assert second in report["shown"]
    assert report["current_after_show"] is None
    assert report["resumed"] == first
    assert report["lists_left"] == 0, "the list makes room for what is resumed"
    assert re.match(r"\d\d:\d\d {5}\* question 1 · openai", report["starred"])
    for line in ("<CR>  resume it", "/     search the conversations", "g?    show or hide"):
        assert line in report["help"]
    delete = f"Delete “question 3” ({third}) and all its events permanently?"
    assert report["selected"] == ["Title: question 2", delete, delete]
    assert "segue: put the cursor on a conversation" in report["said"]


def test_what_another_editor_stores_is_listed_at_once(
    start_neovim: StartNeovim, start: Callable[[], Client], tmp_path: Path
) -> None:
    client = start()
    for number in (1, 2):
        converse(client, number)
    neovim = start_neovim("list.live")
    wait_for_flag(tmp_path / "flags" / "shown", neovim)
    converse(client, "", "from elsewhere")
    wait_for_flag(tmp_path / "flags" / "killed", neovim)
    converse(client, "", "after the kill")
    wait_for_flag(tmp_path / "flags" / "failed", neovim)
    converse(client, "", "after the crashes")
    (tmp_path / "flags" / "stored while it has failed").touch()
    report = neovim.wait()

    assert "question 2" in report["line"], "the cursor stays on its conversation"
    assert "question 2" in report["line_at_end"]


def test_without_a_server_the_list_says_how_to_install_it(run_neovim: RunNeovim) -> None:
    screen = run_neovim("list.not_installed")["screen"]

    assert "was not found" in screen
    assert re.search(r"(uv tool|pipx) install", screen)
