"""The copies of the store, for `segue doctor`: a deleted conversation may still be in them."""

import itertools
from collections.abc import Sequence
from typing import Any

from segue.store.service import StoreAdmin

_NAMES = {
    "backup": "{} of `segue backup`",
    "before a migration": "{} made before a migration",
    "damaged": "{} damaged, set aside by a repair",
    "replaced": "{} set aside by `segue restore`",
    "in the making": "{} in the making",
}


def copies_as_lines(admin: StoreAdmin) -> Sequence[str]:
    """Return a line for each kind of copies: how many there are, their bytes, the newest's path."""
    lines = []
    for kind, group in itertools.groupby(admin.copies(), key=lambda copy: copy.kind):
        copies = list(group)
        size = sum(copy.bytes for copy in copies)
        newest = copies[-1].path if len(copies) == 1 else f"the newest is {copies[-1].path}"
        lines.append(f"{_NAMES[kind].format(len(copies))}, {size:,} bytes: {newest}")
    return lines


def copies_kept(admin: StoreAdmin) -> str:
    """Return the sentence that says what a deletion has not reached."""
    copies = len(admin.copies())
    beside = f"the {copies} beside it, which `segue doctor` lists, and " if copies else ""
    return f"Copies of the database keep what they hold: {beside}any that you made elsewhere."


def copies_as_json(admin: StoreAdmin) -> list[dict[str, Any]]:
    """Return the copies as a list for `--json`."""
    return [{"kind": copy.kind, "path": copy.path, "bytes": copy.bytes} for copy in admin.copies()]
