"""`segue watch`: imports the conversations of other programs while they are had."""

import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from types import ModuleType
from typing import Any

from segue import agents
from segue.cli.application import Store
from segue.cli.importing import places
from segue.cli.printing import print_error, print_json_line, print_line
from segue.model.records import Session, iso, now
from segue.sessions.watching import Listener, SourceSummary, Watcher

RunUntilInterrupted = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def run(store: Store, run_until_interrupted: RunUntilInterrupted, *, as_json: bool) -> int:
    """Import, and print what was imported, until it is interrupted."""
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")
    listener: Listener = _JsonPrinter() if as_json else _Printer()
    watcher = Watcher(
        agents.load_all(),
        places(),
        store.open,
        store.admin.watch_lock(),
        store.load_redact(),
        listener,
    )
    if sys.stderr.isatty():
        print_error("Importing what is here first ...")
    run_until_interrupted(watcher.run)
    return 0


class _Printer:
    """Prints for a person."""

    def waiting(self) -> None:
        print_line("Another process watches for this database. This one takes over when it ends.")
        sys.stdout.flush()

    def started(self, found: Sequence[SourceSummary]) -> None:
        if found:
            names = ", ".join(map(_summary, found))
            new = sum(each.events for each in found)
            print_line(f"Watching {names}. New events: {new:,}. Ctrl-C ends it.")
        else:
            print_line(
                "No conversations of other programs were found. They are imported as soon as there "
                "are some. Ctrl-C ends it."
            )
        sys.stdout.flush()

    def imported(self, source: ModuleType, session: Session, events: int) -> None:
        unit = "event" if events == 1 else "events"
        name = session.title or session.id
        print_line(time.strftime("%H:%M:%S"), source.NAME, f"{events:,} {unit}", name)
        sys.stdout.flush()

    def problem(self, sentence: str) -> None:
        print_error(sentence)


def _summary(found: SourceSummary) -> str:
    unit = "conversation" if found.conversations == 1 else "conversations"
    folders = " and ".join(map(str, found.folders))
    return f"{found.source.TITLE} ({found.conversations:,} {unit} in {folders})"


class _JsonPrinter(_Printer):
    """Prints one JSON object a line, for programs; problems as for a person, on stderr."""

    def waiting(self) -> None:
        self._print("waiting")

    def started(self, found: Sequence[SourceSummary]) -> None:
        sources = [
            {
                "source": each.source.NAME,
                "name": each.source.TITLE,
                "folders": list(map(str, each.folders)),
                "conversations": each.conversations,
                "newEvents": each.events,
            }
            for each in found
        ]
        self._print("watching", sources=sources)

    def imported(self, source: ModuleType, session: Session, events: int) -> None:
        self._print(
            "imported",
            source=source.NAME,
            sessionId=session.id,
            title=session.title,
            newEvents=events,
        )

    def _print(self, event: str, **fields: Any) -> None:
        print_json_line({"event": event, "time": iso(now()), **fields})
        sys.stdout.flush()
