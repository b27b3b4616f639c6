"""Set the clock back and forth while windows open, append and close.

The order of events must not depend on it, no age is negative, and every stored time is one that the
clock had.
"""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from random import Random

import attrs

from segue.model.errors import StorageCorrupt
from segue.model.events import Event
from segue.model.records import (
    MAX_SKEW_MS,
    Mode,
    OpenResult,
    Resumable,
    StoredEvent,
    Timestamp,
)
from segue.model.workspace import Workspace
from segue.sessions import boundary, manager
from segue.sessions.window import Window
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import sandbox

STEPS: dict[Size, int] = {"short": 1_000, "long": 30_000}
HOUR_MS = 3_600_000
STEPS_PER_STORE = 250
"""A new store after so many steps, because each check lists all sessions."""

ORDER = "the order of events is the order of appending"
NO_GAP = "the order of events has no gap"
VALID_AGE = "a boundary gives a valid age"
NOT_NEGATIVE = "no age is negative"
RESUMABLE = "a session stays resumable when the clock is set back by up to a minute"
NOT_FRESH = "a session with a time in the future is not resumed"
SAID = "a session that is not resumed because of a time in the future is reported"
TIMES = "createdAt and updatedAt are the times of the first and the last append"
CLOCK_TIMES = "every time is one that the clock had"
COMPLETE_LIST = "a list has every session once"
TAIL = "the tail of a session is the end of its events"

JUMPS_MS = [
    -HOUR_MS, HOUR_MS, -HOUR_MS, HOUR_MS, -10 * 60_000, 10 * 60_000, -1, 1, 0, 86_400_000,
    -86_400_000,
]  # fmt: skip
AGE = re.compile(
    r"(?:less than a second|[1-9]\d* (?:day|hour|minute|second)s?) ago"
    r"|in the future \(\d{4}-\d\d-\d\d\)"
)
NOTE = re.compile(r"\[Note: .* its last event was ([^.]*)\.(?: .*)?\]")


@attrs.define
class Clock:
    """A clock that can be set, and the range of times that it had, in milliseconds."""

    now: int = 1_800_000_000_000
    earliest: int = 1_800_000_000_000
    latest: int = 1_800_000_000_000

    def advance(self, by: int) -> None:
        self.now += by
        self.earliest, self.latest = min(self.earliest, self.now), max(self.latest, self.now)


@attrs.define
class SentEvents:
    """The events that were appended to one session, and the clock's time of each."""

    ids: list[str] = attrs.field(factory=list)
    times: list[int] = attrs.field(factory=list)


class Skew:
    """Windows on one store, and a clock that jumps between their requests."""

    def __init__(self, report: Report, chance: Random, folder: Path) -> None:
        self._report = report
        self._chance = chance
        self._database = folder / "sessions.db"
        self._clock = Clock()
        self._sent: dict[str, SentEvents] = {}
        for module in (boundary, manager):
            vars(module)["now"] = self._now

    def _now(self) -> Timestamp:
        return Timestamp(self._clock.now)

    async def run(self, steps: int) -> None:
        self._service = await LocalSessionService.open(self._database, clock=self._now)
        window = self._window()
        for _ in range(steps):
            self._clock.advance(self._chance.choice(JUMPS_MS))
            self._report.count("clock jumps")
            if self._chance.random() < 0.2:
                await window.close()
                window = self._window()
            await self._open_and_append(window)
            if self._chance.random() < 0.1:
                await self._check_sessions()
        await window.close()
        await self._check_sessions()
        await self._service.close()

    def _window(self) -> Window:
        async def open_service() -> SessionService:
            return await LocalSessionService.open(self._database, clock=self._now)

        return Window(open_service, 60)

    async def _open_and_append(self, window: Window) -> None:
        directory = f"/project/{self._chance.randrange(3)}"
        workspace = Workspace(directory=directory, git_root=None, git_common_dir=None)
        modes: list[Mode] = ["auto", "auto", "new"]
        known = self._chance.choice([None, None, *list(self._sent)[-2:]])
        opened = await window.open(workspace, session_id=known, mode=self._chance.choice(modes))
        self._check_ages(opened)
        last = opened.last_event_at
        is_ahead = last is not None and last > self._clock.now + MAX_SKEW_MS
        self._report.expect(known is not None or not is_ahead, NOT_FRESH, opened.session.id)
        self._report.count("opened by id with a time in the future", int(is_ahead))
        events = [Event.new("user_message", {"content": "x"}) for _ in range(2)]
        stored = self._sent.get(opened.session.id)
        await window.append(opened.session.id, events)
        sent = self._sent.setdefault(opened.session.id, SentEvents())
        if opened.boundary is not None and stored is not None:
            events.insert(0, opened.boundary)
        sent.ids += [event.id for event in events]
        sent.times += [self._clock.now] * len(events)
        self._report.count("appends")
        await self._check_resumable(opened.session.directory, opened.session.id)

    def _check_ages(self, opened: OpenResult) -> None:
        if opened.boundary is None:
            return
        note = opened.boundary.data["content"]
        match = NOTE.fullmatch(note)
        valid = match is not None and AGE.fullmatch(match[1]) is not None
        self._report.expect(valid, VALID_AGE, note)
        self._report.expect(" -" not in opened.reason, NOT_NEGATIVE, opened.reason)
        self._report.count("boundaries")

    async def _check_resumable(self, directory: str, session: str) -> None:
        """Set the clock back after an update: by a little, and by an hour."""
        fitting = (await self._resumable_after(-MAX_SKEW_MS, directory)).sessions
        newer = sum(each.updated_at >= self._clock.now for each in fitting)
        is_found = session in [each.id for each in fitting]
        self._report.expect(is_found or newer >= 6, RESUMABLE, session)
        found = await self._resumable_after(-HOUR_MS, directory)
        is_found = session in [each.id for each in found.sessions]
        self._report.expect(not is_found, NOT_FRESH, session)
        self._report.expect(found.in_future is not None, SAID, session)
        self._report.count("left, with a time in the future")

    async def _resumable_after(self, jump_ms: int, directory: str) -> Resumable:
        self._clock.advance(jump_ms)
        try:
            return await self._service.find_resumable(directory, None, timedelta(minutes=60))
        finally:
            self._clock.advance(-jump_ms)

    async def _check_sessions(self) -> None:
        """Check the list of sessions, their times, and the events of some of them."""
        listed: list[str] = []
        cursor = None
        while True:
            page = await self._service.list_sessions(limit=7, cursor=cursor)
            listed += [session.id for session in page.sessions]
            for session in page.sessions:
                sent = self._sent[session.id]
                times = session.created_at, session.updated_at
                self._report.expect(times == (sent.times[0], sent.times[-1]), TIMES)
                in_range = self._clock.earliest <= min(times) and max(times) <= self._clock.latest
                self._report.expect(in_range, CLOCK_TIMES, f"{times}")
                self._report.count("updatedAt before createdAt", int(times[1] < times[0]))
            if (cursor := page.next_cursor) is None:
                break
        complete = len(listed) == len(set(listed)) == len(self._sent)
        self._report.expect(complete, COMPLETE_LIST)
        for id in self._chance.sample(listed, min(10, len(listed))):
            try:
                self._check_order(id, await self._events(id))
            except StorageCorrupt as error:  # the store takes a wrong order for corruption
                self._report.expect(False, ORDER, str(error))

    async def _events(self, id: str) -> list[StoredEvent]:
        events: list[StoredEvent] = []
        while True:
            page = await self._service.load_events(id, after=len(events), limit=50)
            events += page.events
            if not page.has_more:
                break
        newest = (await self._service.load_events(id, limit=5)).events
        same = [event.id for event in newest] == [event.id for event in events[-5:]]
        self._report.expect(same, TAIL)
        return events

    def _check_order(self, id: str, events: list[StoredEvent]) -> None:
        sent = self._sent[id]
        self._report.expect([event.id for event in events] == sent.ids, ORDER, id)
        gapless = [event.seq for event in events] == list(range(1, len(sent.ids) + 1))
        self._report.expect(gapless, NO_GAP, id)
        backwards = sum(b < a for a, b in zip(sent.times, sent.times[1:], strict=False))
        self._report.count("backward time steps within a session", backwards)
        self._report.count("sessions compared")


async def _run_store(report: Report, chance: Random, folder: Path) -> None:
    await Skew(report, chance, folder).run(STEPS_PER_STORE)


def run(report: Report, chance: Random) -> None:
    """Run STEPS_PER_STORE steps on each of a sequence of stores."""
    for _ in range(STEPS[report.size] // STEPS_PER_STORE):
        with sandbox() as folder:
            asyncio.run(_run_store(report, chance, folder))
            report.count("stores")


if __name__ == "__main__":
    main(run)
