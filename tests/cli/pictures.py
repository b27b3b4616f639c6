"""Draws the picture of the command line in the README: real output on a terminal.

    .venv/bin/python -m tests.cli.pictures [COLUMNS]

Conversations are stored, one of them is open in a window, and `segue list` and `segue stats` run on
a terminal with so many columns. With COLUMNS the picture is drawn for that width, and its path is
below the temporary folder.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.text import Text

from segue.model.records import NewSession, Origin, Timestamp
from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import screen
from tests.editors.pictures_terminal import Frame, drawn
from tests.factories import user_message

PICTURE = Path(__file__).parents[2] / "server" / "images" / "list.svg"
COLUMNS = 64
FOREGROUND, BACKGROUND = "#d8dae0", "#1b1d22"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

CONVERSATIONS = (
    # how long ago it began, events, source, agent, title
    (61 * DAY, 40, None, "copilot", "Move the settings into config.toml"),
    (44 * DAY, 31, "codex", "codex", "Profile the start of the server"),
    (33 * DAY, 58, "claude-code", "claude-code", "Review the migration to schema 3"),
    (12 * DAY, 12, "gemini-cli", "gemini-cli", "תקן את הבדיקה שנכשלת בלינוקס"),
    (9 * DAY, 210, "claude-code", "claude-code", "重构解析器并为每个函数添加单元测试"),
    (2 * DAY, 8, None, "openai", "Add a 👩\u200d🚀 to the release notes"),
    (26 * HOUR, 66, "codex", "codex", "Why does the lexer drop the last token of a line?"),
    (3 * HOUR, 23, None, "claude_code", "Write a parser for the log format"),
    (4 * MINUTE, 5, None, "anthropic", "Why is a token lost?"),
)


def main() -> None:
    """Store the conversations, and write the picture."""
    columns = int(sys.argv[1]) if sys.argv[1:] else COLUMNS
    with tempfile.TemporaryDirectory(prefix="segue-picture-") as name:
        folder = Path(name).resolve()
        lists = asyncio.run(captured(folder, columns))
    picture = Path(tempfile.gettempdir()) / f"list-{columns}.svg" if sys.argv[1:] else PICTURE
    picture.parent.mkdir(exist_ok=True)
    rows = max(map(len, lists))
    frames = [frame(lines, columns, rows) for lines in lists]
    picture.write_text(drawn(frames, ("segue list", "segue stats")), encoding="utf-8")
    print(picture)  # noqa: T201  the path is what this program returns


async def captured(folder: Path, columns: int) -> list[list[str]]:
    """Return what `segue list` and `segue stats` write, line by line."""
    repository = folder / "parser"
    (repository / ".git").mkdir(parents=True)
    database = folder / "sessions.db"
    now = time.time_ns() // 1_000_000
    past = 0
    service = await LocalSessionService.open(database, lambda: Timestamp(now - past))
    for number, (began, events, source, agent, title) in enumerate(CONVERSATIONS):
        past = began
        id = f"{(now - past) // 65_536:08x}-{number:04x}-7000-8000-{number:012x}"
        new = NewSession(id=id, directory=str(repository), git_root=str(repository), source=source)
        said = [user_message(title), *(user_message("x" * 900) for _ in range(events - 1))]
        origin = Origin(client_name="Neovim", agent=agent)
        await service.create_session(new, said, invocation_id="one", origin=origin)
    await service.hold(id)
    environment = {"SEGUE_DATABASE": str(database), "HOME": str(folder)}
    shown = [
        screen(columns, *command, cwd=repository, **environment)
        for command in (["list"], ["stats"])
    ]
    await service.close()
    return [each.splitlines() for each in shown]


def frame(lines: list[str], columns: int, rows: int) -> Frame:
    """Return the cells of the lines, with colours."""
    padded = [*lines, *[""] * (rows - len(lines))]
    return [row(line, columns) for line in padded]


def row(line: str, columns: int) -> list[list[object]]:
    """Return the cells of a line: the character, its colours, and whether it is bold or italic."""
    console = Console()
    text = Text.from_ansi(line)
    cells: list[list[object]] = []
    for place, char in enumerate(text.plain):
        style = text.get_style_at_offset(console, place)
        color = FOREGROUND if style.color is None else _hex(style.color)
        look = [color, BACKGROUND, bool(style.bold), bool(style.italic)]
        if cell_len(char) == 0 and cells:  # it joins, or isolates, what is before it
            cells[-1][0] = f"{cells[-1][0]}{char}"
            continue
        cells += [[char, *look], *[["", *look]] * (cell_len(char) - 1)]
    blank = [" ", FOREGROUND, BACKGROUND, False, False]
    return cells[:columns] + [blank] * (columns - len(cells))


def _hex(color: Color) -> str:
    return color.get_truecolor().hex


if __name__ == "__main__":
    main()
