"""A conversation as Segue has it, to be written in the format of its source."""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from segue.model.records import StoredEvent


@attrs.frozen(kw_only=True)
class Writable:
    """A conversation that is to be written."""

    path: Path
    """Where its source keeps it."""
    directory: str
    title: str | None
    model: str | None
    client_version: str | None
    """The version of the source that it was had with last, if that is known."""
    events: Sequence[StoredEvent]
    records: Mapping[str, str] = attrs.field(factory=dict)
    """The ids that the source's records have of prompts which hooks stored, by those of their
    events."""


@attrs.frozen
class Written:
    """A conversation in the format of its source."""

    lines: Sequence[bytes]
    kept: Sequence[tuple[str, StoredEvent]]
    """The events that are in it, each behind the id under which it is read back."""
    left_out: "collections.Counter[str]"
    """How many are not in it, by their type."""
