"""The search index: which events have which three characters in a row.

It has shards of 16,384 events, which are made here and never changed: what is not in one is looked
through. A shard has 4,096 rows, and each trigram one of them: the bits of a row are the events that
have one of its trigrams. What has all rows of a query is only a candidate.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from segue.model.errors import StorageError
from segue.model.maintenance import IndexState
from segue.model.search_text import fold, searched_text
from segue.store.postgres import codec
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.search import BUCKETS, bucket
from segue.store.postgres.wire import Connection, Rows
from segue.store.rules.trigrams import spread

SHARD = 16_384
"""The events of a shard, at most as many as a row has bits."""

_ROW = 16_384 // 8

_BATCH_BYTES = 256 * 1024
"""So much of the events is read, and cut into trigrams, at once."""

_ROWS_PER_CALL = 512
"""Of a shard: 1 MB, so that a slow network does not take too long for a call."""


class SearchIndex:
    """Extends the index of an account, on a connection of its own that ends with each time."""

    def __init__(self, client: PostgresClient) -> None:
        self._client = client

    async def extend(
        self, must_stop: Callable[[], bool], *, anew: bool = False, pauses: bool = False
    ) -> IndexState | None:
        """Index what makes whole shards, until *must_stop*; None if the server cannot be asked.

        With *anew*, what is indexed is dropped before. With *pauses* half of the time is left to
        others.
        """
        client = self._client.another()
        try:
            if anew:
                await _call(client, "SELECT segue_1.drop_index($1)")
            while await self._add_shard(client, must_stop, pauses=pauses):
                pass
            is_complete = not must_stop()
            ((events,),) = await _call(client, "SELECT segue_1.indexed($1)")
            return IndexState(events=events, complete=is_complete)
        except StorageError:
            return None  # another window does the same, or a search can do without
        finally:
            await client.close()

    async def _add_shard(
        self, client: PostgresClient, must_stop: Callable[[], bool], *, pauses: bool
    ) -> bool:
        """Try to add a shard; return False if there are too few events, or it must stop."""
        sql = "SELECT * FROM segue_1.unindexed($1, $2)"
        spans = await _call(client, sql, codec.int4(SHARD))
        if must_stop() or sum(last - first + 1 for _, first, last in spans) < SHARD:
            return False
        shard = _Shard()
        for session, first, last in spans:
            while first <= last:
                if must_stop():
                    return False
                began = time.monotonic()
                events = await _read(client, session, first, last)
                if not events or events[0][0] != first:
                    return True  # it was deleted meanwhile
                await asyncio.to_thread(shard.add, session, events)
                first = events[-1][0] + 1
                if pauses:
                    await asyncio.sleep(time.monotonic() - began)
        await client.run(shard.store(client))
        return True


class _Shard:
    def __init__(self) -> None:
        self._bits = bytearray(BUCKETS * _ROW)
        self._offsets = _Offsets()
        self._size = 0
        self._runs: list[list[int]] = []
        """Of consecutive events: the session, the seq of the first, how many, its document."""

    def add(self, session: int, events: Sequence[Sequence[Any]]) -> None:
        bits, offsets = self._bits, self._offsets
        for seq, type, data in events:
            text = spread(fold(searched_text(codec.unescape(type), data)))
            at, bit = self._size >> 3, 0x80 >> (self._size & 7)
            for offset in {offsets[text[each : each + 3]] for each in range(len(text) - 2)}:
                bits[offset + at] |= bit
            run = self._runs[-1] if self._runs else None
            if run is not None and run[0] == session and run[1] + run[2] == seq:
                run[2] += 1
            else:
                self._runs.append([session, seq, 1, self._size])
            self._size += 1

    def store(self, client: PostgresClient) -> Callable[[Connection], Any]:
        """Return what stores the shard in one transaction, or nothing of it."""

        async def store(connection: Connection) -> None:
            account = codec.int8(client.account)
            await connection.call("BEGIN")
            ((number,),) = await connection.call("SELECT segue_1.begin_shard($1)", account)
            shard = codec.int4(number)
            for first in range(0, BUCKETS, _ROWS_PER_CALL):
                rows = {
                    row: bytes(self._bits[row * _ROW : (row + 1) * _ROW])
                    for row in range(first, first + _ROWS_PER_CALL)
                }
                rows = {row: documents for row, documents in rows.items() if any(documents)}
                sql = "SELECT segue_1.add_trigrams($1, $2, $3, $4)"
                values = (codec.int4s([*rows]), codec.bits([*rows.values()]))
                await connection.call(sql, account, shard, *values)
            sessions, firsts, lengths, documents = zip(*self._runs, strict=True)
            ((is_right,),) = await connection.call(
                "SELECT segue_1.finish_shard($1, $2, $3, $4, $5, $6)",
                account,
                shard,
                codec.int8s(sessions),
                *map(codec.int4s, (firsts, lengths, documents)),
            )
            await connection.call("COMMIT" if is_right else "ROLLBACK")

        return store


class _Offsets(dict[str, int]):
    """Where the row of each trigram begins."""

    def __missing__(self, trigram: str) -> int:
        offset = self[trigram] = bucket(trigram) * _ROW
        return offset


async def _read(client: PostgresClient, session: int, first: int, last: int) -> Rows:
    sql = "SELECT * FROM segue_1.indexed_events($1, $2, $3, $4, $5)"
    span = (codec.int8(session), codec.int4(first), codec.int4(last))
    return await _call(client, sql, *span, codec.int8(_BATCH_BYTES))


async def _call(client: PostgresClient, sql: str, *parameters: codec.Parameter) -> Rows:
    async def call(connection: Connection) -> Rows:
        return await connection.call(sql, codec.int8(client.account), *parameters)

    return await client.run(call)
