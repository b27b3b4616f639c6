"""What users see: messages that do not interrupt them, and text that is fit to be shown."""

import re

import pytest

from tests.editors.neovim import RunNeovim, needs_neovim, notices

pytestmark = needs_neovim


def test_messages_never_wait_for_enter(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.messages")

    assert report["waiting"] == []
    assert report["shown"].startswith("segue: the last one, which")
    assert "… (:checkhealth segue)" in report["shown"]
    kept = [message["text"] for message in report["kept"]]
    assert kept[0] == "segue: " + ("a long message " * 20).strip()
    assert kept[1].startswith("segue: two lines, and 界")
    assert any(kept[0] in line for line in report["health"])


def test_what_happens_by_itself_never_waits_for_enter(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.events")

    assert report["waiting"] == []
    assert report["mode"] == {"blocking": False, "mode": "n"}


def test_lines_about_forks_fit_a_screen_of_80_columns(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.forks")

    assert report["waiting"] == []
    assert report["lines"] == [
        "segue: another window continued it too; you go on in a copy",
        "segue: forked as “copy 2 of question 1”",
        "segue: went back to this turn; :Segue undo brings the rest back",
        "segue: undone: the whole conversation is back",
        "segue: renamed to “A better title”",
    ]


def test_messages_wait_until_the_command_line_is_left(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.on_the_command_line")

    assert report["during"] == {"blocking": False, "mode": "c"}
    assert report["after"] == {"blocking": False, "mode": "n"}


def test_hostile_text_is_shown_on_its_line(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.hostile_text")

    name = "`` a b [31m`c`d %{e} f\u200dg ``"
    headings = [line.split(" · ")[0] for line in report["lines"] if line.startswith("## ")]
    assert headings == [
        "## You",
        f"## Tool call: {name}",
        "## Tool call: `nul l`",
        f"## Skill: {name}",
        f"## Output: {name}",
        f"## {name}",
    ]
    assert "s<NUL>" in report["lines"]
    assert report["title"] == "a"
    for shown in (report["shown"], report["selected"]):
        assert not set(shown) & set("\r\033\u202e\u2066")
    assert report["status"] == "segue 6"
    assert notices(report, 2) == []


def test_what_an_agent_thought_and_planned_is_folded(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.agent")
    assert report["lines"] == [
        "You", "Thinking", "Plan", "Permission: `always`", "Assistant", "End of turn: `error`"
    ]  # fmt: skip
    assert report["folded"] == ["Thinking", "Plan"]
    assert "\n- [x] one\n- [ ] two lines\n" in report["text"]
    assert "\n> no more\n" in report["text"]
    assert report["folding_elsewhere"] == "manual"


@pytest.mark.parametrize("treesitter", [False, True])
def test_transcript_has_its_title_folds_and_syntax(run_neovim: RunNeovim, treesitter: bool) -> None:
    report = run_neovim("display.transcript", treesitter=treesitter)

    assert report["name"] == f"segue://{report['id']}/Fix src\u2215parser"
    call, result = report["folds"]
    assert re.fullmatch(r"▸ Tool call: `read` · 20\S+ \d\d:\d\d · 3 lines ·*", call)
    assert re.fullmatch(r"▸ Tool result · 20\S+ \d\d:\d\d · 5 lines ·*", result)
    assert report["syntax"] == {"def f": "pythonStatement", "local x": "luaStatement"}
    assert report["wraps_at_words"] == [True, False], "in its window, and not elsewhere"
    assert len(report["buffers"]) == 1, "none with the old name"
    assert report["windows"] == 2
    assert notices(report) == []


def test_treesitter_highlights_code_as_long_as_it_has_the_parsers(run_neovim: RunNeovim) -> None:
    assert run_neovim("display.treesitter")["is_used"] == [True, False]


def test_a_message_in_pieces_is_shown_as_one_whatever_page_they_are_on(
    run_neovim: RunNeovim,
) -> None:
    report = run_neovim("display.pieces")

    def lines_of(first: int, last: int) -> list[str]:
        ends = ["\n", *9 * [" "]]
        words = (f"word {number}{ends[number % 10]}" for number in range(first, last + 1))
        return "".join(words).split("\n")

    def shown(name: str) -> list[str]:
        return [re.sub(" · .*", "", line) for line in report[name]]

    beginning = ["## You", "", "question 1", "", "## Thinking", "", "> Let me", ""]
    assert shown("newest")[2:] == ["## Assistant", "", *lines_of(26, 125), ""]
    assert shown("whole")[2:] == [*beginning, "## Assistant", "", *lines_of(1, 125), ""]
    answer = ["## Assistant", "", *lines_of(1, 129), "", "## Assistant", "", "another", ""]
    assert shown("appended")[2:] == [*beginning, *answer, "## You", "", "question 2", ""]
    assert report["at_end"] is True
    assert report["first_turn"]["at"] == report["events"][-2]["id"]
    (restored,) = report["restored"]
    assert restored["last_event_id"] == report["events"][131]["id"]
    assert restored["answer"] == "\n".join(lines_of(1, 129))
    assert report["last_turn"]["at"] == report["events"][-1]["id"]
    assert notices(report, 2) == []


def test_untitled_session_has_a_placeholder(run_neovim: RunNeovim) -> None:
    run_neovim("display.untitled", begin=True)
    shown = run_neovim("display.untitled")["shown"]

    assert "would resume “(no message yet)”" in shown
    assert "vim.NIL" not in shown


def test_transcript_shows_what_could_not_be_rendered(run_neovim: RunNeovim) -> None:
    report = run_neovim("display.failing_render")

    assert "An event could not be shown: " in report["partly"]
    assert "a fault of two lines" in report["partly"]
    assert "Could not load the conversation: " in report["fully"]
    assert "cannot set lines" in report["fully"]
    assert "Loading" not in report["fully"]
