"""The time of an import of Claude Code's transcripts, beside that of parsing their lines."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segue import agents
from segue.redaction import engine
from segue.sessions.importing import Importer, Redact
from segue.store.sqlite.service import LocalSessionService
from tests.bench import transcripts
from tests.bench.measure import (
    Row,
    Side,
    Sizes,
    alternate,
    at_most,
    format_seconds,
    pin_to_one_cpu,
)

_SOURCE = agents.load("claude-code")
_CALLS = 1
_ROUNDS = 3


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare an import with `json.loads` of the lines, and a second import with the first."""
    folder /= "import"
    paths = transcripts.write(folder, sizes.import_mb)
    numbers = itertools.count()

    def database() -> Path:
        return folder / f"{next(numbers)}" / "sessions.db"

    with pin_to_one_cpu():
        figures = alternate(
            [
                _side("parse", lambda: _parse(paths)),
                _side("map", lambda: _map(paths)),
                _side("unmasked", lambda: import_files(database(), paths, _unmasked)),
                _imports(database, paths),
            ],
            rounds=min(_ROUNDS, sizes.rounds),
            calls=_CALLS,
        )
    seconds = {name: figure.p50 for name, figure in figures.items()}
    quantity = f"import of {sizes.import_mb} MB of Claude Code's transcripts"

    def row(name: str, what: str, goal: float | None = None, stretch: float | None = None) -> Row:
        return Row(
            number=23,
            quantity=quantity + what,
            measured=format_seconds(seconds[name]),
            baseline=f"json.loads of their lines, {format_seconds(seconds['parse'])}",
            value=seconds[name] / seconds["parse"],
            goal=None if goal is None else at_most(goal),
            stretch=None if stretch is None else at_most(stretch),
        )

    yield row("map", ", read into events only")
    yield row("unmasked", ", stored without masking secrets")
    yield row("once", "", 4, 2)
    yield Row(
        number=24,
        quantity=quantity + ", again",
        measured=format_seconds(seconds["twice"]),
        baseline=f"once, {format_seconds(seconds['once'])}",
        value=seconds["twice"] / seconds["once"],
        goal=at_most(0.05),
    )


def import_files(database: Path, paths: Sequence[Path], redact: Redact = engine.mask) -> None:
    """Import the files into a database, which is created if need be."""

    async def run() -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        service = await LocalSessionService.open(database)
        await Importer(service, redact).run(_SOURCE, paths, lambda _: None)
        await service.close()

    asyncio.run(run())


def _unmasked(value: object, _: str) -> object:
    return value


def _parse(paths: Sequence[Path]) -> None:
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                json.loads(line)


def _map(paths: Sequence[Path]) -> None:
    for path in paths:
        for transcript in _SOURCE.read(path, {}):
            for _ in transcript.items:
                pass


def _imports(database: Callable[[], Path], paths: Sequence[Path]) -> Side:
    def measure(_: int) -> dict[str, list[float]]:
        path = database()
        once, twice = (_seconds(lambda: import_files(path, paths)) for _ in range(2))
        return {"once": [once], "twice": [twice]}

    return measure


def _side(name: str, work: Callable[[], object]) -> Side:
    return lambda _: {name: [_seconds(work)]}


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
