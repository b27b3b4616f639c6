"""All output of the commands: nothing else writes to stdout or stderr.

What is printed may have been written by anybody. Characters that control the terminal are escaped,
right-to-left text is kept from reordering its surroundings, and no text is markup.
"""

import contextlib
import io
import json
import locale
import math
import os
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import attrs
import click
from rich.cells import cell_len

from segue.model.records import MAX_SKEW_MS, now

_LESS_CHARACTERS = "200c-200d:c,2068-2069:c"
"""Characters without a width, which less would show as their numbers: joiners and isolates."""

_FULL_BLOCK = "\u2588"
"""The seven characters behind it are narrower by an eighth each."""

_GAP = "  "
_MIN_WIDTH = 8
_COMFORTABLE_WIDTH = 24
_JOINERS = "\u200c\u200d"
_WIDENER = "\ufe0f"
"""Makes the character before it an emoji, of two columns in some terminals."""

_RIGHT_TO_LEFT = frozenset(("R", "AL", "AN"))
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"
_WITHOUT_ISOLATES = dict.fromkeys(map(ord, (_ISOLATE, _END_ISOLATE)))


class OutputClosedError(Exception):
    """There is no standard output."""


def prepare_output(environment: Mapping[str, str] = os.environ) -> None:
    """Let a character that the output cannot express be escaped, and use the locale's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(LookupError):  # there is no such encoding
                stream.reconfigure(encoding=_encoding(environment), errors="backslashreplace")


@contextlib.contextmanager
def pager(uses: bool = True) -> Iterator[None]:
    """Show what the block prints with the user's pager, if it *uses* one and on a terminal.

    `PAGER`, else less, which ends by itself if all fits. An empty `PAGER`, or `cat`, means none. If
    the pager is left early, so is the block.
    """
    stdout = _stdout()
    command = shlex.split(os.environ.get("PAGER", "less"))
    is_wanted = uses and stdout.isatty() and os.environ.get("TERM") != "dumb"
    if not is_wanted or not command or command == ["cat"] or shutil.which(command[0]) is None:
        yield
        return
    stdout.flush()
    environment = {"LESS": "FRX", "LESSUTFCHARDEF": _LESS_CHARACTERS} | os.environ
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603  the user's choice
    assert process.stdin is not None  # noqa: S101  Popen was given a PIPE
    sys.stdout = _PagerInput(process.stdin, encoding=stdout.encoding, errors="backslashreplace")
    try:
        with contextlib.suppress(BrokenPipeError):
            yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()
        sys.stdout = stdout
        while process.poll() is None:  # Ctrl-C belongs to the pager
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()


class _PagerInput(io.TextIOWrapper):
    """What is written to a pager, which shows it on the terminal."""

    def isatty(self) -> bool:
        return True


def print_line(*fields: str, color: str | None = None, bold: bool = False) -> None:
    """Print the *fields*, separated by spaces, as one line."""
    _write(" ".join(isolated(visible(field)) for field in fields), color=color, bold=bold)


def print_text(text: str) -> None:
    """Print *text*, which may have several lines."""
    _write(visible(text, keep="\n\t"))


def print_excerpt(pieces: Iterable[tuple[str, bool]]) -> None:
    """Print the pieces of an excerpt as one line, indented; those that match are bold."""
    is_colored = uses_color(_stdout())
    shown = [
        click.style(visible(text), bold=True, fg="red") if match and is_colored else visible(text)
        for text, match in pieces
    ]
    _write(f"    {isolated(''.join(shown))}")


def print_markdown(text: str) -> None:
    """Print *text* drawn as Markdown on a terminal, and as it is elsewhere.

    All of it is shown: HTML as its source, links and images with their addresses, lines as they
    are.
    """
    stdout = _stdout()
    if not stdout.isatty() or os.environ.get("TERM") == "dumb":
        print_text(text)
        return
    from segue.cli.drawing import drawn  # slow to import, and only for terminals

    width = shutil.get_terminal_size().columns
    _write(drawn(visible(text, keep="\n\t"), width, uses_color=uses_color(stdout)))


def print_json(value: Any) -> None:
    """Print *value* as JSON: in ASCII, which has no characters that a terminal would obey."""
    _write(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print *value* as JSON on one line."""
    _write(json.dumps(value))


@attrs.frozen(kw_only=True)
class Column:
    """A column of a table."""

    name: str = attrs.field(kw_only=False)
    is_number: bool = False
    max_width: int | None = None
    """In characters of a terminal; what is longer is cut."""

    is_flexible: bool = False
    """Whether it is cut further where the terminal is too narrow for all columns."""

    is_optional: bool = False
    """Whether it is left out if it is empty, or if the flexible ones would be too narrow.

    Of several, the last one is left out first.
    """


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* below the names of the *columns*; output to a pipe or a file is not cut."""
    for number, line in enumerate(_table_lines(columns, rows, _stdout())):
        _write(line, bold=number == 0)


def print_error_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stderr, if there is still a stderr."""
    with contextlib.suppress(OSError, ValueError):
        for line in _table_lines(columns, rows, sys.stderr):
            _write(line, sys.stderr)


def is_terminal() -> bool:
    """Return whether the output is shown on a terminal, and cut there."""
    return _stdout().isatty()


def _table_lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], stream: TextIO
) -> Iterator[str]:
    table = [[visible(cell) for cell in row] for row in rows]
    available = shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize
    lines = [[column.name for column in columns], *table]
    widths = {
        column: min(max(map(_cells, cells)), column.max_width or sys.maxsize)
        for column, *cells in zip(columns, *lines, strict=True)
        if not column.is_optional or any(cells[1:])
    }
    optional = [column for column in widths if column.is_optional]
    while not _shrink(widths.copy(), available, _COMFORTABLE_WIDTH) and optional:
        del widths[optional.pop()]
    _shrink(widths, available, _MIN_WIDTH)
    for line in lines:
        shown = zip(line, columns, strict=True)
        cells = [_fit(cell, widths[column], column) for cell, column in shown if column in widths]
        yield _GAP.join(cells).rstrip()


def _shrink(widths: dict[Column, int], available: int, least: int) -> bool:
    """Make the flexible columns narrower, the widest first, until all fit; return whether they do.

    None is made narrower than *least*.
    """
    flexible = [column for column in widths if column.is_flexible]
    while sum(widths.values()) + len(_GAP) * (len(widths) - 1) > available:
        widest = max(flexible, key=widths.__getitem__)
        if widths[widest] <= least:
            return False
        widths[widest] -= 1
    return True


def _fit(cell: str, width: int, column: Column) -> str:
    if _cells(cell) > width:
        cell = f"{_cut(cell, width - 1)}…"
    padding = " " * (width - _cells(cell))
    return f"{padding}{isolated(cell)}" if column.is_number else f"{isolated(cell)}{padding}"


def _cells(text: str) -> int:
    """Return how many columns of a terminal *text* takes at most.

    Not every terminal draws the parts of an emoji that are joined, such as a family, as one.
    """
    return max(cell_len(text), sum(cell_len(char) or char == _WIDENER for char in text))


def _cut(text: str, width: int) -> str:
    """Return the beginning of *text* that fits into *width* columns."""
    while _cells(text) > width:
        text = text[:-1]
    return text.rstrip(f" {_JOINERS}")


def print_error(text: str) -> None:
    """Print *text* on stderr, if there is still a stderr."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(visible(text, keep="\n") + "\n")


def isolated(escaped: str) -> str:
    """Return *escaped* so that right-to-left text in it does not reorder what is around it."""
    if _RIGHT_TO_LEFT.isdisjoint(map(unicodedata.bidirectional, escaped)):
        return escaped
    return f"{_ISOLATE}{escaped}{_END_ISOLATE}"


def visible(string: str, keep: str = "") -> str:
    """Return *string* with control and direction characters escaped, except those in *keep*.

    An escape sequence can make a terminal move, hide its output, or write to the clipboard.
    """
    return "".join(
        char if char in keep or not _is_control(char) else char.encode("unicode_escape").decode()
        for char in string
    )


def bar(share: float, width: int) -> str:
    """Return a bar for *share* of *width* columns; what is not nothing is seen."""
    try:
        _FULL_BLOCK.encode(_stdout().encoding or "utf-8")
    except UnicodeEncodeError:
        return "#" * math.ceil(share * width)
    full, eighths = divmod(math.ceil(share * width * 8), 8)
    return _FULL_BLOCK * full + (chr(ord(_FULL_BLOCK) + 8 - eighths) if eighths else "")


def from_home(path: str) -> str:
    """Return *path* with `~` for the home directory on a terminal, and as it is elsewhere."""
    home = os.path.expanduser("~")
    is_short = is_terminal() and path.startswith(home + os.sep)
    return f"~{path[len(home) :]}" if is_short else path


def age(time: int) -> str:
    """Return how long ago *time* (milliseconds since 1970) is, in at most four characters: `3h`.

    A time in the future is shown as its date.
    """
    seconds = (now() - time) / 1_000
    if seconds < -MAX_SKEW_MS / 1_000:
        return local_time(time).partition(" ")[0]
    for size, unit in ((365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "now"


def local_time(milliseconds: int) -> str:
    """Return a stored timestamp as local date and time, to the second.

    In UTC where the local calendar does not reach, and as a number where no calendar does.
    """
    for zone in (None, UTC):
        with contextlib.suppress(OverflowError, ValueError, OSError):
            return f"{datetime.fromtimestamp(milliseconds / 1_000, zone):%Y-%m-%d %H:%M:%S}"
    return f"{milliseconds} ms since 1970"


def uses_color(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether *stream* gets colors: a terminal does, unless the environment says no."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"


def _write(
    text: str, stream: TextIO | None = None, *, color: str | None = None, bold: bool = False
) -> None:
    stream = stream or _stdout()
    if (color or bold) and uses_color(stream):
        text = click.style(text, fg=color, bold=bold or None)
    try:
        _ISOLATE.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:  # nor has it right-to-left letters that would need them
        text = text.translate(_WITHOUT_ISOLATES)
    stream.write(f"{text}\n")


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise OutputClosedError("standard output is closed")
    return sys.stdout


def _encoding(environment: Mapping[str, str]) -> str | None:
    """Return the encoding of the output; None: the one that Python chose."""
    # Python, which is started isolated, has not read it.
    name = environment.get("PYTHONIOENCODING", "").partition(":")[0]
    if not name and sys.flags.utf8_mode and os.name == "posix":
        name = locale.getencoding()
        if name in ("ANSI_X3.4-1968", "US-ASCII", "646"):  # no locale is set, which says nothing
            return None
    return name or None


def _is_control(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Zl", "Zp") or (category[0] == "C" and char not in _JOINERS)
