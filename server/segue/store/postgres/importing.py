"""Stores events that were imported from other programs, by a few calls in one transaction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from segue.model.imports import ImportedEvent, ImportResult
from segue.model.records import PROMPT_RECORDS, Invocation, Machine, NewFork, NewSession, Origin
from segue.store.postgres import append, codec, forks, rows
from segue.store.postgres.codec import Parameter
from segue.store.postgres.metadata import encoded
from segue.store.postgres.new_session import new_session
from segue.store.postgres.rows import SessionRow
from segue.store.postgres.wire import Connection
from segue.store.rules.importing import (
    INVOCATION,
    STATE,
    distinct,
    find_change,
    is_continued,
    new_events,
)
from segue.store.rules.prompts import TAIL, Prompts

_FACTS = "SELECT * FROM segue_1.import_facts($1, $2, $3, $4, $5, $6)"

_NEW = """
SELECT segue_1.import_session($1, ROW($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
    $16, $17, $18, $19)::segue_1.new_session, $20, $21, $22, $23)
"""

_APPEND = """
SELECT segue_1.import_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
    $17)
"""

_SET_METADATA = "SELECT segue_1.set_metadata($1, $2, $3, $4, $5, $6)"


@attrs.frozen(kw_only=True)
class Import:
    """What `SessionService.import_session` was given."""

    new: NewSession
    events: Sequence[ImportedEvent]
    after: str | None
    title: str | None
    origin: Origin
    state: str | None
    """As JSON; None if none was given."""
    revive: bool


class _Facts:
    """The SessionFacts of a session, which were read at once."""

    def __init__(self, found: Sequence[Sequence[Any]]) -> None:
        self.row: SessionRow = {}
        self._seqs: dict[str, int] = {}
        self._prompts: dict[str, tuple[int, str]] = {}
        self._tail: list[tuple[str, str, str]] = []
        self._records: str | None = None
        self._last_imported: str | None = None
        self._last: Mapping[str, int] = {kind: seq or 0 for kind, _, seq, *_ in found}
        for kind, stored_id, seq, created_at, type, data, session in found:
            id = "" if stored_id is None else codec.unpack(stored_id)
            if kind in {"stored", "prompt", "last_imported"}:
                self._seqs[id] = seq
            if kind == "session":
                self.row = rows.session_row(session)
            elif kind == "prompt":
                self._prompts[id] = created_at, data
            elif kind == "last_imported":
                self._last_imported = id
            elif kind == "records":
                self._records = data
            elif kind == "tail":
                self._tail.append((id, codec.unescape(type), data))
        self.id = codec.unpack(self.row["id"])
        self.fork_seq: int = self.row["fork_seq"]

    def find_seq(self, event_id: str) -> int | None:
        return self._seqs.get(event_id)

    def last_imported(self) -> str | None:
        return self._last_imported

    def has_others(self, seq: int, *, any_imported: bool) -> bool:
        """Return it for a *seq* that is not below the lowest of those that were found."""
        return self._last["foreign"] > seq or (not any_imported and self._last["record"] > seq)

    def prompt_ids(self) -> Sequence[str]:
        return list(self._prompts)

    def prompt(self, event_id: str) -> tuple[int, str]:
        return self._prompts[event_id]

    def prompt_records(self) -> str | None:
        return self._records

    def tail(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._tail)


class Importer:
    """One import, on a connection that makes no other call meanwhile."""

    def __init__(self, connection: Connection, account: int, machine: Machine) -> None:
        self._connection = connection
        self._number = account
        self._account = codec.int8(account)
        self._machine = machine

    async def preview(
        self, session_id: str, events: Sequence[ImportedEvent], *, revive: bool
    ) -> ImportResult:
        """Return how many of *events* are not stored; nothing else is known of them."""
        found = await self._read(session_id, _ids(events), writes=False, revive=revive)
        if _is_deleted(found):
            return ImportResult(session_id=session_id, is_deleted=True)
        if not found:
            return ImportResult(session_id=session_id, added=len(events))
        facts = _Facts(found)
        new = new_events(facts, Prompts(facts).recognize(events))
        return ImportResult(session_id=session_id, added=len(new))

    async def run(self, given: Import) -> ImportResult:
        """Store what is new, in one transaction."""
        await self._connection.call("BEGIN")
        result = await self._store(given)
        await self._connection.call("COMMIT")
        return result

    async def _store(self, given: Import) -> ImportResult:
        new, revive = given.new, given.revive
        ids = _ids(given.events, given.after)
        found = await self._read(new.id, ids, writes=True, revive=revive)
        if _is_deleted(found):
            return ImportResult(session_id=new.id, is_deleted=True)
        if not found:
            if not given.events:
                return ImportResult(session_id=new.id)
            first = codec.int8(given.events[0].created_at)
            fields = new_session(new, self._machine)
            await self._connection.call(_NEW, self._account, *fields, first, *encoded(new.metadata))
            found = await self._read(new.id, ids, writes=True, revive=revive)
        result = await self._continue(_Facts(found), given)
        if given.state is not None and not result.is_deleted:
            await self._set_metadata(result.session_id, STATE, given.state)
            if result.session_id != new.id:
                await self._set_metadata(new.id, STATE, None)
        return result

    async def _continue(self, facts: _Facts, given: Import) -> ImportResult:
        """Append the new events to a session, or to a fork of it."""
        ahead = Prompts(facts)
        events = ahead.recognize(given.events)
        if (records := ahead.new_records()) is not None:
            await self._set_metadata(facts.id, PROMPT_RECORDS, records)
        new = new_events(facts, events)
        made_fork = False
        while new and (change := find_change(facts, ahead, events, new, given.after)) is not None:
            ids = _ids(events, ahead.stored_id(given.after))
            found = await self._read(change.fork_id, ids, writes=True, revive=given.revive)
            if _is_deleted(found):
                return ImportResult(session_id=change.fork_id, is_deleted=True)
            made_fork = not found
            if made_fork:
                await self._fork(facts, change.at, change.fork_id)
                found = await self._read(change.fork_id, ids, writes=True, revive=False)
            facts = _Facts(found)
            new = new_events(facts, events[change.first :])
        new = distinct(new)
        await self._append(facts, new, given)
        return ImportResult(session_id=facts.id, added=len(new), made_fork=made_fork)

    async def _fork(self, facts: _Facts, at: str, id: str) -> None:
        fork = NewFork(id=id, at=at, archive_original=not is_continued(facts, at))
        updated_at = facts.row["updated_at"]
        await forks.fork(
            self._connection, self._number, facts.id, fork, self._machine, updated_at=updated_at
        )

    async def _append(self, facts: _Facts, events: Sequence[ImportedEvent], given: Import) -> None:
        origin = given.origin if events else Origin()
        plain = [each.event for each in events]
        first_title, title_place, visible_place = append.highlights(plain)
        title = codec.text(given.title)
        if given.title is None and facts.row["title"] is None:
            title = first_title
        imported = Invocation(
            id=INVOCATION,
            client_name=given.origin.client_name,
            client_version=given.origin.client_version,
        )
        by = [each.invocation or imported for each in events]
        invocations = list({each.id: each for each in reversed(by)}.values())
        await self._connection.call(
            _APPEND,
            self._account,
            codec.id(facts.id),
            codec.ids([each.id for each in plain]),
            codec.texts([each.type for each in plain]),
            codec.stored_texts([each.json_text for each in plain]),
            codec.int8s([each.created_at for each in events]),
            codec.ids([each.id for each in by]),
            codec.ids([each.id for each in invocations]),
            codec.texts([each.client_name for each in invocations]),
            codec.texts([each.client_version for each in invocations]),
            title,
            title_place,
            visible_place,
            *map(codec.text, (origin.client_name, origin.agent, origin.model, origin.branch)),
        )

    async def _read(
        self, session_id: str, ids: Sequence[str], *, writes: bool, revive: bool
    ) -> Sequence[Sequence[Any]]:
        return await self._connection.call(
            _FACTS,
            self._account,
            codec.id(session_id),
            codec.ids(ids),
            codec.int4(TAIL),
            codec.boolean(writes),
            codec.boolean(revive),
        )

    async def _set_metadata(self, session_id: str, key: str, value: str | None) -> None:
        names: Parameter = codec.ids([])
        await self._connection.call(
            _SET_METADATA,
            self._account,
            codec.id(session_id),
            codec.text(key),
            codec.stored_text(value),
            names,
            codec.boolean(True),
        )


def _is_deleted(found: Sequence[Sequence[Any]]) -> bool:
    return bool(found) and found[0][0] == "deleted"


def _ids(events: Sequence[ImportedEvent], *others: str | None) -> list[str]:
    """Return the ids to be looked for, each once."""
    ids = [*(each.event.id for each in events), *filter(None, others)]
    return list(dict.fromkeys(ids))
