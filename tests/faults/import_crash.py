"""Kill imports at random moments, two at a time, while the transcripts grow; then import in peace.

What is stored in the end must be what one import of the finished transcripts stores.
"""

import asyncio
import os
import random
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from segue import agents
from segue.redaction import engine
from segue.sessions.importing import Importer
from segue.store.sqlite.service import LocalSessionService
from tests.agents import claude
from tests.factories import all_events
from tests.faults.ledger import folder_on_disk
from tests.faults.runner import Report, Size, main

KILLS: dict[Size, int] = {"short": 40, "long": 3_000}
KILLS_PER_STORE = 20
CONCURRENT = 2
TRANSCRIPTS = 3
PROMPTS = 60
MAX_KILL_DELAY_S = 0.25

SAME = "after kills the store has what one import gives"
TWICE = "a further import adds nothing"

Shown = dict[str, list[tuple[str, int, str]]]


def conversation(rng: random.Random, number: int) -> list[Any]:
    """Return the records of a conversation, with a few rewinds."""
    records: list[Any] = []
    ends: list[int | None] = [None]
    for prompt in range(PROMPTS):
        first = 3 * prompt + 1
        parent = rng.choice(ends) if rng.random() < 0.1 else ends[-1]
        records += [
            claude.user(first, f"prompt {number}-{prompt}", parent),
            claude.tool_use(first + 1, f"call-{prompt}", first),
            claude.tool_result(first + 2, f"call-{prompt}", first + 1, "x" * rng.randrange(5_000)),
        ]
        ends.append(first + 2)
    return records


class Transcripts:
    """Files that grow."""

    def __init__(self, rng: random.Random, home: Path) -> None:
        self._rng = rng
        self._contents = {}
        for number in range(TRANSCRIPTS):
            session = f"1b0f0a52-7d0a-4b0f-9d9a-{number:012d}"
            path = claude.transcript(home, b"", session)
            records = [
                each | {"timestamp": "2026-11-20T10:00:00.000Z"}
                for each in conversation(rng, number)
            ]
            self._contents[path] = claude.lines(*records)

    @property
    def paths(self) -> list[Path]:
        return list(self._contents)

    def grow(self, share: float) -> None:
        """Let each have at least *share* of its content."""
        for path, content in self._contents.items():
            have = path.stat().st_size
            end = max(have, int(len(content) * share) - self._rng.randrange(500))
            with path.open("ab") as file:
                file.write(content[have : max(end, have)])

    def finish(self) -> None:
        """Let each have all of its content."""
        for path, content in self._contents.items():
            with path.open("ab") as file:
                file.write(content[path.stat().st_size :])


async def import_all(database: Path, paths: list[Path]) -> int:
    """Import the files; return how many events were added."""
    service = await LocalSessionService.open(database)
    importer = Importer(service, engine.mask)
    report = await importer.run(agents.load("claude-code"), paths, lambda _: None)
    await service.close()
    return report.events


async def shown(database: Path) -> Shown:
    """Return what each session shows: the ids, seqs and data of its events."""
    service = await LocalSessionService.open(database)
    page = await service.list_sessions(archived=True, limit=1_000)
    found = {}
    for session in page.sessions:
        events = await all_events(service, session.id)
        key = f"{session.id} {session.archived_at is not None} {session.fork_seq}"
        found[key] = [(event.id, event.seq, str(event.data)) for event in events]
    await service.close()
    return found


def fork_import(database: Path, paths: list[Path]) -> int:
    """Import in a forked process; return its id."""
    process = os.fork()
    if process == 0:
        try:
            asyncio.run(import_all(database, paths))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return process


def run(report: Report, rng: random.Random) -> None:
    """Kill imports into one store after the other, and compare each store with another one."""
    for number in range(KILLS[report.size] // KILLS_PER_STORE):
        with folder_on_disk() as folder:
            transcripts = Transcripts(rng, folder)
            database = folder / "killed" / "sessions.db"
            for kill in range(KILLS_PER_STORE // CONCURRENT):
                transcripts.grow((kill + 1) / (KILLS_PER_STORE // CONCURRENT))
                processes = [fork_import(database, transcripts.paths) for _ in range(CONCURRENT)]
                time.sleep(rng.uniform(0, MAX_KILL_DELAY_S))
                for process in processes:
                    os.kill(process, signal.SIGKILL)
                    _, status = os.waitpid(process, 0)
                    report.count("kills", int(os.WIFSIGNALED(status)))
            transcripts.finish()
            report.count("added at the end", asyncio.run(import_all(database, transcripts.paths)))
            again = asyncio.run(import_all(database, transcripts.paths))
            report.expect(again == 0, TWICE, f"{again} events")
            peaceful = folder / "peaceful" / "sessions.db"
            asyncio.run(import_all(peaceful, transcripts.paths))
            one, other = asyncio.run(shown(database)), asyncio.run(shown(peaceful))
            report.count("forks", sum(not key.endswith("None") for key in other))
            differ = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
            report.expect(not differ, SAME, f"store {number}: {differ[:3]}")
        if report.has_failed:
            return


if __name__ == "__main__":
    main(run)
