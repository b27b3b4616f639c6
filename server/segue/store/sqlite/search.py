"""Search: looks through sessions, newest first, with what an index knows about their events.

The order does not depend on the index: sessions by their last update, in each its title and then
its events from the last one back. An event that several sessions have is found once: in the session
that wrote it, or else in the newest of its forks that is searched.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

import attrs

from segue.model.errors import SessionNotFound
from segue.model.records import FoundEvent, SearchHit, SearchPage
from segue.model.search_text import Screen, SearchQuery, searched_text
from segue.store.rules.searching import MAX, TITLE, OutOfTimeError, Position, Timer
from segue.store.sqlite import queries, row_values
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row
from segue.store.sqlite.schema import MAX_SEQ
from segue.store.sqlite.spans import Span, spans_of

_BATCH = 8
_FAR = 200
"""A page is far from its end if, at the rate of its first hits, it needs so many sessions."""


@attrs.frozen(kw_only=True)
class Search:
    """What is searched for, and where."""

    query: SearchQuery
    places: Sequence[str] | None = None
    """The directories and git roots whose sessions are searched; None: all."""
    git_common_dir: str | None = None
    repository: str | None = None
    archived: bool = False
    types: Collection[str] = ()
    """Only events of these types, and no titles; empty: all."""
    sources: Collection[str] = ()
    """Only sessions that were imported from these programs; empty: all."""
    session_id: str | None = None
    """Only this session, archived or not."""
    cursor: str | None = None
    limit: int


Part = range | Sequence[int]
"""Seqs in ascending order: a range of which every event is looked at, or only the candidates."""


class Index(Protocol):
    """What is known of the events of a store before they are looked at."""

    def parts(self, span: Span) -> Sequence[Part]:
        """Return the parts of a strand, with ascending seqs: what is in none cannot match."""

    def strands(self) -> set[int] | None:
        """Return the only strands that can match, or None if there are too many to be named."""


class NoIndex:
    """The index of a store that has none: any event may match."""

    def parts(self, span: Span) -> Sequence[Part]:
        """Return all seqs of the span."""
        return (range(span.after + 1, span.last + 1),)

    def strands(self) -> None:
        """Return None: any may match."""


def search(db: Connection, what: Search, timer: Timer, index: Index | None = None) -> SearchPage:
    """Return a page of what is found in the snapshot of *db*. Raises SessionNotFound."""
    return _Searcher(db, what, timer, index or NoIndex()).run()


# LIMIT is absent: the rows are taken in parts, as they are needed.
_ADMITTED = """
    (:archived OR archived_at IS NULL OR id = :id) AND (:id IS NULL OR id = :id)
    AND (:sources IS NULL OR source IN (SELECT value FROM json_each(:sources)))
    AND (:here IS NULL OR number IN (SELECT value FROM json_each(:here)))
"""
_COLUMNS = "number, updated_at, fork_seq, event_count, title"
_ORDER = "ORDER BY updated_at DESC, number DESC"
_WALK = f"""
SELECT {_COLUMNS} FROM session_records
WHERE (updated_at, number) <= (:updated_at, :number) AND {_ADMITTED} {_ORDER}
"""  # noqa: S608  names of columns
_AMONG = f"""
SELECT {_COLUMNS} FROM session_records
WHERE number IN (
    SELECT value FROM json_each(:strands)
    UNION SELECT session FROM spans WHERE strand IN (SELECT value FROM json_each(:strands))
)
AND (updated_at, number) <= (:updated_at, :number) AND {_ADMITTED} {_ORDER}
"""  # noqa: S608  names of columns
_TITLED = """
SELECT number FROM session_records
WHERE instr(lower(title), :word) OR title GLOB '*[^ -~]*'
"""
"""lower() is that of ASCII, and other characters can fold to those of the word."""

_WHO_SHOWS = f"""
SELECT number FROM session_records
WHERE number IN (SELECT session FROM spans WHERE strand = :strand AND (key & {MAX_SEQ}) >= :seq)
AND fork_seq >= :seq AND {_ADMITTED} {_ORDER}
"""  # noqa: S608  names of columns
_IS_ADMITTED = f"SELECT 1 FROM session_records WHERE number = :number AND {_ADMITTED}"  # noqa: S608  names of columns
_SESSIONS = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records
WHERE number IN (SELECT value FROM json_each(?))
"""  # noqa: S608  names of columns
_STRAND_SHOWN = """
SELECT strand FROM spans WHERE key >= ? AND key <= ? ORDER BY key LIMIT 1
"""

_EVENTS = "SELECT key, id, created_at, type, data FROM events"
_EVENTS_DOWN = f"{_EVENTS} WHERE key >= ? AND key < ? ORDER BY key DESC"
_EVENT = f"{_EVENTS} WHERE key = ?"


class _Searcher:
    def __init__(self, db: Connection, what: Search, timer: Timer, index: Index) -> None:
        self._db = db
        self._what = what
        self._timer = timer
        self._index = index
        self._screen = Screen(what.query)
        self._position = Position() if what.cursor is None else Position.read(what.cursor)
        self._hits: list[tuple[int, FoundEvent | None, str]] = []

    def run(self) -> SearchPage:
        self._filter = self._values()
        is_complete = True
        try:
            self._walk()
            is_at_end = len(self._hits) < self._what.limit
        except OutOfTimeError:
            is_at_end = is_complete = False
        return SearchPage(
            hits=self._with_sessions(),
            next_cursor=None if is_at_end else self._position.as_cursor(),
            complete=is_complete,
        )

    def _values(self) -> dict[str, Any]:
        what = self._what
        here: set[int] | None = None
        if what.session_id is not None:
            sql = "SELECT 1 FROM session_records WHERE id = ?"
            if self._db.execute(sql, (what.session_id,)).fetchone() is None:
                raise SessionNotFound(what.session_id)
        if what.places is not None:
            here = set()
            sql = f"SELECT number FROM sessions WHERE {queries.IS_HERE}"  # noqa: S608  no values
            for place in what.places:
                values = queries.place_values(place, what.git_common_dir, what.repository)
                here.update(number for (number,) in self._db.execute(sql, values))
        return {
            "archived": what.archived,
            "id": what.session_id,
            "sources": json.dumps(sorted(what.sources)) if what.sources else None,
            "here": None if here is None else json.dumps(sorted(here)),
        }

    def _walk(self) -> None:
        """Look at one session after the other until the page is full."""
        strands, has_asked = None, False
        for number, row in enumerate(self._rows(_WALK), 1):
            self._look_at(row)
            if self._is_full():
                return
            # To ask which strands can match at all is worth it if the page is far from its end.
            is_far = len(self._hits) * _FAR < number * self._what.limit
            if is_far and number % _BATCH == 0 and not has_asked:
                strands, has_asked = self._index.strands(), True
            if strands is not None:
                self._position = _behind(row)
                self._walk_among(strands)
                return

    def _walk_among(self, strands: set[int]) -> None:
        """Look at the sessions that show events of *strands*, or whose titles may match."""
        among = json.dumps(sorted(strands | self._titled()))
        for row in self._rows(_AMONG, strands=among):
            self._look_at(row)
            if self._is_full():
                return

    def _rows(self, sql: str, **values: Any) -> Iterator[Row]:
        at = self._position
        values |= self._filter | {"updated_at": at.updated_at, "number": at.number}
        return map(row_values.validated, self._db.execute(sql, values))

    def _titled(self) -> set[int]:
        """Return the sessions whose titles may match."""
        term = max(self._what.query.terms, key=len)
        word = max(term.split(), key=len) if term.isascii() else None
        return {number for (number,) in self._db.execute(_TITLED, {"word": word})}

    def _is_full(self) -> bool:
        return len(self._hits) == self._what.limit

    def _look_at(self, row: Row) -> None:
        """Look at a session, from the position on if that is in it."""
        updated_at, number = row["updated_at"], row["number"]
        at = self._position
        below = at.seq if (at.updated_at, at.number) == (updated_at, number) else MAX
        if below > TITLE:
            self._reach(updated_at, number, TITLE + 1)
            self._look_at_title(row)
        for span in reversed(self._spans(row)):
            if self._is_full():
                return
            for seq, event in self._events(updated_at, number, span, below):
                text = self._matching_text(event)
                if text is not None and self._shows(number, span.strand, seq):
                    self._position = Position(updated_at, number, seq)
                    self._hits.append((number, _found(event), text))
                    if self._is_full():
                        return

    def _reach(self, updated_at: int, number: int, below: int) -> None:
        """Go on to what has a seq under *below* in a session, if there is time left."""
        self._position = Position(updated_at, number, below)
        self._timer.check()

    def _look_at_title(self, row: Row) -> None:
        title = row["title"]
        if title is None or self._what.types or not self._what.query.matches(title):
            return
        self._position = Position(row["updated_at"], row["number"], TITLE)
        self._hits.append((row["number"], None, title))

    def _spans(self, row: Row) -> list[Span]:
        """Return the spans of a session, but for those that are found in another one."""
        *shared, own = spans_of(self._db, row)
        shown = [span for span in shared if not self._is_admitted(span.strand)]
        return [*shown, Span(own.strand, own.after, row["event_count"])]

    def _is_admitted(self, number: int) -> bool:
        values = self._filter | {"number": number}
        return self._db.execute(_IS_ADMITTED, values).fetchone() is not None

    def _shows(self, number: int, strand: int, seq: int) -> bool:
        """Return whether an event is found in this session and not in another one that has it."""
        if number == strand:
            return True
        values = self._filter | {"strand": strand, "seq": seq}
        for (other,) in self._db.execute(_WHO_SHOWS, values):
            first = other << 32
            found = self._db.execute(_STRAND_SHOWN, (first + seq, first + MAX_SEQ)).fetchone()
            if found is not None and found[0] == strand:
                return bool(other == number)
        return False

    def _events(
        self, updated_at: int, number: int, span: Span, below: int
    ) -> Iterator[tuple[int, Row]]:
        """Yield the events that may match, from the last one back, and check the time."""
        first = span.strand << 32
        for part in reversed(self._index.parts(span)):
            if isinstance(part, range):
                keys = (first + part.start, first + min(part.stop, below))
                rows: Iterable[Any] = self._db.execute(_EVENTS_DOWN, keys)
            else:
                rows = self._candidates(first, [seq for seq in part if seq < below])
            for row in map(row_values.validated, rows):
                seq = row["key"] & MAX_SEQ
                self._reach(updated_at, number, seq + 1)
                yield seq, row

    def _candidates(self, first: int, seqs: Sequence[int]) -> Iterator[Any]:
        for seq in reversed(seqs):
            if (row := self._db.execute(_EVENT, (first + seq,)).fetchone()) is not None:
                yield row

    def _matching_text(self, event: Row) -> str | None:
        """Return the text of an event, or None if it does not match."""
        type, encoded = event["type"], event["data"]
        if self._what.types and type not in self._what.types:
            return None
        if not self._screen.may_match(encoded):
            return None
        text = searched_text(type, encoded)
        return text if self._what.query.matches(text) else None

    def _with_sessions(self) -> list[SearchHit]:
        numbers = json.dumps([number for number, _, _ in self._hits])
        rows = map(row_values.validated, self._db.execute(_SESSIONS, (numbers,)))
        sessions = {row["number"]: queries.session(row) for row in rows}
        return [
            SearchHit(session=sessions[number], event=event, excerpt=self._what.query.excerpt(text))
            for number, event, text in self._hits
        ]


def _found(event: Row) -> FoundEvent:
    return FoundEvent(
        id=row_values.unpack(event["id"]),
        seq=event["key"] & MAX_SEQ,
        type=event["type"],
        created_at=event["created_at"],
    )


def _behind(row: Row) -> Position:
    return Position(row["updated_at"], row["number"], 0)
