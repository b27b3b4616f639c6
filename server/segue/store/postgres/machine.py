"""Places: equal paths of two machines are two, and a repository is one on all of them."""

from segue.model.records import Machine
from segue.store.postgres import codec
from segue.store.postgres.codec import Parameter


def place(machine: Machine, path: str | None) -> Parameter:
    """Return the key of a path of a machine."""
    return codec.binary(None if path is None else codec.place_key(machine.id, path))


def places(machine: Machine, *paths: str | None) -> list[Parameter]:
    """Return the keys of paths of a machine."""
    return [place(machine, path) for path in paths]


def repository(name: str | None) -> Parameter:
    """Return the key of a repository."""
    return codec.binary(None if name is None else codec.repository_key(name))
