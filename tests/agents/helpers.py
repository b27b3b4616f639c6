"""What an import stores, and what every source has to keep to."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segue.sessions.importing import SourceReport
from segue.store.sqlite.service import LocalSessionService
from tests.agents.conftest import Imports
from tests.agents.samples import stored
from tests.factories import all_events


async def run_import(service: LocalSessionService, source: str, *paths: Path) -> SourceReport:
    """Import files, as the command does."""
    return await Imports(service).run(source, *paths)


async def conversations(service: LocalSessionService) -> list[list[tuple[str, Any]]]:
    """Return the types and data of the events of every session: the archived ones come last."""
    return [
        [(each.type, each.data) for each in await all_events(service, id)]
        for id in await stored(service)
    ]


async def assert_twice_is_once(service: LocalSessionService, source: str, *paths: Path) -> None:
    """Import again what was imported: nothing is added, and nothing of it is read."""
    before = await stored(service)
    report = await run_import(service, source, *paths)
    assert (report.new, report.grown, report.events) == (0, 0, 0)
    assert report.unchanged > 0
    assert await stored(service) == before


async def assert_none_is_reported(
    service: LocalSessionService, source: str, path: Path, *contents: str
) -> None:
    """Import a file that is none with any of *contents*, is not there, or is a pipe."""
    for content in (*contents, "\0" * 99 + "\n"):
        path.write_text(content)
        assert len((await run_import(service, source, path)).broken) == 1, content
    path.unlink()
    assert "No such file" in (await run_import(service, source, path)).broken[0]
    os.mkfifo(path)
    assert "not a file" in (await run_import(service, source, path)).broken[0]
    path.unlink()
    assert await stored(service) == {}


async def once(tmp_path: Path, source: str, *paths: Path) -> Mapping[str, Any]:
    """Return what one import into an empty store stores."""
    service = await LocalSessionService.open(tmp_path / "once" / "sessions.db")
    await run_import(service, source, *paths)
    found = await stored(service)
    await service.close()
    return found


def wrong_values() -> list[Any]:
    """Return values of every type, to be put where another one belongs."""
    return [None, True, 1, -1.5, 10**40, "", "\ud800", "a\0b", [], [[]], [None, "x"], {}, {"a": []}]


def changes_of(value: Any, wrong: Any) -> Iterator[Any]:
    """Yield *value* with *wrong* in the place of each of its parts."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from ({**value, key: change} for change in (wrong, *changes_of(part, wrong)))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            for change in (wrong, *changes_of(part, wrong)):
                yield [*value[:at], change, *value[at + 1 :]]
