"""The records of imports, which a window never makes."""

import attrs

from segue.model.events import Event
from segue.model.records import Invocation, Timestamp


@attrs.frozen
class ImportedEvent:
    """An event of another program's conversation, with the time that it has there."""

    event: Event
    created_at: Timestamp
    prompt_id: str | None = None
    """The id that the program's hooks give the prompt which this user message records, if any."""
    invocation: Invocation | None = None
    """The invocation that wrote it, if Segue recorded it; None: the import."""


@attrs.frozen(kw_only=True)
class ImportResult:
    """What an import of some events did.

    `session_id` is the session that has them, another one than was named if they did not continue
    that: a fork, which is either known or `made_fork`. `is_deleted` if it was deleted here, and
    nothing was stored.
    """

    session_id: str
    added: int = 0
    made_fork: bool = False
    is_deleted: bool = False
