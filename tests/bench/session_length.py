"""How the cost of a session's requests grows with its number of events: over stdio, on one CPU."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import append, load_events, open_session, peers, stores
from tests.bench.measure import (
    Curve,
    Figure,
    Result,
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_most,
    format_mib,
    format_seconds,
    pin_to_one_cpu,
)
from tests.bench.wire import SEGUE, SEGUE_NORMAL, Server

AXIS = "events in the session"
_CALLS = 20  # few, so that a session of ten events is still short when a round ends
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
"""The peers, with the number of appends in a round."""

_TAIL = 200


def measure(sizes: Sizes, folder: Path) -> Iterator[Result]:
    """Compare the longest session with the shortest, and with the growth of the peers' appends."""
    path, ids = stores.event_database(folder, sizes)
    short, long = sizes.lengths[0], sizes.longest
    with (
        pin_to_one_cpu(),
        contextlib.ExitStack() as stack,
        peers.start_peers(folder / "session_length" / "peers", *_PEERS) as running,
    ):
        sides: list[Side] = []
        for name, command in (("FULL", SEGUE), ("NORMAL", SEGUE_NORMAL)):
            sides += _append_sides(stack, name, command, sizes, folder / "session_length" / name)
        server = _start_server(stack, path)
        for length, session_id in ids.items():
            sides.append(open_session.open_side(f"open {length}", server, session_id, _TAIL))
            sides.append(_page_side(f"page {length}", server, session_id, length))
        for name, peer in running.items():
            for length in sizes.lengths:
                content = stores.DATA["content"]
                peer.request("create", f"{length}", count=length, content=content)
                side = peer.append_side(f"{length}", content, _PEERS[name], f"{name} {length}")
                sides.append(side)
        figures = alternate(sides, rounds=sizes.rounds, calls=_CALLS)
    for name, limits in (("NORMAL", (1.25, 1.1)), ("FULL", (None, None))):
        goal, stretch = (None if limit is None else at_most(limit) for limit in limits)
        longest, shortest = figures[f"{name} {long}"].p50, figures[f"{name} {short}"].p50
        yield Row(
            number=9,
            quantity=f"append to a session of {long:,} events over stdio, {name}, p50",
            measured=format_seconds(longest),
            baseline=f"to one of {short:,}, {format_seconds(shortest)}",
            value=longest / shortest,
            goal=goal,
            stretch=stretch,
        )
    for name in _PEERS:
        yield _peer_row(name, figures, short, long)
    yield from _memory_rows(sizes, folder, path, ids)
    for key, label in _CURVES.items():
        yield _curve(key, label, figures, sizes)
    for name in running:
        yield _curve(name, name, figures, sizes, is_segue=False)


def _curve(
    key: str, name: str, figures: dict[str, Figure], sizes: Sizes, *, is_segue: bool = True
) -> Curve:
    points = {length: figures[f"{key} {length}"].p50 for length in sizes.lengths}
    return Curve(name=name, axis=AXIS, points=points, is_segue=is_segue)


def _peer_row(name: str, figures: dict[str, Figure], short: int, long: int) -> Row:
    segue = figures[f"FULL {long}"].p50
    quantity = f"append to a session of {long:,} events over stdio, FULL, p50"
    if f"{name} {long}" not in figures:
        return peers.absent_row(9, quantity, format_seconds(segue), name)
    shortest, longest = figures[f"{name} {short}"].p50, figures[f"{name} {long}"].p50
    growth = (
        f"{format_seconds(shortest)} at {short:,}, {format_seconds(longest)} at {long:,}: "
        f"{longest / shortest:.1f}x"
    )
    return Row(
        number=9,
        quantity=quantity,
        measured=format_seconds(segue),
        baseline=f"{name} in its process ({_PEERS[name]} a round), {growth}",
        value=segue / longest,
    )


def _start_server(
    stack: contextlib.ExitStack, path: Path, command: tuple[str, ...] = SEGUE
) -> Server:
    server = Server(path, command)
    stack.callback(server.shut_down)
    server.initialize()
    return server


def _append_sides(
    stack: contextlib.ExitStack, name: str, command: tuple[str, ...], sizes: Sizes, folder: Path
) -> Iterator[Side]:
    path, numbers = folder / "sessions.db", itertools.count(1)
    ids: dict[int, list[str]] = {}
    with stores.create_database(path) as db:
        for length in sizes.lengths:
            # A short session would grow too much: it is another one in each round.
            copies = sizes.rounds + 1 if length <= 1_000 else 1
            ids[length] = [stores.add_session(db, next(numbers), length) for _ in range(copies)]
    server = _start_server(stack, path, command)
    return (_append_side(f"{name} {length}", server, each) for length, each in ids.items())


def _append_side(name: str, server: Server, ids: list[str]) -> Side:
    session_ids = itertools.cycle(ids)

    def measure(calls: int) -> Samples:
        session_id = next(session_ids)
        server.request("session/open", {"sessionId": session_id, "tail": 1})
        prepare = append.append_factory(server, session_id)
        prepare()()  # the first append also stores the boundary
        seconds = []
        for _ in range(calls):
            call = prepare()
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return measure


def _page_side(name: str, server: Server, session_id: str, length: int) -> Side:
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


def _memory_rows(sizes: Sizes, folder: Path, events: Path, ids: dict[int, str]) -> Iterator[Row]:
    """Compare the peak memory with that of the same requests on the smallest data."""
    sessions = stores.session_databases(folder, sizes)
    few, many = sizes.sessions[0], sizes.sessions[-1]
    short, long = (events, ids[sizes.lengths[0]]), (events, ids[sizes.longest])
    cases = (
        (f"opening one of {sizes.longest:,} events", _open, long, short),
        (
            f"reading all pages of {sizes.longest:,} events",
            load_events.read_all_pages,
            long,
            short,
        ),
        (
            f"listing twenty pages of {many:,} sessions",
            _list_pages,
            (sessions[many], ""),
            (sessions[few], ""),
        ),
    )
    for label, send_requests, largest, smallest in cases:
        peaks = []
        for path, session_id in (largest, smallest):
            with contextlib.ExitStack() as stack:
                server = _start_server(stack, path)
                send_requests(server, session_id)
                peaks.append(server.peak_memory())
        yield Row(
            quantity=f"the server's peak memory, {label}",
            measured=format_mib(peaks[0]),
            baseline=f"the smallest, {format_mib(peaks[1])}",
            value=peaks[0] / peaks[1],
        )


def _open(server: Server, session_id: str) -> None:
    server.request("session/open", {"sessionId": session_id, "tail": _TAIL})


def _list_pages(server: Server, _: str) -> None:
    cursor = None
    for _page in range(20):
        listed = server.request("session/list", {"cursor": cursor})
        if (cursor := listed["nextCursor"]) is None:
            return
