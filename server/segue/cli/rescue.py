"""`segue rescue`: lists conversations that other programs have lost, and writes them back."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click

from segue import agents
from segue.cli.application import CommandError
from segue.cli.ids import find_id
from segue.cli.importing import places
from segue.cli.new_file import new_file
from segue.cli.printing import Column, print_error, print_json, print_line, print_table
from segue.model.errors import SessionNotFound
from segue.protocol import messages
from segue.sessions.boundary import ago
from segue.sessions.rescue import Losses, LostSession, check, convert, find_losses
from segue.store.service import SessionService


@attrs.frozen(kw_only=True)
class Choice:
    """Whose losses are looked for: *sources*, or single sessions by their ids."""

    sources: Sequence[ModuleType]
    ids: Sequence[str]

    @classmethod
    def of(cls, given: Sequence[str], *, writes: bool) -> "Choice":
        """Return what the arguments name; without any, all sources.

        Raises UsageError if something else than sessions is to be written.
        """
        sources, ids = [], []
        for each in dict.fromkeys(given):
            try:
                sources.append(agents.load(each))
            except KeyError:
                ids.append(each)
        if writes and (sources or not ids):
            raise click.UsageError("--write needs the ids of the conversations.")
        if not given:
            sources = agents.load_all()
        return cls(sources=sources, ids=ids)


async def rescue(
    service: SessionService,
    choice: Choice,
    continue_minutes: float,
    *,
    writes: bool,
    is_confirmed: bool,
    as_json: bool,
) -> int:
    """List the losses; with *writes*, show what would be written, ask, and write it.

    Where nobody can be asked, and for JSON, nothing is written that is not confirmed. Returns 1 if
    something was not written, or could not be read, else 0. Raises CommandError for an id of
    nothing that was imported.
    """
    losses = [await find_losses(service, each, places()) for each in choice.sources]
    losses += [await _losses_of(service, each, continue_minutes) for each in choice.ids]
    if writes:
        return await _Writing(service, losses, is_confirmed, as_json).run()
    if as_json:
        print_json(_as_json(losses))
    else:
        _print(losses, is_named=bool(choice.ids))
    return 1 if any(each.unreadable for each in losses) else 0


async def _losses_of(service: SessionService, given: str, continue_minutes: float) -> Losses:
    try:
        session = await service.get_session(await find_id(service, given, continue_minutes))
    except SessionNotFound:
        raise CommandError(f"{given} is no source, and no session has this id.") from None
    id = session.id
    if session.source is None:
        raise CommandError(f"{id} was imported from no other program.")
    if (source := agents.find(session.source)) is None:
        raise CommandError(
            f"{id} is from {session.source}, a program that this version does not know."
        )
    losses = await find_losses(service, source, places(), id)
    if not (losses.lost or losses.kept or losses.unreadable):
        raise CommandError(
            f"{id} is a branch or a copy that {losses.source.TITLE} has no file of. "
            f"`segue export {id}` writes one."
        )
    return losses


def _print(losses: Sequence[Losses], *, is_named: bool) -> None:
    lost = [(each, one) for each in losses for one in each.lost]
    if lost:
        columns = (
            Column("SESSION"),
            Column("LAST"),
            Column("EVENTS", is_number=True),
            Column("SOURCE"),
            Column("WHY", is_flexible=True),
            Column("WRITE"),
            Column("TITLE", max_width=48, is_flexible=True),
        )
        print_table(columns, (_row(each, one) for each, one in lost))
    if any(one.refusal is None for _, one in lost):
        print_line("`segue rescue ID --write` writes one back. Segue keeps all of them anyway.")
    elif lost:
        print_line("None of them can be written back. `segue export ID` writes a file of your own.")
    elif any(each.missing_folders or each.unreadable for each in losses):
        print_line("No losses were found.")
    elif not is_named:
        print_line("Other programs still have everything that was imported from them here.")
    for each in losses if is_named else ():
        _print_kept(each)
    _print_unknown(losses)


def _print_kept(losses: Losses) -> None:
    for id, path in losses.kept.items():
        print_line(f"{id} is not lost: {losses.source.TITLE} has it in {path}")


def _print_unknown(losses: Sequence[Losses]) -> None:
    """Print of which sessions it is not known whether they are lost."""
    for each in losses:
        for folder, count in each.missing_folders.items():
            print_error(
                f"{each.source.NAME}: {folder} is not here, perhaps not mounted: it may have "
                f"{count:,} more conversations"
            )
        for path, reason in each.unreadable.items():
            print_error(f"{each.source.NAME}: {path} cannot be read: {reason}")


def _row(losses: Losses, lost: LostSession) -> tuple[str, ...]:
    session = lost.session
    return (
        session.id,
        ago(session.updated_at),
        f"{session.event_count:,}",
        losses.source.NAME,
        lost.why,
        "no" if lost.refusal else "yes",
        session.title or "",
    )


@attrs.frozen(kw_only=True)
class _Planned:
    """A lost session that is to be written, and what its file will hold."""

    source: ModuleType
    lost: LostSession
    events: int
    left_out: Mapping[str, int]


class _Writing:
    """Writes lost sessions back, those that can be."""

    def __init__(
        self, service: SessionService, losses: Sequence[Losses], is_confirmed: bool, as_json: bool
    ) -> None:
        self._service = service
        self._losses = losses
        self._is_confirmed = is_confirmed
        self._as_json = as_json
        self._written: dict[str, Path] = {}
        self._failed: dict[str, str] = {}

    async def run(self) -> int:
        planned = [one for each in self._losses for one in await self._plan(each)]
        asks = not self._as_json and sys.stdin.isatty() and sys.stdout.isatty()
        if planned and not self._as_json:
            self._preview(planned)
            if not self._is_confirmed and asks and not click.confirm("Write them?"):
                print_line("Nothing was written.")
                return 1
        if planned and not (self._is_confirmed or asks or self._as_json):
            print_line("Nothing was written: nobody can be asked here; add --yes to write.")
        elif self._is_confirmed or asks:
            for each in planned:
                await self._write(each)
        if self._as_json:
            print_json(self._report(planned))
        return 1 if self._failed else 0

    async def _plan(self, losses: Losses) -> list[_Planned]:
        planned = []
        for lost in losses.lost:
            if lost.refusal is None:
                # Its lines are made again when they are written: all at once are too many.
                file = await convert(self._service, losses.source, lost)
                planned.append(
                    _Planned(
                        source=losses.source,
                        lost=lost,
                        events=len(file.kept),
                        left_out=file.left_out,
                    )
                )
            else:
                instead = f"`segue export {lost.session.id}` writes a file of your own"
                self._fail(lost.session.id, f"{lost.refusal}. {instead}")
        if not self._as_json:
            _print_kept(losses)
        for problem, reason in losses.unreadable.items():
            self._fail(problem, f"it cannot be read: {reason}")
        return planned

    def _preview(self, planned: Sequence[_Planned]) -> None:
        for each in planned:
            session, title = each.lost.session, each.source.TITLE
            print_line(session.id, session.title or "", bold=True)
            print_line("  to", str(each.lost.path))
            print_line(f"  {each.events:,} events")
            if each.left_out:
                kinds = (f"{count:,} {type}" for type, count in each.left_out.items())
                print_line(f"  left out, as {title} has no such thing:", *kinds)
            if not os.path.isdir(session.directory):
                print_line(
                    f"  {title} goes on with it only in {session.directory}, "
                    "which is no folder any more"
                )
        for source in dict.fromkeys(each.source for each in planned):
            print_line(f"{source.TITLE} does not get back: {_not_kept(source)}.")

    async def _write(self, planned: _Planned) -> None:
        id, path, source = planned.lost.session.id, planned.lost.path, planned.source
        written = await convert(self._service, source, planned.lost)
        try:
            _make_folders(path)
            with new_file(str(path)) as file:
                file.writelines(written.lines)
                file.flush()
                check(source, Path(file.name), written)
        except FileExistsError:
            self._fail(id, f"{path} is there by now, and Segue changes no file of {source.TITLE}")
        except OSError as error:
            self._fail(id, f"{path} cannot be written: {error.strerror or error}")
        else:
            self._written[id] = path
            if not self._as_json:
                print_line(f"Written: {path}")
                print_line(f"`segue resume {id}` goes on with it.")

    def _fail(self, what: str, reason: str) -> None:
        self._failed[what] = reason
        if not self._as_json:
            print_error(f"{what} was not written: {reason}.")

    def _report(self, planned: Sequence[_Planned]) -> dict[str, Any]:
        return {
            "dryRun": not self._is_confirmed,
            "written": {id: str(path) for id, path in self._written.items()},
            "planned": [
                {
                    "sessionId": each.lost.session.id,
                    "path": str(each.lost.path),
                    "events": each.events,
                    "leftOut": each.left_out,
                    "notKept": _not_kept(each.source),
                }
                for each in planned
            ],
            "failed": self._failed,
        }


def _not_kept(source: ModuleType) -> str:
    """Return what no conversation of a source that can be written gets back."""
    return getattr(agents.load_writer(source.NAME), "NOT_KEPT", "")


def _make_folders(path: Path) -> None:
    """Make the project's folder, and the one of all projects, if they are gone."""
    for folder in (path.parent.parent, path.parent):
        if not folder.is_dir():
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                raise NotADirectoryError(f"{folder} is no folder") from None


def _as_json(losses: Sequence[Losses]) -> dict[str, Any]:
    return {
        "lost": [
            {
                "session": messages.wire.unstructure(one.session),
                "path": str(one.path),
                "why": one.why,
                "canWrite": one.refusal is None,
                "refusal": one.refusal,
            }
            for each in losses
            for one in each.lost
        ],
        "missingFolders": _missing(losses),
        "unreadable": {path: reason for each in losses for path, reason in each.unreadable.items()},
    }


def _missing(losses: Sequence[Losses]) -> Mapping[str, int]:
    """Return how many sessions were in each folder that is not here."""
    found = (item for each in losses for item in each.missing_folders.items())
    return {str(folder): count for folder, count in found}
