"""`:Segue search`, in a Neovim with a screen: what is shown while someone types, and what opens."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.agents import claude
from tests.cli.helpers import run
from tests.editors.neovim import Report, RunNeovim, needs_neovim, notices
from tests.editors.plugins import checkout, needs_plugins

pytestmark = needs_neovim


def without_border(screen: str) -> str:
    """Return what a screen shows inside of its windows, one space between words."""
    return " ".join(screen.translate(str.maketrans("│─╭╮╰╯~", "       ")).split())


def test_results_follow_what_is_typed(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.typing")

    assert "Search this workspace" in report["hint"]
    found = without_border(report["found"])
    assert "Why does the lexer stop? · just now · openai (gpt-5) " in found
    assert " You: Why does the lexer stop? " in found
    assert " 2 results " in found, "the title and the message"
    (asked,) = report["asked"]
    assert asked["query"] == "lexer", "nothing is asked while someone types"
    assert "lexer" not in report["emptied"]
    assert [report["after"]["floats"], report["after"]["mode"]] == [0, "n"]
    assert notices(report, 2) == []
    assert report["notices"] in ([], {})


def test_a_late_answer_is_dropped(run_neovim: RunNeovim) -> None:
    screen = without_border(run_neovim("search.late")["screen"])

    assert "You: the second one" in screen
    assert "You: the first one" not in screen


def is_at(place: Report, word: str) -> bool:
    """Return whether the cursor is at the event with this word, unfolded and highlighted."""
    return (
        place["line"] == f"> {word} is here"
        and place["top"].startswith("## Thinking · ")
        and not place["is_folded"]
        and place["matches"] == [word, word.upper()]
        and place["floats"] == 0
        and place["mode"] == "n"
    )


def test_a_hit_opens_at_its_event(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.opened")

    assert is_at(report["at_event"], "Needle017"), report["at_event"]
    assert report["layout"] == "row", "modifiers of the command are kept"
    assert is_at(report["later"], "Needle017"), "the cursor stays while the rest is loaded"
    assert report["turns"] == [f"question {number}" for number in range(1, 201)]
    assert is_at(report["again"], "Needle123"), report["again"]
    assert is_at(report["in_window"], "Needle001"), report["in_window"]


def test_a_title_opens_at_the_top(run_neovim: RunNeovim) -> None:
    title = run_neovim("search.opened")["title"]

    assert title["number"] == 1
    assert title["line"].startswith("*Start of conversation")


def test_what_cannot_be_searched_is_said_in_the_window(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.refused")

    letter = without_border(report["letter"])
    assert "The search must have a word of two letters, or one Chinese or Japanese char" in letter
    assert "The search must have 1 to 1,000 characters" in report["long"]
    assert "The search has no word" in report["empty"]
    assert "Nothing found in this workspace; :Segue! search searches all" in report["nothing"]
    assert report["notices"] in ([], {})
    assert notices(report, 2) == []


def test_more_is_loaded_where_the_page_ended(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.more")

    first, more = report["asked"]
    assert "cursor" not in first
    assert more["cursor"]
    assert "so far" not in report["all"]
    assert "Not everything was searched yet: go on: <CR>" in report["incomplete"]
    assert "Not everything" not in report["rest"]


def test_here_and_everywhere(run_neovim: RunNeovim, tmp_path: Path, repository: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["git", "init", "--quiet", other], check=True)
    question = claude.user(1, "the lexer of another program") | {"cwd": str(repository)}
    claude.transcript(tmp_path, claude.lines(question, claude.text(2, "Done.", 1)))
    assert run("import", HOME=str(tmp_path)).returncode == 0
    report = run_neovim("search.scope", other=str(other))

    here, everywhere = without_border(report["here"]), without_border(report["everywhere"])
    assert "the lexer there" not in here
    assert "the lexer before" not in here, "it is archived"
    assert f" · Claude Code ({claude.MODEL})" in here, "who answered is shown"
    for found in ("You: the lexer there", "You: the lexer before", "You: the lexer here"):
        assert found in everywhere
    assert "archived" in everywhere
    assert "Search all conversations" in everywhere


def test_a_wide_screen_shows_the_conversation(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.preview")

    assert "question 1 · just now · openai (gpt-5)" in report["first"], "above the conversation"
    assert "> Needle039 is here" in report["second"]
    assert "> Needle" not in report["narrow"]
    assert notices(report, 2) == []


def test_hostile_text_stays_on_its_line(run_neovim: RunNeovim) -> None:
    screen = run_neovim("search.hostile")["screen"]

    assert "You: a [31m %d 界面 needle x" in without_border(screen)
    assert not set(screen) & set("\r\033\u202e")


def test_what_is_not_installed_is_said(run_neovim: RunNeovim) -> None:
    report = run_neovim("search.not_installed")

    (notice,) = report["missing_server"]
    assert "the server is not installed (/nowhere/segue was not found)" in notice
    assert report["floats"] == 0
    (notice,) = report["missing_picker"]
    assert notice.endswith("telescope is not installed; see search_picker")


def picker(used: str, plugins: list[str], steps_to_last: int, *marks: Any) -> Any:
    """Return the parameters of a test of one picker, which is skipped where it is not there."""
    return pytest.param(
        used, plugins, steps_to_last, id=used, marks=[needs_plugins(*plugins), *marks]
    )


needs_fzf = pytest.mark.skipif(not shutil.which("fzf"), reason="fzf-lua needs fzf")


@pytest.mark.parametrize(
    ("used", "plugins", "steps_to_last"),
    [
        picker("snacks", ["snacks.nvim"], 50),
        picker("telescope", ["telescope.nvim", "plenary.nvim"], 1),
        picker("fzf_lua", ["fzf-lua"], 50, needs_fzf),
    ],
)
def test_the_picker_of_another_plugin(
    run_neovim: RunNeovim, used: str, plugins: list[str], steps_to_last: int
) -> None:
    folders = [checkout(name) for name in plugins]
    report = run_neovim("search.picker", plugins=folders, steps_to_last=steps_to_last)

    assert report["used"] == used
    assert "Search this workspace" in report["hint"]
    # fzf may ask for a part of what is typed, too.
    first, second, *_, last = [asked["query"] for asked in report["asked"]]
    assert [first, second, last] == ["needle", "needle", "needle023"], "two pages, a new query"
    assert report["asked"][1]["cursor"]
    place = report["place"]
    assert place["name"].startswith(f"segue://{report['id']}")
    assert is_at(place, "Needle023"), place
    assert report["notices"] in ([], {})
