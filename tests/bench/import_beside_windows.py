"""How long the appends of sixteen windows take while an import runs, beside without one.

Each window is a process that appends one event every 50 ms to a session of its own, every commit
on disk. The import is a process, too.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.bench import importing, stores, transcripts
from tests.bench.contention import PROCESSES, START_S, Period, run_processes
from tests.bench.measure import Row, Samples, Side, Sizes, alternate, at_most, format_seconds

_PAUSE_S = 0.05


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare the median and the 99th percentile of the appends with and without the import."""
    folder /= "import-beside-windows"
    paths = transcripts.write(folder, sizes.import_mb)
    sides = [
        _side("alone", folder, (), sizes.contention_s),
        _side("beside", folder, paths, sizes.contention_s),
    ]
    figures = alternate(sides, rounds=sizes.contention_rounds, calls=1)
    for name in ("p50", "p99"):
        alone, beside = (figures[side].__getattribute__(name) for side in ("alone", "beside"))
        yield Row(
            number=25,
            quantity=f"append of one of {PROCESSES} windows beside an import, {name}",
            measured=format_seconds(beside),
            baseline=f"without the import, {format_seconds(alone)}",
            value=beside / alone,
            goal=at_most(3) if name == "p99" else None,
        )


def _side(name: str, folder: Path, imported: Sequence[Path], seconds: float) -> Side:
    rounds = itertools.count()

    def measure(_: int) -> Samples:
        path = folder / f"{name} {next(rounds)}" / "sessions.db"
        with stores.create_database(path):
            pass
        begin = time.monotonic() + START_S
        period = Period(begin, begin + seconds)
        work = partial(_import, path, period, imported)
        beside = multiprocessing.get_context("fork").Process(target=work)
        beside.start()
        waits = run_processes(partial(_append, path, period), PROCESSES)
        beside.terminate()
        beside.join()
        return {name: list(itertools.chain.from_iterable(waits))}

    return measure


def _import(path: Path, period: Period, imported: Sequence[Path]) -> None:
    time.sleep(max(0, period.begin - time.monotonic()))
    if imported:
        importing.import_files(path, imported)


async def _append(path: Path, period: Period, number: int) -> list[float]:
    service = await LocalSessionService.open(path)
    new = NewSession(id=new_id(), directory="/")
    event = Event.new("text", stores.DATA)
    head = (await service.create_session(new, [event], invocation_id="invocation")).head
    waits = []
    await asyncio.sleep(period.begin - time.monotonic() + number * _PAUSE_S / PROCESSES)
    while (begin := time.monotonic()) < period.end:
        event = Event.new("text", stores.DATA)
        result = await service.append_events(
            new.id, [event], parent_id=head, invocation_id="invocation"
        )
        head = result.head
        waits.append(time.monotonic() - begin)
        await asyncio.sleep(_PAUSE_S)
    await service.close()
    return waits
