"""All output of the commands: nothing else writes to stdout or stderr.

What is printed may have been written by anybody. Characters that control the terminal are escaped,
right-to-left text is kept from reordering its surroundings, and no text is markup.
"""

import contextlib
import io
import json
import locale
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import attrs
import click
from rich.cells import cell_len, set_cell_size

_GAP = "  "
_MIN_WIDTH = 8
_COMFORTABLE_WIDTH = 24
_JOINERS = "\u200c\u200d"
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


def print_line(*fields: str, color: str | None = None, bold: bool = False) -> None:
    """Print the *fields*, separated by spaces, as one line."""
    _write(" ".join(isolated(visible(field)) for field in fields), color=color, bold=bold)


def print_text(text: str) -> None:
    """Print *text*, which may have several lines."""
    _write(visible(text, keep="\n\t"))


def print_json(value: Any) -> None:
    """Print *value* as JSON: in ASCII, which has no characters that a terminal would obey."""
    _write(json.dumps(value, indent=2))


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
    """Whether it is left out if it is empty, or if the flexible ones would be too narrow."""


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* below the names of the *columns*; output to a pipe or a file is not cut."""
    table = [[visible(cell) for cell in row] for row in rows]
    available = shutil.get_terminal_size().columns if _stdout().isatty() else sys.maxsize
    lines = [[column.name for column in columns], *table]
    widths = {
        column: min(max(map(cell_len, cells)), column.max_width or sys.maxsize)
        for column, *cells in zip(columns, *lines, strict=True)
        if not column.is_optional or any(cells[1:])
    }
    without = {column: width for column, width in widths.items() if not column.is_optional}
    if not _shrink(widths, available, _COMFORTABLE_WIDTH):
        widths = without
        _shrink(widths, available, _MIN_WIDTH)
    for number, line in enumerate(lines):
        shown = zip(line, columns, strict=True)
        cells = [_fit(cell, widths[column], column) for cell, column in shown if column in widths]
        _write(_GAP.join(cells).rstrip(), bold=number == 0)


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
    if cell_len(cell) > width:
        cell = f"{set_cell_size(cell, width - 1)}…"
    padding = " " * (width - cell_len(cell))
    return f"{padding}{isolated(cell)}" if column.is_number else f"{isolated(cell)}{padding}"


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


def _write(text: str, *, color: str | None = None, bold: bool = False) -> None:
    stdout = _stdout()
    if (color or bold) and uses_color(stdout):
        text = click.style(text, fg=color, bold=bold or None)
    try:
        _ISOLATE.encode(stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # nor has it right-to-left letters that would need them
        text = text.translate(_WITHOUT_ISOLATES)
    stdout.write(f"{text}\n")


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
