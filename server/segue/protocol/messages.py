"""Messages: how params and results become JSON and back, and those of LSP's life cycle.

Fields are in camelCase in JSON.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar, dataclass_transform

import attrs

from segue.model import validation
from segue.model.events import Event
from segue.model.records import MAX_TIMESTAMP, Timestamp

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1)


@dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
def message(cls: type[T]) -> type[T]:
    """Return *cls* as an attrs class without comparison and representation.

    Messages are neither compared nor printed, and building that code is half of a class's cost.
    """
    return attrs.define(cls, kw_only=True, eq=False, repr=False)


@message
class WorkspaceFolder:
    """A folder that the editor has open."""

    uri: str


@message
class InitializeParams:
    """The part of LSP's `initialize` that Segue reads."""

    client_info: Any = None
    process_id: int | None = None
    root_path: str | None = None
    root_uri: str | None = None
    workspace_folders: list[WorkspaceFolder] | None = None


@message
class FoldersChange:
    """Which workspace folders were added and removed."""

    added: list[WorkspaceFolder]
    removed: list[WorkspaceFolder]


@message
class FoldersChangeParams:
    """The params of LSP's `workspace/didChangeWorkspaceFolders`."""

    event: FoldersChange


def iso(time: int) -> str:
    """Return a Timestamp as ISO 8601 UTC with milliseconds: `2026-08-01T12:00:00.000Z`.

    A time before 1970 or after 9999 becomes the nearest one that is not.
    """
    limited = min(max(time, 0), MAX_TIMESTAMP)
    return (_EPOCH + timedelta(milliseconds=limited)).isoformat(timespec="milliseconds") + "Z"


wire = validation.make_converter(validation.camel_case)
wire.register_structure_hook(Event, Event.parse)
wire.register_unstructure_hook(Timestamp, iso)
