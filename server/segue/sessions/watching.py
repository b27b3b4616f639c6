"""Imports conversations of other programs while they are had, by watching where they are kept.

What counts is a look: at which files there are, and which of them differ from what was imported.
The reports of the operating system only say which file to import at once, and when to look. So a
report that is lost costs time, and nothing else; see `LOOK_INTERVAL_S`.

The store is opened for each round of imports, and closed after it. Nothing is open while nothing
happens, and a store that was replaced, repaired or away meanwhile is simply opened again.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import attrs

from segue.agents.transcript import Folder, Places
from segue.model.errors import SessionNotFound, StorageError
from segue.model.records import Session
from segue.sessions.folder_changes import Changes, FolderChanges
from segue.sessions.importing import Importer, Redact, SourceReport
from segue.store.service import ProcessLock, SessionService

FILE_INTERVAL_S = 2.0
"""A file that grows all the time is imported about so often, or less often if that takes long."""

LOOK_INTERVAL_S = 60.0
"""How often is looked for what the operating system did not report, such as new programs."""

BLIND_LOOK_INTERVAL_S = 10.0
"""The same, where there is a folder that cannot be watched."""

RETRY_S = (2.0, 60.0)
"""After a failure of the store it is tried again, first after the one time, at last the other."""

_SETTLE_S = 0.25
"""What is written at once is imported at once."""

_MAX_SHARE = 0.1
"""How much of the time the import of one file may take."""

_MAX_PROBLEMS = 1_000
"""How many problems are remembered, so that each is told once."""


@attrs.frozen
class SourceSummary:
    """What a first import has found of one source."""

    source: ModuleType
    folders: Sequence[Path]
    """Those that exist."""
    conversations: int
    events: int
    """How many were new."""


class Listener(Protocol):
    """Is told what a Watcher does."""

    def waiting(self) -> None:
        """Say that another process watches for this store, and that this one waits for its end."""

    def started(self, found: Sequence[SourceSummary]) -> None:
        """Say that everything was imported, and that what comes now will be."""

    def imported(self, source: ModuleType, session: Session, events: int) -> None:
        """Say that *session* got so many new events."""

    def problem(self, sentence: str) -> None:
        """Say what could not be read or stored. The same is said once."""


@attrs.define
class _File:
    source: ModuleType
    seen: "_Stamp | None" = None
    """What it was when it was last imported; None: never, or not as a whole."""
    not_before: float = 0.0
    """When it may be imported again, as a monotonic time."""


class Watcher:
    """Imports what the *sources* have, and then what changes, until it is cancelled.

    If another process does that for the same store, it waits for that one's end first.
    """

    def __init__(
        self,
        sources: Sequence[ModuleType],
        places: Places,
        open_store: Callable[[], Awaitable[SessionService]],
        lock: ProcessLock,
        redact: Redact,
        listener: Listener,
    ) -> None:
        """*open_store* makes the store if there is none."""
        self._sources = [each for each in sources if any(each.folders(places))]
        self._places = places
        self._lock = lock
        self._open_store = open_store
        self._redact = redact
        self._listener = listener
        self._files: dict[Path, _File] = {}
        self._due: dict[Path, float] = {}
        """When the files that differ are to be imported."""
        self._look_at = 0.0
        """When all sources are looked at the next time."""
        self._looked_at: dict[ModuleType, float] = {}
        self._unlooked: set[ModuleType] = set()
        """Those that have new files."""
        self._told: set[str] = set()
        self._first: dict[ModuleType, SourceReport] | None = {}
        """What the import of everything has done; None once it is complete."""

    async def run(self) -> None:
        """Import until it is cancelled. What was being imported then is stored in part."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

        changes = FolderChanges(notify)
        try:
            await self._persist(self._acquire)
            while True:
                self._look(changes)
                await self._persist(self._import_due)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_s()):
                        await changed.wait()
                        await asyncio.sleep(_SETTLE_S)
                changed.clear()
                self._note(changes.take())
        finally:
            changes.close()
            self._lock.release()

    async def _acquire(self) -> None:
        await (await self._open_store()).close()  # the lock is beside the store
        if self._lock.acquire(waits=False):
            return
        self._listener.waiting()
        acquired: asyncio.Future[None] = asyncio.Future()
        loop = asyncio.get_running_loop()

        def settle(error: StorageError | None) -> None:
            if acquired.done():  # cancelled
                return
            if error is None:
                acquired.set_result(None)
            else:
                acquired.set_exception(error)

        def wait() -> None:
            error = None
            try:
                self._lock.acquire(waits=True)
            except StorageError as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, error)

        # Not a thread of the executor, for which the end of the process waits.
        threading.Thread(target=wait, name="watch-lock", daemon=True).start()
        await acquired

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the *work*, and again as long as the store fails, which is said once."""
        pause_s, trouble = RETRY_S[0], None
        while True:
            try:
                await work()
            except StorageError as error:
                if trouble != str(error):
                    trouble = str(error)
                    self._listener.problem(f"{error} It is tried again.")
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
            else:
                return

    def _idle_s(self) -> float:
        """Return how long there is nothing to do, unless something changes, in seconds."""
        looks = (self._looked_at[source] + FILE_INTERVAL_S for source in self._unlooked)
        return max(0.0, min([self._look_at, *self._due.values(), *looks]) - time.monotonic())

    def _look(self, changes: FolderChanges) -> None:
        """Find the files that differ from what was imported, where it is time for that."""
        now = time.monotonic()
        if now >= self._look_at:
            problems = changes.watch({each: self._folders(each) for each in self._sources})
            for problem in problems:
                self._tell(
                    f"{problem}. All folders are looked at every {BLIND_LOOK_INTERVAL_S:g} seconds."
                )
            self._look_at = now + (BLIND_LOOK_INTERVAL_S if problems else LOOK_INTERVAL_S)
            self._unlooked.update(self._sources)
            self._looked_at.clear()
        for source in [*self._unlooked]:
            if now >= self._looked_at.get(source, 0.0) + FILE_INTERVAL_S:
                self._unlooked.remove(source)
                self._looked_at[source] = now
                self._look_at_source(source)

    def _look_at_source(self, source: ModuleType) -> None:
        try:
            found = set(source.find(self._places))
        except OSError as error:
            self._tell(f"{source.NAME}: {error.filename}: {error.strerror}")
            return
        for path in sorted(found):
            file = self._files.setdefault(path, _File(source))
            if _stamp(path) != file.seen:
                self._make_due(path, file)
        for path in [each for each, file in self._files.items() if file.source is source]:
            if path not in found:
                del self._files[path]
                self._due.pop(path, None)

    def _folders(self, source: ModuleType) -> list[Folder]:
        return list(source.folders(self._places))

    def _make_due(self, path: Path, file: _File) -> None:
        self._due.setdefault(path, max(time.monotonic(), file.not_before))

    def _note(self, changed: Changes) -> None:
        """Find the files that were reported to have changed, and the sources that have new ones."""
        self._unlooked.update(each for each in self._sources if each in changed.folders)
        for path in changed.paths:
            # A database's write-ahead log stands for it.
            written = Path(str(path).removesuffix("-wal"))
            if (file := self._files.get(written)) is not None:
                self._make_due(written, file)
            else:  # new, or found through a link
                self._unlooked.update(each for each in self._sources if each.accepts(written))

    async def _import_due(self) -> None:
        now = time.monotonic()
        due: dict[ModuleType, list[Path]] = {}
        for path, at in self._due.items():
            if at <= now:
                due.setdefault(self._files[path].source, []).append(path)
        if not due and self._first is None:
            return
        service = await self._open_store()
        try:
            for source, paths in due.items():
                await self._import(service, source, paths)
        finally:
            await service.close()
        if self._first is not None:
            self._listener.started([*self._summaries(self._first)])
            self._first = None

    async def _import(
        self, service: SessionService, source: ModuleType, paths: Sequence[Path]
    ) -> None:
        added: dict[str, int] = {}

        def on_added(id: str, events: int) -> None:
            added[id] = added.get(id, 0) + events

        importer = Importer(service, self._redact, on_added=on_added)
        states = await service.import_states(source.NAME)
        for path in paths:
            added.clear()
            await self._import_file(importer, source, path, states)
            if self._first is not None:
                continue
            for id, events in added.items():
                with contextlib.suppress(SessionNotFound):  # deleted meanwhile
                    self._listener.imported(source, await service.get_session(id), events)

    async def _import_file(
        self, importer: Importer, source: ModuleType, path: Path, states: Mapping[str, Any]
    ) -> None:
        file, begun = self._files[path], time.monotonic()
        # Before it is read: what is written meanwhile is imported the next time.
        stamp = _stamp(path)
        report = SourceReport(source.NAME)
        if stamp is not None:
            report = await self._report(importer, source, path, states)
        file.seen = stamp
        took_s = time.monotonic() - begun
        file.not_before = time.monotonic() + max(FILE_INTERVAL_S, took_s / _MAX_SHARE)
        del self._due[path]
        if self._first is not None:
            _add(self._first.setdefault(source, SourceReport(source.NAME)), report)
        for problem in report.broken:
            self._tell(f"{source.NAME}: {problem}")

    async def _report(
        self, importer: Importer, source: ModuleType, path: Path, states: Mapping[str, Any]
    ) -> SourceReport:
        try:
            return await importer.run(source, [path], lambda _: None, states=states)
        except StorageError:
            self._due[path] = self._due.pop(path)  # the others first
            raise
        except Exception as error:
            # Of whatever nobody has foreseen in a file: it must not end the import of the others.
            report = SourceReport(source.NAME)
            report.broken.append(f"{path}: {type(error).__name__}")
            return report

    def _summaries(self, reports: Mapping[ModuleType, SourceReport]) -> Iterable[SourceSummary]:
        for source, report in reports.items():
            folders = dict.fromkeys(each.path for each in self._folders(source))
            yield SourceSummary(
                source,
                [path for path in folders if path.is_dir()],
                report.new + report.grown + report.unchanged,
                report.events,
            )

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < _MAX_PROBLEMS:
            self._told.add(sentence)
            self._listener.problem(sentence)


def _add(sum: SourceReport, report: SourceReport) -> None:
    for name in ("new", "grown", "unchanged", "events"):
        setattr(sum, name, getattr(sum, name) + getattr(report, name))


_Stamp = tuple[tuple[int, ...], ...]
"""What tells one content of a file from the next, with that of a write-ahead log beside it."""


def _stamp(path: Path) -> _Stamp | None:
    """Return the stamp of a file, None if it cannot be reached."""
    stamps = []
    for each in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = os.stat(each)
        except OSError:
            if each is path:
                return None
            break
        # A log that is empty is one that nobody has begun.
        if each is path or status.st_size:
            stamps.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamps)
