"""Copies of sessions that are exchanged with another store: reads them, and writes them."""

import json
from collections.abc import Sequence
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import EventNotFound, HeadMoved, SessionNotFound
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import Machine
from segue.model.replicas import (
    LOCAL_METADATA,
    Replica,
    Tombstone,
    Version,
    VersionPage,
    encoded_revisions,
)
from segue.store.postgres import append, codec, rows
from segue.store.postgres.codec import Parameter
from segue.store.postgres.machine import places, repository
from segue.store.postgres.metadata import encoded
from segue.store.postgres.wire import Connection, Rows
from segue.store.rules.importing import IMPORTED

_DAY_MS = 24 * 60 * 60 * 1_000

_VERSIONS = "SELECT * FROM segue_1.versions($1, $2, $3)"

_READ = "SELECT * FROM segue_1.read_replica($1, $2)"

_WRITE = """
SELECT * FROM segue_1.write_replica($1, ROW($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
    $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30::jsonb, $31, $32,
    $33)::segue_1.replica, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44)
"""

_BURY = "SELECT * FROM segue_1.write_tombstone($1, $2, $3, $4, $5, $6)"

_SET_ASIDE = "SELECT * FROM segue_1.set_aside($1, $2, $3, $4, $5, $6, $7, $8)"

# -- reading ---------------------------------------------------------------------------------------


async def versions(
    connection: Connection, account: int, *, after: str | None, limit: int
) -> VersionPage:
    """Return the versions of *limit* sessions and tombstones behind the id *after*."""
    behind = codec.binary(b"" if after is None else codec.pack(after))
    found = await connection.call(_VERSIONS, codec.int8(account), behind, codec.int4(limit + 1))
    return VersionPage(
        versions=[
            Version(
                id=codec.unpack(id),
                generation=generation,
                event_count=event_count,
                head=None if head is None else codec.unpack(head),
                revisions=encoded_revisions(_revisions(stored)),
            )
            for id, generation, event_count, head, stored in found[:limit]
        ],
        has_more=len(found) > limit,
    )


async def read(
    connection: Connection, account: int, *, session_id: str
) -> Replica | Tombstone | None:
    """Return the replica of a session, or its tombstone, or None."""
    found = await connection.call(_READ, codec.int8(account), codec.id(session_id))
    if not found:
        return None
    ((generation, events, is_imported, keys, contents, session),) = found
    if session is None:
        return Tombstone(
            id=session_id,
            generation=generation,
            events=_digests(events),
            is_imported=is_imported,
        )
    row = rows.session_row(session)
    return Replica(
        id=session_id,
        generation=generation,
        machine=Machine(id=codec.unpack(row["machine"]), name=rows.text(row["machine_name"]) or ""),
        directory=codec.unescape(row["directory"]),
        git_root=rows.text(row["git_root"]),
        git_common_dir=rows.text(row["git_common_dir"]),
        repository=rows.text(row["repository"]),
        worktree=rows.text(row["worktree"]),
        source=rows.text(row["source"]),
        created_at=row["created_at"],
        event_count=row["event_count"],
        head=codec.unpack(row["head"]),
        automatic_title=rows.text(row["title"]),
        model_visible=row["model_visible"],
        client=rows.text(row["client"]),
        agent=rows.text(row["agent"]),
        model=rows.text(row["model"]),
        branch=rows.text(row["branch"]),
        updated_at=row["updated_at"],
        last_prompt_at=row["last_prompt_at"],
        forked_from=None if row["forked_from"] is None else codec.unpack(row["forked_from"]),
        fork_seq=rows.forked_at(row),
        given_title=rows.text(row["given_title"]),
        archived_at=row["archived_at"],
        server_session_id=rows.text(row["server_session_id"]),
        metadata=_metadata(keys or (), contents or ()),
        revisions=_revisions(row["revisions"]),
    )


def _metadata(keys: Sequence[str], contents: Sequence[str]) -> dict[str, Any]:
    stored = zip(map(codec.unescape, keys), contents, strict=True)
    return {key: json_text.decode(value)[0] for key, value in stored if key not in LOCAL_METADATA}


def _revisions(stored: str | None) -> dict[str, str]:
    """Return the stored revisions by their fields."""
    if stored is None:
        return {}
    return {codec.unescape(field): value for field, value in json.loads(stored).items()}


def _digests(stored: bytes) -> frozenset[str]:
    length = 6
    return frozenset(
        stored[start : start + length].hex() for start in range(0, len(stored), length)
    )


# -- writing ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Copy:
    """A replica and some of its events, as they are written."""

    session_id: str
    parent_id: str | None
    parameters: Sequence[Parameter]

    @classmethod
    def of(
        cls,
        replica: Replica,
        events: Sequence[ImportedEvent],
        here: Machine,
        *,
        parent_id: str | None,
    ) -> "Copy":
        """Return what `SessionService.write_replica` was given, on the machine *here*."""
        return cls(
            session_id=replica.id,
            parent_id=parent_id,
            parameters=(*_session(replica, here), codec.id(parent_id), *_events(events)),
        )

    async def write(self, connection: Connection, account: int) -> None:
        """Do as `SessionService.write_replica` promises."""
        found = await connection.call(_WRITE, codec.int8(account), *self.parameters)
        _raise_unless_done(found, self.session_id, self.parent_id)


def _session(replica: Replica, here: Machine) -> Sequence[Parameter]:
    """Return the fields of the type `replica`, in its order."""
    machine = replica.machine or here
    revisions = {codec.escape(field): value for field, value in replica.revisions.items()}
    return (
        codec.id(replica.id),
        codec.int4(replica.generation),
        codec.id(machine.id),
        codec.text(machine.name),
        codec.text(replica.directory),
        codec.text(replica.git_root),
        codec.text(replica.git_common_dir),
        codec.text(replica.repository),
        codec.text(replica.worktree),
        *places(machine, replica.directory, replica.git_root, replica.git_common_dir),
        repository(replica.repository),
        codec.text(replica.source),
        codec.int8(replica.created_at),
        codec.text(replica.automatic_title),
        codec.boolean(replica.model_visible),
        codec.text(replica.client),
        codec.text(replica.agent),
        codec.text(replica.model),
        codec.text(replica.branch),
        codec.int8(replica.updated_at),
        codec.int8(replica.last_prompt_at),
        codec.id(replica.forked_from),
        codec.int4(replica.fork_seq),
        codec.text(replica.given_title),
        codec.int8(replica.archived_at),
        codec.text(replica.server_session_id),
        codec.stored_text(json.dumps(revisions) if revisions else None),
        *encoded(replica.metadata),
    )


def _events(events: Sequence[ImportedEvent]) -> Sequence[Parameter]:
    plain = [each.event for each in events]
    by = [each.invocation or IMPORTED for each in events]
    invocations = list({each.id: each for each in reversed(by)}.values())
    _, title_place, visible_place = append.highlights(plain)
    return (
        codec.ids([each.id for each in plain]),
        codec.texts([each.type for each in plain]),
        codec.stored_texts([_storable(each) for each in plain]),
        codec.int8s([each.created_at for each in events]),
        codec.ids([each.id for each in by]),
        codec.ids([each.id for each in invocations]),
        codec.texts([each.client_name for each in invocations]),
        codec.texts([each.client_version for each in invocations]),
        title_place,
        visible_place,
    )


def _storable(event: Event) -> str:
    """Return what is stored: JSON is ASCII, and PostgreSQL may not take what is corrupt."""
    text = event.json_text
    return text if text.isascii() and "\0" not in text else codec.escape(text)


async def bury(
    connection: Connection, account: int, *, tombstone: Tombstone, head: str | None
) -> None:
    """Do as `SessionService.write_tombstone` promises."""
    found = await connection.call(
        _BURY,
        codec.int8(account),
        codec.id(tombstone.id),
        codec.int4(tombstone.generation),
        codec.binary(b"".join(map(bytes.fromhex, sorted(tombstone.events)))),
        codec.boolean(tombstone.is_imported),
        codec.id(head),
    )
    _raise_unless_done(found, tombstone.id)


@attrs.frozen(kw_only=True)
class Aside:
    """What `SessionService.set_aside` was given."""

    session_id: str
    id: str
    at: str | None
    head: str

    async def set(
        self, connection: Connection, account: int, *, is_mine: bool, can_tell: bool
    ) -> bool:
        """Do as `SessionService.set_aside` promises.

        *is_mine*: this service holds the session. *can_tell*: whether the others do is known.
        """
        found = await connection.call(
            _SET_ASIDE,
            codec.int8(account),
            codec.id(self.session_id),
            codec.id(self.id),
            codec.id(self.at),
            codec.id(self.head),
            codec.boolean(is_mine),
            codec.int8(None if can_tell else _DAY_MS),
            codec.texts(sorted(LOCAL_METADATA)),
        )
        if found[0][0] == "held":
            return False
        _raise_unless_done(found, self.session_id, self.at)
        return True


def _raise_unless_done(found: Rows, session_id: str, event_id: str | None = None) -> None:
    ((outcome, head, event_count),) = found
    if outcome == "absent":
        raise SessionNotFound(session_id)
    if outcome == "head_moved":
        raise HeadMoved(None if head is None else codec.unpack(head), event_count)
    if outcome == "no_event":
        raise EventNotFound(event_id or "")
