"""Automatic titles: of real first messages, of odd characters, and how many are of use."""

import time
import unicodedata

import pytest

from segue.model.titles import MAX_TITLE, title_of

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
GERMANY = "\U0001f1e9\U0001f1ea"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"

FIRST_MESSAGES = {
    "Why is the sky blue?": "Why is the sky blue?",
    "\n  \r\n  Fix the failing test  \nIt fails since Monday.": "Fix the failing test",
    "Implement the following plan:\n\n# Plan: Add search\n\n## Context\nUsers": (
        "Implement the following plan: Plan: Add search"
    ),
    "Implement the following plan:\n\n1. Rename `turn`\n2. Move it": (
        "Implement the following plan: Rename `turn`"
    ),
    "Fix this error:\n```\nTypeError: x is not a function\n```": (
        "Fix this error: TypeError: x is not a function"
    ),
    "请修复以下错误\uff1a\n- 页面不显示": "请修复以下错误\uff1a 页面不显示",
    "## Task\n\nWrite the tests": "Task",
    "> it crashes on start\n\nCan you look?": "it crashes on start",
    "- [ ] update the docs\n- [ ] release": "update the docs",
    "1) Explain main.py": "Explain main.py",
    "**Goal:** a faster start": "Goal: a faster start",
    "--help prints nothing": "--help prints nothing",
    "#123 is back": "#123 is back",
    "#include <stdio.h> is not found": "#include <stdio.h> is not found",
    "<div>how do I center this</div>": "<div>how do I center this</div>",
    "What does <file> mean in this schema?": "What does <file> mean in this schema?",
    "```python\nprint(1)\n```\nWhat does it print?": "What does it print?",
    "~~~\nls -l\n~~~": "ls -l",
    "<command-message>review is running…</command-message>\n"
    "<command-name>/review</command-name>\n<command-args>the last commit</command-args>": (
        "/review the last commit"
    ),
    "<command-name>/init</command-name>\n            <command-message>init</command-message>\n"
    "            <command-args></command-args>": "/init",
    "<system-reminder>\nAs you answer, use this:\n# claudeMd\n</system-reminder>\nHello": "Hello",
    "Add a flag <system-reminder>Plan mode is on.</system-reminder>": "Add a flag",
    "<attachments>\n<attachment id='a.py'>\nimport os\n</attachment>\n</attachments>\n"
    "<userRequest>\nSort the imports\n</userRequest>": "Sort the imports",
    "<ide_opened_file>The user opened /src/a.ts in the IDE.</ide_opened_file>Rename foo": (
        "Rename foo"
    ),
    "<task>\nMake the build pass\n</task>\n<environment_details>\n# VSCode Visible Files\n"
    "</environment_details>": "Make the build pass",
    "# Context from my IDE setup:\n\n## Active file: a.py\n\n## My request for Codex:\nAdd tests": (
        "Add tests"
    ),
    "<local-command-stdout>ok</local-command-stdout>\nNow commit": "Now commit",
    "[Request interrupted by user for tool use]\nUse pytest instead": "Use pytest instead",
    "[Image #1] Why is this button grey?": "Why is this button grey?",
    "<bash-input>git log</bash-input>": "git log",
    "<bean-factory>\n<bean-id/>\n</bean-factory>": "<bean-factory>",
    "---": "---",
}
"""First messages as agents and editors store them, and their titles."""

MACHINE_MADE = [
    "[Request interrupted by user]",
    "<system-reminder>\nThe date is today.\n</system-reminder>",
    "<environment_context>\n<cwd>/src</cwd>\n</environment_context>",
    "# AGENTS.md instructions for /src\n\n<INSTRUCTIONS>\nUse tabs.\n</INSTRUCTIONS>",
    "<command-message>pdf</command-message>",
]


@pytest.mark.parametrize(("text", "title"), FIRST_MESSAGES.items())
def test_the_title_of_a_first_message(text: str, title: str) -> None:
    assert title_of(text) == title


@pytest.mark.parametrize("text", [*MACHINE_MADE, "", " \n\t\n", "\u200b\ufeff", "\u3164", "\ud83d"])
def test_what_no_person_wrote_or_sees_gives_no_title(text: str) -> None:
    assert title_of(text) is None


def test_titles_tell_conversations_apart() -> None:
    plans = [f"Implement the following plan:\n\n# Plan: part {number}" for number in range(46)]
    reviews = [
        f"<command-message>review</command-message>\n<command-name>/review</command-name>\n"
        f"<command-args>{number}</command-args>"
        for number in range(20)
    ]
    texts = [*FIRST_MESSAGES, *plans, *reviews]
    titles = [title_of(text) or "" for text in texts]

    assert len(set(titles)) == len(titles)
    assert [each for each in titles if "<command" in each or "interrupted" in each] == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("x" * 200, "x" * 80),
        ("tab\tand \x1b[31m\x07", "tab and [31m"),
        ("half \ud83d", "half"),
        ("a\u202eb\u2066c\u200fd\u061c", "abcd"),
        ("\u200dx\u200d", "x"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
        ("x" * 78 + FAMILY, "x" * 78),
        (FAMILY + "x" * 73 + FAMILY, FAMILY + "x" * 73),
        ("x" * 79 + GERMANY, "x" * 79),
        (GERMANY * 41, GERMANY * 40),
        ("x" + GERMANY * 40, "x" + GERMANY * 39),
        ("x" * 75 + SCOTLAND, "x" * 75),
        ("x" * 79 + "\U0001f44b\U0001f3fd", "x" * 79),
        ("x" * 79 + "e\u0301", "x" * 79),
        ("x" * 79 + "\u0915\u094d\u0937", "x" * 79),
        ("x" * 79 + "\u1100\u1161\u11a8", "x" * 79),
        ("e" + "\u0301" * 200, "e" + "\u0301" * 79),
    ],
)
def test_a_title_is_cut_between_characters_as_people_see_them(text: str, title: str | None) -> None:
    assert title_of(text) == (text if title is None else title)


@pytest.mark.parametrize("part", [FAMILY, GERMANY, SCOTLAND, "e\u0301", "\u0915\u094d\u0937\u093f"])
def test_no_title_ends_in_a_part_of_a_character(part: str) -> None:
    for before in range(MAX_TITLE + 1):
        title = title_of("x" * before + part * 60) or ""
        whole, rest = divmod(len(title) - before, len(part))
        assert 0 < len(title) <= MAX_TITLE
        assert rest == 0, (before, whole)


def test_every_visible_character_makes_a_title() -> None:
    for code in range(0x20, 0x30000):
        char = chr(code)
        if (
            unicodedata.category(char)[0] in "LNPS"
            and char not in "\u115f\u1160\u2800\u3164\uffa0\ufffc"
        ):
            assert title_of(char) == char


HOSTILE = {
    "tags": "<system-reminder>" * 60_000,
    "names": "".join(f"\n<a-{number}>" for number in range(20_000)),
    "colons": "a:\n" * 50_000,
    "marks": "> " * 100_000,
    "fences": "```\n" * 50_000,
    "blank": " " * 10_000_000 + "x",
    "long": "x" * 10_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_title_is_found_quickly(name: str) -> None:
    began = time.process_time()
    assert title_of(HOSTILE[name])
    assert time.process_time() - began < 1
