"""One conversation of a client with an agent: its ids, and what is recorded of it."""

import attrs

from segue.acp.recording import Recorder
from segue.model.records import Origin, Session
from segue.model.workspace import Workspace


@attrs.define(kw_only=True)
class Conversation:
    """A session of ACP, as the client, the agent and the store call it."""

    client_id: str
    """What the client calls it."""
    agent_id: str
    """What the agent calls it: the same, unless the agent did not begin it under that id."""
    session_id: str
    """What the store calls it: the client's id, or a fork of that session."""
    family: str
    """The family of its agent: see `capabilities`."""
    workspace: Workspace
    origin: Origin
    recorder: Recorder = attrs.field(factory=Recorder)
    is_open: bool = False
    """Whether the store has been told that the session is open here."""
    invocation_id: str | None = None
    """This opening of the session, once it is open."""
    may_be_stored: bool = False
    """Whether the store, which could not be read, may have the session already."""
    is_muted: bool = False
    """Whether what is said now is not recorded: it may be stored already, or was deleted."""
    preamble: str | None = None
    """What the agent is to be given with the next prompt, since it does not have it."""
    given_preamble: str | None = None
    """What it was given with the prompt that is not answered yet."""
    given: tuple[int, int] = (0, 0)
    """How many exchanges of how many the preamble has."""
    commands: list[object] = attrs.field(factory=list)
    """The slash commands that the agent offers."""
    has_title: bool = False
    """Whether it had a title when it was opened here, which may be the person's."""
    listed: list[Session] = attrs.field(factory=list)
    """What `/segue` has listed last, in its order."""
    agent_title: str | None = None
    """The title that the agent gave it last."""

    def mark_open(self, session_id: str, invocation_id: str) -> None:
        """Note that the store has opened this session for it."""
        self.session_id, self.invocation_id, self.is_open = session_id, invocation_id, True

    @property
    def is_renamed(self) -> bool:
        """Whether client and agent have different ids for it."""
        return self.client_id != self.agent_id
