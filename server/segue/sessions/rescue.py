"""Finds conversations that Segue has and the program that they were imported from has lost.

A file that is gone was deleted only if its program's folder is there and has the conversation under
no other name: it may have been moved, and a home folder may not be mounted. A file that is there
has lost something if events that were imported from it are not read from it any more.
"""

import collections
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attrs

from segue.agents import load_writer
from segue.agents.jsonl import JsonLines
from segue.agents.transcript import Places, Transcript, session_id
from segue.agents.writable import Writable, Written
from segue.model.imports import ImportedEvent
from segue.model.records import PROMPT, PROMPT_RECORDS, Session, StoredEvent
from segue.sessions.lineage import lineage, own_id_of
from segue.sessions.pages import event_pages
from segue.store.service import SessionService


@attrs.frozen(kw_only=True)
class LostSession:
    """A session whose program does not have all of it any more."""

    session: Session
    path: Path
    """Where its program had it, or looks for it now if that can be written."""
    why: str
    refusal: str | None
    """Why it is not written back, None if it can be: a sentence without its end."""


@attrs.define
class Losses:
    """What was found out about the sessions of one source."""

    source: ModuleType
    lost: list[LostSession] = attrs.field(factory=list)
    kept: dict[str, Path] = attrs.field(factory=dict)
    """Where those are that the program still has, by their ids."""
    missing_folders: "collections.Counter[Path]" = attrs.field(factory=collections.Counter)
    """How many sessions were in a folder of the program that is not here."""
    unreadable: dict[str, str] = attrs.field(factory=dict)
    """Why a file could not be read."""


async def find_losses(
    service: SessionService, source: ModuleType, places: Places, only: str | None = None
) -> Losses:
    """Return which imported sessions of *source* it does not have any more, the newest first.

    What Segue has recorded itself is not looked at, even if some of it was imported. With *only*,
    no other session than this one is looked at, and it counts as lost if the folder that it was in
    is not here.
    """
    finder = _Finder(service, source, places, is_named=only is not None)
    states = await service.import_states(source.NAME, only)
    by_path: dict[str, dict[str, Any]] = {}
    for id, state in states.items():
        path = state.get("path") if isinstance(state, dict) else None
        if isinstance(path, str) and (await service.get_session(id)).source is not None:
            by_path.setdefault(path, {})[id] = state
    for path, its_states in by_path.items():
        await finder.look_at(Path(path), its_states)
    losses = finder.losses
    losses.lost.sort(key=lambda each: each.session.updated_at, reverse=True)
    return losses


class _Finder:
    def __init__(
        self, service: SessionService, source: ModuleType, places: Places, *, is_named: bool
    ) -> None:
        self.losses = Losses(source)
        self._is_named = is_named
        self._service = service
        self._source = source
        self._places = places
        self._found: Sequence[Path] | None = None

    async def look_at(self, path: Path, states: Mapping[str, Any]) -> None:
        """Note which of the sessions with these *states* are not in the file *path*."""
        try:
            match _seen_of(path):
                case "file":
                    await self._look_into(path, states)
                case "link":
                    for id in states:
                        await self._note(path, id, "a link to a file that is gone")
                case "nothing":
                    await self._look_around(path, states)
        except OSError as error:
            self.losses.unreadable[str(path)] = error.strerror or str(error)

    async def _look_into(self, path: Path, states: Mapping[str, Any]) -> None:
        if len(states) == 1 and _only_grew(path, next(iter(states.values()))):
            self.losses.kept[next(iter(states))] = path
        else:
            await self._compare(path, states)

    async def _look_around(self, path: Path, states: Mapping[str, Any]) -> None:
        folder = self._source.folder_of(path)
        is_here = folder.is_dir()
        if not is_here:
            self.losses.missing_folders[folder] += len(states)
        for id in states:
            if is_here:
                await self._note_deleted(path, id)
            elif self._is_named:
                await self._note(path, id, f"{folder} is not here")

    async def _note_deleted(self, path: Path, id: str) -> None:
        """Note a session whose file is gone, unless the program has it under another name."""
        session = await self._service.get_session(id)
        own_id = await own_id_of(self._service, session)
        if self._found is None:
            self._found = sorted(self._source.find(self._places))
        for found in self._found:
            if own_id is not None and own_id in str(found):
                self.losses.kept[id] = found
                return
        await self._note(path, id, "file deleted")

    async def _compare(self, path: Path, states: Mapping[str, Any]) -> None:
        """Note what was imported from a file and is not read from it any more."""
        unseen = dict(states)
        for transcript in self._source.read(path, states):
            id = transcript.id if transcript.is_unchanged else self._whose(transcript, unseen)
            if id is None or unseen.pop(id, None) is None:
                continue
            if transcript.is_unchanged:
                self.losses.kept[id] = path
                continue
            items = transcript.items
            read = {item.event.id for item in items if isinstance(item, ImportedEvent)}
            if transcript.after is None and (gone := await self._count_of_others(id, read)):
                await self._note(path, id, f"file changed: {gone:,} events are not in it")
            else:
                self.losses.kept[id] = path
        for id in unseen:
            await self._note(path, id, "not in the file any more")

    def _whose(self, transcript: Transcript, states: Mapping[str, Any]) -> str | None:
        """Return which session was imported from *transcript* when it had its state."""
        for id, state in states.items():
            own = state.get("session")
            if not isinstance(own, str):  # a file with one conversation
                return id
            if transcript.id in (id, state.get("original"), session_id(self._source.NAME, own)):
                return id
        return None

    async def _count_of_others(self, id: str, read: set[str]) -> int:
        """Return how many events were imported into a session that are not among those *read*."""
        count, title = 0, self._source.TITLE
        async for page in event_pages(self._service.load_events, id):
            imported = {each.id for each in page.invocations if each.client_name == title}
            count += sum(
                each.invocation_id in imported
                and each.id not in read
                and not each.id.startswith(PROMPT)
                for each in page.events
            )
        return count

    async def _note(self, path: Path, id: str, why: str) -> None:
        session = await self._service.get_session(id)
        if (writer := load_writer(self._source.NAME)) is not None:
            path = writer.target(self._places, path, session.directory)
        refusal = _refusal(self._source, writer, path)
        lost = LostSession(session=session, path=path, why=why, refusal=refusal)
        self.losses.lost.append(lost)


def _seen_of(path: Path) -> Literal["file", "link", "nothing"]:
    """Return what is at *path*: a link leads nowhere."""
    if path.exists():
        return "file"
    return "link" if os.path.lexists(path) else "nothing"


def _only_grew(path: Path, state: Mapping[str, Any]) -> bool:
    """Return whether a file of JSON lines still begins with what was read of it."""
    if "offset" not in state:
        return False
    with JsonLines(str(path), state) as lines:
        return lines.continues


def _refusal(source: ModuleType, writer: ModuleType | None, path: Path) -> str | None:
    if writer is None:
        return f"Segue cannot write what {source.TITLE} would go on with"
    if os.path.lexists(path):
        return f"{path} is there, and Segue changes no file of {source.TITLE}"
    if not (folder := source.folder_of(path)).is_dir():
        return f"there is no {folder}"
    refusal: str | None = writer.refusal(path)
    return refusal


async def convert(service: SessionService, source: ModuleType, lost: LostSession) -> Written:
    """Return a lost session in the format of its source.

    Raises ValueError if it has a `refusal`.
    """
    writer = load_writer(source.NAME)
    if writer is None or lost.refusal is not None:
        raise ValueError(lost.refusal)
    session = lost.session
    events: list[StoredEvent] = []
    version = None
    async for page in event_pages(service.load_events, session.id):
        events += page.events
        for each in page.invocations:
            if each.client_name == source.TITLE:
                version = each.client_version or version
    records: dict[str, str] = {}
    for ancestor in await lineage(service, session):
        known = await service.get_metadata(ancestor.id, PROMPT_RECORDS)
        if isinstance(known, dict):
            records |= {str(prompt): record for record, prompt in known.items()}
    conversation = Writable(
        path=lost.path,
        directory=session.directory,
        title=session.title,
        model=session.model,
        client_version=version,
        events=events,
        records=records,
    )
    converted: Written = writer.write(conversation)
    return converted


def check(source: ModuleType, path: Path, written: Written) -> None:
    """Raise OSError unless the file *path* has what was written, as *source* reads it."""
    items = [item for each in source.read(path, {}) for item in each.items]
    read = [item.event for item in items if isinstance(item, ImportedEvent)]
    if len(read) < len(items) or [(each.id, each.type, each.data) for each in read] != [
        (id, each.type, each.data) for id, each in written.kept
    ]:
        raise OSError("it is not read back as it was")
