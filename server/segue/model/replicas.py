"""What two stores exchange to be in step: versions, copies of sessions, tombstones.

`SessionService` has the calls, and `store/replication.py` the rules.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from segue.model.records import PROMPT_RECORDS, Machine, Timestamp

LOCAL_METADATA = frozenset({"import", PROMPT_RECORDS})
"""The keys of metadata that stay on their machine: what was imported from a file of it, and how."""

REMAINDER_OF = "remainderOf"
"""The key of the metadata of a session that has what was appended elsewhere to a session that was
deleted: the ids of that, and of those that it had such a remainder of itself."""

_FORKS = uuid.UUID("5e90e000-0000-5000-8000-000000000003")

_DIGEST_LENGTH = 12


@attrs.frozen(kw_only=True)
class Version:
    """What differs whenever two copies of a session do."""

    id: str
    generation: int
    """Rises when the session is deleted, and when it is imported again after that; odd: deleted."""
    event_count: int
    head: str | None
    revisions: str | None
    """Those of the replica: `encoded_revisions`."""


@attrs.frozen(kw_only=True)
class VersionPage:
    """Versions, by the ids of their sessions; `has_more` if there are others behind them."""

    versions: Sequence[Version]
    has_more: bool


@attrs.frozen(kw_only=True)
class Replica:
    """A copy of a session: all that a store has of it but its events."""

    id: str
    generation: int

    machine: Machine | None
    """The machine that it was had on, and that its places are on; None: the one of its store."""
    directory: str
    git_root: str | None
    git_common_dir: str | None
    """None where a store does not keep it: a SQLite file has that of its own machine only."""
    repository: str | None
    worktree: str | None
    source: str | None
    created_at: Timestamp

    event_count: int
    head: str
    automatic_title: str | None
    model_visible: bool
    client: str | None
    agent: str | None
    model: str | None
    branch: str | None
    updated_at: Timestamp
    last_prompt_at: Timestamp | None

    forked_from: str | None
    fork_seq: int | None
    given_title: str | None
    archived_at: Timestamp | None
    server_session_id: str | None
    metadata: dict[str, Any]
    """Without LOCAL_METADATA."""
    revisions: Mapping[str, str]
    """When fields that no event changes got their values, if that was after the session's creation.

    By `origin` (forked_from and fork_seq), `title`, `automatic` (the automatic title), `archive`,
    `server`, and `metadata/KEY`. Of two revisions the greater text is the later one.
    """


@attrs.frozen(kw_only=True)
class Tombstone:
    """What is left of a deleted session: which events it had, by the digests of their ids.

    Those that a fork had of its original are not among them, as every copy of it has them.
    """

    id: str
    generation: int
    events: frozenset[str]
    is_imported: bool
    """Whether an import does not bring it back by itself, because its program still has it."""

    def has(self, event_id: str) -> bool:
        """Return whether the deleted session had the event."""
        return digest(event_id) in self.events


def digest(event_id: str) -> str:
    """Return 12 hexadecimal digits that stand for an event's id."""
    return hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]


def digests(event_ids: Iterable[str]) -> str:
    """Return the digests of events as they are stored: sorted, one behind the other."""
    return joined(map(digest, event_ids))


def joined(found: Iterable[str]) -> str:
    """Return digests as they are stored."""
    return "".join(sorted(set(found)))


def split(stored: str) -> frozenset[str]:
    """Return the digests of their stored form."""
    starts = range(0, len(stored), _DIGEST_LENGTH)
    return frozenset(stored[start : start + _DIGEST_LENGTH] for start in starts)


def encoded_revisions(revisions: Mapping[str, str]) -> str | None:
    """Return revisions as JSON with sorted keys, None if there are none."""
    return json.dumps(revisions, sort_keys=True, separators=(",", ":")) if revisions else None


def fork_id(session_id: str, at: str | None, first: str) -> str:
    """Return the id of the fork of a session that has *first* behind *at*, always the same."""
    return str(uuid.uuid5(_FORKS, f"{session_id}/{at}/{first}"))
