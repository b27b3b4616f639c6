"""How many bytes the events of sessions have: what goes with one, and what several share."""

from collections import defaultdict
from collections.abc import Set

from segue.model.store_reports import SessionSize, SizeReport
from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import coerced
from segue.store.sqlite.schema import MAX_SEQ, tables, version_of

_SIZE = "SELECT count(*), total(length(data)) FROM events WHERE key > ? AND key <= ?"

_STRANDS = """
SELECT strand, spans.key & 4294967295 AS last, is_stub FROM spans
JOIN sessions ON sessions.number = strand
WHERE spans.key > ? AND spans.key <= ?
"""

_USERS_OF = """
SELECT session, spans.key & 4294967295 AS last FROM spans
JOIN sessions ON sessions.number = session
WHERE strand = ? AND is_stub = 0
"""

_USERS = """
SELECT strand, session, spans.key & 4294967295 AS last FROM spans
JOIN sessions ON sessions.number = session
WHERE is_stub = 0 ORDER BY session
"""


def own_size(db: Connection, number: int, deleted: Set[int] = frozenset()) -> int:
    """Return how many bytes of JSON the events have that are deleted with a session.

    As if the sessions with the numbers *deleted* were deleted before.
    """

    def last_of_others(strand: int) -> int:
        users = db.execute(_USERS_OF, (strand,)).fetchall()
        lasts = [last for user, last in users if user != number and user not in deleted]
        return max(lasts, default=0)

    _, size = _size(db, number, last_of_others(number), MAX_SEQ)
    first = number << 32
    for strand, last, is_stub in db.execute(_STRANDS, (first, first + MAX_SEQ)).fetchall():
        if is_stub or strand in deleted:
            size += _size(db, strand, last_of_others(strand), last)[1]
    return size


def all_sizes(db: Connection) -> SizeReport:
    """Return the sizes of all sessions, in one snapshot."""
    with driver.read_snapshot(db):
        users: dict[int, dict[int, int]] = defaultdict(dict)
        if "spans" in tables(version_of(db)):
            for strand, session, last in db.execute(_USERS):
                users[strand][session] = last
        rows = [coerced(row) for row in db.execute("SELECT * FROM session_records")]
        own = {row["number"]: _size(db, row["number"], 0, MAX_SEQ) for row in rows}
        shared = dict.fromkeys(own, 0)
        for strand, lasts in users.items():
            if strand in own:
                shared[strand] += _size(db, strand, 0, max(lasts.values()))[1]
            else:
                _add_common(db, strand, lasts, own, shared)
        pages, free, page_size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    sizes = [
        SessionSize(
            id=row["id"],
            title=row["title"],
            events=row["event_count"],
            own_events=own[row["number"]][0],
            bytes=own[row["number"]][1],
            shared=shared[row["number"]],
            source=row.get("source"),
            directory=row["directory"],
            git_root=row["git_root"],
            git_common_dir=row["git_common_dir"],
            created_at=row["created_at"],
        )
        for row in rows
    ]
    sizes.sort(key=lambda size: (-size.bytes, size.id))
    return SizeReport(sessions=sizes, file_bytes=pages * page_size, free_bytes=free * page_size)


def _add_common(
    db: Connection,
    strand: int,
    lasts: dict[int, int],
    own: dict[int, tuple[int, int]],
    shared: dict[int, int],
) -> None:
    """Add the events of a deleted session to the oldest of the forks that have them."""
    begin = 0
    second = sorted(lasts.values())[-2:][0] if len(lasts) > 1 else 0
    for session, last in lasts.items():
        if last > begin:
            events, size = _size(db, strand, begin, last)
            own[session] = own[session][0] + events, own[session][1] + size
            shared[session] += _size(db, strand, begin, min(last, second))[1]
            begin = last


def _size(db: Connection, number: int, after: int, last: int) -> tuple[int, int]:
    """Return how many events a session has with a seq in that range, and the bytes of their JSON.

    Those that it wrote itself: what a fork has of others is counted there.
    """
    first = number << 32
    count, size = db.execute(_SIZE, (first + after, first + last)).fetchone()
    return count, int(size)
