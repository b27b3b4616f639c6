"""The errors of sessions and stores. An error's class name is its `kind` on the wire."""

from typing import Any


class SegueError(Exception):
    """The root of everything that can go wrong between a session and its store."""

    @property
    def kind(self) -> str:
        """The error's name, for programs."""
        return type(self).__name__

    def details(self) -> dict[str, Any]:
        """Return what a program needs to go on."""
        return {}


class SessionError(SegueError):
    """Something about one session, which *session_id* names."""

    message = ""

    def __init__(self, session_id: str) -> None:
        super().__init__(self.message.format(session_id))
        self.session_id = session_id


class SessionNotFound(SessionError):
    """No session has this id."""

    message = "No session has the id {}."


class SessionArchived(SessionError):
    """The session is archived; it takes no events until it is unarchived."""

    message = "Session {} is archived. Unarchive it, or open a new one."


class SessionNotOpen(SessionError):
    """The session is not open in this window."""

    message = "Session {} is not open in this window. Open it first."


class NothingToResume(SegueError):
    """No session fits this workspace and age."""


class HeadMoved(SegueError):
    """Another window appended first. `head` and `event_count` are the real ones."""

    def __init__(self, head: str | None, event_count: int) -> None:
        super().__init__(
            "The session has grown in another window. "
            "Read the events that you have not seen, then append to the new head."
        )
        self.head = head
        self.event_count = event_count

    def details(self) -> dict[str, Any]:
        """Return the real head and event count."""
        return {"head": self.head, "event_count": self.event_count}


class EventConflict(SegueError):
    """An event with this id and another content is stored already."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event {event_id} is stored already, with another type or other data.")
        self.event_id = event_id

    def details(self) -> dict[str, Any]:
        """Return the id of the event that differs."""
        return {"event_id": self.event_id}


class StorageError(SegueError):
    """The store failed. Nothing was half done, and what was acknowledged before is kept."""


class StorageFull(StorageError):
    """The disk, or a quota, is full."""


class StorageReadOnly(StorageError):
    """The store may be read but not written."""


class StorageCorrupt(StorageError):
    """The store is damaged, or is no Segue database."""


class StorageUnavailable(StorageError):
    """The store cannot be reached now, or is not for this version."""
