"""Imports conversations of other programs: transcripts in, sessions out."""

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from segue.agents.transcript import Recording, Rewind, Transcript
from segue.model.errors import SessionNotFound
from segue.model.imports import ImportedEvent
from segue.model.json_text import encode
from segue.model.records import MAX_IMPORT, NewSession, Origin
from segue.model.told_history import is_told
from segue.model.workspace import InvalidWorkspaceError, Workspace, locate_workspace
from segue.sessions.branches import storable_branch
from segue.sessions.proxied import ProxiedSessions
from segue.store.service import SessionService

NOWHERE = "(unknown)"
"""The directory of a conversation whose source does not say where it was had."""

Redact = Callable[[Any, str], Any]

OnAdded = Callable[[str, int], None]
"""Is told the id of a session, or of the fork it became, and how many events it got."""


@attrs.define
class SourceReport:
    """What an import of one source's files has done."""

    source: str
    new: int = 0
    grown: int = 0
    unchanged: int = 0
    deleted: int = 0
    """Left out because they were deleted here."""
    forks: int = 0
    """How many were made, because the past had changed or the conversation went on here."""
    events: int = 0
    """How many were added."""
    skipped: "collections.Counter[str]" = attrs.field(factory=collections.Counter)
    """How many records were not kept, by their kind."""
    broken: list[str] = attrs.field(factory=list)
    """What could not be read: `FILE, line 7: not JSON`."""


class Importer:
    """Imports files into a store, as a window would write them: with secrets masked."""

    def __init__(
        self,
        service: SessionService,
        redact: Redact,
        *,
        dry_run: bool = False,
        revive: bool = False,
        on_added: OnAdded = lambda _id, _events: None,
    ) -> None:
        """With *dry_run* nothing is stored; with *revive* also what was deleted here is."""
        self._service = service
        self._redact = redact
        self._dry_run = dry_run
        self._revive = revive
        self._recordings = _Recordings(service, redact)
        self._on_added = on_added

    async def run(
        self,
        source: ModuleType,
        paths: Iterable[Path],
        progress: Callable[[Path], None],
        *,
        states: Mapping[str, Any] | None = None,
    ) -> SourceReport:
        """Import *paths*, files of *source*; call *progress* after each. A bad one is reported.

        *states* are those of the sessions that the files may continue, None: of all of *source*.
        """
        report = SourceReport(source.NAME)
        self._proxied = ProxiedSessions(self._service, source)
        if states is None:
            states = await self._service.import_states(source.NAME)
        for path in paths:
            try:
                for transcript in source.read(path, states):
                    await self._import(source, transcript, report)
            except OSError as error:
                reason = error.strerror or str(error)
                report.broken.append(f"{path}: {reason}")
            progress(path)
        return report

    async def _import(
        self, source: ModuleType, transcript: Transcript, report: SourceReport
    ) -> None:
        if transcript.is_unchanged:
            report.unchanged += 1
            return
        new = await self._new_session(source, transcript)
        if transcript.recording is not None:
            if await self._recordings.has(transcript.recording, new):
                report.skipped["recorded by Segue's plugin"] += 1
                return
            if transcript.recording.session is not None and not self._revive:
                report.deleted += 1
                return
        proxied = await self._proxied.find(transcript.own_id or transcript.id)
        if proxied is not None:
            new = attrs.evolve(new, id=proxied.id)
        was_stored = await is_stored(self._service, new.id)
        writer = _Writer(self._service, new)
        writer.after = transcript.after
        options = {"dry_run": self._dry_run, "revive": self._revive}
        batch: list[ImportedEvent] = []
        for item in transcript.items:
            if isinstance(item, Rewind) or len(batch) == MAX_IMPORT:
                await writer.write(batch, self._origin(source, transcript), **options)
                batch = []
            if isinstance(item, Rewind):
                writer.after = item.after
            elif proxied is not None and proxied.has(item.created_at):
                report.skipped["recorded by segue acp"] += 1
            else:
                batch.append(self._redacted(item))
        origin = self._origin(source, transcript)
        title = self._title(transcript)
        await writer.write(batch, origin, title=title, state=transcript.state, **options)
        report.skipped += transcript.skipped
        report.broken += [f"{transcript.path}, {b.place}: {b.reason}" for b in transcript.broken]
        if writer.added:
            self._on_added(writer.session_id, writer.added)
        report.events += writer.added
        report.forks += writer.forks
        if writer.is_deleted:
            report.deleted += 1
        elif was_stored:
            report.grown += writer.added > 0
            report.unchanged += writer.added == 0
        else:
            report.new += writer.added > 0

    async def _new_session(self, source: ModuleType, transcript: Transcript) -> NewSession:
        new = await new_session(source, transcript.id, transcript.own_id, transcript.directory)
        if (session := transcript.session) is None:
            return new
        is_here = (session.directory, session.git_root) == (new.directory, new.git_root)
        return attrs.evolve(
            new,
            directory=session.directory,
            git_root=session.git_root,
            git_common_dir=new.git_common_dir if is_here else None,
            repository=new.repository if is_here else session.repository,
            worktree=new.worktree if is_here else None,
            server_session_id=session.server_session_id,
            source=session.source,
            created_at=session.created_at,
            updated_at=session.updated_at,
            archived_at=session.archived_at,
        )

    def _title(self, transcript: Transcript) -> str | None:
        """Return the title that the source gives, as one short line and with secrets masked."""
        session = transcript.session
        given = _storable(transcript.title if session is None else session.title)
        if given is None:
            return None
        if is_told(given):
            return None
        masked = str(self._redact(given, encode("$.title", given)))
        if session is not None:
            return masked
        from segue.model.titles import title_of  # a hook seldom needs it

        return title_of(masked)

    def _origin(self, source: ModuleType, transcript: Transcript) -> Origin:
        if (session := transcript.session) is not None:
            return Origin(
                client_name=session.client,
                agent=session.agent,
                model=session.model,
                branch=storable_branch(session.branch, self._redact),
            )
        return Origin(
            client_name=source.TITLE,
            client_version=_storable(transcript.client_version),
            model=_storable(transcript.model),
            branch=storable_branch(transcript.branch, self._redact),
        )

    def _redacted(self, item: ImportedEvent) -> ImportedEvent:
        event = item.event
        data = self._redact(event.data, event.json_text)
        if data is event.data:
            return item
        return attrs.evolve(item, event=event.with_data(data))


def _storable(text: str | None) -> str | None:
    """Return *text* without what no database and no path can hold; None if that is all."""
    return (text and text.replace("\0", "").encode(errors="replace").decode()[:4_096]) or None


async def is_stored(service: SessionService, session_id: str) -> bool:
    """Return whether there is a session with this id."""
    try:
        await service.get_session(session_id)
    except SessionNotFound:
        return False
    return True


async def new_session(
    source: ModuleType, id: str, own_id: str | None, directory: str | None
) -> NewSession:
    """Return a session of *source*, in the folder where its conversation was had, if that is here.

    *own_id* is the source's id if it is another one. None: the source does not say where.
    """
    directory = _storable(directory) or NOWHERE
    try:
        workspace = await asyncio.to_thread(locate_workspace, directory)
    except InvalidWorkspaceError:  # of another machine, or none at all
        workspace = Workspace(directory=directory, git_root=None, git_common_dir=None)
    return NewSession(
        id=id,
        directory=workspace.directory,
        git_root=workspace.git_root,
        git_common_dir=workspace.git_common_dir,
        repository=workspace.repository,
        worktree=workspace.worktree,
        server_session_id=own_id,
        source=source.NAME,
    )


class _Recordings:
    """What Segue's own plugins have recorded, to be told from what another program saved of it."""

    def __init__(self, service: SessionService, redact: Redact) -> None:
        self._service = service
        self._redact = redact
        self._first_messages: dict[tuple[str, str | None], set[str]] = {}

    async def has(self, recording: Recording, where: NewSession) -> bool:
        """Return whether the session that *recording* names is stored.

        If it names none, whether there is one in the same place that begins with the same message.
        """
        if recording.session is not None:
            return await is_stored(self._service, recording.session)
        place = (where.directory, where.git_root)
        if place not in self._first_messages:
            found = {each async for each in self._messages(where)}
            self._first_messages[place] = found
        data = {"content": recording.first}
        masked = self._redact(data, encode("$.data", data))
        return masked["content"] in self._first_messages[place]

    async def _messages(self, where: NewSession) -> AsyncIterator[str]:
        """Yield the first message of each session that was recorded in a place."""
        cursor = None
        while True:
            page = await self._service.list_sessions(
                directory=where.directory, git_root=where.git_root, archived=True, cursor=cursor
            )
            for session in page.sessions:
                if session.source is None and session.shared_by is None:
                    first = await self._service.load_events(session.id, after=0)
                    said = (each.data for each in first.events if each.type == "user_message")
                    if isinstance(data := next(said, None), dict):
                        yield str(data.get("content"))
            if (cursor := page.next_cursor) is None:
                return


class _Writer:
    """Writes the batches of one conversation, each behind the one before it."""

    def __init__(self, service: SessionService, new: NewSession) -> None:
        self.after: str | None = None
        self.added = 0
        self.forks = 0
        self.is_deleted = False
        self._service = service
        self._new = new

    @property
    def session_id(self) -> str:
        """The session that is written to: the conversation's own, or a fork of it."""
        return self._new.id

    async def write(self, batch: list[ImportedEvent], origin: Origin, **options: Any) -> None:
        """Store *batch*; the next one follows its last event."""
        if self.is_deleted or not (batch or options.get("state") is not None):
            return
        result = await self._service.import_session(
            self._new, batch, after=self.after, origin=origin, **options
        )
        self.is_deleted = result.is_deleted
        self.added += result.added
        self.forks += result.made_fork
        self._new = attrs.evolve(self._new, id=result.session_id)
        if batch:
            self.after = batch[-1].event.id
