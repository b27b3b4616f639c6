"""Processes append, search and delete at once, some are killed; then the index is compared.

What was acknowledged is found by the next search, what was deleted is in no file when the deletion
is answered, and the index ends as one that is made afresh.
"""

import asyncio
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from segue.model.errors import StorageUnavailable
from segue.model.events import Event
from segue.model.search_text import SearchQuery, fold, searched_text
from segue.store.rules import searching
from segue.store.sqlite import driver, search, search_index
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, note, store_session
from tests.faults.ledger import folder_on_disk
from tests.faults.runner import Report, Size, main

ROUNDS: dict[Size, int] = {"short": 2, "long": 10}
PROCESSES: dict[Size, int] = {"short": 4, "long": 16}
SECONDS: dict[Size, float] = {"short": 2.0, "long": 60.0}
MAX_APPEND_S = 10.0
FOUND = "what was acknowledged is found"
EXACT = "a search finds exactly what is there"
ERASED = "what was deleted is in no file of the index"
T = TypeVar("T")

SAME = "the index is as one that is made afresh"
NARROW = "a search compares only candidates with what is indexed"
BESIDE = "an append waits for no search"
UNHARMED = "no process fails"

WORDS = (
    "foo.bar(", "--no-verify", "C++", "E0277", "CommitHook", "error", "the", "func", "函数", "関数",
    "見積書", "かな", "파이썬", "ошибка", "функции", "خطأ", "déjà", "straße", "()", "{}", "100%",
)  # fmt: skip
QUERIES = (
    "oo.ba", "foo.bar(", "--no-verify", "C++", "E0277", "mithoo", "ERROR", "函数", "函", "関数",
    "見積", "積書", "파이", "ШИБК", "функ", "خط", "DÉJÀ", "strasse", "the func", '"error the"',
    "100%", "数 error", "absent", "nowhere 函",
)  # fmt: skip


def patched() -> None:
    """Let shards be small, and searches end only when all was looked at."""
    searching.BUDGET_S = 60.0
    search_index._SHARD_BITS = 6
    search_index._SHARD_SIZE = 1 << 6


def events(rng: random.Random, count: int) -> list[Event]:
    return [note(" ".join(rng.choices(WORDS, k=rng.randint(1, 12)))) for _ in range(count)]


async def hits(service: LocalSessionService, query: str) -> set[tuple[str, int]]:
    """Return the sessions and seqs of all events that are found."""
    found = set()
    cursor = None
    while True:
        page = await service.search(query, archived=True, cursor=cursor, limit=200)
        found |= {(hit.session.id, hit.event.seq) for hit in page.hits if hit.event is not None}
        if (cursor := page.next_cursor) is None:
            return found


# -- the processes -------------------------------------------------------------------------------


async def use(database: Path, number: int, seed: int, ends: float, out: int) -> None:
    """Append, search and delete until it *ends*; write what was broken to *out*."""
    rng = random.Random(seed)
    service = await LocalSessionService.open(database)
    mine: dict[str, int] = {}
    count = 0
    while time.monotonic() < ends:
        count += 1
        step = rng.random()
        mark = f"mark{number}x{seed}x{count}y"
        if step < 0.3 or not mine:
            new = (*events(rng, rng.randint(1, 9)), note(mark))
            id = await tried_again(partial(store_session, service, *new))
            mine[id] = 0
            await check_found(service, mark, out)
        elif step < 0.7:
            new = (*events(rng, 3), note(mark))
            await tried_again(partial(append_to_head, service, rng.choice(list(mine)), *new))
            await check_found(service, mark, out)
        elif step < 0.85:
            await hits(service, rng.choice(QUERIES))
        else:
            # A character that no other event has, and so a trigram.
            secret = chr(0x20000 + number * 2_048 + count % 2_048)
            new = (*events(rng, 3), note(secret))
            gone = await tried_again(partial(store_session, service, *new))
            await service.search(secret)
            await asyncio.sleep(rng.choice((0, 0.01, 0.03)))
            await tried_again(partial(service.delete, gone))
            if secret in "".join(trigrams(database)) or await hits(service, secret):
                os.write(out, f"{ERASED}\n".encode())
    os.write(out, f"+{count}\n".encode())
    await service.close()


async def tried_again(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of a write, which is tried once more if that is what its error asks for.

    A window can take what a killed one has left for the work of another program.
    """
    try:
        return await call()
    except StorageUnavailable as error:
        if "try again" not in str(error):
            raise
        return await call()


async def check_found(service: LocalSessionService, mark: str, out: int) -> None:
    if len(await hits(service, mark)) != 1:
        os.write(out, f"{FOUND}\n".encode())


def fork_process(work: Callable[[], Coroutine[Any, Any, None]], out: int) -> int:
    """Run *work* in a forked process; return its id."""
    process = os.fork()
    if process == 0:
        try:
            asyncio.run(work())
        except BaseException:
            traceback.print_exc()
            os.write(out, f"{UNHARMED}\n".encode())
        finally:
            os._exit(0)
    return process


# -- what is in the index ------------------------------------------------------------------------


def rows(database: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every trigram in the index with the session's number and the seq of its event."""
    index = search_index.index_path(str(database))
    if not os.path.exists(index):
        return
    with closing(driver.connect(index)) as db:
        shards = [number for (number,) in db.execute("SELECT number FROM shards")]
        runs = [tuple(row) for row in db.execute("SELECT document, strand, seq, length FROM runs")]
        places = {
            document + at: (strand, seq + at)
            for document, strand, seq, length in runs
            for at in range(length)
        }
        for shard in shards:
            db.execute(
                f"CREATE VIRTUAL TABLE temp.t USING fts5vocab (main, shard_{shard}, instance)"
            )
            for term, document in db.execute("SELECT term, doc FROM temp.t").fetchall():
                yield term, places.get(document, (0, document))
            db.execute("DROP TABLE temp.t")


def trigrams(database: Path) -> set[str]:
    try:
        return {term for term, _ in rows(database)}
    except driver.Error:  # another process drops a shard meanwhile
        return trigrams(database)


async def stored(service: LocalSessionService) -> dict[tuple[str, int], str]:
    """Return the folded text of every event."""
    found = {}
    for session in (await service.list_sessions(archived=True, limit=1_000)).sessions:
        for event in (await service.load_events(session.id, after=0, limit=1_000)).events:
            text = searched_text(event.type, Event.new(event.type, event.data).json_text)
            found[session.id, event.seq] = fold(text)
    return found


async def compare(report: Report, database: Path) -> None:
    """Compare the index with one made afresh, and searches with a scan."""
    service = await LocalSessionService.open(database)
    await service.update_index()
    kept = sorted(rows(database))
    await check_searches(report, service)
    await service.update_index(anew=True)
    afresh = sorted(rows(database))
    differ = set(kept) ^ set(afresh)
    report.expect(kept == afresh, SAME, f"{len(differ)} differ: {list(differ)[:3]}")
    report.count("trigrams compared", len(afresh))
    await another_past(service, database)
    await check_searches(report, service)
    await check_narrow(report, service)
    await check_beside(report, service)
    await service.close()


async def check_searches(report: Report, service: LocalSessionService) -> None:
    texts = await stored(service)
    for query in QUERIES:
        terms = SearchQuery.parse(query).terms
        expected = {place for place, text in texts.items() if all(term in text for term in terms)}
        found = await hits(service, query)
        report.expect(found == expected, EXACT, f"{query}: {len(found)} of {len(expected)}")
        report.count("hits compared", len(expected))


async def another_past(service: LocalSessionService, database: Path) -> None:
    """Change the last event of a session, as a copy of the database with another past has it."""
    id = await store_session(service, note("before"), note("error"))
    await service.update_index()
    with closing(driver.connect(str(database))) as db:
        sql = "SELECT number, event_count FROM sessions WHERE id = ?"
        number, last = db.execute(sql, (id,)).fetchone()
        sql = "UPDATE events SET id = 'other', data = ? WHERE key = ?"
        db.execute(sql, (note("函数 C++ absent").json_text, (number << 32) + last))
        db.execute("UPDATE sessions SET updated_at = updated_at + 1 WHERE number = ?", (number,))


async def check_narrow(report: Report, service: LocalSessionService) -> None:
    await service.update_index()
    compared = 0
    matches = search._Searcher._matching_text

    def counting(searcher: Any, event: Any) -> str | None:
        nonlocal compared
        compared += 1
        return matches(searcher, event)

    setattr(search._Searcher, "_matching_text", counting)  # noqa: B010  mypy refuses an assignment
    for query in ("函数", "見積書", "CommitHook"):
        compared = 0
        found = await hits(service, query)
        report.expect(compared <= 2 * len(found) + 5, NARROW, f"{query}: {compared} events")
    setattr(search._Searcher, "_matching_text", matches)  # noqa: B010  as above


async def check_beside(report: Report, service: LocalSessionService) -> None:
    """Append while a search is held at the event that it compares."""
    id = await store_session(service, note("held"))
    held, released = threading.Event(), threading.Event()
    matches = search._Searcher._matching_text

    def waiting(searcher: Any, event: Any) -> str | None:
        held.set()
        released.wait()
        return matches(searcher, event)

    setattr(search._Searcher, "_matching_text", waiting)  # noqa: B010  as above
    searching = asyncio.ensure_future(service.search("held"))
    await asyncio.to_thread(held.wait)
    appending = asyncio.ensure_future(append_to_head(service, id, note("more")))
    appended, _ = await asyncio.wait([appending], timeout=MAX_APPEND_S)
    report.expect(bool(appended), BESIDE)
    released.set()
    await asyncio.gather(searching, appending)
    setattr(search._Searcher, "_matching_text", matches)  # noqa: B010  as above


def run(report: Report, rng: random.Random) -> None:
    """Use one store after the other from several processes, and kill some of them."""
    patched()
    for round in range(ROUNDS[report.size]):
        with folder_on_disk() as folder:
            database = folder / "data" / "sessions.db"
            asyncio.run(make(database, rng))
            ends = time.monotonic() + SECONDS[report.size]
            out, into = os.pipe()
            processes = []
            for number in range(PROCESSES[report.size]):
                work = partial(use, database, number, rng.randrange(1 << 30), ends, into)
                processes.append(fork_process(work, into))
            os.close(into)
            for process in processes[: round % 2 * 2]:
                time.sleep(rng.uniform(0, SECONDS[report.size] / 2))
                os.kill(process, signal.SIGKILL)
                report.count("kills")
            with open(out, encoding="utf-8") as lines:
                for line in lines.read().splitlines():
                    if line.startswith("+"):
                        report.count("calls", int(line[1:]))
                    else:
                        report.expect(False, line)
            for process in processes:
                os.waitpid(process, 0)
            asyncio.run(compare(report, database))
        if report.has_failed:
            return


async def make(database: Path, rng: random.Random) -> None:
    service = await LocalSessionService.open(database)
    for _ in range(20):
        await store_session(service, *events(rng, 10))
    await service.update_index()
    await service.close()


if __name__ == "__main__":
    main(run)
