"""PostgresSessionService: sessions in a PostgreSQL database that several machines share."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from segue.model import json_text
from segue.model.errors import SegueError, SessionNotFound, SessionReadOnly
from segue.model.events import Event
from segue.model.imports import ImportedEvent, ImportResult
from segue.model.maintenance import IndexState, Pruned
from segue.model.records import (
    HITS,
    MAX_IMPORT,
    MAX_PAGE_BYTES,
    MAX_SKEW_MS,
    PAGE,
    AppendResult,
    EventPage,
    Machine,
    NewFork,
    NewSession,
    Order,
    Origin,
    Resumable,
    SearchPage,
    Session,
    SessionPage,
    check_batch,
)
from segue.model.validation import Fault, InvalidInputError
from segue.store.postgres import append, codec, prefixes, rows
from segue.store.postgres.address import Address
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.codec import Parameter
from segue.store.postgres.machine import repository as repository_key
from segue.store.postgres.metadata import conversation_ids, encoded
from segue.store.postgres.new_session import new_session
from segue.store.postgres.sharing import Sharing, refusal
from segue.store.postgres.wire import Connection, Rows

if TYPE_CHECKING:
    from segue.model.replicas import Replica, Tombstone, VersionPage
    from segue.store.postgres.changes import Changes

T = TypeVar("T")

MAX_RESUMABLE = 6
"""How many sessions `find_resumable` returns at most: one to resume, and the alternatives."""

_INDEX_EVERY_S, _INDEX_AFTER_FAILURE_S = 60.0, 3_600.0
"""How long no search looks again whether there is enough to be indexed."""

_MAX_CHECKOUTS = 20
"""Of one repository on this machine: no more are looked at."""

_BY_UPDATE = itemgetter("updated_at", "number")

_LOOKED_AT = 20_000
"""How many of the newest sessions are looked at for a page of some sources."""

_NO_ONE = Origin()

_CREATE = """
SELECT * FROM segue_1.create_session($1, ROW($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    $14, $15, $16, $17, $18, $19)::segue_1.new_session, $20, $21, $22, $23, $24, $25, $26, $27, $28,
    $29, $30, $31, $32, $33, $34, $35)
"""


class PostgresSessionService:
    """The SessionService in a PostgreSQL database. Made by `open`; always `close` it.

    `SessionService` has the promises of the methods; the docstrings here describe how they work.
    Times are those of the server's clock.
    """

    def __init__(self, client: PostgresClient, machine: Machine) -> None:
        self._client = client
        self._machine = machine
        self._searches = 0
        self._changes: Changes | None = None
        self._indexing: asyncio.Task[object] | None = None
        self._index_again_at = 0.0
        self._is_closing = False

    @classmethod
    async def open(cls, url: str, *, machine: Machine) -> "PostgresSessionService":
        """Connect to the database of a `postgresql://` URL, which has the store.

        The paths that the service is told are those of *machine*. Raises a StorageError that names
        the problem, after `PATIENCE_S` if it may pass.
        """
        service = cls(PostgresClient(Address.parse(url)), machine)
        await service._client.run(_nothing)
        return service

    @property
    def sharing(self) -> Sharing:
        """What this account lets others read."""
        return Sharing(self._client)

    async def close(self) -> None:
        """Finish the calls that were made before, and end the connection."""
        self._is_closing = True
        if self._indexing is not None:
            await self._indexing
        if self._changes is not None:
            self._changes.close()
        await self._client.close()

    # -- appending ---------------------------------------------------------------------------------

    async def create_session(
        self,
        new: NewSession,
        events: Sequence[Event],
        *,
        invocation_id: str,
        origin: Origin | None = None,
        hold: bool = False,
    ) -> AppendResult:
        """Insert the session and its first events by one call."""
        if not events:
            raise ValueError("a session is stored with its first event")
        check_batch(events)
        batch = append.Batch.of(events)
        metadata = encoded(new.metadata)

        async def create(connection: Connection) -> AppendResult:
            first = (self._account, *new_session(new, self._machine), *metadata)
            by = (self._hold(new.id, wanted=hold), codec.id(invocation_id))
            rest = (*append.highlights(batch.events), *append.who(origin or _NO_ONE))
            while True:
                found = await connection.call(_CREATE, *first, *by, *batch.contents(), *rest)
                if (result := append.outcome(found, new.id, events, batch)) is not None:
                    return result

        return await self._client.run(create)

    async def append_events(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        parent_id: str | None,
        invocation_id: str,
        accept_own_head: bool = False,
        boundary: Event | None = None,
        origin: Origin | None = None,
    ) -> AppendResult:
        """Insert the new events and update the session by one call."""
        check_batch(events)
        batch = append.Batch.of(events, boundary)

        async def append_batch(connection: Connection) -> AppendResult:
            return await append.append(
                connection,
                self._client.account,
                session_id,
                events,
                batch,
                parent_id=parent_id,
                invocation_id=invocation_id,
                accept_own_head=accept_own_head,
                origin=origin or _NO_ONE,
            )

        return await self._client.run(append_batch)

    # -- reading -----------------------------------------------------------------------------------

    async def load_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> EventPage:
        """Read a page by the key of the events, in one snapshot."""
        sql = "SELECT * FROM segue_1.page($1, $2, $3, $4, $5, $6)"
        bounds = (codec.int8(after), codec.int8(before), codec.int4(limit))
        lines = await self._call(sql, codec.id(session_id), *bounds, codec.int8(MAX_PAGE_BYTES))
        if (found := rows.page(lines, self._machine, after=after, before=before)) is None:
            raise SessionNotFound(session_id)
        return found[1]

    async def open_session(
        self, session_id: str, tail: int = PAGE, *, hold: bool = False
    ) -> tuple[Session, EventPage]:
        """Read the session's row and a page of events, in one snapshot."""
        sql = "SELECT * FROM segue_1.open($1, $2, $3, $4, $5)"

        async def open(connection: Connection) -> Rows:
            size = (codec.int4(tail), codec.int8(MAX_PAGE_BYTES))
            held = self._hold(session_id, wanted=hold)
            return await connection.call(sql, self._account, codec.id(session_id), *size, held)

        found = rows.page(await self._client.run(open), self._machine)
        if found is None:
            if hold:
                await self.release(session_id)
            raise SessionNotFound(session_id)
        return found

    async def get_session(self, session_id: str) -> Session:
        """Read the session's row."""
        sql = "SELECT session, shared_by FROM segue_1.session($1, $2)"
        found = await self._call(sql, codec.id(session_id))
        if not found:
            raise SessionNotFound(session_id)
        return self._session(*found[0])

    async def find_sessions(self, prefix: str, *, limit: int = PAGE) -> Sequence[Session]:
        """Read the ranges of the index that have the ids."""
        sql = "SELECT session, shared_by FROM segue_1.find_sessions($1, $2, $3, $4)"

        async def find(connection: Connection) -> list[Session]:
            found: list[Session] = []
            for low, high in prefixes.ranges(prefix):
                bounds = (codec.binary(low), codec.binary(high), codec.int4(limit))
                rows = await connection.call(sql, self._account, *bounds)
                found += (self._session(*row) for row in rows)
            return sorted(found, key=lambda session: session.id)[:limit]

        return await self._client.run(find)

    async def short_ids(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """Read the neighbours of each id in the index of the ids."""
        sql = "SELECT * FROM segue_1.neighbours($1, $2, $3)"
        ids = list(session_ids)
        above, below = prefixes.bounds(ids)
        found = await self._call(sql, codec.binaries(above), codec.binaries(below))
        return prefixes.short_ids(ids, found)

    # -- finding -----------------------------------------------------------------------------------

    async def find_resumable(
        self,
        directory: str,
        git_root: str | None,
        max_age: timedelta,
        *,
        aliases: Sequence[str] = (),
        repository: str | None = None,
        worktree: str | None = None,
    ) -> Resumable:
        """Probe the partial indexes, for each place, and for each other machine."""
        sql = "SELECT * FROM segue_1.find_resumable($1, $2, $3, $4, $5, $6, $7, $8)"
        age = max_age // timedelta(milliseconds=1)
        limits = (codec.int8(age), codec.int8(MAX_SKEW_MS), codec.int4(MAX_RESUMABLE))
        places = self._places(directory, git_root, *aliases)
        elsewhere = (repository_key(repository), codec.text(worktree), codec.id(self._machine.id))
        found = await self._call(sql, places, *elsewhere, *limits)
        sessions = [(in_future, self._session(values)) for in_future, values in found]
        return Resumable(
            sessions=[session for in_future, session in sessions if not in_future],
            in_future=next((session for in_future, session in sessions if in_future), None),
        )

    async def find_checkouts(self, repository: str) -> Sequence[Session]:
        """Read the git roots of the repository along its index, and the newest session of each."""
        sql = "SELECT * FROM segue_1.find_checkouts($1, $2, $3, $4)"
        machine, limit = codec.id(self._machine.id), codec.int4(_MAX_CHECKOUTS)
        found = await self._call(sql, repository_key(repository), machine, limit)
        newest = sorted(map(rows.session_row, found), key=_BY_UPDATE, reverse=True)
        return [rows.session(row, self._machine) for row in newest]

    async def move_sessions(self, old_root: str, new_root: str) -> int:
        """Read the places along the indexes of paths, and update them, in parts."""
        from segue.store.postgres import relocation  # few windows are in a moved checkout

        if os.path.join(new_root, "").startswith(os.path.join(old_root, "")):
            raise InvalidInputError(Fault("$.newRoot", "is the old root, or a folder in it"))

        moved = 0
        while part := await self._run(
            partial(
                relocation.move_part,
                machine=self._machine,
                old_root=old_root,
                new_root=new_root,
            )
        ):
            moved += part
        return moved

    async def list_sessions(
        self,
        *,
        directory: str | None = None,
        git_root: str | None = None,
        git_common_dir: str | None = None,
        aliases: Sequence[str] = (),
        repository: str | None = None,
        archived: bool = False,
        sources: Sequence[str] | None = None,
        order: Order = "updated",
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        """Read a page by the index of the times, or of each place and sort."""
        from segue.store.rules import listing  # the start of a server lists nothing

        sql = "SELECT * FROM segue_1.list_all($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        time, number = listing.read_cursor(order, cursor)
        found = await self._call(
            sql,
            codec.boolean(order == "lastPrompt"),
            *self._where(directory, git_root, git_common_dir, aliases, repository),
            codec.boolean(archived),
            codec.texts(sources),
            codec.int8(time),
            codec.int8(number),
            codec.int4(limit + 1),
            codec.int4(_LOOKED_AT if sources is not None else limit + 1),
        )
        looked_at = next((row for is_held, _, row in found if is_held is None), None)
        listed = [row for row in found if row[0] is not None]
        last = None
        if len(listed) > limit:
            listed = listed[:limit]
            last = listed[-1][-1] if listed else None
        elif looked_at is not None:
            last = looked_at
        sessions = [self._session(row, shared_by) for _, shared_by, row in listed]
        held = {session.id for session in sessions if session.id in self._client.held}
        held |= {each.id for each, row in zip(sessions, listed, strict=True) if row[0]}
        return SessionPage(
            sessions=sessions,
            next_cursor=None
            if last is None
            else listing.write_cursor(order, rows.session_row(last)),
            open=sorted(held),
        )

    async def search(
        self,
        query: str,
        *,
        directory: str | None = None,
        git_root: str | None = None,
        git_common_dir: str | None = None,
        aliases: Sequence[str] = (),
        repository: str | None = None,
        archived: bool = False,
        types: Collection[str] = (),
        sources: Collection[str] = (),
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int = HITS,
    ) -> SearchPage:
        """Look through the sessions, newest first, some milliseconds at a time."""
        from segue.model.search_text import SearchQuery  # few windows search
        from segue.store.postgres import search
        from segue.store.rules import searching

        what = search.Search(
            query=SearchQuery.parse(query),
            places=self._where(directory, git_root, git_common_dir, aliases, repository),
            archived=archived,
            types=types,
            sources=sources,
            session_id=session_id,
            cursor=cursor,
            limit=limit,
        )
        self._searches += 1
        number = self._searches
        timer = searching.Timer(searching.BUDGET_S, lambda: number != self._searches)
        page = await search.search(self._client, self._machine, what, timer)
        self._extend_index()
        return page

    def _extend_index(self) -> None:
        """Begin to index what makes it worth it, unless that was looked for a moment ago."""
        from segue.store.postgres.search_index import SearchIndex

        if not self._is_closing and time.monotonic() >= self._index_again_at:
            self._index_again_at = math.inf

            async def extend() -> None:
                index = SearchIndex(self._client)
                state = await index.extend(lambda: self._is_closing, pauses=True)
                wait_s = _INDEX_EVERY_S if state is not None else _INDEX_AFTER_FAILURE_S
                self._index_again_at = time.monotonic() + wait_s

            self._indexing = asyncio.create_task(extend())

    async def update_index(
        self, *, at_most: timedelta | None = None, anew: bool = False
    ) -> IndexState | None:
        """Index what makes whole shards, on a connection of its own; the rest is looked through.

        Returns None also if another service does the same.
        """
        from segue.store.postgres.search_index import SearchIndex

        ends = math.inf if at_most is None else time.monotonic() + at_most.total_seconds()
        index = SearchIndex(self._client)
        return await index.extend(lambda: self._is_closing or time.monotonic() > ends, anew=anew)

    # -- changing ----------------------------------------------------------------------------------

    async def set_title(self, session_id: str, title: str | None) -> Session:
        """Update the session's row."""
        sql = "SELECT * FROM segue_1.set_title($1, $2, $3)"
        found = await self._call(sql, codec.id(session_id), codec.text(title))
        if not found:
            raise await self._refusal(session_id)
        return self._session(found[0])

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Update the session's row."""
        sql = "SELECT segue_1.set_server_session_id($1, $2, $3)"
        await self._update(session_id, sql, codec.text(server_session_id))

    async def archive(self, session_id: str) -> None:
        """Set the time of archiving, unless it is set."""
        await self._update(session_id, "SELECT segue_1.archive($1, $2, $3)", codec.boolean(True))

    async def unarchive(self, session_id: str) -> None:
        """Clear the time of archiving."""
        await self._update(session_id, "SELECT segue_1.archive($1, $2, $3)", codec.boolean(False))

    async def delete(self, session_id: str) -> None:
        """Delete the session and all its rows; what the files keep of them, VACUUM removes."""
        sql = "SELECT segue_1.delete($1, $2)"
        ((shared_by,),) = await self._call(sql, codec.id(session_id))
        if shared_by is not None:
            raise SessionReadOnly(session_id, shared_by)

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Read one row of metadata."""
        sql = "SELECT * FROM segue_1.get_metadata($1, $2, $3)"
        found = await self._call(sql, codec.id(session_id), codec.text(key))
        if not found:
            refusal = await self._refusal(session_id)
            if isinstance(refusal, SessionReadOnly):  # what others share is said, and no metadata
                return None
            raise refusal
        ((value,),) = found
        return None if value is None else json_text.decode(value)[0]

    async def find_metadata(self, key: str) -> dict[str, Any]:
        """Read the rows of metadata."""
        return await self._find_metadata(key)

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Replace one row of metadata."""
        from segue.model.replicas import LOCAL_METADATA

        encoded = None if value is None else json_text.encode("$.value", value)
        names = conversation_ids(key, value)
        await self._update(
            session_id,
            "SELECT segue_1.set_metadata($1, $2, $3, $4, $5, $6)",
            codec.text(key),
            codec.stored_text(encoded),
            codec.ids(names),
            codec.boolean(key in LOCAL_METADATA),
        )

    async def wait_for_change(self, seen: Any = None) -> Any:
        """Let the server tell of every commit of the account; ask it for what others share."""
        if self._changes is None:
            from segue.store.postgres.changes import Changes  # a command waits for nothing

            self._changes = Changes(self._client)
        return await self._changes.wait(seen)

    async def _find_metadata(
        self, key: str, source: str | None = None, session_id: str | None = None
    ) -> dict[str, Any]:
        sql = "SELECT * FROM segue_1.find_metadata($1, $2, $3, $4)"
        found = await self._call(sql, codec.text(key), codec.text(source), codec.id(session_id))
        return {codec.unpack(id): json_text.decode(value)[0] for id, value in found}

    # -- forks and imports -------------------------------------------------------------------------

    async def fork_session(self, session_id: str, fork: NewFork) -> Session:
        """Insert the fork's row and its spans; only what another account shares is copied."""
        from segue.store.postgres import forks

        async def make(connection: Connection) -> Session:
            account = self._client.account
            made = await forks.fork(connection, account, session_id, fork, self._machine)
            return rows.session(made, self._machine)

        return await self._client.run(make)

    async def import_session(
        self,
        new: NewSession,
        events: Sequence[ImportedEvent],
        *,
        after: str | None = None,
        title: str | None = None,
        origin: Origin | None = None,
        state: Any = None,
        revive: bool = False,
        dry_run: bool = False,
    ) -> ImportResult:
        """Append the new events in one transaction, behind a fork if the past has changed."""
        from segue.store.postgres.importing import Import, Importer  # a window never imports

        if len(events) > MAX_IMPORT:
            raise ValueError(f"at most {MAX_IMPORT} events are imported at once")
        given = Import(
            new=new,
            events=events,
            after=after,
            title=title,
            origin=origin or _NO_ONE,
            state=None if state is None else json_text.encode("$.state", state),
            revive=revive,
        )

        async def store(connection: Connection) -> ImportResult:
            importer = Importer(connection, self._client.account, self._machine)
            if dry_run:
                return await importer.preview(new.id, events, revive=revive)
            return await importer.run(given)

        return await self._client.run(store)

    async def import_states(self, source: str, session_id: str | None = None) -> dict[str, Any]:
        """Read the rows of metadata."""
        from segue.store.rules.importing import STATE

        return await self._find_metadata(STATE, source, session_id)

    # -- copies in other stores --------------------------------------------------------------------

    async def list_versions(self, *, after: str | None = None, limit: int = PAGE) -> "VersionPage":
        """Read along the indexes of the ids, of sessions and of tombstones, in one snapshot."""
        from segue.store.postgres import replicas  # a server never replicates

        return await self._run(partial(replicas.versions, after=after, limit=limit))

    async def read_replica(self, session_id: str) -> "Replica | Tombstone | None":
        """Read the session's row and its metadata, in one snapshot."""
        from segue.store.postgres import replicas

        return await self._run(partial(replicas.read, session_id=session_id))

    async def write_replica(
        self, replica: "Replica", events: Sequence[ImportedEvent], *, parent_id: str | None
    ) -> None:
        """Insert the new events, and update the session's row, by one call."""
        from segue.store.postgres import replicas

        check_batch(events)
        copy = replicas.Copy.of(replica, events, self._machine, parent_id=parent_id)
        await self._run(copy.write)

    async def write_tombstone(self, tombstone: "Tombstone", *, head: str | None) -> None:
        """Delete the session, and replace its tombstone, by one call."""
        from segue.store.postgres import replicas

        await self._run(partial(replicas.bury, tombstone=tombstone, head=head))

    async def set_aside(self, session_id: str, *, id: str, at: str | None, head: str) -> bool:
        """Give the session's row the other id, and insert another row that shares its events."""
        from segue.store.postgres import replicas

        aside = replicas.Aside(session_id=session_id, id=id, at=at, head=head)

        async def set_aside(connection: Connection, account: int) -> bool:
            is_mine = session_id in self._client.held
            can_tell = self._client.can_hold
            return await aside.set(connection, account, is_mine=is_mine, can_tell=can_tell)

        return await self._run(set_aside)

    # -- holding and pruning -----------------------------------------------------------------------

    async def hold(self, session_id: str) -> None:
        """Take a shared advisory lock; it ends with the connection."""
        sql = "SELECT segue_1.hold($1, $2)"

        async def hold(connection: Connection) -> None:
            if self._hold(session_id, wanted=True).data is not None:
                await connection.call(sql, self._account, codec.id(session_id))

        await self._client.run(hold)

    async def release(self, session_id: str) -> None:
        """Release the advisory lock."""
        if session_id not in self._client.held:
            return
        sql = "SELECT segue_1.release($1, $2)"

        async def release(connection: Connection) -> None:
            if self._client.held.pop(session_id, None) is not None and self._client.can_hold:
                await connection.call(sql, self._account, codec.id(session_id))

        await self._client.run(release)

    async def held(self, session_ids: Collection[str]) -> Set[str]:
        """Ask for the advisory locks of the sessions."""
        own = set(session_ids) & self._client.held.keys()
        found = await self._call("SELECT * FROM segue_1.held($1, $2)", codec.ids([*session_ids]))
        return own | {codec.unpack(id) for (id,) in found}

    async def prune(
        self,
        older_than: timedelta,
        *,
        live: bool = False,
        dry_run: bool = False,
        among: Collection[str] | None = None,
    ) -> Pruned:
        """Delete the sessions some at a time, each part by one call: others write between."""
        from segue.store.postgres import pruning  # a server never prunes

        return await pruning.prune(
            self._client, self._machine, older_than, live=live, dry_run=dry_run, among=among
        )

    # -- calls -------------------------------------------------------------------------------------

    @property
    def _account(self) -> Parameter:
        return codec.int8(self._client.account)

    async def _call(self, sql: str, *parameters: Parameter) -> Rows:
        """Return the rows of one call, whose first parameter is the account."""

        async def call(connection: Connection) -> Rows:
            return await connection.call(sql, self._account, *parameters)

        return await self._client.run(call)

    async def _run(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Return the result of *work*, which is told the account."""
        return await self._client.run(lambda connection: work(connection, self._client.account))

    def _session(self, values: Sequence[Any] | bytes, shared_by: str | None = None) -> Session:
        return rows.session_of(values, self._machine, shared_by)

    async def _update(self, session_id: str, sql: str, *values: Parameter) -> None:
        ((is_known,),) = await self._call(sql, codec.id(session_id), *values)
        if not is_known:
            raise await self._refusal(session_id)

    async def _refusal(self, session_id: str) -> SegueError:
        """Return why a session that is none of this account's cannot be changed."""

        async def ask(connection: Connection) -> SegueError:
            return await refusal(connection, self._client.account, session_id)

        return await self._client.run(ask)

    def _hold(self, session_id: str, *, wanted: bool) -> Parameter:
        """Return the key of the lock that is to be taken with a call; null if none is."""
        is_new = wanted and session_id not in self._client.held
        key = codec.hold_key(self._client.account, session_id)
        if wanted:
            self._client.held[session_id] = key
        return codec.int8(key if is_new and self._client.can_hold else None)

    def _places(self, *places: str | None) -> Parameter:
        keys = dict.fromkeys(filter(None, places))
        return codec.binaries([codec.place_key(self._machine.id, each) for each in keys])

    def _where(
        self,
        directory: str | None,
        git_root: str | None,
        git_common_dir: str | None,
        aliases: Sequence[str],
        repository: str | None,
    ) -> tuple[Parameter, ...]:
        """Return where a list is of: places, common directories, and a repository elsewhere.

        They are null for everywhere.
        """
        machine = codec.id(self._machine.id)
        if directory is None:
            return codec.binaries(None), codec.binaries(None), codec.binary(None), machine
        places = list(dict.fromkeys(filter(None, (directory, git_root, *aliases))))
        # Of a main worktree the git root is the folder that holds the common directory.
        common_dirs = [git_common_dir, *(os.path.join(place, ".git") for place in places)]
        elsewhere = repository_key(repository)
        return self._places(*places), self._places(*common_dirs), elsewhere, machine


async def _nothing(connection: Connection) -> None:
    """Do no more than to be connected."""
