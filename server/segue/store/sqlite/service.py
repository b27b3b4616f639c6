"""LocalSessionService: sessions in one SQLite file that every window of one user shares."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs

from segue.model import json_text
from segue.model.errors import SessionNotFound, StorageReadOnly
from segue.model.events import Event
from segue.model.records import (
    HITS,
    MAX_IMPORT,
    MAX_SKEW_MS,
    MAX_TIMESTAMP,
    PAGE,
    RECORDED,
    AppendResult,
    Clock,
    EventPage,
    NewFork,
    NewSession,
    Order,
    Origin,
    Resumable,
    SearchPage,
    Session,
    SessionPage,
    Timestamp,
    check_batch,
    now,
)
from segue.model.validation import Fault, InvalidInputError
from segue.store.sqlite import disk, driver, queries, row_values, schema, spans
from segue.store.sqlite.append import SessionAppender
from segue.store.sqlite.commit import Transaction
from segue.store.sqlite.connection import DatabaseConnection
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.holds import CAN_TELL, SessionHolds
from segue.store.sqlite.row_values import Row

if TYPE_CHECKING:
    from segue.model.imports import ImportedEvent, ImportResult
    from segue.model.maintenance import IndexState, Pruned
    from segue.model.replicas import Replica, Tombstone, VersionPage
    from segue.store.sqlite.search_thread import SearchThread

MAX_RESUMABLE = 6
"""How many sessions `find_resumable` returns at most: one to resume, and the alternatives."""

_LOOK_EVERY_S = 0.1
"""How often a store is looked at by who waits for a change."""

_DAY_MS = 24 * 60 * 60 * 1_000

# INDEXED BY: left to itself the planner takes an index that has the archived ones of a directory
# too, and reads them all. LIMIT +?: it plans anew whenever the number behind a bare LIMIT is bound.
_RESUMABLE_PROBE = """number IN (
    SELECT number FROM sessions INDEXED BY resumable_by_{column}
    WHERE {column} = {place} AND updated_at > ?3 AND updated_at <= ?4
        AND archived_at IS NULL AND model_visible = 1
    ORDER BY updated_at DESC, number DESC LIMIT +?5
)"""

_RESUMABLE = f"SELECT {queries.SESSION_COLUMNS} FROM session_records WHERE " + " OR ".join(  # noqa: S608  names of columns
    _RESUMABLE_PROBE.format(column=column, place=place)
    for place in ("?1", "?2")
    for column in ("git_root", "directory")
)
"""Of two places, at most four times as many as are wanted, in no order: SQLite would sort them in a
tree of its own. A place of NULL has none."""

_RESUMABLE_ELSEWHERE = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records WHERE number IN (
    SELECT number FROM sessions INDEXED BY resumable_by_repository
    WHERE repository = ?1 AND worktree IS ?2 AND updated_at > ?3 AND updated_at <= ?4
        AND archived_at IS NULL AND model_visible = 1 AND machine_id IS NOT NULL
    ORDER BY updated_at DESC, number DESC LIMIT +?5
)
"""  # noqa: S608  names of columns


@attrs.frozen
class _Ordering:
    """How a list is ordered: by which time, and which index has that."""

    time: str
    index: str


_PlaceOf = Callable[[Any], tuple[int, int]]
"""Returns the time and the number of a row, by which the list is sorted."""

_ORDERINGS: dict[Order, _Ordering] = {
    "updated": _Ordering("updated_at", "sessions_by_update"),
    "lastPrompt": _Ordering("coalesce(last_prompt_at, created_at)", "sessions_by_prompt"),
}


def _in_every_order(sql: str) -> dict[Order, str]:
    return {
        order: sql.format(time=each.time, index=each.index) for order, each in _ORDERINGS.items()
    }


# SQLite looks for no pair with an expression in an index: so the time is compared alone, too.
_LIST_LIVE = _in_every_order(f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE archived_at IS NULL AND {{time}} <= :time AND ({{time}}, number) < (:time, :number)
ORDER BY {{time}} DESC, number DESC LIMIT +:limit
""")  # noqa: S608  names of columns

_LIST_ALL = _in_every_order(f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE {{time}} <= :time AND ({{time}}, number) < (:time, :number)
ORDER BY {{time}} DESC, number DESC LIMIT +:limit
""")  # noqa: S608  names of columns

# No index has the source: so a page is what is found among so many sessions.
_OF_SOURCES = f"""(
    :sources IS NULL OR coalesce(source, '{RECORDED}') IN (SELECT value FROM json_each(:sources))
)"""  # noqa: S608  a constant

_LIST_SOURCES = _in_every_order(f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE {{time}} BETWEEN :oldest AND :time AND ({{time}}, number) < (:time, :number)
AND ({{time}}, number) >= (:oldest, :oldest_number)
AND (:archived OR +archived_at IS NULL) AND {_OF_SOURCES}
ORDER BY {{time}} DESC, number DESC LIMIT +:limit
""")  # noqa: S608  names of columns

# Only numbers are sorted: whatever else is read, is read of all that are sorted.
_LIST_HERE = _in_every_order(f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records WHERE number IN (
    SELECT number FROM sessions
    WHERE {queries.IS_HERE}
    AND ({{time}}, number) < (:time, :number) AND (:archived OR archived_at IS NULL)
    AND is_stub = 0 AND {_OF_SOURCES}
    ORDER BY {{time}} DESC, number DESC LIMIT +:limit
)
""")  # noqa: S608  names of columns

_FEW = 1_000
"""So many sessions of a place are sorted; if it has more, the newest of the store are looked at."""

_COUNT_HERE = """
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM sessions INDEXED BY sessions_by_directory
        WHERE directory = :place LIMIT +:few
    )) + (SELECT count(*) FROM (
        SELECT 1 FROM sessions INDEXED BY sessions_by_git_common_dir
        WHERE git_common_dir = :git_common_dir LIMIT +:few
    )) + (SELECT count(*) FROM (
        SELECT 1 FROM sessions INDEXED BY sessions_by_git_common_dir
        WHERE git_common_dir = :own_common_dir LIMIT +:few
    )) + (SELECT count(*) FROM (
        SELECT 1 FROM sessions INDEXED BY resumable_by_git_root
        WHERE git_root = :place AND archived_at IS NULL AND model_visible = 1 LIMIT +:few
    )) + (SELECT count(*) FROM (
        SELECT 1 FROM sessions INDEXED BY sessions_by_repository
        WHERE repository = :repository AND machine_id IS NOT NULL LIMIT +:few
    ))
"""

_LOOKED_AT = 20_000
"""How many of the newest sessions of the store are looked at for a page of a place or a source."""

_OLDEST_LOOKED_AT = _in_every_order("""
SELECT updated_at, created_at, last_prompt_at, number FROM sessions INDEXED BY {index}
WHERE {time} <= :time AND ({time}, number) < (:time, :number)
ORDER BY {time} DESC, number DESC LIMIT 1 OFFSET +:looked_at
""")

_MAX_PLACES = 4

_PLACES, _COMMON_DIRS = (
    ", ".join(f":{name}_{number}" for number in range(_MAX_PLACES)) for name in ("place", "common")
)

# The plus signs keep the planner from the indexes of the places, which are not in order.
_LIST_NEWEST_HERE = _in_every_order(f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE {{time}} BETWEEN :oldest AND :time AND ({{time}}, number) < (:time, :number)
AND (:archived OR +archived_at IS NULL) AND {_OF_SOURCES}
AND (
    machine IS NULL AND (
        +directory IN ({_PLACES}) OR +git_common_dir IN (:git_common_dir, {_COMMON_DIRS})
        OR +git_root IN ({_PLACES}) AND +archived_at IS NULL AND +model_visible = 1
    ) OR machine IS NOT NULL AND +repository = :repository
)
ORDER BY {{time}} DESC, number DESC LIMIT +:limit
""")  # noqa: S608  names of columns


class LocalSessionService:
    """The SessionService in a SQLite file. Made by `open`; always `close` it.

    `SessionService` has the promises of the methods; the docstrings here describe how they work.
    """

    def __init__(self, connection: DatabaseConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._holds = SessionHolds(connection.path)
        self._searches: SearchThread | None = None

    @classmethod
    async def open(cls, path: str | os.PathLike[str], clock: Clock = now) -> "LocalSessionService":
        """Open the database at *path*, making or migrating it; `":memory:"` is never on disk.

        New folders have mode 0700 and new files 0600. Raises a StorageError that names the problem
        and the file; a file that is not Segue's is not changed. *clock* returns the time of events.
        """
        return cls(await DatabaseConnection.open(os.fspath(path)), clock)

    async def close(self) -> None:
        """Finish the calls that were made before, checkpoint if that is due, and end the thread."""
        if self._searches is not None:
            await self._searches.close()
        await self._connection.close()
        self._holds.close()

    async def create_session(
        self,
        new: NewSession,
        events: Sequence[Event],
        *,
        invocation_id: str,
        origin: Origin | None = None,
        hold: bool = False,
    ) -> AppendResult:
        """Insert the session and its first events in one transaction."""
        if not events:
            raise ValueError("a session is stored with its first event")
        check_batch(events)

        def create(transaction: Transaction) -> AppendResult:
            if hold:
                self._holds.hold(new.id)
            if queries.find_session(transaction.db, new.id) is None:
                _insert_session(transaction.db, new, self._clock())
            appender = self._appender(transaction, new.id, invocation_id)
            result = appender.append(
                events, parent_id=None, invocation_id=invocation_id, origin=origin
            )
            transaction.pending[new.id] = appender
            return result

        return await self._connection.write(create, size=len(events), shares_updates=True)

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
        """Insert the new events and update the session, in a transaction that others may share."""
        check_batch(events)

        def append(transaction: Transaction) -> AppendResult:
            appender = self._appender(transaction, session_id, invocation_id)
            result = appender.append(
                events,
                parent_id=parent_id,
                invocation_id=invocation_id,
                accept_own_head=accept_own_head,
                boundary=boundary,
                origin=origin,
            )
            transaction.pending[session_id] = appender
            return result

        return await self._connection.write(append, size=len(events), shares_updates=True)

    def _appender(
        self, transaction: Transaction, session_id: str, invocation_id: str
    ) -> SessionAppender:
        """Return the transaction's appender of a session, or a new one that is not yet pending."""
        if session_id in transaction.pending:
            return transaction.pending[session_id]
        return SessionAppender(transaction.db, session_id, invocation_id, self._clock())

    async def fork_session(self, session_id: str, fork: NewFork) -> Session:
        """Insert the fork's row and its spans; no event is copied."""

        def make(transaction: Transaction) -> Session:
            db = transaction.db
            if queries.find_session(db, fork.id) is None:
                spans.fork(db, queries.get_session(db, session_id), fork, self._clock())
            row = queries.get_session(db, fork.id)
            transaction.counts[row["number"]] = row["event_count"]
            return queries.session(row)

        return await self._connection.write(make)

    async def import_session(
        self,
        new: NewSession,
        events: Sequence["ImportedEvent"],
        *,
        after: str | None = None,
        title: str | None = None,
        origin: Origin | None = None,
        state: Any = None,
        revive: bool = False,
        dry_run: bool = False,
    ) -> "ImportResult":
        """Append the new events in one transaction, behind a fork if the past has changed."""
        from segue.model.imports import ImportResult
        from segue.store.sqlite import importing  # a window never imports

        if len(events) > MAX_IMPORT:
            raise ValueError(f"at most {MAX_IMPORT} events are imported at once")
        if dry_run:
            return await self._connection.read(
                lambda db: importing.preview(db, new.id, events, revive=revive)
            )
        metadata = {importing.STATE: json_text.encode("$.state", state)}

        def store(transaction: Transaction) -> "ImportResult":
            db, now = transaction.db, self._clock()
            if revive:
                db.execute(importing.FORGET_DELETION, (new.id,))
            elif importing.is_deleted(db, new.id):
                return ImportResult(session_id=new.id, is_deleted=True)
            if queries.find_session(db, new.id) is None:
                if not events:
                    return ImportResult(session_id=new.id)
                _insert_session(db, new, min(events[0].created_at, now))
            session = queries.get_session(db, new.id)
            result = importing.continue_session(
                db,
                session,
                events,
                after=after,
                origin=origin or Origin(),
                title=title,
                revive=revive,
                now=now,
            )
            if state is not None and not result.is_deleted:
                number = queries.get_session(db, result.session_id)["number"]
                _set_metadata(db, number, metadata)
                if result.session_id != new.id:
                    _set_metadata(db, session["number"], {importing.STATE: None})
            return result

        return await self._connection.write(store)

    async def import_states(self, source: str, session_id: str | None = None) -> dict[str, Any]:
        """Read the rows of metadata."""
        from segue.store.sqlite import importing

        def read(db: Connection) -> dict[str, Any]:
            values = (importing.STATE, source)
            if session_id is None:
                rows = db.execute(importing.STATES, values)
            else:
                rows = db.execute(importing.STATE_OF, (*values, session_id))
            return {row["id"]: json_text.decode(row["value"])[0] for row in rows}

        return await self._connection.read(read)

    async def set_title(self, session_id: str, title: str | None) -> Session:
        """Update the session's row."""
        from segue.store.sqlite.revisions import revised

        sql = "UPDATE sessions SET given_title = ?, revisions = ? WHERE number = ?"

        def set_title(transaction: Transaction) -> Session:
            row = queries.get_session(transaction.db, session_id)
            revisions = revised(row["revisions"], "title", self._clock())
            transaction.db.execute(sql, (title, revisions, row["number"]))
            if row["given_title"] is not None:
                transaction.erase()
            return queries.session(queries.get_session(transaction.db, session_id))

        return await self._connection.write(set_title)

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
        """Probe the partial indexes, of the git root, the directory and the repository."""
        now = self._clock()
        since, latest = now - max_age // timedelta(milliseconds=1), now + MAX_SKEW_MS
        places = list(dict.fromkeys(filter(None, (directory, git_root, *aliases))))
        elsewhere = None if repository is None else (repository, worktree)

        def find(db: Connection) -> Resumable:
            found = _find_resumable(db, places, elsewhere, since, MAX_TIMESTAMP)
            if not found or found[0]["updated_at"] <= latest:
                return Resumable(sessions=[queries.session(row) for row in found])
            fresh = _find_resumable(db, places, elsewhere, since, latest)
            return Resumable(
                sessions=[queries.session(row) for row in fresh],
                in_future=queries.session(found[0]),
            )

        return await self._connection.read(find)

    async def find_checkouts(self, repository: str) -> Sequence[Session]:
        """Read the git roots of the repository along its index, and the newest session of each."""
        from segue.store.sqlite import relocation  # few windows are in a moved checkout

        def find(db: Connection) -> list[Session]:
            with driver.read_snapshot(db):
                return [queries.session(row) for row in relocation.find_checkouts(db, repository)]

        return await self._connection.read(find)

    async def move_sessions(self, old_root: str, new_root: str) -> int:
        """Update the sessions' rows in one statement."""
        from segue.store.sqlite import relocation

        if os.path.join(new_root, "").startswith(os.path.join(old_root, "")):
            raise InvalidInputError(Fault("$.newRoot", "is the old root, or a folder in it"))
        return await self._connection.write(
            lambda transaction: relocation.move_sessions(transaction.db, old_root, new_root)
        )

    async def load_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> EventPage:
        """Read a page by the key of the events, in one snapshot."""

        def load(db: Connection) -> EventPage:
            with driver.read_snapshot(db):
                session = queries.get_session(db, session_id)
                return queries.page(db, session, after=after, before=before, limit=limit)

        return await self._connection.read(load)

    async def get_session(self, session_id: str) -> Session:
        """Read the session's row."""
        return await self._connection.read(
            lambda db: queries.session(queries.get_session(db, session_id))
        )

    async def find_sessions(self, prefix: str, *, limit: int = PAGE) -> Sequence[Session]:
        """Read a range of the index of the ids."""

        def find(db: Connection) -> list[Session]:
            return [queries.session(row) for row in queries.find_by_prefix(db, prefix, limit)]

        return await self._connection.read(find)

    async def short_ids(self, session_ids: Collection[str]) -> Mapping[str, str]:
        """Read the neighbours of each id in the index of the ids."""

        def shorten(db: Connection) -> dict[str, str]:
            with driver.read_snapshot(db):
                return {each: queries.short_id(db, each) for each in session_ids}

        return await self._connection.read(shorten)

    async def open_session(
        self, session_id: str, tail: int = PAGE, *, hold: bool = False
    ) -> tuple[Session, EventPage]:
        """Read the session's row and a page of events, in one snapshot."""

        def read(db: Connection) -> tuple[Session, EventPage]:
            if hold:
                self._holds.hold(session_id)
            try:
                with driver.read_snapshot(db):
                    session = queries.get_session(db, session_id)
                    page = queries.page(db, session, after=None, before=None, limit=tail)
                    return queries.session(session), page
            except SessionNotFound:
                self._holds.release(session_id)
                raise

        return await self._connection.read(read)

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
        """Read a page along the index of the order's time, or those of the places."""
        from segue.store.rules import listing  # the start of a server lists nothing

        time, number = listing.read_cursor(order, cursor)
        place_of = partial(listing.place_of, order)
        page = {"time": time, "number": number, "limit": limit + 1}
        filters = page | {
            "git_common_dir": git_common_dir,
            "repository": repository,
            "archived": archived,
            "sources": None if sources is None else json.dumps(list(sources)),
        }
        places = list(dict.fromkeys(filter(None, (directory, git_root, *aliases))))

        def read(db: Connection) -> tuple[list[Any], Row | None]:
            """Return the rows, and the last one that was looked at if there may be more."""
            if directory is not None:
                rows = _list_here(db, places, filters, order, place_of)
            elif sources is not None:
                return _list_sources(db, filters, order, place_of)
            else:
                sql = (_LIST_ALL if archived else _LIST_LIVE)[order]
                rows = db.execute(sql, page).fetchall()
            return rows, None

        def read_page(db: Connection) -> SessionPage:
            with driver.read_snapshot(db):
                found, last = read(db)
            if len(found) > limit:
                last = found[limit - 1]
            sessions = [queries.session(row_values.validated(row)) for row in found[:limit]]
            return SessionPage(
                sessions=sessions,
                next_cursor=None
                if last is None
                else listing.write_cursor(order, row_values.coerced(last)),
                open=sorted(self._holds.held(each.id for each in sessions)),
            )

        return await self._connection.read(read_page)

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
        """Search on a connection of its own, or else look through on this one's."""
        from segue.model.search_text import SearchQuery  # few windows search
        from segue.store.rules import searching
        from segue.store.sqlite import search

        places = dict.fromkeys(filter(None, (directory, git_root, *aliases)))
        what = search.Search(
            query=SearchQuery.parse(query),
            places=None if directory is None else list(places),
            git_common_dir=git_common_dir,
            repository=repository,
            archived=archived,
            types=types,
            sources=sources,
            session_id=session_id,
            cursor=cursor,
            limit=limit,
        )

        def look(db: Connection) -> SearchPage:
            with driver.read_snapshot(db):
                return search.search(db, what, searching.Timer(searching.BUDGET_S))

        if (thread := self._search_thread()) is not None:
            with contextlib.suppress(RuntimeError):  # the system has no more threads
                if (page := await thread.search(what)) is not None:
                    return page
        return await self._connection.read(look)

    async def update_index(
        self, *, at_most: timedelta | None = None, anew: bool = False
    ) -> "IndexState | None":
        """Extend the file of the index, on the thread of the searches."""
        if (thread := self._search_thread()) is None:
            return None
        return await thread.update_index(
            None if at_most is None else at_most.total_seconds(), anew=anew
        )

    def _search_thread(self) -> "SearchThread | None":
        """Return the thread of the searches; None if the store has no index."""
        path = self._connection.path
        if self._searches is None and path is not None and not self._connection.is_read_only:
            from segue.store.sqlite.search_thread import SearchThread

            self._searches = SearchThread(path)
        return self._searches

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Update the session's row."""
        sql = "UPDATE sessions SET server_session_id = ?, revisions = ? WHERE number = ?"
        await self._update(session_id, "server", sql, server_session_id)

    async def archive(self, session_id: str) -> None:
        """Set the time of archiving, unless it is set."""
        sql = (
            "UPDATE sessions SET archived_at = coalesce(archived_at, ?), revisions = ? "
            "WHERE number = ?"
        )
        await self._update(session_id, "archive", sql, self._clock())

    async def unarchive(self, session_id: str) -> None:
        """Clear the time of archiving."""
        sql = "UPDATE sessions SET archived_at = ?, revisions = ? WHERE number = ?"
        await self._update(session_id, "archive", sql, None)

    async def delete(self, session_id: str) -> None:
        """Delete the session and all its rows, and empty the log, so that no file contains them.

        Then the index forgets it: what another process has indexed meanwhile, too.
        """
        numbers = await self._connection.write(lambda transaction: _delete(transaction, session_id))
        await self._forget(numbers)

    async def _forget(self, numbers: Collection[int]) -> None:
        path = self._connection.path
        if path is None or not disk.has_index(path):
            return
        if (thread := self._search_thread()) is not None:
            await thread.forget(numbers)

    async def hold(self, session_id: str) -> None:
        """Lock a byte of a file beside the database."""
        await self._connection.read(lambda db: self._holds.hold(session_id))

    async def release(self, session_id: str) -> None:
        """Unlock the byte: that never waits."""
        self._holds.release(session_id)

    async def held(self, session_ids: Collection[str]) -> Set[str]:
        """Ask for the locks of the sessions."""
        return await self._connection.read(lambda db: self._holds.held(session_ids))

    async def prune(
        self,
        older_than: timedelta,
        *,
        live: bool = False,
        dry_run: bool = False,
        among: Collection[str] | None = None,
    ) -> "Pruned":
        """Find the sessions in one snapshot, and delete them some at a time: others write between.

        None can be opened while it is deleted. A dry run writes nothing.
        """
        from segue.model.maintenance import Pruned, PrunedSession
        from segue.store.rules.pruning import parts  # a server never prunes
        from segue.store.sqlite import pruning, sizes

        until = self._clock() - older_than // timedelta(milliseconds=1)
        due = await self._connection.read(lambda db: pruning.find_due(db, until, live=live))
        chosen = [row for row in due.rows if among is None or row["id"] in among]
        taken: list[PrunedSession] = []
        held: list[Session] = []
        measured: set[int] = set()
        deleted: list[int] = []

        def measure(db: Connection, rows: Sequence[Row]) -> list[PrunedSession]:
            found = []
            for row in rows:
                size = sizes.own_size(db, row["number"], measured)
                found.append(PrunedSession(queries.session(row), size))
                measured.add(row["number"])
            return found

        def take(transaction: Transaction, rows: Sequence[Row]) -> list[PrunedSession]:
            found = []
            for row in rows:
                if pruning.is_due(transaction.db, row["id"], until, live=live):
                    size = sizes.own_size(transaction.db, row["number"])
                    found.append(PrunedSession(queries.session(row), size))
                    deleted.extend(_delete(transaction, row["id"]))
            return found

        for rows in parts(chosen):
            async with self._unheld(rows, dry_run=dry_run) as ids:
                free = [row for row in rows if row["id"] in ids]
                if dry_run:
                    taken += await self._connection.read(partial(measure, rows=free))
                else:
                    taken += await self._connection.write(partial(take, rows=free))
                held += [queries.session(row) for row in rows if row["id"] not in ids]
        if deleted:
            await self._forget(deleted)
        return Pruned(taken=taken, held=held, live=due.live, used=due.used, recent=due.recent)

    @contextlib.asynccontextmanager
    async def _unheld(self, rows: Sequence[Row], *, dry_run: bool) -> AsyncIterator[set[str]]:
        """Yield the ids of the sessions that nobody holds, and keep them so during the block."""
        can_tell, ids = CAN_TELL, [row["id"] for row in rows]
        try:
            free = await self._connection.read(lambda db: self._holds.prevent(ids))
        except StorageReadOnly:
            if not dry_run:
                raise
            can_tell, free = False, set(ids)
        try:
            if not can_tell:
                yesterday = self._clock() - _DAY_MS
                free &= {row["id"] for row in rows if row["updated_at"] < yesterday}
            yield free
        finally:
            await self._connection.read(lambda db: self._holds.allow())

    async def list_versions(self, *, after: str | None = None, limit: int = PAGE) -> "VersionPage":
        """Read along the indexes of the ids, of sessions and of tombstones, in one snapshot."""
        from segue.store.sqlite import replicas  # a server never replicates

        def read(db: Connection) -> "VersionPage":
            with driver.read_snapshot(db):
                return replicas.versions(db, after or "", limit)

        return await self._connection.read(read)

    async def read_replica(self, session_id: str) -> "Replica | Tombstone | None":
        """Read the session's row and its metadata, in one snapshot."""
        from segue.store.sqlite import replicas

        def read(db: Connection) -> "Replica | Tombstone | None":
            with driver.read_snapshot(db):
                return replicas.read(db, session_id)

        return await self._connection.read(read)

    async def write_replica(
        self, replica: "Replica", events: Sequence["ImportedEvent"], *, parent_id: str | None
    ) -> None:
        """Insert the new events, and update the session's row, in one transaction."""
        from segue.store.sqlite import replicas

        check_batch(events)
        await self._connection.write(
            lambda transaction: replicas.write(transaction, replica, events, parent_id),
            size=len(events),
        )

    async def write_tombstone(self, tombstone: "Tombstone", *, head: str | None) -> None:
        """Delete the session, as `delete` does, and replace its tombstone."""
        from segue.store.sqlite import replicas

        def bury(transaction: Transaction) -> list[int]:
            replicas.check_head(transaction.db, tombstone.id, head)
            numbers = [] if head is None else _delete(transaction, tombstone.id)
            replicas.replace_tombstone(transaction.db, tombstone)
            return numbers

        await self._forget(await self._connection.write(bury))

    async def set_aside(self, session_id: str, *, id: str, at: str | None, head: str) -> bool:
        """Give the session's row the other id, and insert another row that shares its events."""
        from segue.store.sqlite import replicas

        row = await self._connection.read(lambda db: queries.get_session(db, session_id))
        async with self._unheld([row], dry_run=False) as free:
            if session_id not in free:
                return False
            await self._connection.write(
                lambda transaction: replicas.set_aside(
                    transaction, session_id, id=id, at=at, head=head, now=self._clock()
                )
            )
        return True

    async def find_metadata(self, key: str) -> dict[str, Any]:
        """Read the rows of metadata."""
        from segue.store.sqlite import importing

        return await self._connection.read(
            lambda db: {
                row["id"]: json_text.decode(row["value"])[0]
                for row in db.execute(importing.FIND_METADATA, (key,))
            }
        )

    async def wait_for_change(self, seen: Any = None) -> Any:
        """Look at the database's own counter of changes, ten times a second."""
        while (mark := await self._connection.change_mark()) == seen:  # noqa: ASYNC110  of a file
            await asyncio.sleep(_LOOK_EVERY_S)
        return mark

    async def get_metadata(self, session_id: str, key: str) -> Any:
        """Read one row of metadata."""
        sql = "SELECT value FROM metadata WHERE session = ? AND key = ?"
        row = await self._connection.read(
            lambda db: db.execute(
                sql, (queries.get_session(db, session_id)["number"], key)
            ).fetchone()
        )
        return None if row is None else json_text.decode(row_values.coerced(row)["value"])[0]

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        """Replace one row of metadata."""
        from segue.model.replicas import LOCAL_METADATA
        from segue.store.sqlite.revisions import revised

        encoded = None if value is None else json_text.encode("$.value", value)

        def set_value(transaction: Transaction) -> None:
            row = queries.get_session(transaction.db, session_id)
            if _set_metadata(transaction.db, row["number"], {key: encoded}):
                transaction.erase()
            if key not in LOCAL_METADATA:
                revisions = revised(row["revisions"], f"metadata/{key}", self._clock())
                sql = "UPDATE sessions SET revisions = ? WHERE number = ?"
                transaction.db.execute(sql, (revisions, row["number"]))

        await self._connection.write(set_value)

    async def _update(self, session_id: str, field: str, sql: str, value: Any) -> None:
        from segue.store.sqlite.revisions import revised

        def update(transaction: Transaction) -> None:
            row = queries.get_session(transaction.db, session_id)
            revisions = revised(row["revisions"], field, self._clock())
            transaction.db.execute(sql, (value, revisions, row["number"]))

        await self._connection.write(update)


def _list_here(
    db: Connection,
    places: list[str],
    page: Mapping[str, Any],
    order: Order,
    place_of: _PlaceOf,
) -> list[Any]:
    """Return the rows of a page of the sessions of *places*, newest first.

    Those of few sessions are sorted. Where there are many, so are those among the newest of the
    store, most likely; if not, all are sorted.
    """
    each_place = [
        {**page, **queries.place_values(place, page["git_common_dir"], page["repository"])}
        for place in places
    ]
    counts = (
        db.execute(_COUNT_HERE, {**values, "few": _FEW + 1}).fetchone()[0] for values in each_place
    )
    if len(places) <= _MAX_PLACES and any(count > _FEW for count in counts):
        rows = _list_newest_here(db, places, page, order, place_of)
        if len(rows) == page["limit"]:
            return rows
    found: dict[int, Any] = {}
    for place_values in each_place:
        found |= {row["number"]: row for row in db.execute(_LIST_HERE[order], place_values)}
    # Each place has its newest: so the newest of all are among them.
    newest = sorted(found.values(), key=place_of, reverse=True)
    return newest[: page["limit"]]


def _list_sources(
    db: Connection, page: Mapping[str, Any], order: Order, place_of: _PlaceOf
) -> tuple[list[Any], Row | None]:
    """Return the rows of a page of some sources, and the last one that was looked at.

    None if all were.
    """
    values: dict[str, Any] = {**page, "looked_at": _LOOKED_AT}
    oldest = db.execute(_OLDEST_LOOKED_AT[order], values).fetchone()
    place = (0, 0) if oldest is None else place_of(oldest)
    values["oldest"], values["oldest_number"] = place
    return db.execute(_LIST_SOURCES[order], values).fetchall(), oldest


def _list_newest_here(
    db: Connection,
    places: list[str],
    page: Mapping[str, Any],
    order: Order,
    place_of: _PlaceOf,
) -> list[Any]:
    """Return the rows of *places* among the newest of the store, newest first."""
    values: dict[str, Any] = {**page, "looked_at": _LOOKED_AT}
    oldest = db.execute(_OLDEST_LOOKED_AT[order], values).fetchone()
    values["oldest"] = 0 if oldest is None else place_of(oldest)[0]
    for number in range(_MAX_PLACES):
        place = places[number] if number < len(places) else None
        values[f"place_{number}"] = place
        values[f"common_{number}"] = place and os.path.join(place, ".git")
    return db.execute(_LIST_NEWEST_HERE[order], values).fetchall()


def _find_resumable(
    db: Connection,
    places: list[str],
    elsewhere: tuple[str, str | None] | None,
    since: int,
    until: int,
) -> list[Row]:
    """Return the newest sessions from after *since* until *until*, newest first.

    Those of *places*, and on other machines those of the repository and worktree *elsewhere*.
    """
    rows: dict[int, Row] = {}
    limits = (since, until, MAX_RESUMABLE)
    probes = [
        (_RESUMABLE, (*places[first : first + 2], None)[:2]) for first in range(0, len(places), 2)
    ]
    if elsewhere is not None:
        probes.append((_RESUMABLE_ELSEWHERE, elsewhere))
    for sql, where in probes:
        for row in map(row_values.validated, db.execute(sql, (*where, *limits))):
            rows[row["number"]] = row
    newest = sorted(rows.values(), key=itemgetter("updated_at", "number"), reverse=True)
    return newest[:MAX_RESUMABLE]


def _delete(transaction: Transaction, session_id: str) -> list[int]:
    """Delete a session; return the numbers of the sessions that are concerned."""
    numbers = spans.delete(transaction.db, session_id)
    if not numbers:
        queries.raise_if_index_lost(transaction.db, session_id)
    for number in numbers:
        transaction.erase(number)
    return numbers


_GIVEN = tuple(
    column.name
    for column in schema.COLUMNS["sessions"]
    if column.name in attrs.fields_dict(NewSession)
    and column.name != "machine"
    and not column.name.endswith("_at")
)
"""The columns whose values the caller of `create_session` gives as they are stored."""

_INSERT_SESSION = f"""
INSERT INTO sessions ({", ".join(_GIVEN)}, created_at, updated_at, archived_at)
VALUES ({", ".join("?" * len(_GIVEN))}, ?, ?, ?)
RETURNING number
"""  # noqa: S608  the names are those of an attrs class

_MOVE_TO_MACHINE = """
UPDATE sessions SET
    machine_id = ?, machine = ?, remote_directory = directory, remote_git_root = git_root,
    directory = '', git_root = NULL, git_common_dir = NULL
WHERE number = ?
"""


def _insert_session(db: Connection, new: NewSession, time: Timestamp) -> None:
    given = [getattr(new, name) for name in _GIVEN]
    created_at, updated_at = (each or time for each in (new.created_at, new.updated_at))
    values = (*given, created_at, updated_at, new.archived_at)
    (number,) = db.execute(_INSERT_SESSION, values).fetchone()
    if (machine := new.machine) is not None:
        db.execute(_MOVE_TO_MACHINE, (machine.id, machine.name, number))
    metadata = {key: json_text.encode("$.value", value) for key, value in new.metadata.items()}
    _set_metadata(db, number, metadata)


def _set_metadata(db: Connection, number: int, encoded: Mapping[str, str | None]) -> int:
    """Return how many values were replaced or removed."""
    removed = 0
    for key, value in encoded.items():
        sql = "DELETE FROM metadata WHERE session = ? AND key = ?"
        removed += db.execute(sql, (number, key)).rowcount
        if value is not None:
            sql = "INSERT INTO metadata (session, key, value) VALUES (?, ?, ?)"
            db.execute(sql, (number, key, value))
    return removed
