"""The command that goes on with an imported conversation in the program that it was had in."""

import re
from types import ModuleType

from segue import agents
from segue.agents.families import family_of
from segue.model.records import AGENTS, ResumeCommand, Session
from segue.sessions.lineage import own_id_of
from segue.store.service import SessionService

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


async def resume_command(service: SessionService, session_id: str) -> ResumeCommand:
    """Return the command for a session; without one if it goes on only in an editor.

    So does one of another machine or user. Of one that `segue acp` has recorded, that is the
    command of the agent that answered last. Raises SessionNotFound.
    """
    session = await service.get_session(session_id)
    if session.source is None:
        source, own_id = await _agent_of(service, session)
    else:
        source, own_id = agents.find(session.source), await own_id_of(service, session)
    is_here = session.machine is None and session.shared_by is None
    is_safe = _SAFE.fullmatch(own_id or "") is not None  # it stood in a file of somebody's
    command = None
    if source is not None and source.RESUME is not None and is_safe and is_here:
        command = [part.format(id=own_id) for part in source.RESUME]
    return ResumeCommand(
        command=command,
        directory=session.directory,
        program=None if source is None else source.TITLE,
    )


async def _agent_of(
    service: SessionService, session: Session
) -> tuple[ModuleType | None, str | None]:
    """Return the source of the agent that answered last behind the proxy, and its id."""
    families = await service.get_metadata(session.id, AGENTS)
    if not isinstance(families, dict) or not families:
        return None, None
    family, value = next(reversed(families.items()))
    sources = (agents.load(name) for name in agents.SOURCES)
    source = next((each for each in sources if family_of(each.NAME) == family), None)
    own_id = value.get("id") if isinstance(value, dict) else None
    return source, own_id if isinstance(own_id, str) else None
