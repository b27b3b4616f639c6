"""LocalSessionService: sessions in one SQLite file that every window of one user shares."""

import base64
import os
import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any

import attrs

from segue.model import json_text
from segue.model.errors import SegueError
from segue.model.events import Event
from segue.model.records import (
    LAST_SEEN,
    PAGE,
    AppendResult,
    Batch,
    EventPage,
    NewSession,
    Session,
    SessionPage,
    now,
)
from segue.model.validation import Fault, InvalidInputError
from segue.store.sqlite import driver, queries, row_values, schema
from segue.store.sqlite.append import SessionAppender
from segue.store.sqlite.connection import Database
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row

FITTING = 6
"""How many sessions `find_resumable` returns: the one, and what else fits."""

_CURSOR = struct.Struct(">qq")
_NEWEST = (1 << 62, 0)

# INDEXED BY: left to itself the planner takes an index that has the archived ones of a directory
# too, and reads them all. LIMIT +?: it plans anew whenever the number behind a bare LIMIT is bound.
_RESUMABLE = """
SELECT * FROM session_records
WHERE number IN (
    SELECT number FROM sessions INDEXED BY resumable_by_git_root
    WHERE git_root = ?1 AND updated_at > ?3 AND archived_at IS NULL AND model_visible = 1
    ORDER BY updated_at DESC, number DESC LIMIT +?4
)
OR number IN (
    SELECT number FROM sessions INDEXED BY resumable_by_directory
    WHERE directory = ?2 AND updated_at > ?3 AND archived_at IS NULL AND model_visible = 1
    ORDER BY updated_at DESC, number DESC LIMIT +?4
)
"""
"""At most twice as many as are wanted, in no order: SQLite would sort them in a tree of its own."""

_LIST_LIVE = """
SELECT * FROM session_records
WHERE archived_at IS NULL AND (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""

_LIST_ALL = """
SELECT * FROM session_records
WHERE (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""

_LIST_HERE = """
SELECT * FROM (
    SELECT * FROM session_records
    WHERE directory = :directory AND (updated_at, number) < (:updated_at, :number)
        AND (:archived OR archived_at IS NULL)
    ORDER BY updated_at DESC, number DESC LIMIT +:limit
)
UNION
SELECT * FROM (
    SELECT * FROM session_records
    WHERE git_common_dir = :git_common_dir AND (updated_at, number) < (:updated_at, :number)
        AND (:archived OR archived_at IS NULL)
    ORDER BY updated_at DESC, number DESC LIMIT +:limit
)
ORDER BY updated_at DESC, number DESC LIMIT +:limit
"""


class LocalSessionService:
    """The SessionService in a SQLite file. Made by `open`; `close` it on every way out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> "LocalSessionService":
        """Open the database at *path*, making or migrating it; `":memory:"` keeps nothing.

        What is made is for its owner alone: folder 0700, files 0600. Raises a StorageError that
        says what and where; a file that is not ours is left as it is.
        """
        return cls(await Database.open(os.fspath(path)))

    async def close(self) -> None:
        await self._database.close()

    async def create_session(
        self, new: NewSession, events: Sequence[Event], *, invocation_id: str
    ) -> AppendResult:
        if not events:
            raise ValueError("a session is stored with its first event")

        def create(db: Connection) -> AppendResult:
            if queries.find_session(db, new.id) is None:
                _insert_session(db, new)
            chain = SessionAppender(db, new.id, invocation_id, now())
            appended = chain.append(events, None)
            chain.store_progress()
            return appended

        return await self._database.write(create)

    async def append_events(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        parent_id: str | None,
        invocation_id: str,
        boundary: Event | None = None,
    ) -> AppendResult:
        (outcome,) = await self.append_batches(
            session_id,
            [Batch(events=events, parent_id=parent_id)],
            last_seen=None,
            invocation_id=invocation_id,
            boundary=boundary,
        )
        if isinstance(outcome, SegueError):
            raise outcome
        return outcome

    async def append_batches(
        self,
        session_id: str,
        batches: Sequence[Batch],
        *,
        last_seen: str | None,
        invocation_id: str,
        boundary: Event | None = None,
    ) -> Sequence[AppendResult | SegueError]:
        def append(db: Connection) -> list[AppendResult | SegueError]:
            chain = SessionAppender(db, session_id, invocation_id, now())
            outcomes: list[AppendResult | SegueError] = []
            seen = last_seen
            for batch in batches:
                parent_id = seen if batch.parent_id is LAST_SEEN else batch.parent_id
                try:
                    appended = chain.append(batch.events, parent_id, boundary)
                except SegueError as error:  # raised before anything of the batch is written
                    outcomes.append(error)
                    continue
                outcomes.append(appended)
                if appended.caller_knows_head:
                    seen = appended.head
            chain.store_progress()
            return outcomes

        return await self._database.write(append)

    async def find_resumable(
        self, directory: str, git_root: str | None, max_age: timedelta
    ) -> Sequence[Session]:
        since = now() - max_age // timedelta(milliseconds=1)
        values = (git_root, directory, since, FITTING)
        found = await self._database.read(lambda db: db.execute(_RESUMABLE, values).fetchall())
        newest = sorted(map(row_values.validated, found), key=itemgetter("updated_at", "number"))
        return [queries.session(row) for row in newest[: -FITTING - 1 : -1]]

    async def load_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> EventPage:
        def load(db: Connection) -> EventPage:
            with driver.moment(db):
                session = queries.get_session(db, session_id)
                return queries.page(db, session, after=after, before=before, limit=limit)

        return await self._database.read(load)

    async def get_session(self, session_id: str) -> Session:
        return await self._database.read(
            lambda db: queries.session(queries.get_session(db, session_id))
        )

    async def open_session(self, session_id: str, tail: int = PAGE) -> tuple[Session, EventPage]:
        def read(db: Connection) -> tuple[Session, EventPage]:
            with driver.moment(db):
                session = queries.get_session(db, session_id)
                page = queries.page(db, session, after=None, before=None, limit=tail)
                return queries.session(session), page

        return await self._database.read(read)

    async def list_sessions(
        self,
        *,
        directory: str | None = None,
        git_common_dir: str | None = None,
        archived: bool = False,
        cursor: str | None = None,
        limit: int = PAGE,
    ) -> SessionPage:
        updated_at, number = _NEWEST if cursor is None else _read_cursor(cursor)
        values = {
            "directory": directory,
            "git_common_dir": git_common_dir,
            "archived": archived,
            "updated_at": updated_at,
            "number": number,
            "limit": limit + 1,
        }
        everywhere = _LIST_ALL if archived else _LIST_LIVE
        sql = everywhere if directory is None else _LIST_HERE
        found = await self._database.read(lambda db: db.execute(sql, values).fetchall())
        return SessionPage(
            sessions=[queries.session(row_values.validated(row)) for row in found[:limit]],
            next_cursor=_write_cursor(found[limit - 1]) if len(found) > limit else None,
        )

    async def update_server_session_id(self, session_id: str, server_session_id: str) -> None:
        sql = "UPDATE sessions SET server_session_id = ? WHERE number = ?"
        await self._update(session_id, sql, server_session_id)

    async def archive(self, session_id: str) -> None:
        sql = "UPDATE sessions SET archived_at = coalesce(archived_at, ?) WHERE number = ?"
        await self._update(session_id, sql, now())

    async def unarchive(self, session_id: str) -> None:
        await self._update(session_id, "UPDATE sessions SET archived_at = ? WHERE number = ?", None)

    async def delete(self, session_id: str) -> None:
        await self._database.write(lambda db: _delete(db, session_id))
        # Until then the deleted text can still be read in the pages that the log replaces.
        await self._database.checkpoint_truncate()

    async def get_metadata(self, session_id: str, key: str) -> Any:
        sql = "SELECT value FROM metadata WHERE session = ? AND key = ?"
        row = await self._database.read(
            lambda db: db.execute(
                sql, (queries.get_session(db, session_id)["number"], key)
            ).fetchone()
        )
        return None if row is None else json_text.decode(row_values.coerced(row)["value"])[0]

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        text = None if value is None else json_text.encode("$.value", value)
        await self._database.write(
            lambda db: _set_metadata(db, queries.get_session(db, session_id)["number"], {key: text})
        )

    async def _update(self, session_id: str, sql: str, value: Any) -> None:
        await self._database.write(
            lambda db: db.execute(
                sql, (value, queries.get_session(db, session_id)["number"])
            ).close()
        )


def _delete(db: Connection, session_id: str) -> None:
    if not db.execute("DELETE FROM sessions WHERE id = ?", (session_id,)).rowcount:
        queries.raise_if_index_lost(db, session_id)


_GIVEN = tuple(
    column.name
    for column in schema.COLUMNS["sessions"]
    if column.name in attrs.fields_dict(NewSession)
)
"""The columns whose values the caller of `create_session` gives."""

_INSERT_SESSION = f"""
INSERT INTO sessions ({", ".join(_GIVEN)}, created_at, updated_at)
VALUES ({", ".join("?" * len(_GIVEN))}, ?, ?)
RETURNING number
"""  # noqa: S608  the names are those of an attrs class


def _insert_session(db: Connection, new: NewSession) -> None:
    created_at = now()
    given = [getattr(new, name) for name in _GIVEN]
    (number,) = db.execute(_INSERT_SESSION, (*given, created_at, created_at)).fetchone()
    metadata = {key: json_text.encode("$.value", value) for key, value in new.metadata.items()}
    _set_metadata(db, number, metadata)


def _set_metadata(db: Connection, number: int, texts: Mapping[str, str | None]) -> None:
    for key, text in texts.items():
        db.execute("DELETE FROM metadata WHERE session = ? AND key = ?", (number, key))
        if text is not None:
            sql = "INSERT INTO metadata (session, key, value) VALUES (?, ?, ?)"
            db.execute(sql, (number, key, text))


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
