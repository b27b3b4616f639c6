"""`segue stats`: how much is stored, by program, month and workspace."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from segue.cli.application import CommandError
from segue.cli.printing import (
    Column,
    bar,
    from_home,
    is_terminal,
    local_time,
    pager,
    print_error,
    print_json,
    print_line,
    print_table,
)
from segue.model.errors import StorageError
from segue.model.records import RECORDED
from segue.model.store_reports import SessionSize
from segue.store.service import StoreAdmin

_MAX_ROWS = 20
_BAR_SHARE = 5
"""A bar takes at most one of so many parts of the terminal's width."""


@attrs.frozen
class Amount:
    """How much some sessions hold; each event counts once, whatever forks have it too."""

    sessions: int = 0
    events: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.sessions + other.sessions, self.events + other.events, self.bytes + other.bytes
        )

    def as_json(self) -> dict[str, int]:
        """Return the amount for programs."""
        return {"sessions": self.sessions, "events": self.events, "bytes": self.bytes}


def print_statistics(admin: StoreAdmin, *, as_json: bool, pages: bool) -> int:
    """Print how much the sessions hold, archived ones included; return 0.

    Raises CommandError if the store cannot be read.
    """
    try:
        report = admin.session_sizes()
    except StorageError as error:
        raise CommandError(str(error)) from None
    total = _sum(map(_amount, report.sessions))
    groups = {title: _grouped(report.sessions, key) for title, key in _GROUPS.items()}
    if as_json:
        print_json(
            total.as_json()
            | {"fileBytes": report.file_bytes}
            | {
                f"by{title.capitalize()}": [
                    {title: name, **amount.as_json()} for name, amount in group.items()
                ]
                for title, group in groups.items()
            }
        )
    elif not report.sessions:
        print_error("No conversations yet.")
    else:
        with pager(pages):
            print_line(
                f"{total.sessions:,} conversations, {total.events:,} events, {total.bytes:,} bytes"
            )
            for title, group in groups.items():
                print_line()
                _print_group(title, group)
    return 0


def _amount(size: SessionSize) -> Amount:
    return Amount(1, size.own_events, size.bytes)


def _sum(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


def _grouped(
    sizes: Sequence[SessionSize], key: Callable[[SessionSize], str]
) -> Mapping[str, Amount]:
    groups: dict[str, Amount] = defaultdict(Amount)
    for each in sizes:
        groups[key(each)] += _amount(each)
    if key is _month:
        return dict(sorted(groups.items()))
    return dict(sorted(groups.items(), key=lambda item: (-item[1].sessions, item[0])))


def _source(size: SessionSize) -> str:
    return size.source or RECORDED


def _month(size: SessionSize) -> str:
    """Return the month in which a session began: `2026-08`."""
    return local_time(size.created_at)[:7]


def _workspace(size: SessionSize) -> str:
    """Return the main worktree of a session's repository, or else its own, or its directory."""
    common = size.git_common_dir
    if common is not None and os.path.basename(common) == ".git":
        return os.path.dirname(common)
    return size.git_root or size.directory


_GROUPS: dict[str, Callable[[SessionSize], str]] = {
    "source": _source,
    "month": _month,
    "workspace": _workspace,
}


def _print_group(title: str, group: Mapping[str, Amount]) -> None:
    most = max(each.sessions for each in group.values())
    names = list(group)
    shown = names[-_MAX_ROWS:] if title == "month" else names[:_MAX_ROWS]
    width = shutil.get_terminal_size().columns // _BAR_SHARE
    columns = (
        Column(title.upper(), is_flexible=True),
        Column("CONVERSATIONS", is_number=True),
        Column("EVENTS", is_number=True),
        Column("BYTES", is_number=True),
        Column("", is_optional=True),
    )
    rows = (
        (
            from_home(name) if title == "workspace" else name,
            f"{group[name].sessions:,}",
            f"{group[name].events:,}",
            f"{group[name].bytes:,}",
            bar(group[name].sessions / most, width) if is_terminal() else "",
        )
        for name in shown
    )
    print_table(columns, rows)
    if others := [group[name] for name in names if name not in shown]:
        rest = _sum(others)
        print_line(f"and {len(others)} others: {rest.sessions:,} conversations")
