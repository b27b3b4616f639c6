"""`segue doctor`: the versions in use, whether they are safe, and the state of the store."""

import platform
from importlib import metadata
from typing import Any

import segue
from segue.cli.application import CommandError, Store
from segue.cli.copies import copies_as_json, copies_as_lines
from segue.cli.hooks import as_record as hook_record
from segue.cli.hooks import statuses as hook_statuses
from segue.cli.hooks import summary as hook_summary
from segue.cli.machine_checks import examine_machine
from segue.cli.printing import Column, print_error, print_json, print_line, print_table
from segue.model.errors import StorageError
from segue.model.store_reports import CheckReport, Finding, SizeReport, StoreEngine
from segue.store.service import SessionService, StoreAdmin

_PACKAGES = ("pygls", "lsprotocol", "aiosqlite", "cattrs", "uuid6")
_MAX_SIZES = 50


def run(store: Store, *, as_json: bool) -> int:
    """Print the report; return 1 if there is a problem, else 0.

    Nothing is changed, but that what killed backups left is removed.
    """
    store.admin.sweep()
    engine, check = store.admin.engine, store.admin.check()
    findings = examine_machine(store)
    agents = hook_statuses(store.hook_folder)
    problems = [*filter(None, [engine.warning]), *check.problems]
    if as_json:
        print_json(
            _report(store, engine, check, problems, findings)
            | {"hooks": [hook_record(each) for each in agents]}
        )
    else:
        _print(store, engine, check)
        for each in agents:
            if each.is_here:
                _line("hooks", hook_summary(each))
        _print_findings(problems, findings)
    return 1 if problems or any(each.is_problem for each in findings) else 0


def repair(admin: StoreAdmin) -> int:
    """Save what can be read of a damaged store, print what was done, and return 0.

    Raises CommandError if there is no store, or if it cannot be repaired now.
    """
    try:
        print_line(admin.repair())
    except StorageError as error:
        raise CommandError(str(error)) from None
    return 0


async def make_index(service: SessionService) -> int:
    """Make the index of searches anew, print how many events it has, and return 0.

    Returns 1 if the store has none.
    """
    state = await service.update_index(anew=True)
    if state is None:
        print_error(
            "There can be no index here: the store or SQLite does not allow it, or another file is "
            "in its place. Searches look through all conversations."
        )
        return 1
    left = "" if state.complete else ", not all: try again"
    print_line(f"{state.events:,} events are indexed{left}")
    return 0


def print_sizes(admin: StoreAdmin, *, as_json: bool) -> int:
    """Print how much each session holds, and the store as a whole; return 0.

    Raises CommandError if the store cannot be read.
    """
    try:
        report = admin.session_sizes()
    except StorageError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(_sizes_as_json(report))
        return 0
    shown, others = report.sessions[:_MAX_SIZES], report.sessions[_MAX_SIZES:]
    columns = (
        Column("BYTES", is_number=True),
        Column("EVENTS", is_number=True),
        Column("TITLE", max_width=48, is_flexible=True),
        Column("SESSION"),
    )
    rows = [(f"{each.bytes:,}", str(each.events), each.title or "", each.id) for each in shown]
    if rows:
        print_table(columns, rows)
        print_line()
    if others:
        size = sum(each.bytes for each in others)
        print_line(f"{len(others)} smaller ones: {size:,} bytes; --json has them all")
    total = sum(each.bytes for each in report.sessions)
    shared = sum(each.shared for each in report.sessions)
    print_line(f"{len(report.sessions)} sessions: {total:,} bytes of events")
    if shared:
        print_line(f"of these {shared:,} bytes are shared by forks: they count once")
    rest = report.file_bytes - report.free_bytes - total
    print_line(
        f"the file: {report.file_bytes:,} bytes; {rest:,} for ids, indexes and titles, "
        f"{report.free_bytes:,} free for what comes"
    )
    return 0


def _sizes_as_json(report: SizeReport) -> dict[str, Any]:
    return {
        "sessions": [
            {
                "sessionId": each.id,
                "title": each.title,
                "eventCount": each.events,
                "bytes": each.bytes,
                "sharedBytes": each.shared,
            }
            for each in report.sessions
        ],
        "bytes": sum(each.bytes for each in report.sessions),
        "sharedBytes": sum(each.shared for each in report.sessions),
        "fileBytes": report.file_bytes,
        "freeBytes": report.free_bytes,
    }


def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}


def _report(
    store: Store,
    engine: StoreEngine,
    check: CheckReport,
    problems: list[str],
    findings: list[Finding],
) -> dict[str, Any]:
    return {
        "segue": segue.__version__,
        "python": platform.python_version(),
        "packages": _packages(),
        engine.name.lower(): {
            "library": engine.library,
            "version": engine.version,
            "safe": engine.is_safe,
        },
        "configFile": store.config_file,
        "database": {
            "path": store.admin.location,
            "exists": check.exists,
            "bytes": check.sizes.bytes,
            "modes": check.modes,
            "schemaVersion": check.schema_version,
            "sessions": check.sizes.sessions,
            "archived": check.sizes.archived,
            "events": check.sizes.events,
        },
        "copies": copies_as_json(store.admin),
        "problems": [*problems, *(str(each) for each in findings if each.is_problem)],
        "notes": [str(each) for each in findings if not each.is_problem],
    }


def _print(store: Store, engine: StoreEngine, check: CheckReport) -> None:
    sizes = check.sizes
    _line("segue", f"{segue.__version__} on Python {platform.python_version()}")
    _line("packages", ", ".join(f"{name} {version}" for name, version in _packages().items()))
    safe = "safe" if engine.is_safe else "NOT SAFE"
    _line(engine.name, f"{engine.version} from {engine.library}, {safe}")
    _line("settings", store.config_file or "none: there is no home directory")
    _line("database", store.admin.location)
    if not check.exists:
        _line("", "not created yet: the first conversation creates it")
    elif sizes.sessions is not None:
        _line("", f"{sizes.bytes:,} bytes, schema {check.schema_version}")
        _line("", f"{sizes.sessions} sessions ({sizes.archived} archived), {sizes.events} events")
    for path, mode in check.modes.items():
        _line("", f"{mode:>4}  {path}")
    for line in copies_as_lines(store.admin):
        _line("copies", line)


def _print_findings(problems: list[str], findings: list[Finding]) -> None:
    for problem in problems:
        _line("problem", problem, color="red")
    for each in findings:
        _line("problem" if each.is_problem else "note", each.what, color=_color(each))
        _line("", each.remedy)
    if not problems and not any(each.is_problem for each in findings):
        print_line("all is well", color="green")


def _color(finding: Finding) -> str | None:
    return "red" if finding.is_problem else None


def _line(name: str, value: str, color: str | None = None) -> None:
    print_line(f"{name:<9}", value, color=color)
