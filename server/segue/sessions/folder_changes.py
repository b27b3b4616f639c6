"""Notices changes in folders, by what the operating system reports.

The only user of the library watchdog, which asks inotify, FSEvents or Windows and costs nothing
while nothing changes. Reports can be missing (network drives, the system's limits), so whoever
needs to know all has to look from time to time as well.
"""

import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from segue.agents.transcript import Folder

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import ObservedWatch


@attrs.frozen
class Changes:
    """What has changed since it was asked for last."""

    paths: set[Path]
    """Files that were written, made, or moved to where they are now; without links to folders."""
    folders: set[Hashable]
    """The keys of the watched folders that have a new folder, whose files are not in `paths`."""


class FolderChanges:
    """Watches folders until `close`; those that do not exist are left out until they do."""

    def __init__(self, notify: Callable[[], object]) -> None:
        """*notify* is called on another thread when the first change is there to be taken."""
        self._notify = notify
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._folders: set[Hashable] = set()
        self._watched: dict[Path, _Watched] = {}
        self._observer: Any = None

    def watch(self, folders: Mapping[Hashable, Iterable[Folder]]) -> list[str]:
        """Watch the folders by their keys, in addition to those that are watched already.

        One that has been replaced is watched anew. Returns one sentence for each that exists and
        cannot be watched.
        """
        problems = []
        for key, each in ((key, each) for key, given in folders.items() for each in given):
            try:
                self._watch(key, each)
            except OSError as error:
                problems.append(f"{each.path} cannot be watched: {error.strerror or error}")
            except ImportError:
                return ["folders cannot be watched: the package watchdog is not installed"]
        return problems

    def take(self) -> Changes:
        """Return what has changed since the last call."""
        with self._lock:
            taken = Changes(self._paths, self._folders)
            self._paths, self._folders = set(), set()
            return taken

    def close(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()

    def _watch(self, key: Hashable, folder: Folder) -> None:
        # What stands for another folder is not watched through the link.
        real = Path(os.path.realpath(folder.path))
        try:
            status = os.stat(real)
        except OSError:
            self._unwatch(folder.path)
            return
        watched = _Watched(real, (status.st_dev, status.st_ino))
        if self._watched.get(folder.path) == watched:
            return
        self._unwatch(folder.path)
        watched.watch = self._schedule(key, folder, real)
        self._watched[folder.path] = watched

    def _unwatch(self, path: Path) -> None:
        watched = self._watched.pop(path, None)
        if watched is not None and watched.watch is not None:
            self._observer.unschedule(watched.watch)

    def _schedule(self, key: Hashable, folder: Folder, real: Path) -> "ObservedWatch":
        from watchdog import events

        if self._observer is None:
            self._observer = _start_observer()

        class Handler(events.FileSystemEventHandler):
            def on_any_event(_, event: "FileSystemEvent") -> None:  # noqa: N805  not to hide the watcher
                self._note(key, event)

        # Not of files that are opened or closed: they are, to be imported.
        kinds = [
            events.FileCreatedEvent, events.FileModifiedEvent, events.FileMovedEvent,
            events.DirCreatedEvent, events.DirMovedEvent,
        ]  # fmt: skip
        watch: ObservedWatch = self._observer.schedule(
            Handler(), str(real), recursive=folder.is_deep, event_filter=kinds
        )
        return watch

    def _note(self, key: Hashable, event: "FileSystemEvent") -> None:
        with self._lock:
            is_first = not self._paths and not self._folders
            if event.is_directory:
                self._folders.add(key)
            else:
                self._paths.add(Path(os.fsdecode(event.dest_path or event.src_path)))
        if is_first:
            self._notify()


@attrs.define
class _Watched:
    real: Path
    id: tuple[int, int]
    watch: "ObservedWatch | None" = attrs.field(default=None, eq=False)


def _start_observer() -> Any:
    from watchdog.observers import Observer

    # It logs what the next look makes good, with paths.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    observer = Observer()
    observer.start()
    return observer
