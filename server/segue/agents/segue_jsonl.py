"""Segue's own JSON lines, which `segue export --format jsonl` writes.

An import into an empty store gives the session as it was: ids, times, invocations, title, and who
spoke. The ids make twice once, on whichever machine. A fork comes in as a session of its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from segue.agents.files import open_file
from segue.agents.jsonl import JsonLines
from segue.agents.transcript import BrokenPart, Folder, Item, Places, Transcript, milliseconds
from segue.model.events import Event
from segue.model.imports import ImportedEvent
from segue.model.records import Invocation, Session, Timestamp, now
from segue.model.repository import MAX_NAME
from segue.model.validation import InvalidInputError, Line, StringLength

NAME = "segue"
TITLE = "Segue"
RESUME = None

VERSION = 1
"""The latest version of the format that is understood."""

_NAME = StringLength(128)
_LINE = Line(200)
_PATH = StringLength(4_096)
_BEGIN = b'{"segue":'


def find(places: Places) -> Iterator[Path]:
    """Yield nothing: a person names the files."""
    return iter(())


def folders(places: Places) -> Iterator[Folder]:
    """Yield nothing, as `find` does."""
    return iter(())


def accepts(path: Path) -> bool:
    """Return whether the file *path* begins as an export does."""
    try:
        fd, _ = open_file(path)
        with open(fd, "rb") as file:
            return file.read(len(_BEGIN) + 3).removeprefix(b"\xef\xbb\xbf").startswith(_BEGIN)
    except OSError:
        return False


def folder_of(path: Path) -> Path:
    """Return the folder of a file: any may have it."""
    return path.parent


def read(path: Path, states: Mapping[str, Any]) -> Iterator[Transcript]:
    """Yield the sessions of a file, always from its beginning; exports may follow each other."""
    with JsonLines(str(path), None) as lines:
        records = lines.records()
        header: Mapping[str, Any] | None = next(records, None)
        while header is not None:
            reader = _Reader(lines, records, str(path), header)
            yield reader.transcript
            header = reader.next_header
            lines.broken = []


class _Reader:
    """The lines of one session: `transcript`, and when its items were read, the next header."""

    def __init__(
        self,
        lines: JsonLines,
        records: Iterator[dict[str, Any]],
        path: str,
        header: Mapping[str, Any],
    ) -> None:
        self.next_header: Mapping[str, Any] | None = None
        self._lines = lines
        self._records = records
        self._invocations: dict[str, Invocation] = {}
        self._last_time = Timestamp(0)
        self.transcript = Transcript(id="", path=path)
        try:
            session = _session(header)
        except ValueError as error:
            lines.broken.append(BrokenPart(f"line {lines.number}", str(error)))
            self.transcript.broken = lines.broken
            return
        self._last_time = session.created_at
        self.transcript.id = session.id
        self.transcript.session = session
        self.transcript.directory = session.directory
        self.transcript.items = self._items()

    def _items(self) -> Iterator[Item]:
        self.transcript.broken = self._lines.broken
        for record in self._records:
            if "segue" in record:
                self.next_header = record
                return
            if isinstance(given := record.get("invocation"), dict):
                self._note(given)
            elif (item := self._event(record)) is not None:
                yield item

    def _note(self, given: Mapping[str, Any]) -> None:
        if (id := _checked(given.get("id"), _NAME)) is not None:
            self._invocations[id] = Invocation(
                id=id,
                client_name=_checked(given.get("clientName"), _LINE),
                client_version=_checked(given.get("clientVersion"), _LINE),
            )

    def _event(self, record: Mapping[str, Any]) -> Item | None:
        if record.get("corrupt") is True:
            self.transcript.skipped["corrupt event"] += 1
            return None
        id, type, data = record.get("id"), record.get("type"), record.get("data")
        if not isinstance(id, str) or not isinstance(type, str) or not isinstance(data, dict):
            self._lines.broken.append(BrokenPart(f"line {self._lines.number}", "not an event"))
            return None
        self._last_time = milliseconds(record.get("createdAt")) or self._last_time
        try:
            event = Event.new(type, data, id=id)
        except InvalidInputError:
            self.transcript.skipped[f"invalid {type[:40]}"] += 1
            return None
        item = ImportedEvent(event, self._last_time)
        invocation = _checked(record.get("invocationId"), _NAME)
        if invocation is None:
            return item
        known = self._invocations.setdefault(
            invocation, Invocation(id=invocation, client_name=None, client_version=None)
        )
        return attrs.evolve(item, invocation=known)


def _session(header: Mapping[str, Any]) -> Session:
    """Return the session of a first line; raise ValueError with the reason if it is none."""
    version, given = header.get("segue"), header.get("session")
    if type(version) is not int or not isinstance(given, dict):
        raise ValueError("not an export of Segue")
    if version > VERSION:
        raise ValueError("exported by a later version of Segue")
    id = _checked(given.get("sessionId"), _NAME)
    directory = _checked(given.get("directory"), _PATH)
    if id is None or directory is None:
        raise ValueError("a session without an id or a directory")
    present = now()
    created_at = min(milliseconds(given.get("createdAt")) or present, present)
    updated_at = min(milliseconds(given.get("updatedAt")) or created_at, present)
    archived_at = milliseconds(given.get("archivedAt"))
    return Session(
        id=id,
        title=_checked(given.get("title"), _LINE),
        directory=directory,
        git_root=_checked(given.get("gitRoot"), _PATH),
        server_session_id=_checked(given.get("serverSessionId"), StringLength(1_024)),
        head=None,
        event_count=0,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=None if archived_at is None else min(archived_at, present),
        source=_checked(given.get("source"), _LINE),
        client=_checked(given.get("client"), _LINE),
        agent=_checked(given.get("agent"), _LINE),
        model=_checked(given.get("model"), _LINE),
        branch=_checked(given.get("branch"), _LINE),
        repository=_checked(given.get("repository"), Line(MAX_NAME)),
    )


def _checked(value: object, rule: StringLength) -> str | None:
    """Return *value* if it is a string that *rule* allows, else None."""
    try:
        return rule.check(value)
    except (TypeError, ValueError):
        return None
