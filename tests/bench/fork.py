"""The latency of a fork, which shares its first events, and of opening one."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from segue.model.events import Event, new_id
from segue.model.records import NewFork, NewSession, now
from segue.store.sqlite import driver, queries, spans
from segue.store.sqlite.driver import Connection
from segue.store.sqlite.service import LocalSessionService
from tests.bench import append, stores
from tests.bench.measure import (
    Row,
    Side,
    Sizes,
    alternate,
    at_most,
    format_seconds,
    pin_to_one_cpu,
    time_calls,
)

_TAIL, _SHORT = 200, 100


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare a fork of a long session with a commit and a short one's, and with opening."""
    folder /= "fork"
    path, ids = stores.event_database(folder, sizes)
    long = sizes.longest
    with contextlib.ExitStack() as stack:
        stack.enter_context(pin_to_one_cpu())
        runner = stack.enter_context(asyncio.Runner())
        service = runner.run(LocalSessionService.open(path))
        stack.callback(lambda: runner.run(service.close()))
        forks = {length: NewFork(id=new_id()) for length in (_SHORT, long)}
        for length, fork in forks.items():
            runner.run(service.fork_session(ids[length], fork))
        own = NewSession(id=new_id(), directory="/")
        runner.run(service.create_session(own, [_event()], invocation_id="bench"))
        db = append.connect_raw(stack, folder / "bare")
        keys = iter(range((1 << 32) + 1, 1 << 33))

        def commit() -> Callable[[], object]:
            row = append.event_row(next(keys))
            return lambda: append.commit(db, [row])

        raw = driver.connect(str(path))
        stack.callback(raw.close)
        raw.execute("PRAGMA synchronous = FULL")

        def fork_raw() -> Callable[[], object]:
            new = NewFork(id=new_id())
            return lambda: _fork(raw, ids[long], new)

        def side(name: str, call: Callable[[], Coroutine[Any, Any, object]]) -> Side:
            return time_calls(name, lambda: lambda: runner.run(call()))

        figures = alternate(
            [
                time_calls("commit", commit),
                time_calls("fork", fork_raw),
                side("append", lambda: _append(service, own.id)),
                side("short", lambda: service.fork_session(ids[_SHORT], NewFork(id=new_id()))),
                side("long", lambda: service.fork_session(ids[long], NewFork(id=new_id()))),
                side("open", lambda: service.open_session(ids[long], _TAIL)),
                side("open fork", lambda: service.open_session(forks[long].id, _TAIL)),
            ],
            rounds=sizes.rounds,
            calls=sizes.calls,
        )
    seconds = {name: figure.p50 for name, figure in figures.items()}
    yield Row(
        number=21,
        quantity=f"fork of a session of {long:,} events, its transaction alone",
        measured=format_seconds(seconds["fork"]),
        baseline=f"raw sqlite3 commit, {format_seconds(seconds['commit'])}",
        value=seconds["fork"] / seconds["commit"],
        goal=at_most(1.5),
    )
    for baseline, name, goal in (
        ("append of one event", "append", 1.5),
        (f"fork of {_SHORT}", "short", 1.2),
    ):
        yield Row(
            number=21,
            quantity=f"fork of a session of {long:,} events",
            measured=format_seconds(seconds["long"]),
            baseline=f"{baseline}, {format_seconds(seconds[name])}",
            value=seconds["long"] / seconds[name],
            goal=None if goal is None else at_most(goal),
        )
    yield Row(
        number=22,
        quantity=f"open a fork of {long:,} events (its last {_TAIL})",
        measured=format_seconds(seconds["open fork"]),
        baseline=f"its original, {format_seconds(seconds['open'])}",
        value=seconds["open fork"] / seconds["open"],
        goal=at_most(1.2),
    )


def _fork(db: Connection, session_id: str, new: NewFork) -> None:
    db.execute("BEGIN IMMEDIATE")
    spans.fork(db, queries.get_session(db, session_id), new, now())
    db.execute("COMMIT")


async def _append(service: LocalSessionService, session_id: str) -> None:
    await service.append_events(
        session_id, [_event()], parent_id=None, accept_own_head=True, invocation_id="bench"
    )


def _event() -> Event:
    return Event.new("text", stores.DATA)
