"""Checkouts that were moved: where a repository's sessions were had, and their new places."""

import os
from typing import Any

from segue.store.sqlite import queries
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.row_values import Row, validated

MAX_CHECKOUTS = 20
"""Of one repository on one machine: no more are looked at."""

# Each is a seek in the index: it costs nothing that a checkout has many sessions.
_NEXT_ROOT = """
SELECT min(git_root) FROM sessions INDEXED BY sessions_by_repository
WHERE repository = ? AND machine_id IS NULL AND worktree IS NULL AND git_root > ?
"""

_NEWEST = f"""
SELECT {queries.SESSION_COLUMNS} FROM session_records WHERE number = (
    SELECT number FROM sessions INDEXED BY resumable_by_git_root
    WHERE git_root = ? AND archived_at IS NULL AND model_visible = 1
    ORDER BY updated_at DESC, number DESC LIMIT 1
)
"""  # noqa: S608  names of columns

_PLACES = ("directory", "git_root", "git_common_dir")

_NEW_PLACES = ", ".join(
    f"{name} = CASE WHEN {name} = :old OR {name} >= :first AND {name} < :end "
    f"THEN :new || substr({name}, length(:old) + 1) ELSE {name} END"
    for name in _PLACES
)

# The git root of a session is at or above its directory, but the common directory of a linked
# worktree is elsewhere.
_MOVE = f"""
UPDATE sessions SET {_NEW_PLACES}
WHERE number IN (
    SELECT number FROM sessions INDEXED BY sessions_by_directory WHERE directory = :old
    UNION SELECT number FROM sessions INDEXED BY sessions_by_directory
    WHERE directory >= :first AND directory < :end
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir = :old
    UNION SELECT number FROM sessions INDEXED BY sessions_by_git_common_dir
    WHERE git_common_dir >= :first AND git_common_dir < :end
)
"""  # noqa: S608  names of columns


def find_checkouts(db: Connection, repository: str) -> list[Row]:
    """Return the row of the newest session of each main worktree of *repository*, newest first."""
    rows: list[Any] = []
    (root,) = db.execute(_NEXT_ROOT, (repository, "")).fetchone()
    for _ in range(MAX_CHECKOUTS):
        if root is None:
            break
        rows += map(validated, db.execute(_NEWEST, (root,)))
        (root,) = db.execute(_NEXT_ROOT, (repository, root)).fetchone()
    return sorted(rows, key=lambda row: (row["updated_at"], row["number"]), reverse=True)


def move_sessions(db: Connection, old_root: str, new_root: str) -> int:
    """Give the sessions of *old_root*, and of the folders below it, their new places."""
    below = f"{old_root}{os.sep}"
    values = {
        "old": old_root,
        "new": new_root,
        "first": below,
        "end": below[:-1] + chr(ord(os.sep) + 1),
    }
    return db.execute(_MOVE, values).rowcount
