"""Messages in pieces: the one rule of which events are one message.

A message that took long to say is stored in pieces, so that little of it is ever lost. The pieces
have the same `message`, and nothing stands between them.
"""

from typing import Any

from segue.model.records import StoredEvent

IN_PIECES = frozenset({"text", "thinking"})
"""The types of events that may be pieces of a message."""


def continues_message(before: StoredEvent, event: StoredEvent) -> bool:
    """Return whether *event* is a further piece of the message of *before*, the event before it."""
    if before.type != event.type or event.type not in IN_PIECES:
        return False
    message = _message(before.data)
    return message is not None and message == _message(event.data)


def _message(data: Any) -> Any:
    """Return the `message` of data with text, None if there is none."""
    is_text = isinstance(data, dict) and isinstance(data.get("content"), str)
    return data.get("message") if is_text else None
