"""HTML: a page that runs nothing, loads nothing, and is not much larger than what was said."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.exporting import html
from segue.exporting.blocks import MAX_PROSE
from tests.exporting.conversations import HOSTILE_TEXTS, Said, call, hostile, result, session
from tests.exporting.rendering import render

ALLOWED: dict[str, set[str]] = {
    "html": {"lang"},
    "meta": {"charset", "http-equiv", "content", "name"},
    "section": {"class"},
    "summary": {"class"},
    "p": {"class"},
    "a": {"href"},
    "ol": {"start"},
}
BARE = {
    "head", "title", "style", "body", "header", "main", "h1", "h2", "h3", "h4", "h5", "h6", "time",
    "details", "b", "i", "s", "ins", "del", "pre", "code", "em", "strong", "ul", "li", "blockquote",
    "table", "thead", "tbody", "tr", "th", "td", "hr", "br",
}  # fmt: skip
"""The elements that have no attributes."""

EMPTY = {"meta", "hr", "br"}


class Page(HTMLParser):
    """Checks a page's elements, attributes, links and nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag not in ALLOWED.keys() | BARE or not names <= ALLOWED.get(tag, set()):
            self.faults.append(f"{tag} {names}")
        if tag not in EMPTY:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def unknown_decl(self, data: str) -> None:
        self.faults.append(f"declaration {data}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"instruction {data}")


def test_a_hostile_conversation_has_only_our_elements_and_links_to_the_web() -> None:
    title = "</title><script>alert(1)</script>"
    page = Page(render("html", hostile(), session(title=title, model='"><script>')))
    assert page.faults == []
    assert page.links
    assert [link for link in page.links if not re.match("https?://|mailto:", link)] == []


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_hostile_message_stays_in_its_place(text: str) -> None:
    assert Page(html.prose(text)).faults == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    "`", "```", "```html\n", "<", "<b ", "on=", "</pre>", "<!--", "![", "](", ")", "[a](", "http:",
    "javascript:", "data:", '"', "'", "\\", "\n", "    ", "> ", "- ", "# ", "|", "|-|", "a", " ",
    "&", "&lt;", "<http://x.y>", "[a]: b", "*", "&#x22;", "//x",
]), max_size=30).map("".join))  # fmt: skip
def test_no_text_at_all_leaves_its_place(text: str) -> None:
    page = Page(html.prose(text))
    assert page.faults == []
    assert [link for link in page.links if not re.match("https?:|mailto:", link)] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![a](http://x.y/z.png)", '<a href="http://x.y/z.png">a</a>'),
        ("![](http://x.y/z.png)", '<a href="http://x.y/z.png">image</a>'),
        ("[![a](http://x.y/z)](http://x.y)", '<a href="http://x.y">a</a>'),
        ("[a](src/b.py#L1)", "a (src/b.py#L1)"),
        ("[a](//x.y/z)", "[a](//x.y/z)"),
        ("[a](javascript:x)", "[a](javascript:x)"),
        ("[a](command:x)", "[a](command:x)"),
        ("<mailto:a@b.c>", '<a href="mailto:a@b.c">mailto:a@b.c</a>'),
        ("# a", "<h3>a</h3>"),
        ("a <i>", "a &lt;i>"),
    ],
)
def test_links_lead_to_the_web_or_are_text(text: str, shown: str) -> None:
    assert shown in html.prose(text)


@pytest.mark.parametrize("code", ["\n\n  a = 'x' # y", "def f():\n\tpass", "", "<&>\"'", "\n"])
@pytest.mark.parametrize("language", ["python", "html", "diff", "brainfuck", ""])
def test_code_is_highlighted_and_stays_as_it_is(code: str, language: str) -> None:
    shown = html.highlighted(code, language)
    text = re.sub("<[^>]*>", "", shown).replace("&lt;", "<").replace("&amp;", "&")
    assert text.removeprefix("\n" if code.startswith("\n") else "") == code


def test_every_language_that_is_highlighted_is_known() -> None:
    for language in html._LANGUAGES:
        html.highlighted("x = 1\n", language)
    assert html.highlighted("def f(): 'x' # y", "python") == (
        "<b>def</b> f(): <s>'x'</s> <i># y</i>"
    )


LINES = "".join(f"    if value < {n} and other & mask: # step {n}\n" for n in range(20))
CODE = f"Here is **the function**:\n\n```python\ndef f(value):\n{LINES}```\n"


def turn(number: int) -> list[Said]:
    """Return a turn of a usual size: 68 % of the text is the output of tools."""
    return [
        ("user_message", {"content": f"Please look at number {number}. " * 20}),
        ("thinking", {"content": "I should read the file first & think. " * 12}),
        ("text", {"content": CODE, "message": f"m{number}"}),
        call(f"t{number}", "Read", {"path": f"src/module_{number}.py", "limit": 100}),
        result(f"t{number}", "def f(x: list[int]) -> bool: return x < 1 && y\n" * 55),
        ("text", {"content": "Done. See [the file](src/module.py) for `details`. " * 6}),
    ]


@pytest.mark.parametrize("turns", [1, 300])
def test_a_page_is_at_most_1_3_times_what_was_said_and_30_kb(turns: int) -> None:
    events = [event for number in range(turns) for event in turn(number)]
    said = sum(len(each.encode()) for _, data in events for each in map(str, data.values()))
    assert len(render("html", events).encode()) <= 1.3 * said + 30_000


def test_a_page_with_nothing_but_code_keeps_the_limit() -> None:
    events: list[Said] = [("text", {"content": CODE, "message": str(n)}) for n in range(300)]
    said = sum(len(data["content"].encode()) for _, data in events)
    assert len(render("html", events).encode()) <= 1.3 * said + 30_000


def test_a_message_that_is_too_long_to_parse_is_shown_as_it_is() -> None:
    text = "**a**<" * (MAX_PROSE // 6 + 1)
    assert html.prose(text) == f"<pre>{text.replace('<', '&lt;')}</pre>\n"


def test_the_policy_allows_only_the_style_of_the_page() -> None:
    page = render("html", [])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert "style=" not in render("html", hostile()).replace("style=&quot;", "")
