"""The latency of a search, its index's size, and what an append costs beside both.

The peer is ripgrep over the same text as JSON lines, a file for each session; where it is not
installed, a scan of those files in Python.
"""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.bench import stores
from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_least,
    at_most,
    cap_calls,
    format_number,
    format_seconds,
    time_calls,
)

_PER_SESSION = 160
_HITS = 50
_PEER_CALLS = 3
QUERIES = {
    "a rare word": "xyzzyplug",
    "an absent word": "xyzzyabsent",
    "a common word": "error",
    "`函数`": "函数",
    "`foo.bar(`": "foo.bar(",
}


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare searches with the peer, and appends with and without an index and a search."""
    folder /= "search"
    path = folder / "data" / "sessions.db"
    text_bytes = _make(path, folder / "jsonl", sizes.searched)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        service = runner.run(LocalSessionService.open(path))
        stack.callback(lambda: runner.run(service.close()))
        plain = runner.run(LocalSessionService.open(folder / "plain" / "sessions.db"))
        stack.callback(lambda: runner.run(plain.close()))
        runner.run(service.update_index())
        index_bytes = _size(path.with_name("sessions.db-search"))
        yield from _against_peer(sizes, folder / "jsonl", service, runner)

        def append(name: str, store: LocalSessionService) -> Side:
            own = NewSession(id=new_id(), directory="/")
            runner.run(store.create_session(own, [_event()], invocation_id="bench"))
            return time_calls(name, lambda: lambda: runner.run(_append(store, own.id)))

        def beside(calls: int) -> Samples:
            with _searching(path):
                return append("beside", service)(calls)

        def within(calls: int) -> Samples:
            done = asyncio.Event()

            async def search() -> None:
                for query in itertools.cycle(QUERIES.values()):
                    if done.is_set():
                        return
                    await service.search(query, limit=_HITS)

            task = runner.get_loop().create_task(search())
            samples = append("within", service)(calls)
            done.set()
            runner.run(asyncio.wait_for(task, None))
            return samples

        sides = [append("without", plain), append("behind", service), within, beside]
        figures = alternate(sides, rounds=sizes.rounds, calls=sizes.calls)
        seconds = {name: figure.p50 for name, figure in figures.items()}
    yield Row(
        number=17,
        quantity=f"append with an index of {sizes.searched:,} events behind it",
        measured=format_seconds(seconds["behind"]),
        baseline=f"without, {format_seconds(seconds['without'])}",
        value=seconds["behind"] / seconds["without"],
        goal=at_most(1.05),
    )
    for name, who in (("beside", "another window"), ("within", "the same window")):
        yield Row(
            number=20,
            quantity=f"append while {who} searches without a pause",
            measured=format_seconds(seconds[name]),
            baseline=f"alone, {format_seconds(seconds['behind'])}",
            value=seconds[name] / seconds["behind"],
            goal=at_most(1.25),
        )
    yield Row(
        number=19,
        quantity=f"bytes of the index a byte of text, {sizes.searched:,} events",
        measured=format_number(index_bytes / text_bytes),
        baseline="",
        value=index_bytes / text_bytes,
        unit="",
        goal=at_most(0.45),
        stretch=at_most(0.36),
    )


def _size(index: Path) -> int:
    with contextlib.closing(driver.connect(str(index))) as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (page,) = db.execute("PRAGMA page_size").fetchone()
        return int(pages * page)


def _against_peer(
    sizes: Sizes, files: Path, service: LocalSessionService, runner: asyncio.Runner
) -> Iterator[Row]:
    peer, find = _peer(files)
    for name, query in QUERIES.items():

        def search(query: str = query) -> Callable[[], object]:
            return lambda: runner.run(service.search(query, limit=_HITS))

        def scan(query: str = query) -> Callable[[], object]:
            return lambda: find(query)

        figures = alternate(
            [time_calls("search", search), cap_calls(time_calls("peer", scan), _PEER_CALLS)],
            rounds=sizes.rounds,
            calls=sizes.calls,
        )
        yield Row(
            number=16,
            quantity=f"search {name} in {sizes.searched:,} events, the first {_HITS} hits",
            measured=format_seconds(figures["search"].p50),
            baseline=f"{peer}, {format_seconds(figures['peer'].p50)}",
            value=figures["peer"].p50 / figures["search"].p50,
            unit="x faster",
            goal=at_least(30),
            stretch=at_least(100),
        )


def _peer(files: Path) -> tuple[str, Callable[[str], object]]:
    """Return the name of the peer, and a function that lists the files with a text."""
    if (rg := shutil.which("rg")) is not None:
        command = [rg, "-F", "-i", "-l"]
        return "`rg -F -i -l`", lambda query: subprocess.run(
            [*command, query, files], stdout=subprocess.PIPE, check=False
        )
    paths = list(files.iterdir())

    def scan(query: str) -> list[Path]:
        wanted = query.encode().lower()
        return [each for each in paths if wanted in each.read_bytes().lower()]

    return "a scan in Python (no ripgrep)", scan


@contextlib.contextmanager
def _searching(path: Path) -> Iterator[None]:
    """Search all the time during the block, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    has_begun = context.Event()
    process = context.Process(target=_search_on, args=(path, has_begun))
    process.start()
    has_begun.wait()
    yield
    process.kill()
    process.join()


def _search_on(path: Path, has_begun: Any) -> None:
    async def search() -> None:
        service = await LocalSessionService.open(path)
        for query in itertools.cycle(QUERIES.values()):
            await service.search(query, limit=_HITS)
            has_begun.set()

    asyncio.run(search())


def _make(path: Path, files: Path, count: int) -> int:
    """Make a store and the same as JSON lines; return the bytes of its text."""
    files.mkdir(parents=True)
    size = 0
    with stores.create_database(path) as db:
        for number, texts in enumerate(made_texts(count), 1):
            size += sum(len(text.encode()) for text in texts)
            stores.add_session(db, number, 0)
            sql = "UPDATE sessions SET event_count = ?, updated_at = ? WHERE number = ?"
            db.execute(sql, (len(texts), 1_700_000_000_000 + number * 60_000, number))
            rows = [
                ((number << 32) + seq, f"event-{seq}", number, 0, json.dumps({"content": text}))
                for seq, text in enumerate(texts, 1)
            ]
            sql = (
                "INSERT INTO events (key, id, invocation, created_at, type, data) "
                "VALUES (?, ?, ?, ?, 'text', ?)"
            )
            db.executemany(sql, rows)
            lines = (json.dumps({"content": text}, ensure_ascii=False) for text in texts)
            (files / f"{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return size


def made_texts(count: int) -> Iterator[Sequence[str]]:
    """Return about *count* texts, those of a session after those of another: always the same."""
    rng = random.Random(1)
    sources = [each.read_text("utf-8", "replace") for each in _sources()]
    for number in range(1, max(2, count // _PER_SESSION) + 1):
        yield [_text(rng, sources, number) for _ in range(_PER_SESSION)]


def _sources() -> Sequence[Path]:
    return sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))


def _text(rng: random.Random, sources: Sequence[str], number: int) -> str:
    """Return a text of about 1,000 bytes: code with other names in each session, at times prose."""
    chance = rng.random()
    source = rng.choice(sources)
    begin = rng.randrange(max(1, len(source) - 200))
    text = source[begin : begin + int(min(20_000, rng.paretovariate(1.3) * 350))]
    text = text.replace("self", f"it{number}x{rng.randrange(99)}")
    if chance < 0.01:
        return f"这个函数 {''.join(chr(rng.randrange(0x4E00, 0x5600)) for _ in range(200))} {text}"
    if chance < 0.0101:
        return f"{text} foo.bar({number})"
    return f"{text} xyzzyplugh" if chance > 0.99994 else text


async def _append(service: LocalSessionService, session_id: str) -> Any:
    return await service.append_events(
        session_id, [_event()], parent_id=None, accept_own_head=True, invocation_id="bench"
    )


def _event() -> Event:
    return Event.new("text", stores.DATA)
