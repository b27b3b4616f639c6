"""Draws the picture in the README: a real Neovim that resumes a conversation of another client.

    .venv/bin/python -m tests.editors.pictures_terminal

Needs the plugins of `python -m tests.editors.plugins`. A conversation is recorded
through the real server; then Neovim opens a chat in the same repository and resumes it. The picture
shows Neovim's screen before and after, cell by cell.
"""

import fcntl
import itertools
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from tests.editors.neovim import HERE, NEOVIM, PLUGIN, SERVER, by_command
from tests.editors.plugins import checkout

PICTURE = PLUGIN / "images" / "resumed.svg"
COLUMNS, ROWS = 60, 20
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 18, 14
PADDING, TITLE_HEIGHT, GAP = 12, 40, 28
CAPTIONS = (
    "1. A new chat: Segue offers the conversation",
    "2. :Segue resume brings it back",
)
QUESTION = "Why is a token lost?"
ANSWER = """`tokens[:-1]` in **parser.py** drops it. The slice \
should leave out the end marker, but the lexer yields none since it became a generator.

```python
def parse(tokens):
    return list(tokens)
```"""

Cell = list[Any]
Frame = list[list[Cell]]


def main() -> None:
    """Record, resume, and write the picture."""
    with tempfile.TemporaryDirectory(prefix="segue-picture-") as folder:
        frames = captured(Path(folder).resolve())
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(frames, CAPTIONS), encoding="utf-8")
    print(PICTURE)  # noqa: T201  the path is what this program returns


def captured(folder: Path) -> list[Frame]:
    """Return the two screens of a Neovim that resumes what another client recorded."""
    repository = folder / "parser"
    (repository / ".git").mkdir(parents=True)
    environment = os.environ | {
        "SEGUE_DATABASE": str(folder / "sessions.db"),
        "SEGUE_PICTURE_CODECOMPANION": checkout("codecompanion.nvim"),
        "SEGUE_PICTURE_PLENARY": checkout("plenary.nvim"),
        "SEGUE_PICTURE_FRAMES": str(folder / "frames.json"),
        "OPENAI_API_KEY": "unused",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        **{f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE")},
    }
    record(repository, environment)
    run_neovim(repository, environment)
    report = json.loads((folder / "frames.json").read_text())
    if "problem" in report:
        sys.exit(report["problem"])
    frames: list[Frame] = report["frames"]
    return frames


def record(directory: Path, environment: dict[str, str]) -> None:
    """Record the conversation as a client other than Neovim does."""
    server = subprocess.Popen(
        SERVER, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stdin, stdout = server.stdin, server.stdout
    assert stdin is not None
    assert stdout is not None
    numbers = itertools.count(1)

    def request(method: str, params: Any) -> Any:
        message = {"jsonrpc": "2.0", "id": next(numbers), "method": method, "params": params}
        body = json.dumps(message).encode()
        stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        stdin.flush()
        length = int(stdout.readline().split(b":")[1])
        stdout.readline()
        return json.loads(stdout.read(length))["result"]

    request("initialize", {"rootUri": directory.as_uri(), "capabilities": {}})
    session = request("session/open", {})["session"]["sessionId"]
    events = [
        {"type": "user_message", "data": {"content": QUESTION}},
        {"type": "text", "data": {"content": ANSWER}},
    ]
    request("session/append", {"sessionId": session, "events": events})
    stdin.close()
    server.wait(10)


def run_neovim(directory: Path, environment: dict[str, str]) -> None:
    """Run Neovim in a terminal of its own until it quits."""
    assert NEOVIM is not None
    settings = f"let g:segue = {json.dumps({'cmd': SERVER})}"
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    neovim = subprocess.Popen(
        [
            *(NEOVIM, "--clean"),
            *by_command("set termguicolors", f"set rtp^={PLUGIN}", settings),
            *("-c", f"luafile {HERE / 'nvim' / 'picture.lua'}"),
        ],
        cwd=directory,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    threading.Thread(target=discard, args=(control,), daemon=True).start()
    try:
        neovim.wait(60)
    finally:
        neovim.kill()


def discard(control: int) -> None:
    """Read what the terminal shows, so that it never blocks."""
    try:
        while os.read(control, 65536):
            pass
    except OSError:  # Neovim has quit
        os.close(control)


def drawn(frames: list[Frame], captions: Sequence[str]) -> str:
    """Return the frames, which have one size, side by side, each with its caption, as SVG."""
    panel = len(frames[0][0]) * CELL_WIDTH + 2 * PADDING
    width = panel * len(frames) + GAP * (len(frames) - 1)
    height = TITLE_HEIGHT + len(frames[0]) * CELL_HEIGHT + 2 * PADDING
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"',
        f'viewBox="0 0 {width:g} {height:g}" font-size="{FONT_SIZE}"',
        "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\">",
    ]
    for place, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        left = place * (panel + GAP)
        parts.append(drawn_panel(frame, caption, left, panel, height))
    return "\n".join([*parts, "</svg>\n"])


def drawn_panel(frame: Frame, caption: str, x: float, width: float, height: float) -> str:
    """Return one frame with a title bar, as SVG."""
    background = frame[0][0][2]
    parts = [
        f'<g transform="translate({x:g} 0)">',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{background}"/>',
        f'<path d="M0 30 V8 a8 8 0 0 1 8 -8 H{width - 8:g} a8 8 0 0 1 8 8 V30 z" fill="#2c2e33"/>',
        f'<text x="{width / 2:g}" y="20" fill="#c4c6cd" text-anchor="middle">',
        f"{escape(caption)}</text>",
    ]
    for row, cells in enumerate(frame):
        top = TITLE_HEIGHT + PADDING / 2 + row * CELL_HEIGHT
        column = 0
        for (*style, _), group in itertools.groupby(cells, look):
            characters = [cell[0] for cell in group]
            left, width = PADDING + column * CELL_WIDTH, len(characters) * CELL_WIDTH
            parts += drawn_run("".join(characters), style, left, top, width, background)
            column += len(characters)
    return "\n".join([*parts, "</g>"])


def look(cell: Cell) -> Cell:
    """Return the style of a cell, and whether it is a part of a wide character.

    Fonts differ in how wide those are: so the others keep their places.
    """
    return [*cell[1:], cell_len(cell[0]) != 1]


def drawn_run(
    run: str, style: Cell, x: float, top: float, width: float, background: str
) -> list[str]:
    """Return neighbouring cells of one style as SVG: their background, and their characters."""
    foreground, own_background, bold, italic = style
    parts = []
    if own_background != background:
        parts.append(
            f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{CELL_HEIGHT}" '
            f'fill="{own_background}"/>'
        )
    if run.strip():
        attributes = 'font-weight="bold" ' * bold + 'font-style="italic" ' * italic
        parts.append(
            f'<text x="{x:g}" y="{top + 13.5:g}" fill="{foreground}" {attributes}'
            f'textLength="{width:g}" xml:space="preserve">{escape(run)}</text>'
        )
    return parts


if __name__ == "__main__":
    main()
