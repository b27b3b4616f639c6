"""Messages: how params and results become JSON and back, and those of LSP's life cycle.

Fields are in camelCase in JSON.
"""

from typing import Any, TypeVar, dataclass_transform

import attrs

from segue.model import validation
from segue.model.events import Event
from segue.model.records import Timestamp, iso

T = TypeVar("T")


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


wire = validation.make_converter(validation.camel_case)
wire.register_structure_hook(Event, Event.parse)
wire.register_unstructure_hook(Timestamp, iso)
