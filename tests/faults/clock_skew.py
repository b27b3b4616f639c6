"""Turn the clock back and forth while windows come and go: what depends on it, and what must not.

The order of events never does. Ages are never negative; a time is that of a clock that really was.
"""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from random import Random

import attrs

from segue.model.errors import StorageCorrupt
from segue.model.events import Event
from segue.model.records import StoredEvent
from segue.model.workspace import Workspace
from segue.sessions.window import OpenResult, Window
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import stage, turn_clock

STEPS: dict[Size, int] = {"short": 1_000, "long": 30_000}
HOUR = 3_600_000
STEP_OF_A_STORE = 250
ORDER = "the order is the order of appending"
"""After so many steps a new store: a list of everything is read at each look."""

JUMPS = [-HOUR, HOUR, -HOUR, HOUR, -10 * 60_000, 10 * 60_000, -1, 1, 0, 86_400_000, -86_400_000]
AGE = re.compile(r"(?:less than a second|[1-9]\d* (?:day|hour|minute|second)s?) ago")
NOTE = re.compile(r"\[Note: .* its last event was (.*)\.\]")


@attrs.define
class Clock:
    """A clock that somebody turns, and the times that it has shown."""

    now: int = 1_800_000_000_000
    least: int = 1_800_000_000_000
    greatest: int = 1_800_000_000_000

    def turn(self, by: int) -> None:
        self.now += by
        self.least, self.greatest = min(self.least, self.now), max(self.greatest, self.now)


@attrs.define
class Conversation:
    """What was said in one session, and when by the clock of that moment."""

    ids: list[str] = attrs.field(factory=list)
    times: list[int] = attrs.field(factory=list)


class Turner:
    """Windows on one store, and a clock that jumps between everything that they do."""

    def __init__(self, report: Report, chance: Random, folder: Path) -> None:
        self._report = report
        self._chance = chance
        self._where = folder / "sessions.db"
        self._clock = Clock()
        self._said: dict[str, Conversation] = {}
        turn_clock(lambda: self._clock.now)

    async def live(self, steps: int) -> None:
        self._service = await LocalSessionService.open(self._where)
        window = await self._window()
        for _ in range(steps):
            self._clock.turn(self._chance.choice(JUMPS))
            self._report.count("jumps of the clock")
            if self._chance.random() < 0.2:
                await window.close()
                window = await self._window()
            await self._say(window)
            if self._chance.random() < 0.1:
                await self._look()
        await window.close()
        await self._look()
        await self._service.close()

    async def _window(self) -> Window:
        async def open_service() -> SessionService:
            return await LocalSessionService.open(self._where)

        return Window(open_service, 60)

    async def _say(self, window: Window) -> None:
        """Open a session as it comes, be told of its age, and append."""
        directory = f"/project/{self._chance.randrange(3)}"
        place = Workspace(directory=directory, git_root=None, git_common_dir=None)
        mode = self._chance.choice(["auto", "auto", "new"])
        opened = await window.open(place, mode=mode)  # type: ignore[arg-type]
        self._check_told(opened)
        events = [Event.new("user_message", {"content": "x"}) for _ in range(2)]
        boundary = opened.boundary
        stored = self._said.get(opened.session.id)
        await window.append(opened.session.id, events)
        conversation = self._said.setdefault(opened.session.id, Conversation())
        if boundary is not None and stored is not None:
            events.insert(0, boundary)
        conversation.ids += [event.id for event in events]
        conversation.times += [self._clock.now] * len(events)
        self._report.count("appends")
        await self._check_still_fits(directory, opened.session.id)

    def _check_told(self, opened: OpenResult) -> None:
        if opened.boundary is None:
            return
        told = NOTE.fullmatch(opened.boundary.data["content"])
        sane = told is not None and AGE.fullmatch(told[1]) is not None
        example = opened.boundary.data["content"]
        self._report.expect(sane, "a boundary tells an age that can be", example)
        self._report.expect(" -" not in opened.reason, "no age is negative", opened.reason)
        self._report.count("boundaries")
        if opened.last_event_at is not None and opened.last_event_at > self._clock.now:
            self._report.count("resumed from the future")

    async def _check_still_fits(self, directory: str, session: str) -> None:
        """Look that a session of a moment ago fits, though the clock is turned back after it."""
        self._clock.turn(-HOUR)
        found = await self._service.find_resumable(directory, None, timedelta(minutes=60))
        self._clock.turn(HOUR)
        fits = session in [each.id for each in found]
        newer = sum(each.updated_at >= self._clock.now for each in found)
        promise = "a session stays resumable when the clock is turned back"
        self._report.expect(fits or newer >= 6, promise, session)

    async def _look(self) -> None:
        """Compare every session with what was said in it, and the list with itself."""
        listed: list[str] = []
        cursor = None
        while True:
            page = await self._service.list_sessions(limit=7, cursor=cursor)
            listed += [session.id for session in page.sessions]
            for session in page.sessions:
                said = self._said[session.id]
                times = session.created_at, session.updated_at
                exact = times == (said.times[0], said.times[-1])
                self._report.expect(
                    exact, "createdAt and updatedAt are the first and last append's"
                )
                within = self._clock.least <= min(times) and max(times) <= self._clock.greatest
                self._report.expect(
                    within, "every time is one that the clock has shown", f"{times}"
                )
                self._report.count("updatedAt before createdAt", int(times[1] < times[0]))
            if (cursor := page.next_cursor) is None:
                break
        whole = len(listed) == len(set(listed)) == len(self._said)
        self._report.expect(whole, "a list shows every session once")
        for id in self._chance.sample(listed, min(10, len(listed))):
            try:
                self._check_order(id, await self._events(id))
            except StorageCorrupt as error:  # what is out of order is taken for damage
                self._report.expect(False, ORDER, str(error))

    async def _events(self, id: str) -> list[StoredEvent]:
        upwards: list[StoredEvent] = []
        while True:
            page = await self._service.load_events(id, after=len(upwards), limit=50)
            upwards += page.events
            if not page.has_more:
                break
        newest = (await self._service.load_events(id, limit=5)).events
        same = [event.id for event in newest] == [event.id for event in upwards[-5:]]
        self._report.expect(same, "the tail is the end of the whole")
        return upwards

    def _check_order(self, id: str, events: list[StoredEvent]) -> None:
        said = self._said[id]
        self._report.expect([event.id for event in events] == said.ids, ORDER, id)
        gapless = [event.seq for event in events] == list(range(1, len(said.ids) + 1))
        self._report.expect(gapless, "the order has no gap", id)
        backwards = sum(b < a for a, b in zip(said.times, said.times[1:], strict=False))
        self._report.count("steps back in time within a chain", backwards)
        self._report.count("chains compared")


async def _live(report: Report, chance: Random, folder: Path) -> None:
    await Turner(report, chance, folder).live(STEP_OF_A_STORE)


def run(report: Report, chance: Random) -> None:
    """Live in one store after the other."""
    for _ in range(STEPS[report.size] // STEP_OF_A_STORE):
        with stage() as folder:
            asyncio.run(_live(report, chance, folder))
            report.count("stores")


if __name__ == "__main__":
    main(run)
