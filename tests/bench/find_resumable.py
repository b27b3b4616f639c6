"""Whether look-ups cost the same with any number of sessions.

Measured as whole calls of the service in this process, since JSON-RPC would only hide growth; and
as the SQL statement alone, beside the look-up of one row by its key and atuin's statement.
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
from segue.model.records import MAX_TIMESTAMP, NewSession, now
from segue.store.sqlite import driver
from segue.store.sqlite import service as store
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.service import LocalSessionService
from tests.bench import atuin, stores
from tests.bench.measure import (
    Curve,
    Figure,
    Result,
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_least,
    at_most,
    cap_calls,
    format_seconds,
    pin_to_one_cpu,
)

AXIS = "sessions in the store"
_MAX_AGE = timedelta(days=366)  # above that of the oldest: every session not archived fits
_BY_ID = "SELECT * FROM sessions WHERE id = ?"
_DIRECTORIES = {"hot": "in its directory", "archived": "archived in its directory"}
_INVOCATION = "invocation"
_SLOW_PER_ROUND = 5
_PAGE = 50
_CURVES = {
    "find hot": "find_resumable, hot directory",
    "list": "first page of all sessions",
    "list hot": "first page of the hot directory",
    "append": "append one event",
}


def measure(sizes: Sizes, folder: Path) -> Iterator[Result]:
    """Compare each number of sessions with the look-up of one by its id, and with atuin's."""
    paths = stores.session_databases(folder, sizes)
    with pin_to_one_cpu():
        calls = _call_figures(sizes, paths)
        statements = _statement_figures(sizes, paths, folder / "atuin")
    yield from _rows(
        sizes, statements, "find", "find_resumable, the statement alone, one session", 1.4
    )
    all_fitting = f"find_resumable, the statement alone, the {store.MAX_RESUMABLE} that it returns"
    yield from _rows(sizes, statements, "find all", all_fitting)
    yield from _rows(sizes, calls, "find", "find_resumable, the whole call")
    yield from _list_rows(sizes, calls)
    yield from _atuin_rows(sizes, statements)
    for key, label in _CURVES.items():
        yield _curve(sizes, calls, key, label)
    yield _curve(sizes, statements, "atuin hot", "atuin's statement, hot directory", is_segue=False)


def _curve(
    sizes: Sizes, figures: dict[str, Figure], key: str, name: str, *, is_segue: bool = True
) -> Curve:
    points = {count: figures[f"{key} {count}"].p50 for count in sizes.sessions}
    return Curve(name=name, axis=AXIS, points=points, is_segue=is_segue)


def _rows(
    sizes: Sizes,
    figures: dict[str, Figure],
    key: str,
    quantity: str,
    stretch: float | None = None,
) -> Iterator[Row]:
    largest = sizes.sessions[-1]
    cases = {f"{count}": (f"among {count:,}", count) for count in sizes.sessions} | {
        f"{name} {largest}": (f"{largest // stores.HOT_SHARE:,} {label}", largest)
        for name, label in _DIRECTORIES.items()
    }
    for case, (label, count) in cases.items():
        segue, by_id = figures[f"{key} {case}"].p50, figures[f"by id {count}"].p50
        yield Row(
            number=11,
            quantity=f"{quantity}, {label}",
            measured=format_seconds(segue),
            baseline=f"one session by its id, {format_seconds(by_id)}",
            value=segue / by_id,
            goal=at_most(2),
            stretch=None if stretch is None else at_most(stretch),
        )


def _list_rows(sizes: Sizes, figures: dict[str, Figure]) -> Iterator[Row]:
    largest = sizes.sessions[-1]
    hot = f"{largest // stores.HOT_SHARE:,} {_DIRECTORIES['hot']}"
    for key, label in (("list", f"among {largest:,}"), ("list hot", hot)):
        page = figures[f"{key} {largest}"].p50
        by_id = figures[f"by id {largest}"].p50
        yield Row(
            number=11,
            quantity=f"the first page of {_PAGE} sessions, the whole call, {label}",
            measured=format_seconds(page),
            baseline=f"{_PAGE} sessions by their ids, {format_seconds(_PAGE * by_id)}",
            value=page / (_PAGE * by_id),
            goal=at_most(1),
            stretch=at_most(0.5),
        )


def _atuin_rows(sizes: Sizes, figures: dict[str, Figure]) -> Iterator[Row]:
    largest = sizes.sessions[-1]
    hot = f"{largest // stores.HOT_SHARE:,} {_DIRECTORIES['hot']}"
    for case, label, goal in (
        (f"hot {largest}", hot, at_least(1_000)),
        (f"{largest}", f"among {largest:,}", None),
    ):
        segue, other = figures[f"find {case}"].p50, figures[f"atuin {case}"].p50
        yield Row(
            number=11,
            quantity=f"find_resumable, the statement alone, {label}",
            measured=format_seconds(segue),
            baseline=f"atuin's statement, tables and indexes, {format_seconds(other)}",
            value=other / segue,
            unit="x faster",
            goal=goal,
        )


# -- whole calls ---------------------------------------------------------------------------------


def _call_figures(sizes: Sizes, paths: dict[int, Path]) -> dict[str, Figure]:
    with asyncio.Runner() as runner:
        services = {
            count: runner.run(LocalSessionService.open(path)) for count, path in paths.items()
        }
        sides = []
        for count, service in services.items():
            anywhere = partial(service.list_sessions, limit=_PAGE)
            hot = partial(anywhere, directory="/repositories/hot/src")
            calls: dict[str, Callable[[int], Awaitable[object]]] = {
                f"find {count}": partial(_find_any, service, count),
                f"by id {count}": partial(_get, service, count),
                f"list {count}": partial(_without_number, anywhere),
                f"append {count}": runner.run(_prepare_append(service)),
                **{f"find {name} {count}": partial(_find, service, name) for name in _DIRECTORIES},
            }
            sides += [_call_side(runner, name, call) for name, call in calls.items()]
            list_hot = _call_side(runner, f"list hot {count}", partial(_without_number, hot))
            sides += [cap_calls(list_hot, _SLOW_PER_ROUND)]
        figures = alternate(sides, rounds=sizes.rounds, calls=sizes.calls // 2)
        for service in services.values():
            runner.run(service.close())
    return figures


def _call_side(runner: asyncio.Runner, name: str, call: Callable[[int], Awaitable[object]]) -> Side:
    numbers = itertools.count()

    async def measure(calls: int) -> Samples:
        seconds = []
        for n in itertools.islice(numbers, calls):
            awaitable = call(n)
            begin = time.perf_counter()
            await awaitable
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return lambda calls: runner.run(measure(calls))


def _without_number(call: Callable[[], Awaitable[object]], _: int) -> Awaitable[object]:
    return call()


def _find_any(service: LocalSessionService, count: int, n: int) -> Awaitable[object]:
    return _find(service, _directory_name(count, n))


def _find(service: LocalSessionService, name: str, _: int = 0) -> Awaitable[object]:
    root = f"/repositories/{name}"
    return service.find_resumable(f"{root}/src", root, _MAX_AGE)


def _get(service: LocalSessionService, count: int, n: int) -> Awaitable[object]:
    return service.get_session(_session_id(count, n))


async def _prepare_append(service: LocalSessionService) -> Callable[[int], Awaitable[object]]:
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


# -- statements ----------------------------------------------------------------------------------


def _statement_figures(sizes: Sizes, paths: dict[int, Path], folder: Path) -> dict[str, Figure]:
    sides = []
    with contextlib.ExitStack() as stack:
        for count, path in paths.items():
            db = stack.enter_context(contextlib.closing(driver.connect(str(path))))
            atuin_db = atuin.create_database(folder / f"{count}.db")
            stack.enter_context(contextlib.closing(atuin_db))
            atuin.copy_sessions(atuin_db, path)
            any_name = partial(_directory_name, count)
            sides += [
                *_find_sides(db, f"{count}", any_name),
                _statement_side(db, f"by id {count}", _BY_ID, partial(_id_values, count)),
                _statement_side(atuin_db, f"atuin {count}", atuin.FIND, _atuin_values(any_name)),
            ]
            for name in _DIRECTORIES:
                sides += _find_sides(db, f"{name} {count}", _always(name))
            hot_values = _atuin_values(_always("hot"))
            hot = _statement_side(atuin_db, f"atuin hot {count}", atuin.FIND, hot_values)
            sides += [cap_calls(hot, _SLOW_PER_ROUND)]
        return alternate(sides, rounds=sizes.rounds, calls=sizes.calls)


def _find_sides(db: Connection, name: str, directory_name: Callable[[int], str]) -> list[Side]:
    # One row, as the baselines return, and as many as the service asks for.
    return [
        _statement_side(db, f"{key} {name}", store._RESUMABLE, _find_values(directory_name, limit))
        for key, limit in (("find", 1), ("find all", store.MAX_RESUMABLE))
    ]


def _statement_side(db: Connection, name: str, sql: str, values: Callable[[int], object]) -> Side:
    numbers = itertools.count()

    def measure(calls: int) -> Samples:
        seconds = []
        for n in itertools.islice(numbers, calls):
            parameters = values(n)
            begin = time.perf_counter()
            rows = db.execute(sql, parameters).fetchall()  # type: ignore[arg-type]  # tuple or dict
            seconds.append(time.perf_counter() - begin)
            assert rows or "archived" in name
        return {name: seconds}

    return measure


def _find_values(directory_name: Callable[[int], str], limit: int) -> Callable[[int], object]:
    since = now() - _MAX_AGE // timedelta(milliseconds=1)

    def values(n: int) -> object:
        workspace = _workspace(directory_name(n))
        return workspace["directory"], workspace["git_root"], since, MAX_TIMESTAMP, limit

    return values


def _atuin_values(directory_name: Callable[[int], str]) -> Callable[[int], object]:
    since = int(time.time() - _MAX_AGE.total_seconds())
    return lambda n: _workspace(directory_name(n)) | {"since": since}


def _id_values(count: int, n: int) -> tuple[str]:
    return (_session_id(count, n),)


def _workspace(name: str) -> dict[str, object]:
    root = f"/repositories/{name}"
    return {"directory": f"{root}/src", "git_root": root}


def _directory_name(count: int, n: int) -> str:
    # Of the second half: directories with low numbers may have no session of their own.
    last = count // stores.PER_DIRECTORY - 1
    return f"{last - n * 31 % (last // 2 + 1)}"


def _always(name: str) -> Callable[[int], str]:
    return lambda n: name


def _session_id(count: int, n: int) -> str:
    return f"session-{n * 7919 % count + 1}"
