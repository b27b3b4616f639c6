"""`segue import`: stores the conversations of other programs."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import attrs
import click

from segue import agents
from segue.agents.transcript import Places
from segue.cli.application import CommandError, Store
from segue.cli.printing import Column, print_error, print_json, print_line, print_table
from segue.model.errors import SegueError
from segue.sessions.importing import Importer, SourceReport

Files = Mapping[ModuleType, Sequence[Path]]
"""The files to be read, by the module of their source."""


def choose(given: Sequence[str]) -> tuple[Files, Sequence[ModuleType]]:
    """Return the files and the sources that the arguments name; without any, all sources.

    Raises CommandError for what is neither.
    """
    files: dict[ModuleType, list[Path]] = {}
    sources = []
    for each in given:
        try:
            sources.append(agents.load(each))
        except KeyError:
            path = Path(os.path.abspath(each))
            files.setdefault(_source_of(path, each), []).append(path)
    if not given:
        sources = agents.load_all()
    return files, sources


def _source_of(path: Path, given: str) -> ModuleType:
    names = ", ".join(name.replace("_", "-") for name in agents.SOURCES)
    if not path.exists():
        raise CommandError(f"{given} is no file, and no source. The sources are {names}.")
    for name in agents.SOURCES:
        source = agents.load(name)
        if source.accepts(path):
            return source
    raise CommandError(
        f"{given} is not a conversation of a known program ({names}). Import one from the folder "
        "where its program keeps it."
    )


def _found(files: Files, sources: Sequence[ModuleType]) -> Files:
    """Return the files that are named, and those that the *sources* have here."""
    here = places()
    return {**files, **{source: sorted(source.find(here)) for source in sources}}


def places() -> Places:
    """Return where this user's programs keep their files."""
    return Places(Path.home(), os.environ)


def discover(sources: Sequence[ModuleType], files: Files, *, as_json: bool) -> int:
    """Print which sources have conversations here, and in how many files. Stores nothing."""
    found = {
        source: paths
        for source, paths in _found(files, sources).items()
        if any(_may_have_conversation(source, path) for path in paths)
    }
    sizes = {source: sum(map(_size, paths)) for source, paths in found.items()}
    if as_json:
        print_json(
            [
                {
                    "source": source.NAME,
                    "name": source.TITLE,
                    "files": len(found[source]),
                    "bytes": sizes[source],
                }
                for source in found
            ]
        )
    elif not found:
        print_error("No conversations of other programs were found.")
    else:
        columns = (
            Column("SOURCE"), Column("FILES", is_number=True), Column("MB", is_number=True),
            Column("NAME"),
        )  # fmt: skip
        rows = (
            (source.NAME, f"{len(paths):,}", f"{sizes[source] / 1e6:,.1f}", source.TITLE)
            for source, paths in found.items()
        )
        print_table(columns, rows)
    return 0 if found else 1


def _may_have_conversation(source: ModuleType, path: Path) -> bool:
    """Return whether a file has what Segue's plugins did not record, or cannot be read now."""
    try:
        found = source.read(path, {})
        return any(each.recording is None and next(each.items, None) for each in found)
    except OSError:
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def run(
    store: Store,
    sources: Sequence[ModuleType],
    files: Files,
    *,
    dry_run: bool,
    revive: bool,
    as_json: bool,
) -> int:
    """Import and print a summary; return 1 if anything could not be read."""
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")
    found = _found(files, sources)

    async def work() -> list[SourceReport]:
        service = await store.open()
        try:
            importer = Importer(service, store.load_redact(), dry_run=dry_run, revive=revive)
            reports = []
            count = sum(map(len, found.values()))
            with click.progressbar(
                length=count, label="importing", file=sys.stderr, hidden=not sys.stderr.isatty()
            ) as bar:
                for source, paths in found.items():
                    reports.append(await importer.run(source, paths, lambda _: bar.update(1)))
            if not dry_run:
                await service.update_index()
            return reports
        finally:
            await service.close()

    try:
        reports = asyncio.run(work())
    except SegueError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json([attrs.asdict(report) | {"dryRun": dry_run} for report in reports])
    else:
        _print(reports, dry_run=dry_run)
    return 1 if any(report.broken for report in reports) else 0


def _print(reports: Sequence[SourceReport], *, dry_run: bool) -> None:
    shown = [
        each
        for each in reports
        if each.new or each.grown or each.unchanged or each.deleted or each.skipped or each.broken
    ]
    if not shown:
        print_error("No conversations of other programs were found.")
        return
    if dry_run:
        print_line("Nothing was stored. An import would do this:")
    names = ("SOURCE", "NEW", "GROWN", "UNCHANGED", "FORKS", "EVENTS")
    columns = [Column(name, is_number=name != "SOURCE") for name in names]
    rows = (
        (
            each.source,
            *(f"{n:,}" for n in (each.new, each.grown, each.unchanged, each.forks, each.events)),
        )
        for each in shown
    )
    print_table(columns, rows)
    for each in shown:
        if each.deleted:
            print_line(f"{each.source}: {each.deleted} left out, deleted here (--deleted)")
        if each.skipped:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in each.skipped.most_common(8))
            print_line(f"{each.source}: not kept: {kinds}")
        for problem in each.broken[:20]:
            print_error(f"{each.source}: {problem}")
        if len(each.broken) > 20:
            print_error(f"{each.source}: and {len(each.broken) - 20:,} more")
