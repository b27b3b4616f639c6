"""What the administration of a database that several people share returns."""

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from segue.model.errors import SegueError
from segue.model.store_reports import Finding


class DatabaseSetupError(SegueError):
    """The database is left as it was; the message says why, and what to do."""


@attrs.frozen(kw_only=True)
class Installation:
    """What was done to a database: whether it was created, and what became of the store in it."""

    database: str
    is_new_database: bool
    store: Literal["created", "updated", "unchanged"]


@attrs.frozen(kw_only=True)
class AddedUser:
    """A person who may use the store now, and the URL that the person's settings need."""

    name: str
    url: str


@attrs.frozen(kw_only=True)
class UserContents:
    """What a user has in the store. `has_role` is False if only the conversations are left."""

    name: str
    sessions: int
    events: int
    has_role: bool


@attrs.frozen
class Reader:
    """A role that can read what others have said, and by which right."""

    role: str
    right: str


@attrs.frozen(kw_only=True)
class DatabaseReport:
    """The state of a shared store. The sentences are for its administrator."""

    location: str
    version: str
    store: Literal["none", "present", "outdated"]
    bytes: int | None
    users: int
    answered: str
    """What it means that an append was answered: on whose disks it is."""

    deleted: Sequence[str]
    """Where the text of a deleted conversation may still be."""

    readers: Sequence[Reader]
    settings: Mapping[str, str]
    findings: Sequence[Finding]


@attrs.frozen(kw_only=True)
class VacuumedTable:
    """A table before and after a vacuum: its bytes, and its dead rows as the server counts them."""

    name: str
    bytes_before: int
    bytes_after: int
    dead_before: int
    dead_after: int


@attrs.frozen(kw_only=True)
class VacuumReport:
    """What a vacuum has done to each table; `is_full` if the tables were written anew."""

    is_full: bool
    tables: Sequence[VacuumedTable]


@attrs.frozen(kw_only=True)
class Grant:
    """What a role or the members of a group may read: one session, or all of a repository."""

    grantee: str
    session_id: str | None
    title: str | None
    repository: str | None
