"""Question 2: whether finding the session to resume costs the same however many there are."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from segue.storage.local import LocalSessionService
from tests.bench import stores
from tests.bench.measuring import Row, Side, Sizes, one_cpu, shown, take_turns

_A_YEAR = timedelta(days=366)  # as old as they get: everything that is not archived fits
_HOT = 10  # one in so many sessions of the largest database is in one directory
_PLACES = {"hot": "of them", "archived": "that are archived"}


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare each number of sessions with the smallest, and with a look-up by id."""
    with one_cpu(), asyncio.Runner() as runner:
        services: dict[int, LocalSessionService] = {}
        smallest, largest = sizes.sessions[0], sizes.sessions[-1]
        for count in sizes.sessions:
            path = folder / f"{count}" / "sessions.db"
            with stores.made(path) as db:
                stores.add_sessions(db, count, count // _HOT if count == largest else 0)
            services[count] = runner.run(LocalSessionService.open(path))
        sides = {f"{count}": _finding(runner, services[count], count) for count in sizes.sessions}
        for place in _PLACES:
            sides[place] = _side(runner, partial(_find, services[largest], place))
        sides["by id"] = _side(
            runner, lambda n: services[largest].get_session(f"session-{n * 7919 % largest + 1}")
        )
        found = take_turns(sides, rounds=sizes.rounds, calls=sizes.calls // 3)
        for service in services.values():
            runner.run(service.close())
    goal = "<= 2x"
    for count in sizes.sessions[1:]:
        yield Row(
            question=f"find the session to resume among {count:,}",
            measured=shown(found[f"{count}"]),
            against=f"among {smallest:,}, {shown(found[f'{smallest}'])}",
            ratio=found[f"{count}"] / found[f"{smallest}"],
            goal=goal,
        )
    for place, text in _PLACES.items():
        yield Row(
            question=f"the same, in a directory with {largest // _HOT:,} {text}",
            measured=shown(found[place]),
            against=f"among {smallest:,}, {shown(found[f'{smallest}'])}",
            ratio=found[place] / found[f"{smallest}"],
            goal=goal,
        )
    yield Row(
        question=f"find the session to resume among {largest:,}",
        measured=shown(found[f"{largest}"]),
        against=f"one session by its id, {shown(found['by id'])}",
        ratio=found[f"{largest}"] / found["by id"],
        goal=goal,
    )


def _finding(runner: asyncio.Runner, service: LocalSessionService, count: int) -> Side:
    # Spread over all the directories, the last ones: the first may be the hot one's.
    last = count // stores.PER_DIRECTORY - 1
    return _side(runner, lambda n: _find(service, f"{last - n * 31 % (last // 2 + 1)}"))


def _find(service: LocalSessionService, place: str, _: int = 0) -> Awaitable[object]:
    root = f"/repositories/{place}"
    return service.find_resumable(f"{root}/src", root, _A_YEAR)


def _side(runner: asyncio.Runner, call: Callable[[int], Awaitable[object]]) -> Side:
    number = itertools.count()

    async def measure(calls: int) -> list[float]:
        seconds = []
        for n in itertools.islice(number, calls):
            work = call(n)
            begin = time.perf_counter()
            await work
            seconds.append(time.perf_counter() - begin)
        return seconds

    return lambda calls: runner.run(measure(calls))
