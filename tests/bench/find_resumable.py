"""Whether what is looked up costs the same however many sessions there are.

As whole calls of the service, in this process: JSON-RPC would only hide what grows. And the
statement alone, next to the look-up of one row by its key, and to atuin's statement.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from segue.model.events import Event, new_id
from segue.model.records import NewSession, now
from segue.store.sqlite import driver
from segue.store.sqlite import service as local
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.service import LocalSessionService
from tests.bench import atuin, stores
from tests.bench.measure import (
    Curve,
    Figure,
    FindResult,
    Row,
    Samples,
    Side,
    Sizes,
    at_least,
    at_most,
    limited,
    one_cpu,
    shown,
    take_turns,
)

AXIS = "sessions in the store"
_A_YEAR = timedelta(days=366)  # as old as they get: everything that is not archived fits
_BY_ID = "SELECT * FROM sessions WHERE id = ?"
_PLACES = {"hot": "in its directory", "archived": "archived in its directory"}
_INVOCATION = "invocation"
_SLOW = 5


def measure(sizes: Sizes, folder: Path) -> Iterator[FindResult]:
    """Compare each number of sessions with the look-up of one by its id, and with atuin's."""
    paths = stores.with_sessions(folder, sizes)
    with one_cpu():
        whole = _whole_calls(sizes, paths)
        alone = _statements(sizes, paths, folder / "atuin")
    yield from _rows(sizes, alone, "find", "find_resumable, the statement alone, one session", 1.4)
    others = f"find_resumable, the statement alone, the {local.FITTING} that it returns"
    yield from _rows(sizes, alone, "find all", others)
    yield from _rows(sizes, whole, "find", "find_resumable, the whole call")
    yield from _against_atuin(sizes, alone)
    for name, text in _CURVES.items():
        yield _curve(sizes, whole, name, text)
    yield _curve(sizes, alone, "atuin hot", "atuin's statement, hot directory", ours=False)


_CURVES = {
    "find hot": "find_resumable, hot directory",
    "list": "first page of all sessions",
    "list hot": "first page of the hot directory",
    "append": "append one event",
}


def _curve(
    sizes: Sizes, found: dict[str, Figure], key: str, name: str, *, ours: bool = True
) -> Curve:
    points = {count: found[f"{key} {count}"].p50 for count in sizes.sessions}
    return Curve(name=name, axis=AXIS, points=points, ours=ours)


def _rows(
    sizes: Sizes, found: dict[str, Figure], key: str, question: str, stretch: float | None = None
) -> Iterator[Row]:
    largest = sizes.sessions[-1]
    cases = {f"{count}": (f"among {count:,}", count) for count in sizes.sessions} | {
        f"{place} {largest}": (f"{largest // stores.HOT:,} {text}", largest)
        for place, text in _PLACES.items()
    }
    for case, (text, count) in cases.items():
        ours, one = found[f"{key} {case}"].p50, found[f"by id {count}"].p50
        yield Row(
            number=11,
            question=f"{question}, {text}",
            measured=shown(ours),
            against=f"one session by its id, {shown(one)}",
            value=ours / one,
            goal=at_most(2),
            stretch=None if stretch is None else at_most(stretch),
        )


def _against_atuin(sizes: Sizes, found: dict[str, Figure]) -> Iterator[Row]:
    largest = sizes.sessions[-1]
    for case, text, goal in (
        (f"hot {largest}", f"{largest // stores.HOT:,} {_PLACES['hot']}", at_least(1_000)),
        (f"{largest}", f"among {largest:,}", None),
    ):
        ours, theirs = found[f"find {case}"].p50, found[f"atuin {case}"].p50
        yield Row(
            number=11,
            question=f"find_resumable, the statement alone, {text}",
            measured=shown(ours),
            against=f"atuin's statement, tables and indexes, {shown(theirs)}",
            value=theirs / ours,
            unit="x faster",
            goal=goal,
        )


def _whole_calls(sizes: Sizes, paths: dict[int, Path]) -> dict[str, Figure]:
    with asyncio.Runner() as runner:
        services = {
            count: runner.run(LocalSessionService.open(path)) for count, path in paths.items()
        }
        sides = []
        for count, service in services.items():
            hot = partial(service.list_sessions, directory="/repositories/hot/src")
            calls: dict[str, Callable[[int], Awaitable[object]]] = {
                f"find {count}": partial(_find_among, service, count),
                f"by id {count}": partial(_get, service, count),
                f"list {count}": partial(_ignoring, service.list_sessions),
                f"append {count}": runner.run(_appending(service)),
                **{f"find {place} {count}": partial(_find, service, place) for place in _PLACES},
            }
            sides += [_side(runner, name, call) for name, call in calls.items()]
            sides += [limited(_side(runner, f"list hot {count}", partial(_ignoring, hot)), _SLOW)]
        found = take_turns(sides, rounds=sizes.rounds, calls=sizes.calls // 2)
        for service in services.values():
            runner.run(service.close())
    return found


def _ignoring(call: Callable[[], Awaitable[object]], _: int) -> Awaitable[object]:
    return call()


def _find_among(service: LocalSessionService, count: int, n: int) -> Awaitable[object]:
    return _find(service, _place(count, n))


def _find(service: LocalSessionService, place: str, _: int = 0) -> Awaitable[object]:
    root = f"/repositories/{place}"
    return service.find_resumable(f"{root}/src", root, _A_YEAR)


def _get(service: LocalSessionService, count: int, n: int) -> Awaitable[object]:
    return service.get_session(_id(count, n))


async def _appending(service: LocalSessionService) -> Callable[[int], Awaitable[object]]:
    new = NewSession(id=new_id(), directory="/")
    head = (await service.create_session(new, [_event()], invocation_id=_INVOCATION)).head

    async def append(_: int) -> None:
        nonlocal head
        appended = await service.append_events(
            new.id, [_event()], parent_id=head, invocation_id=_INVOCATION
        )
        head = appended.head

    return append


def _event() -> Event:
    return Event.new("text", stores.DATA)


def _statements(sizes: Sizes, paths: dict[int, Path], folder: Path) -> dict[str, Figure]:
    sides = []
    with contextlib.ExitStack() as stack:
        for count, path in paths.items():
            db = stack.enter_context(contextlib.closing(driver.connect(str(path))))
            theirs = stack.enter_context(contextlib.closing(atuin.made(folder / f"{count}.db")))
            atuin.copy_sessions(theirs, path)
            place = partial(_place, count)
            sides += [
                *_finding(db, f"{count}", place),
                _statement(db, f"by id {count}", _BY_ID, partial(_key, count)),
                _statement(theirs, f"atuin {count}", atuin.FIND, _theirs(place)),
            ]
            for name in _PLACES:
                sides += _finding(db, f"{name} {count}", _only(name))
            hot = _statement(theirs, f"atuin hot {count}", atuin.FIND, _theirs(_only("hot")))
            sides += [limited(hot, _SLOW)]
        return take_turns(sides, rounds=sizes.rounds, calls=sizes.calls)


def _finding(db: Connection, name: str, place: Callable[[int], str]) -> list[Side]:
    # One, like the peers' statements and the look-up by id, and as many as are asked for in use.
    return [
        _statement(db, f"{key} {name}", local._RESUMABLE, _ours(place, wanted))
        for key, wanted in (("find", 1), ("find all", local.FITTING))
    ]


def _ours(place: Callable[[int], str], wanted: int) -> Callable[[int], object]:
    since = now() - _A_YEAR // timedelta(milliseconds=1)

    def values(n: int) -> object:
        where = _where(place(n))
        return where["git_root"], where["directory"], since, wanted

    return values


def _theirs(place: Callable[[int], str]) -> Callable[[int], object]:
    since = int(time.time() - _A_YEAR.total_seconds())
    return lambda n: _where(place(n)) | {"since": since}


def _where(place: str) -> dict[str, object]:
    root = f"/repositories/{place}"
    return {"directory": f"{root}/src", "git_root": root}


def _place(count: int, n: int) -> str:
    # Spread over all the directories, the last ones: the first may be the hot one's.
    last = count // stores.PER_DIRECTORY - 1
    return f"{last - n * 31 % (last // 2 + 1)}"


def _only(place: str) -> Callable[[int], str]:
    return lambda n: place


def _key(count: int, n: int) -> tuple[str]:
    return (_id(count, n),)


def _id(count: int, n: int) -> str:
    return f"session-{n * 7919 % count + 1}"


def _statement(db: Connection, name: str, sql: str, values: Callable[[int], object]) -> Side:
    numbers = itertools.count()

    def measure(calls: int) -> Samples:
        seconds = []
        for n in itertools.islice(numbers, calls):
            given = values(n)
            begin = time.perf_counter()
            rows = db.execute(sql, given).fetchall()  # type: ignore[arg-type]
            seconds.append(time.perf_counter() - begin)
            assert rows or "archived" in name
        return {name: seconds}

    return measure


def _side(runner: asyncio.Runner, name: str, call: Callable[[int], Awaitable[object]]) -> Side:
    numbers = itertools.count()

    async def measure(calls: int) -> Samples:
        seconds = []
        for n in itertools.islice(numbers, calls):
            work = call(n)
            begin = time.perf_counter()
            await work
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return lambda calls: runner.run(measure(calls))
