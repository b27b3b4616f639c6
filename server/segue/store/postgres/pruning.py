"""Deletes old sessions, some at a time: others write between."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

from segue.model.maintenance import Pruned, PrunedSession
from segue.model.records import Machine, Session
from segue.store.postgres import codec, rows
from segue.store.postgres.client import PostgresClient
from segue.store.postgres.rows import SessionRow
from segue.store.postgres.wire import Connection, Rows
from segue.store.rules.pruning import parts

_DAY_MS = 24 * 60 * 60 * 1_000
_NEVER = (1 << 63) - 1

_DUE = "SELECT * FROM segue_1.due($1, $2, $3)"
_PRUNE = "SELECT * FROM segue_1.prune($1, $2, $3, $4, $5, $6, $7, $8)"


async def prune(
    client: PostgresClient,
    here: Machine,
    older_than: timedelta,
    *,
    live: bool,
    dry_run: bool,
    among: Collection[str] | None,
) -> Pruned:
    """Do what `SessionService.prune` promises."""
    age_ms = older_than // timedelta(milliseconds=1)

    async def find(connection: Connection) -> Rows:
        account = codec.int8(client.account)
        return await connection.call(_DUE, account, codec.int8(age_ms), codec.boolean(live))

    (until, not_archived, used, recent, _), *due = await client.run(find)
    found = [rows.session_row(row) for *_, row in due]
    chosen = [row for row in found if among is None or codec.unpack(row["id"]) in among]
    taken: list[PrunedSession] = []
    held: list[Session] = []
    planned: list[int] = []

    async def take(
        connection: Connection, part: Sequence[SessionRow], deleted: Sequence[int]
    ) -> Rows:
        unused_since = _NEVER if client.can_hold else until + age_ms - _DAY_MS
        return await connection.call(
            _PRUNE,
            codec.int8(client.account),
            codec.binaries([row["id"] for row in part]),
            codec.int8(until),
            codec.boolean(live),
            codec.ids([*client.held]),
            codec.int8(unused_since),
            codec.boolean(dry_run),
            codec.int8s(deleted),
        )

    for part in parts(chosen):
        by_id = {row["id"]: row for row in part}
        for size, id in await client.run(partial(take, part=part, deleted=planned)):
            row = by_id[id]
            if size is None:
                held.append(rows.session(row, here))
            else:
                taken.append(PrunedSession(rows.session(row, here), size))
                planned += [row["number"]] if dry_run else []
    return Pruned(
        taken=taken, held=held, live=0 if live else not_archived, used=used, recent=recent
    )
