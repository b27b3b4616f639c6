"""A new session as it is stored."""

from segue.model.records import Machine, NewSession
from segue.store.postgres import codec
from segue.store.postgres.codec import Parameter
from segue.store.postgres.machine import places, repository


def new_session(new: NewSession, machine: Machine) -> tuple[Parameter, ...]:
    """Return the fields of the type `new_session`, in its order; *machine* is this one."""
    machine = new.machine or machine
    return (
        codec.id(new.id),
        codec.text(new.directory),
        codec.text(new.git_root),
        codec.text(new.git_common_dir),
        codec.text(new.repository),
        codec.text(new.worktree),
        codec.text(machine.name),
        codec.id(machine.id),
        *places(machine, new.directory, new.git_root, new.git_common_dir),
        repository(new.repository),
        codec.text(new.server_session_id),
        codec.text(new.given_title),
        codec.text(new.source),
        codec.int8(new.created_at),
        codec.int8(new.updated_at),
        codec.int8(new.archived_at),
    )
