"""LocalSessionService: sessions in one SQLite file that every window of one user shares."""

import base64
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any

from segue import events as model
from segue.events import Event
from segue.service import (
    LAST_SEEN,
    MAX_PAGE_BYTES,
    PAGE,
    Appended,
    Batch,
    EventConflict,
    EventPage,
    HeadMoved,
    NewSession,
    Placement,
    SegueError,
    Session,
    SessionArchived,
    SessionNotFound,
    SessionPage,
    StoredEvent,
    now,
)
from segue.storage import library
from segue.storage.database import Database
from segue.storage.library import Connection
from segue.strict import Fault, InvalidInputError

Row = Mapping[str, Any]
FITTING = 6
"""How many sessions `find_resumable` returns: the one, and what else fits."""

_LAST_SEQ = 0xFFFFFFFF
_CURSOR = struct.Struct(">qq")
_NEWEST = (1 << 62, 0)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# INDEXED BY: left to itself the planner takes an index that has the archived ones of a directory
# too, and reads them all.
_RESUMABLE = """
SELECT * FROM session_records WHERE number IN (
    SELECT number FROM (
        SELECT * FROM (
            SELECT updated_at, number FROM sessions INDEXED BY resumable_by_git_root
            WHERE git_root = ?1 AND updated_at > ?3 AND archived_at IS NULL AND model_visible = 1
            ORDER BY updated_at DESC, number DESC LIMIT ?4
        )
        UNION ALL
        SELECT * FROM (
            SELECT updated_at, number FROM sessions INDEXED BY resumable_by_directory
            WHERE directory = ?2 AND updated_at > ?3 AND archived_at IS NULL AND model_visible = 1
            ORDER BY updated_at DESC, number DESC LIMIT ?4
        )
    )
)
"""
"""At most twice as many as are wanted, in no order: SQLite would sort them in a tree of its own."""

_LIST_LIVE = """
SELECT * FROM session_records
WHERE archived_at IS NULL AND (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT :limit
"""

_LIST_ALL = """
SELECT * FROM session_records
WHERE (updated_at, number) < (:updated_at, :number)
ORDER BY updated_at DESC, number DESC LIMIT :limit
"""

_LIST_HERE = """
SELECT * FROM (
    SELECT * FROM session_records
    WHERE directory = :directory AND (updated_at, number) < (:updated_at, :number)
        AND (:archived OR archived_at IS NULL)
    ORDER BY updated_at DESC, number DESC LIMIT :limit
)
UNION
SELECT * FROM (
    SELECT * FROM session_records
    WHERE git_common_dir = :git_common_dir AND (updated_at, number) < (:updated_at, :number)
        AND (:archived OR archived_at IS NULL)
    ORDER BY updated_at DESC, number DESC LIMIT :limit
)
ORDER BY updated_at DESC, number DESC LIMIT :limit
"""

_EVENTS_UP = """
SELECT
    events.seq, events.id, parents.id AS parent_id, invocations.id AS invocation_id,
    events.created_at, events.type, events.data
FROM events
LEFT JOIN events AS parents ON parents.key = events.key - 1
LEFT JOIN invocations ON invocations.number = events.invocation
WHERE events.key > ? AND events.key < ?
ORDER BY events.key LIMIT ?
"""

_EVENTS_DOWN = """
SELECT
    events.seq, events.id, parents.id AS parent_id, invocations.id AS invocation_id,
    events.created_at, events.type, events.data
FROM events
LEFT JOIN events AS parents ON parents.key = events.key - 1
LEFT JOIN invocations ON invocations.number = events.invocation
WHERE events.key > ? AND events.key < ?
ORDER BY events.key DESC LIMIT ?
"""

_CHAIN = """
SELECT
    number, archived_at, event_count, head,
    (
        SELECT invocations.number FROM invocations
        WHERE invocations.session = session_records.number AND invocations.id = ?
    ) AS invocation
FROM session_records WHERE id = ?
"""

_STORED_EVENT = "SELECT seq, type, data FROM events WHERE session = ? AND id = ?"

_INSERT_EVENT = """
INSERT INTO events (key, id, invocation, created_at, type, data) VALUES (?, ?, ?, ?, ?, ?)
"""

_PROGRESS = """
UPDATE sessions SET
    event_count = event_count + ?, updated_at = ?, title = coalesce(title, ?),
    model_visible = max(model_visible, ?)
WHERE number = ?
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
    ) -> Appended:
        if not events:
            raise ValueError("a session is stored with its first event")

        def create(db: Connection) -> Appended:
            if _find(db, new.id) is None:
                _insert_session(db, new)
            chain = _Chain(db, new.id, invocation_id)
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
    ) -> Appended:
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
    ) -> Sequence[Appended | SegueError]:
        def append(db: Connection) -> list[Appended | SegueError]:
            chain = _Chain(db, session_id, invocation_id)
            outcomes: list[Appended | SegueError] = []
            seen = last_seen
            for batch in batches:
                parent_id = seen if batch.parent_id is LAST_SEEN else batch.parent_id
                try:
                    appended = chain.append(batch.events, parent_id, boundary)
                except SegueError as error:  # raised before anything of the batch is written
                    outcomes.append(error)
                    continue
                outcomes.append(appended)
                if appended.shows_head:
                    seen = appended.head
            chain.store_progress()
            return outcomes

        return await self._database.write(append)

    async def find_resumable(
        self, directory: str, git_root: str | None, max_age: timedelta
    ) -> Sequence[Session]:
        since = now() - max_age // timedelta(milliseconds=1)
        values = (git_root, directory, since, FITTING)
        rows = await self._database.read(lambda db: db.execute(_RESUMABLE, values).fetchall())
        newest = sorted(rows, key=itemgetter("updated_at", "number"), reverse=True)
        return [_session(row) for row in newest[:FITTING]]

    async def load_events(
        self,
        session_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> EventPage:
        def load(db: Connection) -> EventPage:
            number = _get(db, session_id)["number"]
            if after is None:
                return _tail(db, number, _LAST_SEQ if before is None else before, limit)
            keys = number << 32 | min(after, _LAST_SEQ), number << 32 | _LAST_SEQ
            return _page(db.execute(_EVENTS_UP, (*keys, limit + 1)), limit)

        return await self._database.read(load)

    async def get_session(self, session_id: str) -> Session:
        return await self._database.read(lambda db: _session(_get(db, session_id)))

    async def open_session(self, session_id: str, tail: int = PAGE) -> tuple[Session, EventPage]:
        def read(db: Connection) -> tuple[Session, EventPage]:
            with library.moment(db):
                session = _get(db, session_id)
                return _session(session), _tail(db, session["number"], _LAST_SEQ, tail)

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
        rows = await self._database.read(lambda db: db.execute(sql, values).fetchall())
        return SessionPage(
            sessions=[_session(row) for row in rows[:limit]],
            next_cursor=_write_cursor(rows[limit - 1]) if len(rows) > limit else None,
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
        await self._database.write(
            lambda db: db.execute("DELETE FROM sessions WHERE id = ?", (session_id,)).close()
        )
        # Until then the deleted text can still be read in the pages that the log replaces.
        await self._database.empty_log()

    async def get_metadata(self, session_id: str, key: str) -> Any:
        sql = "SELECT value FROM metadata WHERE session = ? AND key = ?"
        row = await self._database.read(
            lambda db: db.execute(sql, (_get(db, session_id)["number"], key)).fetchone()
        )
        return None if row is None else model.decode(row["value"])[0]

    async def set_metadata(self, session_id: str, key: str, value: Any) -> None:
        text = None if value is None else model.encode("$.value", value)
        await self._database.write(
            lambda db: _set_metadata(db, _get(db, session_id)["number"], {key: text})
        )

    async def _update(self, session_id: str, sql: str, value: Any) -> None:
        await self._database.write(
            lambda db: db.execute(sql, (value, _get(db, session_id)["number"])).close()
        )


def _find(db: Connection, session_id: str) -> Row | None:
    sql = "SELECT * FROM session_records WHERE id = ?"
    row: Row | None = db.execute(sql, (session_id,)).fetchone()
    return row


def _get(db: Connection, session_id: str) -> Row:
    row = _find(db, session_id)
    if row is None:
        raise SessionNotFound(session_id)
    return row


def _insert_session(db: Connection, new: NewSession) -> None:
    at = now()
    (number,) = db.execute(
        """
        INSERT INTO sessions
            (id, directory, git_root, git_common_dir, server_session_id, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        RETURNING number
        """,
        (
            new.id,
            new.directory,
            new.git_root,
            new.git_common_dir,
            new.server_session_id,
            at,
            at,
        ),
    ).fetchone()
    metadata = {key: model.encode("$.value", value) for key, value in new.metadata.items()}
    _set_metadata(db, number, metadata)


class _Chain:
    """A stored session's chain of events, while one transaction appends to it."""

    def __init__(self, db: Connection, session_id: str, invocation_id: str) -> None:
        row = db.execute(_CHAIN, (invocation_id, session_id)).fetchone()
        if row is None:
            raise SessionNotFound(session_id)
        self._db = db
        self._session_id = session_id
        self._invocation_id = invocation_id
        self._number: int = row["number"]
        self._is_archived = row["archived_at"] is not None
        self._head = _head(row)
        self._stored: int = row["event_count"]
        self._invocation: int | None = row["invocation"]
        self._new: list[Event] = []

    @property
    def _count(self) -> int:
        return self._stored + len(self._new)

    def append(
        self, events: Sequence[Event], parent_id: str | None, boundary: Event | None = None
    ) -> Appended:
        """Write those of *events* that are new, or raise before any of them is written."""
        # Ids before the head: a retry after a lost answer must never look like a conflict.
        seqs = self._stored_seqs(events)
        fresh = _fresh(events, seqs)
        if fresh:
            if self._is_archived:
                raise SessionArchived(self._session_id)
            self._check_head(events, fresh, parent_id)
            chain = list(fresh.values())
            if boundary and boundary.id not in fresh and not self._stored_seqs([boundary]):
                chain.insert(0, boundary)
            seqs |= self._write(chain)
        placements = [Placement(event.id, seqs[event.id]) for event in events]
        return Appended(
            head=self._head,
            event_count=self._count,
            events=placements,
            duplicates=len(events) - len(fresh),
        )

    def store_progress(self) -> None:
        """Say in the session's row what was written."""
        if not self._new:
            return
        self._db.execute(
            _PROGRESS,
            (
                len(self._new),
                now(),
                next(filter(None, map(model.title, self._new)), None),
                any(event.type in model.MODEL_VISIBLE for event in self._new),
                self._number,
            ),
        )

    def _stored_seqs(self, events: Iterable[Event]) -> dict[str, int]:
        seqs = {}
        for event in events:
            row = self._db.execute(_STORED_EVENT, (self._number, _pack(event.id))).fetchone()
            if row is not None:
                _check_same(event, row["type"], row["data"])
                seqs[event.id] = row["seq"]
        return seqs

    def _check_head(
        self, events: Sequence[Event], fresh: Mapping[str, Event], parent_id: str | None
    ) -> None:
        """Raise HeadMoved unless the first fresh event follows the head, as far as known.

        A sender that repeats stored events knows them too, whatever it says of the parent.
        """
        first = next(place for place, event in enumerate(events) if event.id in fresh)
        known = {parent_id, events[first - 1].id} if first else {parent_id}
        if self._head not in known:
            raise HeadMoved(self._head, self._count)

    def _write(self, events: Sequence[Event]) -> dict[str, int]:
        at = now()
        if self._invocation is None:
            self._invocation = self._begin_invocation()
        first = self._count + 1
        for seq, event in enumerate(events, first):
            key = self._number << 32 | seq
            row = (key, _pack(event.id), self._invocation, at, event.type, event.text)
            self._db.execute(_INSERT_EVENT, row)
        self._new += events
        self._head = events[-1].id
        return {event.id: seq for seq, event in enumerate(events, first)}

    def _begin_invocation(self) -> int:
        sql = "INSERT INTO invocations (session, id) VALUES (?, ?) RETURNING number"
        (number,) = self._db.execute(sql, (self._number, self._invocation_id)).fetchone()
        return int(number)


def _fresh(events: Iterable[Event], stored: Mapping[str, int]) -> dict[str, Event]:
    fresh: dict[str, Event] = {}
    for event in events:
        if event.id in fresh:
            _check_same(event, fresh[event.id].type, fresh[event.id].text)
        elif event.id not in stored:
            fresh[event.id] = event
    return fresh


def _check_same(event: Event, type: str, text: str) -> None:
    if event.type != type or not model.same_json(event.text, text):
        raise EventConflict(event.id)


def _set_metadata(db: Connection, number: int, texts: Mapping[str, str | None]) -> None:
    for key, text in texts.items():
        db.execute("DELETE FROM metadata WHERE session = ? AND key = ?", (number, key))
        if text is not None:
            sql = "INSERT INTO metadata (session, key, value) VALUES (?, ?, ?)"
            db.execute(sql, (number, key, text))


def _tail(db: Connection, number: int, before: int, limit: int) -> EventPage:
    keys = number << 32, number << 32 | min(before, _LAST_SEQ)
    page = _page(db.execute(_EVENTS_DOWN, (*keys, limit + 1)), limit)
    return EventPage(events=page.events[::-1], has_more=page.has_more)


def _page(rows: Iterable[Row], limit: int) -> EventPage:
    events: list[StoredEvent] = []
    size = 0
    for row in rows:
        size += len(row["data"])
        if len(events) == limit or (events and size > MAX_PAGE_BYTES):
            return EventPage(events=events, has_more=True)
        events.append(_event(row))
    return EventPage(events=events, has_more=False)


def _event(row: Row) -> StoredEvent:
    data, corrupt = model.decode(_text(row["data"]))
    return StoredEvent(
        id=_unpack(row["id"]),
        seq=row["seq"],
        parent_id=None if row["parent_id"] is None else _unpack(row["parent_id"]),
        invocation_id=row["invocation_id"] or "",
        created_at=row["created_at"] or 0,
        type=_text(row["type"]),
        data=data,
        corrupt=corrupt,
    )


def _text(stored: Any) -> str:
    """Return a text. Damage that SQLite does not notice may have made something else of it."""
    return stored if isinstance(stored, str) else repr(stored)


def _session(row: Row) -> Session:
    return Session(
        id=row["id"],
        directory=row["directory"],
        git_root=row["git_root"],
        title=row["title"],
        server_session_id=row["server_session_id"],
        head=_head(row),
        event_count=row["event_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived_at=row["archived_at"],
        forked_from=row["forked_from"],
    )


def _head(session: Row) -> str | None:
    return None if session["head"] is None else _unpack(session["head"])


def _pack(id: str) -> str | bytes:
    """Return *id* as it is stored: a UUID, the habit, takes 16 bytes instead of 36."""
    return bytes.fromhex(id.replace("-", "")) if _UUID.fullmatch(id) else id


def _unpack(stored: str | bytes) -> str:
    if not isinstance(stored, bytes):
        return _text(stored)
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _write_cursor(row: Row) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(row["updated_at"], row["number"])).decode()


def _read_cursor(cursor: str) -> tuple[int, int]:
    try:
        updated_at, number = _CURSOR.unpack(base64.urlsafe_b64decode(cursor))
    except (ValueError, struct.error):
        fault = Fault("$.cursor", "is not one that session/list returned")
        raise InvalidInputError(fault) from None
    return updated_at, number
