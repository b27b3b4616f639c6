"""Markdown for a pull request: CommonMark with `<details>`, and no other HTML.

Whatever a message contains, it cannot end or hide what follows it: the result of each is parsed
again, and one that would is put into a fence.
"""

import functools
import html
import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

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

MEDIA_TYPE = "text/markdown"
SUFFIX = ".md"

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#~|&!]")
_ATX = re.compile(r"^( {0,3})(#{1,6})(?=[ \t]|$)")
_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*>")
_OPENING = re.compile(r"<[A-Za-z/!?]")
_BACKTICKS = re.compile("`+")
_INTERESTING = re.compile(r"[\\`<]|!\[")


def begin(session: Session) -> str:
    """Return the title, and who spoke, where and when."""
    return f"# {_escaped(title(session))}\n\n*{_escaped(facts(session))}*\n"


def render(block: Block, previous: str) -> tuple[str, str]:
    """Return the text of *block*; *previous* is who spoke before it."""
    shown = [text for part in parts(block) if (text := _text(part))]
    if not shown:
        return "", previous
    who = speaker(block) or previous
    if who != previous:
        shown.insert(0, f"## {NAMES[who]}\n")
    return "".join(f"\n{text}" for text in shown), who


def end(previous: str) -> str:
    """Return nothing."""
    return ""


def _text(part: Part) -> str:
    match part:
        case Prose(text):
            return prose(readable(text).strip("\n")) + "\n"
        case Note(text):
            return f"*{_escaped(one_line(text))}*\n" if text else ""
        case Fold(label, hint, bodies, has_failed):
            failed = " (failed)" if has_failed else ""
            name = f"<b>{html.escape(one_line(label), quote=False)}</b>{failed}"
            line = f"{name} {html.escape(one_line(hint), quote=False)}".rstrip()
            fences = "".join(f"\n{fence(readable(body))}\n" for body in bodies)
            return f"<details><summary>{line}</summary>\n{fences}\n</details>\n"


def fence(text: str) -> str:
    """Return *text* as a fenced code block that no line of it can end."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    marker = "`" * max(3, longest + 1)
    return f"{marker}\n{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{marker}"


def prose(text: str) -> str:
    """Return a message so that it can stand under a heading of the second level.

    Its headings are lowered, raw HTML is shown as it was written, images become links, and a fence
    that it leaves open is closed.
    """
    if len(text) > MAX_PROSE:
        return fence(text)
    rewritten = _rewritten(text)
    return rewritten if _is_self_contained(rewritten) else fence(text)


@functools.cache
def _parser(*, html: bool) -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])


def _rewritten(text: str) -> str:
    lines: list[str | None] = [*text.split("\n")]
    tokens = _parser(html=False).parse(text)
    done: set[int] = set()
    for token in tokens:
        if token.map is None:
            continue
        first, last = token.map
        if token.type == "inline" and first not in done:
            done.add(first)
            source = "\n".join(line or "" for line in lines[first:last])
            lines[first:last] = _inline(source).split("\n")
        elif token.type == "heading_open" and token.level == 0:
            lines[first:last] = _heading(token, [line or "" for line in lines[first:last]])
            done.discard(first)
    result = "\n".join(line for line in lines if line is not None)
    return result + _missing_end(tokens, result)


def _heading(token: Token, lines: list[str]) -> list[str | None]:
    """Return the lines of a heading, lowered; as many, None for those that fall away."""
    if token.markup.startswith("#"):
        level = min(len(token.markup) + LOWERED, 6)
        return [_ATX.sub(rf"\1{'#' * level}", lines[0]), *lines[1:]]
    content = " ".join(line.strip() for line in lines[:-1])
    return [f"{'#' * (int(token.tag[1]) + LOWERED)} {content}", *([None] * (len(lines) - 1))]


def _missing_end(tokens: list[Token], result: str) -> str:
    """Return what closes a fence that the message leaves open."""
    if not tokens or tokens[-1].type != "fence":
        return ""
    marker = tokens[-1].markup
    last = result.rsplit("\n", 1)[-1].strip()
    opening_only = tokens[-1].map is not None and tokens[-1].map[1] - tokens[-1].map[0] == 1
    is_closed = set(last) == {marker[0]} and len(last) >= len(marker) and not opening_only
    return "" if is_closed else f"\n{marker}"


def _inline(source: str) -> str:
    """Return text outside of code blocks with tags escaped and images made links."""
    kept, position = [], 0
    while match := _INTERESTING.search(source, position):
        start = match.start()
        kept.append(source[position:start])
        position = start + 1
        if source[start] == "\\":
            kept.append(source[start : start + 2])
            position = start + 2
        elif source[start] == "`":
            run = _BACKTICKS.match(source, start)
            length = len(run[0]) if run else 1
            end = _code_ends(source, start + length, length)
            kept.append(source[start:end])
            position = end
        elif source[start] == "!":
            kept.append("[" if source[start + 2 : start + 3] != "]" else "[image")
            position = start + 2
        elif link := _AUTOLINK.match(source, start):
            kept.append(link[0])
            position = link.end()
        elif opening := _OPENING.match(source, start):
            kept.append(rf"\{opening[0]}")
            position = opening.end()
        else:
            kept.append("<")
    return "".join([*kept, source[position:]])


def _code_ends(source: str, position: int, length: int) -> int:
    """Return where the code span ends that *length* backticks begin; they alone if none does."""
    for run in _BACKTICKS.finditer(source, position):
        if len(run[0]) == length:
            return run.end()
    return position


def _is_self_contained(text: str) -> bool:
    """Return whether a heading after *text* is one, and nothing in it is HTML."""
    tokens = _parser(html=True).parse(f"{text}\n\n## You\n")
    has_html = any(
        each.type in ("html_block", "html_inline")
        for token in tokens
        for each in (token, *(token.children or ()))
    )
    tail = tokens[-3] if len(tokens) > 2 else None
    return (
        not has_html
        and tail is not None
        and (tail.type, tail.tag, tail.level)
        == (
            "heading_open",
            "h2",
            0,
        )
    )


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
