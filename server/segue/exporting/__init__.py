"""The formats in which a conversation is exported: one module each, named in FORMATS.

    MEDIA_TYPE, SUFFIX             what a file of the format is, and how its name ends
    begin(session) -> str          what stands before the first block
    continues(block, event)        whether the event belongs to the block before it
    render(block, previous)        the text of a block, and the *previous* of the next one; of the
                                   first block it is an empty string
    end(previous) -> str           what stands after the last block

All functions are pure: the same arguments give the same text, so that a page of an export can be
made anew.
"""

import importlib
import re
from types import ModuleType

from segue.model.records import Session, iso

FORMATS = ("markdown", "jsonl", "html")

_MAX_NAME = 50
_UNSAFE = re.compile(r"[^\w.]+|^\.+|_+")


def load(name: str) -> ModuleType:
    """Return the module of the format *name*, one of FORMATS."""
    if name not in FORMATS:
        raise KeyError(name)
    return importlib.import_module(f"segue.exporting.{name}")


def file_name(session: Session, format: ModuleType) -> str:
    """Return a name for the file: the day and the title, of letters, digits, `-` and `.` only."""
    title = _UNSAFE.sub("-", session.title or "").strip("-.")[:_MAX_NAME].strip("-.")
    return f"{iso(session.created_at)[:10]}-{title or session.id[:8]}{format.SUFFIX}"


def shown_time(milliseconds: int) -> str:
    """Return a time for people, to the minute, in UTC: the same file wherever it is made."""
    return iso(milliseconds)[:16].replace("T", " ")
