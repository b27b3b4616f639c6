"""Conversations of avante.nvim, which are stored when its events say that they have changed."""

from pathlib import Path
from typing import Any

import pytest

from tests.agents.test_avante import answer, said
from tests.editors.neovim import (
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
    stored_sessions,
)
from tests.editors.plugins import checkout, needs_plugins

pytestmark = needs_neovim

PLUGINS = ("avante.nvim", "nui.nvim", "plenary.nvim")
MESSAGES = [said("one", 7), answer("1", 8), said("two", 9), answer("2", 10)]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Return where avante.nvim saves the conversations of a project."""
    return str(tmp_path / "avante" / "projects" / "p" / "history")


def test_a_conversation_is_stored_while_it_is_had(
    run_neovim: RunNeovim, database: Path, folder: str
) -> None:
    report = run_neovim("avante.turns", folder=folder, messages=MESSAGES)

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "1", "two", "2"]
    assert stored_sessions(database)[session].source == "avante"
    assert notices(report) == []


@needs_plugins(*PLUGINS)
def test_a_conversation_of_the_real_plugin_is_stored(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("avante.real", plugins=[checkout(name) for name in PLUGINS])

    (session,) = session_ids(database)
    assert message_contents(database, session) == ["the question", "the answer"]
    assert stored_sessions(database)[session].source == "avante"
    assert notices(report) == []


@pytest.mark.parametrize("settings", [{"integrations": {"avante": False}}])
def test_it_can_be_disabled(
    run_neovim: RunNeovim, database: Path, folder: str, settings: dict[str, Any]
) -> None:
    run_neovim("avante.not_wanted", folder=folder, messages=MESSAGES, settings=settings)

    assert not database.exists()


def test_what_cannot_be_stored_is_said_once(run_neovim: RunNeovim, folder: str) -> None:
    (notice,) = notices(run_neovim("avante.unreadable", folder=folder))

    assert notice.startswith("segue: avante.nvim's conversation was not stored: ")
    assert len(notice) > len("segue: avante.nvim's conversation was not stored: ")
