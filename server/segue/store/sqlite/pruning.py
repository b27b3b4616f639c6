"""Which sessions are old enough to be pruned."""

from collections.abc import Sequence

import attrs

from segue.store.sqlite import driver
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.queries import SESSION_COLUMNS
from segue.store.sqlite.row_values import Row, coerced

_IS_DUE = """
coalesce(archived_at, CASE WHEN :live THEN updated_at END) <= :until
"""

_DUE = f"""
SELECT {SESSION_COLUMNS} FROM session_records WHERE {_IS_DUE} ORDER BY updated_at, number
"""  # noqa: S608  names of columns

_STILL_DUE = f"SELECT 1 FROM session_records WHERE id = :id AND {_IS_DUE}"  # noqa: S608  a constant

_LEFT = """
SELECT
    count(*) FILTER (WHERE archived_at IS NULL AND updated_at <= :until) AS live,
    count(*) FILTER (WHERE archived_at IS NULL AND updated_at > :until) AS used,
    count(*) FILTER (WHERE archived_at > :until) AS recent
FROM session_records
"""


@attrs.frozen
class Due:
    """The sessions that are old enough, and how many others there are of which kind."""

    rows: Sequence[Row]
    live: int
    used: int
    recent: int


def find_due(db: Connection, until: int, *, live: bool) -> Due:
    """Return the sessions that were archived, or with *live* also updated, not later than *until*.

    The least recently updated first.
    """
    with driver.read_snapshot(db):
        rows = [coerced(row) for row in db.execute(_DUE, {"until": until, "live": live})]
        left = db.execute(_LEFT, {"until": until}).fetchone()
    not_archived = 0 if live else left["live"]
    return Due(rows, live=not_archived, used=left["used"], recent=left["recent"])


def is_due(db: Connection, session_id: str, until: int, *, live: bool) -> bool:
    """Return whether `find_due` would return the session."""
    values = {"id": session_id, "until": until, "live": live}
    return db.execute(_STILL_DUE, values).fetchone() is not None
