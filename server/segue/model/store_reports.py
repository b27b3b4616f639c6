"""The records that a StoreAdmin returns; not in `records`, because a server does not load them."""

import attrs


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
