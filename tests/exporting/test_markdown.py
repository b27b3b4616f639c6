"""Markdown: what CommonMark makes of it is what was said, whatever that was."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from segue.exporting import markdown
from segue.exporting.blocks import MAX_PROSE, NAMES, readable, speaker
from tests.exporting.conversations import HOSTILE_TEXTS, call, hostile, result
from tests.exporting.rendering import blocks_of, render

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = re.compile(r"<details><summary>[^<]*<b>[^<]*</b>[^<]*</summary>\n|</details>\n")


def tokens_of(text: str) -> list[Token]:
    return [each for token in PARSER.parse(text) for each in (token, *(token.children or ()))]


def html_of(text: str) -> list[str]:
    tokens = tokens_of(text)
    return [token.content for token in tokens if token.type in ("html_block", "html_inline")]


def test_nothing_of_a_hostile_conversation_is_html_a_heading_of_ours_or_an_image() -> None:
    text = render("markdown", hostile())
    tokens = tokens_of(text)
    html = html_of(text)
    assert [each for each in html if not OURS.fullmatch(each)] == []
    assert html.count("</details>\n") == len(html) / 2
    assert [token for token in tokens if token.type == "image"] == []
    headings = [token for token in tokens if token.type == "heading_open" and token.level == 0]
    who = [each for block in blocks_of("markdown", hostile()) if (each := speaker(block))]
    turns = [NAMES[each] for each, before in zip(who, ["", *who], strict=False) if each != before]
    names = [
        tokens[index + 1].content
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2" and token.level == 0
    ]
    assert names == turns
    assert [token.tag for token in headings].count("h1") == 1


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "", "\n", " x ", "```", "a\n````\nb\n`````"])
def test_the_result_of_a_tool_comes_back_unchanged(text: str) -> None:
    exported = render("markdown", [call("t", "Bash", "ls"), result("t", text)])
    fences = [token.content for token in tokens_of(exported) if token.type == "fence"]
    shown = readable(text)
    assert fences == ["ls\n", *([shown if shown.endswith("\n") else f"{shown}\n"] if text else [])]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_message_ends_or_hides_what_follows_it(text: str) -> None:
    exported = markdown.prose(readable(text))
    tokens = PARSER.parse(f"{exported}\n\n## Next\n")
    assert (tokens[-3].type, tokens[-2].content) == ("heading_open", "Next")
    assert html_of(exported) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    "`", "``", "```", "~~~", "<", "<b>", "</details>", "<!--", "![", "](", ")", "[a](b)", "\\",
    "\n", "    ", "> ", "- ", "1. ", "# ", "===", "---", "|", "a", " ", "&lt;", "<http://x.y>",
    "<script>", "[a]: b", "*", "<?", "<![CDATA[", '"',
]), max_size=30).map("".join))  # fmt: skip
def test_no_text_at_all_ends_or_hides_what_follows_it(text: str) -> None:
    exported = markdown.prose(text)
    tokens = PARSER.parse(f"{exported}\n\n## Next\n")
    assert (tokens[-3].type, tokens[-2].content) == ("heading_open", "Next")
    assert html_of(exported) == []


@pytest.mark.parametrize(
    ("text", "exported"),
    [
        ("plain *text* and `a < b` and 1 < 2", "plain *text* and `a < b` and 1 < 2"),
        ("# One\n\n##### Five\n\nSetext\n---", "### One\n\n###### Five\n\n#### Setext"),
        ("a <b> `<c>` ``<d> ` <e>`` \\<f> <g", "a \\<b> `<c>` ``<d> ` <e>`` \\<f> \\<g"),
        ("<https://x.y/?a=<b>>", "\\<https://x.y/?a=\\<b>>"),
        ("<https://x.y/?a=b>", "<https://x.y/?a=b>"),
        ("<![CDATA[ <!-- <?php </b>", "\\<![CDATA[ \\<!-- \\<?php \\</b>"),
        ("code `a\n<script>b` of two lines", "```\ncode `a\n<script>b` of two lines\n```"),
        ("![a](b) ![](c) \\![d](e)", "[a](b) [image](c) \\![d](e)"),
        ("```sh\n# <not> a heading\n```", "```sh\n# <not> a heading\n```"),
        ("    # <code>\n\nx", "    # <code>\n\nx"),
        ("```\nopen", "```\nopen\n```"),
        ("~~~~\n```\nopen", "~~~~\n```\nopen\n~~~~"),
        ("| a |\n|---|\n| <b> `<c>` |", "| a |\n|---|\n| \\<b> `<c>` |"),
    ],
)
def test_a_message_stays_as_it_is_but_for_what_would_do_harm(text: str, exported: str) -> None:
    assert markdown.prose(text) == exported


def test_a_message_that_is_too_long_to_parse_is_fenced() -> None:
    text = "<b>" * (MAX_PROSE // 3 + 1)
    assert markdown.prose(text) == f"```\n{text}\n```"
