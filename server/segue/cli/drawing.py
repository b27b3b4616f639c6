"""Draws Markdown for a terminal."""

import io

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Markdown
from rich.theme import Theme

_THEME = Theme({"markdown.code": "bold cyan"})  # rich's has a black background


def drawn(text: str, width: int, *, uses_color: bool) -> str:
    """Return *text*, which has no control characters, drawn in so many columns."""
    output = io.StringIO()
    console = Console(
        file=output,
        width=width,
        force_terminal=uses_color,
        color_system="standard" if uses_color else None,
        legacy_windows=False,
        theme=_THEME,
    )
    console.print(_markdown(text))
    return "\n".join(line.rstrip(" ") for line in output.getvalue().strip("\n").split("\n"))


def _markdown(text: str) -> Markdown:
    # rich hides HTML, and the addresses of images, and joins lines.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    markdown = Markdown("", code_theme="ansi_dark", hyperlinks=False)
    markdown.parsed = parser.disable("image").parse(text)
    for token in markdown.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return markdown
