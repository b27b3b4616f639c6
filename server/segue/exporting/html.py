"""HTML: one file that loads nothing and runs nothing, readable on a screen and in print.

Messages are Markdown without HTML of their own; images are links. A Content-Security-Policy forbids
everything but the style sheet in the file.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from segue.exporting import shown_time
from segue.exporting.blocks import (
    LOWERED,
    MAX_PROSE,
    NAMES,
    Block,
    Fold,
    Note,
    Part,
    Prose,
    continues,
    facts,
    one_line,
    parts,
    readable,
    speaker,
    title,
)
from segue.model.records import Session

__all__ = ["MEDIA_TYPE", "SUFFIX", "begin", "continues", "end", "render"]

MEDIA_TYPE = "text/html"
SUFFIX = ".html"

_LINK = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
"""The links that are kept."""

_PATH = re.compile(r"(?![a-z][a-z0-9+.-]*:|[/\\]{2}|#)[\x21-\x7e]", re.IGNORECASE)
"""Links to files of the project, which lead nowhere from here, are shown as text."""

_MAX_CODE = 20_000
"""Longer code is not highlighted."""

_MAX_GROWTH = 1.22
_MAX_SMALL_GROWTH = 64
"""Nor is code that would become longer by more than this factor and so many characters."""

_LANGUAGES = frozenset({
    "bash", "c", "c++", "cpp", "cs", "csharp", "css", "diff", "go", "html", "ini", "java",
    "javascript", "js", "json", "jsx", "kotlin", "lua", "make", "php", "py", "python", "rb", "ruby",
    "rs", "rust", "scala", "sh", "shell", "sql", "swift", "toml", "ts", "tsx", "typescript", "vim",
    "xml", "yaml", "yml", "zsh",
})  # fmt: skip
"""The languages of code blocks that are highlighted: those whose lexers take linear time."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--dim:#59636e;--line:#d1d9e0;
--soft:#f6f8fa;--you:#0969da;--bad:#b42318;--key:#a626a4;--str:#0a6640;--com:#6a737d}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--dim:#9198a1;
--line:#30363d;--soft:#161b22;--you:#58a6ff;--bad:#ff8182;--key:#d2a8ff;--str:#7ee787;--com:#9198a1}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1rem 4rem;max-width:54rem;background:var(--page);color:var(--text);
font:16px/1.6 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0}
header p,time,.n{color:var(--dim);font-size:.875rem}
header p{margin:.25rem 0 1.5rem}
h2{font-size:1rem;margin:0 0 .5rem}
h2 time{font-weight:400;margin-inline-start:.5rem}
h3,h4,h5,h6{font-size:1.05rem;margin:1.25rem 0 .5rem}
section{border-top:1px solid var(--line);padding:1rem 0}
.u{border-inline-start:3px solid var(--you);padding-inline-start:1rem}
.u h2{color:var(--you)}
p,ul,ol,pre,table,blockquote{margin:0 0 .75rem}
p,li,pre,summary,td,th,h1,h3,h4,h5,h6{unicode-bidi:plaintext}
pre,code{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.75rem;
white-space:pre-wrap}
code{background:var(--soft);border-radius:4px;padding:.1em .3em}
pre code{background:none;padding:0}
details pre{max-height:32rem;overflow:auto;margin:.5rem 0}
details{margin:0 0 .5rem;content-visibility:auto;contain-intrinsic-size:auto 1.6rem}
summary{cursor:pointer;color:var(--dim);font-size:.875rem}
summary b{color:var(--text)}
.e,.e b{color:var(--bad)}
a{color:var(--you)}
blockquote{border-inline-start:3px solid var(--line);padding-inline-start:1rem;color:var(--dim)}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border:1px solid var(--line);padding:.25rem .6rem;text-align:start}
hr{border:0;border-top:1px solid var(--line)}
pre b{color:var(--key);font-weight:400}pre s{color:var(--str);text-decoration:none}
pre i{color:var(--com)}pre ins{color:var(--str);text-decoration:none}
pre del{color:var(--bad);text-decoration:none}
@media print{:root{--page:#fff;--text:#000;--dim:#444;--line:#bbb;--soft:#fff;--you:#000}
body{max-width:none;padding:0;font-size:10pt}pre,code{font-size:8pt}
details pre{max-height:none}details{content-visibility:visible}
details::details-content{content-visibility:visible;display:block}
h2{break-after:avoid}a[href]::after{content:" <" attr(href) ">";color:var(--dim)}}
"""

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def begin(session: Session) -> str:
    """Return the head of the page, the title, and who spoke, where and when."""
    name = escape(title(session))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{name}</h1>\n<p>{escape(facts(session))}</p>\n</header>\n<main>\n"
    )


def render(block: Block, previous: str) -> tuple[str, str]:
    """Return the HTML of *block*; *previous* is who spoke before it."""
    shown = "".join(map(_html, parts(block)))
    if not shown:
        return "", previous
    who = speaker(block) or previous
    if who != previous:
        time = shown_time(block.events[0].created_at)
        heading = f"<h2>{NAMES[who]}<time>{time}</time></h2>\n"
        shown = f'{_closing(previous)}<section class="{who[0]}">\n{heading}{shown}'
    return shown, who


def end(previous: str) -> str:
    """Return the end of the page."""
    return f"{_closing(previous)}</main>\n</body>\n</html>\n"


def _closing(previous: str) -> str:
    return "</section>\n" if previous else ""


def _html(part: Part) -> str:
    match part:
        case Prose(text):
            return prose(readable(text))
        case Note(text):
            return f'<p class="n">{escape(one_line(text))}</p>\n' if text else ""
        case Fold(label, hint, bodies, has_failed):
            opening = '<summary class="e">' if has_failed else "<summary>"
            failed = " failed:" if has_failed else ""
            line = f"<b>{escape(one_line(label))}</b>{failed} {escape(one_line(hint))}".rstrip()
            texts = "".join(f"<pre>{preformatted(readable(body))}</pre>" for body in bodies)
            return f"<details>{opening}{line}</summary>{texts}</details>\n"


def prose(text: str) -> str:
    """Return a message in Markdown as HTML that runs and loads nothing."""
    if len(text) > MAX_PROSE:
        return f"<pre>{preformatted(text)}</pre>\n"
    rendered: str = _parser().render(text)
    return rendered


def escape(text: str) -> str:
    """Return *text* for an element, or for an attribute in double quotes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def preformatted(text: str) -> str:
    """Return *text* for a `<pre>`, whose first line break a browser would leave out."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"\n{escaped}" if escaped.startswith("\n") else escaped


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  the name is that of markdown-it
        return (_LINK.match(url) or _PATH.match(url)) is not None


@functools.cache
def _parser() -> MarkdownIt:
    parser = _Markdown("commonmark", {"html": False}).enable(["table", "strikethrough"])
    for rule in (image, text, code_inline, code_block, fence, td_open, th_open):
        parser.add_render_rule(rule.__name__, rule)
    for rule in (heading_open, heading_close, link_open, link_close):
        parser.add_render_rule(rule.__name__, rule)
    return parser


# -- the rules of the renderer, by the types of their tokens ---------------------------------------

_OPEN_LINK = "segue: the target of the link that is open"


def image(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render a link: a page that shows an image tells its server who reads it."""
    token = tokens[index]
    name = escape(token.content) or "image"
    source = str(token.attrGet("src"))
    if env.get(_OPEN_LINK) or not _LINK.match(source):
        return name
    return f'<a href="{escape(source)}">{name}</a>'


def link_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the beginning of a link to another site, and nothing for one to a file."""
    target = env[_OPEN_LINK] = str(tokens[index].attrGet("href"))
    return f'<a href="{escape(target)}">' if _LINK.match(target) else ""


def link_close(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the end of a link, or the path of the file."""
    target = env.pop(_OPEN_LINK)
    return "</a>" if _LINK.match(target) else f" ({_in_element(target)})"


def text(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render text."""
    return _in_element(tokens[index].content)


def code_inline(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render code in a line."""
    return f"<code>{_in_element(tokens[index].content)}</code>"


def code_block(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render indented code."""
    return f"<pre><code>{preformatted(tokens[index].content)}</code></pre>\n"


def fence(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render fenced code, highlighted if its language is known."""
    words = tokens[index].info.split(maxsplit=1)
    code = highlighted(tokens[index].content, words[0].lower() if words else "")
    return f"<pre><code>{code}</code></pre>\n"


def heading_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the beginning of a heading, lowered."""
    return f"<h{_level(tokens[index])}>"


def heading_close(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the end of a heading."""
    return f"</h{_level(tokens[index])}>\n"


def td_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the beginning of a cell: the policy forbids the style that aligns it."""
    return "<td>"


def th_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render the beginning of a cell of the header."""
    return "<th>"


def _level(token: Token) -> int:
    return min(int(token.tag[1]) + LOWERED, 6)


def _in_element(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


# -- code ------------------------------------------------------------------------------------------


def highlighted(code: str, language: str) -> str:
    """Return *code* as HTML, with short elements for keywords, strings and comments."""
    plain = preformatted(code)
    if language not in _LANGUAGES or len(code) > _MAX_CODE:
        return plain
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    pieces, current, run = [], "", ""
    for kind, value in lexer.get_tokens(code):
        element = _element(kind)
        if element != current:
            pieces.append(_wrapped(run, current))
            current, run = element, ""
        run += value
    result = "".join([*pieces, _wrapped(run, current)])
    if code.startswith("\n"):
        result = f"\n{result}"
    return result if len(result) <= _MAX_GROWTH * len(code) + _MAX_SMALL_GROWTH else plain


def _wrapped(text: str, element: str) -> str:
    escaped = _in_element(text)
    return f"<{element}>{escaped}</{element}>" if element and text.strip() else escaped


def _element(kind: Any) -> str:
    from pygments.token import Comment, Generic, Keyword, String

    for parent, element in (
        (Comment, "i"), (Keyword, "b"), (String, "s"), (Generic.Inserted, "ins"),
        (Generic.Deleted, "del"), (Generic.Heading, "b"),
    ):  # fmt: skip
        if kind in parent:
            return element
    return ""
