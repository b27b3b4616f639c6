"""The sessions that a fork goes back to."""

from segue.model.records import Session
from segue.store.service import SessionService


async def lineage(service: SessionService, session: Session) -> list[Session]:
    """Return a session, the one that it is a fork of, and so on to the original."""
    found = [session]
    while (id := found[-1].forked_from) is not None:
        found.append(await service.get_session(id))
    return found


async def own_id_of(service: SessionService, session: Session) -> str | None:
    """Return what its program calls a conversation that was imported: a fork here is none there.

    None if it cannot be known: the original of the fork was deleted.
    """
    original = (await lineage(service, session))[-1]
    is_known_there = original.fork_seq is None
    return (original.server_session_id or original.id) if is_known_there else None
