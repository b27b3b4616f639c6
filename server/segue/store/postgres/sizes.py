"""How many bytes the events of sessions have: what goes with one, and what several share."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from segue.model.records import Machine
from segue.model.store_reports import SessionSize, SizeReport, StoreSizes
from segue.store.postgres import codec, rows
from segue.store.postgres.rows import SessionRow
from segue.store.postgres.wire import Connection

_ALL = "SELECT * FROM segue_1.all_sessions($1)"
_SIZES = "SELECT * FROM segue_1.event_sizes($1, $2, $3, $4)"
_MAX_SEQ = (1 << 31) - 1


async def store_sizes(connection: Connection, account: int) -> StoreSizes:
    """Return how much the account holds, and the bytes of the whole store."""
    sql = "SELECT * FROM segue_1.sizes($1)"
    ((size, sessions, archived, events),) = await connection.call(sql, codec.int8(account))
    return StoreSizes(bytes=size, sessions=sessions, archived=archived, events=events)


async def session_sizes(connection: Connection, account: int, here: Machine) -> SizeReport:
    """Return how much each session of the account holds, the largest first."""
    found = await connection.call(_ALL, codec.int8(account))
    sessions = [rows.session_row(values) for *_, values in found if values is not None]
    users: dict[int, dict[int, int]] = defaultdict(dict)
    for strand, user, last, values in found:
        if values is None:
            users[strand][user] = last
    own = {row["number"]: (row["number"], 0, _MAX_SEQ) for row in sessions}
    parts = {number: [part] for number, part in own.items()}
    common: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for strand, lasts in users.items():
        if strand in own:
            common[strand].append((strand, 0, max(lasts.values())))
        else:
            _share(strand, lasts, parts, common)
    measured = await _measure(connection, account, [*parts.values(), *common.values()])
    sizes = [_size(row, here, parts, common, measured) for row in sessions]
    sizes.sort(key=lambda size: (-size.bytes, size.id))
    whole = await store_sizes(connection, account)
    return SizeReport(sessions=sizes, file_bytes=whole.bytes)


def _share(
    strand: int,
    lasts: Mapping[int, int],
    parts: dict[int, list[tuple[int, int, int]]],
    common: dict[int, list[tuple[int, int, int]]],
) -> None:
    """Add the events of a deleted session to the oldest of the forks that have them."""
    begin = 0
    second = sorted(lasts.values())[-2:][0] if len(lasts) > 1 else 0
    for session, last in sorted(lasts.items()):
        if last > begin:
            parts[session].append((strand, begin, last))
            common[session].append((strand, begin, min(last, second)))
            begin = last


async def _measure(
    connection: Connection, account: int, groups: Sequence[Sequence[tuple[int, int, int]]]
) -> dict[tuple[int, int, int], tuple[int, int]]:
    """Return the number of events and the bytes of each part: a strand, and between which seqs."""
    distinct = list(dict.fromkeys(part for group in groups for part in group))
    numbers, after, last = ([], [], []) if not distinct else map(list, zip(*distinct, strict=True))
    found: Sequence[Sequence[Any]] = await connection.call(
        _SIZES, codec.int8(account), codec.int8s(numbers), codec.int4s(after), codec.int4s(last)
    )
    return {part: (events, size) for part, (events, size) in zip(distinct, found, strict=True)}


def _size(
    row: SessionRow,
    here: Machine,
    parts: Mapping[int, Sequence[tuple[int, int, int]]],
    common: Mapping[int, Sequence[tuple[int, int, int]]],
    measured: Mapping[tuple[int, int, int], tuple[int, int]],
) -> SessionSize:
    session = rows.session(row, here)
    own = [measured[part] for part in parts[row["number"]]]
    shared = [measured[part] for part in common.get(row["number"], ())]
    return SessionSize(
        id=session.id,
        title=session.title,
        events=session.event_count,
        own_events=sum(events for events, _ in own),
        bytes=sum(size for _, size in own),
        shared=sum(size for _, size in shared),
        source=session.source,
        directory=session.directory,
        git_root=session.git_root,
        git_common_dir=rows.text(row["git_common_dir"]),
        created_at=session.created_at,
    )
