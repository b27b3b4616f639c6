"""How the cost of one session's requests grows with its length: over stdio, on one CPU."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import append, open_session, peers, stores
from tests.bench.measure import (
    Curve,
    Figure,
    FindResult,
    Row,
    Samples,
    Side,
    Sizes,
    at_most,
    mib,
    one_cpu,
    shown,
    take_turns,
)
from tests.bench.wire import NORMAL, SEGUE, Server

AXIS = "events in the session"
_CALLS = 20  # so that a session of ten events has not many more at the end of a round
_CURVES = {
    "FULL": "append one event, FULL",
    "NORMAL": "append one event, NORMAL",
    "open": "open (its last 200)",
    "page": "a page of 200",
}
_PEERS = {
    "openai-agents SQLiteSession": _CALLS,
    "openai-agents AdvancedSQLiteSession": 5,
    "langgraph AsyncSqliteSaver": 1,
}
_TAIL = 200


def measure(sizes: Sizes, folder: Path) -> Iterator[FindResult]:
    """Compare the longest session with the shortest, and with how others' appends grow."""
    path, ids = stores.with_events(folder, sizes)
    short, long = sizes.lengths[0], sizes.longest
    with (
        one_cpu(),
        contextlib.ExitStack() as stack,
        peers.running(folder / "growing" / "peers", *_PEERS) as running,
    ):
        sides: list[Side] = []
        for name, command in (("FULL", SEGUE), ("NORMAL", NORMAL)):
            sides += _appends(stack, name, command, sizes, folder / "growing" / name)
        server = _server(stack, path)
        for length, id in ids.items():
            sides.append(open_session.opening(f"open {length}", server, id, _TAIL))
            sides.append(_page(f"page {length}", server, id, length))
        for name, peer in running.items():
            for length in sizes.lengths:
                text = stores.DATA["content"]
                peer.ask("begin", f"{length}", count=length, text=text)
                sides.append(peer.appending(f"{length}", text, _PEERS[name], f"{name} {length}"))
        found = take_turns(sides, rounds=sizes.rounds, calls=_CALLS)
    for name, limits in (("NORMAL", (1.25, 1.1)), ("FULL", (None, None))):
        goal, stretch = (None if limit is None else at_most(limit) for limit in limits)
        ours, theirs = found[f"{name} {long}"].p50, found[f"{name} {short}"].p50
        yield Row(
            number=9,
            question=f"append to a session of {long:,} events over stdio, {name}, p50",
            measured=shown(ours),
            against=f"to one of {short:,}, {shown(theirs)}",
            value=ours / theirs,
            goal=goal,
            stretch=stretch,
        )
    for name in _PEERS:
        yield _peer(name, found, short, long)
    yield from _memory(sizes, folder, path, ids)
    for key, text in _CURVES.items():
        yield _curve(key, text, found, sizes)
    for name in running:
        yield _curve(name, name, found, sizes, ours=False)


def _curve(
    key: str, name: str, found: dict[str, Figure], sizes: Sizes, *, ours: bool = True
) -> Curve:
    points = {length: found[f"{key} {length}"].p50 for length in sizes.lengths}
    return Curve(name=name, axis=AXIS, points=points, ours=ours)


def _peer(name: str, found: dict[str, Figure], short: int, long: int) -> Row:
    ours = found[f"FULL {long}"].p50
    question = f"append to a session of {long:,} events over stdio, FULL, p50"
    if f"{name} {long}" not in found:
        return peers.absent(9, question, shown(ours), name)
    few, many = found[f"{name} {short}"].p50, found[f"{name} {long}"].p50
    growth = f"{shown(few)} at {short:,}, {shown(many)} at {long:,}: {many / few:.1f}x"
    return Row(
        number=9,
        question=question,
        measured=shown(ours),
        against=f"{name} in its process ({_PEERS[name]} a round), {growth}",
        value=ours / many,
    )


def _server(stack: contextlib.ExitStack, path: Path, command: tuple[str, ...] = SEGUE) -> Server:
    server = Server(path, command)
    stack.callback(server.end)
    server.initialize()
    return server


def _appends(
    stack: contextlib.ExitStack, name: str, command: tuple[str, ...], sizes: Sizes, folder: Path
) -> Iterator[Side]:
    path, numbers = folder / "sessions.db", itertools.count(1)
    ids: dict[int, list[str]] = {}
    with stores.made(path) as db:
        for length in sizes.lengths:
            copies = sizes.rounds + 1 if length <= 1_000 else 1
            ids[length] = [stores.add_session(db, next(numbers), length) for _ in range(copies)]
    server = _server(stack, path, command)
    return (_append(f"{name} {length}", server, each) for length, each in ids.items())


def _append(name: str, server: Server, ids: list[str]) -> Side:
    rounds = itertools.cycle(ids)

    def measure(calls: int) -> Samples:
        session_id = next(rounds)
        server.request("session/open", {"sessionId": session_id, "tail": 1})
        prepare = append.appending(server, session_id)
        prepare()()  # the first stores the note of the new invocation too
        seconds = []
        for _ in range(calls):
            call = prepare()
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def _page(name: str, server: Server, session_id: str, length: int) -> Side:
    middle = max(0, length // 2 - _TAIL // 2)
    params = {"sessionId": session_id, "after": middle, "limit": _TAIL}

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            frame = server.frame("session/events", params)
            begin = time.perf_counter()
            page = json.loads(server.exchange(frame))["result"]
            seconds.append(time.perf_counter() - begin)
            assert page["events"]
        return {name: seconds}

    return measure


def _memory(sizes: Sizes, folder: Path, events: Path, ids: dict[int, str]) -> Iterator[Row]:
    """Compare the peak with that of the same requests for the smallest."""
    stored = stores.with_sessions(folder, sizes)
    few, many = sizes.sessions[0], sizes.sessions[-1]
    short, long = sizes.lengths[0], sizes.longest
    cases = (
        (f"opening one of {long:,} events", _open, (events, ids[long]), (events, ids[short])),
        (
            f"paging through {long:,} events",
            page_through,
            (events, ids[long]),
            (events, ids[short]),
        ),
        (
            f"listing twenty pages of {many:,} sessions",
            _list,
            (stored[many], ""),
            (stored[few], ""),
        ),
    )
    for text, requests, largest, smallest in cases:
        peaks = []
        for path, session_id in (largest, smallest):
            with contextlib.ExitStack() as stack:
                server = _server(stack, path)
                requests(server, session_id)
                peaks.append(server.peak())
        yield Row(
            question=f"the server's peak memory, {text}",
            measured=mib(peaks[0]),
            against=f"the smallest, {mib(peaks[1])}",
            value=peaks[0] / peaks[1],
        )


def _open(server: Server, session_id: str) -> None:
    server.request("session/open", {"sessionId": session_id, "tail": _TAIL})


def page_through(server: Server, session_id: str, limit: int = 1_000) -> int:
    """Read a whole session by its pages, each asked for while the one before it comes."""

    def ask(after: int) -> None:
        params = {"sessionId": session_id, "after": after, "limit": limit}
        server.send(server.frame("session/events", params))

    count, more = 0, True
    ask(0)
    while more:
        ask(count + limit)
        page = json.loads(server.receive())["result"]
        count, more = count + len(page["events"]), page["hasMore"]
        assert not more or len(page["events"]) == limit, "a page was cut short"
    server.receive()
    return count


def _list(server: Server, _: str) -> None:
    cursor = None
    for _page in range(20):
        listed = server.request("session/list", {"cursor": cursor})
        if (cursor := listed["nextCursor"]) is None:
            return
