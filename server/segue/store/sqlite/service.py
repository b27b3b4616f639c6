"""LocalSessionService: sessions in one SQLite file that every window of one user shares."""

import base64
import contextlib
import os
import struct
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import SessionNotFound, StorageReadOnly
from segue.model.events import Event
from segue.model.records import (
    MAX_IMPORT,
    MAX_SKEW_MS,
    MAX_TIMESTAMP,
    PAGE,
    AppendResult,
    Clock,
    EventPage,
    ImportedEvent,
    ImportResult,
    NewFork,
    NewSession,
    Origin,
    Pruned,
    PrunedSession,
    Resumable,
    Session,
    SessionPage,
    Timestamp,
    check_batch,
    now,
)
from segue.model.validation import Fault, InvalidInputError
from segue.store.sqlite import driver, queries, row_values, schema, spans
from segue.store.sqlite.append import SessionAppender
from segue.store.sqlite.commit import Transaction
from segue.store.sqlite.connection import DatabaseConnection
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.holds import CAN_TELL, SessionHolds
from segue.store.sqlite.row_values import Row

MAX_RESUMABLE = 6
"""How many sessions `find_resumable` returns at most: one to resume, and the alternatives."""

_DAY_MS = 24 * 60 * 60 * 1_000

_CURSOR = struct.Struct(">qq")
_NEWEST = ((1 << 63) - 1, (1 << 63) - 1)
"""Where the list begins: no row is newer, even if another program wrote it."""

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

_LIST_LIVE = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE archived_at IS NULL AND (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""  # noqa: S608  names of columns

_LIST_ALL = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""  # noqa: S608  names of columns

# No index has the git root of every session. Of a main worktree it is the folder that holds the
# common directory, and resuming has an index of those that can be resumed.
_LIST_HERE = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE number IN (
    SELECT number FROM sessions INDEXED BY sessions_by_directory
    WHERE directory = :place
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir = :git_common_dir
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir = :own_common_dir
    UNION SELECT number FROM sessions INDEXED BY resumable_by_git_root
    WHERE git_root = :place AND archived_at IS NULL AND model_visible = 1
)
AND (updated_at, number) < (:updated_at, :number) AND (:archived OR archived_at IS NULL)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""  # noqa: S608  names of columns


class LocalSessionService:
    """The SessionService in a SQLite file. Made by `open`; always `close` it.

    `SessionService` has the promises of the methods; the docstrings here describe how they work.
    """

    def __init__(self, connection: DatabaseConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._holds = SessionHolds(connection.path)

    @classmethod
    async def open(cls, path: str | os.PathLike[str], clock: Clock = now) -> "LocalSessionService":
        """Open the database at *path*, making or migrating it; `":memory:"` is never on disk.

        New folders have mode 0700 and new files 0600. Raises a StorageError that names the problem
        and the file; a file that is not Segue's is not changed. *clock* returns the time of events.
        """
        return cls(await DatabaseConnection.open(os.fspath(path)), clock)

    async def close(self) -> None:
        """Finish the calls that were made before, checkpoint if that is due, and end the thread."""
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
        from segue.store.sqlite import importing  # a window never imports

        if len(events) > MAX_IMPORT:
            raise ValueError(f"at most {MAX_IMPORT} events are imported at once")
        if dry_run:
            return await self._connection.read(
                lambda db: importing.preview(db, new.id, events, revive=revive)
            )
        metadata = {importing.STATE: json_text.encode("$.state", state)}

        def store(transaction: Transaction) -> ImportResult:
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
                db, session, events, after=after, origin=origin or Origin(), title=title, now=now
            )
            if state is not None:
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
        sql = "UPDATE sessions SET given_title = ? WHERE number = ?"

        def set_title(transaction: Transaction) -> Session:
            row = queries.get_session(transaction.db, session_id)
            transaction.db.execute(sql, (title, row["number"]))
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
    ) -> Resumable:
        """Probe the two partial indexes, of the git root and of the directory."""
        now = self._clock()
        since, latest = now - max_age // timedelta(milliseconds=1), now + MAX_SKEW_MS
        places = list(dict.fromkeys(filter(None, (directory, git_root, *aliases))))

        def find(db: Connection) -> Resumable:
            found = _find_resumable(db, places, since, MAX_TIMESTAMP)
            if not found or found[0]["updated_at"] <= latest:
                return Resumable(sessions=[queries.session(row) for row in found])
            fresh = _find_resumable(db, places, since, latest)
            return Resumable(
                sessions=[queries.session(row) for row in fresh],
                in_future=queries.session(found[0]),
            )

        return await self._connection.read(find)

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
        archived: bool = False,
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        """Read a page along the index of the time, or those of the places."""
        updated_at, number = _NEWEST if cursor is None else _read_cursor(cursor)
        page = {"updated_at": updated_at, "number": number, "limit": limit + 1}
        places = dict.fromkeys(filter(None, (directory, git_root, *aliases)))

        def read(db: Connection) -> list[Any]:
            if directory is None:
                return db.execute(_LIST_ALL if archived else _LIST_LIVE, page).fetchall()
            rows: dict[int, Any] = {}
            with driver.read_snapshot(db):
                for place in places:
                    values = page | {
                        "place": place,
                        "git_common_dir": git_common_dir,
                        "own_common_dir": os.path.join(place, ".git"),
                        "archived": archived,
                    }
                    rows |= {row["number"]: row for row in db.execute(_LIST_HERE, values)}
            # Each place has its newest: so the newest of all are among them.
            newest = sorted(rows.values(), key=itemgetter("updated_at", "number"), reverse=True)
            return newest[: limit + 1]

        found = await self._connection.read(read)
        return SessionPage(
            sessions=[queries.session(row_values.validated(row)) for row in found[:limit]],
            next_cursor=_write_cursor(found[limit - 1]) if len(found) > limit else None,
        )

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        """Update the session's row."""
        sql = "UPDATE sessions SET server_session_id = ? WHERE number = ?"
        await self._update(session_id, sql, server_session_id)

    async def archive(self, session_id: str) -> None:
        """Set the time of archiving, unless it is set."""
        sql = "UPDATE sessions SET archived_at = coalesce(archived_at, ?) WHERE number = ?"
        await self._update(session_id, sql, self._clock())

    async def unarchive(self, session_id: str) -> None:
        """Clear the time of archiving."""
        await self._update(session_id, "UPDATE sessions SET archived_at = ? WHERE number = ?", None)

    async def delete(self, session_id: str) -> None:
        """Delete the session and all its rows, and empty the log, so that no file contains them."""
        await self._connection.write(lambda transaction: _delete(transaction, session_id))

    async def hold(self, session_id: str) -> None:
        """Lock a byte of a file beside the database."""
        await self._connection.read(lambda db: self._holds.hold(session_id))

    async def release(self, session_id: str) -> None:
        """Unlock the byte: that never waits."""
        self._holds.release(session_id)

    async def prune(
        self,
        older_than: timedelta,
        *,
        live: bool = False,
        dry_run: bool = False,
        among: Collection[str] | None = None,
    ) -> Pruned:
        """Find the sessions in one snapshot, and delete them some at a time: others write between.

        None can be opened while it is deleted. A dry run writes nothing.
        """
        from segue.store.sqlite import pruning, sizes  # a server never prunes

        until = self._clock() - older_than // timedelta(milliseconds=1)
        due = await self._connection.read(lambda db: pruning.find_due(db, until, live=live))
        chosen = [row for row in due.rows if among is None or row["id"] in among]
        taken: list[PrunedSession] = []
        held: list[Session] = []
        measured: set[int] = set()

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
                    _delete(transaction, row["id"])
            return found

        for rows in pruning.parts(chosen):
            async with self._unheld(rows, dry_run=dry_run) as ids:
                free = [row for row in rows if row["id"] in ids]
                if dry_run:
                    taken += await self._connection.read(partial(measure, rows=free))
                else:
                    taken += await self._connection.write(partial(take, rows=free))
                held += [queries.session(row) for row in rows if row["id"] not in ids]
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
        encoded = None if value is None else json_text.encode("$.value", value)

        def set_value(transaction: Transaction) -> None:
            number = queries.get_session(transaction.db, session_id)["number"]
            if _set_metadata(transaction.db, number, {key: encoded}):
                transaction.erase()

        await self._connection.write(set_value)

    async def _update(self, session_id: str, sql: str, value: Any) -> None:
        def update(transaction: Transaction) -> None:
            number = queries.get_session(transaction.db, session_id)["number"]
            transaction.db.execute(sql, (value, number))

        await self._connection.write(update)


def _find_resumable(db: Connection, places: list[str], since: int, until: int) -> list[Row]:
    """Return the newest sessions of *places* from after *since* until *until*, newest first."""
    rows: dict[int, Row] = {}
    for first in range(0, len(places), 2):
        place, other = (*places[first : first + 2], None)[:2]
        values = (place, other, since, until, MAX_RESUMABLE)
        for row in map(row_values.validated, db.execute(_RESUMABLE, values)):
            rows[row["number"]] = row
    newest = sorted(rows.values(), key=itemgetter("updated_at", "number"), reverse=True)
    return newest[:MAX_RESUMABLE]


def _delete(transaction: Transaction, session_id: str) -> None:
    numbers = spans.delete(transaction.db, session_id)
    if not numbers:
        queries.raise_if_index_lost(transaction.db, session_id)
    for number in numbers:
        transaction.erase(number)


_GIVEN = tuple(
    column.name
    for column in schema.COLUMNS["sessions"]
    if column.name in attrs.fields_dict(NewSession) and not column.name.endswith("_at")
)
"""The columns whose values the caller of `create_session` gives."""

_INSERT_SESSION = f"""
INSERT INTO sessions ({", ".join(_GIVEN)}, created_at, updated_at, archived_at)
VALUES ({", ".join("?" * len(_GIVEN))}, ?, ?, ?)
RETURNING number
"""  # noqa: S608  the names are those of an attrs class


def _insert_session(db: Connection, new: NewSession, time: Timestamp) -> None:
    given = [getattr(new, name) for name in _GIVEN]
    created_at, updated_at = (each or time for each in (new.created_at, new.updated_at))
    values = (*given, created_at, updated_at, new.archived_at)
    (number,) = db.execute(_INSERT_SESSION, values).fetchone()
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


def _write_cursor(row: Row) -> str:
    row = row_values.coerced(row)
    return base64.urlsafe_b64encode(_CURSOR.pack(row["updated_at"], row["number"])).decode()


def _read_cursor(cursor: str) -> tuple[int, int]:
    try:
        updated_at, number = _CURSOR.unpack(base64.urlsafe_b64decode(cursor))
    except (ValueError, struct.error):
        fault = Fault("$.cursor", "is not one that session/list returned")
        raise InvalidInputError(fault) from None
    return updated_at, number
