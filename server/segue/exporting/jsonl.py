"""JSON lines: the whole conversation, which `segue import` takes back as it was.

The first line is `{"segue": 1, "session": …}`. Each event is a line, as in `session/events`. Before
the first event of an invocation stands `{"invocation": …}`.
"""

import json
from typing import Any

from segue.exporting.blocks import Block
from segue.model import validation
from segue.model.records import Session, StoredEvent, Timestamp, iso

MEDIA_TYPE = "application/jsonl"
SUFFIX = ".jsonl"

VERSION = 1

_converter = validation.make_converter(validation.camel_case)
_converter.register_unstructure_hook(Timestamp, iso)


def begin(session: Session) -> str:
    """Return the line of the session."""
    return _line({"segue": VERSION, "session": _converter.unstructure(session)})


def continues(block: Block, event: StoredEvent) -> bool:
    """Return False: each event is a line."""
    return False


def render(block: Block, previous: str) -> tuple[str, str]:
    """Return the line of the block's event; *previous* is the invocation of the event before it."""
    (event,) = block.events
    line = _line(_converter.unstructure(event))
    invocation = block.invocations.get(event.invocation_id)
    if event.invocation_id != previous and invocation is not None:
        line = _line({"invocation": _converter.unstructure(invocation)}) + line
    return line, event.invocation_id


def end(previous: str) -> str:
    """Return nothing."""
    return ""


def _line(value: Any) -> str:
    # In ASCII: half of a surrogate pair has an escape, but no UTF-8.
    return json.dumps(value, separators=(",", ":")) + "\n"
