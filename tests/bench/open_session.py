"""The latency of opening a session, short and long."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import peers, stores
from tests.bench.measure import (
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
    time_calls,
)
from tests.bench.wire import Server

_TAIL, _SHORT = 50, 100
_WHOLE_LOADS_PER_ROUND = 2
_PEER = "openai-agents SQLiteSession"


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare a long session with a short one, and with reading the whole of it."""
    path, ids = stores.event_database(folder, sizes)
    long = sizes.longest
    lines = folder / "session.jsonl"
    _write_lines(lines, long)
    with pin_to_one_cpu(), peers.start_peers(folder / "open_session", _PEER) as running:
        server = Server(path)
        server.initialize()
        sides = [open_side(f"{length}", server, ids[length], _TAIL) for length in (_SHORT, long)]
        parse = time_calls("jsonl", lambda: lambda: _parse_lines(lines))
        sides.append(cap_calls(parse, _WHOLE_LOADS_PER_ROUND))
        for peer in running.values():
            peer.request("create", "session", count=long, content=stores.DATA["content"])
            sides.append(_peer_side(peer))
        figures = alternate(sides, rounds=sizes.rounds, calls=max(5, sizes.calls // 10))
        server.shut_down()
    segue = figures[f"{long}"].p50
    quantity = f"open a session of {long:,} events over stdio (its last {_TAIL})"
    short = figures[f"{_SHORT}"].p50
    yield Row(
        number=12,
        quantity=quantity,
        measured=format_seconds(segue),
        baseline=f"one of {_SHORT:,}, {format_seconds(short)}",
        value=segue / short,
        goal=at_most(2),
    )
    yield Row(
        number=12,
        quantity=quantity,
        measured=format_seconds(segue),
        baseline=f"parsing it as a JSONL file, {format_seconds(figures['jsonl'].p50)}",
        value=figures["jsonl"].p50 / segue,
        unit="x faster",
        goal=at_least(100),
        stretch=at_least(1_000),
    )
    if _PEER in figures:
        whole = format_seconds(figures[_PEER].p50)
        yield Row(
            number=12,
            quantity=quantity,
            measured=format_seconds(segue),
            baseline=f"{_PEER} in its process, the whole session, {whole}",
            value=figures[_PEER].p50 / segue,
            unit="x faster",
        )
    else:
        yield peers.absent_row(12, quantity, format_seconds(segue), _PEER)


def open_side(name: str, server: Server, session_id: str, tail: int) -> Side:
    """Return a side that times `session/open` with *tail* events, and closes after each."""
    frame = server.frame("session/open", {"sessionId": session_id, "tail": tail})
    close = server.frame("session/close", {"sessionId": session_id})

    def measure(calls: int) -> Samples:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            opened = json.loads(server.exchange(frame))["result"]
            seconds.append(time.perf_counter() - begin)
            assert opened["events"], session_id
            server.exchange(close)
        return {name: seconds}

    return measure


def _peer_side(peer: peers.Peer) -> Side:
    return lambda _: {peer.name: peer.request("load", "session", calls=_WHOLE_LOADS_PER_ROUND)}


def _write_lines(path: Path, count: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            event = {"id": f"event-{number}", "type": "text", "data": stores.DATA}
            file.write(json.dumps(event) + "\n")


def _parse_lines(path: Path) -> int:
    with open(path, encoding="utf-8") as file:
        return len([json.loads(line) for line in file])
