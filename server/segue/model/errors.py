"""The errors of sessions and stores. An error's class name is its `kind` on the wire."""

from typing import Any


class SegueError(Exception):
    """The base class of the errors of sessions and stores."""

    @property
    def kind(self) -> str:
        """The error's name, for programs."""
        return type(self).__name__

    def details(self) -> dict[str, Any]:
        """Return what a client needs to handle the error: the rest of `data` on the wire."""
        return {}


class SessionError(SegueError):
    """An error that concerns one session; `session_id` is its id."""

    message = ""

    def __init__(self, session_id: str) -> None:
        super().__init__(self.message.format(session_id))
        self.session_id = session_id


class SessionNotFound(SessionError):
    """No session has this id."""

    message = "No session has the id {}."


class SessionNotOpen(SessionError):
    """The session is not open in this window."""

    message = "Session {} is not open in this window. Open it first."


class SessionReadOnly(SegueError):
    """The session is another user's, who lets this one read it; `shared_by` is that user."""

    def __init__(self, session_id: str, shared_by: str) -> None:
        super().__init__(
            f"Session {session_id} is {shared_by}'s, who shares it with you to read. "
            "Fork it, and go on in the fork."
        )
        self.session_id = session_id
        self.shared_by = shared_by

    def details(self) -> dict[str, Any]:
        """Return whose session it is."""
        return {"shared_by": self.shared_by}


class NothingToResume(SegueError):
    """No session fits this workspace and age."""


class HeadMoved(SegueError):
    """Another window appended first; the store checks that in the transaction of the append.

    `head` and `event_count` are the session's current ones.
    """

    def __init__(self, head: str | None, event_count: int) -> None:
        super().__init__(
            "The session has grown in another window. "
            "Fork it at the last event that you have seen, and append to the fork."
        )
        self.head = head
        self.event_count = event_count

    def details(self) -> dict[str, Any]:
        """Return the current head and event count."""
        return {"head": self.head, "event_count": self.event_count}


class EventConflict(SegueError):
    """An event with this id and another content is stored already."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} is stored already, with another type or other data.")
        self.event_id = event_id

    def details(self) -> dict[str, Any]:
        """Return the id of the event that differs."""
        return {"event_id": self.event_id}


class EventNotFound(SegueError):
    """The session has no event with this id."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"The session has no event with the id {event_id}.")
        self.event_id = event_id

    def details(self) -> dict[str, Any]:
        """Return the id of the event."""
        return {"event_id": self.event_id}


class StorageError(SegueError):
    """The store failed. Nothing was done in part, and every acknowledged event is kept."""


class StorageFull(StorageError):
    """The disk, or a quota, is full."""


class StorageReadOnly(StorageError):
    """The store can be read but not written."""


class StorageCorrupt(StorageError):
    """The store is damaged, or is not a database at all."""


class StorageUnavailable(StorageError):
    """The store cannot be used: not now, not by this version, or because it is not Segue's."""
