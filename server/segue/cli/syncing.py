"""`segue sync`: brings this machine's store in step with the one that other machines use too."""

import asyncio
import collections
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from segue.cli.application import CommandError, OtherStore, SettingError, Store
from segue.cli.printing import print_error, print_json, print_json_line, print_line
from segue.model.errors import SegueError, StorageError
from segue.model.records import iso, now
from segue.store.replication import ExchangeReport, Replication, Step
from segue.store.service import SessionService

INTERVAL_S = 30.0
"""How long `--watch` waits between two exchanges."""

_MAX_NAMED = 10

RunUntilInterrupted = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def run(store: Store, *, only_looks: bool, creates: bool, as_json: bool) -> int:
    """Bring the stores in step, or only look, and print a summary; return 1 if any was left."""
    remote = _remote(store)

    async def work() -> int:
        async with _locked(store, only_looks=only_looks) as local:
            _check_exists(remote, creates=creates)
            report = await _exchange(local, remote, dry_run=only_looks, shows=not as_json)
            if as_json:
                print_json(_as_json(remote, report) | {"dryRun": only_looks})
            else:
                print_line(_summary(remote, report, only_looks=only_looks))
                await _print_steps(local, report, only_looks=only_looks)
                _print_trouble(report)
            return 1 if report.unsettled or report.failures else 0

    _warn(store)
    try:
        return asyncio.run(work())
    except SegueError as error:
        raise CommandError(str(error)) from None


def watch(
    store: Store, run_until_interrupted: RunUntilInterrupted, *, creates: bool, as_json: bool
) -> int:
    """Bring the stores in step again and again until it is interrupted, and print what was done."""
    remote = _remote(store)
    code = 0

    async def work() -> None:
        nonlocal code
        try:
            async with _locked(store, only_looks=False) as local:
                _check_exists(remote, creates=creates)
                await _watch(local, remote, as_json=as_json)
        except (SegueError, CommandError) as error:
            print_error(f"Error: {error}")
            code = 1

    _warn(store)
    run_until_interrupted(work)
    return code


async def _watch(local: SessionService, remote: OtherStore, *, as_json: bool) -> None:
    problem, is_first = "", True
    while True:
        before, problem = problem, ""
        try:
            _check_exists(remote, creates=is_first)
            report = await _exchange(local, remote, dry_run=False, shows=False)
        except (StorageError, CommandError) as error:
            problem = str(error)
            if problem != before:
                print_error(f"{problem} It is tried again every {INTERVAL_S:.0f} s.")
        else:
            if as_json and (report.steps or is_first):
                print_json_line({"time": iso(now()), **_as_json(remote, report)})
            elif report.steps or is_first or before:
                print_line(_summary(remote, report, only_looks=False))
                await _print_steps(local, report, only_looks=False)
            _print_trouble(report)
            is_first = False
        sys.stdout.flush()
        await asyncio.sleep(INTERVAL_S)


def _remote(store: Store) -> OtherStore:
    if (remote := store.load_remote()) is None:
        where = store.config_file or "config.toml"
        raise SettingError(
            f"no other store is set. Name it in {where}, such as `remote = "
            '"/media/stick/segue.db"`, or by SEGUE_REMOTE'
        )
    if remote.is_same:
        raise SettingError(
            f"remote: {remote.admin.location} is this machine's own store. Name another one"
        )
    return remote


def _warn(store: Store) -> None:
    for warning in store.warnings:
        print_error(f"Warning: {warning}.")


def _check_exists(remote: OtherStore, *, creates: bool) -> None:
    """Raise CommandError unless the store exists, or is to be made in a folder that does.

    The folder of a disk that is not mounted is not there, or is empty: what is made in it would
    never get to the other machines.
    """
    if remote.admin.exists():
        return
    location = remote.admin.location
    if remote.folder is not None and not os.path.isdir(remote.folder):
        raise CommandError(
            f"the folder of the other store, {remote.folder}, does not exist. Is its disk mounted?"
        )
    if not creates:
        raise CommandError(
            f"there is no store at {location}. If its disk is mounted, make one with "
            "`segue sync --create`."
        )


@asynccontextmanager
async def _locked(store: Store, *, only_looks: bool) -> AsyncIterator[SessionService]:
    """Open the store, for this process alone if anything is to be written by an exchange."""
    local = await (store.open_existing() if only_looks else store.open())
    lock = None if only_looks else store.admin.sync_lock()
    try:
        if lock is not None and not lock.acquire(waits=False):
            raise CommandError(
                "another `segue sync` is at work on this store. Wait until it has ended, or end it."
            )
        yield local
    finally:
        if lock is not None:
            lock.release()
        await local.close()


async def _exchange(
    local: SessionService, remote: OtherStore, *, dry_run: bool, shows: bool
) -> ExchangeReport:
    """Open the other store, which may be on a disk that is taken away after that."""
    is_shown = shows and sys.stderr.isatty()

    def show(_: Step, left: int) -> None:
        if is_shown:
            click.echo(f"\r{left:,} conversations left \b", nl=False, err=True)

    other = await remote.open()
    try:
        return await Replication(local, other, remote.this_machine(), show).exchange(
            dry_run=dry_run
        )
    finally:
        if is_shown:
            click.echo("\r\033[K", nl=False, err=True)
        await other.close()


# -- printing ------------------------------------------------------------------------------------

_WORDS = {
    "send": "sent",
    "receive": "received",
    "change": "changed",
    "fork": "forked",
    "delete here": "deleted here",
    "delete there": "deleted there",
    "wait": "left until it is closed",
}


def _summary(remote: OtherStore, report: ExchangeReport, *, only_looks: bool) -> str:
    """Return one sentence."""
    counts = collections.Counter[str](step.action for step in report.steps)
    words = [f"{counts[action]:,} {word}" for action, word in _WORDS.items() if counts[action]]
    total = f"{report.sessions:,} conversation{'' if report.sessions == 1 else 's'}"
    location = remote.admin.location
    if not words:
        is_whole = not report.unsettled and not report.failures
        return f"{total}: in step with {location}." if is_whole else f"{total} with {location}."
    verb = "A sync with" if only_looks else "In step with"
    would = "would be " if only_looks else ""
    return f"{verb} {location}: {would}{', '.join(words)}, of {total}."


async def _print_steps(local: SessionService, report: ExchangeReport, *, only_looks: bool) -> None:
    told = [step for step in report.steps if step.action == "wait" or step.fork_id]
    for step in told[:_MAX_NAMED]:
        if step.action == "wait":
            print_line(
                f"{step.session_id} went on here and elsewhere, and is open in a window: it is "
                "forked when that is closed."
            )
        elif only_looks:
            print_line(f"{step.session_id}: yours would go on as {step.fork_id}.")
        elif step.action == "fork":
            title = (await local.get_session(step.session_id)).title or "(no title)"
            print_line(f"“{title}” went on here and elsewhere. Yours is the fork {step.fork_id}.")
        else:
            print_line(
                f"{step.session_id} was deleted. What was added to it elsewhere meanwhile is "
                f"{step.fork_id}."
            )
    if len(told) > _MAX_NAMED:
        print_line(f"and {len(told) - _MAX_NAMED:,} more")


def _print_trouble(report: ExchangeReport) -> None:
    for id, error in report.failures[:_MAX_NAMED]:
        print_error(f"{id}: {error}")
    if report.unsettled:
        count = len(report.unsettled)
        print_error(f"{count:,} changed all the time. The next sync brings them in step.")


def _as_json(remote: OtherStore, report: ExchangeReport) -> dict[str, Any]:
    steps: Sequence[Step] = report.steps
    return {
        "remote": remote.admin.location,
        "conversations": report.sessions,
        "steps": [
            {
                "sessionId": step.session_id,
                "action": step.action,
                "events": step.events,
                "forkId": step.fork_id,
            }
            for step in steps
        ],
        "unsettled": list(report.unsettled),
        "failures": [{"sessionId": id, "message": str(error)} for id, error in report.failures],
    }
