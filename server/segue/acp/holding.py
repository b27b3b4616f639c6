"""What an agent has of a session: it is given only what it lacks.

It is kept in the metadata of the session, by families of agents, and written once for each opening.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from segue import agents
from segue.acp.conversation import Conversation
from segue.agents.families import family_of, sessions_of
from segue.model.errors import SessionReadOnly
from segue.model.records import AGENTS, MAX_PAGE, EventPage, Session, StoredEvent
from segue.sessions.pages import event_pages
from segue.sessions.window import Window

_MAX_INVOCATIONS = 200
_MAX_FORMER = 50

_ANSWERS = ("text", "thinking", "tool_call")
_NOT_FINISHED = ("cancelled", "error", "refusal")


@attrs.frozen(kw_only=True)
class Holding:
    """What a family of agents has of a session, and under which id."""

    id: str
    """What the agent calls it."""
    invocations: Sequence[str] = ()
    """The openings in which the agent answered: it has what was said there."""
    since: int = 0
    """Behind which event its own conversation begins; what is before it was given as text."""
    importer: str | None = None
    """The name of the client that has imported the session from the agent's own files."""

    def invocations_in(self, page: EventPage) -> set[str]:
        """Return the openings of which the agent has what *page* has of them."""
        imported = {
            each.id
            for each in page.invocations
            if self.importer is not None and each.client_name == self.importer
        }
        return {*self.invocations, *imported}


async def holding_of(window: Window, session: Session, family: str) -> Holding | None:
    """Return what the agents of *family* have of *session*, None if they never had it."""
    importer = None
    if session.shared_by is not None:
        return None
    if session.source is not None and family_of(session.source) == family:
        source = agents.find(session.source)
        importer = None if source is None else source.TITLE
    families = await window.get_metadata(session.id, AGENTS)
    match families.get(family) if isinstance(families, dict) else None:
        case {"id": str(id), "invocations": list(invocations), "since": int(since)}:
            return Holding(id=id, invocations=invocations, since=since, importer=importer)
    if importer is not None:
        return Holding(id=session.server_session_id or session.id, importer=importer)
    return None


async def sessions_by_agents_ids(window: Window, family: str) -> dict[str, str]:
    """Return the sessions that agents of *family* have, by what they call them."""
    found = sessions_of(family, await window.find_metadata(AGENTS))
    return {id: session_id for id, (session_id, _) in found.items()}


async def remember(window: Window, conversation: Conversation, held: Holding | None = None) -> None:
    """Store what the agent has of the session, this opening included. None: all of it."""
    held = held or Holding(id=conversation.agent_id)
    invocations = [*held.invocations, conversation.invocation_id][-_MAX_INVOCATIONS:]
    families: Any = await window.get_metadata(conversation.session_id, AGENTS)
    known = families if isinstance(families, dict) else {}
    others = {name: each for name, each in known.items() if name != conversation.family}
    value: dict[str, Any] = {"id": held.id, "invocations": invocations, "since": held.since}
    if former := _former(known.get(conversation.family), held.id):
        value["former"] = former
    # The agent that answers now stands last.
    mine = {conversation.family: value}
    with contextlib.suppress(SessionReadOnly):  # it is remembered of the fork, once there is one
        await window.set_metadata(conversation.session_id, AGENTS, others | mine)


def _former(before: Any, id: str) -> list[Any]:
    """Return what the agent had of the session under other ids, of which its files tell."""
    match before:
        case {"id": str(old), "invocations": list(invocations), **more}:
            former = more.get("former")
            earlier = former if isinstance(former, list) else []
            last = [] if old == id else [{"id": old, "invocations": invocations}]
            return [*earlier, *last][-_MAX_FORMER:]
        case _:
            return []


@attrs.define
class Answered:
    """Counts the messages of the user that an agent has answered.

    Those are what it has to have. Others it may have dropped, or joined with the next message, as
    after a cancelled turn; what it was told as its own command, `/status`, it need not have either.
    """

    count: int = 0
    _is_asked: bool = False
    _is_answered: bool = False

    def add(self, type: str, data: Any, *, is_recorded: bool = False) -> None:
        """Take the next event; those that were recorded tell how a turn has ended."""
        fields: Mapping[str, Any] = data if isinstance(data, dict) else {}
        if type == "user_message":
            self._is_asked = not str(fields.get("content")).lstrip().startswith("/")
            self._is_answered = False
        elif type in _ANSWERS and self._is_asked:
            self._is_asked = False
            self._is_answered = is_recorded
            self.count += not is_recorded
        elif type == "turn_end" and self._is_answered:
            self._is_answered = False
            self.count += fields.get("stop_reason") not in _NOT_FINISHED


async def turns_held(window: Window, session_id: str, held: Holding) -> int:
    """Return how many answered messages the agent should have in its own conversation."""
    answered = Answered()
    async for page in event_pages(window.events, session_id, held.since):
        theirs = held.invocations_in(page)
        for event in page.events:
            if event.invocation_id in theirs:
                is_recorded = event.invocation_id in held.invocations
                answered.add(event.type, event.data, is_recorded=is_recorded)
    return answered.count


def _stop_reason(event: StoredEvent) -> object:
    """Return how a turn ended, None of an event that tells of no such end."""
    is_end = event.type == "turn_end" and isinstance(event.data, dict)
    return event.data.get("stop_reason") if is_end else None


async def last_held(window: Window, session_id: str, held: Holding) -> int:
    """Return the seq of the last event of a session that the agent has; 0 if it has none.

    It has none if all of its turns have failed without an answer.
    """
    before: int | None = None
    last: int | None = None
    is_failed = False
    while True:
        page = await window.events(session_id, after=None, before=before, limit=MAX_PAGE)
        theirs = held.invocations_in(page)
        for event in reversed(page.events):
            if event.invocation_id not in theirs or event.type == "system_context":
                continue
            last = last or event.seq
            if is_failed and event.type == "user_message":
                is_failed = False
            elif not is_failed and _stop_reason(event) == "error":
                is_failed = True
            else:
                return last
        if not page.has_more or not page.events:
            return 0
        before = page.events[0].seq
