"""The records that a StoreAdmin returns; not in `records`, because a server does not load them."""

from collections.abc import Sequence
from typing import Literal

import attrs

from segue.model.records import Timestamp


@attrs.frozen(kw_only=True)
class StoreEngine:
    """The database software behind a store; *library* is the Python package that links it."""

    name: str
    library: str
    version: str
    is_safe: bool
    warning: str | None
    """What is wrong with this version and how to replace it; None if it is safe."""


@attrs.frozen(kw_only=True)
class StoreSizes:
    """How much a store holds. A count is None where the store has no tables or cannot be read."""

    bytes: int = 0
    sessions: int | None = None
    archived: int | None = None
    events: int | None = None


@attrs.frozen(kw_only=True)
class SessionSize:
    """How much one session holds: its events, and the bytes of their JSON.

    An event that several sessions have counts for the one that wrote it, or if that was deleted,
    for the oldest that has it, in `own_events` and `bytes`; such bytes are also in `shared`.
    """

    id: str
    title: str | None
    events: int
    own_events: int
    bytes: int
    shared: int
    source: str | None
    directory: str
    git_root: str | None
    git_common_dir: str | None
    created_at: Timestamp


@attrs.frozen(kw_only=True)
class SizeReport:
    """How much each session holds, the largest first, and the store as a whole.

    `file_bytes` is all that it takes on disk, without its log, and `free_bytes` what of that holds
    nothing: what is stored next is put there.
    """

    sessions: Sequence[SessionSize] = ()
    file_bytes: int = 0
    free_bytes: int = 0


@attrs.frozen(kw_only=True)
class CheckReport:
    """The state of a store. `problems` is empty if nothing is wrong.

    `modes` holds the permissions of each of its files and of their folder, in octal, by path.
    """

    exists: bool
    sizes: StoreSizes
    modes: dict[str, str] = attrs.field(factory=dict)
    schema_version: int | None = None
    problems: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class BackupResult:
    """A verified copy: its path, its size in bytes, and the number of its sessions and events."""

    path: str
    size: int
    sessions: int
    events: int


@attrs.frozen(kw_only=True)
class StoreContents:
    """How much a store holds, and when its newest session was updated; None without a session."""

    sessions: int
    events: int
    newest: Timestamp | None


@attrs.frozen(kw_only=True)
class RestorePreview:
    """What a restore is about to do to the store at *path*.

    `present` is None if there is no store yet, or if it cannot be read.
    """

    path: str
    present: StoreContents | None
    restored: StoreContents


@attrs.frozen(kw_only=True)
class RestoreResult:
    """What a store holds since it was restored, and where the former one is kept, if there was."""

    path: str
    replaced_as: str | None
    restored: StoreContents


@attrs.frozen(kw_only=True)
class StoreCopy:
    """A copy of a store: its path, and its bytes on disk.

    A `backup` was made by the user; the store was copied `before a migration`, was set aside as
    `damaged` by a repair or as `replaced` by a restore, or the copy is `in the making`.
    """

    kind: Literal["backup", "before a migration", "damaged", "replaced", "in the making"]
    path: str
    bytes: int


@attrs.frozen
class Finding:
    """What was found, in one sentence, and what to do, in another."""

    what: str
    remedy: str
    is_problem: bool = attrs.field(default=True, kw_only=True)
    """Whether something is wrong; else it is only good to know."""

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"
