"""Which of the events that are imported are new, and whether the past has changed before them."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from segue.model.imports import ImportedEvent
from segue.model.records import Invocation
from segue.model.replicas import fork_id
from segue.store.rules.prompts import PromptFacts, Prompts, is_prompt

INVOCATION = "import"
"""The id of the invocation that wrote what was imported."""

IMPORTED = Invocation(id=INVOCATION, client_name=None, client_version=None)
"""That invocation, where it is not known which program the events were imported from."""

STATE = "import"
"""The key of the metadata that holds the state of an import."""


class SessionFacts(PromptFacts, Protocol):
    """What an import has to know of a session."""

    @property
    def id(self) -> str:
        """The session's id."""

    @property
    def fork_seq(self) -> int:
        """How many of its first events it shares."""

    def find_seq(self, event_id: str) -> int | None:
        """Return the seq of an event, its own or shared; None if it has none."""

    def last_imported(self) -> str | None:
        """Return the id of its last own event that INVOCATION wrote."""

    def has_others(self, seq: int, *, any_imported: bool) -> bool:
        """Return whether its own events after *seq* are not just prompts that INVOCATION wrote.

        With *any_imported*, whether they are not just events that INVOCATION wrote.
        """


@attrs.frozen
class Change:
    """The past has changed after the event *at*: a fork, whose id is always the same, goes on.

    It is continued by the events from the index *first* on.
    """

    at: str
    fork_id: str
    first: int


def new_events(facts: SessionFacts, events: Sequence[ImportedEvent]) -> list[ImportedEvent]:
    """Return those of *events* that are not stored."""
    return [each for each in events if facts.find_seq(each.event.id) is None]


def distinct(events: Sequence[ImportedEvent]) -> list[ImportedEvent]:
    """Return *events*, each id once."""
    return list({each.event.id: each for each in events}.values())


def find_change(
    facts: SessionFacts,
    ahead: Prompts,
    events: Sequence[ImportedEvent],
    new: Sequence[ImportedEvent],
    after: str | None,
) -> Change | None:
    """Return where the past has changed, if the *new* ones of *events* do not continue a session.

    *after* is what `import_session` was given; *ahead* knows the prompts of the session that was
    named, of which this one may be a fork.
    """
    # Prompts that were stored ahead are passed over: others may have been stored behind them.
    first = events.index(new[0])
    while first and is_prompt(events[first - 1].event.id):
        first -= 1
    previous: str | None
    if first:
        previous = events[first - 1].event.id
    elif after is None and is_prompt(events[0].event.id):
        previous = facts.last_imported()
    else:
        previous = ahead.stored_id(after)
    if previous is None or not _is_past_changed(facts, previous):
        return None
    return Change(previous, fork_id(facts.id, previous, new[0].event.id), first)


def is_continued(facts: SessionFacts, at: str) -> bool:
    """Return whether the session has events after *at* that were not imported."""
    return facts.has_others(facts.find_seq(at) or 0, any_imported=True)


def _is_past_changed(facts: SessionFacts, previous: str) -> bool:
    """Return whether something else than prompts follows *previous* here, if it is stored."""
    seq = facts.find_seq(previous)
    if seq is None:
        return False
    return seq < facts.fork_seq or facts.has_others(seq, any_imported=is_prompt(previous))
