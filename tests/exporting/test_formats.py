"""What the formats look like, and what all of them promise."""

from pathlib import Path

import pytest

from segue import exporting
from segue.exporting import html
from segue.exporting.blocks import input_text, readable
from tests.exporting.conversations import ORDINARY, session
from tests.exporting.rendering import render

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("format", exporting.FORMATS)
def test_an_ordinary_conversation_looks_like_this(format: str) -> None:
    text = render(format, ORDINARY).replace(html.STYLE, "…").replace(html._HASH, "…")
    golden = GOLDEN / f"ordinary{exporting.load(format).SUFFIX}"
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Fix the parser", "2026-08-01-Fix-the-parser"),
        ("../../etc/passwd", "2026-08-01-etc-passwd"),
        ("…", "2026-08-01-01989b3c"),
        (None, "2026-08-01-01989b3c"),
        ("見積書 \ud83d \0 CON: a\\b", "2026-08-01-見積書-CON-a-b"),
        (200 * "x", "2026-08-01-" + 50 * "x"),
        (".hidden.", "2026-08-01-hidden"),
    ],
)
def test_a_file_name_is_safe(title: str | None, name: str) -> None:
    markdown = exporting.load("markdown")
    assert exporting.file_name(session(title=title), markdown) == f"{name}.md"


def test_a_format_that_is_unknown_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        exporting.load("blocks")


@pytest.mark.parametrize("format", ["markdown", "html"])
def test_only_the_name_of_the_folder_is_told(format: str) -> None:
    text = render(format, ORDINARY, session(git_root=None, directory="/home/someone/secret/work"))
    assert "someone" not in text
    assert "secret" not in text
    assert "work" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[1;31mb\x1b[0mc", "abc"),
        ("\x1b]8;;http://x\x07a\x1b]8;;\x1b\\b", "ab"),
        ("a\x1bMb\x1b(Bc", "abc"),
        ("\x1b]never ended", r"\x1b]never ended"),
        ("\x9b1m \x07 \x7f \0", r"\x9b1m \x07 \x7f \x00"),
        ("\u202ea\u2066b\u2028", r"\u202ea\u2066b\u2028"),
        ("\ud83d \udc00 \U0001f600", "\\ud83d \\udc00 \U0001f600"),
        ("a\r\nb\rc\td", "a\nb\nc\td"),
        ("👩‍👩‍👧 می‌خواهم", "👩‍👩‍👧 می‌خواهم"),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_colours_are_left_out(text: str, shown: str) -> None:
    assert readable(text) == shown
    readable(text).encode()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": "x", "b": [1], "c": "y\nz"}, "a: x\nb: [1]\nc:\ny\nz"),
        ("as it is", "as it is"),
        ([1], "[\n 1\n]"),
        (None, ""),
        ({}, ""),
    ],
)
def test_the_input_of_a_tool_is_readable(given: object, text: str) -> None:
    assert input_text(given) == text


def test_a_result_stands_with_its_call_and_one_without_a_call_alone() -> None:
    text = render("html", ORDINARY)
    calls = [line for line in text.splitlines() if line.startswith("<details>")]
    assert [line for line in calls if "git status" in line and "Edit" in line] == []
    assert text.count("no such file") == text.count("really") == 1
