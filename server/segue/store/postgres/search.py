"""Search: the server looks through the sessions, newest first, and says what may match.

It does so some milliseconds at a time, so that no other call of the service waits for longer: first
without the index, which finds what is in many of the newest events, and then with it. Whether an
event matches is decided here, by the one rule of all stores.
"""

import itertools
import json
import zlib
from collections.abc import Collection, Iterable

import attrs

from segue.model.errors import SessionNotFound
from segue.model.records import FoundEvent, Machine, SearchHit, SearchPage, Session
from segue.model.search_text import SearchQuery, searched_text
from segue.store.postgres import codec, rows
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.codec import Parameter
from segue.store.postgres.wire import Connection, Rows
from segue.store.rules.searching import TITLE, Position, Timer
from segue.store.rules.trigrams import trigrams

_FIRST_SLICE_S, _SLICE_S = 0.01, 0.02
"""How long one call looks."""

_MAX_CANDIDATES = 256
_MAX_BYTES = 2 * 1024 * 1024
"""One call returns no more, so that the next one may not be needed."""

BUCKETS = 4096
"""The rows of each shard of the index: trigrams with the same digest share one."""

_OWN = """
SELECT *, NULL::text, (SELECT segue_1.any_shared($1)) FROM segue_1.search($1, $2, $3, $4, $5, $6,
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
"""

_SHARED = """
SELECT *, false FROM segue_1.search_shared($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    $14, $15, $16, $17, $18)
"""

_SHARED_MARK = "~"
"""What a cursor begins with behind the last of one's own."""


@attrs.frozen(kw_only=True)
class Search:
    """What is searched for, and where."""

    query: SearchQuery
    places: tuple[Parameter, ...]
    """Where the sessions are that are searched; null: everywhere."""
    archived: bool
    types: Collection[str]
    sources: Collection[str]
    session_id: str | None
    cursor: str | None
    limit: int


async def search(client: PostgresClient, here: Machine, what: Search, timer: Timer) -> SearchPage:
    """Return a page of what is found: first of one's own, then of what others share.

    What others share is looked through: no index has it but that of its owner, which is not read
    for others. Raises SessionNotFound.
    """
    mark = _SHARED_MARK if (what.cursor or "").startswith(_SHARED_MARK) else ""
    position = Position() if what.cursor is None else Position.read(what.cursor.removeprefix(mark))
    wanted = buckets(trigrams(what.query))
    hits: list[SearchHit] = []
    for is_first in itertools.chain((True,), itertools.repeat(False)):
        limit_s = min(timer.left_s, _FIRST_SLICE_S if is_first else _SLICE_S)
        found = await _look(
            client, what, position, limit_s, None if is_first else wanted, shared=bool(mark)
        )
        (kind, updated_at, number, seq, *_, others_share), candidates = found[-1], found[:-1]
        if kind == "absent" and not others_share:
            raise SessionNotFound(what.session_id or "")
        for hit, at in _matches(candidates, here, what.query):
            hits.append(hit)
            position = at
            if len(hits) == what.limit:
                return SearchPage(hits=hits, next_cursor=mark + at.as_cursor(), complete=True)
        if kind in ("end", "absent"):
            if not others_share:
                return SearchPage(hits=hits, next_cursor=None, complete=True)
            mark, position = _SHARED_MARK, Position()
        else:
            position = Position(updated_at, number, seq)
        if timer.left_s <= 0:
            break
    return SearchPage(hits=hits, next_cursor=mark + position.as_cursor(), complete=False)


async def _look(
    client: PostgresClient,
    what: Search,
    at: Position,
    limit_s: float,
    trigrams: Collection[int] | None,
    *,
    shared: bool,
) -> Rows:
    words = sorted({word for term in what.query.terms for word in term.split()})
    is_ascii = all(word.isascii() for word in words)
    # What JSON writes otherwise is not looked for: the caller compares all of the text.
    plain = [word for word in words if is_ascii and json.dumps(word) == f'"{word}"']
    titled = [codec.escape(word) for word in words if is_ascii]

    indexed = () if shared else (codec.optional_int4s(sorted(trigrams) if trigrams else None),)

    async def look(connection: Connection) -> Rows:
        return await connection.call(
            _SHARED if shared else _OWN,
            codec.int8(client.account),
            codec.stored_texts([_pattern(word) for word in plain]),
            codec.stored_texts([_pattern(word) for word in titled]),
            codec.boolean(not is_ascii),
            *what.places,
            codec.id(what.session_id),
            codec.boolean(what.archived),
            codec.texts(sorted(what.types) or None),
            codec.texts(sorted(what.sources) or None),
            codec.int8(at.updated_at),
            codec.int8(at.number),
            codec.int8(at.seq),
            codec.int4(_MAX_CANDIDATES),
            codec.int8(_MAX_BYTES),
            codec.float8(1_000 * limit_s),
            *indexed,
        )

    return await client.run(look)


def bucket(trigram: str) -> int:
    """Return the number of the row of a shard that has the documents with a trigram."""
    return zlib.crc32(trigram.encode()) % BUCKETS


def buckets(found: Iterable[str]) -> set[int]:
    """Return the rows of some trigrams."""
    return set(map(bucket, found))


def _pattern(word: str) -> str:
    """Return the pattern of LIKE for text that has *word*."""
    for special in "\\%_":
        word = word.replace(special, f"\\{special}")
    return f"%{word}%"


def _matches(
    candidates: Rows, here: Machine, query: SearchQuery
) -> "list[tuple[SearchHit, Position]]":
    """Return those that match, and where each is."""
    found: list[tuple[SearchHit, Position]] = []
    session: Session | None = None
    title = ""
    for kind, updated_at, number, seq, id, created_at, type, data, values, by, _ in candidates:
        if kind == "session":
            session = rows.session_of(values, here, by)
            title = session.title or ""
            continue
        assert session is not None  # noqa: S101  the rows of a session follow its own
        is_title = kind == "title"
        text = title if is_title else searched_text(codec.unescape(type), data)
        if not query.matches(text):
            continue
        event = None
        if not is_title:
            event = FoundEvent(
                id=codec.unpack(id), seq=seq, type=codec.unescape(type), created_at=created_at
            )
        hit = SearchHit(session=session, event=event, excerpt=query.excerpt(text))
        found.append((hit, Position(updated_at, number, TITLE if is_title else seq)))
    return found
