"""Whether going on with a session costs the same however long it is."""

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
    at_least,
    at_most,
    limited,
    one_cpu,
    shown,
    take_turns,
    timed,
)
from tests.bench.wire import Server

_TAIL, _SHORT, _SLOW = 50, 100, 2
_LOADING = "openai-agents SQLiteSession"


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare a long session with a short one, and with reading all of it, as files are read."""
    path, ids = stores.with_events(folder, sizes)
    long = sizes.longest
    lines = folder / "session.jsonl"
    _write_lines(lines, long)
    with one_cpu(), peers.running(folder / "opening", _LOADING) as running:
        server = Server(path)
        server.initialize()
        sides = [opening(f"{length}", server, ids[length], _TAIL) for length in (_SHORT, long)]
        sides.append(limited(timed("jsonl", lambda: lambda: _parse(lines)), _SLOW))
        for peer in running.values():
            peer.ask("begin", "session", count=long, text=stores.DATA["content"])
            sides.append(lambda _: {_LOADING: peer.ask("load", "session", calls=_SLOW)})  # noqa: B023
        found = take_turns(sides, rounds=sizes.rounds, calls=max(5, sizes.calls // 10))
        server.end()
    ours = found[f"{long}"].p50
    question = f"open a session of {long:,} events over stdio (its last {_TAIL})"
    short = found[f"{_SHORT}"].p50
    yield Row(
        number=12,
        question=question,
        measured=shown(ours),
        against=f"one of {_SHORT:,}, {shown(short)}",
        value=ours / short,
        goal=at_most(2),
    )
    yield Row(
        number=12,
        question=question,
        measured=shown(ours),
        against=f"parsing it as a JSONL file, {shown(found['jsonl'].p50)}",
        value=found["jsonl"].p50 / ours,
        unit="x faster",
        goal=at_least(100),
        stretch=at_least(1_000),
    )
    if _LOADING in found:
        yield Row(
            number=12,
            question=question,
            measured=shown(ours),
            against=f"{_LOADING} in its process, all of it, {shown(found[_LOADING].p50)}",
            value=found[_LOADING].p50 / ours,
            unit="x faster",
        )
    else:
        yield peers.absent(12, question, shown(ours), _LOADING)


def opening(name: str, server: Server, session_id: str, tail: int) -> Side:
    """Return a side that opens a session with its last events; that it is closed is not timed."""
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


def _write_lines(path: Path, count: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            event = {"id": f"event-{number}", "type": "text", "data": stores.DATA}
            file.write(json.dumps(event) + "\n")


def _parse(path: Path) -> int:
    with open(path, encoding="utf-8") as file:
        return len([json.loads(line) for line in file])
