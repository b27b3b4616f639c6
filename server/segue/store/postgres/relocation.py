"""Checkouts that were moved: their sessions get new places."""

import os

from segue.model.records import Machine
from segue.store.postgres import codec, rows
from segue.store.postgres.wire import Connection

_BELOW = "SELECT * FROM segue_1.places_below($1, $2, $3, $4, $5)"
_MOVE = "SELECT segue_1.move_sessions($1, $2, $3, $4, $5, $6, $7, $8)"


PART = 2_000
"""How many sessions are moved at once: the server ends what takes long."""


async def move_part(
    connection: Connection, account: int, machine: Machine, old_root: str, new_root: str
) -> int:
    """Give PART sessions of *old_root*, and of the folders below it, their new places.

    Returns of how many: none are left if it is none. The keys of places are made here: so they are
    read first, and locked until they are stored.
    """
    below = os.path.join(old_root, "")

    def moved(stored: str | None) -> str | None:
        path = rows.text(stored)
        if path is None or not (path == old_root or path.startswith(below)):
            return path
        return new_root + path[len(old_root) :]

    def keys(paths: list[str | None]) -> codec.Parameter:
        made = [None if each is None else codec.place_key(machine.id, each) for each in paths]
        return codec.optional_binaries(made)

    await connection.call("BEGIN")
    folder = (codec.text(old_root), codec.text(below), codec.int4(PART))
    found = await connection.call(_BELOW, codec.int8(account), codec.id(machine.id), *folder)
    if found:
        numbers = [number for number, *_ in found]
        columns = [[moved(row[column]) for row in found] for column in (1, 2, 3)]
        await connection.call(
            _MOVE,
            codec.int8(account),
            codec.int8s(numbers),
            *map(codec.texts, columns),
            *map(keys, columns),
        )
    await connection.call("COMMIT")
    return len(found)
